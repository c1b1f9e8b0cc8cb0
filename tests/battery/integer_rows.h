#ifndef STREAMNORM_TESTS_BATTERY_INTEGER_ROWS_H_
#define STREAMNORM_TESTS_BATTERY_INTEGER_ROWS_H_

#include <array>
#include <cstddef>
#include <cstdint>
#include <map>
#include <random>
#include <string>
#include <vector>

#include "tests/stats/oracle.h"

namespace streamnorm {

// Rows of integers and their sums, which are exact in any order: what the
// service must have counted, known without its arithmetic.

inline constexpr size_t kIntegerFeatures = 3;

struct IntegerSums {
  Int128 rows = 0;
  std::array<Int128, kIntegerFeatures> sum{}, squares{};

  void Add(const std::vector<double>& values) {
    for (size_t i = 0; i < values.size(); ++i) {
      const auto value = static_cast<Int128>(values[i]);
      sum[i % kIntegerFeatures] += value;
      squares[i % kIntegerFeatures] += value * value;
    }
    rows += static_cast<Int128>(values.size() / kIntegerFeatures);
  }

  void Add(const IntegerSums& other) {
    rows += other.rows;
    for (size_t j = 0; j < kIntegerFeatures; ++j) {
      sum[j] += other.sum[j];
      squares[j] += other.squares[j];
    }
  }

  Quad Mean(size_t j) const { return Quad(sum[j]) / Quad(rows); }
  Quad Variance(size_t j) const {
    return Quad(squares[j] * rows - sum[j] * sum[j]) / Quad(rows * rows);
  }
};

using SumsByName = std::map<std::string, IntegerSums>;

inline std::vector<double> MakeIntegerRows(size_t rows,
                                           std::mt19937_64* random) {
  std::vector<double> values;
  for (size_t i = 0; i < rows * kIntegerFeatures; ++i) {
    values.push_back(static_cast<double>((*random)() % 2'000'001) - 1e6);
  }
  return values;
}

}  // namespace streamnorm

#endif  // STREAMNORM_TESTS_BATTERY_INTEGER_ROWS_H_
