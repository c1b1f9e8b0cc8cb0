#ifndef STREAMNORM_SERVER_VALIDATION_H_
#define STREAMNORM_SERVER_VALIDATION_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "server/normalizer.h"
#include "server/registry.h"
#include "server/sessions.h"
#include "stats/reduced_moments.h"
#include "stats/scaling.h"
#include "storage/records.h"
#include "streamnorm/v1/normalizer_service.pb.h"

namespace streamnorm {

// Every check of a request, with the domain value it stands for; what a
// normalizer is to be is checked in definition_validation.h. What comes out may
// be used without looking again. All errors are INVALID_ARGUMENT or
// RESOURCE_EXHAUSTED and name path, got and want.

// The id in `normalizers/{id}`; `field` names the request's field.
absl::StatusOr<std::string> ParseName(absl::string_view field,
                                      absl::string_view name);

// The normalizer that a request's `name` names: also NOT_FOUND, DATA_LOSS.
// A name that is meant to be a snapshot's, and the ids in one.
bool NamesSnapshot(absl::string_view name);
struct SnapshotIds {
  std::string normalizer;
  std::string snapshot;
};
absl::StatusOr<SnapshotIds> ParseSnapshotName(absl::string_view field,
                                              absl::string_view name);

absl::StatusOr<std::shared_ptr<Normalizer>> FindNormalizer(
    const Registry& registry, absl::string_view name);

// [a-z][a-z0-9._-]{0,127}
absl::Status CheckId(absl::string_view field, absl::string_view id);

// [a-z0-9][a-z0-9._-]{0,127}, not ending in ".tmp": a name in --backup_dir.
absl::Status CheckBackupId(absl::string_view field, absl::string_view id);

// Rows of `features` features. The view points to `data`, which is what
// tensor.data() is or would be, or into `*converted` if the rows came as
// `values`.
absl::StatusOr<TensorView> ParseTensor(const v1::Tensor& tensor,
                                       absl::string_view data, size_t features,
                                       absl::string_view id,
                                       std::vector<double>* converted);

// The feature count that the tensor's shape states, for a normalizer that does
// not exist yet.
absl::StatusOr<int64_t> ParseFeatureCount(const v1::Tensor& tensor);

absl::StatusOr<Mode> ParseMode(v1::Mode mode);

absl::StatusOr<SessionId> ParseSessionId(absl::string_view field,
                                         absl::string_view bytes);
absl::StatusOr<UpdateId> ParseUpdateId(const v1::UpdateId& id);

// The moments a client sends: a view of the request. With `mean_only` they may
// come without m2.
absl::StatusOr<ReducedMoments> ParseMoments(
    const v1::MergeMomentsRequest& request, size_t features, bool mean_only,
    absl::string_view id);

// OK if the request as a whole may be looked at, entry by entry, and every
// answer to it fits in `max_bytes`.
absl::Status CheckExchange(const v1::ExchangeMomentsRequest& request,
                           uint64_t max_bytes);

// The features a request selects, in its order.
absl::StatusOr<std::vector<size_t>> ParseSelection(
    const v1::FeatureSelection& selection,
    const NormalizerDefinition& definition);

}  // namespace streamnorm

#endif  // STREAMNORM_SERVER_VALIDATION_H_
