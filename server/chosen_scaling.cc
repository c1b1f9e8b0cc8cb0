#include "server/chosen_scaling.h"

#include "server/errors.h"

namespace streamnorm {
namespace {

absl::Status CenterOn(const NormalizerDefinition& definition, OwnRows own,
                      ScalingTable* table) {
  if (own.moments != nullptr) {
    CenterScaling(ToMoments(*own.moments), table);
    return absl::OkStatus();
  }
  Moments batch(definition.features);
  BatchExtremes extremes;
  const ValueProblem problem =
      Fold(*own.rows, definition.nonfinite, &batch, &extremes);
  if (auto s = CheckValues(problem, *own.rows, definition.id); !s.ok()) {
    return s;
  }
  CenterScaling(batch, table);
  return absl::OkStatus();
}

}  // namespace

absl::Status ChooseScaling(const NormalizerDefinition& definition,
                           const Moments& basis, OwnRows own,
                           ScalingTable* table, bool* warming_up) {
  const WarmUp& warm_up = definition.warm_up;
  *warming_up = basis.row_count() < warm_up.minimum_rows;
  if (!*warming_up) {
    ComputeScaling(definition.scaling, basis, table);
    return absl::OkStatus();
  }
  switch (warm_up.answer) {
    case WarmUpAnswer::kIdentity:
      IdentityScaling(definition.features, table);
      return absl::OkStatus();
    case WarmUpAnswer::kPrior:
      ComputeScalingWithPrior(definition.scaling, basis, warm_up.prior, table);
      return absl::OkStatus();
    case WarmUpAnswer::kCenter:
      if (own.rows != nullptr || own.moments != nullptr) {
        return CenterOn(definition, own, table);
      }
      break;
    case WarmUpAnswer::kError:
      break;
  }
  return NotWarmedUp(basis.row_count(), warm_up.minimum_rows, definition.id);
}

}  // namespace streamnorm
