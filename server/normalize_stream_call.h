#ifndef STREAMNORM_SERVER_NORMALIZE_STREAM_CALL_H_
#define STREAMNORM_SERVER_NORMALIZE_STREAM_CALL_H_

#include <cstddef>
#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <vector>

#include "absl/status/status.h"
#include "grpcpp/support/server_callback.h"
#include "server/handler.h"
#include "server/metrics.h"
#include "server/mutex.h"
#include "server/normalize_exchange.h"

namespace streamnorm {

// One NormalizeStream call: reads the next request while the answer before it
// is written, and answers in the order of the requests, also where one waits
// for the disk. A bounded number of requests is in it at a time: a client that
// doesn't read its answers is not read from either.
//
// Deletes itself when the call is over. Drain is safe for concurrent use.
class NormalizeStreamCall
    : public grpc::ServerBidiReactor<grpc::ByteBuffer, grpc::ByteBuffer> {
 public:
  // `on_done` is called with this as the last act. `messages` counts them.
  NormalizeStreamCall(Handler* handler, RpcMetrics* messages,
                      std::function<void(NormalizeStreamCall*)> on_done);

  // Begins to read. Separate from the constructor, so that the owner knows the
  // stream before it can end.
  void Start();

  // Answers what was read, then ends the call with UNAVAILABLE.
  void Drain();

  void OnReadDone(bool ok) override;
  void OnWriteDone(bool ok) override;
  void OnDone() override;

 private:
  struct Entry {
    NormalizeExchange exchange;
    size_t bytes = 0;  // of the request
    RpcMetrics::Clock::time_point begun;
    bool answered = false;
  };

  void Answer(Entry* entry, const absl::Status& status);

  // Starts what can be started now. The call is to be finished, as the last
  // act and without the lock, if this returns a status.
  std::optional<grpc::Status> Advance() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  bool IsNextReadLater() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void StartNextRead() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void FinishIf(const std::optional<grpc::Status>& status);

  Handler* const handler_;
  RpcMetrics* const messages_;
  const std::function<void(NormalizeStreamCall*)> on_done_;

  Mutex mu_;
  // Requests being answered, oldest first; their answers leave in this order.
  std::deque<std::unique_ptr<Entry>> pending_ ABSL_GUARDED_BY(mu_);
  std::unique_ptr<Entry> reading_ ABSL_GUARDED_BY(mu_);
  std::vector<std::unique_ptr<Entry>> spare_ ABSL_GUARDED_BY(mu_);
  size_t pending_bytes_ ABSL_GUARDED_BY(mu_) = 0;
  bool writing_ ABSL_GUARDED_BY(mu_) = false;
  // A request is on its way to its normalizer: the next one must not be read,
  // or another thread could bring it there first.
  bool handing_over_ ABSL_GUARDED_BY(mu_) = false;
  bool reads_over_ ABSL_GUARDED_BY(mu_) = false;
  bool broken_ ABSL_GUARDED_BY(mu_) = false;
  bool draining_ ABSL_GUARDED_BY(mu_) = false;
  bool finished_ ABSL_GUARDED_BY(mu_) = false;
};

}  // namespace streamnorm

#endif  // STREAMNORM_SERVER_NORMALIZE_STREAM_CALL_H_
