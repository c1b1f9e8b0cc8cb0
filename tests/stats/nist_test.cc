// NIST's Statistical Reference Datasets, univariate: data with certified mean
// and standard deviation (n - 1). Correct digits are NIST's LRE, capped at 15.

#include <gtest/gtest.h>

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "stats/moments.h"
#include "tests/stats/nist_data.h"
#include "tests/stats/oracle.h"

namespace streamnorm {
namespace {

// Checks the set in batches of every size from 1 to 64 rows, and at once.
void CheckEveryBatchSize(const DataSet& set) {
  constexpr double kSlack = 0.05;  // digits; one rounding of an LRE near 15
  const double ceiling = DeviationCeiling(set);
  double least_mean = 15, least_deviation = 15;
  for (size_t batch = 0; batch <= 64; ++batch) {
    const Moments m = FoldAll(ViewOf(set.values, 1), batch);
    ASSERT_EQ(m.row_count(), set.values.size());
    const double deviation =
        std::sqrt(m.m2()[0] / static_cast<double>(m.count(0) - 1));
    const double mean_lre = Lre(m.mean()[0], set.mean);
    const double deviation_lre = Lre(deviation, set.deviation);
    EXPECT_GE(mean_lre, 15) << set.name << " in batches of " << batch;
    EXPECT_GE(deviation_lre, ceiling - kSlack)
        << set.name << " in batches of " << batch;
    least_mean = std::min(least_mean, mean_lre);
    least_deviation = std::min(least_deviation, deviation_lre);
  }
  std::printf("%-9s %4zu values: mean %.2f, deviation %.2f of %.2f digits\n",
              set.name.c_str(), set.values.size(), least_mean, least_deviation,
              ceiling);
}

TEST(NumAccTest, One) { CheckEveryBatchSize(NumAcc1()); }
TEST(NumAccTest, Two) {
  CheckEveryBatchSize(AlternatingNumAcc("NumAcc2", "1"));
}
TEST(NumAccTest, Three) {
  CheckEveryBatchSize(AlternatingNumAcc("NumAcc3", "1000000"));
}
TEST(NumAccTest, Four) {
  CheckEveryBatchSize(AlternatingNumAcc("NumAcc4", "10000000"));
}

class NistFilesTest : public testing::Test {
 protected:
  void SetUp() override {
    if (!nist_.available()) GTEST_SKIP() << nist_.why_not();
  }

  const NistFiles nist_;
};

TEST_F(NistFilesTest, EverySetReachesItsCeiling) {
  EXPECT_EQ(nist_.certified().size(), 9u);
  for (const auto& [name, unused] : nist_.certified().items()) {
    CheckEveryBatchSize(nist_.Load(name));
  }
}

TEST_F(NistFilesTest, GeneratedSetsAreTheFiles) {
  for (const DataSet& set : {NumAcc1(), AlternatingNumAcc("NumAcc2", "1"),
                             AlternatingNumAcc("NumAcc3", "1000000"),
                             AlternatingNumAcc("NumAcc4", "10000000")}) {
    EXPECT_EQ(set.values, nist_.Load(set.name).values) << set.name;
  }
}

// The 40 digits taken as the truth continue the 15 that NIST certifies.
TEST_F(NistFilesTest, ExactDigitsAgreeWithTheCertifiedOnes) {
  for (const auto& [name, c] : nist_.certified().items()) {
    EXPECT_GE(CorrectDigits(ParseDecimal(c.at("certified_mean")),
                            ParseDecimal(c.at("exact_mean_40"))),
              14)
        << name;
    EXPECT_GE(CorrectDigits(ParseDecimal(c.at("certified_sd_n_minus_1")),
                            ParseDecimal(c.at("exact_sd_40"))),
              14)
        << name;
  }
}

}  // namespace
}  // namespace streamnorm
