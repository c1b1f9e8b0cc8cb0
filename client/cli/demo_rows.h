#ifndef STREAMNORM_CLIENT_CLI_DEMO_ROWS_H_
#define STREAMNORM_CLIENT_CLI_DEMO_ROWS_H_

#include <array>
#include <cstddef>
#include <span>
#include <string>
#include <vector>

#include "absl/status/statusor.h"

namespace streamnorm {

// Rows of one normalizer.
struct DemoRows {
  std::string id;
  std::vector<std::string> names;  // of the features; may be empty
  size_t features = 0;
  std::vector<double> values;  // [rows, features]

  size_t rows() const { return values.size() / features; }
  std::span<const double> row(size_t i) const {
    return std::span(values).subspan(i * features, features);
  }
};

// Two rows of the 32 inputs of one layer: the same direction, lengths that
// differ by a fifth. Layer normalization makes nearly the same of both.
inline constexpr size_t kDemoSeedFeatures = 32;
extern const std::array<std::array<double, kDemoSeedFeatures>, 2> kDemoSeedRows;

// `rows` rows like the seed rows: their direction with 1 % noise per feature
// and a common scale, log-normal with standard deviation 0.25. The seed rows
// themselves are in the middle, as one pair. The same on every call.
// REQUIRES: rows is even and at least 2.
DemoRows MakeSeedStream(size_t rows);

// The rows of a CSV file with a header, `passes` times over.
absl::StatusOr<DemoRows> ReadDemoCsv(const std::string& path, size_t passes);

// Mean and population variance per feature in two passes of long double: what
// the service's numbers are held against.
struct TwoPass {
  std::vector<long double> mean;
  std::vector<long double> variance;
};
TwoPass ComputeTwoPass(const DemoRows& rows);

// What other normalizations make of a pair of rows; no learned parameters.
using RowPair = std::array<std::vector<double>, 2>;
RowPair LayerNormalize(const RowPair& rows);
RowPair BatchNormalize(const RowPair& rows);  // epsilon 1e-5 in the root

// Mean over the features of |a - b|.
double MeanDistance(const RowPair& rows);

}  // namespace streamnorm

#endif  // STREAMNORM_CLIENT_CLI_DEMO_ROWS_H_
