#include "client/cli/demo_rows.h"

#include <cassert>
#include <cmath>
#include <random>
#include <utility>

#include "client/cli/rows_source.h"

namespace streamnorm {

const std::array<std::array<double, kDemoSeedFeatures>, 2> kDemoSeedRows = {{
    {1477.7378,  2719.646,   1040.3798,  1215.5387, 3542.7241, 266.893,
     5944.856,   -2105.2986, 4023.8545,  -932.9826, 1617.7998, 4028.0327,
     -2225.9929, -1581.6738, -3424.425,  -1329.661, 5483.1172, 5975.4663,
     4483.0156,  -373.3383,  482.225,    -557.7921, 1385.3356, 196.1219,
     -375.9175,  1787.6195,  -3516.9705, -687.9647, 2663.0601, -576.0363,
     86.2473,    5765.6387},
    {1744.0067,  3214.6289,  1228.2401,  1436.6631,  4191.439,  318.6791,
     7028.2715,  -2485.291,  4753.7217,  -1105.6101, 1920.9307, 4758.9941,
     -2634.7754, -1861.2491, -4049.8877, -1578.7089, 6478.585,  7065.4326,
     5293.2305,  -442.4786,  566.5157,   -658.579,   1643.0204, 237.8128,
     -450.6484,  2104.6516,  -4151.9263, -815.9917,  3144.3291, -675.0918,
     94.2207,    6817.9795},
}};

namespace {

constexpr double kScaleSd = 0.25;  // of the logarithm of a row's scale
constexpr double kNoiseSd = 0.01;  // of each feature, relative
constexpr unsigned kRandomSeed = 20240229;

// What torch.nn.BatchNorm1d adds to the variance.
constexpr double kBatchNormEpsilon = 1e-5;

// z = (x - mean) / sqrt(variance + epsilon)
struct Standardizer {
  double mean = 0;
  double denominator = 1;

  Standardizer(std::span<const double> values, double epsilon) {
    const auto n = static_cast<double>(values.size());
    for (const double value : values) mean += value / n;
    double variance = 0;
    for (const double value : values) {
      variance += (value - mean) * (value - mean) / n;
    }
    denominator = std::sqrt(variance + epsilon);
  }

  double operator()(double value) const { return (value - mean) / denominator; }
};

}  // namespace

DemoRows MakeSeedStream(size_t rows) {
  assert(rows >= 2 && rows % 2 == 0);
  DemoRows stream{"seed", {}, kDemoSeedFeatures, {}};
  std::mt19937_64 random(kRandomSeed);
  std::normal_distribution<double> normal;
  for (size_t i = 0; i < rows; ++i) {
    const size_t middle = rows / 4 * 2;
    if (i == middle || i == middle + 1) {
      const auto& seed = kDemoSeedRows[i - middle];
      stream.values.insert(stream.values.end(), seed.begin(), seed.end());
      continue;
    }
    const double scale = std::exp(kScaleSd * normal(random));
    for (size_t j = 0; j < kDemoSeedFeatures; ++j) {
      const double base = (kDemoSeedRows[0][j] + kDemoSeedRows[1][j]) / 2;
      stream.values.push_back(scale * base * (1 + kNoiseSd * normal(random)));
    }
  }
  return stream;
}

absl::StatusOr<DemoRows> ReadDemoCsv(const std::string& path, size_t passes) {
  auto bytes = OpenFile(path, /*stop_fd=*/-1);
  if (!bytes.ok()) return bytes.status();
  auto source = OpenRows(*std::move(bytes), {});
  if (!source.ok()) return source.status();
  DemoRows rows{
      "breast-cancer", (*source)->feature_names(), (*source)->features(), {}};
  if (auto s = (*source)->Bind(rows.features, rows.names); !s.ok()) return s;
  constexpr size_t kMostRows = size_t{1} << 20;
  RowBatch batch;
  if (auto s = (*source)->Read(kMostRows, DataType::kFp64, &batch); !s.ok()) {
    return s;
  }
  std::vector<double> once(batch.rows * batch.features);
  LoadAsDouble(batch.view(), 0, once.size(), once.data());
  for (size_t pass = 0; pass < passes; ++pass) {
    rows.values.insert(rows.values.end(), once.begin(), once.end());
  }
  return rows;
}

TwoPass ComputeTwoPass(const DemoRows& rows) {
  TwoPass result;
  result.mean.resize(rows.features);
  result.variance.resize(rows.features);
  const auto n = static_cast<long double>(rows.rows());
  for (size_t j = 0; j < rows.features; ++j) {
    long double sum = 0;
    for (size_t i = 0; i < rows.rows(); ++i) sum += rows.row(i)[j];
    const long double mean = sum / n;
    long double squares = 0;
    for (size_t i = 0; i < rows.rows(); ++i) {
      const long double deviation = rows.row(i)[j] - mean;
      squares += deviation * deviation;
    }
    result.mean[j] = mean;
    result.variance[j] = squares / n;
  }
  return result;
}

RowPair LayerNormalize(const RowPair& rows) {
  RowPair result = rows;
  for (auto& row : result) {
    const Standardizer standardize(row, 0);
    for (double& value : row) value = standardize(value);
  }
  return result;
}

RowPair BatchNormalize(const RowPair& rows) {
  RowPair result = rows;
  for (size_t j = 0; j < rows[0].size(); ++j) {
    const std::array<double, 2> batch = {rows[0][j], rows[1][j]};
    const Standardizer standardize(batch, kBatchNormEpsilon);
    for (size_t i = 0; i < 2; ++i) result[i][j] = standardize(batch[i]);
  }
  return result;
}

double MeanDistance(const RowPair& rows) {
  double sum = 0;
  for (size_t j = 0; j < rows[0].size(); ++j) {
    sum += std::fabs(rows[0][j] - rows[1][j]);
  }
  return sum / static_cast<double>(rows[0].size());
}

}  // namespace streamnorm
