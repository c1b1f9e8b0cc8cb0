#include "client/cli/program_files.h"

#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <system_error>

#include "absl/strings/str_cat.h"
#include "client/cli/exit_code.h"

namespace streamnorm {

namespace fs = std::filesystem;

std::string ProgramDirectory() {
  std::error_code error;
  return fs::read_symlink("/proc/self/exe", error).parent_path().string();
}

absl::StatusOr<std::string> FindProgram(const std::string& folder,
                                        const std::string& name) {
  const fs::path here = ProgramDirectory();
  for (const fs::path& candidate : {here / ".." / folder / name, here / name}) {
    if (access(candidate.c_str(), X_OK) == 0) {
      return candidate.lexically_normal().string();
    }
  }
  return absl::NotFoundError(
      absl::StrCat("no ", name, " near ", here.string()));
}

absl::StatusOr<std::string> FindServer(const std::string& wanted) {
  if (!wanted.empty()) return wanted;
  auto found = FindProgram("server", "streamnorm-server");
  if (found.ok()) return found;
  return UsageError(
      absl::StrCat(found.status().message(), "; name it with --server_binary"));
}

ScratchDirectory::ScratchDirectory(const std::string& parent) {
  std::error_code ignored;
  const fs::path where =
      parent.empty() ? fs::temp_directory_path(ignored) : fs::path(parent);
  path_ = (where / "streamnorm-XXXXXX").string();
  if (mkdtemp(path_.data()) == nullptr) path_.clear();
}

ScratchDirectory::~ScratchDirectory() {
  std::error_code ignored;
  if (!path_.empty()) fs::remove_all(path_, ignored);
}

}  // namespace streamnorm
