#include "stats/moments.h"

#include <algorithm>
#include <cassert>
#include <cmath>
#include <limits>
#include <utility>

#include "stats/kernels.h"

namespace streamnorm {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();

// Rows folded around one shift before they are merged: bounds the rounding of
// the plain double sums, whatever the batch (docs/numerics.md, "Error bound").
constexpr size_t kChunkRows = 1024;

// Likewise where values are skipped: those sums are not formed in blocks, so
// as many rows round as much as a whole chunk (kFoldBlockRows).
constexpr size_t kSkippingRows = 128;

// Elements of FP16 and BF16 widened at a time (512 KiB of doubles).
constexpr size_t kWidenedElements = size_t{1} << 16;

// Sum and rounding error of a + b (Knuth 1969, TwoSum): exact.
void TwoSum(double a, double b, double* sum, double* error) {
  *sum = a + b;
  const double b_part = *sum - a;
  *error = (a - (*sum - b_part)) + (b - b_part);
}

// Sums of one chunk around `shift`, [features] each.
struct ChunkSums {
  std::vector<double> shift, sum, sum_squares, minimum, maximum;

  void StartPass(size_t features) {
    sum.assign(features, 0.0);
    sum_squares.assign(features, 0.0);
    minimum.assign(features, kInfinity);
    maximum.assign(features, -kInfinity);
  }

  // Infinite or NaN values always leave a trace in the sum of squares; so does
  // an overflow.
  bool IsFinite() const {
    return std::all_of(sum_squares.begin(), sum_squares.end(),
                       [](double s) { return std::isfinite(s); });
  }
};

// What Fold needs besides its arguments, kept per thread so that the steady
// state allocates nothing.
struct FoldScratch {
  ChunkSums sums;
  Moments chunk{0};
  std::vector<double> widened;
  std::vector<uint64_t> counts, missing, infinite;
};

FoldScratch& Scratch() {
  thread_local FoldScratch scratch;
  return scratch;
}

template <typename T>
void SumChunk(const T* x, size_t rows, size_t features, ChunkSums* sums) {
  sums->StartPass(features);
  FoldRows(x, rows, features, sums->shift.data(), sums->sum.data(),
           sums->sum_squares.data(), sums->minimum.data(),
           sums->maximum.data());
}

// Moments of `rows` rows from their sums around `sums.shift`. `counts` are the
// values that count per feature, or null where all do.
void MomentsFromSums(size_t rows, const uint64_t* counts, const ChunkSums& sums,
                     Moments* chunk) {
  const size_t features = sums.shift.size();
  if (chunk->features() != features) *chunk = Moments(features);
  chunk->Clear();
  chunk->set_row_count(rows);
  for (size_t j = 0; j < features; ++j) {
    const uint64_t count = counts == nullptr ? rows : counts[j];
    if (count == 0) continue;
    const double delta = sums.sum[j] / static_cast<double>(count);
    TwoSum(sums.shift[j], delta, &chunk->mean()[j], &chunk->mean_tail()[j]);
    const double squares = sums.sum_squares[j] - sums.sum[j] * delta;
    chunk->m2()[j] = squares < 0 ? 0 : squares;  // NaN, an overflow, stays
    chunk->minimum()[j] = sums.minimum[j];
    chunk->maximum()[j] = sums.maximum[j];
  }
}

// First the mean, then the squares around it: for chunks that outweigh what
// was counted before, where squares around the old mean could cancel.
// Returns false if something is not finite.
template <typename T>
bool TwoPassChunk(const T* x, size_t rows, size_t features,
                  FoldScratch* scratch) {
  ChunkSums& sums = scratch->sums;
  for (size_t j = 0; j < features; ++j) {
    sums.shift[j] = static_cast<double>(LoadElement<T>(x + j));
  }
  SumChunk(x, rows, features, &sums);
  if (!sums.IsFinite()) return false;
  for (size_t j = 0; j < features; ++j) {
    sums.shift[j] += sums.sum[j] / static_cast<double>(rows);
  }
  SumChunk(x, rows, features, &sums);
  MomentsFromSums(rows, nullptr, sums, &scratch->chunk);
  return sums.IsFinite();
}

uint64_t SmallestCount(const Moments& moments) {
  if (!moments.has_feature_counts()) return moments.row_count();
  const auto& counts = moments.feature_counts();
  return *std::min_element(counts.begin(), counts.end());
}

// Without bounds checks the compiler can vectorize it.
void MergeExtremes(const ChunkSums& sums, double* minimum, double* maximum) {
  const double* low = sums.minimum.data();
  const double* high = sums.maximum.data();
  for (size_t j = 0, features = sums.minimum.size(); j < features; ++j) {
    minimum[j] = std::min(minimum[j], low[j]);
    maximum[j] = std::max(maximum[j], high[j]);
  }
}

// Folds a chunk of finite values. Returns false, with `*moments` unchanged, if
// something is not finite.
template <typename T>
bool FoldFiniteChunk(const T* x, size_t rows, Moments* moments) {
  FoldScratch& scratch = Scratch();
  ChunkSums& sums = scratch.sums;
  const size_t features = moments->features();
  sums.shift.resize(features);
  if (SmallestCount(*moments) < rows) {
    if (!TwoPassChunk(x, rows, features, &scratch)) return false;
    moments->Merge(scratch.chunk);
    return true;
  }
  std::copy(moments->mean().begin(), moments->mean().end(), sums.shift.begin());
  SumChunk(x, rows, features, &sums);
  if (!sums.IsFinite()) return false;
  if (moments->has_feature_counts()) {
    MomentsFromSums(rows, nullptr, sums, &scratch.chunk);
    moments->Merge(scratch.chunk);
    return true;
  }
  MergeFold(features, static_cast<double>(rows),
            static_cast<double>(moments->row_count()), sums.sum.data(),
            sums.sum_squares.data(), moments->mean().data(),
            moments->mean_tail().data(), moments->m2().data(),
            moments->m2_tail().data());
  MergeExtremes(sums, moments->minimum().data(), moments->maximum().data());
  moments->set_row_count(moments->row_count() + rows);
  return true;
}

// Which values of a chunk count: classifies each, fills counts and the first
// pass around the first value that counts.
template <typename T>
ValueProblem ClassifyChunk(const T* x, size_t rows, size_t features,
                           const NonfinitePolicies& policies,
                           FoldScratch* scratch) {
  ChunkSums& sums = scratch->sums;
  sums.shift.assign(features, 0.0);
  sums.StartPass(features);
  scratch->counts.assign(features, 0);
  scratch->missing.assign(features, 0);
  scratch->infinite.assign(features, 0);
  for (size_t r = 0; r < rows; ++r) {
    for (size_t j = 0; j < features; ++j) {
      const auto value =
          static_cast<double>(LoadElement<T>(x + r * features + j));
      if (std::isnan(value)) {
        if (policies.nan == NonfinitePolicy::kReject) {
          return {ValueProblem::kNan, r, j};
        }
        ++scratch->missing[j];
      } else if (std::isinf(value)) {
        if (policies.infinity == NonfinitePolicy::kReject) {
          return {ValueProblem::kInfinite, r, j};
        }
        ++scratch->infinite[j];
      } else {
        if (scratch->counts[j]++ == 0) sums.shift[j] = value;
        sums.sum[j] += value - sums.shift[j];
        sums.minimum[j] = std::min(sums.minimum[j], value);
        sums.maximum[j] = std::max(sums.maximum[j], value);
      }
    }
  }
  return {};
}

// Moments of the values of a chunk that count.
template <typename T>
void MomentsOfCounted(const T* x, size_t rows, FoldScratch* scratch) {
  ChunkSums& sums = scratch->sums;
  const size_t features = sums.shift.size();
  for (size_t j = 0; j < features; ++j) {
    if (scratch->counts[j] == 0) continue;
    sums.shift[j] += sums.sum[j] / static_cast<double>(scratch->counts[j]);
    sums.sum[j] = 0;
  }
  for (size_t r = 0; r < rows; ++r) {
    for (size_t j = 0; j < features; ++j) {
      const auto value =
          static_cast<double>(LoadElement<T>(x + r * features + j));
      if (!std::isfinite(value)) continue;
      const double deviation = value - sums.shift[j];
      sums.sum[j] += deviation;
      sums.sum_squares[j] += deviation * deviation;
    }
  }
  Moments& chunk = scratch->chunk;
  MomentsFromSums(rows, scratch->counts.data(), sums, &chunk);
  const auto any = [](const std::vector<uint64_t>& v) {
    return std::any_of(v.begin(), v.end(), [](uint64_t c) { return c != 0; });
  };
  if (any(scratch->missing)) chunk.set_missing_counts(scratch->missing);
  if (any(scratch->infinite)) chunk.set_infinite_counts(scratch->infinite);
  if (any(scratch->missing) || any(scratch->infinite)) {
    chunk.set_feature_counts(scratch->counts);
  }
}

// The way of a chunk in which something is not finite.
template <typename T>
ValueProblem FoldSkippingChunk(const T* x, size_t rows,
                               const NonfinitePolicies& policies,
                               Moments* moments, uint64_t* skipped) {
  FoldScratch& scratch = Scratch();
  const ValueProblem problem =
      ClassifyChunk(x, rows, moments->features(), policies, &scratch);
  if (problem.kind != ValueProblem::kNone) return problem;
  MomentsOfCounted(x, rows, &scratch);
  for (size_t j = 0; j < moments->features(); ++j) {
    *skipped += scratch.missing[j] + scratch.infinite[j];
  }
  moments->Merge(scratch.chunk);
  return {};
}

template <typename T>
ValueProblem FoldChunk(const T* x, size_t first_row, size_t rows,
                       const NonfinitePolicies& policies, Moments* moments,
                       BatchExtremes* extremes) {
  const size_t features = moments->features();
  if (FoldFiniteChunk(x, rows, moments)) {
    MergeExtremes(Scratch().sums, extremes->minimum.data(),
                  extremes->maximum.data());
    return {};
  }
  for (size_t r = 0; r < rows; r += kSkippingRows) {
    ValueProblem problem =
        FoldSkippingChunk(x + r * features, std::min(kSkippingRows, rows - r),
                          policies, moments, &extremes->nonfinite_values);
    if (problem.kind != ValueProblem::kNone) {
      problem.row += first_row + r;
      return problem;
    }
    MergeExtremes(Scratch().sums, extremes->minimum.data(),
                  extremes->maximum.data());
  }
  return {};
}

// Rows of `batch` from `first` on, as T; FP16 and BF16 are widened.
const double* Widen(const TensorView& batch, size_t first, size_t rows) {
  std::vector<double>& widened = Scratch().widened;
  widened.resize(rows * batch.features);
  LoadAsDouble(batch, first * batch.features, rows * batch.features,
               widened.data());
  return widened.data();
}

size_t ChunkRows(const TensorView& batch) {
  if (ElementSize(batch.type) > 2) return kChunkRows;
  return std::clamp(kWidenedElements / batch.features, size_t{1}, kChunkRows);
}

ValueProblem FoldChunkOf(const TensorView& batch, size_t first, size_t rows,
                         const NonfinitePolicies& policies, Moments* moments,
                         BatchExtremes* extremes) {
  const uint8_t* data =
      batch.data + first * batch.features * ElementSize(batch.type);
  switch (batch.type) {
    case DataType::kFp32:
      return FoldChunk(reinterpret_cast<const float*>(data), first, rows,
                       policies, moments, extremes);
    case DataType::kFp64:
      return FoldChunk(reinterpret_cast<const double*>(data), first, rows,
                       policies, moments, extremes);
    case DataType::kFp16:
    case DataType::kBf16:
      return FoldChunk(Widen(batch, first, rows), first, rows, policies,
                       moments, extremes);
  }
  return {};
}

void AddCounts(const std::vector<uint64_t>& from, size_t features,
               std::vector<uint64_t>* to) {
  if (from.empty()) return;
  if (to->empty()) to->assign(features, 0);
  for (size_t j = 0; j < features; ++j) (*to)[j] += from[j];
}

}  // namespace

Moments::Moments(size_t features)
    : features_(features), columns_(kColumns * features) {
  Clear();
}

void Moments::Clear() {
  row_count_ = 0;
  std::fill(columns_.begin(), columns_.end(), 0.0);
  std::fill(minimum().begin(), minimum().end(), kInfinity);
  std::fill(maximum().begin(), maximum().end(), -kInfinity);
  counts_.clear();
  missing_.clear();
  infinite_.clear();
}

double Moments::variance(size_t j) const {
  const uint64_t n = count(j);
  return n == 0 ? 0.0 : (m2()[j] + m2_tail()[j]) / static_cast<double>(n);
}

void Moments::set_feature_counts(std::vector<uint64_t> counts) {
  assert(counts.empty() || counts.size() == features_);
  counts_ = std::move(counts);
}
void Moments::set_missing_counts(std::vector<uint64_t> counts) {
  assert(counts.empty() || counts.size() == features_);
  missing_ = std::move(counts);
}
void Moments::set_infinite_counts(std::vector<uint64_t> counts) {
  assert(counts.empty() || counts.size() == features_);
  infinite_ = std::move(counts);
}

void Moments::MergeFeature(size_t j, double n_a, double n_b, double n,
                           const Moments& other) {
  double distance, distance_error;
  TwoSum(other.mean()[j], -mean()[j], &distance, &distance_error);
  const double d =
      distance + (distance_error + (other.mean_tail()[j] - mean_tail()[j]));
  // From the heavier side: a step from the lighter one would round in
  // proportion to their distance, however many rows the heavier one has.
  const bool lighter = n_a < n_b;
  const Moments& heavy = lighter ? other : *this;
  const double share = std::min(n_a, n_b) / n;
  TwoSum(heavy.mean()[j], heavy.mean_tail()[j] + (lighter ? -d : d) * share,
         &mean()[j], &mean_tail()[j]);
  double sum, sum_error;
  TwoSum(m2()[j], other.m2()[j], &sum, &sum_error);
  const double between = d * d * (std::max(n_a, n_b) * share);
  TwoSum(sum, sum_error + m2_tail()[j] + other.m2_tail()[j] + between, &m2()[j],
         &m2_tail()[j]);
}

void Moments::Merge(const Moments& other) {
  assert(other.features_ == features_);
  for (size_t j = 0; j < features_; ++j) {
    const uint64_t n_a = count(j);
    const uint64_t n_b = other.count(j);
    if (n_b == 0) continue;
    if (n_a == 0) {
      for (size_t c = kMean; c <= kM2Tail; ++c) {
        columns_[c * features_ + j] = other.columns_[c * features_ + j];
      }
    } else {
      MergeFeature(j, static_cast<double>(n_a), static_cast<double>(n_b),
                   static_cast<double>(n_a + n_b), other);
    }
    minimum()[j] = std::min(minimum()[j], other.minimum()[j]);
    maximum()[j] = std::max(maximum()[j], other.maximum()[j]);
  }
  if (has_feature_counts() || other.has_feature_counts()) {
    if (counts_.empty()) counts_.assign(features_, row_count_);
    for (size_t j = 0; j < features_; ++j) counts_[j] += other.count(j);
  }
  AddCounts(other.missing_, features_, &missing_);
  AddCounts(other.infinite_, features_, &infinite_);
  row_count_ += other.row_count_;
}

bool Moments::IsFinite(size_t* feature) const {
  for (size_t j = 0; j < features_; ++j) {
    if (std::isfinite(mean()[j]) && std::isfinite(m2()[j]) &&
        std::isfinite(mean_tail()[j]) && std::isfinite(m2_tail()[j])) {
      continue;
    }
    *feature = j;
    return false;
  }
  return true;
}

ValueProblem Fold(const TensorView& batch, const NonfinitePolicies& policies,
                  Moments* moments, BatchExtremes* extremes) {
  assert(batch.features == moments->features());
  extremes->minimum.assign(batch.features, kInfinity);
  extremes->maximum.assign(batch.features, -kInfinity);
  extremes->nonfinite_values = 0;
  const size_t chunk_rows = ChunkRows(batch);
  for (size_t first = 0; first < batch.rows; first += chunk_rows) {
    const size_t rows = std::min(chunk_rows, batch.rows - first);
    const ValueProblem problem =
        FoldChunkOf(batch, first, rows, policies, moments, extremes);
    if (problem.kind != ValueProblem::kNone) return problem;
  }
  size_t feature = 0;
  if (!moments->IsFinite(&feature)) {
    return {ValueProblem::kOverflow, 0, feature};
  }
  return {};
}

}  // namespace streamnorm
