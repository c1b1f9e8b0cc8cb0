#include "stats/moments.h"

#include <algorithm>
#include <cassert>
#include <cmath>
#include <limits>
#include <utility>

#include "stats/half.h"
#include "stats/kernels.h"

namespace streamnorm {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();

// In place of kChunkRows where values are skipped: those sums are not formed in
// blocks, so as many rows round as much as a whole chunk (kFoldBlockRows).
constexpr size_t kSkippingRows = 128;

// Sum and rounding error of a + b (Knuth 1969, TwoSum): exact.
void TwoSum(double a, double b, double* sum, double* error) {
  *sum = a + b;
  const double b_part = *sum - a;
  *error = (a - (*sum - b_part)) + (b - b_part);
}

// Sums of one chunk around `shift`, [features] each.
struct ChunkSums {
  std::span<double> shift, sum, sum_squares, minimum, maximum;

  void Resize(size_t features) {
    const size_t stride = ColumnStride(features);
    storage.resize(5 * stride);
    double* next = storage.data();
    for (auto* column : {&shift, &sum, &sum_squares, &minimum, &maximum}) {
      *column = {next, features};
      next += stride;
    }
  }

  void StartPass() {
    std::fill(sum.begin(), sum.end(), 0.0);
    std::fill(sum_squares.begin(), sum_squares.end(), 0.0);
    std::fill(minimum.begin(), minimum.end(), kInfinity);
    std::fill(maximum.begin(), maximum.end(), -kInfinity);
  }

  SumColumns columns() {
    return {sum.data(), sum_squares.data(), minimum.data(), maximum.data()};
  }

  // Infinite or NaN values always leave a trace in the sum of squares; so does
  // an overflow.
  bool IsFinite() const {
    return AllFinite(sum_squares.data(), sum_squares.size());
  }

  std::vector<double> storage;
};

// What Fold needs besides its arguments, kept per thread so that the steady
// state allocates nothing.
struct FoldScratch {
  ChunkSums sums;
  Moments chunk{0};
  std::vector<uint64_t> counts, missing, infinite;
};

FoldScratch& Scratch() {
  thread_local FoldScratch scratch;
  return scratch;
}

template <typename T>
void SumChunk(const T* x, size_t rows, const double* shift, ChunkSums* sums) {
  sums->StartPass();
  FoldRows(x, rows, sums->sum.size(), shift, sums->columns());
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
    sums.shift[j] = ToDouble(LoadElement<T>(x + j));
  }
  SumChunk(x, rows, sums.shift.data(), &sums);
  if (!sums.IsFinite()) return false;
  for (size_t j = 0; j < features; ++j) {
    sums.shift[j] += sums.sum[j] / static_cast<double>(rows);
  }
  SumChunk(x, rows, sums.shift.data(), &sums);
  MomentsFromSums(rows, nullptr, sums, &scratch->chunk);
  return sums.IsFinite();
}

uint64_t SmallestCount(const Moments& moments) {
  if (!moments.has_feature_counts()) return moments.row_count();
  const auto& counts = moments.feature_counts();
  return *std::min_element(counts.begin(), counts.end());
}

void AddExtremes(ChunkSums* sums, BatchExtremes* extremes) {
  double* low = extremes->minimum.data();
  double* high = extremes->maximum.data();
  const MutableColumns columns{nullptr, nullptr, nullptr, nullptr, low, high};
  MergeExtremes(extremes->minimum.size(), sums->columns(), columns.AsConst(),
                columns);
}

void CopyUnlessSame(const Moments& before, Moments* after) {
  if (&before == after) return;
  after->CopyCounts(before);
  *after = before;
}

// The sums of `rows` rows around the mean of `before`, which has one count for
// all features.
void MergeSums(const SumColumns& sums, size_t rows, const Moments& before,
               Moments* after) {
  const uint64_t rows_before = before.row_count();
  if (&before != after) after->CopyCounts(before);
  const ConstColumns from = ColumnsOf(before);
  const MutableColumns to = ColumnsOf(after);
  MergeFold(before.features(), static_cast<double>(rows),
            static_cast<double>(rows_before), sums, from, to);
  MergeExtremes(before.features(), sums, from, to);
  after->set_row_count(rows_before + rows);
}

// Folds a chunk of finite values. Returns false, having written nothing, if
// something is not finite.
template <typename T>
bool FoldFiniteChunk(const T* x, size_t rows, const Moments& before,
                     Moments* after) {
  FoldScratch& scratch = Scratch();
  ChunkSums& sums = scratch.sums;
  const size_t features = before.features();
  sums.Resize(features);
  if (SmallestCount(before) < rows) {
    if (!TwoPassChunk(x, rows, features, &scratch)) return false;
    CopyUnlessSame(before, after);
    after->Merge(scratch.chunk);
    return true;
  }
  SumChunk(x, rows, before.mean().data(), &sums);
  if (!sums.IsFinite()) return false;
  if (!before.has_feature_counts()) {
    MergeSums(sums.columns(), rows, before, after);
    return true;
  }
  std::copy(before.mean().begin(), before.mean().end(), sums.shift.begin());
  MomentsFromSums(rows, nullptr, sums, &scratch.chunk);
  CopyUnlessSame(before, after);
  after->Merge(scratch.chunk);
  return true;
}

// Which values of a chunk count: classifies each, fills counts and the first
// pass around the first value that counts.
template <typename T>
ValueProblem ClassifyChunk(const T* x, size_t rows, size_t features,
                           const NonfinitePolicies& policies,
                           FoldScratch* scratch) {
  ChunkSums& sums = scratch->sums;
  sums.Resize(features);
  std::fill(sums.shift.begin(), sums.shift.end(), 0.0);
  sums.StartPass();
  scratch->counts.assign(features, 0);
  scratch->missing.assign(features, 0);
  scratch->infinite.assign(features, 0);
  for (size_t r = 0; r < rows; ++r) {
    for (size_t j = 0; j < features; ++j) {
      const double value = ToDouble(LoadElement<T>(x + r * features + j));
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
      const double value = ToDouble(LoadElement<T>(x + r * features + j));
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
                       const NonfinitePolicies& policies, const Moments& before,
                       Moments* after, BatchExtremes* extremes) {
  const size_t features = before.features();
  if (FoldFiniteChunk(x, rows, before, after)) {
    AddExtremes(&Scratch().sums, extremes);
    return {};
  }
  CopyUnlessSame(before, after);
  for (size_t r = 0; r < rows; r += kSkippingRows) {
    ValueProblem problem =
        FoldSkippingChunk(x + r * features, std::min(kSkippingRows, rows - r),
                          policies, after, &extremes->nonfinite_values);
    if (problem.kind != ValueProblem::kNone) {
      problem.row += first_row + r;
      return problem;
    }
    AddExtremes(&Scratch().sums, extremes);
  }
  return {};
}

ValueProblem FoldChunkOf(const TensorView& batch, size_t first, size_t rows,
                         const NonfinitePolicies& policies,
                         const Moments& before, Moments* after,
                         BatchExtremes* extremes) {
  const uint8_t* data =
      batch.data + first * batch.features * ElementSize(batch.type);
  switch (batch.type) {
    case DataType::kFp32:
      return FoldChunk(reinterpret_cast<const float*>(data), first, rows,
                       policies, before, after, extremes);
    case DataType::kFp64:
      return FoldChunk(reinterpret_cast<const double*>(data), first, rows,
                       policies, before, after, extremes);
    case DataType::kFp16:
      return FoldChunk(reinterpret_cast<const Half*>(data), first, rows,
                       policies, before, after, extremes);
    case DataType::kBf16:
      return FoldChunk(reinterpret_cast<const Bfloat16*>(data), first, rows,
                       policies, before, after, extremes);
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

size_t ColumnStride(size_t features) {
  constexpr size_t kPage = 4096 / sizeof(double);
  constexpr size_t kApart = 320 / sizeof(double);  // five lines
  const size_t beyond = features % kPage;
  if (features < kPage / 2 || (beyond >= kApart && beyond <= kPage - kApart)) {
    return features;
  }
  return features + (beyond < kApart ? kApart : 2 * kApart);
}

Moments::Moments(size_t features, const MomentsKind& kind)
    : kind_(kind),
      features_(features),
      columns_(kColumns * ColumnStride(features)) {
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

void Moments::CopyCounts(const Moments& other) {
  // A new vector: one that was larger before would keep what it does not need.
  if (features_ != other.features_) *this = Moments(other.features_);
  kind_ = other.kind_;
  row_count_ = other.row_count_;
  counts_ = other.counts_;
  missing_ = other.missing_;
  infinite_ = other.infinite_;
}

double Moments::variance(size_t j) const {
  const uint64_t n = count(j);
  if (n == 0) return 0.0;
  const double sum = m2()[j] + m2_tail()[j];
  return m2_is_variance() ? sum : sum / static_cast<double>(n);
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

void Moments::MergeShare(size_t j, const Shares& shares, const Moments& batch) {
  double distance, distance_error;
  TwoSum(batch.mean()[j], -mean()[j], &distance, &distance_error);
  const double d =
      distance + (distance_error + (batch.mean_tail()[j] - mean_tail()[j]));
  // From the heavier side, as in MergeFeature.
  const bool lighter = shares.before < shares.batch;
  const double light = std::min(shares.before, shares.batch);
  const Moments& heavy = lighter ? batch : *this;
  TwoSum(heavy.mean()[j], heavy.mean_tail()[j] + (lighter ? -d : d) * light,
         &mean()[j], &mean_tail()[j]);
  if (kind_.mean_only) return;
  const double variance = batch.variance(j);
  const double between = d * d * std::max(shares.before, shares.batch);
  if (lighter) {
    const double difference = (m2()[j] - variance) + m2_tail()[j];
    TwoSum(variance, (difference + between) * light, &m2()[j], &m2_tail()[j]);
  } else {
    const double difference = (variance - m2()[j]) - m2_tail()[j];
    TwoSum(m2()[j], m2_tail()[j] + (difference + between) * light, &m2()[j],
           &m2_tail()[j]);
  }
}

void Moments::MergeBatchColumns(const Moments& batch) {
  Shares shares;
  uint64_t before = 0, added = 0;  // what they were computed for
  for (size_t j = 0; j < features_; ++j) {
    if (batch.count(j) == 0) continue;
    if (count(j) != before || batch.count(j) != added) {
      before = count(j);
      added = batch.count(j);
      shares = SharesOf(kind_.window, before, added);
    }
    if (before == 0) {
      mean()[j] = batch.mean()[j];
      mean_tail()[j] = batch.mean_tail()[j];
      if (!kind_.mean_only) m2()[j] = batch.variance(j);
    } else {
      MergeShare(j, shares, batch);
    }
    if (kind_.mean_only) continue;
    minimum()[j] = std::min(minimum()[j], batch.minimum()[j]);
    maximum()[j] = std::max(maximum()[j], batch.maximum()[j]);
  }
}

void Moments::Merge(const Moments& other) {
  assert(other.features_ == features_ && other.kind_.plain());
  kind_.plain() ? MergeColumns(other) : MergeBatchColumns(other);
  if (has_feature_counts() || other.has_feature_counts()) {
    if (counts_.empty()) counts_.assign(features_, row_count_);
    for (size_t j = 0; j < features_; ++j) counts_[j] += other.count(j);
  }
  AddCounts(other.missing_, features_, &missing_);
  AddCounts(other.infinite_, features_, &infinite_);
  row_count_ += other.row_count_;
}

void Moments::MergeColumns(const Moments& other) {
  for (size_t j = 0; j < features_; ++j) {
    const uint64_t n_a = count(j);
    const uint64_t n_b = other.count(j);
    if (n_b == 0) continue;
    if (n_a == 0) {
      for (size_t c = kMean; c <= kM2Tail; ++c) {
        Column(static_cast<ColumnIndex>(c))[j] =
            other.Column(static_cast<ColumnIndex>(c))[j];
      }
    } else {
      MergeFeature(j, static_cast<double>(n_a), static_cast<double>(n_b),
                   static_cast<double>(n_a + n_b), other);
    }
    minimum()[j] = std::min(minimum()[j], other.minimum()[j]);
    maximum()[j] = std::max(maximum()[j], other.maximum()[j]);
  }
}

bool Moments::IsFinite(size_t* feature) const {
  if (AllFinite(mean().data(), features_) &&
      AllFinite(m2().data(), features_) &&
      AllFinite(mean_tail().data(), features_) &&
      AllFinite(m2_tail().data(), features_)) {
    return true;
  }
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

namespace {

// Rows of a batch all weigh the same, however many chunks it has, so it is
// reduced by itself first.
ValueProblem FoldBatchOnto(const TensorView& batch,
                           const NonfinitePolicies& policies,
                           const Moments& before, Moments* after,
                           BatchExtremes* extremes) {
  thread_local Moments reduced;
  if (reduced.features() != batch.features) reduced = Moments(batch.features);
  reduced.Clear();
  const ValueProblem problem = Fold(batch, policies, &reduced, extremes);
  if (problem.kind != ValueProblem::kNone) return problem;
  CopyUnlessSame(before, after);
  after->Merge(reduced);
  size_t feature = 0;
  if (!after->IsFinite(&feature)) {
    return {ValueProblem::kOverflow, 0, feature};
  }
  return {};
}

}  // namespace

ValueProblem FoldOnto(const TensorView& batch,
                      const NonfinitePolicies& policies, const Moments& before,
                      Moments* after, BatchExtremes* extremes) {
  assert(batch.features == before.features());
  if (!before.kind().plain()) {
    return FoldBatchOnto(batch, policies, before, after, extremes);
  }
  extremes->minimum.assign(batch.features, kInfinity);
  extremes->maximum.assign(batch.features, -kInfinity);
  extremes->nonfinite_values = 0;
  if (batch.rows == 0) CopyUnlessSame(before, after);
  for (size_t first = 0; first < batch.rows; first += kChunkRows) {
    const size_t rows = std::min(kChunkRows, batch.rows - first);
    const ValueProblem problem =
        FoldChunkOf(batch, first, rows, policies, first == 0 ? before : *after,
                    after, extremes);
    if (problem.kind != ValueProblem::kNone) return problem;
  }
  size_t feature = 0;
  if (!after->IsFinite(&feature)) {
    return {ValueProblem::kOverflow, 0, feature};
  }
  return {};
}

ValueProblem Fold(const TensorView& batch, const NonfinitePolicies& policies,
                  Moments* moments, BatchExtremes* extremes) {
  return FoldOnto(batch, policies, *moments, moments, extremes);
}

}  // namespace streamnorm
