#include "stats/kernels.h"

// Highway compiles this file once for every CPU target it supports and picks
// one at run time.
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "stats/kernels.cc"
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <type_traits>

#include "hwy/cache_control.h"
#include "hwy/foreach_target.h"  // must come before highway.h
#include "hwy/highway.h"
#include "stats/kernel_columns-inl.h"
#include "stats/kernel_fused-inl.h"
#include "stats/kernel_merge-inl.h"
#include "stats/kernel_share-inl.h"
#include "stats/kernel_vectors-inl.h"

HWY_BEFORE_NAMESPACE();
namespace streamnorm {
namespace HWY_NAMESPACE {

// Rows applied side by side, so that offset and scale are loaded once for all.
constexpr size_t kApplyBlockRows = 4;

// The next block of `rows` rows, brought into L2 while the one before it is
// worked on: CPUs don't follow eight rows at a time by themselves (folding cold
// rows takes 1.9 instead of 2.5 ns per 8 values).
template <typename T>
class Ahead {
 public:
  HWY_INLINE Ahead() {}  // nothing
  HWY_INLINE Ahead(const T* next, size_t rows, size_t features)
      : next_(reinterpret_cast<const char*>(next)),
        column_bytes_(rows * sizeof(T)) {
    if (column_bytes_ * features > kMostBytes) next_ = nullptr;
  }

  // As much of it as Lanes(d) columns from `j` on, in the order of memory.
  template <class D>
  HWY_INLINE void Fetch(D d, size_t j) const {
    if (kIsOne<D> || next_ == nullptr) return;
    const char* part = next_ + j * column_bytes_;
    const size_t size = hn::Lanes(d) * column_bytes_;
    for (size_t at = 0; at < size; at += kLine) {
      __builtin_prefetch(part + at, 0, 2);
    }
  }

 private:
  // Larger blocks would drive out what is still needed.
  static constexpr size_t kMostBytes = size_t{128} << 10;

  const char* next_ = nullptr;
  size_t column_bytes_ = 0;
};

// Folds a block of rows.
template <size_t kRows, typename T>
HWY_INLINE void FoldRange(const T* x, size_t rows, size_t features,
                          const double* shift, const SumColumns columns,
                          const Ahead<T> ahead) {
  ForColumns(features, [=](auto d, size_t j) HWY_ATTR {
    ahead.Fetch(d, j);
    SumVectors<decltype(d)> sums(d, columns, j);
    FoldBlockOf<kRows>(d, x + j, rows, features, hn::LoadU(d, shift + j),
                       &sums);
    sums.Store(d, columns, j);
  });
}

// The block of kRows rows after the one at row `r` of `rows`, if there is one.
template <size_t kRows, typename T>
HWY_INLINE Ahead<T> After(const T* p, size_t r, size_t rows, size_t features) {
  if (r + 2 * kRows > rows) return {};
  return {p + (r + kRows) * features, kRows, features};
}

template <typename T>
void FoldRowsT(const T* x, size_t rows, size_t features, const double* shift,
               const SumColumns& sums) {
  constexpr size_t kRows = kFoldBlockRows;
  size_t r = 0;
  for (; r + kRows <= rows; r += kRows) {
    FoldRange<kRows>(x + r * features, kRows, features, shift, sums,
                     After<kRows>(x, r, rows, features));
  }
  if (r == rows) return;
  FoldRange<0>(x + r * features, rows - r, features, shift, sums, Ahead<T>());
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
                           uint64_t* limited, const Ahead<T> ahead_x,
                           const Ahead<T> ahead_z) {
  bool finite = true;
  ForColumns(features, [=, &finite](auto d, size_t j) HWY_ATTR {
    ahead_x.Fetch(d, j);
    ahead_z.Fetch(d, j);
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
  constexpr size_t kRows = kApplyBlockRows;
  uint64_t limited = 0;
  bool finite = true;
  size_t r = 0;
  for (; r + kRows <= rows && finite; r += kRows) {
    finite = ApplyBlock<kRows>(x + r * features, features, table, clip,
                               z + r * features, &limited,
                               After<kRows>(x, r, rows, features),
                               After<kRows, T>(z, r, rows, features));
  }
  for (; r < rows && finite; ++r) {
    finite = ApplyBlock<1>(x + r * features, features, table, clip,
                           z + r * features, &limited, Ahead<T>(), Ahead<T>());
  }
  *clipped += limited;
  return finite;
}

// Output from this size on goes past the caches, where that is possible: it
// would drive out the rows that are still to be read, and the lines it replaces
// would be read for nothing. Not in place: a line that was just read would have
// to be thrown out first. (Highway streams no less than 16 bytes.)
template <typename T>
bool IsToBeStreamed(const T* x, const T* z, size_t rows, size_t features) {
  constexpr size_t kStreamBytes = size_t{8} << 20;
  constexpr size_t kLanes = hn::MaxLanes(Wide());
  return x != z && kLanes * sizeof(T) >= 16 &&
         rows * features * sizeof(T) >= kStreamBytes &&
         reinterpret_cast<uintptr_t>(z) % sizeof(T) == 0 &&
         features % kLanes == 0;
}

// The elements of `z` before its first whole line.
template <Way kWay, typename T>
size_t BeforeFirstLine(const T* z) {
  const size_t beyond = reinterpret_cast<uintptr_t>(z) % kLine;
  return kWay == Way::kStreamed ? (kLine - beyond) % kLine / sizeof(T) : 0;
}

// A block of rows, the first `head` columns and what is left at the end through
// the caches. A row that was just counted is still in some cache, unless there
// are too many of them: else what is waited for is the output.
template <Way kWay, size_t kRows, typename T>
HWY_INLINE void ApplyFiniteBlock(const T* x, size_t features, size_t head,
                                 const ForwardColumns table, double clip, T* z,
                                 uint64_t* limited, const Ahead<T> ahead) {
  const auto columns = [=](auto d, auto vectors, size_t j) HWY_ATTR {
    using Table = TableVectors<decltype(d)>;
    constexpr Way kThisWay = vectors == 2 ? kWay : Way::kCached;
    const size_t other = j + (vectors - 1) * hn::Lanes(d);
    const Table first(d, table, j);
    const Table second(d, table, other);
    ahead.Fetch(d, j);
    if (vectors == 2) ahead.Fetch(d, other);
    for (size_t r = 0; r < kRows; ++r) {
      const T* from = x + r * features;
      T* to = z + r * features;
      ApplyFinite<kThisWay>(d, from + j, first, clip, to + j, limited);
      if (vectors == 1) continue;
      ApplyFinite<kThisWay>(d, from + other, second, clip, to + other, limited);
    }
  };
  ForColumnPairs(head, features, columns);
}

// Last rows first: those were counted last, and caches still have them.
template <Way kWay, typename T>
uint64_t ApplyFiniteRowsBy(const T* x, size_t rows, size_t features,
                           const ForwardColumns& table, double clip, T* z) {
  constexpr size_t kRows = kApplyBlockRows;
  const size_t head = std::min(features, BeforeFirstLine<kWay>(z));
  const T* fetched = kWay == Way::kStreamed ? x : z;
  uint64_t limited = 0;
  size_t r = rows;
  for (; r >= kRows; r -= kRows) {
    const size_t at = (r - kRows) * features;
    Ahead<T> ahead;
    if (r >= 2 * kRows) {
      ahead = {fetched + at - kRows * features, kRows, features};
    }
    ApplyFiniteBlock<kWay, kRows>(x + at, features, head, table, clip, z + at,
                                  &limited, ahead);
  }
  while (r-- > 0) {
    ApplyFiniteBlock<Way::kCached, 1>(x + r * features, features, 0, table,
                                      clip, z + r * features, &limited,
                                      Ahead<T>());
  }
  if (kWay == Way::kStreamed) hwy::FlushStream();
  return limited;
}

template <typename T>
uint64_t ApplyFiniteRowsT(const T* x, size_t rows, size_t features,
                          const ForwardColumns& table, double clip, T* z) {
  return IsToBeStreamed(x, z, rows, features)
             ? ApplyFiniteRowsBy<Way::kStreamed>(x, rows, features, table, clip,
                                                 z)
             : ApplyFiniteRowsBy<Way::kCached>(x, rows, features, table, clip,
                                               z);
}

// A few columns of a block of rows that is counted and normalized.
template <class D, typename T>
struct OnePassColumns {
  hn::Vec<D> shift;
  TableVectors<D> table;
  BlockSums<D, T> block;

  HWY_INLINE OnePassColumns(D d, const OnePass& pass, size_t j)
      : shift(hn::LoadU(d, pass.shift + j)),
        table(d, pass.table, j),
        block(d) {}

  template <Way kWay>
  HWY_INLINE void Add(D d, const T* x, double clip, T* z, uint64_t* limited) {
    const auto native = LoadNative(d, x);
    const auto value = Widen(d, native);
    block.Add(d, native, hn::Sub(value, shift));
    StoreForward<kWay>(d, value, table, clip, z, limited);
  }

  HWY_INLINE void AddTo(D d, const SumColumns& columns, size_t j) const {
    SumVectors<D> sums(d, columns, j);
    block.AddTo(d, &sums);
    sums.Store(d, columns, j);
  }
};

template <Way kWay, size_t kRows, typename T>
HWY_INLINE void OnePassBlock(const T* x, size_t rows, const OnePass pass, T* z,
                             size_t head, uint64_t* limited,
                             const Ahead<T> ahead_x, const Ahead<T> ahead_z) {
  const auto columns = [=](auto d, auto vectors, size_t j) HWY_ATTR {
    constexpr Way kThisWay = vectors == 2 ? kWay : Way::kCached;
    const size_t other = j + (vectors - 1) * hn::Lanes(d);
    OnePassColumns<decltype(d), T> first(d, pass, j), second(d, pass, other);
    ahead_x.Fetch(d, j);
    if (kWay == Way::kCached) ahead_z.Fetch(d, j);
    if (vectors == 2) ahead_x.Fetch(d, other);
    if (vectors == 2 && kWay == Way::kCached) ahead_z.Fetch(d, other);
    for (size_t r = 0; r < (kRows == 0 ? rows : kRows); ++r) {
      const T* from = x + r * pass.features;
      T* to = z + r * pass.features;
      first.template Add<kThisWay>(d, from + j, pass.clip, to + j, limited);
      if (vectors == 1) continue;
      second.template Add<kThisWay>(d, from + other, pass.clip, to + other,
                                    limited);
    }
    first.AddTo(d, pass.sums, j);
    if (vectors == 2) second.AddTo(d, pass.sums, other);
  };
  ForColumnPairs(head, pass.features, columns);
}

template <Way kWay, typename T>
uint64_t OnePassBy(const T* x, size_t rows, const OnePass& pass, T* z) {
  constexpr size_t kRows = kFoldBlockRows;
  const size_t features = pass.features;
  const size_t head = std::min(features, BeforeFirstLine<kWay>(z));
  uint64_t limited = 0;
  size_t r = 0;
  for (; r + kRows <= rows; r += kRows) {
    OnePassBlock<kWay, kRows>(x + r * features, kRows, pass, z + r * features,
                              head, &limited,
                              After<kRows>(x, r, rows, features),
                              After<kRows, T>(z, r, rows, features));
  }
  if (r < rows) {
    OnePassBlock<Way::kCached, 0>(x + r * features, rows - r, pass,
                                  z + r * features, 0, &limited, Ahead<T>(),
                                  Ahead<T>());
  }
  if (kWay == Way::kStreamed) hwy::FlushStream();
  return limited;
}

template <typename T>
uint64_t FoldAndApplyRowsT(const T* x, size_t rows, const OnePass& pass, T* z) {
  return IsToBeStreamed(x, z, pass.batch_rows, pass.features)
             ? OnePassBy<Way::kStreamed>(x, rows, pass, z)
             : OnePassBy<Way::kCached>(x, rows, pass, z);
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
#define STREAMNORM_KERNELS_OF(T)                                               \
  void FoldRowsOf##T(const T* x, size_t rows, size_t features,                 \
                     const double* shift, const SumColumns& sums) {            \
    FoldRowsT(x, rows, features, shift, sums);                                 \
  }                                                                            \
  bool ApplyRowsOf##T(const T* x, size_t rows, size_t features,                \
                      const ForwardColumns& table, double clip, T* z,          \
                      uint64_t* clipped) {                                     \
    return ApplyRowsT(x, rows, features, table, clip, z, clipped);             \
  }                                                                            \
  uint64_t ApplyFiniteRowsOf##T(const T* x, size_t rows, size_t features,      \
                                const ForwardColumns& table, double clip,      \
                                T* z) {                                        \
    return ApplyFiniteRowsT(x, rows, features, table, clip, z);                \
  }                                                                            \
  bool FoldAndApplyOf##T(const T* x, const FusedBatch& batch, T* z,            \
                         uint64_t* clipped) {                                  \
    return FoldAndApplyT(x, batch, z, clipped);                                \
  }                                                                            \
  uint64_t FoldAndApplyRowsOf##T(const T* x, size_t rows, const OnePass& pass, \
                                 T* z) {                                       \
    return FoldAndApplyRowsT(x, rows, pass, z);                                \
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
HWY_EXPORT(MergeSharedImpl);
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

bool MergeShared(const SharedBatch& batch) {
  return HWY_DYNAMIC_DISPATCH(MergeSharedImpl)(batch);
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
  HWY_EXPORT(FoldAndApplyRowsOf##T);                                           \
  template <>                                                                  \
  uint64_t FoldAndApplyRows(const T* x, size_t rows, const OnePass& pass,      \
                            T* z) {                                            \
    return HWY_DYNAMIC_DISPATCH(FoldAndApplyRowsOf##T)(x, rows, pass, z);      \
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
