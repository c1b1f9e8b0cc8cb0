#ifndef STREAMNORM_STORAGE_CONSISTENCY_H_
#define STREAMNORM_STORAGE_CONSISTENCY_H_

#include <cstdint>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "stats/window.h"
#include "storage/records.h"

namespace streamnorm {

// What the records of one normalizer say about each other, without what is
// large in them.
struct NormalizerFacts {
  struct Definition {
    uint64_t features = 0;
    uint64_t birth_generation = 0;
    MomentsKind kind;
  };
  struct State {
    uint64_t features = 0;
    uint64_t generation = 0;
    uint64_t base_rows = 0;
    uint64_t row_count = 0;
    MomentsKind kind;
  };
  struct Ledger {
    SessionId session;
    uint64_t rows = 0;
  };
  struct Snapshot {
    std::string id;
    uint64_t features = 0;
  };
  std::optional<Definition> definition;
  std::optional<State> state;
  std::vector<Ledger> ledgers;
  std::vector<Snapshot> snapshots;
};

NormalizerFacts::Definition FactsOf(const NormalizerDefinition& definition);
NormalizerFacts::State FactsOf(const NormalizerState& state);
NormalizerFacts::Ledger FactsOf(const LedgerRecord& ledger);
NormalizerFacts::Snapshot FactsOf(const SnapshotRecord& snapshot);

// The first contradiction (docs/storage_format.md, "What is checked on load"),
// or "". `sessions` are those whose records are readable.
std::string FindContradiction(const NormalizerFacts& facts,
                              const std::set<SessionId>& sessions);

// Likewise of a snapshot, which does not make its normalizer damaged.
std::string FindSnapshotProblem(const NormalizerFacts::Definition& definition,
                                const NormalizerFacts::Snapshot& snapshot);

}  // namespace streamnorm

#endif  // STREAMNORM_STORAGE_CONSISTENCY_H_
