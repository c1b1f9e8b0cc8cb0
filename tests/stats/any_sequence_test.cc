#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <random>
#include <vector>

#include "stats/moments.h"
#include "tests/stats/oracle.h"

namespace streamnorm {
namespace {

// What was counted, and the moments of it.
struct Shard {
  Moments moments;
  std::vector<std::vector<double>> columns;

  explicit Shard(size_t features) : moments(features), columns(features) {}

  void Fold(const TensorView& batch) {
    BatchExtremes extremes;
    ASSERT_EQ(streamnorm::Fold(batch, kSkipAll, &moments, &extremes).kind,
              ValueProblem::kNone);
    for (size_t j = 0; j < batch.features; ++j) {
      const std::vector<double> more = ColumnOf(batch, j);
      columns[j].insert(columns[j].end(), more.begin(), more.end());
    }
  }

  void Merge(const Shard& other) {
    moments.Merge(other.moments);
    for (size_t j = 0; j < columns.size(); ++j) {
      columns[j].insert(columns[j].end(), other.columns[j].begin(),
                        other.columns[j].end());
    }
  }

  void Check() const {
    for (size_t j = 0; j < columns.size(); ++j) {
      const auto count = [&](auto is) {
        return static_cast<uint64_t>(
            std::count_if(columns[j].begin(), columns[j].end(), is));
      };
      ASSERT_EQ(moments.row_count(), columns[j].size());
      ASSERT_EQ(moments.missing_count(j),
                count([](double x) { return std::isnan(x); }));
      ASSERT_EQ(moments.infinite_count(j),
                count([](double x) { return std::isinf(x); }));
      ASSERT_NO_FATAL_FAILURE(
          ExpectWithinBound(moments, j, TwoPass(columns[j])));
    }
  }
};

// A stream of batches of any size, type, offset, spread, drift and shape of
// distribution, with or without values that are not numbers.
class AnySequence {
 public:
  static constexpr size_t kFeatures = 5;

  AnySequence(uint64_t seed, bool nonfinite)
      : random_(seed), nonfinite_(nonfinite) {
    std::uniform_real_distribution<double> exponent(-6, 9);
    for (Feature& f : features_) {
      f.offset = random_() % 4 == 0 ? 0 : std::pow(10, exponent(random_));
      f.spread = random_() % 8 == 0 ? 0 : std::pow(10, exponent(random_) - 3);
      f.drift = random_() % 2 == 0
                    ? 0
                    : f.spread * static_cast<double>(random_() % 10);
      f.heavy_tail = random_() % 4 == 0;
    }
  }

  // Folds and merges among four shards; in the end all are merged.
  void Run(int steps) {
    std::vector<Shard> shards(4, Shard(kFeatures));
    for (int i = 0; i < steps; ++i) {
      const size_t to = random_() % shards.size();
      const size_t from = random_() % shards.size();
      if (random_() % 8 != 0) {
        ASSERT_NO_FATAL_FAILURE(FoldNext(&shards[to]));
      } else if (to != from) {
        shards[to].Merge(shards[from]);
        shards[from] = Shard(kFeatures);
      }
      if (random_() % 32 == 0) {
        ASSERT_NO_FATAL_FAILURE(shards[to].Check());
      }
    }
    for (size_t i = 1; i < shards.size(); ++i) shards[0].Merge(shards[i]);
    shards[0].Check();
  }

 private:
  struct Feature {
    double offset, spread, drift;
    bool heavy_tail;
  };

  double Next(const Feature& f) {
    if (nonfinite_ && random_() % 20 == 0) {
      return random_() % 2 == 0 ? kNan : kInfinity;
    }
    double deviate = normal_(random_);
    if (f.heavy_tail) deviate /= std::fabs(normal_(random_)) + 1e-4;
    return f.offset + f.drift * batch_ + f.spread * deviate;
  }

  void FoldNext(Shard* shard) {
    constexpr size_t kMostRows[] = {1, 2, 4, 30, 30, 1100};
    const size_t rows =
        UniformSize(random_, 1, kMostRows[random_() % std::size(kMostRows)]);
    std::vector<double> values;
    for (size_t i = 0; i < rows * kFeatures; ++i) {
      values.push_back(Next(features_[i % kFeatures]));
    }
    ++batch_;
    constexpr DataType kTypes[] = {DataType::kFp64, DataType::kFp64,
                                   DataType::kFp32, DataType::kBf16};
    shard->Fold(
        StoredRows(values, kFeatures, kTypes[random_() % std::size(kTypes)])
            .view());
  }

  Random random_;
  bool nonfinite_;
  Feature features_[kFeatures];
  std::normal_distribution<double> normal_;
  double batch_ = 0;
};

TEST(AnySequenceTest, OfBatchesAndMergesStaysWithinTheBound) {
  for (int seed = 0; seed < Repetitions(150); ++seed) {
    SCOPED_TRACE(seed);
    AnySequence sequence(static_cast<uint64_t>(seed), false);
    ASSERT_NO_FATAL_FAILURE(sequence.Run(40));
  }
}

TEST(AnySequenceTest, WithValuesThatAreSkippedStaysWithinTheBound) {
  for (int seed = 0; seed < Repetitions(150); ++seed) {
    SCOPED_TRACE(seed);
    AnySequence sequence(static_cast<uint64_t>(1000 + seed), true);
    ASSERT_NO_FATAL_FAILURE(sequence.Run(40));
  }
}

}  // namespace
}  // namespace streamnorm
