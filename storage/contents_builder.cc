#include "storage/contents_builder.h"

#include <algorithm>
#include <cstdint>
#include <utility>

#include "storage/consistency.h"

namespace streamnorm {
namespace {

NormalizerFacts FactsOf(const std::optional<NormalizerDefinition>& definition,
                        const std::optional<NormalizerState>& state,
                        const std::vector<LedgerRecord>& ledgers) {
  NormalizerFacts facts;
  if (definition) facts.definition = FactsOf(*definition);
  if (state) facts.state = FactsOf(*state);
  for (const LedgerRecord& ledger : ledgers) {
    facts.ledgers.push_back(FactsOf(ledger));
  }
  return facts;
}

}  // namespace

void ContentsBuilder::Add(NormalizerDefinition definition) {
  Parts& parts = normalizers_[definition.id];
  parts.definition = std::move(definition);
}

void ContentsBuilder::Add(NormalizerState state) {
  Parts& parts = normalizers_[state.id];
  parts.state = std::move(state);
}

void ContentsBuilder::Add(SessionRecord session) {
  session_ids_.insert(session.id);
  sessions_.push_back(std::move(session));
}

void ContentsBuilder::Add(LedgerRecord ledger) {
  Parts& parts = normalizers_[ledger.normalizer_id];
  parts.ledgers.push_back(std::move(ledger));
}

void ContentsBuilder::Add(SharedSnapshot snapshot) {
  Parts& parts = normalizers_[snapshot->normalizer_id()];
  parts.snapshots.push_back(std::move(snapshot));
}

void ContentsBuilder::AddDamaged(const std::string& normalizer_id,
                                 DamagedSnapshot snapshot) {
  normalizers_[normalizer_id].damaged_snapshots.push_back(std::move(snapshot));
}

void ContentsBuilder::KeepFittingSnapshots(Parts* parts) {
  std::vector<SharedSnapshot> kept;
  for (SharedSnapshot& snapshot : parts->snapshots) {
    std::string problem =
        FindSnapshotProblem(FactsOf(*parts->definition), FactsOf(*snapshot));
    if (problem.empty()) {
      kept.push_back(std::move(snapshot));
    } else {
      parts->damaged_snapshots.push_back({snapshot->id, std::move(problem)});
    }
  }
  parts->snapshots = std::move(kept);
}

void ContentsBuilder::Quarantine(const std::string& normalizer_id,
                                 std::string reason) {
  Parts& parts = normalizers_[normalizer_id];
  if (parts.damage.empty()) parts.damage = std::move(reason);
}

uint64_t ContentsBuilder::NewestGeneration(const Parts& parts) {
  return std::max(parts.definition ? parts.definition->birth_generation : 0,
                  parts.state ? parts.state->generation : 0);
}

void ContentsBuilder::Finish(StoreContents* contents) {
  for (auto& [id, parts] : normalizers_) {
    contents->next_generation =
        std::max(contents->next_generation, NewestGeneration(parts) + 1);
    if (parts.damage.empty()) {
      parts.damage = FindContradiction(
          FactsOf(parts.definition, parts.state, parts.ledgers), session_ids_);
    }
    if (!parts.damage.empty()) {
      contents->quarantined.push_back({id, std::move(parts.damage)});
      continue;
    }
    KeepFittingSnapshots(&parts);
    contents->normalizers.push_back(
        {*std::move(parts.definition), *std::move(parts.state),
         std::move(parts.ledgers), std::move(parts.snapshots),
         std::move(parts.damaged_snapshots)});
  }
  contents->sessions = std::move(sessions_);
  *this = ContentsBuilder();
}

}  // namespace streamnorm
