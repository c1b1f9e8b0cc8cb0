#include "stats/fused_update.h"

#include <algorithm>
#include <cassert>
#include <limits>
#include <vector>

#include "stats/half.h"
#include "stats/kernels.h"

namespace streamnorm {
namespace {

bool Overlap(const TensorView& batch, const uint8_t* output) {
  const size_t size = batch.size_bytes();
  return output < batch.data + size && batch.data < output + size;
}

bool IsForUs(const TensorView& batch, Basis basis, const Moments& before,
             const uint8_t* output) {
  const bool small =
      batch.size_bytes() <= kFusedBytes && batch.rows <= kChunkRows;
  return batch.rows > 0 && before.kind().plain() && !Overlap(batch, output) &&
         (small || basis == Basis::kBefore) &&
         std::min(batch.rows, kChunkRows) <= before.row_count() &&
         before.feature_counts().empty() && before.missing_counts().empty() &&
         before.infinite_counts().empty();
}

// What OnePassUpdate needs besides its arguments, kept per thread so that the
// steady state allocates nothing.
struct PassScratch {
  std::vector<double> sums;
  BatchExtremes extremes;
  ScalingTable scaling;
};

// Sums start over with each chunk, extremes are those of the batch.
SumColumns Columns(size_t features, PassScratch* scratch) {
  constexpr double kInfinity = std::numeric_limits<double>::infinity();
  scratch->sums.resize(2 * ColumnStride(features));
  scratch->extremes.minimum.assign(features, kInfinity);
  scratch->extremes.maximum.assign(features, -kInfinity);
  double* sums = scratch->sums.data();
  return {sums, sums + ColumnStride(features), scratch->extremes.minimum.data(),
          scratch->extremes.maximum.data()};
}

// One pass over a batch of any size: its scaling is known beforehand.
template <typename T>
bool OnePassUpdate(const TensorView& batch, const ScalingRule& rule,
                   const Moments& before, Moments* after, uint8_t* output,
                   uint64_t* clipped) {
  thread_local PassScratch scratch;
  const size_t features = batch.features;
  ComputeScaling(rule, before, &scratch.scaling);
  const ScalingTable& table = scratch.scaling;
  OnePass pass{
      features,
      before.mean().data(),
      Columns(features, &scratch),
      {table.offset.data(), table.offset_tail.data(), table.scale.data()},
      rule.clip,
      batch.rows};
  const MutableColumns to = ColumnsOf(after);
  ConstColumns from = ColumnsOf(before);
  uint64_t limited = 0;
  for (size_t r = 0; r < batch.rows; r += kChunkRows) {
    const size_t rows = std::min(kChunkRows, batch.rows - r);
    const size_t at = r * features;
    std::fill(scratch.sums.begin(), scratch.sums.end(), 0.0);
    limited += FoldAndApplyRows(reinterpret_cast<const T*>(batch.data) + at,
                                rows, pass, reinterpret_cast<T*>(output) + at);
    if (!AllFinite(pass.sums.sum_squares, features)) return false;
    MergeFold(features, static_cast<double>(rows),
              static_cast<double>(before.row_count() + r), pass.sums, from, to);
    from = to.AsConst();
    pass.shift = from.mean;
  }
  MergeExtremes(features, pass.sums, ColumnsOf(before), to);
  size_t feature = 0;
  *clipped += limited;
  return after->IsFinite(&feature) &&
         !FindOutputOverflow(scratch.extremes, table, batch.type);
}

template <typename T>
bool UpdateAs(const TensorView& batch, const ScalingRule& rule, Basis basis,
              const Moments& before, Moments* after, uint8_t* output,
              uint64_t* clipped) {
  if (batch.size_bytes() > kFusedBytes || batch.rows > kChunkRows) {
    return OnePassUpdate<T>(batch, rule, before, after, output, clipped);
  }
  const FusedBatch fused{batch.rows,
                         batch.features,
                         static_cast<double>(before.row_count()),
                         &rule,
                         basis == Basis::kAfter,
                         ColumnsOf(before),
                         ColumnsOf(after)};
  return FoldAndApply(reinterpret_cast<const T*>(batch.data), fused,
                      reinterpret_cast<T*>(output), clipped);
}

}  // namespace

bool FoldAndNormalize(const TensorView& batch, const ScalingRule& rule,
                      Basis basis, const Moments& before, Moments* after,
                      uint8_t* output, uint64_t* clipped) {
  assert(batch.features == before.features());
  if (!IsForUs(batch, basis, before, output)) return false;
  after->CopyCounts(before);
  after->set_row_count(before.row_count() + batch.rows);
  switch (batch.type) {
    case DataType::kFp32:
      return UpdateAs<float>(batch, rule, basis, before, after, output,
                             clipped);
    case DataType::kFp64:
      return UpdateAs<double>(batch, rule, basis, before, after, output,
                              clipped);
    case DataType::kFp16:
      return UpdateAs<Half>(batch, rule, basis, before, after, output, clipped);
    case DataType::kBf16:
      return UpdateAs<Bfloat16>(batch, rule, basis, before, after, output,
                                clipped);
  }
  return false;
}

}  // namespace streamnorm
