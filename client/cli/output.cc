#include "client/cli/output.h"

#include <unistd.h>

#include <algorithm>
#include <cassert>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "absl/strings/str_cat.h"
#include "client/cli/exit_code.h"
#include "google/protobuf/util/json_util.h"

namespace streamnorm {
namespace {

struct FormatEntry {
  OutputFormat format;
  const char* name;
};
constexpr FormatEntry kFormats[] = {
    {OutputFormat::kTable, "table"}, {OutputFormat::kWide, "wide"},
    {OutputFormat::kJson, "json"},   {OutputFormat::kNdjson, "ndjson"},
    {OutputFormat::kCsv, "csv"},     {OutputFormat::kName, "name"},
};

// https://no-color.org: set and not empty.
bool ColorAllowed() {
  const char* no_color = std::getenv("NO_COLOR");
  const char* term = std::getenv("TERM");
  return isatty(STDOUT_FILENO) != 0 &&
         (no_color == nullptr || *no_color == '\0') &&
         (term == nullptr || std::strcmp(term, "dumb") != 0);
}

absl::Status CantWrite() {
  return absl::UnknownError(
      absl::StrCat("can't write stdout: ", std::strerror(errno)));
}

}  // namespace

std::optional<OutputFormat> ParseOutputFormat(absl::string_view text) {
  for (const FormatEntry& entry : kFormats) {
    if (text == entry.name) return entry.format;
  }
  return std::nullopt;
}

const char* OutputFormatName(OutputFormat format) {
  return kFormats[static_cast<size_t>(format)].name;
}

absl::StatusOr<OutputFormat> ChooseFormat(
    std::optional<OutputFormat> wanted,
    std::initializer_list<OutputFormat> allowed) {
  if (!wanted) return *allowed.begin();
  if (std::find(allowed.begin(), allowed.end(), *wanted) != allowed.end()) {
    return *wanted;
  }
  std::string names;
  for (const OutputFormat format : allowed) {
    absl::StrAppend(&names, names.empty() ? "" : ", ",
                    OutputFormatName(format));
  }
  return UsageError(absl::StrCat("--output: ", OutputFormatName(*wanted),
                                 ", want one of ", names,
                                 " with this command"));
}

std::string ToJson(const google::protobuf::Message& message, bool pretty) {
  google::protobuf::util::JsonPrintOptions options;
  options.add_whitespace = pretty;
  options.always_print_primitive_fields = true;
  options.preserve_proto_field_names = true;
  std::string json;
  const auto status =
      google::protobuf::util::MessageToJsonString(message, &json, options);
  assert(status.ok());  // fails for Any and out-of-range times only
  static_cast<void>(status);
  if (json.empty() || json.back() != '\n') json += '\n';
  return json;
}

absl::Status Print(absl::string_view text) {
  const size_t written = std::fwrite(text.data(), 1, text.size(), stdout);
  return written == text.size() ? absl::OkStatus() : CantWrite();
}

absl::Status FlushStdout() {
  return std::fflush(stdout) == 0 ? absl::OkStatus() : CantWrite();
}

absl::Status PrintTable(const Table& table) {
  return Print(table.Render(ColorAllowed()));
}

void Say(absl::string_view words) {
  std::fprintf(stderr, "%s\n", std::string(words).c_str());
}

std::string ShortTime(absl::string_view rfc3339) {
  std::string text(rfc3339);
  const size_t fraction = text.find('.');
  if (fraction != std::string::npos) {
    text.erase(fraction, text.find('Z') - fraction);
  }
  return text;
}

}  // namespace streamnorm
