#ifndef STREAMNORM_CLIENT_CLI_OUTPUT_H_
#define STREAMNORM_CLIENT_CLI_OUTPUT_H_

#include <initializer_list>
#include <optional>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "client/cli/table.h"
#include "google/protobuf/message.h"

namespace streamnorm {

enum class OutputFormat { kTable, kWide, kJson, kNdjson, kCsv, kName };

// Of "table", "wide" and so on; absent for anything else.
std::optional<OutputFormat> ParseOutputFormat(absl::string_view text);
const char* OutputFormatName(OutputFormat format);

// `wanted`, or the first of `allowed` if nothing was. A usage error if it is
// none of them.
absl::StatusOr<OutputFormat> ChooseFormat(
    std::optional<OutputFormat> wanted,
    std::initializer_list<OutputFormat> allowed);

// Protobuf's JSON with the field names of the .proto files and every field that
// has no presence, zero or not. Pretty over many lines, or on one.
std::string ToJson(const google::protobuf::Message& message, bool pretty);

// To stdout, through its buffer. Fails if that can't be written.
absl::Status Print(absl::string_view text);
absl::Status FlushStdout();

// Titles are bold on a terminal, unless NO_COLOR is set.
absl::Status PrintTable(const Table& table);

// One line on stderr.
void Say(absl::string_view words);

// "2024-11-23T16:29:01Z".
std::string ShortTime(absl::string_view rfc3339);

}  // namespace streamnorm

#endif  // STREAMNORM_CLIENT_CLI_OUTPUT_H_
