// What is done to a few columns at once: fold, merge, scale, apply. Part of
// each file that is compiled once per instruction set, as
// stats/kernel_vectors-inl.h is. docs/numerics.md has the formulas.

#if defined(STREAMNORM_STATS_KERNEL_COLUMNS_INL_H_) == \
    defined(HWY_TARGET_TOGGLE)
#ifdef STREAMNORM_STATS_KERNEL_COLUMNS_INL_H_
#undef STREAMNORM_STATS_KERNEL_COLUMNS_INL_H_
#else
#define STREAMNORM_STATS_KERNEL_COLUMNS_INL_H_
#endif

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <type_traits>

#include "hwy/highway.h"
#include "stats/kernel_vectors-inl.h"
#include "stats/kernels.h"
#include "stats/scaling.h"
#include "stats/tensor_view.h"

HWY_BEFORE_NAMESPACE();
namespace streamnorm {
namespace HWY_NAMESPACE {

// Calls `columns(d, j)` for all columns from 0 on: vectors of them, then what
// is left one by one.
template <typename Columns>
HWY_INLINE void ForColumns(size_t features, Columns columns) {
  const Wide wide;
  const size_t lanes = hn::Lanes(wide);
  size_t j = 0;
  for (; j + lanes <= features; j += lanes) columns(wide, j);
  for (; j < features; ++j) columns(One(), j);
}

// Likewise with two vectors at a time, `columns(d, vectors, j)` with `vectors`
// an integral constant of 2 or 1: those of FP32 elements share a cache line,
// which may be gone before it is looked at a second time where rows are a
// multiple of 4,096 bytes apart.
// The first `before` columns are done before the pairs.
template <typename Columns>
HWY_INLINE void ForColumnPairs(size_t before, size_t features,
                               Columns columns) {
  constexpr std::integral_constant<size_t, 1> kSingle;
  constexpr std::integral_constant<size_t, 2> kPair;
  const Wide wide;
  const size_t lanes = hn::Lanes(wide);
  size_t j = 0;
  for (; j + lanes <= before; j += lanes) columns(wide, kSingle, j);
  for (; j < before; ++j) columns(One(), kSingle, j);
  for (; j + 2 * lanes <= features; j += 2 * lanes) columns(wide, kPair, j);
  for (; j + lanes <= features; j += lanes) columns(wide, kSingle, j);
  for (; j < features; ++j) columns(One(), kSingle, j);
}

// One vector of its own for each width of columns.
struct Accumulator {
  hn::Vec<Wide> wide;
  hn::Vec<One> one;

  HWY_INLINE Accumulator() : wide(hn::Zero(Wide())), one(hn::Zero(One())) {}

  template <class D>
  HWY_INLINE hn::Vec<D>* Of(D) {
    if constexpr (kIsOne<D>) {
      return &one;
    } else {
      return &wide;
    }
  }
  HWY_INLINE double Largest() const {
    return std::max(hn::GetLane(hn::MaxOfLanes(Wide(), wide)),
                    hn::GetLane(one));
  }
  HWY_INLINE bool IsZero() const {
    return hn::AllTrue(Wide(), hn::Eq(wide, hn::Zero(Wide()))) &&
           hn::GetLane(one) == 0;
  }
};

// Sum and rounding error of a + b (Knuth 1969, TwoSum): exact. If the sum is
// not finite, the error is not either.
template <class V>
HWY_INLINE void TwoSum(V a, V b, V* sum, V* error) {
  *sum = hn::Add(a, b);
  const V b_part = hn::Sub(*sum, a);
  *error = hn::Add(hn::Sub(a, hn::Sub(*sum, b_part)), hn::Sub(b, b_part));
}

// ------------------------------------------------------------------- fold

// The sums of Lanes(d) columns.
template <class D>
struct SumVectors {
  using V = hn::Vec<D>;
  V sum, sum_squares, minimum, maximum;

  // No sums yet; extremes go on from those of `columns`.
  HWY_INLINE SumVectors(D d, const ConstColumns& columns, size_t j)
      : sum(hn::Zero(d)),
        sum_squares(hn::Zero(d)),
        minimum(hn::LoadU(d, columns.minimum + j)),
        maximum(hn::LoadU(d, columns.maximum + j)) {}

  HWY_INLINE SumVectors(D d, const SumColumns& sums, size_t j)
      : sum(hn::LoadU(d, sums.sum + j)),
        sum_squares(hn::LoadU(d, sums.sum_squares + j)),
        minimum(hn::LoadU(d, sums.minimum + j)),
        maximum(hn::LoadU(d, sums.maximum + j)) {}

  HWY_INLINE void Store(D d, const SumColumns& sums, size_t j) const {
    hn::StoreU(sum, d, sums.sum + j);
    hn::StoreU(sum_squares, d, sums.sum_squares + j);
    hn::StoreU(minimum, d, sums.minimum + j);
    hn::StoreU(maximum, d, sums.maximum + j);
  }
};

// a + b, rounded as ever, where the multipliers are: a * 1 is exact. Cores that
// add and multiply in units of their own have nothing else to do there (a fold
// of hot rows takes 1.36 instead of 1.61 ns per 8 values on Zen 4).
template <class D, class V = hn::Vec<D>>
HWY_INLINE V AddByMultiplier(D d, V a, V b) {
  constexpr bool kHasFma = HWY_TARGET <= HWY_AVX2;
  return kHasFma ? hn::MulAdd(a, hn::Set(d, 1.0), b) : hn::Add(a, b);
}

// The sums of one block of rows for Lanes(d) columns. Extremes are compared
// before they are widened: twice as many in a vector.
template <class D, typename T>
struct BlockSums {
  using Native = decltype(LoadNative(D(), static_cast<const T*>(nullptr)));
  hn::Vec<D> sum, sum_squares;
  Native minimum, maximum;

  HWY_INLINE explicit BlockSums(D d)
      : sum(hn::Zero(d)),
        sum_squares(hn::Zero(d)),
        minimum(hn::Set(hn::DFromV<Native>(), kInfinity)),
        maximum(hn::Set(hn::DFromV<Native>(), -kInfinity)) {}

  HWY_INLINE void Add(D d, Native value, hn::Vec<D> deviation) {
    sum = AddByMultiplier(d, deviation, sum);
    sum_squares = hn::Add(sum_squares, hn::Mul(deviation, deviation));
    minimum = hn::Min(value, minimum);  // of two zeros the earlier one stays
    maximum = hn::Max(value, maximum);
  }

  HWY_INLINE void AddTo(D d, SumVectors<D>* sums) const {
    sums->sum = hn::Add(sums->sum, sum);
    sums->sum_squares = hn::Add(sums->sum_squares, sum_squares);
    sums->minimum = hn::Min(Widen(d, minimum), sums->minimum);
    sums->maximum = hn::Max(Widen(d, maximum), sums->maximum);
  }

 private:
  static constexpr float kInfinity = std::numeric_limits<float>::infinity();
};

// One vector of columns of a block of rows that are `stride` elements apart. A
// known number of rows makes a loop without branches.
template <size_t kRows, class D, typename T>
HWY_INLINE void FoldBlockOf(D d, const T* x, size_t rows, size_t stride,
                            hn::Vec<D> shift, SumVectors<D>* sums) {
  BlockSums<D, T> block(d);
  for (size_t r = 0; r < (kRows == 0 ? rows : kRows); ++r) {
    const auto value = LoadNative(d, x + r * stride);
    block.Add(d, value, hn::Sub(Widen(d, value), shift));
  }
  block.AddTo(d, sums);
}

template <class D, typename T>
HWY_INLINE void FoldBlock(D d, const T* x, size_t rows, size_t stride,
                          hn::Vec<D> shift, SumVectors<D>* sums) {
  if (rows == kFoldBlockRows) {
    FoldBlockOf<kFoldBlockRows>(d, x, rows, stride, shift, sums);
  } else if (rows == 4) {
    FoldBlockOf<4>(d, x, rows, stride, shift, sums);
  } else {
    FoldBlockOf<0>(d, x, rows, stride, shift, sums);
  }
}

// ------------------------------------------------------------------ merge

// Merges the sums of `rows` rows into `before` and writes `after`, which may be
// the same. `inverse` is 1 / (rows before + rows). `poison` becomes NaN if a
// sum, mean or m2 is not finite.
template <class D>
HWY_INLINE void MergeColumns(D d, size_t j, double rows, double inverse,
                             hn::Vec<D> s1, hn::Vec<D> s2,
                             const ConstColumns& before,
                             const MutableColumns& after, hn::Vec<D>* poison) {
  using V = hn::Vec<D>;
  const V n = hn::Set(d, rows);
  const V zero = hn::Zero(d);
  const V tail = hn::LoadU(d, before.mean_tail + j);
  // The sums are around the mean's leading part; these are around all of it.
  const V deviation = hn::Sub(s1, hn::Mul(n, tail));
  const V squares =
      hn::Sub(s2, hn::Mul(tail, hn::Sub(hn::Add(s1, s1), hn::Mul(n, tail))));
  const V delta = hn::Mul(deviation, hn::Set(d, inverse));
  V value, error;
  TwoSum(hn::LoadU(d, before.mean + j), hn::Add(tail, delta), &value, &error);
  hn::StoreU(value, d, after.mean + j);
  hn::StoreU(error, d, after.mean_tail + j);
  *poison = hn::MulAdd(error, zero, hn::MulAdd(s2, zero, *poison));
  const V growth = hn::Max(zero, hn::Sub(squares, hn::Mul(deviation, delta)));
  TwoSum(hn::LoadU(d, before.m2 + j),
         hn::Add(growth, hn::LoadU(d, before.m2_tail + j)), &value, &error);
  hn::StoreU(value, d, after.m2 + j);
  hn::StoreU(error, d, after.m2_tail + j);
  *poison = hn::MulAdd(error, zero, *poison);
}

// ------------------------------------------------------------------ scale

template <class D>
HWY_INLINE hn::Vec<D> StandardDenominator(D d, const ScalingRule& rule,
                                          hn::Vec<D> variance) {
  const auto epsilon = hn::Set(d, rule.epsilon);
  switch (rule.epsilon_mode) {
    case EpsilonMode::kNone:
      break;
    case EpsilonMode::kInsideSqrt:
      return hn::Sqrt(hn::Add(variance, epsilon));
    case EpsilonMode::kAddToStd:
      return hn::Add(hn::Sqrt(variance), epsilon);
    case EpsilonMode::kFloorStd:
      return hn::Max(hn::Sqrt(variance), epsilon);
  }
  return hn::Sqrt(variance);
}

// IsConstant(), see stats/scaling.h.
template <class D>
HWY_INLINE hn::Mask<D> AreConstant(D d, hn::Vec<D> mean, hn::Vec<D> variance,
                                   hn::Vec<D> count) {
  const auto epsilon = hn::Set(d, std::numeric_limits<double>::epsilon());
  const auto m = hn::Min(count, hn::Set(d, kConstantCountLimit));
  const auto mean_part = hn::Mul(hn::Mul(m, mean), epsilon);
  return hn::Le(variance, hn::Add(hn::Mul(hn::Mul(m, epsilon), variance),
                                  hn::Mul(mean_part, mean_part)));
}

// Offset and denominator by the rule, whatever they are.
template <class D>
HWY_INLINE void OffsetAndDenominator(D d, const ScalingRule& rule,
                                     const ScalingInput& in, size_t j,
                                     hn::Vec<D> count, hn::Vec<D>* offset,
                                     hn::Vec<D>* offset_tail,
                                     hn::Vec<D>* denominator) {
  using V = hn::Vec<D>;
  const V one = hn::Set(d, 1.0);
  if (rule.method == ScalingMethod::kMaxAbs) {
    *denominator = hn::Max(hn::Abs(hn::LoadU(d, in.columns.minimum + j)),
                           hn::Abs(hn::LoadU(d, in.columns.maximum + j)));
    return;
  }
  const V mean = hn::LoadU(d, in.columns.mean + j);
  V variance = hn::Add(hn::LoadU(d, in.columns.m2 + j),
                       hn::LoadU(d, in.columns.m2_tail + j));
  if (!in.m2_is_variance) variance = hn::Div(variance, count);
  const auto constant = AreConstant(d, mean, variance, count);
  if (rule.method == ScalingMethod::kMinMax) {
    *offset = hn::LoadU(d, in.columns.minimum + j);
    const V range = hn::Sub(hn::LoadU(d, in.columns.maximum + j), *offset);
    *denominator = hn::IfThenElse(constant, one, range);
  } else {
    *offset = mean;
    *offset_tail = hn::LoadU(d, in.columns.mean_tail + j);
    *denominator =
        hn::IfThenElse(constant, one, StandardDenominator(d, rule, variance));
  }
}

// A few columns of a table.
template <class D>
struct TableVectors {
  hn::Vec<D> offset, offset_tail, scale, denominator;

  HWY_INLINE TableVectors() {}  // unspecified
  HWY_INLINE TableVectors(D d, const ForwardColumns& table, size_t j)
      : offset(hn::LoadU(d, table.offset + j)),
        offset_tail(hn::LoadU(d, table.offset_tail + j)),
        scale(hn::LoadU(d, table.scale + j)) {}
};

// Sets the scale. A denominator whose inverse overflows, or that itself did,
// scales nothing.
template <class D>
HWY_INLINE void KeepInvertible(D d, TableVectors<D>* t) {
  const auto one = hn::Set(d, 1.0);
  t->scale = hn::Div(one, t->denominator);
  const auto inverts =
      hn::And(hn::Gt(t->scale, hn::Zero(d)),
              hn::Le(t->scale, hn::Set(d, std::numeric_limits<double>::max())));
  t->denominator = hn::IfThenElse(inverts, t->denominator, one);
  t->scale = hn::IfThenElse(inverts, t->scale, one);
}

// ScaleColumns for what most do: one count for all features, a standard rule
// that centers and scales.
template <class D>
HWY_INLINE TableVectors<D> ScalePlainColumns(D d, size_t j,
                                             const ScalingRule& rule,
                                             const ScalingInput& in) {
  const auto one = hn::Set(d, 1.0);
  const auto count = hn::Set(d, in.count);
  TableVectors<D> t;
  t.offset = hn::LoadU(d, in.columns.mean + j);
  t.offset_tail = hn::LoadU(d, in.columns.mean_tail + j);
  const auto variance = hn::Div(hn::Add(hn::LoadU(d, in.columns.m2 + j),
                                        hn::LoadU(d, in.columns.m2_tail + j)),
                                count);
  t.denominator = hn::IfThenElse(AreConstant(d, t.offset, variance, count), one,
                                 StandardDenominator(d, rule, variance));
  KeepInvertible(d, &t);
  return t;
}

template <class D>
HWY_INLINE TableVectors<D> ScaleColumns(D d, size_t j, const ScalingRule& rule,
                                        const ScalingInput& in) {
  using V = hn::Vec<D>;
  const V zero = hn::Zero(d);
  const V one = hn::Set(d, 1.0);
  const V count =
      in.counts == nullptr ? hn::Set(d, in.count) : hn::LoadU(d, in.counts + j);
  TableVectors<D> t;
  t.offset = t.offset_tail = zero;
  OffsetAndDenominator(d, rule, in, j, count, &t.offset, &t.offset_tail,
                       &t.denominator);
  if (!rule.center) t.offset = t.offset_tail = zero;
  if (!rule.scale) t.denominator = one;
  // Where nothing counts, or extremes never came, nothing is changed.
  if (in.counts != nullptr || rule.method != ScalingMethod::kStandard) {
    auto known = hn::Gt(count, zero);
    if (rule.method != ScalingMethod::kStandard) {
      known = hn::And(known, hn::Le(hn::LoadU(d, in.columns.minimum + j),
                                    hn::LoadU(d, in.columns.maximum + j)));
    }
    t.offset = hn::IfThenElseZero(known, t.offset);
    t.offset_tail = hn::IfThenElseZero(known, t.offset_tail);
    t.denominator = hn::IfThenElse(known, t.denominator, one);
  }
  KeepInvertible(d, &t);
  return t;
}

// ------------------------------------------------------------------ apply

template <typename T>
inline constexpr double kLargest =
    static_cast<double>(std::numeric_limits<T>::max());
template <>
inline constexpr double kLargest<Half> = 65504.0;
template <>
inline constexpr double kLargest<Bfloat16> = 0x1.FEp127;

// (x - offset - offset_tail) * scale.
template <class D, class V = hn::Vec<D>>
HWY_INLINE V Forward(V x, const TableVectors<D>& table) {
  return hn::Mul(hn::Sub(hn::Sub(x, table.offset), table.offset_tail),
                 table.scale);
}

// `z` limited to [-clip, clip]; counts what was beyond.
template <class D>
HWY_INLINE hn::Vec<D> Limit(D d, hn::Vec<D> z, double clip, uint64_t* limited) {
  *limited += hn::CountTrue(d, hn::Gt(hn::Abs(z), hn::Set(d, clip)));
  return hn::Max(hn::Min(z, hn::Set(d, clip)), hn::Set(d, -clip));
}

// Normalizes Lanes(d) values of a row; returns where x and z are both finite.
template <class D, typename T>
HWY_INLINE hn::Mask<D> ApplyColumns(D d, const T* x,
                                    const TableVectors<D>& table, double clip,
                                    T* z, uint64_t* limited) {
  const auto largest = hn::Set(d, kLargest<T>);
  const auto value = LoadWide(d, x);
  auto scaled = Forward(value, table);
  if (clip > 0) scaled = Limit(d, scaled, clip, limited);
  StoreNarrow(d, scaled, z);
  const auto fits = hn::Le(hn::Abs(scaled), largest);  // false for NaN too
  // x is looked at because a limit can hide infinity.
  return clip > 0 ? hn::And(fits, hn::Le(hn::Abs(value), largest)) : fits;
}

// Likewise for Lanes(d) values that were loaded and are finite; returns z.
template <Way kWay = Way::kCached, class D, typename T>
HWY_INLINE hn::Vec<D> StoreForward(D d, hn::Vec<D> x,
                                   const TableVectors<D>& table, double clip,
                                   T* z, uint64_t* limited) {
  auto scaled = Forward(x, table);
  if (clip > 0) scaled = Limit(d, scaled, clip, limited);
  StoreNarrow<kWay>(d, scaled, z);
  return scaled;
}
template <Way kWay = Way::kCached, class D, typename T>
HWY_INLINE hn::Vec<D> ApplyFinite(D d, const T* x, const TableVectors<D>& table,
                                  double clip, T* z, uint64_t* limited) {
  return StoreForward<kWay>(d, LoadWide(d, x), table, clip, z, limited);
}

}  // namespace HWY_NAMESPACE
}  // namespace streamnorm
HWY_AFTER_NAMESPACE();

#endif  // STREAMNORM_STATS_KERNEL_COLUMNS_INL_H_
