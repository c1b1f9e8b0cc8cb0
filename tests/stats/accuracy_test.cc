// The measured figures of docs/numerics.md. Run it with -V to see them.

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <random>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "stats/moments.h"
#include "tests/stats/oracle.h"

namespace streamnorm {
namespace {

constexpr size_t kValues = kSanitized ? 100000 : 4000000;
constexpr int kTrees = kSanitized ? 20 : 200;

// Correct digits of the standard deviation, against two passes in 113 bits.
double DeviationDigits(const Moments& m, const ExactMoments& exact) {
  return CorrectDigits(std::sqrt(m.variance(0)), exact.deviation());
}

// How far the mean is off, in standard deviations.
double MeanError(const Moments& m, const ExactMoments& exact) {
  return static_cast<double>(Abs(MeanOf(m, 0) - exact.mean) /
                             exact.deviation());
}

// The worst that was seen.
struct Worst {
  double digits = 40;
  double mean_error = 0;

  void See(const Moments& m, const ExactMoments& exact) {
    ASSERT_EQ(m.row_count(), exact.count);
    digits = std::min(digits, DeviationDigits(m, exact));
    mean_error = std::max(mean_error, MeanError(m, exact));
  }

  void Report(double offset, const char* what) const {
    std::printf(
        "offset %.0e, %-22s deviation to %.1f digits, mean to %.0e "
        "deviations\n",
        offset, what, digits, mean_error);
    // 13 are promised; without one of the tails there would not be 15.
    EXPECT_GE(digits, 15) << what;
    EXPECT_LE(mean_error, 1e-15) << what;
  }
};

// Many values around one offset, their standard deviation about 1.
class AccuracyTest : public testing::TestWithParam<double> {
 protected:
  AccuracyTest()
      : values_(NormalValues(random_, kValues, GetParam(), 1)),
        view_(ViewOf(values_, 1)),
        exact_(TwoPass(values_)) {}

  // A size between 1 and `most`, each order of magnitude as likely.
  size_t RandomSize(size_t most) {
    std::uniform_real_distribution<double> exponent(
        0, std::log2(static_cast<double>(most)));
    return static_cast<size_t>(std::exp2(exponent(random_)));
  }

  // One pass in batches whose sizes `next_size` gives.
  template <typename NextSize>
  Moments InBatches(NextSize next_size) {
    Moments m(1);
    BatchExtremes extremes;
    for (size_t r = 0; r < kValues;) {
      const size_t rows = std::min<size_t>(next_size(), kValues - r);
      Fold(Rows(view_, r, rows), {}, &m, &extremes);
      r += rows;
    }
    return m;
  }

  // Splits the values into thousands of leaves of random sizes and merges two
  // at random, either into the other, until one is left.
  Moments RandomTree() {
    std::vector<Moments> nodes;
    BatchExtremes extremes;
    for (size_t r = 0; r < kValues;) {
      const size_t rows = std::min(RandomSize(8192), kValues - r);
      Fold(Rows(view_, r, rows), {}, &nodes.emplace_back(1), &extremes);
      r += rows;
    }
    while (nodes.size() > 1) {
      std::swap(nodes[UniformSize(random_, 0, nodes.size() - 1)], nodes.back());
      const Moments last = std::move(nodes.back());
      nodes.pop_back();
      nodes[UniformSize(random_, 0, nodes.size() - 1)].Merge(last);
    }
    return nodes[0];
  }

  Random random_{20240607};
  const std::vector<double> values_;
  const TensorView view_;
  const ExactMoments exact_;
};

TEST_P(AccuracyTest, OnePassGivesAllDigits) {
  for (const size_t rows : {kValues, size_t{1}, size_t{2}, size_t{4}}) {
    Worst worst;
    worst.See(InBatches([=] { return rows; }), exact_);
    const std::string what = rows == kValues
                                 ? "one batch:"
                                 : "batches of " + std::to_string(rows) + ":";
    worst.Report(GetParam(), what.c_str());
  }
  Worst worst;
  for (int i = 0; i < 5; ++i) {
    worst.See(InBatches([this] { return RandomSize(10000); }), exact_);
  }
  worst.Report(GetParam(), "random batches:");
}

TEST_P(AccuracyTest, EveryRandomMergeTreeGivesAllDigits) {
  Worst worst;
  for (int i = 0; i < kTrees; ++i) worst.See(RandomTree(), exact_);
  const std::string what = std::to_string(kTrees) + " merge trees:";
  worst.Report(GetParam(), what.c_str());
}

INSTANTIATE_TEST_SUITE_P(Offsets, AccuracyTest,
                         testing::Values(0.0, 1e3, 1e6, 1e9),
                         [](const auto& test) {
                           return std::to_string(
                               static_cast<int64_t>(test.param));
                         });

// ----------------------------------------------------------- long streams

// Multiples of a unit, so that integers give their moments exactly.
struct ExactSums {
  int64_t count = 0;
  Int128 sum = 0, squares = 0;

  void Add(int64_t k) {
    ++count;
    sum += k;
    squares += Int128{k} * k;
  }

  // In units.
  ExactMoments Moments() const {
    ExactMoments exact;
    exact.count = static_cast<uint64_t>(count);
    exact.mean = static_cast<Quad>(sum) / count;
    exact.m2 = static_cast<Quad>(squares * count - sum * sum) / count;
    return exact;
  }
};

// Millions of batches of two rows: m2 as one double would collect a rounding
// error each. docs/decisions/0001-m2-as-double-double.md has the figures.
struct LongStream {
  const char* name;
  // The next multiple of the unit.
  int64_t (*next)(Random& random, int64_t i);
};

// One row below and one above, equally far: each batch grows m2 by the same
// amount, which rounds the same way for millions of times.
int64_t Alternating(Random&, int64_t i) {
  return i % 2 == 0 ? -1234567 : 1234567;
}
// Normal deviates to 20 bits after the point.
int64_t Normal(Random& random, int64_t) {
  static std::normal_distribution<double> normal(0, 0x1p20);
  return std::llround(normal(random));
}

class LongStreamTest : public testing::TestWithParam<LongStream> {};

TEST_P(LongStreamTest, TheTailOfM2KeepsFifteenDigits) {
  constexpr int64_t kBatches = kSanitized ? 200000 : 20000000;
  constexpr double kOffset = 1000;
  constexpr double kUnit = 0x1p-20;
  Random random(1);
  ExactSums sums;
  Moments m(1);
  double plain_m2 = 0;
  BatchExtremes extremes;
  for (int64_t batch = 0; batch < kBatches; ++batch) {
    double rows[2];
    for (int64_t i = 0; i < 2; ++i) {
      const int64_t k = GetParam().next(random, 2 * batch + i);
      sums.Add(k);
      rows[i] = kOffset + kUnit * static_cast<double>(k);
    }
    const TensorView view = ViewOf(std::span<const double>(rows), 1);
    const double m2 = m.m2()[0], m2_tail = m.m2_tail()[0];
    Fold(view, {}, &m, &extremes);
    plain_m2 += (m.m2()[0] - m2) + (m.m2_tail()[0] - m2_tail);
  }
  const ExactMoments exact = sums.Moments();
  const auto digits = [&](double m2) {
    const double n = static_cast<double>(exact.count);
    return CorrectDigits(std::sqrt(m2 / n), exact.deviation() * Quad{kUnit});
  };
  std::printf(
      "%lld batches of 2, %s: deviation to %.1f digits with the tail of m2, "
      "to %.1f without\n",
      static_cast<long long>(kBatches), GetParam().name, digits(m.m2()[0]),
      digits(plain_m2));
  EXPECT_EQ(m.row_count(), exact.count);
  EXPECT_GE(digits(m.m2()[0]), 15);
  EXPECT_LT(digits(plain_m2), digits(m.m2()[0]));
}

INSTANTIATE_TEST_SUITE_P(Streams, LongStreamTest,
                         testing::Values(LongStream{"Alternating", Alternating},
                                         LongStream{"Normal", Normal}),
                         [](const auto& test) { return test.param.name; });

}  // namespace
}  // namespace streamnorm
