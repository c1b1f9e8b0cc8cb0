#include "storage/consistency.h"

#include <algorithm>

#include "absl/strings/str_cat.h"

namespace streamnorm {
namespace {

std::string FindMismatch(const NormalizerFacts::Definition& definition,
                         const NormalizerFacts::State& state) {
  if (state.features != definition.features) {
    return absl::StrCat("state: ", state.features, " features, want ",
                        definition.features);
  }
  if (state.generation < definition.birth_generation) {
    return absl::StrCat("state: generation ", state.generation,
                        ", want at least ", definition.birth_generation);
  }
  if (state.kind != definition.kind) {
    return "state: of another window or kind of moments, want the definition's";
  }
  return "";
}

// base_rows + ledgers = row_count, without wrapping around.
std::string FindRowMismatch(
    const NormalizerFacts::State& state,
    const std::vector<NormalizerFacts::Ledger>& ledgers) {
  const uint64_t row_count = state.row_count;
  uint64_t rows = state.base_rows;
  for (const NormalizerFacts::Ledger& ledger : ledgers) {
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

NormalizerFacts::Definition FactsOf(const NormalizerDefinition& definition) {
  return {definition.features, definition.birth_generation, definition.kind};
}

NormalizerFacts::State FactsOf(const NormalizerState& state) {
  return {state.moments.features(), state.generation, state.base_rows,
          state.moments.row_count(), state.moments.kind()};
}

NormalizerFacts::Ledger FactsOf(const LedgerRecord& ledger) {
  return {ledger.session, ledger.rows};
}

NormalizerFacts::Snapshot FactsOf(const SnapshotRecord& snapshot) {
  return {snapshot.id, snapshot.definition.features};
}

std::string FindSnapshotProblem(const NormalizerFacts::Definition& definition,
                                const NormalizerFacts::Snapshot& snapshot) {
  if (snapshot.features == definition.features) return "";
  return absl::StrCat("snapshot ", snapshot.id, ": ", snapshot.features,
                      " features, want ", definition.features);
}

std::string FindContradiction(const NormalizerFacts& facts,
                              const std::set<SessionId>& sessions) {
  if (!facts.definition) return "definition: missing";
  if (!facts.state) return "state: missing";
  std::string problem = FindMismatch(*facts.definition, *facts.state);
  if (!problem.empty()) return problem;
  for (const NormalizerFacts::Ledger& ledger : facts.ledgers) {
    // A session whose record is damaged counts as missing too. Without its
    // epoch a zombie could go on; without the session its client would have to
    // send again, in a new one, what this ledger says was counted. Either would
    // count rows twice, so the normalizer waits for a person instead. Where the
    // session has no ledger nothing of it was counted, and it is merely
    // unknown.
    if (!sessions.contains(ledger.session)) {
      return absl::StrCat("ledger: session ", HexOf(ledger.session.bytes),
                          " is missing or damaged");
    }
  }
  return FindRowMismatch(*facts.state, facts.ledgers);
}

}  // namespace streamnorm
