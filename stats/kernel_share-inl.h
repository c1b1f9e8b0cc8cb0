// Merging a batch that has a share of the result other than its rows have, or
// only its mean (stats/window.h), a few columns at a time. Part of each file
// that is compiled once per instruction set, as stats/kernel_vectors-inl.h is.

#if defined(STREAMNORM_STATS_KERNEL_SHARE_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef STREAMNORM_STATS_KERNEL_SHARE_INL_H_
#undef STREAMNORM_STATS_KERNEL_SHARE_INL_H_
#else
#define STREAMNORM_STATS_KERNEL_SHARE_INL_H_
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

// The light side's share, its complement, and which side that is.
struct LightShare {
  bool is_before;
  double light, heavy;
};

// From the heavier side, as Moments::MergeShare. Returns the distance of the
// means.
template <class D>
HWY_INLINE hn::Vec<D> MergeSharedMean(D d, size_t j, const SharedBatch& batch,
                                      const LightShare& share,
                                      hn::Vec<D>* poison) {
  using V = hn::Vec<D>;
  const V zero = hn::Zero(d);
  const V mean = hn::LoadU(d, batch.before.mean + j);
  const V mean_tail = hn::LoadU(d, batch.before.mean_tail + j);
  const V batch_mean = LoadWide(d, batch.mean + j);
  V distance, error, value;
  TwoSum(batch_mean, hn::Neg(mean), &distance, &error);
  const V step = hn::Add(distance, hn::Add(error, hn::Sub(zero, mean_tail)));
  const V part =
      hn::Mul(step, hn::Set(d, share.is_before ? -share.light : share.light));
  const V heavy = share.is_before ? batch_mean : mean;
  const V heavy_tail = share.is_before ? zero : mean_tail;
  TwoSum(heavy, hn::Add(heavy_tail, part), &value, &error);
  hn::StoreU(value, d, batch.after.mean + j);
  hn::StoreU(error, d, batch.after.mean_tail + j);
  *poison = hn::MulAdd(error, zero, *poison);
  return step;
}

template <class D>
HWY_INLINE void MergeSharedVariance(D d, size_t j, const SharedBatch& batch,
                                    const LightShare& share, hn::Vec<D> step,
                                    hn::Vec<D>* poison) {
  using V = hn::Vec<D>;
  const V zero = hn::Zero(d);
  const V variance = hn::LoadU(d, batch.before.m2 + j);
  const V tail = hn::LoadU(d, batch.before.m2_tail + j);
  const V of_batch = hn::Div(LoadWide(d, batch.m2 + j), hn::Set(d, batch.rows));
  const V between = hn::Mul(hn::Mul(step, step), hn::Set(d, share.heavy));
  const V heavy = share.is_before ? of_batch : variance;
  const V heavy_tail = share.is_before ? zero : tail;
  const V light = share.is_before ? variance : of_batch;
  const V light_tail = share.is_before ? tail : zero;
  const V difference =
      hn::Add(hn::Sub(light, heavy), hn::Sub(light_tail, heavy_tail));
  const V part = hn::Mul(hn::Add(difference, between), hn::Set(d, share.light));
  V value, error;
  TwoSum(heavy, hn::Add(heavy_tail, part), &value, &error);
  hn::StoreU(value, d, batch.after.m2 + j);
  hn::StoreU(error, d, batch.after.m2_tail + j);
  *poison = hn::MulAdd(error, zero, *poison);
}

template <class D>
HWY_INLINE void MergeSharedExtremes(D d, size_t j, const SharedBatch& batch) {
  auto low = hn::LoadU(d, batch.before.minimum + j);
  auto high = hn::LoadU(d, batch.before.maximum + j);
  if (batch.minimum != nullptr) {
    low = hn::Min(LoadWide(d, batch.minimum + j), low);
    high = hn::Max(LoadWide(d, batch.maximum + j), high);
  }
  hn::StoreU(low, d, batch.after.minimum + j);
  hn::StoreU(high, d, batch.after.maximum + j);
}

inline bool MergeSharedImpl(const SharedBatch& in) {
  const SharedBatch batch = in;  // nothing that is written can be part of it
  const bool is_before = batch.shares.before < batch.shares.batch;
  const LightShare share{is_before,
                         std::min(batch.shares.before, batch.shares.batch),
                         std::max(batch.shares.before, batch.shares.batch)};
  Accumulator poison;
  ForColumns(batch.features, [=, &poison](auto d, size_t j) HWY_ATTR {
    const auto step = MergeSharedMean(d, j, batch, share, poison.Of(d));
    if (batch.m2 != nullptr) {
      MergeSharedVariance(d, j, batch, share, step, poison.Of(d));
    } else {
      hn::StoreU(hn::LoadU(d, batch.before.m2 + j), d, batch.after.m2 + j);
      hn::StoreU(hn::LoadU(d, batch.before.m2_tail + j), d,
                 batch.after.m2_tail + j);
    }
    MergeSharedExtremes(d, j, batch);
  });
  return poison.IsZero();
}

}  // namespace HWY_NAMESPACE
}  // namespace streamnorm
HWY_AFTER_NAMESPACE();

#endif  // STREAMNORM_STATS_KERNEL_SHARE_INL_H_
