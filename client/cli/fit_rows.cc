#include "client/cli/fit_rows.h"

#include <algorithm>
#include <cmath>
#include <deque>
#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "client/cli/progress.h"
#include "client/cli/rows_input.h"

namespace streamnorm {
namespace {

// As normalize: the network is never waited for, and memory stays small.
constexpr size_t kMostInFlight = 32;

absl::Status Extended(const absl::Status& status, absl::string_view before,
                      absl::string_view after) {
  absl::Status result(status.code(),
                      absl::StrCat(before, status.message(), after));
  status.ForEachPayload([&](absl::string_view url, const absl::Cord& payload) {
    result.SetPayload(url, payload);
  });
  return result;
}

uint64_t NonfiniteValues(const RowBatch& batch) {
  constexpr size_t kChunk = 512;
  double values[kChunk];
  const size_t size = batch.rows * batch.features;
  uint64_t found = 0;
  for (size_t begin = 0; begin < size; begin += kChunk) {
    const size_t n = std::min(kChunk, size - begin);
    LoadAsDouble(batch.view(), begin, n, values);
    for (size_t i = 0; i < n; ++i) found += std::isfinite(values[i]) ? 0 : 1;
  }
  return found;
}

class Fit {
 public:
  explicit Fit(FitJob* job) : job_(job), at_(&job->checkpoint) {}

  absl::Status Run() {
    if (at_->finished) return FinishAgain();
    if (auto s = Begin(); !s.ok()) return s;
    const absl::Status sent = SendFiles();
    if (stuck_) return Stuck(sent);
    if (auto s = Drain(); !s.ok()) return Stuck(s);
    at_->settled = true;
    at_->finished = sent.ok();
    if (auto s = Save(); !s.ok()) return s;
    if (!sent.ok()) return sent;
    if (auto s = session_->Close(); !s.ok()) return s;
    if (job_->checkpoint_path.empty()) return absl::OkStatus();
    return RemoveCheckpoint(job_->checkpoint_path);
  }

 private:
  using Clock = std::chrono::steady_clock;

  // A batch that has no answer yet.
  struct Sent {
    std::string file;
    uint64_t first_row;
    uint64_t rows;
  };

  absl::Status Begin() {
    auto session = at_->token.empty()
                       ? job_->client->OpenSession("streamnorm fit")
                       : job_->client->ResumeSession(at_->token);
    if (!session.ok()) return session.status();
    session_ = *std::move(session);
    rows_answered_ = at_->rows;
    at_->settled = false;
    return Save();  // before anything counts that it doesn't know of
  }

  // It ended after all was counted and before it had cleaned up. The session
  // may be closed already.
  absl::Status FinishAgain() {
    auto session = job_->client->ResumeSession(at_->token);
    const absl::Status ended =
        session.ok() ? (*session)->Close() : session.status();
    if (absl::IsUnavailable(ended) || absl::IsDeadlineExceeded(ended)) {
      return ended;
    }
    return RemoveCheckpoint(job_->checkpoint_path);
  }

  // REQUIRES: nothing is in flight.
  absl::Status Save() {
    saved_at_ = Clock::now();
    if (job_->checkpoint_path.empty()) return absl::OkStatus();
    auto token = session_->Barrier();
    if (!token.ok()) return Stuck(token.status());
    at_->token = *std::move(token);
    return SaveCheckpoint(*at_, job_->checkpoint_path);
  }

  absl::Status SendFiles() {
    uint64_t bytes_before = 0;
    for (size_t i = 0; i < at_->file && i < at_->files.size(); ++i) {
      bytes_before += at_->files[i].size;
    }
    for (; at_->file < job_->files.size(); ++at_->file) {
      auto source = job_->open(job_->files[at_->file]);
      if (!source.ok()) return source.status();
      if (at_->position) {
        if (auto s = (*source)->GoTo(*at_->position); !s.ok()) return s;
      }
      if (auto s = SendFile(source->get(), bytes_before); !s.ok()) return s;
      bytes_before += (*source)->input().taken();
      at_->position.reset();
    }
    return absl::OkStatus();
  }

  absl::Status SendFile(RowsSource* source, uint64_t bytes_before) {
    while (true) {
      if (job_->stop && job_->stop())
        return absl::CancelledError("interrupted");
      if (auto s = SaveIfDue(); !s.ok()) return s;
      RowBatch batch;
      if (auto s = source->Read(at_->batch_rows, source->type(), &batch);
          !s.ok()) {
        return s;
      }
      if (batch.rows == 0) return absl::OkStatus();
      if (auto s = CheckNonfinite(job_->normalizer, *source, batch); !s.ok()) {
        return s;
      }
      if (auto s = Send(batch); !s.ok()) {
        stuck_ = true;
        return s;
      }
      at_->position = source->position();
      if (job_->on_progress) {
        job_->on_progress(at_->rows, bytes_before + source->input().taken());
      }
    }
  }

  absl::Status SaveIfDue() {
    if (job_->checkpoint_path.empty() ||
        Clock::now() - saved_at_ < job_->checkpoint_interval) {
      return absl::OkStatus();
    }
    absl::Status status = Drain();
    if (status.ok()) status = Save();
    stuck_ = !status.ok();
    return status;
  }

  absl::Status Send(const RowBatch& batch) {
    while (session_->in_flight() >= kMostInFlight) {
      if (auto s = ReceiveOne(); !s.ok()) return s;
    }
    auto request =
        MakeNormalizeRequest(job_->id, batch.view(), v1::UPDATE_ONLY);
    request.set_fail_if_frozen(true);
    request.set_schema_hash(job_->normalizer.schema_hash());
    const absl::Status status = session_->Submit(std::move(request));
    if (!status.ok()) return status;
    waiting_.push_back(
        {job_->files[at_->file], batch.first_row, uint64_t{batch.rows}});
    at_->rows += batch.rows;
    at_->skipped_values += NonfiniteValues(batch);
    return absl::OkStatus();
  }

  absl::Status Drain() {
    while (session_->in_flight() > 0) {
      if (auto s = ReceiveOne(); !s.ok()) return s;
    }
    return absl::OkStatus();
  }

  absl::Status ReceiveOne() {
    const size_t before = session_->in_flight();
    const auto answer = session_->Receive();
    if (session_->in_flight() == before) return answer.status();
    const Sent batch = std::move(waiting_.front());
    waiting_.pop_front();
    if (!answer.ok()) {
      return Extended(
          answer.status(),
          absl::StrCat(batch.file, ": rows ", batch.first_row, " to ",
                       batch.first_row + batch.rows - 1, ": "),
          "");
    }
    if (answer->generation() != job_->normalizer.generation()) {
      return absl::AbortedError(absl::StrCat(
          job_->normalizer.name(),
          " was reset meanwhile, so that rows are missing in it; to count all "
          "of them, reset it and run the command with --restart"));
    }
    rows_answered_ += batch.rows;
    return absl::OkStatus();
  }

  // The session can't go on from here: what the last checkpoint says holds,
  // and more may be counted. Of that, what was answered is known.
  absl::Status Stuck(const absl::Status& status) {
    // Counted, and some perhaps not on disk yet; a resumed job finds out.
    at_->rows = rows_answered_;
    if (!absl::IsDeadlineExceeded(status) && !absl::IsUnavailable(status)) {
      return status;
    }
    return absl::Status(status.code(),
                        absl::StrCat("the server at ", job_->client->address(),
                                     " did not answer in time"));
  }

  FitJob* const job_;
  FitCheckpoint* const at_;  // behind the last row that was sent
  std::unique_ptr<ClientSession> session_;
  std::deque<Sent> waiting_;  // for answers, oldest first
  uint64_t rows_answered_ = 0;
  Clock::time_point saved_at_;
  bool stuck_ = false;  // a batch was refused, or the server is away
};

}  // namespace

absl::Status FitRows(FitJob* job) { return Fit(job).Run(); }

}  // namespace streamnorm
