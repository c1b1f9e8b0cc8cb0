#ifndef STREAMNORM_CLIENT_CLI_OUTPUT_FILE_H_
#define STREAMNORM_CLIENT_CLI_OUTPUT_FILE_H_

#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace streamnorm {

// A file that is written through a buffer. Not thread safe.
class OutputFile {
 public:
  // Made or emptied; "" or "-" is stdout.
  static absl::StatusOr<std::unique_ptr<OutputFile>> Open(
      const std::string& path);
  ~OutputFile();
  OutputFile(const OutputFile&) = delete;
  OutputFile& operator=(const OutputFile&) = delete;

  absl::Status Append(absl::string_view bytes);

  // False for pipes and terminals.
  bool CanOverwrite() const;

  // Replaces what is at the beginning. REQUIRES: CanOverwrite().
  absl::Status OverwriteBeginning(absl::string_view bytes);

  // Writes what is in the buffer; the only way to learn of a late failure.
  absl::Status Flush();

  const std::string& name() const { return name_; }

 private:
  OutputFile(int fd, std::string name) : fd_(fd), name_(std::move(name)) {}

  absl::Status Failed() const;

  const int fd_;
  const std::string name_;
  std::string buffer_;
};

}  // namespace streamnorm

#endif  // STREAMNORM_CLIENT_CLI_OUTPUT_FILE_H_
