// Merging moments that were reduced elsewhere, and what is answered then, a few
// columns at a time. Part of each file that is compiled once per instruction
// set, as stats/kernel_vectors-inl.h is.

#if defined(STREAMNORM_STATS_KERNEL_MERGE_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef STREAMNORM_STATS_KERNEL_MERGE_INL_H_
#undef STREAMNORM_STATS_KERNEL_MERGE_INL_H_
#else
#define STREAMNORM_STATS_KERNEL_MERGE_INL_H_
#endif

#include <algorithm>
#include <cstddef>

#include "hwy/highway.h"
#include "stats/kernel_columns-inl.h"
#include "stats/kernel_vectors-inl.h"
#include "stats/kernels.h"

HWY_BEFORE_NAMESPACE();
namespace streamnorm {
namespace HWY_NAMESPACE {

// Moments::Merge, in its order of operations, where one count serves all
// features and what is merged has no tails. `poison` becomes NaN if a mean or
// m2 is not finite.
template <class D>
HWY_INLINE void MergeReducedColumns(D d, size_t j, const ReducedBatch& batch,
                                    bool lighter, double share, double weight,
                                    hn::Vec<D>* poison) {
  using V = hn::Vec<D>;
  const V zero = hn::Zero(d);
  const V mean = hn::LoadU(d, batch.before.mean + j);
  const V mean_tail = hn::LoadU(d, batch.before.mean_tail + j);
  const V batch_mean = LoadWide(d, batch.mean + j);
  V distance, error;
  TwoSum(batch_mean, hn::Neg(mean), &distance, &error);
  const V step = hn::Add(distance, hn::Add(error, hn::Sub(zero, mean_tail)));
  const V heavy = lighter ? batch_mean : mean;
  const V heavy_tail = lighter ? zero : mean_tail;
  V value;
  TwoSum(heavy, hn::Add(heavy_tail, hn::Mul(step, hn::Set(d, share))), &value,
         &error);
  hn::StoreU(value, d, batch.after.mean + j);
  hn::StoreU(error, d, batch.after.mean_tail + j);
  *poison = hn::MulAdd(error, zero, *poison);
  V sum, sum_error;
  TwoSum(hn::LoadU(d, batch.before.m2 + j), LoadWide(d, batch.m2 + j), &sum,
         &sum_error);
  const V between = hn::Mul(hn::Mul(step, step), hn::Set(d, weight));
  TwoSum(sum,
         hn::Add(hn::Add(sum_error, hn::LoadU(d, batch.before.m2_tail + j)),
                 between),
         &value, &error);
  hn::StoreU(value, d, batch.after.m2 + j);
  hn::StoreU(error, d, batch.after.m2_tail + j);
  *poison = hn::MulAdd(error, zero, *poison);
}

// Extremes go on from those of before.
template <class D>
HWY_INLINE void MergeReducedExtremes(D d, size_t j, const ReducedBatch& batch) {
  auto low = hn::LoadU(d, batch.before.minimum + j);
  auto high = hn::LoadU(d, batch.before.maximum + j);
  if (batch.minimum != nullptr) {
    low = hn::Min(LoadWide(d, batch.minimum + j), low);
    high = hn::Max(LoadWide(d, batch.maximum + j), high);
  }
  hn::StoreU(low, d, batch.after.minimum + j);
  hn::StoreU(high, d, batch.after.maximum + j);
}

inline bool MergeReducedImpl(const ReducedBatch& in) {
  const ReducedBatch batch = in;  // nothing that is written can be part of it
  const double total = batch.rows_before + batch.rows;
  const bool lighter = batch.rows_before < batch.rows;
  const double share = std::min(batch.rows_before, batch.rows) / total;
  const double weight = std::max(batch.rows_before, batch.rows) * share;
  Accumulator poison;
  ForColumns(batch.features, [=, &poison](auto d, size_t j) HWY_ATTR {
    MergeReducedColumns(d, j, batch, lighter, lighter ? -share : share, weight,
                        poison.Of(d));
    MergeReducedExtremes(d, j, batch);
  });
  return poison.IsZero();
}

// ScalePlainColumns, with the variance it is made of.
inline void DescribeFeaturesImpl(const ScalingRule rule, size_t features,
                                 const ScalingInput in,
                                 const AnswerColumns out) {
  const double divisor = in.m2_is_variance ? 1.0 : in.count;
  ForColumns(features, [=](auto d, size_t j) HWY_ATTR {
    const auto count = hn::Set(d, in.count);
    const auto mean = hn::LoadU(d, in.columns.mean + j);
    const auto variance = hn::Div(hn::Add(hn::LoadU(d, in.columns.m2 + j),
                                          hn::LoadU(d, in.columns.m2_tail + j)),
                                  hn::Set(d, divisor));
    TableVectors<decltype(d)> table;
    table.denominator =
        hn::IfThenElse(AreConstant(d, mean, variance, count), hn::Set(d, 1.0),
                       StandardDenominator(d, rule, variance));
    KeepInvertible(d, &table);
    StoreNarrow(d, mean, out.mean + j);
    StoreNarrow(d, variance, out.variance + j);
    StoreNarrow(d, mean, out.offset + j);
    StoreNarrow(d, table.scale, out.scale + j);
  });
}

}  // namespace HWY_NAMESPACE
}  // namespace streamnorm
HWY_AFTER_NAMESPACE();

#endif  // STREAMNORM_STATS_KERNEL_MERGE_INL_H_
