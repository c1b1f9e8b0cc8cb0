#ifndef STREAMNORM_TESTS_STATS_NIST_DATA_H_
#define STREAMNORM_TESTS_STATS_NIST_DATA_H_

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <fstream>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "tests/stats/oracle.h"

// NIST's Statistical Reference Datasets, univariate: data with certified mean
// and standard deviation (n - 1). Correct digits are NIST's LRE, capped at 15.

namespace streamnorm {

struct DataSet {
  std::string name;
  std::vector<double> values;
  Quad mean;
  Quad deviation;  // n - 1
};

// A decimal number without exponent, to more digits than a double has.
inline Quad ParseDecimal(const std::string& text) {
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

inline double Lre(Quad got, Quad want) {
  return std::min(15.0, CorrectDigits(got, want));
}

inline Quad SampleDeviation(Quad m2, uint64_t count) {
  return SquareRoot(m2 / (count - 1));
}

// The digits a perfect algorithm gets of the deviation: what is missing was
// lost when the decimal data were rounded to double.
inline double DeviationCeiling(const DataSet& set) {
  const ExactMoments exact = TwoPass(set.values);
  return Lre(SampleDeviation(exact.m2, exact.count), set.deviation);
}

// NumAcc1 to 4 are small enough to be made here.
inline DataSet NumAcc1() {
  return {"NumAcc1", {10000001, 10000003, 10000002}, 10000002, 1};
}

inline DataSet AlternatingNumAcc(const std::string& name,
                                 const std::string& integer) {
  DataSet set{name, {}, ParseDecimal(integer + ".2"), Quad{1} / 10};
  const double below = std::stod(integer + ".1");
  const double above = std::stod(integer + ".3");
  set.values.push_back(std::stod(integer + ".2"));
  for (int i = 0; i < 500; ++i) {
    set.values.insert(set.values.end(), {below, above});
  }
  return set;
}

// The sets of $STREAMNORM_SHARED_DIR/data/nist.
class NistFiles {
 public:
  NistFiles() {
    const char* shared = std::getenv("STREAMNORM_SHARED_DIR");
    folder_ = std::string(shared == nullptr ? "" : shared) + "/data/nist/";
    std::ifstream file(folder_ + "strd_univariate.json");
    if (file) certified_ = nlohmann::json::parse(file);
  }

  bool available() const { return !certified_.is_null(); }
  std::string why_not() const {
    return "NO NIST DATA: want " + folder_ +
           "strd_univariate.json, named by STREAMNORM_SHARED_DIR";
  }
  const nlohmann::json& certified() const { return certified_; }

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

 private:
  std::string folder_;
  nlohmann::json certified_;
};

}  // namespace streamnorm

#endif  // STREAMNORM_TESTS_STATS_NIST_DATA_H_
