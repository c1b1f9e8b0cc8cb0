#include "stats/kernels.h"

// Highway compiles this file once for every CPU target it supports and picks
// one at run time.
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "stats/kernels.cc"
#include <cstring>
#include <limits>

#include "hwy/foreach_target.h"  // must come before highway.h
#include "hwy/highway.h"
#include "stats/tensor_view.h"

HWY_BEFORE_NAMESPACE();
namespace streamnorm {
namespace HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;

// All statistics are doubles: a vector of doubles, and as many T beside it.
// What is left of a row goes through the same code one column at a time.
using Wide = hn::ScalableTag<double>;
using One = hn::CappedTag<double, 1>;

// A single element goes through memcpy: LoadU would want it aligned.
template <class D>
HWY_INLINE hn::Vec<D> LoadWide(D d, const double* p) {
  if constexpr (hn::MaxLanes(D()) == 1) {
    return hn::Set(d, LoadElement<double>(p));
  } else {
    return hn::LoadU(d, p);
  }
}
template <class D>
HWY_INLINE hn::Vec<D> LoadWide(D d, const float* p) {
  if constexpr (hn::MaxLanes(D()) == 1) {
    return hn::Set(d, static_cast<double>(LoadElement<float>(p)));
  } else {
    const hn::Rebind<float, D> narrow;
    return hn::PromoteTo(d, hn::LoadU(narrow, p));
  }
}

template <class D>
HWY_INLINE void StoreNarrow(D d, hn::Vec<D> v, double* p) {
  if constexpr (hn::MaxLanes(D()) == 1) {
    const double value = hn::GetLane(v);
    std::memcpy(p, &value, sizeof(value));
  } else {
    hn::StoreU(v, d, p);
  }
}
template <class D>
HWY_INLINE void StoreNarrow(D, hn::Vec<D> v, float* p) {
  const hn::Rebind<float, D> narrow;
  const auto narrowed = hn::DemoteTo(narrow, v);
  if constexpr (hn::MaxLanes(D()) == 1) {
    const float value = hn::GetLane(narrowed);
    std::memcpy(p, &value, sizeof(value));
  } else {
    hn::StoreU(narrowed, narrow, p);
  }
}

// Sum and rounding error of a + b (Knuth 1969, TwoSum): exact.
template <class V>
HWY_INLINE void TwoSum(V a, V b, V* sum, V* error) {
  *sum = hn::Add(a, b);
  const V b_part = hn::Sub(*sum, a);
  *error = hn::Add(hn::Sub(a, hn::Sub(*sum, b_part)), hn::Sub(b, b_part));
}

// Folds Lanes(d) columns of a block of rows that are `stride` elements apart.
template <class D, typename T>
HWY_INLINE void FoldColumns(D d, const T* x, size_t rows, size_t stride,
                            const double* shift, double* sum,
                            double* sum_squares, double* minimum,
                            double* maximum) {
  const auto c = hn::LoadU(d, shift);
  auto s1 = hn::Zero(d);
  auto s2 = hn::Zero(d);
  auto low = hn::LoadU(d, minimum);
  auto high = hn::LoadU(d, maximum);
  for (size_t r = 0; r < rows; ++r) {
    const auto value = LoadWide(d, x + r * stride);
    const auto deviation = hn::Sub(value, c);
    s1 = hn::Add(s1, deviation);
    s2 = hn::Add(s2, hn::Mul(deviation, deviation));
    low = hn::Min(low, value);
    high = hn::Max(high, value);
  }
  hn::StoreU(hn::Add(hn::LoadU(d, sum), s1), d, sum);
  hn::StoreU(hn::Add(hn::LoadU(d, sum_squares), s2), d, sum_squares);
  hn::StoreU(low, d, minimum);
  hn::StoreU(high, d, maximum);
}

template <typename T>
void FoldRowsT(const T* x, size_t rows, size_t features, const double* shift,
               double* sum, double* sum_squares, double* minimum,
               double* maximum) {
  const Wide wide;
  const size_t lanes = hn::Lanes(wide);
  for (size_t r = 0; r < rows; r += kFoldBlockRows) {
    const size_t block = rows - r < kFoldBlockRows ? rows - r : kFoldBlockRows;
    const T* first = x + r * features;
    size_t j = 0;
    for (; j + lanes <= features; j += lanes) {
      FoldColumns(wide, first + j, block, features, shift + j, sum + j,
                  sum_squares + j, minimum + j, maximum + j);
    }
    for (; j < features; ++j) {
      FoldColumns(One(), first + j, block, features, shift + j, sum + j,
                  sum_squares + j, minimum + j, maximum + j);
    }
  }
}

void FoldRowsFloat(const float* x, size_t rows, size_t features,
                   const double* shift, double* sum, double* sum_squares,
                   double* minimum, double* maximum) {
  FoldRowsT(x, rows, features, shift, sum, sum_squares, minimum, maximum);
}
void FoldRowsDouble(const double* x, size_t rows, size_t features,
                    const double* shift, double* sum, double* sum_squares,
                    double* minimum, double* maximum) {
  FoldRowsT(x, rows, features, shift, sum, sum_squares, minimum, maximum);
}

// See docs/numerics.md, "Fold", for the formulas. `inverse` is 1 / (rows
// before + rows).
template <class D>
HWY_INLINE void MergeColumns(D d, double rows, double inverse,
                             const double* sum, const double* sum_squares,
                             double* mean, double* mean_tail, double* m2,
                             double* m2_tail) {
  using V = hn::Vec<D>;
  const V n = hn::Set(d, rows);
  const V s1 = hn::LoadU(d, sum);
  const V tail = hn::LoadU(d, mean_tail);
  // The sums are around the mean's leading part; these are around all of it.
  const V deviation = hn::Sub(s1, hn::Mul(n, tail));
  const V squares =
      hn::Sub(hn::LoadU(d, sum_squares),
              hn::Mul(tail, hn::Sub(hn::Add(s1, s1), hn::Mul(n, tail))));
  const V delta = hn::Mul(deviation, hn::Set(d, inverse));
  V value, error;
  TwoSum(hn::LoadU(d, mean), hn::Add(tail, delta), &value, &error);
  hn::StoreU(value, d, mean);
  hn::StoreU(error, d, mean_tail);
  const V growth =
      hn::Max(hn::Zero(d), hn::Sub(squares, hn::Mul(deviation, delta)));
  TwoSum(hn::LoadU(d, m2), hn::Add(growth, hn::LoadU(d, m2_tail)), &value,
         &error);
  hn::StoreU(value, d, m2);
  hn::StoreU(error, d, m2_tail);
}

void MergeFoldImpl(size_t features, double rows, double rows_before,
                   const double* sum, const double* sum_squares, double* mean,
                   double* mean_tail, double* m2, double* m2_tail) {
  const double inverse = 1.0 / (rows_before + rows);
  const Wide wide;
  const size_t lanes = hn::Lanes(wide);
  size_t j = 0;
  for (; j + lanes <= features; j += lanes) {
    MergeColumns(wide, rows, inverse, sum + j, sum_squares + j, mean + j,
                 mean_tail + j, m2 + j, m2_tail + j);
  }
  for (; j < features; ++j) {
    MergeColumns(One(), rows, inverse, sum + j, sum_squares + j, mean + j,
                 mean_tail + j, m2 + j, m2_tail + j);
  }
}

// Normalizes Lanes(d) values of a row; returns where x and z are both finite.
template <class D, typename T>
HWY_INLINE hn::Mask<D> ApplyColumns(D d, const T* x, const double* offset,
                                    const double* offset_tail,
                                    const double* scale, double clip, T* z,
                                    uint64_t* limited) {
  const auto largest =
      hn::Set(d, static_cast<double>(std::numeric_limits<T>::max()));
  const auto value = LoadWide(d, x);
  auto scaled = hn::Mul(
      hn::Sub(hn::Sub(value, hn::LoadU(d, offset)), hn::LoadU(d, offset_tail)),
      hn::LoadU(d, scale));
  if (clip > 0) {
    *limited += hn::CountTrue(d, hn::Gt(hn::Abs(scaled), hn::Set(d, clip)));
    scaled = hn::Max(hn::Min(scaled, hn::Set(d, clip)), hn::Set(d, -clip));
  }
  StoreNarrow(d, scaled, z);
  // False for NaN too; x is looked at because a limit can hide infinity.
  return hn::And(hn::Le(hn::Abs(value), largest),
                 hn::Le(hn::Abs(scaled), largest));
}

template <typename T>
bool ApplyRowsT(const T* x, size_t rows, size_t features, const double* offset,
                const double* offset_tail, const double* scale, double clip,
                T* z, uint64_t* clipped) {
  const Wide wide;
  const One one;
  const size_t lanes = hn::Lanes(wide);
  bool finite = true;
  uint64_t limited = 0;
  for (size_t r = 0; r < rows; ++r, x += features, z += features) {
    auto row_finite = hn::Eq(hn::Zero(wide), hn::Zero(wide));
    size_t j = 0;
    for (; j + lanes <= features; j += lanes) {
      row_finite = hn::And(
          row_finite, ApplyColumns(wide, x + j, offset + j, offset_tail + j,
                                   scale + j, clip, z + j, &limited));
    }
    finite = finite && hn::AllTrue(wide, row_finite);
    for (; j < features; ++j) {
      const auto one_finite =
          ApplyColumns(one, x + j, offset + j, offset_tail + j, scale + j, clip,
                       z + j, &limited);
      finite = finite && hn::AllTrue(one, one_finite);
    }
  }
  *clipped += limited;
  return finite;
}

bool ApplyRowsFloat(const float* x, size_t rows, size_t features,
                    const double* offset, const double* offset_tail,
                    const double* scale, double clip, float* z,
                    uint64_t* clipped) {
  return ApplyRowsT(x, rows, features, offset, offset_tail, scale, clip, z,
                    clipped);
}
bool ApplyRowsDouble(const double* x, size_t rows, size_t features,
                     const double* offset, const double* offset_tail,
                     const double* scale, double clip, double* z,
                     uint64_t* clipped) {
  return ApplyRowsT(x, rows, features, offset, offset_tail, scale, clip, z,
                    clipped);
}

}  // namespace HWY_NAMESPACE
}  // namespace streamnorm
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace streamnorm {

HWY_EXPORT(FoldRowsFloat);
HWY_EXPORT(FoldRowsDouble);
HWY_EXPORT(MergeFoldImpl);
HWY_EXPORT(ApplyRowsFloat);
HWY_EXPORT(ApplyRowsDouble);

template <>
void FoldRows(const float* x, size_t rows, size_t features, const double* shift,
              double* sum, double* sum_squares, double* minimum,
              double* maximum) {
  HWY_DYNAMIC_DISPATCH(FoldRowsFloat)
  (x, rows, features, shift, sum, sum_squares, minimum, maximum);
}

template <>
void FoldRows(const double* x, size_t rows, size_t features,
              const double* shift, double* sum, double* sum_squares,
              double* minimum, double* maximum) {
  HWY_DYNAMIC_DISPATCH(FoldRowsDouble)
  (x, rows, features, shift, sum, sum_squares, minimum, maximum);
}

void MergeFold(size_t features, double rows, double rows_before,
               const double* sum, const double* sum_squares, double* mean,
               double* mean_tail, double* m2, double* m2_tail) {
  HWY_DYNAMIC_DISPATCH(MergeFoldImpl)
  (features, rows, rows_before, sum, sum_squares, mean, mean_tail, m2, m2_tail);
}

template <>
bool ApplyRows(const float* x, size_t rows, size_t features,
               const double* offset, const double* offset_tail,
               const double* scale, double clip, float* z, uint64_t* clipped) {
  return HWY_DYNAMIC_DISPATCH(ApplyRowsFloat)(
      x, rows, features, offset, offset_tail, scale, clip, z, clipped);
}

template <>
bool ApplyRows(const double* x, size_t rows, size_t features,
               const double* offset, const double* offset_tail,
               const double* scale, double clip, double* z, uint64_t* clipped) {
  return HWY_DYNAMIC_DISPATCH(ApplyRowsDouble)(
      x, rows, features, offset, offset_tail, scale, clip, z, clipped);
}

}  // namespace streamnorm
#endif  // HWY_ONCE
