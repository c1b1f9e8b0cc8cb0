#ifndef STREAMNORM_SERVER_CHOSEN_SCALING_H_
#define STREAMNORM_SERVER_CHOSEN_SCALING_H_

#include "absl/status/status.h"
#include "stats/moments.h"
#include "stats/reduced_moments.h"
#include "stats/scaling.h"
#include "stats/tensor_view.h"
#include "storage/records.h"

namespace streamnorm {

// The rows of a request itself, where WarmUpAnswer::kCenter can find them: one
// of the two, or neither.
struct OwnRows {
  const TensorView* rows = nullptr;
  const ReducedMoments* moments = nullptr;
};

// Chooses the scaling for an answer made from `basis`: that of the definition's
// rule, or what it answers while there are too few rows; then `*warming_up`.
absl::Status ChooseScaling(const NormalizerDefinition& definition,
                           const Moments& basis, OwnRows own,
                           ScalingTable* table, bool* warming_up);

}  // namespace streamnorm

#endif  // STREAMNORM_SERVER_CHOSEN_SCALING_H_
