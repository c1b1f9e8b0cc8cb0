#include "storage/contents_builder.h"

#include <algorithm>
#include <cstdint>
#include <utility>

#include "absl/strings/str_cat.h"

namespace streamnorm {
namespace {

std::string FindMismatch(const NormalizerDefinition& definition,
                         const NormalizerState& state) {
  if (state.moments.features() != definition.features) {
    return absl::StrCat("state: ", state.moments.features(), " features, want ",
                        definition.features);
  }
  if (state.generation < definition.birth_generation) {
    return absl::StrCat("state: generation ", state.generation,
                        ", want at least ", definition.birth_generation);
  }
  return "";
}

// base_rows + ledgers = row_count, without wrapping around.
std::string FindRowMismatch(const NormalizerState& state,
                            const std::vector<LedgerRecord>& ledgers) {
  const uint64_t row_count = state.moments.row_count();
  uint64_t rows = state.base_rows;
  for (const LedgerRecord& ledger : ledgers) {
    if (ledger.rows > row_count - std::min(rows, row_count)) {
      return absl::StrCat("row_count: ", row_count,
                          ", want base_rows and ledgers, which are more");
    }
    rows += ledger.rows;
  }
  if (rows == row_count) return "";
  return absl::StrCat("row_count: ", row_count, ", want ", rows,
                      " (base_rows and ledgers)");
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

void ContentsBuilder::Quarantine(const std::string& normalizer_id,
                                 std::string reason) {
  Parts& parts = normalizers_[normalizer_id];
  if (parts.damage.empty()) parts.damage = std::move(reason);
}

std::string ContentsBuilder::FindContradiction(const Parts& parts) const {
  if (!parts.definition) return "definition: missing";
  if (!parts.state) return "state: missing";
  std::string problem = FindMismatch(*parts.definition, *parts.state);
  if (!problem.empty()) return problem;
  for (const LedgerRecord& ledger : parts.ledgers) {
    // A session whose record is damaged counts as missing too. Without its
    // epoch a zombie could go on; without the session its client would have to
    // send again, in a new one, what this ledger says was counted. Either would
    // count rows twice, so the normalizer waits for a person instead. Where the
    // session has no ledger nothing of it was counted, and it is merely
    // unknown.
    if (!session_ids_.contains(ledger.session)) {
      return absl::StrCat("ledger: session ", HexOf(ledger.session.bytes),
                          " is missing or damaged");
    }
  }
  return FindRowMismatch(*parts.state, parts.ledgers);
}

uint64_t ContentsBuilder::NewestGeneration(const Parts& parts) {
  return std::max(parts.definition ? parts.definition->birth_generation : 0,
                  parts.state ? parts.state->generation : 0);
}

void ContentsBuilder::Finish(StoreContents* contents) {
  for (auto& [id, parts] : normalizers_) {
    contents->next_generation =
        std::max(contents->next_generation, NewestGeneration(parts) + 1);
    if (parts.damage.empty()) parts.damage = FindContradiction(parts);
    if (!parts.damage.empty()) {
      contents->quarantined.push_back({id, std::move(parts.damage)});
      continue;
    }
    contents->normalizers.push_back({*std::move(parts.definition),
                                     *std::move(parts.state),
                                     std::move(parts.ledgers)});
  }
  contents->sessions = std::move(sessions_);
  *this = ContentsBuilder();
}

}  // namespace streamnorm
