#ifndef STREAMNORM_SERVER_NORMALIZER_H_
#define STREAMNORM_SERVER_NORMALIZER_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "server/commit_queue.h"
#include "server/mutex.h"
#include "server/sessions.h"
#include "server/snapshot_set.h"
#include "stats/moments.h"
#include "stats/reduced_moments.h"
#include "stats/scaling.h"
#include "stats/window.h"
#include "storage/records.h"
#include "storage/statistics_store.h"

namespace streamnorm {

enum class Mode {
  kUpdateThenNormalize,
  kNormalizeThenUpdate,
  kNormalizeOnly,
  kUpdateOnly,
};

// Who sends an update, and how it is to be counted.
struct UpdateSource {
  std::shared_ptr<Session> session;  // null: counted at least once
  UpdateId id;                       // where there is a session
  uint32_t fingerprint = 0;          // of the payload; never 0
  bool fail_if_frozen = false;

  // The client's count of its rows here, with this update's; 0 = not told.
  uint64_t rows_sent_total = 0;
};

// A client's count of the rows of its session, after `sequence`.
struct SentRows {
  uint64_t generation = 0;
  uint64_t sequence = 0;
  uint64_t rows = 0;
};

struct NormalizeCall {
  TensorView input;
  Mode mode = Mode::kUpdateThenNormalize;
  UpdateSource source;
  uint64_t schema_hash = 0;  // 0 = not checked
};

struct MergeCall {
  ReducedMoments moments;
  bool before = false;  // scaling of the statistics before this merge
  UpdateSource source;
  uint64_t schema_hash = 0;
};

// What an update did, and where the normalizer stands after it.
struct UpdateOutcome {
  uint64_t revision = 0;
  uint64_t row_count = 0;
  uint64_t generation = 0;
  uint64_t counted_rows = 0;
  uint64_t durable_sequence = 0;
  bool generation_durable = false;
  bool duplicate = false;
  bool warming_up = false;
  bool frozen = false;
};

struct NormalizeOutcome {
  UpdateOutcome update;
  uint64_t nonfinite_values = 0;
  uint64_t clipped_values = 0;
};

// Where a session stands with one normalizer.
struct Progress {
  uint64_t applied_sequence = 0;
  std::bitset<kSequenceWindow> window;
  uint64_t durable_sequence = 0;
  uint64_t generation = 0;
  uint64_t rows = 0;
};

// One normalizer: its lock, its moments, its sessions' ledgers.
// Start reading at Normalize.
//
// Safe for concurrent use. The lock is held while rows are folded, not while
// they are scaled; the fold is where an update takes its place in the order of
// revisions. Nothing here does I/O: a change is entered in the commit queue
// under the lock, and the committer captures it later.
class Normalizer : public std::enable_shared_from_this<Normalizer> {
 public:
  // A new one, or one that was stored.
  // REQUIRES: state.moments has the features and the kind of the definition;
  // `queue` outlives it.
  Normalizer(NormalizerDefinition definition, NormalizerState state,
             CommitQueue* queue);

  const std::string& id() const { return id_; }
  size_t features() const { return features_; }
  const MomentsKind& kind() const { return kind_; }
  uint64_t schema_hash() const { return schema_hash_; }

  // Takes over a stored ledger, before the normalizer is shared. Where its
  // session ended (null) only its rows stay.
  void RestoreLedger(const LedgerRecord& record,
                     const std::shared_ptr<Session>& session);

  // Enters a new normalizer in the commit queue.
  void MarkCreated();

  // Counts the rows and writes them normalized to `output` (size of the input;
  // null under kUpdateOnly). An error means that nothing changed.
  absl::StatusOr<NormalizeOutcome> Normalize(const NormalizeCall& call,
                                             uint8_t* output);

  // Counts rows by their moments; writes the statistics of before or after to
  // `*statistics` unless null. An error means that nothing changed.
  absl::StatusOr<UpdateOutcome> MergeMoments(
      const MergeCall& call, const MergedStatistics* statistics);

  // The inverse with the current statistics. `revision` 0 = any.
  absl::StatusOr<NormalizeOutcome> Denormalize(const TensorView& input,
                                               uint64_t revision,
                                               uint64_t schema_hash,
                                               uint8_t* output);

  // False for a moment after a creation or reset: a crash may still undo it and
  // give its generation to another. Until then no client may hear of it, for it
  // would stamp its updates with it.
  bool GenerationIsDurable() const {
    MutexLock lock(&mu_);
    return durable_generation_ == state_.generation;
  }

  // Shows definition and state, under the lock: `read` must be quick.
  using Reader =
      std::function<void(const NormalizerDefinition&, const NormalizerState&)>;
  void Read(const Reader& read) const;

  // Changes the definition by `change`, unless `expected_change_time_us` is
  // not 0 and not its change time (ABORTED). Nothing changes if `change` fails;
  // what it makes takes effect otherwise.
  using Change = std::function<absl::Status(NormalizerDefinition*)>;
  absl::Status UpdateDefinition(int64_t expected_change_time_us,
                                const Change& change);

  // Forgets every row; `generation` is the new one. FAILED_PRECONDITION while
  // frozen, ABORTED as above.
  absl::Status Reset(int64_t expected_change_time_us, uint64_t generation);

  // Takes over what was stored, before the normalizer is shared.
  void RestoreSnapshots(const std::vector<SharedSnapshot>& snapshots,
                        const std::vector<DamagedSnapshot>& damaged);

  // Keeps definition and state as they are (the registry's to call).
  // `revision` 0 = any. ALREADY_EXISTS, FAILED_PRECONDITION,
  // RESOURCE_EXHAUSTED.
  absl::StatusOr<SharedSnapshot> CreateSnapshot(const std::string& snapshot,
                                                uint64_t revision,
                                                uint64_t max_snapshots);

  // NOT_FOUND, DATA_LOSS (damaged), FAILED_PRECONDITION (schema).
  absl::StatusOr<SharedSnapshot> FindSnapshot(const std::string& snapshot,
                                              uint64_t schema_hash) const;

  // Up to `limit` with ids greater than `after`; of a retired one, too.
  std::vector<SharedSnapshot> ListSnapshots(absl::string_view after,
                                            size_t limit) const;

  // What was deleted (the registry's to call); null if it was damaged.
  absl::StatusOr<SharedSnapshot> DeleteSnapshot(const std::string& snapshot);

  // Refuses everything from now on (NOT_FOUND). Called once, by the registry.
  absl::Status Retire(int64_t expected_change_time_us);

  // Absent if the session never updated this normalizer.
  std::optional<Progress> SessionProgress(const SessionId& session) const;
  uint64_t DurableSequence(const SessionId& session) const {
    const auto progress = SessionProgress(session);
    return progress ? progress->durable_sequence : 0;
  }

  // Uses up sequence numbers that no update will take. Those counted already
  // are left alone. ABORTED for an old epoch or beyond the window: then none
  // was used up.
  absl::Status SkipSequences(const std::shared_ptr<Session>& session,
                             uint64_t epoch,
                             const std::vector<uint64_t>& sequences);

  // DATA_LOSS if the session has other rows here than its client counted. OK
  // where the two can't be compared: another generation, gaps.
  absl::Status CheckSentRows(const SessionId& session,
                             const SentRows& sent) const;

  // The session ended: its rows stay, its ledger goes.
  void DropLedger(const SessionId& session);

  // For the committer. Capture adds what changed since the last capture to
  // `batch`, and returns what PublishDurable is to be called with once the
  // batch is on disk.
  struct Watermarks {
    uint64_t generation = 0;  // 0 = nothing to publish
    std::vector<std::pair<SessionId, uint64_t>> sequences;

    bool empty() const { return generation == 0; }
  };
  Watermarks Capture(CommitBatch* batch);
  void PublishDurable(const Watermarks& watermarks);

 private:
  // What becomes of an update.
  enum class Admission {
    kRead,       // not an update, or frozen: answer only
    kCount,      // count it
    kConsume,    // its sequence is used up, its rows don't count
    kDuplicate,  // counted before: answer only
  };

  struct LedgerEntry {
    Ledger ledger;
    std::shared_ptr<Session> session;
    bool dirty = false;
  };

  absl::Status CheckUsable(uint64_t schema_hash) const
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  absl::Status CheckUnchanged(int64_t expected_change_time_us) const
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  absl::Status CheckRevision(uint64_t revision) const
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  absl::StatusOr<Admission> Admit(const UpdateSource& source) const
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  absl::Status CheckGeneration(const UpdateId& id) const
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);

  // The steps of Normalize, in their order. What they hand on lies in the
  // thread's workspace.
  absl::StatusOr<Admission> Check(const NormalizeCall& call) const
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  struct Prepared {
    bool answered = false;           // the output is complete
    std::optional<bool> warming_up;  // where there is an output
    uint64_t clipped_values = 0;     // if answered
  };
  absl::Status Prepare(const NormalizeCall& call, Admission admission,
                       uint8_t* output, Prepared* prepared) const
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);

  // What Prepare does: small batches in one go, if nothing about them is
  // special; else fold, then look what the answer will be.
  bool FoldAndAnswer(const NormalizeCall& call, Admission admission,
                     uint8_t* output, uint64_t* clipped) const
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  absl::Status FoldBatch(const NormalizeCall& call, Admission admission) const
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  absl::Status PrepareOutput(const NormalizeCall& call, Admission admission,
                             uint8_t* output, bool* warming_up) const
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);

  // The steps of MergeMoments, likewise.
  absl::Status Merge(const MergeCall& call, Admission admission) const
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  absl::Status WriteStatistics(const MergeCall& call, Admission admission,
                               const MergedStatistics& statistics,
                               bool* warming_up) const
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);

  // DATA_LOSS if the client's count of its rows is not ours.
  absl::Status Audit(const UpdateSource& source, Admission admission,
                     const Moments& next) const
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);

  // Gives the session a ledger here if it needs one. Comes last of what may
  // fail, so that a refused update leaves none behind.
  absl::Status OpenLedger(const UpdateSource& source, Admission admission)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);

  // Makes the update take effect; returns how many rows it counted. `*next` has
  // the moments of before afterwards.
  uint64_t Accept(const UpdateSource& source, Admission admission,
                  Moments* next) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);

  void NoteSequence(const UpdateSource& source, uint64_t rows)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void MarkDirty(const SessionId& session, LedgerEntry* entry)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void MarkDirty() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  UpdateOutcome Outcome(const UpdateSource& source, Admission admission,
                        uint64_t counted_rows) const
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);

  const std::string id_;
  const size_t features_;
  const MomentsKind kind_;
  const uint64_t schema_hash_;
  CommitQueue* const queue_;

  mutable Mutex mu_;
  NormalizerDefinition definition_ ABSL_GUARDED_BY(mu_);
  NormalizerState state_ ABSL_GUARDED_BY(mu_);
  absl::flat_hash_map<SessionId, LedgerEntry> ledgers_ ABSL_GUARDED_BY(mu_);
  SnapshotSet snapshots_ ABSL_GUARDED_BY(mu_);
  bool retired_ ABSL_GUARDED_BY(mu_) = false;
  uint64_t durable_generation_ ABSL_GUARDED_BY(mu_);

  // What the next Capture has to take.
  bool dirty_ ABSL_GUARDED_BY(mu_) = false;
  bool definition_dirty_ ABSL_GUARDED_BY(mu_) = false;
  std::vector<SessionId> dirty_ledgers_ ABSL_GUARDED_BY(mu_);
  std::vector<SessionId> dropped_ledgers_ ABSL_GUARDED_BY(mu_);
};

// Identifies the number and names of features; never 0.
uint64_t SchemaHash(uint64_t features, const std::vector<std::string>& names);

}  // namespace streamnorm

#endif  // STREAMNORM_SERVER_NORMALIZER_H_
