#ifndef STREAMNORM_CLIENT_SESSION_CHANNEL_H_
#define STREAMNORM_CLIENT_SESSION_CHANNEL_H_

#include <chrono>

#include "absl/status/status.h"
#include "streamnorm/v1/normalizer_service.pb.h"

namespace streamnorm {

// What carries a session's requests to the server and its answers back, in
// their order: a NormalizeStream of gRPC, or the lane. It is driven by its
// caller's thread; a write and a read can be under way at the same time, so
// neither side waits for the other's flow control, and every wait has a
// deadline. Not thread safe.
class SessionChannel {
 public:
  // Ends it, whatever is under way.
  virtual ~SessionChannel() = default;

  virtual bool can_write() const = 0;

  // REQUIRES: can_write(); `request` lives until can_write() is true again or
  // this is destroyed, and is as before then.
  virtual void Write(v1::NormalizeRequest* request) = 0;

  enum class Event { kProgress, kAnswer, kBroken, kTimeout };

  // A deadline that lets Wait take what is there and go. (With any other one
  // that has passed, gRPC may well wait for a millisecond.)
  static constexpr auto kNoWait = std::chrono::steady_clock::time_point::min();

  // Waits for the next thing to happen. After kAnswer, answer() is the next
  // response.
  virtual Event Wait(std::chrono::steady_clock::time_point deadline) = 0;
  virtual v1::NormalizeResponse& answer() = 0;

  // Why it broke. REQUIRES: the last event was kBroken.
  virtual absl::Status status() = 0;
};

}  // namespace streamnorm

#endif  // STREAMNORM_CLIENT_SESSION_CHANNEL_H_
