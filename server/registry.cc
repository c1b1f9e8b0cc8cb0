#include "server/registry.h"

#include <limits>
#include <utility>

#include "absl/strings/str_cat.h"
#include "server/clock.h"
#include "server/errors.h"
#include "storage/kill_point.h"

namespace streamnorm {
namespace {

// What a client makes a definition take in memory: names, labels, priors.
uint64_t DefinitionBytes(const NormalizerDefinition& definition) {
  uint64_t bytes = sizeof(definition) + definition.id.size();
  for (const std::string& name : definition.feature_names) {
    bytes += sizeof(name) + name.size();
  }
  for (const auto& [key, value] : definition.labels) {
    bytes += sizeof(key) + key.size() + sizeof(value) + value.size();
  }
  const Prior& prior = definition.warm_up.prior;
  return bytes + (prior.mean.size() + prior.variance.size()) * sizeof(double);
}

absl::Status DefinitionsTooLarge(uint64_t used, uint64_t limit) {
  return LimitExceeded(
      "bytes of all definitions (feature names, labels, priors)",
      absl::StrCat(used),
      absl::StrCat("at most ", limit,
                   "; use fewer or shorter names, or delete normalizers"),
      "--max_total_definition_bytes");
}

}  // namespace

Registry::Registry(const Limits& limits, CommitQueue* queue)
    : limits_(limits),
      queue_(queue),
      definition_bytes_(limits.max_total_definition_bytes) {}

void Registry::Restore(StoreContents contents, SessionTable* sessions) {
  for (const SessionRecord& record : contents.sessions) {
    if (record.epoch != kEndedEpoch) sessions->Restore(record);
  }
  WriterLock lock(&mu_);
  next_generation_ = contents.next_generation;
  for (auto& stored : contents.normalizers) {
    definition_bytes_.TakeAnyway(DefinitionBytes(stored.definition));
    auto normalizer = std::make_shared<Normalizer>(
        std::move(stored.definition), std::move(stored.state), queue_);
    for (const LedgerRecord& ledger : stored.ledgers) {
      const auto session = sessions->Find(ledger.session);
      normalizer->RestoreLedger(ledger, session.ok() ? *session : nullptr);
    }
    normalizer->RestoreSnapshots(stored.snapshots, stored.damaged_snapshots);
    for (const SharedSnapshot& snapshot : stored.snapshots) {
      CountSnapshot(*snapshot);
    }
    total_features_ += normalizer->features();
    normalizers_[normalizer->id()] = std::move(normalizer);
  }
  for (const QuarantinedNormalizer& damaged : contents.quarantined) {
    quarantined_[damaged.id] = damaged.reason;
  }
  if (!quarantined_.empty()) return;  // they may have ledgers of such sessions
  for (const SessionRecord& record : contents.sessions) {
    if (record.epoch != kEndedEpoch) continue;
    STREAMNORM_KILL_POINT("start.ended_session_found");
    queue_->DeleteSession(record.id);
  }
}

absl::StatusOr<std::shared_ptr<Normalizer>> Registry::Create(
    NormalizerDefinition definition, bool validate_only) {
  WriterLock lock(&mu_);
  if (auto s = CheckRoom(definition); !s.ok()) return s;
  const uint64_t bytes = DefinitionBytes(definition);
  if (!definition_bytes_.TryTake(bytes)) {
    return DefinitionsTooLarge(definition_bytes_.used() + bytes,
                               definition_bytes_.limit());
  }
  if (validate_only) {
    definition_bytes_.Release(bytes);
    return std::shared_ptr<Normalizer>();
  }
  definition.birth_generation = TakeGenerationLocked();
  definition.create_time_us = definition.change_time_us = NowMicros();
  NormalizerState state;
  state.id = definition.id;
  state.generation = definition.birth_generation;
  state.update_time_us = definition.create_time_us;
  state.moments = Moments(definition.features, definition.kind);
  auto normalizer = std::make_shared<Normalizer>(std::move(definition),
                                                 std::move(state), queue_);
  normalizer->MarkCreated();
  total_features_ += normalizer->features();
  normalizers_[normalizer->id()] = normalizer;
  STREAMNORM_KILL_POINT("create.done");
  return normalizer;
}

absl::Status Registry::CheckRoom(const NormalizerDefinition& definition) const {
  if (normalizers_.contains(definition.id)) {
    return MakeError(
        Reason::kNormalizerExists,
        absl::StrCat(NormalizerName(definition.id), ": exists already"));
  }
  if (quarantined_.contains(definition.id)) {
    return QuarantinedError(definition.id, quarantined_.at(definition.id));
  }
  if (normalizers_.size() >= limits_.max_normalizers) {
    return LimitExceeded("normalizers", absl::StrCat(normalizers_.size() + 1),
                         absl::StrCat("at most ", limits_.max_normalizers),
                         "--max_normalizers");
  }
  return CheckFeatures(definition.features);
}

absl::Status Registry::CheckFeatures(uint64_t features) const {
  if (total_features_ <= limits_.max_total_features &&
      features <= limits_.max_total_features - total_features_) {
    return absl::OkStatus();
  }
  return LimitExceeded("features of all normalizers and snapshots",
                       absl::StrCat(total_features_ + features),
                       absl::StrCat("at most ", limits_.max_total_features),
                       "--max_total_features");
}

void Registry::CountSnapshot(const SnapshotRecord& snapshot) {
  total_features_ += snapshot.definition.features;
  definition_bytes_.TakeAnyway(DefinitionBytes(snapshot.definition));
}

void Registry::ReleaseSnapshot(const SnapshotRecord& snapshot) {
  total_features_ -= snapshot.definition.features;
  definition_bytes_.Release(DefinitionBytes(snapshot.definition));
}

absl::StatusOr<SharedSnapshot> Registry::CreateSnapshot(
    Normalizer* normalizer, const std::string& snapshot, uint64_t revision) {
  WriterLock lock(&mu_);
  if (auto s = CheckFeatures(normalizer->features()); !s.ok()) return s;
  if (definition_bytes_.used() >= definition_bytes_.limit()) {
    return DefinitionsTooLarge(definition_bytes_.used(),
                               definition_bytes_.limit());
  }
  auto created =
      normalizer->CreateSnapshot(snapshot, revision, limits_.max_snapshots);
  if (created.ok()) CountSnapshot(**created);
  STREAMNORM_KILL_POINT("snapshot.created");
  return created;
}

absl::Status Registry::DeleteSnapshot(Normalizer* normalizer,
                                      const std::string& snapshot) {
  WriterLock lock(&mu_);
  const auto deleted = normalizer->DeleteSnapshot(snapshot);
  if (!deleted.ok()) return deleted.status();
  if (*deleted != nullptr) ReleaseSnapshot(**deleted);
  return absl::OkStatus();
}

absl::StatusOr<std::shared_ptr<Normalizer>> Registry::Find(
    absl::string_view id) const {
  ReaderLock lock(&mu_);
  const auto it = normalizers_.find(id);
  if (it != normalizers_.end()) return it->second;
  const auto damaged = quarantined_.find(id);
  if (damaged != quarantined_.end()) {
    return QuarantinedError(id, damaged->second);
  }
  return UnknownNormalizer(id);
}

std::vector<std::shared_ptr<Normalizer>> Registry::List(absl::string_view after,
                                                        size_t limit) const {
  std::vector<std::shared_ptr<Normalizer>> page;
  ReaderLock lock(&mu_);
  for (auto it = normalizers_.upper_bound(after);
       it != normalizers_.end() && page.size() < limit; ++it) {
    page.push_back(it->second);
  }
  return page;
}

absl::Status Registry::Delete(absl::string_view id,
                              int64_t expected_change_time_us) {
  WriterLock lock(&mu_);
  const auto damaged = quarantined_.find(id);
  if (damaged != quarantined_.end()) {
    queue_->DeleteNormalizer(damaged->first);
    quarantined_.erase(damaged);
    return absl::OkStatus();
  }
  const auto it = normalizers_.find(id);
  if (it == normalizers_.end()) return UnknownNormalizer(id);
  if (auto s = it->second->Retire(expected_change_time_us); !s.ok()) return s;
  total_features_ -= it->second->features();
  it->second->Read(  // the last one: it was retired
      [&](const NormalizerDefinition& definition, const NormalizerState&) {
        definition_bytes_.Release(DefinitionBytes(definition));
      });
  constexpr size_t kAll = std::numeric_limits<size_t>::max();
  for (const SharedSnapshot& snapshot : it->second->ListSnapshots("", kAll)) {
    ReleaseSnapshot(*snapshot);
  }
  normalizers_.erase(it);
  STREAMNORM_KILL_POINT("delete.done");
  return absl::OkStatus();
}

absl::Status Registry::UpdateDefinition(Normalizer* normalizer,
                                        int64_t expected_change_time_us,
                                        const Normalizer::Change& change) {
  const auto within_limits = [&](NormalizerDefinition* definition) {
    const uint64_t before = DefinitionBytes(*definition);
    if (auto s = change(definition); !s.ok()) return s;
    const uint64_t after = DefinitionBytes(*definition);
    if (after > before && !definition_bytes_.TryTake(after - before)) {
      return DefinitionsTooLarge(definition_bytes_.used() + after - before,
                                 definition_bytes_.limit());
    }
    if (after < before) definition_bytes_.Release(before - after);
    return absl::OkStatus();
  };
  return normalizer->UpdateDefinition(expected_change_time_us, within_limits);
}

uint64_t Registry::TakeGeneration() {
  WriterLock lock(&mu_);
  return TakeGenerationLocked();
}

uint64_t Registry::TakeGenerationLocked() {
  const uint64_t taken = next_generation_++;
  queue_->SetNextGeneration(next_generation_);
  return taken;
}

size_t Registry::size() const {
  ReaderLock lock(&mu_);
  return normalizers_.size();
}

uint64_t Registry::total_features() const {
  ReaderLock lock(&mu_);
  return total_features_;
}

std::vector<std::string> Registry::quarantined() const {
  std::vector<std::string> ids;
  ReaderLock lock(&mu_);
  for (const auto& [id, reason] : quarantined_) ids.push_back(id);
  return ids;
}

}  // namespace streamnorm
