// The problem the project began with: two different rows of 32 large inputs
// that layer normalization makes look the same.

#include <gtest/gtest.h>

#include <cmath>
#include <cstdio>
#include <random>
#include <vector>

#include "client/cli/demo_rows.h"
#include "client/streamnorm_client.h"
#include "tests/testing/server_under_test.h"
#include "tests/testing/temp_dir.h"

namespace streamnorm {
namespace {

using Row = std::vector<double>;

double MeanDistance(const Row& a, const Row& b) {
  double sum = 0;
  for (size_t j = 0; j < a.size(); ++j) sum += std::fabs(a[j] - b[j]);
  return sum / static_cast<double>(a.size());
}

Row LayerNorm(const Row& row) {
  double mean = 0, variance = 0;
  for (const double x : row) mean += x / static_cast<double>(row.size());
  for (const double x : row) {
    variance += (x - mean) * (x - mean) / static_cast<double>(row.size());
  }
  Row out;
  for (const double x : row) {
    out.push_back((x - mean) / std::sqrt(variance + 1e-5));
  }
  return out;
}

TEST(SeedRowsTest, RunningStatisticsTellThemApartWhereLayerNormDoesNot) {
  const Row first(kDemoSeedRows[0].begin(), kDemoSeedRows[0].end());
  const Row second(kDemoSeedRows[1].begin(), kDemoSeedRows[1].end());
  const double layer_norm = MeanDistance(LayerNorm(first), LayerNorm(second));
  EXPECT_NEAR(layer_norm, 0.0012, 0.0002);

  TempDir dir;
  ServerUnderTest server({"--listen", "unix:" + (dir / "socket"),
                          "--store=memory", "--log_level=warning"});
  auto client = *Client::Connect(server.address());
  ASSERT_TRUE(client->GetOrCreateNormalizer("seed", kDemoSeedFeatures).ok());
  auto session = *client->OpenSession("test");
  // A stream of such rows: the direction of the two, a common scale that
  // varies by 25 %, and 1 % of noise on each input.
  std::mt19937_64 random(1);
  std::lognormal_distribution<double> scale(0, 0.25);
  std::normal_distribution<double> noise(1, 0.01);
  for (int i = 0; i < 2000; ++i) {
    Row batch;
    for (int r = 0; r < 2; ++r) {
      const double s = scale(random);
      for (size_t j = 0; j < kDemoSeedFeatures; ++j) {
        batch.push_back(s * noise(random) * (first[j] + second[j]) / 2);
      }
    }
    ASSERT_TRUE(session
                    ->Normalize("seed",
                                RowsOf(std::span<const double>(batch),
                                       kDemoSeedFeatures),
                                v1::UPDATE_ONLY)
                    .ok());
  }
  Row both = first;
  both.insert(both.end(), second.begin(), second.end());
  const auto answer = client->NormalizeOnly(
      "seed", RowsOf(std::span<const double>(both), kDemoSeedFeatures));
  ASSERT_TRUE(answer.ok()) << answer.status();
  const auto* z =
      reinterpret_cast<const double*>(answer->output().data().data());
  const double ours =
      MeanDistance(Row(z, z + kDemoSeedFeatures),
                   Row(z + kDemoSeedFeatures, z + 2 * kDemoSeedFeatures));
  EXPECT_GE(ours, 0.5);
  std::printf(
      "mean distance of the two rows per feature: layer normalization %.4f, "
      "running statistics %.2f\n",
      layer_norm, ours);
}

}  // namespace
}  // namespace streamnorm
