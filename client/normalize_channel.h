#ifndef STREAMNORM_CLIENT_NORMALIZE_CHANNEL_H_
#define STREAMNORM_CLIENT_NORMALIZE_CHANNEL_H_

#include <chrono>
#include <functional>
#include <memory>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "client/session_channel.h"
#include "grpcpp/client_context.h"
#include "grpcpp/completion_queue.h"
#include "grpcpp/support/async_stream.h"
#include "streamnorm/v1/normalizer_service.grpc.pb.h"

namespace streamnorm {

// One NormalizeStream call.
class NormalizeChannel final : public SessionChannel {
 public:
  explicit NormalizeChannel(v1::NormalizerService::Stub* stub);

  // Cancels the call and waits for its end.
  ~NormalizeChannel() override;

  bool can_write() const override { return started_ && !writing_ && !broken_; }
  void Write(v1::NormalizeRequest* request) override;
  Event Wait(std::chrono::steady_clock::time_point deadline) override;
  v1::NormalizeResponse& answer() override { return answer_; }
  absl::Status status() override;

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
