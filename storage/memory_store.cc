#include "storage/memory_store.h"

#include <limits>
#include <map>
#include <string>
#include <utility>

#include "storage/contents_builder.h"
#include "storage/records.h"

namespace streamnorm {
namespace {

absl::Status NothingOnDisk() {
  return absl::FailedPreconditionError(
      "store: memory keeps nothing on a disk, want rocksdb");
}

// Not thread safe, like every store.
class MemoryStore : public StatisticsStore {
 public:
  std::string_view kind() const override { return "memory"; }
  absl::StatusOr<StoreContents> Load() override;
  absl::Status Write(const CommitBatch& batch) override;
  absl::Status Sync() override { return absl::OkStatus(); }
  absl::StatusOr<uint64_t> SizeBytes() const override { return 0; }
  absl::StatusOr<uint64_t> FreeBytes() const override {
    return std::numeric_limits<uint64_t>::max();
  }
  absl::StatusOr<BackupSummary> Backup(const BackupOptions&,
                                       const OnStoreProgress&) const override {
    return NothingOnDisk();
  }
  absl::StatusOr<VerifyReport> Verify(const OnStoreProgress&) const override {
    return NothingOnDisk();
  }

 private:
  using LedgerName = std::pair<std::string, SessionId>;
  using SnapshotName = std::pair<std::string, std::string>;

  void Delete(const CommitBatch& batch);
  void DeleteNormalizer(const std::string& id);

  const HistoryId history_id_ = NewHistoryId();
  uint64_t next_generation_ = 1;
  std::map<std::string, NormalizerDefinition> definitions_;
  std::map<std::string, NormalizerState> states_;
  std::map<SessionId, SessionRecord> sessions_;
  std::map<LedgerName, LedgerRecord> ledgers_;
  std::map<SnapshotName, SharedSnapshot> snapshots_;
};

absl::StatusOr<StoreContents> MemoryStore::Load() {
  StoreContents contents;
  contents.history_id = history_id_;
  contents.incarnation = 1;
  contents.next_generation = next_generation_;
  ContentsBuilder builder;
  for (const auto& [id, definition] : definitions_) builder.Add(definition);
  for (const auto& [id, state] : states_) builder.Add(state);
  for (const auto& [id, session] : sessions_) builder.Add(session);
  for (const auto& [name, ledger] : ledgers_) builder.Add(ledger);
  for (const auto& [name, snapshot] : snapshots_) builder.Add(snapshot);
  builder.Finish(&contents);
  return contents;
}

void MemoryStore::DeleteNormalizer(const std::string& id) {
  definitions_.erase(id);
  states_.erase(id);
  auto ledger = ledgers_.lower_bound(LedgerName(id, SessionId()));
  while (ledger != ledgers_.end() && ledger->first.first == id) {
    ledger = ledgers_.erase(ledger);
  }
  auto snapshot = snapshots_.lower_bound(SnapshotName(id, ""));
  while (snapshot != snapshots_.end() && snapshot->first.first == id) {
    snapshot = snapshots_.erase(snapshot);
  }
}

void MemoryStore::Delete(const CommitBatch& batch) {
  for (const std::string& id : batch.deleted_normalizers) DeleteNormalizer(id);
  for (const SessionId& id : batch.deleted_sessions) sessions_.erase(id);
  for (const LedgerName& name : batch.deleted_ledgers) ledgers_.erase(name);
  for (const SnapshotName& name : batch.deleted_snapshots) {
    snapshots_.erase(name);
  }
}

absl::Status MemoryStore::Write(const CommitBatch& batch) {
  Delete(batch);
  for (const NormalizerDefinition& d : batch.definitions)
    definitions_[d.id] = d;
  for (const NormalizerState& s : batch.states) states_[s.id] = s;
  for (const SessionRecord& s : batch.sessions) sessions_[s.id] = s;
  for (const LedgerRecord& ledger : batch.ledgers) {
    ledgers_[{ledger.normalizer_id, ledger.session}] = ledger;
  }
  for (const SharedSnapshot& snapshot : batch.snapshots) {
    snapshots_[{snapshot->normalizer_id(), snapshot->id}] = snapshot;
  }
  if (batch.next_generation) next_generation_ = *batch.next_generation;
  return absl::OkStatus();
}

}  // namespace

std::unique_ptr<StatisticsStore> NewMemoryStore() {
  return std::make_unique<MemoryStore>();
}

}  // namespace streamnorm
