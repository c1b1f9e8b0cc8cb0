#ifndef STREAMNORM_STORAGE_RECORD_CHECKS_H_
#define STREAMNORM_STORAGE_RECORD_CHECKS_H_

#include <string>

#include "storage/records.h"

namespace streamnorm {

// What one record must say, whatever others say (docs/storage_format.md, "What
// a record must say"): field, got and want of the first problem, or "".
std::string FindProblem(const NormalizerDefinition& definition);
std::string FindProblem(const NormalizerState& state);
std::string FindProblem(const LedgerRecord& ledger);
std::string FindProblem(const SnapshotRecord& snapshot);

}  // namespace streamnorm

#endif  // STREAMNORM_STORAGE_RECORD_CHECKS_H_
