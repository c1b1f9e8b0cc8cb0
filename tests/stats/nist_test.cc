// NIST's Statistical Reference Datasets, univariate: data with certified mean
// and standard deviation (n - 1). Correct digits are NIST's LRE, capped at 15.

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "stats/moments.h"
#include "tests/stats/oracle.h"

namespace streamnorm {
namespace {

struct DataSet {
  std::string name;
  std::vector<double> values;
  Quad mean;
  Quad deviation;  // n - 1
};

// A decimal number without exponent, to more digits than a double has.
Quad ParseDecimal(const std::string& text) {
  Quad value = 0;
  Quad unit = 1;
  bool fraction = false;
  for (const char c : text) {
    if (c == '.') {
      fraction = true;
    } else if (c != '-') {
      value = value * 10 + (c - '0');
      if (fraction) unit *= 10;
    }
  }
  return text[0] == '-' ? -value / unit : value / unit;
}

double Lre(Quad got, Quad want) {
  return std::min(15.0, CorrectDigits(got, want));
}

Quad SampleDeviation(Quad m2, uint64_t count) {
  return SquareRoot(m2 / (count - 1));
}

// The digits a perfect algorithm gets of the deviation: what is missing was
// lost when the decimal data were rounded to double.
double DeviationCeiling(const DataSet& set) {
  const ExactMoments exact = TwoPass(set.values);
  return Lre(SampleDeviation(exact.m2, exact.count), set.deviation);
}

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

// NumAcc1 to 4 are small enough to be made here.
DataSet NumAcc1() {
  return {"NumAcc1", {10000001, 10000003, 10000002}, 10000002, 1};
}

DataSet AlternatingNumAcc(const std::string& name, const std::string& integer) {
  DataSet set{name, {}, ParseDecimal(integer + ".2"), Quad{1} / 10};
  const double below = std::stod(integer + ".1");
  const double above = std::stod(integer + ".3");
  set.values.push_back(std::stod(integer + ".2"));
  for (int i = 0; i < 500; ++i) {
    set.values.insert(set.values.end(), {below, above});
  }
  return set;
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

// The sets of $STREAMNORM_SHARED_DIR/data/nist.
class NistFilesTest : public testing::Test {
 protected:
  void SetUp() override {
    const char* shared = std::getenv("STREAMNORM_SHARED_DIR");
    folder_ = std::string(shared == nullptr ? "" : shared) + "/data/nist/";
    std::ifstream file(folder_ + "strd_univariate.json");
    if (!file) {
      GTEST_SKIP() << "NO NIST DATA: want " << folder_
                   << "strd_univariate.json, named by STREAMNORM_SHARED_DIR";
    }
    certified_ = nlohmann::json::parse(file);
  }

  DataSet Load(const std::string& name) const {
    const nlohmann::json& c = certified_.at(name);
    DataSet set{name,
                {},
                ParseDecimal(c.at("exact_mean_40")),
                ParseDecimal(c.at("exact_sd_40"))};
    std::ifstream file(folder_ + name + ".txt");
    for (double value; file >> value;) set.values.push_back(value);
    EXPECT_EQ(set.values.size(), c.at("n")) << name;
    return set;
  }

  std::string folder_;
  nlohmann::json certified_;
};

TEST_F(NistFilesTest, EverySetReachesItsCeiling) {
  EXPECT_EQ(certified_.size(), 9u);
  for (const auto& [name, unused] : certified_.items()) {
    CheckEveryBatchSize(Load(name));
  }
}

TEST_F(NistFilesTest, GeneratedSetsAreTheFiles) {
  for (const DataSet& set : {NumAcc1(), AlternatingNumAcc("NumAcc2", "1"),
                             AlternatingNumAcc("NumAcc3", "1000000"),
                             AlternatingNumAcc("NumAcc4", "10000000")}) {
    EXPECT_EQ(set.values, Load(set.name).values) << set.name;
  }
}

// The 40 digits taken as the truth continue the 15 that NIST certifies.
TEST_F(NistFilesTest, ExactDigitsAgreeWithTheCertifiedOnes) {
  for (const auto& [name, c] : certified_.items()) {
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
