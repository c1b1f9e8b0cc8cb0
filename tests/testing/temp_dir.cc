#include "tests/testing/temp_dir.h"

#include <cstdlib>
#include <filesystem>
#include <system_error>

namespace streamnorm {

TempDir::TempDir() {
  const char* root = std::getenv("TMPDIR");
  path_ = std::string(root != nullptr && *root != '\0' ? root : "/tmp") +
          "/streamnorm-XXXXXX";
  if (mkdtemp(path_.data()) == nullptr) std::abort();
}

TempDir::~TempDir() {
  std::error_code ignored;
  std::filesystem::remove_all(path_, ignored);
}

}  // namespace streamnorm
