// Apply, its inverse and the look ahead for what would overflow.

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <limits>
#include <random>
#include <vector>

#include "stats/moments.h"
#include "stats/scaling.h"
#include "tests/stats/oracle.h"
#include "tests/stats/scaling_helpers.h"

namespace streamnorm {
namespace {

constexpr double kEpsilon = std::numeric_limits<double>::epsilon();

TEST(ApplyTest, OutputIsRoundedToItsTypeOnce) {
  Random random(4);
  const auto x = NormalValues(random, 300, 5, 3);
  for (const DataType type : kTypes) {
    const StoredRows stored(x, 3, type);
    const ScalingTable table =
        TableOf(Rule("standard"), FoldAll(stored.view()));
    std::vector<double> widened(x.size());
    LoadAsDouble(stored.view(), 0, x.size(), widened.data());
    const StoredRows want(Normalize(widened, table).values, 3, type);
    std::vector<double> rounded(x.size());
    LoadAsDouble(want.view(), 0, x.size(), rounded.data());
    EXPECT_EQ(Through(Apply, stored.view(), table).values, rounded)
        << DataTypeName(type);
  }
}

TEST(ApplyTest, UnalignedInputAndOutputGiveTheSame) {
  Random random(5);
  const auto x = NormalValues(random, 63, 5, 3);
  for (const DataType type : kTypes) {
    const StoredRows stored(x, 7, type);
    const ScalingTable table =
        TableOf(Rule("vecnormalize"), FoldAll(stored.view()));
    const size_t size = stored.view().size_bytes();
    std::vector<uint8_t> in(size + 1), want(size), out(size + 1);
    std::memcpy(in.data() + 1, stored.view().data, size);
    TensorView unaligned = stored.view();
    unaligned.data = in.data() + 1;
    for (const Application apply : {Apply, ApplyInverse}) {
      apply(stored.view(), table, {}, want.data());
      apply(unaligned, table, {}, out.data() + 1);
      EXPECT_EQ(std::memcmp(out.data() + 1, want.data(), size), 0);
    }
  }
}

// --------------------------------------------- clip, NaN, infinity, overflow

TEST(ApplyTest, LimitsAndCountsWhatIsClipped) {
  ScalingTable table;
  IdentityScaling(5, &table);
  table.clip = 2;
  for (const DataType type : kTypes) {
    const Applied z = Normalize({-3, -2, 0, 2, 2.5}, table, type);
    EXPECT_EQ(z.values, (std::vector<double>{-2, -2, 0, 2, 2}));
    EXPECT_EQ(z.result.clipped_values, 2u);
    EXPECT_EQ(z.result.problem.kind, ValueProblem::kNone);
  }
}

TEST(ApplyTest, WhatIsNotANumberPassesThroughUnclipped) {
  ScalingTable table;
  IdentityScaling(5, &table);
  table.clip = 2;
  for (const DataType type : kTypes) {
    for (const Application apply : {Apply, ApplyInverse}) {
      const StoredRows x({kNan, kInfinity, -kInfinity, 1, -1}, 5, type);
      const Applied z = Through(apply, x.view(), table);
      EXPECT_TRUE(std::isnan(z.values[0]));
      EXPECT_EQ(z.values[1], kInfinity);
      EXPECT_EQ(z.values[2], -kInfinity);
      EXPECT_EQ(z.values[3], 1);
      EXPECT_EQ(z.result.nonfinite_values, 3u);
      EXPECT_EQ(z.result.clipped_values, 0u);
    }
  }
}

TEST(ApplyTest, RejectNamesTheFirstInRowMajorOrder) {
  ScalingTable table;
  IdentityScaling(2, &table);
  const StoredRows x({1, 2, 3, kInfinity, kNan, 4}, 2, DataType::kFp32);
  const auto problem_of = [&](NonfinitePolicies policies) {
    return Through(Apply, x.view(), table, policies).result.problem;
  };
  const ValueProblem infinite = problem_of({});
  EXPECT_EQ(infinite.kind, ValueProblem::kInfinite);
  EXPECT_EQ(infinite.row, 1u);
  EXPECT_EQ(infinite.feature, 1u);
  const ValueProblem nan =
      problem_of({NonfinitePolicy::kReject, NonfinitePolicy::kSkip});
  EXPECT_EQ(nan.kind, ValueProblem::kNan);
  EXPECT_EQ(nan.row, 2u);
  EXPECT_EQ(nan.feature, 0u);
}

TEST(ApplyTest, OutputThatDoesNotFitIsNamed) {
  ScalingTable table;
  IdentityScaling(2, &table);
  table.scale[1] = 2;
  table.denominator[1] = 0.5;
  for (const DataType type : kTypes) {
    const double largest = LargestFinite(type);
    const Applied fits = Normalize({largest, largest / 2}, table, type);
    EXPECT_EQ(fits.result.problem.kind, ValueProblem::kNone);
    EXPECT_EQ(fits.values, (std::vector<double>{largest, largest}));
    const ValueProblem problem =
        Normalize({1, 1, 1, -largest}, table, type).result.problem;
    EXPECT_EQ(problem.kind, ValueProblem::kOutputOverflow);
    EXPECT_EQ(problem.row, 1u);
    EXPECT_EQ(problem.feature, 1u);
  }
}

TEST(ApplyTest, HalfOverflowsPast65504) {
  ScalingTable table;
  IdentityScaling(1, &table);
  table.offset[0] = -32;
  EXPECT_EQ(Normalize({65472}, table, DataType::kFp16).values[0], 65504);
  EXPECT_EQ(Normalize({65504}, table, DataType::kFp16).result.problem.kind,
            ValueProblem::kOutputOverflow);
  EXPECT_FALSE(FindOutputOverflow({{0}, {65472}, 0}, table, DataType::kFp16));
  EXPECT_EQ(FindOutputOverflow({{0}, {65504}, 0}, table, DataType::kFp16), 0u);
}

TEST(ApplyTest, NoRowsAreNoProblem) {
  const ScalingTable table = TableOf(Rule("standard"), MomentsOf({1, 2}));
  for (const DataType type : kTypes) {
    EXPECT_EQ(Normalize({}, table, type).result.problem.kind,
              ValueProblem::kNone);
  }
}

// Values of all magnitudes, most of them ordinary, some not numbers.
std::vector<double> WildValues(Random& random, size_t count, DataType type) {
  const double top = std::log2(LargestFinite(type));
  std::vector<double> values(count);
  for (double& x : values) {
    const double sign = random() % 2 == 0 ? 1 : -1;
    const bool wild = random() % 8 == 0;
    std::uniform_real_distribution<double> exponent(wild ? -top : -4,
                                                    wild ? top : 4);
    x = sign * std::exp2(exponent(random));
    if (random() % 50 == 0) x = random() % 2 == 0 ? kNan : sign * kInfinity;
  }
  return values;
}

ScalingTable RandomTable(Random& random, size_t features, DataType type) {
  const double half_top = std::log2(LargestFinite(type)) / 2;
  std::uniform_real_distribution<double> exponent(-half_top, half_top);
  ScalingTable table;
  IdentityScaling(features, &table);
  for (size_t j = 0; j < features; ++j) {
    table.offset[j] = random() % 2 == 0 ? 0 : std::exp2(exponent(random));
    table.denominator[j] = std::exp2(exponent(random));
    table.scale[j] = 1 / table.denominator[j];
  }
  constexpr double kClips[] = {0, 0, 10, 1e5, 1e39};
  table.clip = kClips[random() % std::size(kClips)];
  return table;
}

TEST(FindOutputOverflowTest, FindsOneExactlyWhereApplyOverflows) {
  Random random(10);
  int found = 0;
  const int tries = Repetitions(20000);
  for (int i = 0; i < tries; ++i) {
    const DataType type = kTypes[random() % std::size(kTypes)];
    const size_t features = UniformSize(random, 1, 9);
    const StoredRows x(WildValues(random, features * 4, type), features, type);
    const ScalingTable table = RandomTable(random, features, type);
    Moments moments(features);
    BatchExtremes extremes;
    if (Fold(x.view(), kSkipAll, &moments, &extremes).kind !=
        ValueProblem::kNone) {
      continue;
    }
    const auto overflow = FindOutputOverflow(extremes, table, type);
    const Applied z = Through(Apply, x.view(), table);
    ASSERT_EQ(overflow.has_value(),
              z.result.problem.kind == ValueProblem::kOutputOverflow);
    if (overflow) {
      ++found;
      ASSERT_GE(z.result.problem.feature, *overflow);  // the first of them
    }
  }
  EXPECT_GT(found, tries / 20);
  EXPECT_LT(found, tries - tries / 20);
}

// Any doubles there are, and any within a few orders of magnitude, through
// statistics of their own.
TEST(FiniteTest, FiniteInIsFiniteOutOrNamed) {
  Random random(11);
  int counted = 0;
  for (int i = 0; i < Repetitions(20000); ++i) {
    const int lowest = std::uniform_int_distribution(-1074, 1010)(random);
    const int range = i % 2 == 0 ? 12 : 1023 - lowest;
    std::vector<double> x(12);
    for (double& value : x) {
      const int exponent = std::uniform_int_distribution(0, range)(random);
      value = std::ldexp(std::uniform_real_distribution<double>(-1, 1)(random),
                         lowest + exponent);
    }
    Moments moments(3);
    BatchExtremes extremes;
    if (Fold(ViewOf(x, 3), {}, &moments, &extremes).kind !=
        ValueProblem::kNone) {
      continue;
    }
    ++counted;
    for (const char* preset :
         {"standard", "vecnormalize", "minmax", "maxabs"}) {
      const ScalingTable table = TableOf(Rule(preset), moments);
      const Applied z = Normalize(x, table);
      if (z.result.problem.kind != ValueProblem::kNone) continue;
      for (const double value : z.values) ASSERT_TRUE(std::isfinite(value));
    }
  }
  EXPECT_GT(counted, Repetitions(20000) / 4);
}

// --------------------------------------------------------------- the inverse

TEST(InverseTest, BringsEveryRuleBackToTheLastDigits) {
  Random random(12);
  double worst = 0;
  for (const char* preset : {"standard", "batchnorm", "rsl_rl", "keras",
                             "lerobot", "minmax", "maxabs"}) {
    for (const double mean : {0.0, 3.0, 1e6, -1e12}) {
      const auto x = NormalValues(random, 1000, mean, 2);
      const ScalingTable table = TableOf(Rule(preset), MomentsOf(x));
      const Applied z = Normalize(x, table);
      const Applied back = Through(ApplyInverse, ViewOf(z.values, 1), table);
      EXPECT_EQ(back.result.clipped_values, 0u);
      for (size_t i = 0; i < x.size(); ++i) {
        const double size =
            std::max(std::fabs(x[i]), std::fabs(table.offset[0]));
        worst = std::max(worst,
                         std::fabs(back.values[i] - x[i]) / (size * kEpsilon));
      }
    }
  }
  std::printf(
      "worst round trip: %.2f units in the last place of the larger "
      "of |x| and |offset|\n",
      worst);
  EXPECT_LE(worst, 4);
}

TEST(InverseTest, BringsEveryTypeBackToTwoUnitsInTheLastPlace) {
  Random random(13);
  for (const DataType type : kTypes) {
    const StoredRows x(NormalValues(random, 1000, 50, 20), 2, type);
    const ScalingTable table = TableOf(Rule("standard"), FoldAll(x.view()));
    std::vector<uint8_t> z(x.view().size_bytes());
    ASSERT_EQ(Apply(x.view(), table, {}, z.data()).problem.kind,
              ValueProblem::kNone);
    TensorView normalized = x.view();
    normalized.data = z.data();
    const Applied back = Through(ApplyInverse, normalized, table);
    double unit = kEpsilon;
    if (type == DataType::kFp32) unit = 0x1p-23;
    if (type == DataType::kFp16) unit = 0x1p-10;
    if (type == DataType::kBf16) unit = 0x1p-7;
    for (size_t i = 0; i < back.values.size(); ++i) {
      const double original = ColumnOf(x.view(), i % 2)[i / 2];
      const double size =
          std::max(std::fabs(original), std::fabs(table.offset[i % 2]));
      ASSERT_NEAR(back.values[i], original, 2 * unit * size)
          << DataTypeName(type);
    }
  }
}

TEST(InverseTest, CountsWhatWasClipped) {
  const std::vector<double> x(1000, 1);
  std::vector<double> with_outliers = x;
  with_outliers[3] = 1e6;
  with_outliers[4] = 0;
  const ScalingTable table =
      TableOf(Rule("vecnormalize"), MomentsOf(with_outliers));
  const Applied z = Normalize(with_outliers, table);
  EXPECT_EQ(z.result.clipped_values, 1u);
  EXPECT_EQ(
      Through(ApplyInverse, ViewOf(z.values, 1), table).result.clipped_values,
      1u);
}

TEST(InverseTest, OutputThatDoesNotFitIsNamed) {
  ScalingTable table;
  IdentityScaling(1, &table);
  table.denominator[0] = 1e3;
  const StoredRows z({1, 100}, 1, DataType::kFp16);
  const ValueProblem problem =
      Through(ApplyInverse, z.view(), table).result.problem;
  EXPECT_EQ(problem.kind, ValueProblem::kOutputOverflow);
  EXPECT_EQ(problem.row, 1u);
}

}  // namespace
}  // namespace streamnorm
