// Merging moments where they lie, against Moments::Merge, to the last bit.

#include "stats/reduced_moments.h"

#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <vector>

#include "tests/stats/dispatch.h"
#include "tests/stats/oracle.h"

namespace streamnorm {
namespace {

// What a client sends.
struct Sent {
  uint64_t rows;
  std::vector<double> mean, m2, minimum, maximum;
  std::vector<uint64_t> counts;

  Sent(size_t features, uint64_t rows_sent, Random& random)
      : rows(rows_sent), mean(NormalValues(random, features, 1e6, 10)) {
    for (size_t j = 0; j < features; ++j) {
      m2.push_back(std::ldexp(double(random() % 1000), int(random() % 40)));
    }
  }

  void AddExtremes() {
    for (const double value : mean) {
      minimum.push_back(value - 1);
      maximum.push_back(value + 1);
    }
  }

  ReducedMoments view() const {
    const bool extremes = !minimum.empty();
    return {mean.size(),
            rows,
            mean.data(),
            m2.data(),
            extremes ? minimum.data() : nullptr,
            extremes ? maximum.data() : nullptr,
            counts.empty() ? nullptr : counts.data()};
  }
};

uint64_t Bits(double value) { return std::bit_cast<uint64_t>(value); }

void ExpectSame(const Moments& a, const Moments& b) {
  ASSERT_EQ(a.features(), b.features());
  EXPECT_EQ(a.row_count(), b.row_count());
  for (size_t j = 0; j < a.features(); ++j) {
    ASSERT_EQ(a.count(j), b.count(j));
    ASSERT_EQ(Bits(a.mean()[j]), Bits(b.mean()[j])) << j;
    ASSERT_EQ(Bits(a.mean_tail()[j]), Bits(b.mean_tail()[j])) << j;
    ASSERT_EQ(Bits(a.m2()[j]), Bits(b.m2()[j])) << j;
    ASSERT_EQ(Bits(a.m2_tail()[j]), Bits(b.m2_tail()[j])) << j;
    ASSERT_EQ(a.minimum()[j], b.minimum()[j]) << j;
    ASSERT_EQ(a.maximum()[j], b.maximum()[j]) << j;
  }
}

// Merges both ways, and goes on from the result.
void MergeAndCompare(const Sent& sent, Moments* moments) {
  Moments after;
  size_t feature = 0;
  ASSERT_TRUE(MergeOnto(sent.view(), *moments, &after, &feature));
  moments->Merge(ToMoments(sent.view()));
  ASSERT_NO_FATAL_FAILURE(ExpectSame(after, *moments));
}

// What is answered, against its parts.
void ScaleAndCompare(const ScalingRule& rule, const Moments& moments) {
  const size_t features = moments.features();
  std::vector<double> all(4 * features);
  const MergedStatistics out{all.data(), all.data() + features,
                             all.data() + 2 * features,
                             all.data() + 3 * features};
  ScalingTable table, expected;
  ScaleAndWrite(rule, moments, &table, out);
  ComputeScaling(rule, moments, &expected);
  for (size_t j = 0; j < features; ++j) {
    ASSERT_EQ(Bits(out.mean[j]), Bits(moments.mean()[j])) << j;
    ASSERT_EQ(Bits(out.variance[j]), Bits(moments.variance(j))) << j;
    ASSERT_EQ(Bits(out.offset[j]), Bits(expected.offset[j])) << j;
    ASSERT_EQ(Bits(out.scale[j]), Bits(expected.scale[j])) << j;
  }
}

class ReducedMomentsTest : public DispatchTest {
 protected:
  Random random_{7};
};

TEST_P(ReducedMomentsTest, AnySeriesOfMergesIsThatOfMomentsMerge) {
  for (const size_t features : {1u, 2u, 3u, 7u, 8u, 9u, 31u, 64u, 1024u}) {
    SCOPED_TRACE(features);
    Moments moments(features);
    for (const uint64_t rows : {3u, 1u, 4u, 1000u, 4u, 7u, 100'000u, 1u}) {
      Sent sent(features, rows, random_);
      if (rows == 4) sent.AddExtremes();
      ASSERT_NO_FATAL_FAILURE(MergeAndCompare(sent, &moments));
    }
  }
}

TEST_P(ReducedMomentsTest, TheAnswerIsThatOfComputeScaling) {
  for (const char* preset :
       {"standard", "batchnorm", "rsl_rl", "keras", "minmax", "maxabs"}) {
    SCOPED_TRACE(preset);
    ScalingRule rule = *PresetRule(preset);
    for (const size_t features : {1u, 3u, 8u, 33u}) {
      Moments moments(features);
      ASSERT_NO_FATAL_FAILURE(ScaleAndCompare(rule, moments));
      Sent sent(features, 4, random_);
      sent.m2[0] = 0;  // constant
      sent.AddExtremes();
      moments.Merge(ToMoments(sent.view()));
      ASSERT_NO_FATAL_FAILURE(ScaleAndCompare(rule, moments));
      rule.center = !rule.center;
      ASSERT_NO_FATAL_FAILURE(ScaleAndCompare(rule, moments));
      rule.center = true;
      sent.counts.assign(features, 2);
      moments.Merge(ToMoments(sent.view()));
      ASSERT_NO_FATAL_FAILURE(ScaleAndCompare(rule, moments));
    }
  }
}

TEST_P(ReducedMomentsTest, CountsOfTheirOwnAreKeptPerFeature) {
  constexpr size_t kFeatures = 9;
  Moments moments(kFeatures);
  for (int i = 0; i < 4; ++i) {
    Sent sent(kFeatures, 8, random_);
    if (i == 1) sent.AddExtremes();
    for (size_t j = 0; i % 2 == 1 && j < kFeatures; ++j) {
      sent.counts.push_back(j);  // none of feature 0
    }
    ASSERT_NO_FATAL_FAILURE(MergeAndCompare(sent, &moments));
  }
  EXPECT_EQ(moments.count(0), 16);
  EXPECT_EQ(moments.row_count(), 32);
}

TEST_P(ReducedMomentsTest, AnOverflowNamesItsFeature) {
  constexpr size_t kFeatures = 20;
  for (const size_t bad : {size_t{0}, size_t{11}, kFeatures - 1}) {
    for (const bool of_m2 : {false, true}) {
      Moments before(kFeatures), after;
      before.Merge(ToMoments(Sent(kFeatures, 4, random_).view()));
      Sent sent(kFeatures, 4, random_);
      constexpr double kLargest = std::numeric_limits<double>::max();
      (of_m2 ? sent.m2 : sent.mean)[bad] = kLargest;
      if (of_m2) before.m2()[bad] = kLargest;
      size_t feature = kFeatures;
      EXPECT_FALSE(MergeOnto(sent.view(), before, &after, &feature));
      EXPECT_EQ(feature, bad);
    }
  }
}

STREAMNORM_FOR_ALL_TARGETS(ReducedMomentsTest);

}  // namespace
}  // namespace streamnorm
