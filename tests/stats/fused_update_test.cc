// What is done in one go is the same, to the last bit, as in steps.

#include "stats/fused_update.h"

#include <gtest/gtest.h>

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <limits>
#include <string>
#include <vector>

#include "stats/kernels.h"
#include "stats/moments.h"
#include "stats/scaling.h"
#include "tests/stats/dispatch.h"
#include "tests/stats/oracle.h"
#include "tests/stats/scaling_helpers.h"

namespace streamnorm {
namespace {

void ExpectSameColumn(std::span<const double> got,
                      std::span<const double> want) {
  ASSERT_EQ(got.size(), want.size());
  for (size_t j = 0; j < got.size(); ++j) {
    ASSERT_TRUE(SameBits(got[j], want[j]))
        << "feature " << j << ": " << got[j] << ", want " << want[j];
  }
}

void ExpectSameMoments(const Moments& got, const Moments& want) {
  ASSERT_EQ(got.row_count(), want.row_count());
  ASSERT_EQ(got.feature_counts(), want.feature_counts());
  ExpectSameColumn(got.mean(), want.mean());
  ExpectSameColumn(got.mean_tail(), want.mean_tail());
  ExpectSameColumn(got.m2(), want.m2());
  ExpectSameColumn(got.m2_tail(), want.m2_tail());
  ExpectSameColumn(got.minimum(), want.minimum());
  ExpectSameColumn(got.maximum(), want.maximum());
}

// Statistics and output after one batch.
struct Updated {
  bool done = false;
  Moments after;
  std::vector<uint8_t> output;
  uint64_t clipped = 0;
};

// Unaligned, so that nothing relies on it.
uint8_t* OutputOf(Updated* updated, const TensorView& batch) {
  updated->output.assign(batch.size_bytes() + 1, 0xee);
  return updated->output.data() + 1;
}

Updated InOneGo(const TensorView& batch, const ScalingRule& rule, Basis basis,
                const Moments& before, size_t alignment = 1) {
  Updated u;
  uint8_t* output = OutputOf(&u, batch);
  std::vector<uint8_t> aligned(batch.size_bytes() + alignment);
  uint8_t* used = aligned.data() + alignment;
  u.done =
      FoldAndNormalize(batch, rule, basis, before, &u.after, used, &u.clipped);
  std::memcpy(output, used, batch.size_bytes());
  return u;
}

Updated InSteps(const TensorView& batch, const ScalingRule& rule, Basis basis,
                const Moments& before) {
  Updated u;
  uint8_t* output = OutputOf(&u, batch);
  BatchExtremes extremes;
  const auto folded = FoldOnto(batch, {}, before, &u.after, &extremes);
  const ScalingTable table =
      TableOf(rule, basis == Basis::kAfter ? u.after : before);
  u.done = folded.kind == ValueProblem::kNone &&
           !FindOutputOverflow(extremes, table, batch.type);
  if (u.done) u.clipped = Apply(batch, table, {}, output).clipped_values;
  return u;
}

void ExpectSame(const Updated& got, const Updated& want) {
  ASSERT_TRUE(got.done);
  ASSERT_TRUE(want.done);
  ExpectSameMoments(got.after, want.after);
  ASSERT_EQ(got.output, want.output);
  ASSERT_EQ(got.clipped, want.clipped);
}

class FusedUpdateTest : public DispatchTest {
 protected:
  // Rows around 3, with zeros of both signs and repeated values among them.
  std::vector<double> Values(size_t count) {
    std::vector<double> values = NormalValues(random_, count, 3, 2);
    for (double& x : values) {
      if (random_() % 16 == 0) x = random_() % 2 == 0 ? 0.0 : -0.0;
    }
    return values;
  }

  Moments Past(size_t features, size_t rows) {
    return FoldAll(ViewOf(Values(rows * features), features));
  }

  Random random_{3};
};

TEST_P(FusedUpdateTest, IsTheSameAsTheStepsForEveryShapeAndType) {
  for (size_t features = 1; features <= 70; ++features) {
    const Moments before = Past(features, 20);
    for (size_t rows = 1; rows <= 20; ++rows) {
      for (const DataType type : kTypes) {
        SCOPED_TRACE(testing::Message()
                     << rows << "x" << features << " " << DataTypeName(type));
        const StoredRows x(Values(rows * features), features, type);
        const Basis basis = rows % 2 == 0 ? Basis::kAfter : Basis::kBefore;
        if (x.view().size_bytes() > kFusedBytes) continue;
        ASSERT_NO_FATAL_FAILURE(
            ExpectSame(InOneGo(x.view(), Rule("standard"), basis, before),
                       InSteps(x.view(), Rule("standard"), basis, before)));
      }
    }
  }
}

TEST_P(FusedUpdateTest, IsTheSameAsTheStepsForEveryRule) {
  std::vector<ScalingRule> rules;
  for (const char* preset : {"standard", "batchnorm", "vecnormalize", "rsl_rl",
                             "keras", "lerobot", "minmax", "maxabs"}) {
    rules.push_back(Rule(preset));
    rules.back().clip = 0.5;
    rules.push_back(Rule(preset));
    rules.back().center = false;
    rules.push_back(Rule(preset));
    rules.back().scale = false;
  }
  const Moments before = Past(33, 10);
  for (const ScalingRule& rule : rules) {
    for (const DataType type : kTypes) {
      const StoredRows x(Values(4 * 33), 33, type);
      for (const Basis basis : {Basis::kBefore, Basis::kAfter}) {
        ASSERT_NO_FATAL_FAILURE(
            ExpectSame(InOneGo(x.view(), rule, basis, before),
                       InSteps(x.view(), rule, basis, before)));
      }
    }
  }
}

TEST_P(FusedUpdateTest, OnePassIsTheSameAsTheStepsForLargeBatches) {
  for (const size_t features : std::vector<size_t>{1, 7, 16, 33, 512}) {
    const Moments before = Past(features, kChunkRows);
    for (const size_t rows : std::vector<size_t>{9, 40, 1025, 2500}) {
      for (const DataType type : kTypes) {
        SCOPED_TRACE(testing::Message()
                     << rows << "x" << features << " " << DataTypeName(type));
        const StoredRows x(Values(rows * features), features, type);
        for (const char* preset : {"standard", "vecnormalize", "minmax"}) {
          ASSERT_NO_FATAL_FAILURE(ExpectSame(
              InOneGo(x.view(), Rule(preset), Basis::kBefore, before),
              InSteps(x.view(), Rule(preset), Basis::kBefore, before)));
        }
      }
    }
  }
}

// Beyond a few MB output goes past the caches, if rows are aligned alike.
TEST_P(FusedUpdateTest, HowOutputIsWrittenChangesNothing) {
  constexpr size_t kBytes = size_t{9} << 20;
  for (const DataType type : kTypes) {
    for (const size_t features : std::vector<size_t>{1000, 1001}) {
      const size_t size = ElementSize(type);
      const size_t rows = kBytes / size / features + 1;
      StoredRows x(Values(rows * features), features, type);
      const ScalingTable table =
          TableOf(Rule("standard"), FoldAll(Rows(x.view(), 0, 20)));
      std::vector<uint8_t> want(x.view().size_bytes());
      ASSERT_EQ(Apply(x.view(), table, {}, want.data()).problem.kind,
                ValueProblem::kNone);
      for (const size_t shift : std::vector<size_t>{0, 1, 40}) {
        std::vector<uint8_t> got(want.size() + shift);
        ApplyCounted(x.view(), table, got.data() + shift);
        ASSERT_EQ(std::memcmp(got.data() + shift, want.data(), want.size()), 0);
      }
    }
  }
}

TEST_P(FusedUpdateTest, OnePassWritesStreamedOutputAlike) {
  constexpr size_t kFeatures = 1000, kRows = 2300;  // in FP32 9 MB
  const Moments before = Past(kFeatures, kChunkRows);
  const StoredRows x(Values(kRows * kFeatures), kFeatures, DataType::kFp32);
  ASSERT_NO_FATAL_FAILURE(ExpectSame(
      InOneGo(x.view(), Rule("standard"), Basis::kBefore, before, 16),
      InSteps(x.view(), Rule("standard"), Basis::kBefore, before)));
}

TEST_P(FusedUpdateTest, OnePassLeavesWhatItCannotCountToTheSteps) {
  const Moments before = Past(3, kChunkRows);
  const auto done = [&](size_t place, double value, DataType type) {
    std::vector<double> values(3 * 3000, 1.0);
    values[place] = value;
    const StoredRows x(values, 3, type);
    return InOneGo(x.view(), Rule("standard"), Basis::kBefore, before).done;
  };
  for (const size_t place : std::vector<size_t>{0, 5000, 8999}) {
    for (const DataType type : kTypes) EXPECT_TRUE(done(place, 2, type));
    for (const double value : {kNan, kInfinity, 1e200}) {
      EXPECT_FALSE(done(place, value, DataType::kFp64));
    }
  }
}

TEST_P(FusedUpdateTest, InputThatWouldBeOverwrittenIsLeftToTheSteps) {
  const Moments before = Past(4, kChunkRows);
  std::vector<double> x = Values(4 * 4096), copy = x;
  Moments after;
  uint64_t clipped = 0;
  EXPECT_FALSE(FoldAndNormalize(
      ViewOf(x, 4), Rule("standard"), Basis::kBefore, before, &after,
      reinterpret_cast<uint8_t*>(x.data() + 8), &clipped));
  EXPECT_EQ(x, copy);
}

TEST_P(FusedUpdateTest, ConstantFeaturesAreNotScaled) {
  const std::vector<double> row = {5, -1e9, 0, 3, 0.1, 7};
  std::vector<double> x;
  for (int i = 0; i < 4; ++i) x.insert(x.end(), row.begin(), row.end());
  const Moments before = MomentsOf(x, 6);
  const Updated got =
      InOneGo(ViewOf(x, 6), Rule("standard"), Basis::kAfter, before);
  ExpectSame(got,
             InSteps(ViewOf(x, 6), Rule("standard"), Basis::kAfter, before));
  for (size_t i = 1; i < got.output.size(); ++i) ASSERT_EQ(got.output[i], 0);
}

TEST_P(FusedUpdateTest, ManySmallBatchesStayWithinTheBound) {
  constexpr size_t kFeatures = 7;
  const std::vector<double> x = Values(4096 * kFeatures);
  const TensorView all = ViewOf(x, kFeatures);
  Moments moments = FoldAll(Rows(all, 0, 4)), next;
  for (size_t r = 4; r < all.rows; r += 4) {
    std::vector<uint8_t> output(Rows(all, r, 4).size_bytes());
    uint64_t clipped = 0;
    ASSERT_TRUE(FoldAndNormalize(Rows(all, r, 4), Rule("standard"),
                                 Basis::kAfter, moments, &next, output.data(),
                                 &clipped));
    std::swap(moments, next);
  }
  for (size_t j = 0; j < kFeatures; ++j) {
    ExpectWithinBound(moments, j, TwoPass(ColumnOf(all, j)));
  }
}

// At every place of a batch whose columns don't fill their vectors.
TEST_P(FusedUpdateTest, WhatIsNotFiniteIsLeftToTheSteps) {
  for (const DataType type : kTypes) {
    for (const double value : {kNan, kInfinity, -kInfinity}) {
      for (size_t place = 0; place < 3 * 19; ++place) {
        std::vector<double> values(3 * 19, 1.0);
        values[place] = value;
        const StoredRows x(values, 19, type);
        ScalingRule clipped = Rule("vecnormalize");
        for (const ScalingRule& rule : {Rule("standard"), clipped}) {
          ASSERT_FALSE(
              InOneGo(x.view(), rule, Basis::kAfter, Past(19, 5)).done);
        }
      }
    }
  }
}

TEST_P(FusedUpdateTest, AnOverflowOfStateOrOutputIsLeftToTheSteps) {
  const Moments before = MomentsOf(std::vector<double>(20, 1.0), 5);
  std::vector<double> x(10, 1.0);
  for (size_t place = 0; place < x.size(); ++place) {
    x[place] = 1e200;  // its square is no double
    EXPECT_FALSE(
        InOneGo(ViewOf(x, 5), Rule("standard"), Basis::kAfter, before).done);
    x[place] = 1.0;
  }
  const Moments tiny = MomentsOf({0, 1e-6, 0, 1e-6}, 1);
  const StoredRows large({60000}, 1, DataType::kFp16);
  EXPECT_FALSE(
      InOneGo(large.view(), Rule("standard"), Basis::kBefore, tiny).done);
  EXPECT_FALSE(
      InSteps(large.view(), Rule("standard"), Basis::kBefore, tiny).done);
}

TEST_P(FusedUpdateTest, WhatItIsNotMadeForIsLeftToTheSteps) {
  const auto done = [&](const std::vector<double>& x, size_t features,
                        const Moments& before) {
    return InOneGo(ViewOf(x, features), Rule("standard"), Basis::kAfter, before)
        .done;
  };
  EXPECT_TRUE(done(Values(8), 2, Past(2, 4)));
  EXPECT_FALSE(done(Values(10), 2, Past(2, 4)));  // outweighs what was counted
  EXPECT_FALSE(done({}, 2, Past(2, 4)));
  EXPECT_FALSE(done(Values(2), 2, Moments(2)));
  EXPECT_FALSE(done(Values(kFusedBytes / 8 + 1), 1, Past(1, 4096)));
  Moments skipped(2);
  BatchExtremes extremes;
  Fold(ViewOf(std::vector<double>{1, kNan, 2, 3, 3, 4}, 2), kSkipAll, &skipped,
       &extremes);
  EXPECT_FALSE(done({1, 2}, 2, skipped));
}

TEST_P(FusedUpdateTest, OneMomentsServesNormalizersOfAnyWidth) {
  Moments after;
  for (const size_t features : std::vector<size_t>{5, 900, 3, 512, 17}) {
    const Moments before = Past(features, 4);
    const std::vector<double> x = Values(2 * features);
    std::vector<uint8_t> output(x.size() * sizeof(double));
    uint64_t clipped = 0;
    ASSERT_TRUE(FoldAndNormalize(ViewOf(x, features), Rule("standard"),
                                 Basis::kAfter, before, &after, output.data(),
                                 &clipped));
    Moments want = before;
    BatchExtremes extremes;
    Fold(ViewOf(x, features), {}, &want, &extremes);
    ASSERT_NO_FATAL_FAILURE(ExpectSameMoments(after, want));
  }
}

STREAMNORM_FOR_ALL_TARGETS(FusedUpdateTest);

}  // namespace
}  // namespace streamnorm
