// Moments that fade, and those of the mean only, against weighted sums in 113
// bits of mantissa that are written from the definition (docs/numerics.md,
// "Window"): every row with its weight, the mean first, then the squares.

#include "stats/window.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "stats/reduced_moments.h"
#include "tests/stats/dispatch.h"
#include "tests/stats/oracle.h"

namespace streamnorm {
namespace {

Window HalfLife(double rows) { return {Window::Kind::kHalfLifeRows, rows}; }

// The rows of one feature, in updates.
using Batches = std::vector<std::vector<double>>;

struct Weighted {
  Quad mean = 0;
  Quad variance = 0;
};

// An update of n values has the weight 1 - 2^(-n / h), in equal parts, and what
// was before it 2^(-n / h) times the weight it had.
Weighted ByDefinition(const Batches& batches, long double half_life) {
  std::vector<long double> weights(batches.size());
  long double left = 1;  // of what was before
  for (size_t i = batches.size(); i-- > 0;) {
    const auto n = static_cast<long double>(batches[i].size());
    if (n == 0) continue;
    const long double ln2 = std::log(2.0L);
    weights[i] = left * -std::expm1(-ln2 * n / half_life) / n;
    left *= std::exp2(-n / half_life);
  }
  Quad total = 0, mean = 0, variance = 0;
  for (size_t i = 0; i < batches.size(); ++i) {
    for (const double x : batches[i]) {
      total += weights[i];
      mean += Quad{weights[i]} * x;
    }
  }
  mean /= total;
  for (size_t i = 0; i < batches.size(); ++i) {
    for (const double x : batches[i]) {
      const Quad d = x - mean;
      variance += weights[i] * d * d;
    }
  }
  return {mean, variance / total};
}

void ExpectNear(const Moments& m, size_t j, const Weighted& want) {
  constexpr double kBound = 1e-12;
  ASSERT_LE(static_cast<double>(Abs(MeanOf(m, j) - want.mean)),
            kBound * static_cast<double>(SquareRoot(want.variance)));
  ASSERT_LE(static_cast<double>(Abs(m.variance(j) - want.variance)),
            kBound * static_cast<double>(want.variance));
}

void Add(const std::vector<double>& rows, size_t features, Moments* moments) {
  BatchExtremes extremes;
  ASSERT_EQ(Fold(ViewOf(rows, features), kSkipAll, moments, &extremes).kind,
            ValueProblem::kNone);
}

bool Same(const Moments& a, const Moments& b) {
  bool same = a.row_count() == b.row_count() && a.kind() == b.kind();
  for (size_t j = 0; j < a.features(); ++j) {
    same = same && SameBits(a.mean()[j], b.mean()[j]) &&
           SameBits(a.mean_tail()[j], b.mean_tail()[j]) &&
           SameBits(a.m2()[j], b.m2()[j]) &&
           SameBits(a.m2_tail()[j], b.m2_tail()[j]) &&
           a.minimum()[j] == b.minimum()[j] && a.maximum()[j] == b.maximum()[j];
  }
  return same;
}

TEST(WindowTest, AnySeriesOfUpdatesIsAsDefined) {
  Random random(1);
  for (const double half_life : {0.3, 3.0, 70.0, 1e4, 1e9, 1e15}) {
    for (const double offset : {0.0, 1e6}) {
      SCOPED_TRACE(testing::Message() << half_life << " at " << offset);
      Moments moments(1, {HalfLife(half_life), false});
      Batches batches;
      for (const size_t rows : {2, 1, 4, 3000, 1, 17, 2, 1030, 64, 1}) {
        // Another level each time, so that most of the variance is between.
        const double level = offset + double(random() % 7);
        batches.push_back(NormalValues(random, rows, level, 1));
        ASSERT_NO_FATAL_FAILURE(Add(batches.back(), 1, &moments));
        ASSERT_NO_FATAL_FAILURE(
            ExpectNear(moments, 0, ByDefinition(batches, half_life)));
      }
    }
  }
}

TEST(WindowTest, ManySmallUpdatesStayWithinTheBound) {
  Random random(2);
  constexpr double kHalfLife = 1e5;
  Moments moments(1, {HalfLife(kHalfLife), false});
  Batches batches;
  for (int i = 0; i < Repetitions(1'000'000); ++i) {
    batches.push_back(NormalValues(random, 2, 1e3, 1));
    ASSERT_NO_FATAL_FAILURE(Add(batches.back(), 1, &moments));
  }
  ExpectNear(moments, 0, ByDefinition(batches, kHalfLife));
}

TEST(WindowTest, HowAlikeRowsAreBatchedDoesNotMatter) {
  Moments whole(1, {HalfLife(50), false}), single = whole;
  for (const double x : {3.0, -1.0, 8.0, 2.5}) {
    Add(std::vector<double>(40, x), 1, &whole);
    for (int i = 0; i < 40; ++i) Add({x}, 1, &single);
  }
  EXPECT_EQ(whole.row_count(), single.row_count());
  EXPECT_NEAR(whole.mean()[0], single.mean()[0], 1e-13);
  EXPECT_NEAR(whole.variance(0), single.variance(0), 1e-12);
}

TEST(WindowTest, TheFirstUpdateIsNotBiased) {
  for (const double half_life : {1.0, 1e12}) {
    Moments moments(1, {HalfLife(half_life), false});
    Add({4, 8}, 1, &moments);
    EXPECT_EQ(moments.mean()[0], 6);
    EXPECT_EQ(moments.variance(0), 4);
  }
}

TEST(WindowTest, WhatFadedLongAgoIsForgotten) {
  Moments moments(1, {HalfLife(1), false});
  Add({1e9, -1e9, 3e9}, 1, &moments);
  for (int i = 0; i < 3000; ++i) {
    Add({5}, 1, &moments);
    ASSERT_GE(moments.variance(0), 0);
    ASSERT_GE(moments.m2()[0], 0);
  }
  EXPECT_EQ(moments.mean()[0], 5);
  EXPECT_LE(moments.variance(0), 1e-300);
  EXPECT_EQ(moments.maximum()[0], 3e9);  // extremes do not fade
}

TEST(WindowTest, ValuesThatAreSkippedFadeNothing) {
  const std::vector<double> gappy = {1, 10, 2, kNan, kInfinity, 30, 4, kNan};
  const std::vector<double> full = {7, 1, 9, 2};
  Moments both(2, {HalfLife(3), false});
  Add(full, 2, &both);
  Add(gappy, 2, &both);
  Add({kNan, 5}, 2, &both);
  Add(full, 2, &both);
  ExpectNear(both, 0, ByDefinition({{7, 9}, {1, 2, 4}, {}, {7, 9}}, 3));
  ExpectNear(both, 1, ByDefinition({{1, 2}, {10, 30}, {5}, {1, 2}}, 3));
  EXPECT_EQ(both.count(0), 7);
  EXPECT_EQ(both.count(1), 7);
  EXPECT_EQ(both.row_count(), 9);
  EXPECT_EQ(both.infinite_count(0), 1);
}

TEST(WindowTest, WindowRowsIsAnotherWayToSayHalfLife) {
  for (const double window : {1.5, 100.0, 1e7}) {
    const double half_life = -std::log(2.0) / std::log1p(-1 / window);
    for (const uint64_t before : {1u, 5u, 100'000u}) {
      const Shares one =
          SharesOf({Window::Kind::kWindowRows, window}, before, 4);
      const Shares other = SharesOf(HalfLife(half_life), before, 4);
      EXPECT_NEAR(one.batch, other.batch, 1e-14 * one.batch);
      EXPECT_NEAR(one.before + one.batch, 1, 1e-15);
    }
    const double weight = 1 - std::pow(1 - 1 / window, 4);
    const Shares late =
        SharesOf({Window::Kind::kWindowRows, window}, uint64_t{1} << 40, 4);
    EXPECT_NEAR(late.batch, weight, 1e-9 * weight);
  }
}

TEST(WindowTest, OneThatHardlyFadesIsCumulative) {
  Random random(3);
  const auto rows = NormalValues(random, 5000, 1e3, 2);
  Moments fading(1, {HalfLife(0x1p53), false});
  for (size_t r = 0; r < rows.size(); r += 10) {
    Add({rows.begin() + r, rows.begin() + r + 10}, 1, &fading);
  }
  const ExactMoments exact = TwoPass(rows);
  ExpectNear(fading, 0, {exact.mean, exact.variance()});
}

TEST(WindowTest, ClearKeepsTheKind) {
  Moments moments(1, {HalfLife(3), true});
  Add({4}, 1, &moments);
  moments.Clear();
  EXPECT_TRUE(Same(moments, Moments(1, {HalfLife(3), true})));
}

TEST(MeanOnlyTest, KeepsTheMeanAndNothingElse) {
  Random random(4);
  Moments mean(3, {Window(), true}), all(3);
  for (const size_t rows : {1, 2, 300, 4, 2000, 1}) {
    const auto values = NormalValues(random, 3 * rows, 1e6, 1);
    Add(values, 3, &mean);
    Add(values, 3, &all);
  }
  EXPECT_EQ(mean.row_count(), all.row_count());
  for (size_t j = 0; j < 3; ++j) {
    EXPECT_NEAR(mean.mean()[j], all.mean()[j], 1e-9);
    EXPECT_EQ(mean.variance(j), 0);
    EXPECT_EQ(mean.minimum()[j], kInfinity);
    EXPECT_EQ(mean.maximum()[j], -kInfinity);
  }
}

TEST(MeanOnlyTest, FadesWithAWindow) {
  Random random(5);
  Moments mean(1, {HalfLife(9), true});
  Batches batches;
  for (const size_t rows : {3, 1, 2000, 8, 1}) {
    batches.push_back(NormalValues(random, rows, double(rows), 1));
    Add(batches.back(), 1, &mean);
  }
  EXPECT_NEAR(mean.mean()[0],
              static_cast<double>(ByDefinition(batches, 9).mean), 1e-10);
}

// Moments that clients sent, where they lie: the same to the last bit.
class WindowMergeTest : public DispatchTest {};

TEST_P(WindowMergeTest, AnySeriesOfMergesIsThatOfMomentsMerge) {
  Random random(6);
  for (const MomentsKind& kind :
       {MomentsKind{HalfLife(5), false}, MomentsKind{HalfLife(1e6), false},
        MomentsKind{{Window::Kind::kWindowRows, 100}, true},
        MomentsKind{Window(), true}}) {
    for (const size_t features : {1u, 3u, 8u, 31u, 1024u}) {
      Moments merged(features, kind);
      for (const uint64_t rows : {3u, 1u, 4u, 1000u, 7u, 100'000u, 1u}) {
        const auto mean = NormalValues(random, features, 1e6, 10);
        std::vector<double> m2(features, static_cast<double>(random() % 99));
        m2.back() = 0;
        const ReducedMoments sent{features,  rows,        mean.data(),
                                  m2.data(), mean.data(), mean.data()};
        Moments after;
        size_t feature = 0;
        ASSERT_TRUE(MergeOnto(sent, merged, &after, &feature));
        merged.Merge(ToMoments(sent));
        ASSERT_TRUE(Same(after, merged)) << rows << " " << features;
      }
    }
  }
}

TEST_P(WindowMergeTest, MergesAreTheRowsTheyStandFor) {
  Random random(7);
  constexpr size_t kFeatures = 9;
  Moments merged(kFeatures, {HalfLife(100), false}), folded = merged;
  for (const size_t rows : {2u, 4u, 128u, 4u, 900u}) {
    const auto values = NormalValues(random, rows * kFeatures, 50, 3);
    const Moments batch = FoldAll(ViewOf(values, kFeatures));
    const ReducedMoments sent{kFeatures, rows, batch.mean().data(),
                              batch.m2().data()};
    Moments after;
    size_t feature = 0;
    ASSERT_TRUE(MergeOnto(sent, merged, &after, &feature));
    merged = after;
    Add(values, kFeatures, &folded);
  }
  for (size_t j = 0; j < kFeatures; ++j) {
    EXPECT_NEAR(merged.mean()[j], folded.mean()[j], 1e-12);
    EXPECT_NEAR(merged.variance(j), folded.variance(j), 1e-11);
  }
}

TEST_P(WindowMergeTest, TheAnswerIsThatOfComputeScaling) {
  Random random(8);
  constexpr size_t kFeatures = 33;
  Moments moments(kFeatures, {HalfLife(100), false});
  for (int i = 0; i < 3; ++i) {
    Add(NormalValues(random, 7 * kFeatures, 50, 3), kFeatures, &moments);
  }
  const ScalingRule rule = *PresetRule("batchnorm");
  std::vector<double> mean(kFeatures), variance(kFeatures), offset(kFeatures),
      scale(kFeatures);
  ScalingTable table, unused;
  ScaleAndWrite(rule, moments, &unused,
                {mean.data(), variance.data(), offset.data(), scale.data()});
  ComputeScaling(rule, moments, &table);
  for (size_t j = 0; j < kFeatures; ++j) {
    EXPECT_TRUE(SameBits(mean[j], moments.mean()[j]));
    EXPECT_TRUE(SameBits(variance[j], moments.variance(j)));
    EXPECT_TRUE(SameBits(offset[j], table.offset[j]));
    EXPECT_TRUE(SameBits(scale[j], table.scale[j]));
    EXPECT_NEAR(scale[j], 1 / std::sqrt(variance[j] + 1e-5), 1e-15);
  }
}

STREAMNORM_FOR_ALL_TARGETS(WindowMergeTest);

}  // namespace
}  // namespace streamnorm
