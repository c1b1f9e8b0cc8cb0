#ifndef STREAMNORM_STORAGE_PROGRESS_METER_H_
#define STREAMNORM_STORAGE_PROGRESS_METER_H_

#include <cstdint>
#include <utility>

#include "absl/status/status.h"
#include "storage/maintenance.h"

namespace streamnorm {

// Counts what was done and tells at every MiB. Not thread safe.
class ProgressMeter {
 public:
  ProgressMeter(uint64_t total_bytes, OnStoreProgress on_progress)
      : on_progress_(std::move(on_progress)) {
    progress_.total_bytes = total_bytes;
  }

  absl::Status Begin() { return Tell(); }

  absl::Status Add(uint64_t bytes, uint64_t records) {
    progress_.bytes += bytes;
    progress_.records += records;
    if (progress_.bytes < next_) return absl::OkStatus();
    return Tell();
  }

 private:
  absl::Status Tell() {
    constexpr uint64_t kStep = uint64_t{1} << 20;
    next_ = progress_.bytes + kStep;
    return on_progress_ ? on_progress_(progress_) : absl::OkStatus();
  }

  const OnStoreProgress on_progress_;
  StoreProgress progress_;
  uint64_t next_ = 0;
};

}  // namespace streamnorm

#endif  // STREAMNORM_STORAGE_PROGRESS_METER_H_
