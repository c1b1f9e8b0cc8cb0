#ifndef STREAMNORM_STATS_KERNELS_H_
#define STREAMNORM_STATS_KERNELS_H_

#include <cstddef>
#include <cstdint>

#include "stats/moments.h"
#include "stats/scaling.h"
#include "stats/window.h"

namespace streamnorm {

// The vector loops, chosen at run time for the CPU (Highway). Each works on
// whole columns of row-major data, adds and multiplies in the same order on
// every CPU and without fused multiply-add, so results are bit-identical.
// Pointers need no alignment. T is float, double, Half or Bfloat16.

// Rows that are summed by themselves before they are added to the rest: sums
// of 1024 rows round like sums of 136, and the accumulators of a block stay in
// L1 while its rows stream by.
inline constexpr size_t kFoldBlockRows = 8;

// Rows folded around one shift before they are merged: bounds the rounding of
// the plain double sums, whatever the batch (docs/numerics.md, "Error bound").
inline constexpr size_t kChunkRows = 1024;

// The columns of Moments, [features] each.
template <typename Value>
struct MomentColumns {
  Value *mean, *mean_tail, *m2, *m2_tail, *minimum, *maximum;

  // Those of feature `j` and what follows.
  MomentColumns From(size_t j) const {
    return {mean + j,    mean_tail + j, m2 + j,
            m2_tail + j, minimum + j,   maximum + j};
  }
  MomentColumns<const double> AsConst() const {
    return {mean, mean_tail, m2, m2_tail, minimum, maximum};
  }
};
using ConstColumns = MomentColumns<const double>;
using MutableColumns = MomentColumns<double>;

inline ConstColumns ColumnsOf(const Moments& m) {
  return {m.mean().data(),    m.mean_tail().data(), m.m2().data(),
          m.m2_tail().data(), m.minimum().data(),   m.maximum().data()};
}
inline MutableColumns ColumnsOf(Moments* m) {
  return {m->mean().data(),    m->mean_tail().data(), m->m2().data(),
          m->m2_tail().data(), m->minimum().data(),   m->maximum().data()};
}

// Sums of rows around a shift, [features] each.
struct SumColumns {
  double *sum, *sum_squares, *minimum, *maximum;
};

// Per feature j and block of rows, with d = x - shift[j] and everything in the
// order of the rows: sum[j] += sum of d; sum_squares[j] += sum of d * d;
// minimum and maximum take x.
template <typename T>
void FoldRows(const T* x, size_t rows, size_t features, const double* shift,
              const SumColumns& sums);

// Merges `rows` rows, folded around shift = mean, into moments of `rows_before`
// rows: mean and m2 are double-doubles (docs/numerics.md, "Fold"). `after` may
// be `before`; extremes are not looked at.
void MergeFold(size_t features, double rows, double rows_before,
               const SumColumns& sums, const ConstColumns& before,
               const MutableColumns& after);

// Moments of `rows` rows, reduced elsewhere, and those that they are merged
// into. No extremes: null.
struct ReducedBatch {
  size_t features;
  double rows, rows_before;
  const double *mean, *m2, *minimum, *maximum;
  ConstColumns before;
  MutableColumns after;
};

// Moments::Merge to the last bit. Returns false if a mean or m2 is not finite:
// then `after` is not to be used.
// REQUIRES: one count serves all features, and neither has no rows.
bool MergeReduced(const ReducedBatch& batch);

// Likewise where the batch has the share of the result that a window gives it,
// and m2 are variances but that of the batch. Null without m2 (mean_only): then
// those of `before`, all 0, are kept.
struct SharedBatch {
  size_t features;
  Shares shares;
  double rows;  // of the batch
  const double *mean, *m2, *minimum, *maximum;
  ConstColumns before;
  MutableColumns after;
};
bool MergeShared(const SharedBatch& batch);

// What a scaling is computed from.
struct ScalingInput {
  ConstColumns columns;
  const double* counts;  // [features] values that count, or null:
  double count;          // as many in each
  bool m2_is_variance;   // instead of a sum
};

// The columns of a ScalingTable.
struct TableColumns {
  double *offset, *offset_tail, *scale, *denominator;
};
struct ForwardColumns {
  const double *offset, *offset_tail, *scale;
};

// ComputeScaling() on columns.
void ScaleFeatures(const ScalingRule& rule, size_t features,
                   const ScalingInput& in, const TableColumns& out);

// Where statistics go that are answered, [features] each.
struct AnswerColumns {
  double *mean, *variance, *offset, *scale;
};

// Mean, variance, and offset and scale as of ScaleFeatures, in one go.
// REQUIRES: one count, and a standard rule that centers and scales.
void DescribeFeatures(const ScalingRule& rule, size_t features,
                      const ScalingInput& in, const AnswerColumns& out);

// z = (x - offset - offset_tail) * scale, limited to [-clip, clip] if clip > 0.
// Adds the number of limited values to `*clipped`. Returns false if any x or z
// is not finite: then the output is not to be used.
template <typename T>
bool ApplyRows(const T* x, size_t rows, size_t features,
               const ForwardColumns& table, double clip, T* z,
               uint64_t* clipped);

// ApplyRows where every x is finite and every z will fit T: returns the number
// of limited values.
template <typename T>
uint64_t ApplyFiniteRows(const T* x, size_t rows, size_t features,
                         const ForwardColumns& table, double clip, T* z);

// What FoldAndApplyRows needs besides rows.
struct OnePass {
  size_t features;
  const double* shift;
  SumColumns sums;
  ForwardColumns table;
  double clip;
  size_t batch_rows;  // of the whole batch: it may come in parts
};

// FoldRows and ApplyFiniteRows in one pass. Where some x is not finite, or some
// z doesn't fit, the output is not to be used; the sums tell.
template <typename T>
uint64_t FoldAndApplyRows(const T* x, size_t rows, const OnePass& pass, T* z);

// The smaller and larger extremes of both; `after` may be `before`. Nothing
// else of either is looked at.
void MergeExtremes(size_t features, const SumColumns& sums,
                   const ConstColumns& before, const MutableColumns& after);

bool AllFinite(const double* values, size_t count);

// Whether the normalized extremes, where there are some, are within `bound`.
bool AllFit(const double* minimum, const double* maximum, size_t features,
            const ForwardColumns& table, double bound);

// A batch that is counted and normalized in one go.
struct FusedBatch {
  size_t rows, features;
  double rows_before;  // rows counted in `before`
  const ScalingRule* rule;
  bool scale_after;  // by the statistics after the batch, else before it
  ConstColumns before;
  MutableColumns after;
};

// FoldRows around before.mean, MergeFold, ScaleFeatures and ApplyRows, a few
// columns at a time; the same to the last bit. Returns false if anything is not
// finite: then neither `after` nor the output is to be used.
// REQUIRES: 1 <= rows <= rows_before, and one count serves all features.
template <typename T>
bool FoldAndApply(const T* x, const FusedBatch& batch, T* z, uint64_t* clipped);

}  // namespace streamnorm

#endif  // STREAMNORM_STATS_KERNELS_H_
