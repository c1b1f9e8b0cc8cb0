#include "storage/record_verifier.h"

#include "absl/status/statusor.h"
#include "storage/key_codec.h"
#include "storage/record_codec.h"

namespace streamnorm {

void RecordVerifier::AddDamage(const std::string& normalizer_id,
                               const absl::Status& status) {
  report_->Add({normalizer_id, std::string(status.message())});
  if (!normalizer_id.empty()) damaged_.insert(normalizer_id);
}

void RecordVerifier::AddMeta(std::string_view key, std::string_view value) {
  const absl::Status status = key == kHistoryKey
                                  ? DecodeHistory(key, value).status()
                                  : DecodeNumber(key, value).status();
  if (!status.ok()) AddDamage("", status);
}

void RecordVerifier::Add(std::string_view key, std::string_view value) {
  const absl::StatusOr<ParsedKey> parsed = ParseKey(key);
  if (!parsed.ok()) return AddDamage("", parsed.status());
  const std::string& id = parsed->normalizer_id;
  if (parsed->kind == KeyKind::kMeta) return AddMeta(key, value);
  ++report_->records;
  const auto add = [&](const auto& record, auto keep) {
    if (!record.ok()) return AddDamage(id, record.status());
    keep(*record);
  };
  switch (parsed->kind) {
    case KeyKind::kDefinition:
      ++report_->normalizers;
      return add(DecodeDefinition(key, value), [&](const auto& record) {
        normalizers_[id].definition = FactsOf(record);
      });
    case KeyKind::kState:
      return add(DecodeState(key, value), [&](const auto& record) {
        normalizers_[id].state = FactsOf(record);
      });
    case KeyKind::kLedger:
      ++report_->ledgers;
      return add(DecodeLedger(key, value), [&](const auto& record) {
        normalizers_[id].ledgers.push_back(FactsOf(record));
      });
    case KeyKind::kSession:
      ++report_->sessions;
      return add(DecodeSession(key, value),
                 [&](const auto& record) { sessions_.insert(record.id); });
    case KeyKind::kSnapshot: {
      const auto snapshot = DecodeSnapshot(key, value);
      if (snapshot.ok()) {
        normalizers_[id].snapshots.push_back(FactsOf(*snapshot));
      } else {  // the normalizer is none the worse for it
        report_->Add({id, std::string(snapshot.status().message())});
      }
      return;
    }
    case KeyKind::kMeta:
      break;
  }
}

void RecordVerifier::FindContradictions() {
  for (const auto& [id, facts] : normalizers_) {
    if (damaged_.contains(id)) continue;
    const std::string problem = FindContradiction(facts, sessions_);
    if (!problem.empty()) report_->Add({id, problem});
    if (!facts.definition) continue;
    for (const NormalizerFacts::Snapshot& snapshot : facts.snapshots) {
      const std::string misfit =
          FindSnapshotProblem(*facts.definition, snapshot);
      if (!misfit.empty()) report_->Add({id, misfit});
    }
  }
}

}  // namespace streamnorm
