#ifndef STREAMNORM_SERVER_MAINTENANCE_CALL_H_
#define STREAMNORM_SERVER_MAINTENANCE_CALL_H_

#include <optional>
#include <utility>

#include "absl/status/status.h"
#include "grpcpp/support/server_callback.h"
#include "server/maintenance.h"
#include "server/metrics.h"
#include "server/mutex.h"
#include "server/rpc_status.h"

namespace streamnorm {

// One call that tells how far long work is. A client that reads slowly misses
// some of the answers, but not the last one. Deletes itself when the call is
// over; Watcher::done has been called by then. Safe for concurrent use.
template <typename Response>
class MaintenanceCall : public grpc::ServerWriteReactor<Response> {
 public:
  // `rpc`, which counts it, outlives it.
  explicit MaintenanceCall(RpcMetrics* rpc) : rpc_(rpc), begun_(rpc->Begin()) {}

  // Goes where the work is done.
  Watcher<Response> watcher() {
    return {[this](const Response& response) { return Send(response); },
            [this](const absl::Status& status) { End(status); }};
  }

  void OnWriteDone(bool ok) override {
    std::optional<grpc::Status> finish;
    {
      MutexLock lock(&mu_);
      writing_ = false;
      if (!ok) cancelled_ = true;
      finish = Advance();
    }
    if (finish) this->Finish(*finish);
  }

  void OnCancel() override {
    MutexLock lock(&mu_);
    cancelled_ = true;
  }

  void OnDone() override { delete this; }

 private:
  absl::Status Send(const Response& response) {
    MutexLock lock(&mu_);
    if (cancelled_) return absl::CancelledError("the caller is gone");
    next_ = response;
    Advance();  // not over yet
    return absl::OkStatus();
  }

  void End(const absl::Status& status) {
    rpc_->End(begun_, status.code());
    std::optional<grpc::Status> finish;
    {
      MutexLock lock(&mu_);
      end_ = ToGrpcStatus(status);
      if (!status.ok()) next_.reset();
      finish = Advance();
    }
    if (finish) this->Finish(*finish);
  }

  // Starts what can be started now. The call is to be finished, as the last
  // act and without the lock, if this returns a status.
  std::optional<grpc::Status> Advance() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_) {
    if (writing_) return std::nullopt;
    if (!next_ || cancelled_) return end_;
    current_ = *std::exchange(next_, std::nullopt);
    writing_ = true;
    this->StartWrite(&current_);
    return std::nullopt;
  }

  RpcMetrics* const rpc_;
  const RpcMetrics::Clock::time_point begun_;
  Mutex mu_;
  Response current_ ABSL_GUARDED_BY(mu_);  // gRPC reads it while writing_
  std::optional<Response> next_ ABSL_GUARDED_BY(mu_);
  std::optional<grpc::Status> end_ ABSL_GUARDED_BY(mu_);
  bool writing_ ABSL_GUARDED_BY(mu_) = false;
  bool cancelled_ ABSL_GUARDED_BY(mu_) = false;
};

}  // namespace streamnorm

#endif  // STREAMNORM_SERVER_MAINTENANCE_CALL_H_
