// The vectorized rules against a scalar loop, to the last bit.

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <vector>

#include "stats/moments.h"
#include "stats/scaling.h"
#include "tests/stats/dispatch.h"
#include "tests/stats/oracle.h"
#include "tests/stats/scaling_helpers.h"

namespace streamnorm {
namespace {

struct Row {
  double offset = 0, offset_tail = 0, denominator = 1, scale = 1;
};

double StandardByHand(const ScalingRule& rule, double variance) {
  switch (rule.epsilon_mode) {
    case EpsilonMode::kNone:
      return std::sqrt(variance);
    case EpsilonMode::kInsideSqrt:
      return std::sqrt(variance + rule.epsilon);
    case EpsilonMode::kAddToStd:
      return std::sqrt(variance) + rule.epsilon;
    case EpsilonMode::kFloorStd:
      return std::max(std::sqrt(variance), rule.epsilon);
  }
  return 1;
}

// docs/numerics.md, "Forward rules", for one feature.
Row RowByHand(const ScalingRule& rule, const Moments& m, size_t j) {
  const double low = m.minimum()[j], high = m.maximum()[j];
  if (m.count(j) == 0) return {};
  if (rule.method != ScalingMethod::kStandard && low > high) return {};
  const double variance = m.variance(j);
  const bool constant = IsConstant(m.mean()[j], variance, m.count(j));
  Row row;
  switch (rule.method) {
    case ScalingMethod::kStandard:
      row.offset = m.mean()[j];
      row.offset_tail = m.mean_tail()[j];
      row.denominator = constant ? 1 : StandardByHand(rule, variance);
      break;
    case ScalingMethod::kMinMax:
      row.offset = low;
      row.denominator = constant ? 1 : high - low;
      break;
    case ScalingMethod::kMaxAbs:
      row.denominator = std::max(std::fabs(low), std::fabs(high));
      break;
  }
  if (!rule.center) row.offset = row.offset_tail = 0;
  if (!rule.scale || !std::isfinite(row.denominator) ||
      !std::isfinite(1 / row.denominator)) {
    row.denominator = 1;
  }
  row.scale = 1 / row.denominator;
  return row;
}

std::vector<ScalingRule> AllRules() {
  std::vector<ScalingRule> rules;
  for (const char* preset : {"standard", "batchnorm", "vecnormalize", "rsl_rl",
                             "keras", "lerobot", "minmax", "maxabs"}) {
    for (const bool center : {true, false}) {
      for (const bool scale : {true, false}) {
        rules.push_back(Rule(preset));
        rules.back().center = center;
        rules.back().scale = scale;
      }
    }
  }
  return rules;
}

class ScaleFeaturesTest : public DispatchTest {
 protected:
  // Ordinary statistics, and some of each kind that a rule looks at twice.
  Moments RandomMoments(size_t features, uint64_t rows) {
    Moments m(features);
    m.set_row_count(rows);
    const double n = static_cast<double>(std::max<uint64_t>(1, rows));
    for (size_t j = 0; j < features; ++j) {
      m.mean()[j] = normal_(random_) * 100;
      m.mean_tail()[j] = normal_(random_) * 1e-15;
      const double sd = std::exp2(normal_(random_) * 8);
      m.m2()[j] = sd * sd * n;
      m.m2_tail()[j] = m.m2()[j] * 1e-17;
      m.minimum()[j] = m.mean()[j] - 2 * sd;
      m.maximum()[j] = m.mean()[j] + 3 * sd;
      MakeOdd(j, n, &m);
    }
    return m;
  }

  void ExpectTablesByHand(const Moments& moments) {
    for (const ScalingRule& rule : AllRules()) {
      const ScalingTable got = TableOf(rule, moments);
      for (size_t j = 0; j < moments.features(); ++j) {
        SCOPED_TRACE(testing::Message()
                     << "feature " << j << " of " << moments.features());
        const Row want = RowByHand(rule, moments, j);
        ASSERT_TRUE(SameBits(got.offset[j], want.offset));
        ASSERT_TRUE(SameBits(got.offset_tail[j], want.offset_tail));
        ASSERT_TRUE(SameBits(got.denominator[j], want.denominator));
        ASSERT_TRUE(SameBits(got.scale[j], want.scale));
      }
    }
  }

  Random random_{13};
  std::normal_distribution<double> normal_{0, 1};

 private:
  void MakeOdd(size_t j, double n, Moments* m) {
    switch (random_() % 12) {
      case 0:  // never varied
        m->m2()[j] = m->m2_tail()[j] = 0;
        m->minimum()[j] = m->maximum()[j] = m->mean()[j];
        break;
      case 1: {  // just below or above the bound of a constant
        const double limit = std::min(n, 1024.0) * m->mean()[j] *
                             std::numeric_limits<double>::epsilon();
        m->m2()[j] = limit * limit * n * (random_() % 2 == 0 ? 0.999 : 1.001);
        m->m2_tail()[j] = 0;
        break;
      }
      case 2:  // extremes never came
        m->minimum()[j] = kInfinity;
        m->maximum()[j] = -kInfinity;
        break;
      case 3:  // too small for its inverse, or too large
        m->mean()[j] = 0;
        m->m2()[j] = random_() % 2 == 0 ? 5e-324 : 1.7e308;
        m->m2_tail()[j] = 0;
        m->minimum()[j] = random_() % 2 == 0 ? -1.7e308 : 0;
        m->maximum()[j] = random_() % 2 == 0 ? 1.7e308 : 5e-324;
        break;
      case 4:  // always 0
        m->mean()[j] = m->mean_tail()[j] = m->m2()[j] = m->m2_tail()[j] = 0;
        m->minimum()[j] = m->maximum()[j] = 0;
        break;
      default:
        break;
    }
  }
};

TEST_P(ScaleFeaturesTest, EveryRuleIsTheScalarLoopForEveryLength) {
  for (size_t features = 1; features <= 70; ++features) {
    for (const uint64_t rows : {1u, 3u, 1000u, 2000000000u}) {
      ASSERT_NO_FATAL_FAILURE(
          ExpectTablesByHand(RandomMoments(features, rows)));
    }
  }
}

TEST_P(ScaleFeaturesTest, CountsOfTheFeaturesAreTheirOwn) {
  for (size_t features = 1; features <= 40; ++features) {
    Moments moments = RandomMoments(features, 5000);
    std::vector<uint64_t> counts(features);
    for (uint64_t& count : counts) count = random_() % 3 * 700;
    moments.set_feature_counts(counts);
    ASSERT_NO_FATAL_FAILURE(ExpectTablesByHand(moments));
  }
}

TEST_P(ScaleFeaturesTest, WithoutRowsNothingIsChanged) {
  ExpectTablesByHand(RandomMoments(9, 0));
}

STREAMNORM_FOR_ALL_TARGETS(ScaleFeaturesTest);

}  // namespace
}  // namespace streamnorm
