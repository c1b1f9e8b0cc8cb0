#include "server/normalize_stream_call.h"

#include <utility>

#include "server/errors.h"
#include "server/rpc_status.h"

namespace streamnorm {
namespace {

// Requests of one stream in the server at a time. With wait_durable each waits
// for a commit, so this many share one sync.
constexpr size_t kMaxPending = 64;

// No further request is read while those in the server are larger than this: a
// large batch is worked on while gRPC receives the next one. It is what a
// client that never reads can make the server keep, besides its answers
// (docs/decisions/0007-buffers-of-slow-readers.md).
constexpr size_t kMaxPendingBytes = size_t{512} << 10;

// Larger messages are not kept for reuse.
constexpr size_t kMaxSpareBytes = size_t{64} << 10;
constexpr size_t kMaxSpare = 4;

}  // namespace

NormalizeStreamCall::NormalizeStreamCall(
    Handler* handler, RpcMetrics* messages,
    std::function<void(NormalizeStreamCall*)> on_done)
    : handler_(handler), messages_(messages), on_done_(std::move(on_done)) {}

void NormalizeStreamCall::Start() {
  MutexLock lock(&mu_);
  StartNextRead();
}

void NormalizeStreamCall::Drain() {
  std::optional<grpc::Status> finish;
  {
    MutexLock lock(&mu_);
    draining_ = true;
    finish = Advance();
  }
  FinishIf(finish);
}

void NormalizeStreamCall::OnReadDone(bool ok) {
  Entry* entry = nullptr;
  std::optional<grpc::Status> finish;
  {
    MutexLock lock(&mu_);
    if (ok && !finished_ && !broken_) {
      entry = reading_.get();
      handing_over_ = true;
      entry->bytes = entry->exchange.request_bytes();
      pending_bytes_ += entry->bytes;
      pending_.push_back(std::move(reading_));
    } else {
      reading_.reset();
      reads_over_ = true;
      finish = Advance();
    }
  }
  if (entry == nullptr) return FinishIf(finish);
  entry->begun = messages_->Begin();
  entry->exchange.Handle(handler_, [this, entry](const absl::Status& status) {
    Answer(entry, status);
  });
  // The answer may wait for the disk: read on meanwhile.
  {
    MutexLock lock(&mu_);
    handing_over_ = false;
    finish = Advance();
  }
  FinishIf(finish);
}

void NormalizeStreamCall::Answer(Entry* entry, const absl::Status& status) {
  entry->exchange.Seal(status);
  messages_->End(entry->begun, status.code());
  std::optional<grpc::Status> finish;
  {
    MutexLock lock(&mu_);
    entry->answered = true;
    finish = Advance();
  }
  FinishIf(finish);
}

void NormalizeStreamCall::OnWriteDone(bool ok) {
  std::optional<grpc::Status> finish;
  {
    MutexLock lock(&mu_);
    writing_ = false;
    if (!ok) broken_ = true;
    std::unique_ptr<Entry> done = std::move(pending_.front());
    pending_.pop_front();
    pending_bytes_ -= done->bytes;
    if (done->bytes <= kMaxSpareBytes && spare_.size() < kMaxSpare) {
      done->exchange.Clear();
      done->answered = false;
      spare_.push_back(std::move(done));
    }
    finish = Advance();
  }
  FinishIf(finish);
}

std::optional<grpc::Status> NormalizeStreamCall::Advance() {
  if (finished_) return std::nullopt;
  while (broken_ && !writing_ && !pending_.empty() &&
         pending_.front()->answered) {
    pending_.pop_front();
  }
  if (!broken_ && !writing_ && !pending_.empty() &&
      pending_.front()->answered) {
    writing_ = true;
    StartWrite(pending_.front()->exchange.answer());
  }
  const bool over = reads_over_ || draining_ || broken_;
  if (!over && !IsNextReadLater()) StartNextRead();
  if (!over || !pending_.empty() || writing_) return std::nullopt;
  finished_ = true;
  if (reads_over_) return grpc::Status::OK;
  // A read may be under way; Finish ends it.
  return ToGrpcStatus(
      MakeError(Reason::kShuttingDown,
                "the server is shutting down; connect again and resume"));
}

// While the only answer, a small one, leaves: two operations at a time cost
// gRPC more than the wait (4x32, one in flight: 0.78 of an echo, not 0.74).
bool NormalizeStreamCall::IsNextReadLater() const {
  return writing_ && pending_.size() == 1 && pending_bytes_ <= kMaxSpareBytes;
}

void NormalizeStreamCall::StartNextRead() {
  if (handing_over_ || reading_ != nullptr || pending_.size() >= kMaxPending ||
      pending_bytes_ >= kMaxPendingBytes) {
    return;
  }
  if (spare_.empty()) {
    reading_ = std::make_unique<Entry>();
  } else {
    reading_ = std::move(spare_.back());
    spare_.pop_back();
  }
  StartRead(reading_->exchange.message());
}

void NormalizeStreamCall::FinishIf(const std::optional<grpc::Status>& status) {
  if (status) Finish(*status);
}

void NormalizeStreamCall::OnDone() {
  on_done_(this);
  delete this;
}

}  // namespace streamnorm
