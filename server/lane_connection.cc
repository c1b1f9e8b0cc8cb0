#include "server/lane_connection.h"

#include <poll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <chrono>
#include <optional>
#include <utility>

#include "server/errors.h"

namespace streamnorm {
namespace {

// As of a NormalizeStream (normalize_stream_call.cc): requests that wait for
// the disk share its syncs, and a client that never reads can make the server
// keep no more than this.
constexpr size_t kMaxPending = 64;
constexpr size_t kMaxPendingBytes = size_t{512} << 10;

// Answers up to this size are copied together, so that those to requests that
// came together leave with one call to the kernel.
constexpr size_t kSmallAnswerBytes = size_t{16} << 10;
constexpr size_t kOutBytes = size_t{64} << 10;

// Larger ones are not kept for reuse.
constexpr size_t kMaxSpareBytes = size_t{256} << 10;
constexpr size_t kMaxSpare = 4;

// A client sends its greeting at once.
constexpr std::chrono::seconds kGreetingTimeout{5};

}  // namespace

RpcMetrics* LaneMetrics::Of(LaneMethod method) {
  switch (method) {
    case LaneMethod::kNormalize:
      return &normalize;
    case LaneMethod::kMergeMoments:
      return &merge_moments;
    case LaneMethod::kExchangeMoments:
      return &exchange_moments;
  }
  return &other;
}

LaneConnection::LaneConnection(UniqueFd fd, const LaneHello& hello,
                               uint64_t max_message_bytes, Handler* handler,
                               LaneMetrics* metrics)
    : fd_(std::move(fd)),
      wake_(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)),
      hello_(hello),
      handler_(handler),
      metrics_(metrics),
      reader_(fd_.get(), max_message_bytes) {}

void LaneConnection::Run() {
  if (wake_.get() < 0 || !Greet().ok()) return;
  while (true) {
    HandleReceived();
    SendAnswered();
    if (pending_.empty() && over_) break;
    WaitForMore();
  }
  Flush();
}

void LaneConnection::Drain() { shutdown(fd_.get(), SHUT_RD); }

void LaneConnection::Cut() { shutdown(fd_.get(), SHUT_RDWR); }

absl::Status LaneConnection::Greet() {
  std::array<char, 8> magic;
  auto s =
      ReceiveExactly(fd_.get(), magic.data(), magic.size(), kGreetingTimeout);
  if (!s.ok()) return s;
  std::array<uint8_t, kLaneHelloBytes> hello;
  EncodeLaneHello(hello_, hello.data());
  iovec part = {hello.data(), hello.size()};
  if (s = SendAll(fd_.get(), &part, 1); !s.ok()) return s;
  // One of another version reads ours, and goes away.
  return magic == kLaneMagic ? absl::OkStatus()
                             : absl::InvalidArgumentError("not this lane");
}

bool LaneConnection::IsFull() const {
  return pending_.size() >= kMaxPending || pending_bytes_ >= kMaxPendingBytes;
}

// All requests that were received, as far as there is room for their answers.
void LaneConnection::HandleReceived() {
  while (MayRead()) {
    const auto frame = reader_.Take();
    if (!frame.ok()) return RefuseFrame(frame.status());
    if (!*frame) return;
    HandleFrame(**frame);
    SendAnswered();
  }
}

void LaneConnection::HandleFrame(const FrameReader::Frame& frame) {
  std::unique_ptr<Entry> entry =
      NewEntry(metrics_->Of(static_cast<LaneMethod>(frame.header.method)));
  entry->exchange.Handle(frame, handler_,
                         [this, e = entry.get()](absl::Status status) {
                           Answer(e, std::move(status));
                         });
  entry->bytes = frame.header.bytes;
  if (pending_.empty() && IsAnswered(*entry)) {
    Send(entry.get());
    return Recycle(std::move(entry));
  }
  entry->exchange.KeepOutput();
  pending_bytes_ += entry->bytes;
  pending_.push_back(std::move(entry));
}

// Where the next frame begins can't be told.
void LaneConnection::RefuseFrame(const absl::Status& status) {
  over_ = true;
  std::unique_ptr<Entry> entry = NewEntry(&metrics_->other);
  Answer(entry.get(), status);
  pending_.push_back(std::move(entry));
}

// On this thread, or on the committer's.
void LaneConnection::Answer(Entry* entry, absl::Status status) {
  entry->rpc->End(entry->begun, status.code());
  MutexLock lock(&mu_);
  entry->status = std::move(status);
  entry->answered = true;
  if (!std::exchange(waiting_, false)) return;
  // Under the lock: without it this may be gone.
  eventfd_write(wake_.get(), 1);
}

bool LaneConnection::IsAnswered(const Entry& entry) {
  MutexLock lock(&mu_);
  return entry.answered;
}

void LaneConnection::SendAnswered() {
  while (!pending_.empty() && IsAnswered(*pending_.front())) {
    std::unique_ptr<Entry> entry = std::move(pending_.front());
    pending_.pop_front();
    pending_bytes_ -= entry->bytes;
    Send(entry.get());
    Recycle(std::move(entry));
  }
}

void LaneConnection::Send(Entry* entry) {
  entry->exchange.Seal(entry->status);
  const absl::string_view head = entry->exchange.head();
  const absl::string_view data = entry->exchange.data();
  if (head.size() + data.size() <= kSmallAnswerBytes) {
    out_.append(head.data(), head.size());
    out_.append(data.data(), data.size());
    if (out_.size() >= kOutBytes) Flush();
    return;
  }
  Flush();
  if (broken_) return;
  std::array<iovec, 2> parts = {
      {{const_cast<char*>(head.data()), head.size()},
       {const_cast<char*>(data.data()), data.size()}}};
  broken_ = !SendAll(fd_.get(), parts.data(), parts.size()).ok();
  over_ = over_ || broken_;
}

void LaneConnection::Flush() {
  if (!out_.empty() && !broken_) {
    iovec part = {out_.data(), out_.size()};
    broken_ = !SendAll(fd_.get(), &part, 1).ok();
    over_ = over_ || broken_;
  }
  out_.clear();
}

void LaneConnection::WaitForMore() {
  Flush();
  if (!pending_.empty()) return WaitForAnswerOrMore();
  if (!over_) Receive(/*block=*/true);
}

void LaneConnection::WaitForAnswerOrMore() {
  {
    MutexLock lock(&mu_);
    if (pending_.front()->answered) return;
    waiting_ = true;
  }
  std::array<pollfd, 2> pollers = {
      {{wake_.get(), POLLIN, 0}, {MayRead() ? fd_.get() : -1, POLLIN, 0}}};
  const int ready = poll(pollers.data(), pollers.size(), /*timeout=*/-1);
  {
    MutexLock lock(&mu_);
    waiting_ = false;
    eventfd_t ignored = 0;
    eventfd_read(wake_.get(), &ignored);
  }
  if (ready > 0 && pollers[1].revents != 0) Receive(/*block=*/false);
}

void LaneConnection::Receive(bool block) {
  const auto ended = reader_.Receive(block);
  over_ = !ended.ok() || *ended;
}

std::unique_ptr<LaneConnection::Entry> LaneConnection::NewEntry(
    RpcMetrics* rpc) {
  std::unique_ptr<Entry> entry;
  if (spare_.empty()) {
    entry = std::make_unique<Entry>();
  } else {
    entry = std::move(spare_.back());
    spare_.pop_back();
  }
  entry->rpc = rpc;
  entry->begun = rpc->Begin();
  return entry;
}

void LaneConnection::Recycle(std::unique_ptr<Entry> entry) {
  if (entry->bytes > kMaxSpareBytes || spare_.size() >= kMaxSpare) return;
  entry->answered = false;
  entry->bytes = 0;
  spare_.push_back(std::move(entry));
}

}  // namespace streamnorm
