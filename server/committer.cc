#include "server/committer.h"

#include <algorithm>
#include <string>

#include "absl/strings/str_cat.h"
#include "server/errors.h"
#include "server/logging.h"
#include "storage/kill_point.h"

namespace streamnorm {
namespace {

using std::chrono::duration_cast;
using std::chrono::microseconds;
using std::chrono::milliseconds;
using std::chrono::steady_clock;

// How often the free space is looked at: updates are accepted again this soon
// after space was freed.
constexpr milliseconds kDiskCheckInterval{500};

// Pause between two tries to write a batch that found no room.
constexpr milliseconds kNoRoomPause{100};

}  // namespace

Committer::Committer(const Options& options, StatisticsStore* store,
                     CommitQueue* queue, OnFailure on_failure)
    : options_(options),
      store_(store),
      queue_(queue),
      on_failure_(std::move(on_failure)) {
  CheckDisk();
  if (!options_.by_hand) thread_ = std::thread([this] { Run(); });
}

Committer::~Committer() {
  stopping_ = true;
  queue_->Close(
      MakeError(Reason::kShuttingDown, "the server is shutting down"));
  if (!options_.by_hand) thread_.join();
}

absl::Status Committer::AcceptingUpdates() const {
  switch (health_.load(std::memory_order_relaxed)) {
    case Health::kGood:
      return absl::OkStatus();
    case Health::kDiskFull:
      return MakeError(
          Reason::kDiskFull,
          absl::StrCat("updates are refused until the data directory's disk "
                       "has ",
                       options_.min_free_disk_bytes,
                       " bytes free (--min_free_disk_bytes); NORMALIZE_ONLY "
                       "and reads are answered; free space and retry"));
    case Health::kFailed:
      break;
  }
  return MakeError(Reason::kStoreFailed,
                   "the store failed; the server must be restarted");
}

void Committer::Run() {
  auto next = steady_clock::now() + options_.commit_interval;
  auto next_disk_check = steady_clock::now() + kDiskCheckInterval;
  bool closed = false;
  while (!closed) {
    const bool urgent =
        queue_->WaitUntilUrgent(std::min(next, next_disk_check));
    const auto now = steady_clock::now();
    if (now >= next_disk_check) {
      CheckDisk();
      next_disk_check = now + kDiskCheckInterval;
    }
    if (!urgent && now < next) continue;
    // Before it is taken: lag() must see it in one place at least.
    committing_since_ = queue_->waiting_since().value_or(kNoCommit);
    CommitQueue::Changes changes = queue_->Take();
    closed = changes.closed;
    const auto took = Commit(std::move(changes));
    next = steady_clock::now() +
           std::max<steady_clock::duration>(options_.commit_interval,
                                            options_.duty_factor * took);
  }
}

steady_clock::duration Committer::Commit(CommitQueue::Changes changes) {
  const auto start = steady_clock::now();
  steady_clock::duration waited{0};
  Published published;
  published.reserve(changes.normalizers.size());
  for (auto& normalizer : changes.normalizers) {
    // Fixed here, before the write: what is counted from now on is not in the
    // batch and not covered by its sync.
    auto watermarks = normalizer->Capture(&changes.batch);
    published.emplace_back(std::move(normalizer), std::move(watermarks));
  }
  STREAMNORM_KILL_POINT("commit.captured");
  absl::Status status = absl::OkStatus();
  if (health_.load() == Health::kFailed) {
    status = AcceptingUpdates();
  } else if (!changes.batch.empty()) {
#ifdef STREAMNORM_PLANT_SESSIONS_APART
    CommitBatch sessions;
    std::swap(sessions.ledgers, changes.batch.ledgers);
    status = WriteWhenThereIsRoom(changes.batch, &waited);
    changes.batch = std::move(sessions);
#endif
    if (status.ok()) status = WriteWhenThereIsRoom(changes.batch, &waited);
    if (status.ok()) status = Sync();
    if (!status.ok()) Fail(status);
    STREAMNORM_KILL_POINT("commit.durable");
    commits_.fetch_add(1);
    const auto duration = steady_clock::now() - start;
    commit_latency_.Observe(duration);
    last_commit_us_ = duration_cast<microseconds>(duration).count();
  }
  if (status.ok()) {
    for (const auto& [normalizer, watermarks] : published) {
      if (!watermarks.empty()) normalizer->PublishDurable(watermarks);
    }
  } else {
    status = AcceptingUpdates();
  }
  STREAMNORM_KILL_POINT("commit.published");
  if (status.ok()) committing_since_ = kNoCommit;
  const auto took = steady_clock::now() - start - waited;
  for (const CommitQueue::Done& done : changes.waiters) done(status);
  return took;
}

absl::Status Committer::Sync() {
  const auto start = steady_clock::now();
  absl::Status status = store_->Sync();
  sync_latency_.Observe(steady_clock::now() - start);
  return status;
}

std::chrono::nanoseconds Committer::lag() const {
  // The queue first: what is taken between the two looks is seen twice, not
  // never.
  const auto queued = queue_->waiting_since().value_or(kNoCommit);
  const auto oldest = std::min(queued, committing_since_.load());
  return oldest == kNoCommit ? std::chrono::nanoseconds(0)
                             : steady_clock::now() - oldest;
}

absl::Status Committer::WriteWhenThereIsRoom(const CommitBatch& batch,
                                             steady_clock::duration* waited) {
  while (true) {
    const absl::Status status = store_->Write(batch);
    if (!absl::IsResourceExhausted(status)) return status;
    // Nothing was written. What was captured must not be lost and nothing
    // newer may overtake it, so this batch waits here, and no update is
    // accepted meanwhile.
    health_ = Health::kDiskFull;
    if (stopping_) return status;
    std::this_thread::sleep_for(kNoRoomPause);
    *waited += kNoRoomPause;
  }
}

void Committer::CheckDisk() {
  if (health_.load() == Health::kFailed) return;
  const auto free_bytes = store_->FreeBytes();
  if (!free_bytes.ok()) return;
  const bool full = *free_bytes < options_.min_free_disk_bytes;
  const Health now = full ? Health::kDiskFull : Health::kGood;
  if (health_.exchange(now) == now) return;
  Log(full ? LogLevel::kError : LogLevel::kInfo,
      full ? "disk_full" : "disk_has_room",
      {{"free_bytes", *free_bytes},
       {"min_free_disk_bytes", options_.min_free_disk_bytes}});
}

void Committer::Fail(const absl::Status& status) {
  if (health_.exchange(Health::kFailed) == Health::kFailed) return;
  // The last batch found no room before the end. Nothing of it was written, and
  // nobody was told that it is durable: no promise is broken.
  if (absl::IsResourceExhausted(status)) {
    return Log(LogLevel::kError, "stopped_without_room",
               {{"status", status.ToString()},
                {"hint",
                 "clients send again what is not on disk: free space "
                 "and start while they run"}});
  }
  Log(LogLevel::kError, "store_failed",
      {{"status", status.ToString()},
       {"hint", "restart; clients send again what is not on disk"}});
  on_failure_(status);
}

}  // namespace streamnorm
