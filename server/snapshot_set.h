#ifndef STREAMNORM_SERVER_SNAPSHOT_SET_H_
#define STREAMNORM_SERVER_SNAPSHOT_SET_H_

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "absl/container/btree_map.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "storage/records.h"
#include "storage/statistics_store.h"

namespace streamnorm {

// The snapshots of one normalizer, and what of them is not in a commit yet.
// Not thread safe: the normalizer's lock guards it.
class SnapshotSet {
 public:
  void Restore(const std::vector<SharedSnapshot>& snapshots,
               const std::vector<DamagedSnapshot>& damaged);

  // ALREADY_EXISTS; RESOURCE_EXHAUSTED beyond `most`.
  absl::StatusOr<SharedSnapshot> Create(const std::string& id,
                                        const NormalizerDefinition& definition,
                                        const NormalizerState& state,
                                        uint64_t most);

  // NOT_FOUND, DATA_LOSS (damaged).
  absl::StatusOr<SharedSnapshot> Find(const std::string& normalizer_id,
                                      const std::string& id) const;

  // Up to `limit` with ids greater than `after`.
  std::vector<SharedSnapshot> List(absl::string_view after, size_t limit) const;

  // What was deleted; null if it was damaged. NOT_FOUND.
  absl::StatusOr<SharedSnapshot> Delete(const std::string& normalizer_id,
                                        const std::string& id);

  // Adds what changed since the last call to `batch`.
  void Capture(const std::string& normalizer_id, CommitBatch* batch);

  // The store forgets all of them with their normalizer.
  void Retire();

 private:
  absl::btree_map<std::string, SharedSnapshot> snapshots_;
  absl::btree_map<std::string, std::string> damaged_;  // id -> reason
  absl::btree_map<std::string, SharedSnapshot> created_;
  std::vector<std::string> deleted_;
};

}  // namespace streamnorm

#endif  // STREAMNORM_SERVER_SNAPSHOT_SET_H_
