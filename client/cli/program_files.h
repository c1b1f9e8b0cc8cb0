#ifndef STREAMNORM_CLIENT_CLI_PROGRAM_FILES_H_
#define STREAMNORM_CLIENT_CLI_PROGRAM_FILES_H_

#include <string>

#include "absl/status/statusor.h"

namespace streamnorm {

// Where this program lies.
std::string ProgramDirectory();

// The program `name` next door: in the same directory, or in `folder` of the
// same build. NOT_FOUND, with where it was looked for.
absl::StatusOr<std::string> FindProgram(const std::string& folder,
                                        const std::string& name);

// `wanted` if it is not "", else the streamnorm-server next door. A usage error
// if there is none.
absl::StatusOr<std::string> FindServer(const std::string& wanted);

// A directory that is gone at the end.
class ScratchDirectory {
 public:
  // Below `parent`; "" = the directory for temporary files.
  explicit ScratchDirectory(const std::string& parent = "");
  ~ScratchDirectory();
  ScratchDirectory(const ScratchDirectory&) = delete;
  ScratchDirectory& operator=(const ScratchDirectory&) = delete;

  // "" if there can't be one.
  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

}  // namespace streamnorm

#endif  // STREAMNORM_CLIENT_CLI_PROGRAM_FILES_H_
