#include "server/snapshot_set.h"

#include <memory>
#include <utility>

#include "absl/strings/str_cat.h"
#include "server/clock.h"
#include "server/errors.h"

namespace streamnorm {

void SnapshotSet::Restore(const std::vector<SharedSnapshot>& snapshots,
                          const std::vector<DamagedSnapshot>& damaged) {
  for (const SharedSnapshot& snapshot : snapshots) {
    snapshots_[snapshot->id] = snapshot;
  }
  for (const DamagedSnapshot& one : damaged) damaged_[one.id] = one.reason;
}

absl::StatusOr<SharedSnapshot> SnapshotSet::Create(
    const std::string& id, const NormalizerDefinition& definition,
    const NormalizerState& state, uint64_t most) {
  if (snapshots_.contains(id) || damaged_.contains(id)) {
    return MakeError(
        Reason::kSnapshotExists,
        absl::StrCat(SnapshotName(definition.id, id), ": exists already"));
  }
  const uint64_t count = snapshots_.size() + damaged_.size();
  if (count >= most) {
    return LimitExceeded(
        absl::StrCat("snapshots of ", NormalizerName(definition.id)),
        absl::StrCat(count + 1),
        absl::StrCat("at most ", most, "; delete some"), "--max_snapshots");
  }
  SnapshotRecord record{id, NowMicros(), definition, state};
  record.definition.feature_names.clear();
  record.definition.labels.clear();
  auto snapshot = std::make_shared<const SnapshotRecord>(std::move(record));
  snapshots_[id] = created_[id] = snapshot;
  return SharedSnapshot(std::move(snapshot));
}

absl::StatusOr<SharedSnapshot> SnapshotSet::Find(
    const std::string& normalizer_id, const std::string& id) const {
  const auto it = snapshots_.find(id);
  if (it != snapshots_.end()) return it->second;
  const auto damaged = damaged_.find(id);
  if (damaged == damaged_.end()) return UnknownSnapshot(normalizer_id, id);
  return MakeError(
      Reason::kSnapshotDamaged,
      absl::StrCat(SnapshotName(normalizer_id, id), ": ", damaged->second,
                   "; restore a backup, or delete it"));
}

std::vector<SharedSnapshot> SnapshotSet::List(absl::string_view after,
                                              size_t limit) const {
  std::vector<SharedSnapshot> page;
  for (auto it = snapshots_.upper_bound(after);
       it != snapshots_.end() && page.size() < limit; ++it) {
    page.push_back(it->second);
  }
  return page;
}

absl::StatusOr<SharedSnapshot> SnapshotSet::Delete(
    const std::string& normalizer_id, const std::string& id) {
  SharedSnapshot deleted;
  const auto it = snapshots_.find(id);
  if (it != snapshots_.end()) {
    deleted = std::move(it->second);
    snapshots_.erase(it);
  } else if (damaged_.erase(id) == 0) {
    return UnknownSnapshot(normalizer_id, id);
  }
  created_.erase(id);
  deleted_.push_back(id);
  return deleted;
}

void SnapshotSet::Capture(const std::string& normalizer_id,
                          CommitBatch* batch) {
  // One that was deleted and made again is in both: deletions come first.
  for (std::string& id : deleted_) {
    batch->deleted_snapshots.emplace_back(normalizer_id, std::move(id));
  }
  deleted_.clear();
  for (auto& [id, snapshot] : created_) {
    batch->snapshots.push_back(std::move(snapshot));
  }
  created_.clear();
}

void SnapshotSet::Retire() {
  created_.clear();
  deleted_.clear();
}

}  // namespace streamnorm
