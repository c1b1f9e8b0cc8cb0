#include "client/cli/normalize_rows.h"

#include <algorithm>
#include <deque>
#include <memory>
#include <utility>

#include "absl/strings/str_cat.h"
#include "client/cli/exit_code.h"
#include "client/cli/rows_input.h"

namespace streamnorm {
namespace {

// Large enough that the network is never waited for, small enough that little
// is under way when someone presses Ctrl-C.
constexpr size_t kMostInFlight = 32;
constexpr size_t kMostBytesInFlight = size_t{16} << 20;

constexpr size_t kDefaultBatchRows = 256;
constexpr size_t kDefaultBatchBytes = size_t{4} << 20;

// A request besides its tensor's bytes: name, ids, shape.
constexpr uint64_t kRequestOverhead = 1024;

// The status with the rows it is about in front.
absl::Status AboutRows(const absl::Status& status, const RowsSource& source,
                       const RowBatch& batch) {
  absl::Status result(
      status.code(),
      absl::StrCat(source.input().name(), ": rows ", batch.first_row, " to ",
                   batch.first_row + batch.rows - 1, ": ", status.message()));
  status.ForEachPayload([&](absl::string_view url, const absl::Cord& payload) {
    result.SetPayload(url, payload);
  });
  return result;
}

// Takes batches, sends them, writes the answers.
class Sender {
 public:
  virtual ~Sender() = default;
  virtual absl::Status Send(RowBatch batch) = 0;

  // Waits for what is under way; to be called after errors as well.
  virtual absl::Status Finish() = 0;
};

// What every answer has in common.
template <typename Answer>
absl::Status TakeAnswer(const RowsJob& job, const RowBatch& batch,
                        const Answer& answer, RowTotals* totals) {
  if (totals->answered == 0) totals->first_revision = answer.revision();
  totals->last_revision = answer.revision();
  totals->row_count = answer.row_count();
  totals->clipped_values += answer.clipped_values();
  totals->answered += batch.rows;
  if (job.sink == nullptr) return absl::OkStatus();
  const std::string& values = answer.output().data();
  if (values.size() != batch.view().size_bytes()) {
    return absl::InternalError(
        absl::StrCat("the server answered ", values.size(), " bytes, want ",
                     batch.view().size_bytes(), "; is it of another version?"));
  }
  return job.sink->Write(batch, values);
}

// Keeps many batches under way in a session.
class SessionSender : public Sender {
 public:
  SessionSender(const RowsJob& job, std::unique_ptr<ClientSession> session,
                RowTotals* totals)
      : job_(job), session_(std::move(session)), totals_(totals) {}

  absl::Status Send(RowBatch batch) override {
    while (session_->in_flight() >= MostInFlight(batch)) {
      if (auto s = ReceiveOne(); !s.ok()) return s;
    }
    auto request = MakeNormalizeRequest(job_.id, batch.view(), job_.mode);
    request.set_fail_if_frozen(job_.mode == v1::UPDATE_ONLY);
    if (auto s = session_->Submit(std::move(request)); !s.ok()) {
      return Lost(s);
    }
    totals_->sent += batch.rows;
    batch.values = std::vector<uint8_t>();  // the session has a copy
    waiting_.push_back(std::move(batch));
    return absl::OkStatus();
  }

  absl::Status Finish() override {
    absl::Status first;
    while (!lost_ && session_->in_flight() > 0) {
      const absl::Status status = ReceiveOne();
      if (first.ok()) first = status;
    }
    if (!lost_) {
      const absl::Status closed = session_->Close();
      if (closed.ok()) totals_->on_disk = totals_->counted;
      if (first.ok() && !closed.ok()) first = Lost(closed);
    }
    totals_->updates_sent_again = session_->replayed_updates();
    totals_->reconnects = session_->reconnects();
    return first;
  }

 private:
  static size_t MostInFlight(const RowBatch& batch) {
    const size_t bytes = std::max<size_t>(1, batch.values.size());
    return std::clamp<size_t>(kMostBytesInFlight / bytes, 1, kMostInFlight);
  }

  absl::Status ReceiveOne() {
    const size_t before = session_->in_flight();
    auto answer = session_->Receive();
    if (session_->in_flight() == before) return Lost(answer.status());
    const RowBatch batch = std::move(waiting_.front());
    waiting_.pop_front();
    if (!answer.ok()) {
      stop_writing_ = true;
      return AboutRows(answer.status(), *job_.source, batch);
    }
    TakeCounts(batch, *answer);
    if (stop_writing_) return absl::OkStatus();
    const absl::Status written = TakeAnswer(job_, batch, *answer, totals_);
    stop_writing_ = !written.ok();
    if (job_.on_progress) job_.on_progress(*totals_);
    return written;
  }

  void TakeCounts(const RowBatch& batch, const v1::NormalizeResponse& answer) {
    // A duplicate was counted by a try whose answer was lost.
    totals_->counted += answer.duplicate() ? batch.rows : answer.counted_rows();
    totals_->skipped_values += answer.nonfinite_values();
    totals_->frozen = totals_->frozen || answer.frozen();
    if (answer.warming_up()) totals_->warming_up += batch.rows;
    // Sequence numbers run from 1 in the order of the batches, all of one size
    // but the last.
    totals_->on_disk =
        std::max(totals_->on_disk,
                 std::min<uint64_t>(answer.durable_sequence() * job_.batch_rows,
                                    totals_->counted));
  }

  // The session can't go on; says what is known of the rows.
  absl::Status Lost(const absl::Status& status) {
    lost_ = true;
    const uint64_t unknown = totals_->sent - totals_->on_disk;
    const bool away =
        absl::IsDeadlineExceeded(status) || absl::IsUnavailable(status);
    const std::string what =
        away ? absl::StrCat("the server at ", job_.client->address(),
                            " did not answer in time")
             : std::string(status.message());
    return absl::Status(
        status.code(),
        absl::StrCat(what, " (of ", totals_->sent, " rows sent, ",
                     totals_->on_disk, " are counted and on its disk",
                     unknown == 0
                         ? ")"
                         : absl::StrCat(", the other ", unknown, " may be)")));
  }

  const RowsJob& job_;
  const std::unique_ptr<ClientSession> session_;
  RowTotals* const totals_;
  std::deque<RowBatch> waiting_;  // for answers, oldest first
  bool lost_ = false;
  bool stop_writing_ = false;  // the output ends before the first gap
};

// One call per batch; nothing is counted, so nothing is to be kept.
class CallSender : public Sender {
 public:
  using Call = std::function<absl::Status(const RowBatch&)>;

  CallSender(const RowsJob& job, Call call, RowTotals* totals)
      : job_(job), call_(std::move(call)), totals_(totals) {}

  absl::Status Send(RowBatch batch) override {
    totals_->sent += batch.rows;
    const absl::Status status = call_(batch);
    if (absl::IsInvalidArgument(status)) {
      return AboutRows(status, *job_.source, batch);
    }
    if (job_.on_progress) job_.on_progress(*totals_);
    return status;
  }

  absl::Status Finish() override { return absl::OkStatus(); }

 private:
  const RowsJob& job_;
  const Call call_;
  RowTotals* const totals_;
};

absl::Status SendAll(const RowsJob& job, Sender* sender) {
  while (true) {
    if (job.stop && job.stop()) return absl::CancelledError("interrupted");
    RowBatch batch;
    if (auto s = job.source->Read(job.batch_rows, job.type, &batch); !s.ok()) {
      return s;
    }
    if (batch.rows == 0) return absl::OkStatus();
    if (auto s = CheckNonfinite(job.normalizer, *job.source, batch); !s.ok())
      return s;
    if (auto s = sender->Send(std::move(batch)); !s.ok()) return s;
  }
}

absl::Status Run(const RowsJob& job, Sender* sender) {
  const absl::Status sent = SendAll(job, sender);
  const absl::Status finished = sender->Finish();
  const absl::Status written =
      job.sink == nullptr ? absl::OkStatus() : job.sink->Finish();
  if (!sent.ok()) return sent;
  return finished.ok() ? written : finished;
}

absl::Status NormalizeOnly(const RowsJob& job, RowTotals* totals) {
  CallSender sender(
      job,
      [&](const RowBatch& batch) {
        const auto answer = job.client->NormalizeOnly(job.id, batch.view());
        if (!answer.ok()) return answer.status();
        totals->skipped_values += answer->nonfinite_values();
        if (answer->warming_up()) totals->warming_up += batch.rows;
        return TakeAnswer(job, batch, *answer, totals);
      },
      totals);
  return Run(job, &sender);
}

}  // namespace

absl::Status NormalizeRows(const RowsJob& job, RowTotals* totals) {
  if (job.mode == v1::NORMALIZE_ONLY) return NormalizeOnly(job, totals);
  auto session = job.client->OpenSession("streamnorm normalize");
  if (!session.ok()) return session.status();
  SessionSender sender(job, *std::move(session), totals);
  return Run(job, &sender);
}

absl::Status DenormalizeRows(const RowsJob& job, RowTotals* totals) {
  CallSender sender(
      job,
      [&](const RowBatch& batch) {
        auto normalize =
            MakeNormalizeRequest(job.id, batch.view(), v1::NORMALIZE_ONLY);
        v1::DenormalizeRequest request;
        request.set_name(normalize.name());
        *request.mutable_input() = std::move(*normalize.mutable_input());
        const auto answer = job.client->Denormalize(request);
        if (!answer.ok()) return answer.status();
        return TakeAnswer(job, batch, *answer, totals);
      },
      totals);
  return Run(job, &sender);
}

absl::StatusOr<size_t> ChooseBatchRows(size_t wanted, size_t row_bytes,
                                       uint64_t max_message_bytes) {
  const uint64_t room =
      max_message_bytes - std::min(max_message_bytes, kRequestOverhead);
  const uint64_t most = room / std::max<size_t>(1, row_bytes);
  if (most == 0) {
    return absl::ResourceExhaustedError(absl::StrCat(
        "a row takes ", row_bytes, " bytes, and the server accepts ",
        max_message_bytes, "; raise its --max_message_bytes"));
  }
  if (wanted > most) {
    return UsageError(absl::StrCat("--batch: ", wanted, ", want at most ", most,
                                   " rows of ", row_bytes,
                                   " bytes (the server's --max_message_bytes "
                                   "is ",
                                   max_message_bytes, ")"));
  }
  if (wanted > 0) return wanted;
  const size_t fitting = kDefaultBatchBytes / std::max<size_t>(1, row_bytes);
  return std::clamp<size_t>(fitting, 1,
                            std::min<uint64_t>(most, kDefaultBatchRows));
}

}  // namespace streamnorm
