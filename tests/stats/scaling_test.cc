#include "stats/scaling.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <string>
#include <vector>

#include "stats/moments.h"
#include "tests/stats/oracle.h"
#include "tests/stats/scaling_helpers.h"

namespace streamnorm {
namespace {

constexpr double kEpsilon = std::numeric_limits<double>::epsilon();
const char* const kStandardPresets[] = {"standard", "batchnorm", "vecnormalize",
                                        "rsl_rl",   "keras",     "lerobot"};

// --------------------------------------------------------------- the rules

Quad DenominatorByFormula(const std::string& preset, Quad variance) {
  const Quad deviation = SquareRoot(variance);
  if (preset == "batchnorm") return SquareRoot(variance + Quad{1e-5});
  if (preset == "vecnormalize") return SquareRoot(variance + Quad{1e-8});
  if (preset == "rsl_rl") return deviation + Quad{1e-2};
  if (preset == "keras") return deviation < Quad{1e-7} ? Quad{1e-7} : deviation;
  if (preset == "lerobot") return deviation + Quad{1e-8};
  return deviation;
}

TEST(PresetTest, EveryStandardPresetIsItsFormula) {
  Random random(1);
  for (const char* preset : kStandardPresets) {
    for (const double deviation : {1e-9, 1e-4, 1.0, 1e5}) {
      SCOPED_TRACE(testing::Message() << preset << " " << deviation);
      const auto x = NormalValues(random, 500, 3 * deviation, deviation);
      const ExactMoments exact = TwoPass(x);
      const Quad denominator = DenominatorByFormula(preset, exact.variance());
      const Applied z = Normalize(x, TableOf(Rule(preset), MomentsOf(x)));
      for (size_t i = 0; i < x.size(); ++i) {
        const Quad want = (x[i] - exact.mean) / denominator;
        ASSERT_LE(static_cast<double>(Abs(z.values[i] - want)),
                  6 * kEpsilon * (1 + std::fabs(static_cast<double>(want))));
      }
    }
  }
}

TEST(PresetTest, OnlyVecnormalizeClips) {
  for (const char* preset : kStandardPresets) {
    EXPECT_EQ(Rule(preset).clip, preset == std::string("vecnormalize") ? 10 : 0)
        << preset;
  }
}

TEST(PresetTest, MinmaxMapsTheExtremesToZeroAndOne) {
  const std::vector<double> x = {-3, 17, 1, 0.1, 5, 1e9};
  const Applied z = Normalize(x, TableOf(Rule("minmax"), MomentsOf(x, 2)));
  EXPECT_THAT(z.values, testing::ElementsAre(
                            0, testing::DoubleEq((17 - 0.1) / (1e9 - 0.1)), 0.5,
                            0, 1, 1));
}

TEST(PresetTest, MaxabsDividesByTheLargestMagnitude) {
  const std::vector<double> x = {-8, 1, 4, 2, 2, 4};
  const Applied z = Normalize(x, TableOf(Rule("maxabs"), MomentsOf(x, 2)));
  EXPECT_THAT(z.values, testing::ElementsAre(-1, 0.25, 0.5, 0.5, 0.25, 1));
}

TEST(PresetTest, MinmaxNeverLeavesItsRange) {
  Random random(2);
  for (int i = 0; i < Repetitions(500); ++i) {
    const auto x = NormalValues(random, 20, 1e3, std::exp2(i % 40 - 20));
    const Applied z = Normalize(x, TableOf(Rule("minmax"), MomentsOf(x)));
    EXPECT_EQ(*std::min_element(z.values.begin(), z.values.end()), 0);
    EXPECT_LE(*std::max_element(z.values.begin(), z.values.end()), 1);
    EXPECT_GE(*std::max_element(z.values.begin(), z.values.end()),
              1 - kEpsilon);
  }
}

TEST(PresetTest, EveryNameOfTheMessageIsKnownAndNoOther) {
  EXPECT_EQ(PresetNames(),
            "standard, batchnorm, vecnormalize, rsl_rl, keras, lerobot, "
            "minmax, maxabs");
  EXPECT_FALSE(PresetRule(""));
  EXPECT_FALSE(PresetRule("Standard"));
}

TEST(RuleTest, AMeanBetweenTwoDoublesIsSubtractedExactly) {
  Random random(14);
  const auto x = NormalValues(random, 300, 1e9, 1e-3);
  const ExactMoments exact = TwoPass(x);
  const Applied z = Normalize(x, TableOf(Rule("standard"), MomentsOf(x)));
  for (size_t i = 0; i < x.size(); ++i) {
    const Quad want = (x[i] - exact.mean) / exact.deviation();
    ASSERT_GE(CorrectDigits(z.values[i], want), 14.5);
  }
}

TEST(RuleTest, CenterAndScaleCanBeOff) {
  const std::vector<double> x = {2, 6};  // mean 4, deviation 2
  ScalingRule rule;
  rule.center = false;
  EXPECT_EQ(Normalize(x, TableOf(rule, MomentsOf(x))).values,
            (std::vector<double>{1, 3}));
  rule = {};
  rule.scale = false;
  EXPECT_EQ(Normalize(x, TableOf(rule, MomentsOf(x))).values,
            (std::vector<double>{-2, 2}));
}

// lerobot#4704.
TEST(RuleTest, DeviationOfThreeFloatsFarFromZero) {
  const std::vector<float> x = {10000, 10001, 10002};
  const ScalingTable table = TableOf(Rule("standard"), FoldAll(ViewOf(x, 1)));
  EXPECT_NEAR(table.denominator[0], 0.8165, 5e-5);
  const Applied z = Through(Apply, ViewOf(x, 1), table);
  EXPECT_THAT(z.values,
              testing::ElementsAre(-std::sqrt(1.5f), 0, std::sqrt(1.5f)));
}

// Float32 statistics answer NaN, 0 or 39.5 here.
TEST(RuleTest, FloatsAMillionDeviationsFromZero) {
  Random random(3);
  const StoredRows x(NormalValues(random, 10000, 1e6, 1), 1, DataType::kFp32);
  const auto column = ColumnOf(x.view(), 0);
  const ExactMoments exact = TwoPass(column);
  const Applied z =
      Through(Apply, x.view(), TableOf(Rule("standard"), FoldAll(x.view(), 4)));
  for (size_t i = 0; i < column.size(); ++i) {
    const auto want =
        static_cast<float>((column[i] - exact.mean) / exact.deviation());
    ASSERT_FLOAT_EQ(static_cast<float>(z.values[i]), want);
  }
}

// ------------------------------------------------- constant, few, no rows

TEST(ConstantTest, ConstantFeaturesAreCenteredAndNotScaled) {
  for (const double value : {14.62, 1e9, -1e-30, 0.0}) {
    const std::vector<double> x(1000, value);
    for (const char* preset : kStandardPresets) {
      const ScalingTable table = TableOf(Rule(preset), MomentsOf(x));
      EXPECT_EQ(table.denominator[0], 1) << preset << " " << value;
      EXPECT_EQ(Normalize(x, table).values, std::vector<double>(1000, 0));
    }
    const ScalingTable minmax = TableOf(Rule("minmax"), MomentsOf(x));
    EXPECT_EQ(Normalize(x, minmax).values, std::vector<double>(1000, 0));
  }
}

// As scikit-learn has it: only zeros keep maxabs from dividing.
TEST(ConstantTest, MaxabsDividesConstantsButZeros) {
  const std::vector<double> x = {14.62, 0, 14.62, 0};
  const Applied z = Normalize(x, TableOf(Rule("maxabs"), MomentsOf(x, 2)));
  EXPECT_THAT(z.values, testing::ElementsAre(testing::DoubleEq(1), 0,
                                             testing::DoubleEq(1), 0));
}

// keras#20011: what varies by rounding only must not become noise of size 1.
TEST(ConstantTest, NearConstantFeaturesDoNotExplode) {
  Random random(6);
  std::vector<double> x(1000);
  for (double& value : x) {
    value = 14.62 * (1 + static_cast<double>(random() % 8) * kEpsilon);
  }
  for (const char* preset : kStandardPresets) {
    const Applied z = Normalize(x, TableOf(Rule(preset), MomentsOf(x)));
    for (const double value : z.values) ASSERT_LE(std::fabs(value), 1e-13);
  }
}

TEST(ConstantTest, SmallVariationAroundZeroIsVariation) {
  Random random(7);
  const auto x = NormalValues(random, 1000, 0, 1e-100);
  const Moments m = MomentsOf(x);
  EXPECT_FALSE(IsConstant(m.mean()[0], m.variance(0), m.count(0)));
  EXPECT_NEAR(TableOf(Rule("standard"), m).denominator[0], 1e-100, 1e-101);
}

// scikit-learn's bound as it is, with n of the whole stream.
bool IsConstantUncapped(double mean, double variance, double n) {
  return variance <= n * kEpsilon * variance + std::pow(n * mean * kEpsilon, 2);
}

// docs/decisions/0002-constant-features.md.
TEST(ConstantTest, ALongStreamDoesNotMakeAVaryingFeatureConstant) {
  Random random(8);
  Moments m = MomentsOf(NormalValues(random, 1024, 1e6, 0.1));
  while (m.row_count() < 1000000000) m.Merge(Moments(m));
  EXPECT_TRUE(IsConstantUncapped(m.mean()[0], m.variance(0),
                                 static_cast<double>(m.row_count())));
  EXPECT_NEAR(TableOf(Rule("standard"), m).denominator[0], 0.1, 0.01);
}

TEST(ConstantTest, UpToTheCapTheBoundIsScikitLearns) {
  for (const uint64_t n : {1u, 2u, 100u, 1024u}) {
    const double limit = static_cast<double>(n) * 1e6 * kEpsilon;
    for (const double deviation : {limit * 0.9999, limit * 1.0001}) {
      const double variance = deviation * deviation;
      EXPECT_EQ(IsConstant(1e6, variance, n),
                IsConstantUncapped(1e6, variance, static_cast<double>(n)));
    }
  }
}

TEST(WarmUpTest, WithoutRowsNothingIsChanged) {
  for (const char* preset : {"standard", "minmax", "maxabs", "keras"}) {
    const ScalingTable table = TableOf(Rule(preset), Moments(2));
    EXPECT_EQ(Normalize({5, -7e9}, table).values,
              (std::vector<double>{5, -7e9}))
        << preset;
  }
}

TEST(WarmUpTest, AfterOneRowTheDenominatorIsOne) {
  for (const char* preset : {"standard", "minmax", "vecnormalize"}) {
    const ScalingTable table = TableOf(Rule(preset), MomentsOf({1e8}));
    EXPECT_EQ(Normalize({1e8, 1e8 + 3}, table).values,
              (std::vector<double>{0, 3}))
        << preset;
  }
}

TEST(WarmUpTest, AFeatureWithoutValuesIsLeftAlone) {
  const std::vector<double> x = {1, kNan, 3, kNan};
  for (const char* preset : {"standard", "minmax", "maxabs"}) {
    const ScalingTable table =
        TableOf(Rule(preset), FoldAll(ViewOf(x, 2), 0, kSkipAll));
    EXPECT_EQ(table.offset[1], 0) << preset;
    EXPECT_EQ(table.denominator[1], 1) << preset;
  }
}

TEST(WarmUpTest, IdentityChangesNothing) {
  ScalingTable table;
  IdentityScaling(2, &table);
  EXPECT_EQ(Normalize({1e300, -0.1}, table).values,
            (std::vector<double>{1e300, -0.1}));
}

TEST(WarmUpTest, CenterSubtractsTheMeanOfTheBatch) {
  ScalingTable table;
  CenterScaling(MomentsOf({1, 10, 3, 30}, 2), &table);
  EXPECT_EQ(Normalize({1, 10, 3, 30}, table).values,
            (std::vector<double>{-1, -10, 1, 10}));
}

// -------------------------------------------------------------- the prior

// `rows` rows that have the mean and variance of the prior.
Moments PseudoRows(const Prior& prior, uint64_t rows) {
  Moments m(prior.mean.size());
  m.set_row_count(rows);
  for (size_t j = 0; j < m.features(); ++j) {
    m.mean()[j] = prior.mean[j];
    m.m2()[j] = prior.variance[j] * static_cast<double>(rows);
  }
  return m;
}

TEST(PriorTest, IsTheSameAsRowsOfItsMeanAndVariance) {
  Random random(9);
  for (const uint64_t rows : {1u, 5u, 1000u}) {
    const Prior prior{{0, 100, -1e6}, {1, 25, 1e-4}, static_cast<double>(rows)};
    Moments m = MomentsOf(NormalValues(random, 30, 7, 3), 3);
    ScalingTable got;
    ComputeScalingWithPrior(Rule("standard"), m, prior, &got);
    m.Merge(PseudoRows(prior, rows));
    const ScalingTable want = TableOf(Rule("standard"), m);
    for (size_t j = 0; j < 3; ++j) {
      EXPECT_NEAR(
          got.offset[j], want.offset[j],
          kEpsilon * (std::fabs(want.offset[j]) + 4 * want.denominator[j]));
      EXPECT_DOUBLE_EQ(got.denominator[j], want.denominator[j]);
    }
  }
}

TEST(PriorTest, StandsAloneWithoutRows) {
  ScalingTable table;
  ComputeScalingWithPrior(Rule("standard"), Moments(2), {{3}, {4}, 0.5},
                          &table);
  EXPECT_EQ(Normalize({3, 5}, table).values, (std::vector<double>{0, 1}));
}

TEST(PriorTest, OfAnyWeightIsFinite) {
  for (const double pseudo_rows : {1e-300, 1e19, 1e300}) {
    ScalingTable table;
    ComputeScalingWithPrior(Rule("standard"), MomentsOf({1, 3, 8}),
                            {{2}, {9}, pseudo_rows}, &table);
    EXPECT_NEAR(table.denominator[0], 3, 0.1) << pseudo_rows;
  }
}

}  // namespace
}  // namespace streamnorm
