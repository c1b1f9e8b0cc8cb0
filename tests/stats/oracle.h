#ifndef STREAMNORM_TESTS_STATS_ORACLE_H_
#define STREAMNORM_TESTS_STATS_ORACLE_H_

#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <random>
#include <span>
#include <vector>

#include "stats/moments.h"
#include "stats/tensor_view.h"

namespace streamnorm {

// 113 bits of mantissa, so that the oracle's own rounding is invisible.
__extension__ typedef __float128 Quad;
// Sums of integers without any rounding at all.
__extension__ typedef __int128 Int128;

inline constexpr double kInfinity = std::numeric_limits<double>::infinity();
inline constexpr double kNan = std::numeric_limits<double>::quiet_NaN();
inline constexpr NonfinitePolicies kSkipAll = {NonfinitePolicy::kSkip,
                                               NonfinitePolicy::kSkip};

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
inline constexpr bool kSanitized = true;
#elif defined(__has_feature)
inline constexpr bool kSanitized =
    __has_feature(address_sanitizer) || __has_feature(thread_sanitizer);
#else
inline constexpr bool kSanitized = false;
#endif

// How often to repeat something: a tenth under the sanitizers.
constexpr int Repetitions(int n) { return kSanitized ? (n + 9) / 10 : n; }

inline Quad Abs(Quad x) { return x < 0 ? -x : x; }

// Newton's iteration from the double nearest to the root: twice 53 bits.
inline Quad SquareRoot(Quad x) {
  if (x <= 0) return 0;
  Quad root = std::sqrt(static_cast<double>(x));
  for (int i = 0; i < 2; ++i) root = (root + x / root) / 2;
  return root;
}

// Correct digits: -log10 of the relative error (NIST calls it LRE); 40 where
// there is none.
inline double CorrectDigits(Quad got, Quad want) {
  if (got == want) return 40;
  const Quad error = want == 0 ? Abs(got) : Abs((got - want) / want);
  return -std::log10(static_cast<double>(error));
}

// What Moments should say, by the book: the mean first, then the squares
// around it.
struct ExactMoments {
  uint64_t count = 0;
  Quad mean = 0;
  Quad m2 = 0;
  double minimum = kInfinity;
  double maximum = -kInfinity;

  Quad variance() const { return count == 0 ? Quad{0} : m2 / count; }
  Quad deviation() const { return SquareRoot(variance()); }
};

// Of the finite ones among `values`.
inline ExactMoments TwoPass(std::span<const double> values) {
  ExactMoments exact;
  for (const double x : values) {
    if (!std::isfinite(x)) continue;
    ++exact.count;
    exact.mean += x;
    exact.minimum = std::min(exact.minimum, x);
    exact.maximum = std::max(exact.maximum, x);
  }
  if (exact.count == 0) return exact;
  exact.mean /= exact.count;
  Quad left = 0;
  for (const double x : values) {
    if (!std::isfinite(x)) continue;
    const Quad d = x - exact.mean;
    exact.m2 += d * d;
    left += d;
  }
  exact.m2 -= left * left / exact.count;
  return exact;
}

inline Quad MeanOf(const Moments& m, size_t j) {
  return Quad{m.mean()[j]} + m.mean_tail()[j];
}

// The bound of docs/numerics.md: the mean, tail included, to 1e-12 standard
// deviations; the variance to 1e-12 of itself.
inline void ExpectWithinBound(const Moments& m, size_t j,
                              const ExactMoments& exact) {
  constexpr double kBound = 1e-12;
  ASSERT_EQ(m.count(j), exact.count);
  const auto mean_error = static_cast<double>(Abs(MeanOf(m, j) - exact.mean));
  ASSERT_LE(mean_error, kBound * static_cast<double>(exact.deviation()))
      << "mean " << m.mean()[j] << " of feature " << j;
  const auto variance = static_cast<double>(exact.variance());
  ASSERT_NEAR(m.variance(j), variance, kBound * variance) << "feature " << j;
  ASSERT_EQ(m.minimum()[j], exact.minimum);
  ASSERT_EQ(m.maximum()[j], exact.maximum);
}

template <typename T>
constexpr DataType DataTypeOf() {
  return sizeof(T) == 4 ? DataType::kFp32 : DataType::kFp64;
}

// A view of float or double rows.
template <typename T>
TensorView ViewOf(std::span<const T> values, size_t features) {
  return {reinterpret_cast<const uint8_t*>(values.data()), DataTypeOf<T>(),
          values.size() / features, features};
}
template <typename T>
TensorView ViewOf(const std::vector<T>& values, size_t features) {
  return ViewOf(std::span<const T>(values), features);
}

// Rows stored as any type.
class StoredRows {
 public:
  StoredRows(const std::vector<double>& values, size_t features, DataType type)
      : bytes_(values.size() * ElementSize(type)) {
    StoreFromDouble(values.data(), values.size(), type, bytes_.data());
    view_ = {bytes_.data(), type, values.size() / features, features};
  }
  StoredRows(const StoredRows&) = delete;
  StoredRows& operator=(const StoredRows&) = delete;

  const TensorView& view() const { return view_; }

 private:
  std::vector<uint8_t> bytes_;
  TensorView view_;
};

// Rows [first, first + rows) of a view.
inline TensorView Rows(const TensorView& view, size_t first, size_t rows) {
  TensorView part = view;
  part.data += first * view.features * ElementSize(view.type);
  part.rows = rows;
  return part;
}

// Column `j` of a view, widened.
inline std::vector<double> ColumnOf(const TensorView& view, size_t j) {
  std::vector<double> column(view.rows);
  for (size_t r = 0; r < view.rows; ++r) {
    LoadAsDouble(view, r * view.features + j, 1, &column[r]);
  }
  return column;
}

// Folds a view into new moments, in batches of `batch_rows` (0: all at once).
inline Moments FoldAll(const TensorView& view, size_t batch_rows = 0,
                       NonfinitePolicies policies = {}) {
  if (batch_rows == 0) batch_rows = std::max<size_t>(1, view.rows);
  Moments moments(view.features);
  BatchExtremes extremes;
  for (size_t r = 0; r < view.rows; r += batch_rows) {
    const TensorView batch = Rows(view, r, std::min(batch_rows, view.rows - r));
    if (Fold(batch, policies, &moments, &extremes).kind !=
        ValueProblem::kNone) {
      return Moments(0);
    }
  }
  return moments;
}

using Random = std::mt19937_64;

inline size_t UniformSize(Random& random, size_t low, size_t high) {
  return std::uniform_int_distribution<size_t>(low, high)(random);
}

// Normally distributed around `mean`.
inline std::vector<double> NormalValues(Random& random, size_t count,
                                        double mean, double deviation) {
  std::normal_distribution<double> normal(mean, deviation);
  std::vector<double> values(count);
  for (double& x : values) x = normal(random);
  return values;
}

// Equal to the last bit, the sign of zero included.
inline bool SameBits(double a, double b) {
  return std::bit_cast<uint64_t>(a) == std::bit_cast<uint64_t>(b);
}

}  // namespace streamnorm

#endif  // STREAMNORM_TESTS_STATS_ORACLE_H_
