// A small batch counted, scaled and normalized in one go, a few columns at a
// time (stats/fused_update.h). Part of each file that is compiled once per
// instruction set, as stats/kernel_vectors-inl.h is.

#if defined(STREAMNORM_STATS_KERNEL_FUSED_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef STREAMNORM_STATS_KERNEL_FUSED_INL_H_
#undef STREAMNORM_STATS_KERNEL_FUSED_INL_H_
#else
#define STREAMNORM_STATS_KERNEL_FUSED_INL_H_
#endif

#include <algorithm>
#include <cstddef>
#include <cstdint>

#include "hwy/highway.h"
#include "stats/kernel_columns-inl.h"
#include "stats/kernel_vectors-inl.h"
#include "stats/kernels.h"

HWY_BEFORE_NAMESPACE();
namespace streamnorm {
namespace HWY_NAMESPACE {

// A few columns of a fused batch. A known number of rows, kRows, makes loops
// without branches; 0 is any number.
template <typename T, size_t kRows>
struct FusedColumns {
  const T* x;
  T* z;
  FusedBatch batch;
  double rows, inverse;  // of batch.rows; 1 / rows counted afterwards

  // Counts Lanes(d) columns.
  template <class D>
  HWY_INLINE void Fold(D d, size_t j, hn::Vec<D>* poison) const {
    const auto shift = hn::LoadU(d, batch.before.mean + j);
    SumVectors<D> sums(d, batch.before, j);
    if (kRows != 0) {
      FoldBlockOf<kRows>(d, x + j, kRows, batch.features, shift, &sums);
    } else {
      for (size_t r = 0; r < batch.rows; r += kFoldBlockRows) {
        FoldBlock(d, x + r * batch.features + j,
                  std::min(kFoldBlockRows, batch.rows - r), batch.features,
                  shift, &sums);
      }
    }
    MergeColumns(d, j, rows, inverse, sums.sum, sums.sum_squares, batch.before,
                 batch.after, poison);
    hn::StoreU(sums.minimum, d, batch.after.minimum + j);
    hn::StoreU(sums.maximum, d, batch.after.maximum + j);
  }

  // Asks for the line of each row, of input and output, that begins among
  // Lanes(d) columns some way ahead of `j`: memory then takes its time while
  // columns are folded (cold 4 x 1024: 2.6 instead of 2.9 times memcpy).
  template <class D>
  HWY_INLINE void Fetch(D d, size_t j) const {
    constexpr size_t kAhead = 512 / sizeof(T);
    if (j * sizeof(T) % kLine >= hn::Lanes(d) * sizeof(T)) return;
    const size_t count = kRows == 0 ? batch.rows : kRows;
    for (size_t r = 0, at = j + kAhead; r < count; ++r, at += batch.features) {
      __builtin_prefetch(reinterpret_cast<const char*>(x) + at * sizeof(T));
      __builtin_prefetch(reinterpret_cast<const char*>(z) + at * sizeof(T));
    }
  }

  // Normalizes them; `*peak` is the largest |z| so far.
  template <class D>
  HWY_INLINE void Apply(D d, size_t j, const TableVectors<D>& table,
                        double clip, uint64_t* limited,
                        hn::Vec<D>* peak) const {
    const size_t count = kRows == 0 ? batch.rows : kRows;
    auto largest = *peak;
    for (size_t r = 0, at = j; r < count; ++r, at += batch.features) {
      const auto scaled = ApplyFinite(d, x + at, table, clip, z + at, limited);
      largest = hn::Max(hn::Abs(scaled), largest);
    }
    *peak = largest;
  }
};

// The tables of a few vectors of columns.
struct TableRing {
  static constexpr size_t kSlots = 2;
  static constexpr size_t kLanes = hn::MaxLanes(Wide());
  alignas(64) double columns[kSlots][3 * kLanes];

  HWY_INLINE ForwardColumns Of(size_t step) {
    double* slot = columns[step % kSlots];
    return {slot, slot + kLanes, slot + 2 * kLanes};
  }
  HWY_INLINE void Put(size_t step, const TableVectors<Wide>& table) {
    double* slot = columns[step % kSlots];
    hn::Store(table.offset, Wide(), slot);
    hn::Store(table.offset_tail, Wide(), slot + kLanes);
    hn::Store(table.scale, Wide(), slot + 2 * kLanes);
  }
};

// Columns are scaled so many vectors after they were folded, and applied as
// many later: the chains of additions, division and root of one take place
// while others are worked on (hot 4 x 1024: 3.0 instead of 3.2 us).
constexpr size_t kLag = TableRing::kSlots;

// `scale(d, j)` gives the table of a few columns.
template <typename T, size_t kRows, typename Scale>
HWY_INLINE bool FoldAndApplyColumns(const FusedColumns<T, kRows> columns,
                                    const ScalingRule rule, Scale scale,
                                    uint64_t* limited) {
  Accumulator poison, peak;
  TableRing ring;
  const Wide wide;
  const size_t lanes = hn::Lanes(wide);
  const size_t features = columns.batch.features;
  const size_t vectors = features / lanes;
  for (size_t step = 0; step < vectors + 2 * kLag; ++step) {
    const size_t j = step * lanes;
    if (step >= 2 * kLag) {
      const TableVectors<Wide> table(wide, ring.Of(step), 0);
      columns.Apply(wide, j - 2 * kLag * lanes, table, rule.clip, limited,
                    &peak.wide);
    }
    if (step >= kLag && step - kLag < vectors) {
      ring.Put(step, scale(wide, j - kLag * lanes));
    }
    columns.Fetch(wide, j);
    if (step < vectors) columns.Fold(wide, j, &poison.wide);
  }
  for (size_t j = vectors * lanes; j < features; ++j) {
    columns.Fold(One(), j, &poison.one);
    columns.Apply(One(), j, scale(One(), j), rule.clip, limited, &peak.one);
  }
  return poison.IsZero() && peak.Largest() <= kLargest<T>;
}

template <size_t kRows, typename T>
HWY_INLINE bool FoldAndApplyBlock(const T* x, const FusedBatch& batch, T* z,
                                  uint64_t* clipped) {
  const auto rows = static_cast<double>(batch.rows);
  const double total = batch.rows_before + rows;
  const ScalingInput in{
      batch.scale_after ? batch.after.AsConst() : batch.before, nullptr,
      batch.scale_after ? total : batch.rows_before, false};
  const FusedColumns<T, kRows> columns{x, z, batch, rows, 1.0 / total};
  const ScalingRule rule = *batch.rule;
  const auto any = [rule, in](auto d, size_t j)
                       HWY_ATTR { return ScaleColumns(d, j, rule, in); };
  const auto plain = [rule, in](auto d, size_t j)
                         HWY_ATTR { return ScalePlainColumns(d, j, rule, in); };
  const bool is_plain =
      rule.method == ScalingMethod::kStandard && rule.center && rule.scale;
  uint64_t limited = 0;
  const bool finite = is_plain
                          ? FoldAndApplyColumns(columns, rule, plain, &limited)
                          : FoldAndApplyColumns(columns, rule, any, &limited);
  *clipped += limited;
  return finite;
}

template <typename T>
bool FoldAndApplyT(const T* x, const FusedBatch& batch, T* z,
                   uint64_t* clipped) {
  return batch.rows == 4 ? FoldAndApplyBlock<4>(x, batch, z, clipped)
                         : FoldAndApplyBlock<0>(x, batch, z, clipped);
}

}  // namespace HWY_NAMESPACE
}  // namespace streamnorm
HWY_AFTER_NAMESPACE();

#endif  // STREAMNORM_STATS_KERNEL_FUSED_INL_H_
