// What the commands do between parsing and printing.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "client/cli/demo_rows.h"
#include "client/cli/exit_code.h"
#include "client/cli/normalize_rows.h"
#include "client/cli/progress.h"
#include "client/cli/statistics_query.h"
#include "client/cli/suggest.h"

namespace streamnorm {
namespace {

using testing::ElementsAre;

TEST(FeatureRangesTest, RangesAreSortedAndEachFeatureIsThereOnce) {
  const auto indices = ParseFeatureRanges("5,0-2,2,1", 6);
  ASSERT_TRUE(indices.ok());
  EXPECT_THAT(*indices, ElementsAre(0, 1, 2, 5));
}

TEST(FeatureRangesTest, WhatIsNoFeatureIsAUsageError) {
  for (const char* text : {"", "6", "-1", "3-2", "0-6", "a", "1;2"}) {
    EXPECT_EQ(ExitCodeOf(ParseFeatureRanges(text, 6).status()), kExitUsage)
        << text;
  }
}

v1::Normalizer NamedNormalizer() {
  v1::Normalizer normalizer;
  normalizer.set_name("normalizers/x");
  for (const char* name : {"mean a", "mean b", "sd a"}) {
    normalizer.add_feature_names(name);
  }
  normalizer.set_features(3);
  return normalizer;
}

TEST(FeatureNamesTest, GlobsChooseFeatures) {
  const auto indices = MatchFeatureNames("*a,mean b", NamedNormalizer());
  ASSERT_TRUE(indices.ok());
  EXPECT_THAT(*indices, ElementsAre(0, 1, 2));
}

TEST(FeatureNamesTest, AGlobWithoutAMatchIsNotFound) {
  EXPECT_EQ(
      ExitCodeOf(MatchFeatureNames("mean*,c*", NamedNormalizer()).status()),
      kExitNotFound);
}

std::vector<v1::FeatureStatistics> Features() {
  std::vector<v1::FeatureStatistics> features(4);
  const double means[] = {1, 3, 0, 2};
  const char* names[] = {"b", "a", "d", "c"};
  for (size_t i = 0; i < 4; ++i) {
    features[i].set_index(static_cast<int64_t>(i));
    features[i].set_name(names[i]);
    features[i].set_mean(means[i]);
    features[i].set_count(i == 2 ? 0 : 5);  // feature 2 has no values
  }
  return features;
}

std::vector<int64_t> Order(const std::string& key, bool reverse) {
  auto features = Features();
  SortStatistics(key, reverse, &features);
  std::vector<int64_t> order;
  for (const auto& feature : features) order.push_back(feature.index());
  return order;
}

TEST(SortTest, NumbersAreLargestFirstAndNoValuesLast) {
  EXPECT_THAT(Order("mean", false), ElementsAre(1, 3, 0, 2));
  EXPECT_THAT(Order("mean", true), ElementsAre(0, 3, 1, 2));
}

TEST(SortTest, NamesAndIndicesAscend) {
  EXPECT_THAT(Order("name", false), ElementsAre(1, 0, 3, 2));
  EXPECT_THAT(Order("index", true), ElementsAre(3, 2, 1, 0));
}

TEST(SortTest, EveryKeyIsKnown) {
  for (const std::string& key : SortKeys()) {
    EXPECT_EQ(Order(key, false).size(), 4U) << key;
  }
}

TEST(SuggestTest, DistanceCountsInsertionsDeletionsReplacementsAndSwaps) {
  EXPECT_EQ(EditDistance("", "abc"), 3U);
  EXPECT_EQ(EditDistance("stats", "stats"), 0U);
  EXPECT_EQ(EditDistance("sttas", "stats"), 1U);
  EXPECT_EQ(EditDistance("stat", "stats"), 1U);
  EXPECT_EQ(EditDistance("xtats", "stats"), 1U);
}

TEST(SuggestTest, TheNearestIsSuggestedAndNothingForWhatIsFar) {
  const std::vector<std::string> commands = {"stats", "reset", "normalize"};
  EXPECT_EQ(NearestTo("stast", commands), "stats");
  EXPECT_EQ(NearestTo("norm", commands), "normalize");
  EXPECT_EQ(NearestTo("xyzzy", commands), std::nullopt);
}

TEST(BatchRowsTest, TheDefaultShrinksWithTheSizeOfARow) {
  constexpr uint64_t kMessage = uint64_t{64} << 20;
  EXPECT_EQ(*ChooseBatchRows(0, 240, kMessage), 256U);
  EXPECT_EQ(*ChooseBatchRows(0, 1 << 20, kMessage), 4U);
  EXPECT_EQ(*ChooseBatchRows(0, 32 << 20, kMessage), 1U);
}

TEST(BatchRowsTest, WhatNoMessageHoldsIsAnError) {
  EXPECT_EQ(ExitCodeOf(ChooseBatchRows(100, 1000, 50'000).status()),
            kExitUsage);
  EXPECT_TRUE(
      absl::IsResourceExhausted(ChooseBatchRows(0, 1000, 500).status()));
}

TEST(ProgressTest, TextHasRateShareAndTimeLeft) {
  EXPECT_EQ(ProgressText(12345, 25, 100, 5),
            "12,345 rows  2,469 rows/s  25 %  15 s left");
  EXPECT_EQ(ProgressText(10, 5, std::nullopt, 1), "10 rows  10 rows/s");
}

TEST(ProgressTest, CountsAreGroupedAndInTheRightNumber) {
  EXPECT_EQ(Counted(1, "row"), "1 row");
  EXPECT_EQ(Counted(1234567, "row"), "1,234,567 rows");
  EXPECT_EQ(Grouped(999), "999");
}

TEST(ExitCodeTest, EveryKindOfErrorHasItsCode) {
  EXPECT_EQ(ExitCodeOf(absl::OkStatus()), 0);
  EXPECT_EQ(ExitCodeOf(absl::InternalError("")), 1);
  EXPECT_EQ(ExitCodeOf(absl::InvalidArgumentError("")), 1);
  EXPECT_EQ(ExitCodeOf(UsageError("")), 2);
  EXPECT_EQ(ExitCodeOf(absl::NotFoundError("")), 3);
  EXPECT_EQ(ExitCodeOf(absl::UnavailableError("")), 4);
  EXPECT_EQ(ExitCodeOf(absl::DeadlineExceededError("")), 4);
  EXPECT_EQ(ExitCodeOf(absl::PermissionDeniedError("")), 5);
  EXPECT_EQ(ExitCodeOf(absl::UnauthenticatedError("")), 5);
  EXPECT_EQ(ExitCodeOf(absl::AlreadyExistsError("")), 6);
  EXPECT_EQ(ExitCodeOf(absl::AbortedError("")), 6);
  EXPECT_EQ(ExitCodeOf(absl::FailedPreconditionError("")), 6);
}

TEST(ErrorLineTest, AnErrorIsOneLineWithoutEscapes) {
  const std::string line =
      ErrorLine(absl::InternalError("a\nb\x1b[31m"), "here");
  EXPECT_EQ(line, "streamnorm: a b?[31m");
}

TEST(DemoRowsTest, TheStreamIsTheSameEveryTimeWithTheSeedRowsInIt) {
  const DemoRows stream = MakeSeedStream(40);
  EXPECT_EQ(stream.values, MakeSeedStream(40).values);
  EXPECT_EQ(stream.rows(), 40U);
  for (size_t i = 0; i < 2; ++i) {
    const auto row = stream.row(20 + i);
    EXPECT_TRUE(std::equal(row.begin(), row.end(), kDemoSeedRows[i].begin()));
  }
}

TEST(DemoRowsTest, OnlyLayerNormalizationMakesTheSeedRowsTheSame) {
  RowPair rows;
  for (size_t i = 0; i < 2; ++i) {
    rows[i].assign(kDemoSeedRows[i].begin(), kDemoSeedRows[i].end());
  }
  EXPECT_NEAR(MeanDistance(LayerNormalize(rows)), 0.0012, 0.0001);
  EXPECT_NEAR(MeanDistance(BatchNormalize(rows)), 2, 1e-4);
}

TEST(DemoRowsTest, TwoPassesGiveMeanAndPopulationVariance) {
  const TwoPass two_pass = ComputeTwoPass({"x", {}, 1, {1, 2, 3, 6}});
  EXPECT_EQ(two_pass.mean[0], 3);
  EXPECT_EQ(two_pass.variance[0], 3.5L);
}

}  // namespace
}  // namespace streamnorm
