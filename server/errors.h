#ifndef STREAMNORM_SERVER_ERRORS_H_
#define STREAMNORM_SERVER_ERRORS_H_

#include <cstddef>
#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "stats/moments.h"
#include "stats/reduced_moments.h"
#include "stats/scaling.h"

namespace streamnorm {

// The catalogue of ErrorInfo.reason, domain "streamnorm" (docs/api.md lists
// code, meaning and remedy of each).
enum class Reason {
  kInvalidArgument,
  kNormalizerNotFound,
  kNormalizerExists,
  kNormalizerQuarantined,
  kNormalizerFrozen,
  kSnapshotNotFound,
  kSnapshotExists,
  kSnapshotDamaged,
  kStaleEtag,
  kSchemaMismatch,
  kNotWarmedUp,
  kRevisionNotKept,
  kSessionUnknown,
  kEpochFenced,
  kSequenceConflict,
  kSequenceOutOfWindow,
  kGenerationUnknown,
  kHistoryLost,
  kRowsMismatch,
  kLimitExceeded,
  kDiskFull,
  kStoreFailed,
  kShuttingDown,
  kBackupsDisabled,
  kBackupExists,
  kBackupNoSpace,
  kStoreDamaged,
  kStoreNotOnDisk,
  kMaintenanceRunning,
  kMaintenanceFailed,
};

// "NORMALIZER_NOT_FOUND" and so on.
const char* ReasonName(Reason reason);

// A status with the code of `reason` and an ErrorInfo as payload.
absl::Status MakeError(Reason reason, absl::string_view message);

// INVALID_ARGUMENT `field: got, want want`, with a BadRequest naming the field.
absl::Status InvalidField(absl::string_view field, absl::string_view got,
                          absl::string_view want);

// RESOURCE_EXHAUSTED naming the flag that raises the limit.
absl::Status LimitExceeded(absl::string_view what, absl::string_view got,
                           absl::string_view want, absl::string_view flag);

// "normalizers/{id}".
std::string NormalizerName(absl::string_view id);

// "normalizers/{id}/snapshots/{snapshot}".
std::string SnapshotName(absl::string_view id, absl::string_view snapshot);

// The errors of a normalizer; `id` says which.
absl::Status UnknownNormalizer(absl::string_view id);
absl::Status QuarantinedError(absl::string_view id, absl::string_view reason);
absl::Status UnknownSnapshot(absl::string_view id, absl::string_view snapshot);
absl::Status FrozenError(absl::string_view id);
absl::Status NotWarmedUp(uint64_t rows, uint64_t minimum_rows,
                         absl::string_view id);
absl::Status EpochFenced(uint64_t got, uint64_t want);
absl::Status SequenceConflict(uint64_t sequence);
absl::Status SequenceOutOfWindow(uint64_t sequence, uint64_t applied_sequence);
absl::Status RowsMismatch(absl::string_view field, uint64_t got, uint64_t want,
                          absl::string_view id);

// An error of a part of a request, with the path that leads to that part
// ("merges[3]") before its own.
absl::Status Within(absl::string_view path, const absl::Status& status);

// What Fold or Apply stumbled over, with row, column and value.
absl::Status CheckValues(const ValueProblem& problem, const TensorView& input,
                         absl::string_view id);
absl::Status OutputOverflow(size_t feature, DataType type,
                            absl::string_view id);
absl::Status StateOverflow(size_t feature, absl::string_view id);

// The min-max and max-abs rules can't do without extremes.
absl::Status CheckExtremesGiven(const ReducedMoments& moments,
                                const ScalingRule& rule, absl::string_view id);

// Counts are exact in a double up to 2^53 rows.
absl::Status CheckRowCount(absl::string_view field, uint64_t before,
                           uint64_t added, absl::string_view id);

// `text` between quotes, control and non-ASCII bytes escaped, long texts cut:
// for names that came from outside.
std::string Quoted(absl::string_view text);

}  // namespace streamnorm

#endif  // STREAMNORM_SERVER_ERRORS_H_
