#include "stats/fused_update.h"

#include <cassert>

#include "stats/half.h"
#include "stats/kernels.h"

namespace streamnorm {
namespace {

bool IsForUs(const TensorView& batch, const Moments& before) {
  return batch.rows > 0 && batch.size_bytes() <= kFusedBytes &&
         batch.rows <= kChunkRows && batch.rows <= before.row_count() &&
         before.feature_counts().empty() && before.missing_counts().empty() &&
         before.infinite_counts().empty();
}

template <typename T>
bool FoldAndApplyAs(const TensorView& view, const FusedBatch& batch,
                    uint8_t* output, uint64_t* clipped) {
  return FoldAndApply(reinterpret_cast<const T*>(view.data), batch,
                      reinterpret_cast<T*>(output), clipped);
}

}  // namespace

bool FoldAndNormalize(const TensorView& batch, const ScalingRule& rule,
                      Basis basis, const Moments& before, Moments* after,
                      uint8_t* output, uint64_t* clipped) {
  assert(batch.features == before.features());
  if (!IsForUs(batch, before)) return false;
  after->CopyCounts(before);
  after->set_row_count(before.row_count() + batch.rows);
  const FusedBatch fused{batch.rows,
                         batch.features,
                         static_cast<double>(before.row_count()),
                         &rule,
                         basis == Basis::kAfter,
                         ColumnsOf(before),
                         ColumnsOf(after)};
  switch (batch.type) {
    case DataType::kFp32:
      return FoldAndApplyAs<float>(batch, fused, output, clipped);
    case DataType::kFp64:
      return FoldAndApplyAs<double>(batch, fused, output, clipped);
    case DataType::kFp16:
      return FoldAndApplyAs<Half>(batch, fused, output, clipped);
    case DataType::kBf16:
      return FoldAndApplyAs<Bfloat16>(batch, fused, output, clipped);
  }
  return false;
}

}  // namespace streamnorm
