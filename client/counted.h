#ifndef STREAMNORM_CLIENT_COUNTED_H_
#define STREAMNORM_CLIENT_COUNTED_H_

#include <cstdint>
#include <string>

#include "streamnorm/v1/normalizer_service.pb.h"

namespace streamnorm {

// What a server counted of one normalizer's sequences.
class Counted {
 public:
  explicit Counted(const v1::SessionProgress* progress) : progress_(progress) {}

  bool known() const { return progress_ != nullptr; }

  uint64_t applied() const {
    return progress_ == nullptr ? 0 : progress_->applied_sequence();
  }

  bool Has(uint64_t sequence) const {
    if (sequence <= applied()) return true;
    if (progress_ == nullptr) return false;
    const uint64_t bit = sequence - applied() - 1;
    const std::string& window = progress_->window();
    return bit / 8 < window.size() &&
           (static_cast<uint8_t>(window[bit / 8]) >> (bit % 8) & 1) != 0;
  }

 private:
  const v1::SessionProgress* const progress_;
};

inline Counted CountedOf(const v1::ResumeSessionResponse& resumed,
                         const std::string& name) {
  for (const auto& progress : resumed.progress()) {
    if (progress.name() == name) return Counted(&progress);
  }
  return Counted(nullptr);
}

}  // namespace streamnorm

#endif  // STREAMNORM_CLIENT_COUNTED_H_
