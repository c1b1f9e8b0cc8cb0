#ifndef STREAMNORM_TESTS_STORAGE_RECORD_BUILDERS_H_
#define STREAMNORM_TESTS_STORAGE_RECORD_BUILDERS_H_

#include <cstddef>
#include <cstdint>
#include <string>

#include "storage/records.h"
#include "storage/statistics_store.h"

namespace streamnorm {

// Session whose every byte is `byte`.
SessionId SessionNamed(uint8_t byte);

// A definition with every field set.
NormalizerDefinition DefinitionOf(const std::string& id, uint64_t features);

// A state that `rows` rows of numbers were folded into, all of them base rows.
// With `skipped`, one in three values is NaN or infinite.
NormalizerState StateOf(const std::string& id, size_t features, size_t rows,
                        bool skipped = false);

SessionRecord SessionOf(uint8_t byte, uint64_t epoch = 1);

// A ledger of `rows` rows, one per sequence, with a gap after the last but one.
LedgerRecord LedgerOf(const std::string& id, uint8_t session, uint64_t rows);

// A batch with definition and state of one normalizer of 2 features, and
// `rows` rows counted for session `session`, which is in it too.
CommitBatch BatchOf(const std::string& id, uint8_t session, uint64_t rows);

// The same to the last bit; doubles that differ in sign of zero differ.
// `id` of the normalizer, whose state and definition (without names and labels)
// it has.
SnapshotRecord SnapshotOf(const std::string& id, const std::string& snapshot,
                          const NormalizerState& state,
                          const MomentsKind& kind = {});

bool SameSnapshot(const SnapshotRecord& a, const SnapshotRecord& b);
bool SameState(const NormalizerState& a, const NormalizerState& b);

// The loaded normalizer, or null.
const StoreContents::Normalizer* Find(const StoreContents& contents,
                                      const std::string& id);

}  // namespace streamnorm

#endif  // STREAMNORM_TESTS_STORAGE_RECORD_BUILDERS_H_
