#ifndef STREAMNORM_TESTS_CLI_STRING_SOURCE_H_
#define STREAMNORM_TESTS_CLI_STRING_SOURCE_H_

#include <algorithm>
#include <cstring>
#include <memory>
#include <string>
#include <utility>

#include "client/cli/byte_source.h"

namespace streamnorm {

// The bytes of a string as a file "f" of unknown size, `part` at a time.
class StringSource : public ByteSource {
 public:
  explicit StringSource(std::string bytes, size_t part = 1 << 20)
      : bytes_(std::move(bytes)), part_(part) {}

  absl::StatusOr<size_t> Read(char* to, size_t size) override {
    const size_t n = std::min({size, part_, bytes_.size() - begin_});
    std::memcpy(to, bytes_.data() + begin_, n);
    begin_ += n;
    return n;
  }

  const std::string& name() const override { return name_; }

 private:
  const std::string name_ = "f";
  const std::string bytes_;
  const size_t part_;
  size_t begin_ = 0;
};

}  // namespace streamnorm

#endif  // STREAMNORM_TESTS_CLI_STRING_SOURCE_H_
