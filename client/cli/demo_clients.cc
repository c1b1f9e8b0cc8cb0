#include "client/cli/demo_clients.h"

#include <algorithm>
#include <memory>
#include <random>
#include <utility>

#include "absl/strings/str_cat.h"

namespace streamnorm {
namespace {

using Clock = std::chrono::steady_clock;

// As a training loop that prefetches has.
constexpr size_t kInFlight = 8;

// A call gives up after a slice, so that a request to stop is soon seen; it is
// made again until the server has been away for too long.
constexpr std::chrono::milliseconds kSlice{1000};
constexpr std::chrono::seconds kPatience{60};

constexpr unsigned kOrderSeed = 7;

}  // namespace

DemoClients::DemoClients(const std::string& address, size_t clients,
                         const std::vector<DemoRows>* streams)
    : address_(address), clients_(clients), running_(clients) {
  for (const DemoRows& stream : *streams) {
    for (size_t i = 0; i + 1 < stream.rows(); i += kRowsPerBatch) {
      batches_.push_back({&stream, i});
    }
  }
  std::shuffle(batches_.begin(), batches_.end(), std::mt19937(kOrderSeed));
  for (size_t i = 0; i < clients_; ++i) {
    threads_.emplace_back([this, i] { Run(i); });
  }
}

DemoClients::~DemoClients() {
  {
    const std::lock_guard lock(mutex_);
    stop_ = true;
  }
  for (std::thread& thread : threads_) thread.join();
}

absl::Status DemoClients::WaitForAnswers(uint64_t rows,
                                         const std::function<bool()>& stop) {
  constexpr std::chrono::milliseconds kBetweenLooks{50};
  std::unique_lock lock(mutex_);
  while (totals_.rows_answered < rows) {
    if (!failure_.ok()) return failure_;
    if (stop()) return absl::CancelledError("interrupted");
    changed_.wait_for(lock, kBetweenLooks);
  }
  return absl::OkStatus();
}

absl::Status DemoClients::WaitForEnd(const std::function<bool()>& stop) {
  if (auto s = WaitForAnswers(total_rows(), stop); !s.ok()) return s;
  constexpr std::chrono::milliseconds kBetweenLooks{50};
  std::unique_lock lock(mutex_);
  while (running_ > 0) {
    if (stop()) return absl::CancelledError("interrupted");
    changed_.wait_for(lock, kBetweenLooks);
  }
  return failure_;
}

DemoClients::Totals DemoClients::totals() {
  const std::lock_guard lock(mutex_);
  return totals_;
}

void DemoClients::Run(size_t client) {
  const absl::Status status = SendShare(client);
  const std::lock_guard lock(mutex_);
  --running_;
  if (failure_.ok() && !stop_) failure_ = status;
  changed_.notify_all();
}

absl::Status DemoClients::SendShare(size_t client) {
  ClientOptions options;
  options.request_timeout = kSlice;
  const auto connection = Client::Connect(address_, options);
  if (!connection.ok()) return connection.status();
  const auto opened =
      (*connection)->OpenSession(absl::StrCat("demo client ", client + 1));
  if (!opened.ok()) return opened.status();
  ClientSession* session = opened->get();
  for (size_t i = client; i < batches_.size(); i += clients_) {
    if (auto s = ReceiveDownTo(session, kInFlight - 1); !s.ok()) return s;
    if (auto s = Send(session, batches_[i]); !s.ok()) return s;
  }
  if (auto s = ReceiveDownTo(session, 0); !s.ok()) return s;
  if (auto s = Patiently([&] { return session->Close(); }); !s.ok()) return s;
  const std::lock_guard lock(mutex_);
  totals_.updates_sent_again += session->replayed_updates();
  totals_.reconnects += session->reconnects();
  return absl::OkStatus();
}

absl::Status DemoClients::Send(ClientSession* session, const Batch& batch) {
  const size_t features = batch.stream->features;
  const auto values =
      std::span(batch.stream->values)
          .subspan(batch.first_row * features, kRowsPerBatch * features);
  return Patiently([&] {
    return session->Submit(MakeNormalizeRequest(
        batch.stream->id, RowsOf(values, features), v1::UPDATE_THEN_NORMALIZE));
  });
}

absl::Status DemoClients::ReceiveDownTo(ClientSession* session,
                                        size_t in_flight) {
  while (session->in_flight() > in_flight) {
    auto s = Patiently([&] { return session->Receive().status(); });
    if (!s.ok()) return s;
    CountAnswer();
  }
  return absl::OkStatus();
}

template <typename Call>
absl::Status DemoClients::Patiently(Call call) {
  const auto deadline = Clock::now() + kPatience;
  while (!stopped()) {
    const absl::Status status = call();
    const bool in_vain =
        absl::IsDeadlineExceeded(status) || absl::IsUnavailable(status);
    if (!in_vain || Clock::now() >= deadline) return status;
  }
  return absl::CancelledError("interrupted");
}

void DemoClients::CountAnswer() {
  const auto now = Clock::now();
  const std::lock_guard lock(mutex_);
  if (totals_.rows_answered > 0) {
    totals_.longest_silence =
        std::max(totals_.longest_silence, now - last_answer_);
  }
  last_answer_ = now;
  totals_.rows_answered += kRowsPerBatch;
  changed_.notify_all();
}

bool DemoClients::stopped() {
  const std::lock_guard lock(mutex_);
  return stop_;
}

}  // namespace streamnorm
