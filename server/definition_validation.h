#ifndef STREAMNORM_SERVER_DEFINITION_VALIDATION_H_
#define STREAMNORM_SERVER_DEFINITION_VALIDATION_H_

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "server/limits.h"
#include "storage/records.h"
#include "streamnorm/v1/normalizer_service.pb.h"

namespace streamnorm {

// What a normalizer is to be, as a request asks for it; errors as in
// validation.h.

// What a create request asks for; birth generation and times are not set.
absl::StatusOr<NormalizerDefinition> ParseCreate(
    const v1::CreateNormalizerRequest& request, const Limits& limits);

// Replaces one field of a definition, checked, by that of `wanted`.
// `path` is an element of an update mask.
absl::Status ApplyChange(absl::string_view path, const v1::Normalizer& wanted,
                         NormalizerDefinition* definition);

}  // namespace streamnorm

#endif  // STREAMNORM_SERVER_DEFINITION_VALIDATION_H_
