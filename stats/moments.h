#ifndef STREAMNORM_STATS_MOMENTS_H_
#define STREAMNORM_STATS_MOMENTS_H_

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "stats/tensor_view.h"
#include "stats/window.h"

namespace streamnorm {

// Doubles from the beginning of one column to that of the next, if columns lie
// one after the other: not near a multiple of 4096 bytes, where all of them
// would compete for the same few lines of L1.
size_t ColumnStride(size_t features);

// Running count, mean, sum of squared deviations (m2) and extremes of many
// features, as a structure of arrays.
//
// Moments form a monoid: Merge is associative and commutative up to rounding,
// the empty Moments are its identity. Mean and m2 are double-doubles (value
// plus tail, value = the double nearest to the sum), so that the result does
// not depend on order, batching or merge tree (docs/numerics.md has formulas,
// bound and measurements).
//
// While no value was ever skipped one count serves all features; the first
// skipped value gives each feature a count of its own.
//
// Moments of another kind than the plain one are no monoid: batches are merged
// into them one after another. Where the window fades, mean and variance are
// those of the values weighted by their age, and m2 is that variance itself: a
// sum would have to be scaled down with every batch, and would round each time.
// Counts are of all values, faded or not, and so are the extremes. With
// mean_only, m2 stays 0 and no extreme is known.
//
// A value type; not thread safe.
class Moments {
 public:
  // Empty moments of `features` features.
  explicit Moments(size_t features = 0, const MomentsKind& kind = {});

  const MomentsKind& kind() const { return kind_; }

  size_t features() const { return features_; }

  // Rows folded or merged, skipped values or not.
  uint64_t row_count() const { return row_count_; }

  // Values of feature `j` that count.
  uint64_t count(size_t j) const {
    return counts_.empty() ? row_count_ : counts_[j];
  }
  bool has_feature_counts() const { return !counts_.empty(); }

  // m2 / count, or m2 where it is one; 0 where nothing counts.
  double variance(size_t j) const;
  bool m2_is_variance() const { return kind_.window.fades(); }

  // NaN / infinite values skipped in feature `j`.
  uint64_t missing_count(size_t j) const {
    return missing_.empty() ? 0 : missing_[j];
  }
  uint64_t infinite_count(size_t j) const {
    return infinite_.empty() ? 0 : infinite_[j];
  }

  // [features] each. Where nothing counts: 0, 0, +infinity and -infinity.
  std::span<const double> mean() const { return Column(kMean); }
  std::span<const double> mean_tail() const { return Column(kMeanTail); }
  std::span<const double> m2() const { return Column(kM2); }
  std::span<const double> m2_tail() const { return Column(kM2Tail); }
  std::span<const double> minimum() const { return Column(kMinimum); }
  std::span<const double> maximum() const { return Column(kMaximum); }
  std::span<double> mean() { return Column(kMean); }
  std::span<double> mean_tail() { return Column(kMeanTail); }
  std::span<double> m2() { return Column(kM2); }
  std::span<double> m2_tail() { return Column(kM2Tail); }
  std::span<double> minimum() { return Column(kMinimum); }
  std::span<double> maximum() { return Column(kMaximum); }

  // [features], or empty while one count serves all / nothing was skipped.
  const std::vector<uint64_t>& feature_counts() const { return counts_; }
  const std::vector<uint64_t>& missing_counts() const { return missing_; }
  const std::vector<uint64_t>& infinite_counts() const { return infinite_; }

  // For whoever builds moments from stored or received parts.
  // REQUIRES: vectors are empty or of size features().
  void set_row_count(uint64_t rows) { row_count_ = rows; }
  void set_feature_counts(std::vector<uint64_t> counts);
  void set_missing_counts(std::vector<uint64_t> counts);
  void set_infinite_counts(std::vector<uint64_t> counts);

  // Back to empty, keeping kind and memory.
  void Clear();

  // As `other`, all but the columns: those are unspecified.
  void CopyCounts(const Moments& other);

  // Adds `other` (Chan, Golub and LeVeque 1979: d = mean_b - mean_a; mean =
  // mean_a + d n_b / n; m2 += m2_b + d^2 n_a n_b / n). Into moments that are
  // not plain, `other` is merged as one batch: shares in place of n / n_b.
  // REQUIRES: other.features() == features(), and `other` is plain.
  void Merge(const Moments& other);

  // True if every mean and m2 is finite; else sets `*feature` to the first
  // that is not.
  bool IsFinite(size_t* feature) const;

 private:
  enum ColumnIndex { kMean, kMeanTail, kM2, kM2Tail, kMinimum, kMaximum };
  static constexpr size_t kColumns = 6;

  std::span<const double> Column(ColumnIndex c) const {
    return {columns_.data() + c * ColumnStride(features_), features_};
  }
  std::span<double> Column(ColumnIndex c) {
    return {columns_.data() + c * ColumnStride(features_), features_};
  }
  void MergeFeature(size_t j, double n_a, double n_b, double n,
                    const Moments& other);
  void MergeShare(size_t j, const Shares& shares, const Moments& batch);
  void MergeColumns(const Moments& other);
  void MergeBatchColumns(const Moments& batch);

  MomentsKind kind_;
  size_t features_ = 0;
  uint64_t row_count_ = 0;
  std::vector<double> columns_;
  std::vector<uint64_t> counts_;
  std::vector<uint64_t> missing_;
  std::vector<uint64_t> infinite_;
};

// What to do with values that are not numbers.
enum class NonfinitePolicy : uint8_t { kSkip, kReject };
struct NonfinitePolicies {
  NonfinitePolicy nan = NonfinitePolicy::kSkip;
  NonfinitePolicy infinity = NonfinitePolicy::kReject;

  bool operator==(const NonfinitePolicies&) const = default;
};

// Why a batch was not folded, and where.
struct ValueProblem {
  enum Kind : uint8_t {
    kNone,
    kNan,            // under NonfinitePolicy::kReject
    kInfinite,       // likewise
    kOverflow,       // a double can't hold the statistics
    kOutputOverflow  // the output type can't hold the normalized value
  };
  Kind kind = kNone;
  size_t row = 0;  // not set for kOverflow
  size_t feature = 0;
};

// Per feature the smallest and largest value of one batch that counts;
// +infinity and -infinity where none does.
struct BatchExtremes {
  std::vector<double> minimum;
  std::vector<double> maximum;
  uint64_t nonfinite_values = 0;  // skipped
};

// `*after` = `before` and the rows of `batch`; fills `*extremes`. If the result
// is not kNone, `*after` is unspecified. It may be `before`.
// REQUIRES: batch.features == before.features().
ValueProblem FoldOnto(const TensorView& batch,
                      const NonfinitePolicies& policies, const Moments& before,
                      Moments* after, BatchExtremes* extremes);

// FoldOnto where `before` and `after` are the same.
ValueProblem Fold(const TensorView& batch, const NonfinitePolicies& policies,
                  Moments* moments, BatchExtremes* extremes);

}  // namespace streamnorm

#endif  // STREAMNORM_STATS_MOMENTS_H_
