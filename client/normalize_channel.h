#ifndef STREAMNORM_CLIENT_NORMALIZE_CHANNEL_H_
#define STREAMNORM_CLIENT_NORMALIZE_CHANNEL_H_

#include <chrono>
#include <functional>
#include <memory>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "grpcpp/client_context.h"
#include "grpcpp/completion_queue.h"
#include "grpcpp/support/async_stream.h"
#include "streamnorm/v1/normalizer_service.grpc.pb.h"

namespace streamnorm {

// One NormalizeStream call, driven by its caller's thread: a write and a read
// can be under way at the same time, so neither side waits for the other's
// flow control, and every wait has a deadline. Not thread safe.
class NormalizeChannel {
 public:
  explicit NormalizeChannel(v1::NormalizerService::Stub* stub);

  // Cancels the call and waits for its end.
  ~NormalizeChannel();

  bool can_write() const { return started_ && !writing_ && !broken_; }

  // REQUIRES: can_write(); `request` lives until can_write() is true again or
  // this is destroyed.
  void Write(const v1::NormalizeRequest& request);

  enum class Event { kProgress, kAnswer, kBroken, kTimeout };

  // A deadline that lets Wait take what is there and go. (With any other one
  // that has passed, gRPC may well wait for a millisecond.)
  static constexpr auto kNoWait = std::chrono::steady_clock::time_point::min();

  // Waits for the next thing to happen. After kAnswer, answer() is the next
  // response.
  Event Wait(std::chrono::steady_clock::time_point deadline);
  v1::NormalizeResponse& answer() { return answer_; }

  // Why it broke. REQUIRES: the last event was kBroken.
  absl::Status status();

 private:
  void StartRead();
  void Drain();

  grpc::CompletionQueue queue_;
  grpc::ClientContext context_;
  std::unique_ptr<grpc::ClientAsyncReaderWriter<v1::NormalizeRequest,
                                                v1::NormalizeResponse>>
      stream_;
  v1::NormalizeResponse answer_;
  grpc::Status status_;
  bool started_ = false;
  bool writing_ = false;
  bool reading_ = false;
  bool answer_taken_ = false;
  bool broken_ = false;
  bool finished_ = false;
};

}  // namespace streamnorm

#endif  // STREAMNORM_CLIENT_NORMALIZE_CHANNEL_H_
