#include "stats/moments.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <utility>
#include <vector>

#include "tests/stats/oracle.h"

namespace streamnorm {
namespace {

constexpr NonfinitePolicies kRejectAll = {NonfinitePolicy::kReject,
                                          NonfinitePolicy::kReject};

void ExpectMomentsOf(const TensorView& view, const Moments& m) {
  ASSERT_EQ(m.features(), view.features);
  ASSERT_EQ(m.row_count(), view.rows);
  for (size_t j = 0; j < view.features; ++j) {
    ASSERT_NO_FATAL_FAILURE(
        ExpectWithinBound(m, j, TwoPass(ColumnOf(view, j))));
  }
}

void ExpectSameBits(const Moments& got, const Moments& want) {
  ASSERT_EQ(got.features(), want.features());
  ASSERT_EQ(got.row_count(), want.row_count());
  for (size_t j = 0; j < got.features(); ++j) {
    ASSERT_EQ(got.count(j), want.count(j));
    ASSERT_EQ(got.missing_count(j), want.missing_count(j));
    ASSERT_EQ(got.infinite_count(j), want.infinite_count(j));
    ASSERT_TRUE(SameBits(got.mean()[j], want.mean()[j]));
    ASSERT_TRUE(SameBits(got.mean_tail()[j], want.mean_tail()[j]));
    ASSERT_TRUE(SameBits(got.m2()[j], want.m2()[j]));
    ASSERT_TRUE(SameBits(got.m2_tail()[j], want.m2_tail()[j]));
    ASSERT_TRUE(SameBits(got.minimum()[j], want.minimum()[j]));
    ASSERT_TRUE(SameBits(got.maximum()[j], want.maximum()[j]));
  }
}

Moments Merged(Moments a, const Moments& b) {
  a.Merge(b);
  return a;
}

ValueProblem FoldInto(const std::vector<double>& rows, Moments* moments,
                      NonfinitePolicies policies = {}) {
  BatchExtremes extremes;
  return Fold(ViewOf(rows, moments->features()), policies, moments, &extremes);
}

// ------------------------------------------------------------ the monoid

class MonoidTest : public testing::Test {
 protected:
  static constexpr size_t kFeatures = 3;
  static constexpr size_t kRows = 64;

  // Far from zero, near it, and drifting.
  MonoidTest() : values_(kRows * kFeatures) {
    std::normal_distribution<double> normal;
    for (size_t i = 0; i < values_.size(); i += kFeatures) {
      values_[i] = 1e9 + normal(random_);
      values_[i + 1] = 1e-3 * normal(random_);
      values_[i + 2] = static_cast<double>(i * i) * normal(random_);
    }
  }

  TensorView all() const { return ViewOf(values_, kFeatures); }
  Moments Of(size_t first, size_t rows) const {
    return FoldAll(Rows(all(), first, rows));
  }

  Random random_{11};
  std::vector<double> values_;
};

TEST_F(MonoidTest, EmptyIsTheIdentityOnBothSides) {
  const Moments m = FoldAll(all());
  ExpectSameBits(Merged(m, Moments(kFeatures)), m);
  ExpectSameBits(Merged(Moments(kFeatures), m), m);
  ExpectSameBits(Merged(Moments(kFeatures), Moments(kFeatures)),
                 Moments(kFeatures));
}

TEST_F(MonoidTest, EmptyIsTheIdentityWhereFeaturesHaveCounts) {
  values_[4] = kNan;
  const Moments m = FoldAll(all());
  ASSERT_TRUE(m.has_feature_counts());
  ExpectSameBits(Merged(m, Moments(kFeatures)), m);
  ExpectSameBits(Merged(Moments(kFeatures), m), m);
}

TEST_F(MonoidTest, EmptyIsTheIdentityOfAMeanWhoseSquareOverflows) {
  Moments m(1);
  ASSERT_EQ(FoldInto({1e300, 1e300}, &m).kind, ValueProblem::kNone);
  ExpectSameBits(Merged(m, Moments(1)), m);
  ExpectSameBits(Merged(Moments(1), m), m);
}

TEST_F(MonoidTest, EitherOrderGivesTheSame) {
  const Moments a = Of(0, 20), b = Of(20, kRows - 20);
  ExpectMomentsOf(all(), Merged(a, b));
  ExpectMomentsOf(all(), Merged(b, a));
}

TEST_F(MonoidTest, ASplitAnywhereGivesTheSame) {
  for (size_t k = 0; k <= kRows; ++k) {
    ASSERT_NO_FATAL_FAILURE(
        ExpectMomentsOf(all(), Merged(Of(0, k), Of(k, kRows - k))))
        << k;
  }
}

TEST_F(MonoidTest, MergeIsAssociative) {
  for (size_t i = 0; i < 50; ++i) {
    const size_t k = UniformSize(random_, 0, kRows);
    const size_t l = UniformSize(random_, k, kRows);
    const Moments a = Of(0, k), b = Of(k, l - k), c = Of(l, kRows - l);
    ASSERT_NO_FATAL_FAILURE(ExpectMomentsOf(all(), Merged(Merged(a, b), c)));
    ASSERT_NO_FATAL_FAILURE(ExpectMomentsOf(all(), Merged(a, Merged(b, c))));
  }
}

TEST_F(MonoidTest, AnyBatchSizeGivesTheSame) {
  for (size_t batch = 1; batch <= kRows; ++batch) {
    ASSERT_NO_FATAL_FAILURE(ExpectMomentsOf(all(), FoldAll(all(), batch)));
  }
}

TEST_F(MonoidTest, ClearGoesBackToEmpty) {
  Moments m = FoldAll(all());
  m.Clear();
  ExpectSameBits(m, Moments(kFeatures));
}

// --------------------------------------------------------------- batches

TEST(FoldTest, NoRowsChangeNothing) {
  Moments m(2);
  ASSERT_EQ(FoldInto({1, 2, 3, 5}, &m).kind, ValueProblem::kNone);
  const Moments before = m;
  BatchExtremes extremes;
  EXPECT_EQ(Fold({nullptr, DataType::kFp32, 0, 2}, {}, &m, &extremes).kind,
            ValueProblem::kNone);
  ExpectSameBits(m, before);
  EXPECT_EQ(extremes.minimum, std::vector<double>(2, kInfinity));
  EXPECT_EQ(extremes.maximum, std::vector<double>(2, -kInfinity));
}

TEST(FoldTest, OneRowIsItsOwnMeanWithoutVariance) {
  Moments m(2);
  ASSERT_EQ(FoldInto({14.62, -1e300}, &m).kind, ValueProblem::kNone);
  EXPECT_EQ(m.row_count(), 1u);
  EXPECT_EQ(m.mean()[0], 14.62);
  EXPECT_EQ(m.mean()[1], -1e300);
  EXPECT_EQ(m.m2()[0], 0);
  EXPECT_EQ(m.variance(1), 0);
}

TEST(FoldTest, EmptyHasNoVarianceAndNoExtremes) {
  const Moments m(1);
  EXPECT_EQ(m.variance(0), 0);
  EXPECT_EQ(m.mean()[0], 0);
  EXPECT_EQ(m.minimum()[0], kInfinity);
  EXPECT_EQ(m.maximum()[0], -kInfinity);
}

TEST(FoldTest, ChunkBordersDoNotShow) {
  Random random(3);
  for (const DataType type :
       {DataType::kFp64, DataType::kFp32, DataType::kFp16, DataType::kBf16}) {
    for (const size_t rows : {1u, 2u, 1023u, 1024u, 1025u, 2048u, 5000u}) {
      SCOPED_TRACE(testing::Message() << DataTypeName(type) << " " << rows);
      const StoredRows x(NormalValues(random, rows * 5, 100, 3), 5, type);
      ASSERT_NO_FATAL_FAILURE(ExpectMomentsOf(x.view(), FoldAll(x.view())));
      ASSERT_NO_FATAL_FAILURE(
          ExpectMomentsOf(x.view(), FoldAll(x.view(), rows / 3 + 1)));
    }
  }
}

// 16-bit rows are widened in chunks of as many as fit.
TEST(FoldTest, WideningBordersDoNotShow) {
  Random random(4);
  for (const auto& [rows, features] : {std::pair<size_t, size_t>{1311, 100},
                                       {656, 100},
                                       {655, 100},
                                       {3, 65537},
                                       {5, 32768}}) {
    const StoredRows x(NormalValues(random, rows * features, 1, 1), features,
                       DataType::kFp16);
    const Moments m = FoldAll(x.view());
    for (size_t j = 0; j < features; j += features / 50) {
      ASSERT_NO_FATAL_FAILURE(
          ExpectWithinBound(m, j, TwoPass(ColumnOf(x.view(), j))));
    }
  }
}

TEST(FoldTest, UnalignedRowsGiveTheSameBits) {
  Random random(5);
  const std::vector<double> x = NormalValues(random, 280, 5, 2);
  for (const DataType type :
       {DataType::kFp64, DataType::kFp32, DataType::kFp16, DataType::kBf16}) {
    const StoredRows stored(x, 7, type);
    const TensorView& view = stored.view();
    std::vector<uint8_t> bytes(view.size_bytes() + 1);
    std::copy_n(view.data, view.size_bytes(), bytes.data() + 1);
    TensorView unaligned = view;
    unaligned.data = bytes.data() + 1;
    ExpectSameBits(FoldAll(unaligned), FoldAll(view));
    ExpectSameBits(FoldAll(unaligned, 3), FoldAll(view, 3));
  }
}

TEST(FoldTest, ExtremesAreThoseOfTheBatchAlone) {
  Moments m(2);
  BatchExtremes extremes;
  const std::vector<double> first = {-50, 1, 50, 2};
  const std::vector<double> second = {1, 100, 3, -100, 2, 0};
  Fold(ViewOf(first, 2), {}, &m, &extremes);
  Fold(ViewOf(second, 2), {}, &m, &extremes);
  EXPECT_EQ(extremes.minimum, (std::vector<double>{1, -100}));
  EXPECT_EQ(extremes.maximum, (std::vector<double>{3, 100}));
  EXPECT_EQ(m.minimum()[0], -50);
  EXPECT_EQ(m.maximum()[0], 50);
}

TEST(FoldTest, ABatchMayDwarfThePast) {
  Random random(6);
  for (const double offset : {0.0, 1e6, 1e9, -1e12}) {
    std::vector<double> x = {offset / 2 + 17};
    const auto rest =
        NormalValues(random, kSanitized ? 10000 : 100000, offset, 1);
    x.insert(x.end(), rest.begin(), rest.end());
    const TensorView all = ViewOf(x, 1);
    Moments m = FoldAll(Rows(all, 0, 1));
    ASSERT_EQ(FoldInto(rest, &m).kind, ValueProblem::kNone);
    ExpectMomentsOf(all, m);
  }
}

TEST(FoldTest, OneUlpAmongAThousandRowsIsVariance) {
  std::vector<double> x(1024, 1e9);
  x[77] = std::nextafter(1e9, 2e9);
  for (const size_t batch : {1u, 4u, 1024u}) {
    ExpectMomentsOf(ViewOf(x, 1), FoldAll(ViewOf(x, 1), batch));
  }
}

// Squares around the old mean would all round the same way, and then cancel.
TEST(FoldTest, EqualRowsMayDwarfThePast) {
  for (const double value : {0.1, 0.3, 1e9 + 0.7}) {
    std::vector<double> x(1024, value);
    x[0] = 0;
    Moments m = FoldAll(Rows(ViewOf(x, 1), 0, 1));
    FoldInto(std::vector<double>(1023, value), &m);
    ExpectMomentsOf(ViewOf(x, 1), m);
    ExpectMomentsOf(ViewOf(x, 1), FoldAll(ViewOf(x, 1)));
  }
}

TEST(FoldTest, EqualRowsMayDwarfThePastOfOneFeatureOnly) {
  Moments m(2);
  std::vector<double> column = {0};
  std::vector<double> x(2000, kNan);
  for (size_t r = 0; r < 1000; ++r) x[2 * r] = 5;
  x[1] = 0;
  ASSERT_EQ(FoldInto(x, &m, kSkipAll).kind, ValueProblem::kNone);
  ASSERT_EQ(FoldInto(std::vector<double>(1800, 0.1), &m, kSkipAll).kind,
            ValueProblem::kNone);
  column.insert(column.end(), 900, 0.1);
  ExpectWithinBound(m, 1, TwoPass(column));
}

TEST(FoldTest, ARowFarFromThePastIsCountedExactly) {
  Random random(7);
  std::vector<double> x = NormalValues(random, 1000, 1e9, 1e-3);
  x.push_back(-1e9);
  x.push_back(1e-9);
  ExpectMomentsOf(ViewOf(x, 1), FoldAll(ViewOf(x, 1), 1000));
  ExpectMomentsOf(ViewOf(x, 1), FoldAll(ViewOf(x, 1), 1));
}

// What an average of within-batch variances gets wrong: it reads 1.08 where
// the truth is 10.05.
TEST(FoldTest, VarianceBetweenBatchesIsIn) {
  Random random(8);
  std::normal_distribution<double> normal;
  std::vector<double> x;
  for (int batch = 0; batch < 5000; ++batch) {
    const double level = 10 * normal(random);
    for (int i = 0; i < 4; ++i) x.push_back(level + normal(random));
  }
  const Moments m = FoldAll(ViewOf(x, 1), 4);
  EXPECT_NEAR(std::sqrt(m.variance(0)), 10.05, 0.2);
  ExpectMomentsOf(ViewOf(x, 1), m);
}

TEST(FoldTest, StrongDriftStaysWithinTheBound) {
  Random random(9);
  for (const double drift : {1e-3, 1.0, 1e6, 1e12}) {
    std::vector<double> x;
    for (int batch = 0; batch < 500; ++batch) {
      const auto rows = NormalValues(random, 8, drift * batch, 1);
      x.insert(x.end(), rows.begin(), rows.end());
    }
    ExpectMomentsOf(ViewOf(x, 1), FoldAll(ViewOf(x, 1), 8));
  }
}

// sklearn#17794 and its kin: what never varies has a variance of 0, not of
// what rounding left.
TEST(FoldTest, WhatNeverVariesHasNoVariance) {
  for (const double value : {14.62, 1e9 + 0.1, -1e-300, 1e300, 0.1}) {
    const std::vector<double> x(1000, value);
    for (const size_t batch : {1u, 3u, 64u, 1000u}) {
      Moments m = FoldAll(ViewOf(x, 1), batch);
      m.Merge(FoldAll(ViewOf(x, 1), 7));
      EXPECT_EQ(m.variance(0), 0) << value;
      EXPECT_EQ(m.mean()[0], value);
      EXPECT_EQ(m.mean_tail()[0], 0);
    }
  }
}

// Sums of squares in float64 answer -105 here.
TEST(FoldTest, MeanAHundredMillionTimesTheDeviation) {
  Random random(10);
  const auto x = NormalValues(random, 100000, 1e8, 1);
  ExpectMomentsOf(ViewOf(x, 1), FoldAll(ViewOf(x, 1), 4));
}

// ------------------------------------------------- values not a number

TEST(NonfiniteTest, SkippedValuesAreCountedByKindAndFeature) {
  Moments m(3);
  BatchExtremes extremes;
  const std::vector<double> x = {1, kNan, -kInfinity,  //
                                 2, 5,    kInfinity,   //
                                 3, kNan, 7};
  ASSERT_EQ(Fold(ViewOf(x, 3), kSkipAll, &m, &extremes).kind,
            ValueProblem::kNone);
  EXPECT_EQ(m.row_count(), 3u);
  EXPECT_EQ(m.feature_counts(), (std::vector<uint64_t>{3, 1, 1}));
  EXPECT_EQ(m.missing_counts(), (std::vector<uint64_t>{0, 2, 0}));
  EXPECT_EQ(m.infinite_counts(), (std::vector<uint64_t>{0, 0, 2}));
  EXPECT_EQ(extremes.nonfinite_values, 4u);
  EXPECT_EQ(extremes.minimum, (std::vector<double>{1, 5, 7}));
  EXPECT_EQ(extremes.maximum, (std::vector<double>{3, 5, 7}));
  EXPECT_EQ(m.mean()[1], 5);
}

TEST(NonfiniteTest, OneCountServesAllUntilAValueIsSkipped) {
  Moments m(2);
  FoldInto({1, 2, 3, 4}, &m, kSkipAll);
  EXPECT_FALSE(m.has_feature_counts());
  EXPECT_TRUE(m.missing_counts().empty());
  FoldInto({1, kNan}, &m, kSkipAll);
  EXPECT_EQ(m.feature_counts(), (std::vector<uint64_t>{3, 2}));
  EXPECT_TRUE(m.infinite_counts().empty());
  FoldInto({1, 2}, &m, kSkipAll);
  EXPECT_EQ(m.feature_counts(), (std::vector<uint64_t>{4, 3}));
  EXPECT_EQ(m.row_count(), 4u);
}

TEST(NonfiniteTest, AColumnWithoutAnyValueStaysEmpty) {
  Moments m(2);
  BatchExtremes extremes;
  const std::vector<double> x = {1, kNan, 2, kNan};
  Fold(ViewOf(x, 2), kSkipAll, &m, &extremes);
  EXPECT_EQ(m.count(1), 0u);
  EXPECT_EQ(m.mean()[1], 0);
  EXPECT_EQ(m.variance(1), 0);
  EXPECT_EQ(m.minimum()[1], kInfinity);
  EXPECT_EQ(extremes.minimum[1], kInfinity);
  EXPECT_EQ(extremes.maximum[1], -kInfinity);
}

TEST(NonfiniteTest, MergeAddsCountsWhereOnlyOneSideHasThem) {
  Moments with(2), without(2);
  FoldInto({1, kNan, 2, 3}, &with, kSkipAll);
  FoldInto({5, 6, 7, 8, 9, 10}, &without, kSkipAll);
  for (const Moments& m : {Merged(with, without), Merged(without, with)}) {
    EXPECT_EQ(m.row_count(), 5u);
    EXPECT_EQ(m.feature_counts(), (std::vector<uint64_t>{5, 4}));
    EXPECT_EQ(m.missing_counts(), (std::vector<uint64_t>{0, 1}));
  }
}

struct Place {
  size_t row, feature;
  double value;
};

// What Fold says about rows of ones with `places` in them.
ValueProblem ProblemOf(DataType type, size_t rows, size_t features,
                       const std::vector<Place>& places,
                       NonfinitePolicies policies = kRejectAll) {
  std::vector<double> values(rows * features, 1);
  for (const Place& p : places) values[p.row * features + p.feature] = p.value;
  const StoredRows stored(values, features, type);
  Moments m(features);
  BatchExtremes extremes;
  return Fold(stored.view(), policies, &m, &extremes);
}

TEST(NonfiniteTest, RejectNamesTheFirstInRowMajorOrder) {
  for (const DataType type :
       {DataType::kFp64, DataType::kFp32, DataType::kFp16, DataType::kBf16}) {
    const ValueProblem problem =
        ProblemOf(type, 3000, 100,
                  {{2500, 0, kNan}, {1500, 7, -kInfinity}, {1500, 5, kNan}});
    EXPECT_EQ(problem.kind, ValueProblem::kNan);
    EXPECT_EQ(problem.row, 1500u);
    EXPECT_EQ(problem.feature, 5u);
  }
}

TEST(NonfiniteTest, EachPolicyRejectsItsOwnKindOnly) {
  const std::vector<Place> places = {
      {0, 1, kNan}, {1, 0, kInfinity}, {2, 1, kNan}};
  const auto problem_of = [&](NonfinitePolicies policies) {
    return ProblemOf(DataType::kFp64, 4, 2, places, policies);
  };
  EXPECT_EQ(problem_of(kSkipAll).kind, ValueProblem::kNone);
  const ValueProblem nan =
      problem_of({NonfinitePolicy::kReject, NonfinitePolicy::kSkip});
  EXPECT_EQ(nan.kind, ValueProblem::kNan);
  EXPECT_EQ(nan.row, 0u);
  const ValueProblem infinite = problem_of({});
  EXPECT_EQ(infinite.kind, ValueProblem::kInfinite);
  EXPECT_EQ(infinite.row, 1u);
  EXPECT_EQ(infinite.feature, 0u);
}

// ---------------------------------------------------------------- overflow

TEST(OverflowTest, NamesTheFeature) {
  const std::vector<std::vector<double>> columns = {
      {1.1e200, -0.7e200, 0.3e200},  // what the mean rounds away overflows too
      {1.7e308, -1.7e308, 0},
      {1e155, -1e155, 0},
      {0, 0, 1e160},
  };
  for (const auto& column : columns) {
    std::vector<double> x;
    for (const double value : column) x.insert(x.end(), {1, 2, value, 4});
    const std::vector<double> ones(40, 1);
    for (const bool past : {false, true}) {
      Moments m(4);
      if (past) FoldInto(ones, &m);
      const ValueProblem problem = FoldInto(x, &m);
      EXPECT_EQ(problem.kind, ValueProblem::kOverflow) << column[0];
      EXPECT_EQ(problem.feature, 2u);
    }
  }
}

TEST(OverflowTest, ShowsAfterAMergeToo) {
  Moments a(2), b(2);
  FoldInto({1, 1e300, 1, 1e300}, &a);
  FoldInto({1, -1e300, 1, -1e300}, &b);
  a.Merge(b);
  size_t feature = 0;
  EXPECT_FALSE(a.IsFinite(&feature));
  EXPECT_EQ(feature, 1u);
}

TEST(OverflowTest, OfSumsOfManySquaresIsNoticed) {
  Moments m(1);
  ValueProblem problem;
  for (int i = 0; i < 100 && problem.kind == ValueProblem::kNone; ++i) {
    problem = FoldInto({5e153, -5e153}, &m);
  }
  EXPECT_EQ(problem.kind, ValueProblem::kOverflow);
}

TEST(OverflowTest, HugeValuesThatFitAreNotRefused) {
  const std::vector<double> spread = {1e150, -1e150, 3e150, 0};
  ExpectMomentsOf(ViewOf(spread, 1), FoldAll(ViewOf(spread, 1)));
  const std::vector<double> far = {1.7e308, 1.7e308, 1.7e308};
  ExpectMomentsOf(ViewOf(far, 1), FoldAll(ViewOf(far, 1)));
  const float largest = std::numeric_limits<float>::max();
  const std::vector<float> floats = {largest, -largest, largest, 1};
  ExpectMomentsOf(ViewOf(floats, 1), FoldAll(ViewOf(floats, 1)));
}

// The squares around the first value overflow, those around the mean do not.
TEST(OverflowTest, OnlyTheSquaresAroundTheMeanHaveToFit) {
  const std::vector<double> x = {-0.7e154, 0.7e154};
  ExpectMomentsOf(ViewOf(x, 1), FoldAll(ViewOf(x, 1)));
}

// ------------------------------------------------------------- big counts

// `m` merged with itself `doublings` times over.
Moments Doubled(Moments m, int doublings) {
  for (int i = 0; i < doublings; ++i) m.Merge(Moments(m));
  return m;
}

TEST(BigCountTest, CountsPastTheLimitsOfFloatAndInt) {
  Moments m(2);
  FoldInto({3, 1, 5, kNan, 7, 2, 9, 4}, &m);
  const Moments big = Doubled(m, 38);
  EXPECT_EQ(big.row_count(), uint64_t{1} << 40);
  EXPECT_EQ(big.count(1), uint64_t{3} << 38);
  EXPECT_EQ(big.missing_count(1), uint64_t{1} << 38);
  EXPECT_EQ(big.variance(0), 5);
  for (const int doublings : {22, 29, 38}) {  // 2^24, 2^31, 2^40 rows
    Moments one_more = Doubled(m, doublings);
    const uint64_t before = one_more.row_count();
    FoldInto({6, 6}, &one_more);
    EXPECT_EQ(one_more.row_count(), before + 1);
  }
}

TEST(BigCountTest, MergeOfTwoHugeShardsWeighsThemByTheirRows) {
  Moments a(1), b(1);
  FoldInto({-1, 1}, &a);
  FoldInto({9, 11, 9, 11}, &b);
  a = Doubled(a, 39);
  b = Doubled(b, 39);
  a.Merge(b);
  EXPECT_EQ(a.row_count(), uint64_t{6} << 39);
  EXPECT_NEAR(a.mean()[0], 20.0 / 3, 1e-14);
  EXPECT_NEAR(a.variance(0), 1 + 200.0 / 9, 1e-12);
}

// Each merge adds the same, so without its tail m2 would round the same way
// every time.
TEST(BigCountTest, AMillionMergesAreAsExactAsOne) {
  Moments leaf(1), m(1);
  FoldInto({0.9, 1.2, 1}, &leaf);
  const int merges = Repetitions(1000000);
  for (int i = 0; i < merges; ++i) m.Merge(leaf);
  EXPECT_EQ(m.row_count(), 3u * static_cast<unsigned>(merges));
  EXPECT_EQ(m.mean()[0], leaf.mean()[0]);
  EXPECT_GE(CorrectDigits(m.m2()[0], Quad{leaf.m2()[0]} * merges), 15.5);
}

// d * n_b / n rounds in proportion to d, which a shard that outweighs the other
// must not feel.
TEST(BigCountTest, AFarRowMergedWithATrillionLeavesTheirMeanExact) {
  Moments row(1), many(1);
  FoldInto({1e6}, &row);
  FoldInto({-1, 1}, &many);
  many = Doubled(many, 39);
  const Quad want = Quad{1e6} / (Quad{1} + many.row_count());
  EXPECT_GE(CorrectDigits(MeanOf(Merged(row, many), 0), want), 12);
  EXPECT_GE(CorrectDigits(MeanOf(Merged(many, row), 0), want), 12);
}

TEST(BigCountTest, ARowStillMovesAMeanOfATrillion) {
  Moments m(1);
  FoldInto({1e9 - 1, 1e9 + 1}, &m);
  m = Doubled(m, 39);
  const Quad n = Quad{1} + m.row_count();
  FoldInto({1e9 + 100}, &m);
  const Quad moved = MeanOf(m, 0) - 1e9;
  EXPECT_GE(CorrectDigits(moved, 100 / n), 12);
}

}  // namespace
}  // namespace streamnorm
