#include "stats/kernels.h"

// Highway compiles this file once for every CPU target it supports and picks
// one at run time.
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "stats/kernels.cc"
#include <algorithm>

#include "hwy/foreach_target.h"  // must come before highway.h
#include "hwy/highway.h"
#include "stats/kernel_columns-inl.h"
#include "stats/kernel_merge-inl.h"
#include "stats/kernel_vectors-inl.h"

HWY_BEFORE_NAMESPACE();
namespace streamnorm {
namespace HWY_NAMESPACE {

// Rows applied side by side, so that offset and scale are loaded once for all.
constexpr size_t kApplyBlockRows = 4;

template <typename T>
HWY_INLINE void FoldRange(const T* x, size_t rows, size_t stride,
                          size_t columns, const double* shift,
                          const SumColumns& sums) {
  ForColumns(columns, [&](auto d, size_t j) HWY_ATTR {
    const auto c = hn::LoadU(d, shift + j);
    SumVectors<decltype(d)> vectors(d, sums, j);
    for (size_t r = 0; r < rows; r += kFoldBlockRows) {
      FoldBlock(d, x + r * stride + j, std::min(kFoldBlockRows, rows - r),
                stride, c, &vectors);
    }
    vectors.Store(d, sums, j);
  });
}

template <typename T>
void FoldRowsT(const T* x, size_t rows, size_t features, const double* shift,
               const SumColumns& sums) {
  for (size_t r = 0; r < rows; r += kFoldBlockRows) {
    FoldRange(x + r * features, std::min(kFoldBlockRows, rows - r), features,
              features, shift, sums);
  }
}

void MergeFoldImpl(size_t features, double rows, double rows_before,
                   const SumColumns& sums, const ConstColumns& before,
                   const MutableColumns& after) {
  const double inverse = 1.0 / (rows_before + rows);
  ForColumns(features, [&](auto d, size_t j) HWY_ATTR {
    auto poison = hn::Zero(d);
    MergeColumns(d, j, rows, inverse, hn::LoadU(d, sums.sum + j),
                 hn::LoadU(d, sums.sum_squares + j), before, after, &poison);
  });
}

void ScaleFeaturesImpl(const ScalingRule rule, size_t features,
                       const ScalingInput in, const TableColumns out) {
  ForColumns(features, [=](auto d, size_t j) HWY_ATTR {
    const auto t = ScaleColumns(d, j, rule, in);
    hn::StoreU(t.offset, d, out.offset + j);
    hn::StoreU(t.offset_tail, d, out.offset_tail + j);
    hn::StoreU(t.scale, d, out.scale + j);
    hn::StoreU(t.denominator, d, out.denominator + j);
  });
}

// A block of rows; a known number of rows makes a loop without branches.
template <size_t kRows, typename T>
HWY_INLINE bool ApplyBlock(const T* x, size_t features,
                           const ForwardColumns table, double clip, T* z,
                           uint64_t* limited) {
  bool finite = true;
  ForColumns(features, [=, &finite](auto d, size_t j) HWY_ATTR {
    const TableVectors<decltype(d)> vectors(d, table, j);
    auto all = hn::Eq(hn::Zero(d), hn::Zero(d));
    for (size_t r = 0; r < kRows; ++r) {
      const size_t at = r * features + j;
      all =
          hn::And(all, ApplyColumns(d, x + at, vectors, clip, z + at, limited));
    }
    finite = finite && hn::AllTrue(d, all);
  });
  return finite;
}

template <typename T>
bool ApplyRowsT(const T* x, size_t rows, size_t features,
                const ForwardColumns& table, double clip, T* z,
                uint64_t* clipped) {
  uint64_t limited = 0;
  bool finite = true;
  size_t r = 0;
  for (; r + kApplyBlockRows <= rows && finite; r += kApplyBlockRows) {
    finite = ApplyBlock<kApplyBlockRows>(x + r * features, features, table,
                                         clip, z + r * features, &limited);
  }
  for (; r < rows && finite; ++r) {
    finite = ApplyBlock<1>(x + r * features, features, table, clip,
                           z + r * features, &limited);
  }
  *clipped += limited;
  return finite;
}

template <size_t kRows, typename T>
HWY_INLINE void ApplyFiniteBlock(const T* x, size_t features,
                                 const ForwardColumns table, double clip, T* z,
                                 uint64_t* limited) {
  ForColumns(features, [=](auto d, size_t j) HWY_ATTR {
    const TableVectors<decltype(d)> vectors(d, table, j);
    for (size_t r = 0; r < kRows; ++r) {
      const size_t at = r * features + j;
      ApplyFinite(d, x + at, vectors, clip, z + at, limited);
    }
  });
}

template <typename T>
uint64_t ApplyFiniteRowsT(const T* x, size_t rows, size_t features,
                          const ForwardColumns& table, double clip, T* z) {
  uint64_t limited = 0;
  size_t r = 0;
  for (; r + kApplyBlockRows <= rows; r += kApplyBlockRows) {
    ApplyFiniteBlock<kApplyBlockRows>(x + r * features, features, table, clip,
                                      z + r * features, &limited);
  }
  for (; r < rows; ++r) {
    ApplyFiniteBlock<1>(x + r * features, features, table, clip,
                        z + r * features, &limited);
  }
  return limited;
}

// A few columns of a fused batch.
template <typename T>
struct FusedColumns {
  const T* x;
  T* z;
  FusedBatch batch;
  double rows, inverse;  // of batch.rows; 1 / rows counted afterwards
  ScalingInput in;

  // Counts Lanes(d) columns.
  template <class D>
  HWY_INLINE void Fold(D d, size_t j, hn::Vec<D>* poison) const {
    const auto shift = hn::LoadU(d, batch.before.mean + j);
    SumVectors<D> sums(d, batch.before, j);
    for (size_t r = 0; r < batch.rows; r += kFoldBlockRows) {
      FoldBlock(d, x + r * batch.features + j,
                std::min(kFoldBlockRows, batch.rows - r), batch.features, shift,
                &sums);
    }
    MergeColumns(d, j, rows, inverse, sums.sum, sums.sum_squares, batch.before,
                 batch.after, poison);
    hn::StoreU(sums.minimum, d, batch.after.minimum + j);
    hn::StoreU(sums.maximum, d, batch.after.maximum + j);
  }

  // Normalizes them; `*peak` is the largest |z| so far.
  template <class D>
  HWY_INLINE void Apply(D d, size_t j, const TableVectors<D>& table,
                        double clip, uint64_t* limited,
                        hn::Vec<D>* peak) const {
    auto largest = *peak;
    for (size_t r = 0, at = j; r < batch.rows; ++r, at += batch.features) {
      const auto scaled = ApplyFinite(d, x + at, table, clip, z + at, limited);
      largest = hn::Max(hn::Abs(scaled), largest);
    }
    *peak = largest;
  }
};

// Columns are scaled and applied so many vectors after they were folded: their
// division and root then take place while others are folded (5.1 against 6.8
// us for 4x1024 without a lag).
constexpr size_t kLag = 4;

// `scale(d, j)` gives the table of a few columns.
template <typename T, typename Scale>
HWY_INLINE bool FoldAndApplyColumns(const FusedColumns<T> columns,
                                    const ScalingRule rule, Scale scale,
                                    uint64_t* limited) {
  Accumulator poison, peak;
  const Wide wide;
  const size_t lanes = hn::Lanes(wide);
  const size_t features = columns.batch.features;
  const size_t end = features / lanes * lanes;
  const size_t lag = kLag * lanes;
  for (size_t j = 0; j < end + lag; j += lanes) {
    if (j < end) columns.Fold(wide, j, &poison.wide);
    if (j >= lag) {
      columns.Apply(wide, j - lag, scale(wide, j - lag), rule.clip, limited,
                    &peak.wide);
    }
  }
  for (size_t j = end; j < features; ++j) {
    columns.Fold(One(), j, &poison.one);
    columns.Apply(One(), j, scale(One(), j), rule.clip, limited, &peak.one);
  }
  return poison.IsZero() && peak.Largest() <= kLargest<T>;
}

template <typename T>
bool FoldAndApplyT(const T* x, const FusedBatch& batch, T* z,
                   uint64_t* clipped) {
  const auto rows = static_cast<double>(batch.rows);
  const double total = batch.rows_before + rows;
  const ScalingInput in{
      batch.scale_after ? batch.after.AsConst() : batch.before, nullptr,
      batch.scale_after ? total : batch.rows_before, false};
  const FusedColumns<T> columns{x, z, batch, rows, 1.0 / total, in};
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

void MergeExtremesImpl(size_t features, const SumColumns& sums,
                       const ConstColumns& before,
                       const MutableColumns& after) {
  ForColumns(features, [=](auto d, size_t j) HWY_ATTR {
    hn::StoreU(hn::Min(hn::LoadU(d, sums.minimum + j),
                       hn::LoadU(d, before.minimum + j)),
               d, after.minimum + j);
    hn::StoreU(hn::Max(hn::LoadU(d, sums.maximum + j),
                       hn::LoadU(d, before.maximum + j)),
               d, after.maximum + j);
  });
}

bool AllFiniteImpl(const double* values, size_t count) {
  Accumulator poison;
  ForColumns(count, [=, &poison](auto d, size_t j) HWY_ATTR {
    *poison.Of(d) =
        hn::MulAdd(hn::LoadU(d, values + j), hn::Zero(d), *poison.Of(d));
  });
  return poison.IsZero();
}

bool AllFitImpl(const double* minimum, const double* maximum, size_t features,
                const ForwardColumns& columns, double bound) {
  bool fit = true;
  ForColumns(features, [=, &fit](auto d, size_t j) HWY_ATTR {
    const TableVectors<decltype(d)> table(d, columns, j);
    const auto low = hn::LoadU(d, minimum + j);
    const auto high = hn::LoadU(d, maximum + j);
    const auto fits = [d, bound](auto z) HWY_ATTR {
      return hn::Le(hn::Abs(z), hn::Set(d, bound));
    };
    const auto both =
        hn::And(fits(Forward(low, table)), fits(Forward(high, table)));
    fit = fit && hn::AllTrue(d, hn::Or(both, hn::Gt(low, high)));
  });
  return fit;
}

// HWY_EXPORT wants functions that are no templates.
#define STREAMNORM_KERNELS_OF(T)                                          \
  void FoldRowsOf##T(const T* x, size_t rows, size_t features,            \
                     const double* shift, const SumColumns& sums) {       \
    FoldRowsT(x, rows, features, shift, sums);                            \
  }                                                                       \
  bool ApplyRowsOf##T(const T* x, size_t rows, size_t features,           \
                      const ForwardColumns& table, double clip, T* z,     \
                      uint64_t* clipped) {                                \
    return ApplyRowsT(x, rows, features, table, clip, z, clipped);        \
  }                                                                       \
  uint64_t ApplyFiniteRowsOf##T(const T* x, size_t rows, size_t features, \
                                const ForwardColumns& table, double clip, \
                                T* z) {                                   \
    return ApplyFiniteRowsT(x, rows, features, table, clip, z);           \
  }                                                                       \
  bool FoldAndApplyOf##T(const T* x, const FusedBatch& batch, T* z,       \
                         uint64_t* clipped) {                             \
    return FoldAndApplyT(x, batch, z, clipped);                           \
  }
STREAMNORM_KERNELS_OF(float)
STREAMNORM_KERNELS_OF(double)
STREAMNORM_KERNELS_OF(Half)
STREAMNORM_KERNELS_OF(Bfloat16)
#undef STREAMNORM_KERNELS_OF

}  // namespace HWY_NAMESPACE
}  // namespace streamnorm
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace streamnorm {

HWY_EXPORT(MergeFoldImpl);
HWY_EXPORT(MergeExtremesImpl);
HWY_EXPORT(AllFiniteImpl);
HWY_EXPORT(AllFitImpl);
HWY_EXPORT(ScaleFeaturesImpl);
HWY_EXPORT(MergeReducedImpl);
HWY_EXPORT(DescribeFeaturesImpl);

void MergeFold(size_t features, double rows, double rows_before,
               const SumColumns& sums, const ConstColumns& before,
               const MutableColumns& after) {
  HWY_DYNAMIC_DISPATCH(MergeFoldImpl)
  (features, rows, rows_before, sums, before, after);
}

void MergeExtremes(size_t features, const SumColumns& sums,
                   const ConstColumns& before, const MutableColumns& after) {
  HWY_DYNAMIC_DISPATCH(MergeExtremesImpl)(features, sums, before, after);
}

bool AllFinite(const double* values, size_t count) {
  return HWY_DYNAMIC_DISPATCH(AllFiniteImpl)(values, count);
}

bool AllFit(const double* minimum, const double* maximum, size_t features,
            const ForwardColumns& table, double bound) {
  return HWY_DYNAMIC_DISPATCH(AllFitImpl)(minimum, maximum, features, table,
                                          bound);
}

void ScaleFeatures(const ScalingRule& rule, size_t features,
                   const ScalingInput& in, const TableColumns& out) {
  HWY_DYNAMIC_DISPATCH(ScaleFeaturesImpl)(rule, features, in, out);
}

bool MergeReduced(const ReducedBatch& batch) {
  return HWY_DYNAMIC_DISPATCH(MergeReducedImpl)(batch);
}

void DescribeFeatures(const ScalingRule& rule, size_t features,
                      const ScalingInput& in, const AnswerColumns& out) {
  HWY_DYNAMIC_DISPATCH(DescribeFeaturesImpl)(rule, features, in, out);
}

#define STREAMNORM_KERNELS_OF(T)                                               \
  HWY_EXPORT(FoldRowsOf##T);                                                   \
  HWY_EXPORT(ApplyRowsOf##T);                                                  \
  HWY_EXPORT(FoldAndApplyOf##T);                                               \
  template <>                                                                  \
  void FoldRows(const T* x, size_t rows, size_t features, const double* shift, \
                const SumColumns& sums) {                                      \
    HWY_DYNAMIC_DISPATCH(FoldRowsOf##T)(x, rows, features, shift, sums);       \
  }                                                                            \
  template <>                                                                  \
  bool ApplyRows(const T* x, size_t rows, size_t features,                     \
                 const ForwardColumns& table, double clip, T* z,               \
                 uint64_t* clipped) {                                          \
    return HWY_DYNAMIC_DISPATCH(ApplyRowsOf##T)(x, rows, features, table,      \
                                                clip, z, clipped);             \
  }                                                                            \
  HWY_EXPORT(ApplyFiniteRowsOf##T);                                            \
  template <>                                                                  \
  uint64_t ApplyFiniteRows(const T* x, size_t rows, size_t features,           \
                           const ForwardColumns& table, double clip, T* z) {   \
    return HWY_DYNAMIC_DISPATCH(ApplyFiniteRowsOf##T)(x, rows, features,       \
                                                      table, clip, z);         \
  }                                                                            \
  template <>                                                                  \
  bool FoldAndApply(const T* x, const FusedBatch& batch, T* z,                 \
                    uint64_t* clipped) {                                       \
    return HWY_DYNAMIC_DISPATCH(FoldAndApplyOf##T)(x, batch, z, clipped);      \
  }
STREAMNORM_KERNELS_OF(float)
STREAMNORM_KERNELS_OF(double)
STREAMNORM_KERNELS_OF(Half)
STREAMNORM_KERNELS_OF(Bfloat16)
#undef STREAMNORM_KERNELS_OF

}  // namespace streamnorm
#endif  // HWY_ONCE
