#ifndef STREAMNORM_TESTS_TESTING_TEMP_DIR_H_
#define STREAMNORM_TESTS_TESTING_TEMP_DIR_H_

#include <string>
#include <string_view>

namespace streamnorm {

// An empty directory of its own under TMPDIR (/tmp if unset), removed with all
// that is in it at the end. Aborts the test if there can't be one.
class TempDir {
 public:
  TempDir();
  ~TempDir();
  TempDir(const TempDir&) = delete;
  TempDir& operator=(const TempDir&) = delete;

  const std::string& path() const { return path_; }

  // A path in it.
  std::string operator/(std::string_view name) const {
    return path_ + "/" + std::string(name);
  }

 private:
  std::string path_;
};

}  // namespace streamnorm

#endif  // STREAMNORM_TESTS_TESTING_TEMP_DIR_H_
