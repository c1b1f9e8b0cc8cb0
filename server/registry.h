#ifndef STREAMNORM_SERVER_REGISTRY_H_
#define STREAMNORM_SERVER_REGISTRY_H_

#include <cstdint>
#include <limits>
#include <memory>
#include <string>
#include <vector>

#include "absl/container/btree_map.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "server/commit_queue.h"
#include "server/mutex.h"
#include "server/normalizer.h"
#include "server/quota.h"
#include "storage/statistics_store.h"

namespace streamnorm {

// The normalizers by id, in the order of their ids. Safe for concurrent use.
class Registry {
 public:
  struct Limits {
    uint64_t max_normalizers = 0;
    uint64_t max_total_features = 0;  // of all normalizers and snapshots
    uint64_t max_total_definition_bytes = std::numeric_limits<uint64_t>::max();
    uint64_t max_snapshots = std::numeric_limits<uint64_t>::max();
  };

  // `queue` outlives it.
  Registry(const Limits& limits, CommitQueue* queue);

  // Takes over what the store remembers, sessions and normalizers, before the
  // registry is shared. Of sessions that ended what is left is cleared away.
  void Restore(StoreContents contents, SessionTable* sessions);

  // Creates a normalizer without rows, to be on disk with the next commit.
  // ALREADY_EXISTS, RESOURCE_EXHAUSTED. `definition` needs neither times nor
  // generation. With `validate_only` nothing is created and the result is null.
  absl::StatusOr<std::shared_ptr<Normalizer>> Create(
      NormalizerDefinition definition, bool validate_only);

  // NOT_FOUND; DATA_LOSS if its records are damaged.
  absl::StatusOr<std::shared_ptr<Normalizer>> Find(absl::string_view id) const;

  // Up to `limit` normalizers with ids greater than `after`.
  std::vector<std::shared_ptr<Normalizer>> List(absl::string_view after,
                                                size_t limit) const;

  // Changes the definition of `normalizer` as Normalizer::UpdateDefinition
  // does, within the limits. RESOURCE_EXHAUSTED.
  absl::Status UpdateDefinition(Normalizer* normalizer,
                                int64_t expected_change_time_us,
                                const Normalizer::Change& change);

  // Deletes it, also a damaged one. NOT_FOUND, ABORTED (change time differs
  // from `expected_change_time_us`, where that is not 0).
  absl::Status Delete(absl::string_view id, int64_t expected_change_time_us);

  // Create and delete a snapshot of `normalizer` as its own methods do, within
  // the limits. RESOURCE_EXHAUSTED.
  absl::StatusOr<SharedSnapshot> CreateSnapshot(Normalizer* normalizer,
                                                const std::string& snapshot,
                                                uint64_t revision);
  absl::Status DeleteSnapshot(Normalizer* normalizer,
                              const std::string& snapshot);

  // A generation no normalizer ever had.
  uint64_t TakeGeneration();

  size_t size() const;
  uint64_t total_features() const;  // of all normalizers and snapshots
  std::vector<std::string> quarantined() const;

 private:
  absl::Status CheckRoom(const NormalizerDefinition& definition) const
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void CountSnapshot(const SnapshotRecord& snapshot)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void ReleaseSnapshot(const SnapshotRecord& snapshot)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  absl::Status CheckFeatures(uint64_t features) const
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  uint64_t TakeGenerationLocked() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);

  const Limits limits_;
  CommitQueue* const queue_;
  Quota definition_bytes_;
  mutable SharedMutex mu_;
  absl::btree_map<std::string, std::shared_ptr<Normalizer>> normalizers_
      ABSL_GUARDED_BY(mu_);
  absl::btree_map<std::string, std::string> quarantined_
      ABSL_GUARDED_BY(mu_);  // id -> reason
  uint64_t total_features_ ABSL_GUARDED_BY(mu_) = 0;
  uint64_t next_generation_ ABSL_GUARDED_BY(mu_) = 1;
};

}  // namespace streamnorm

#endif  // STREAMNORM_SERVER_REGISTRY_H_
