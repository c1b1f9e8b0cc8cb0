#include "client/cli/interval_plot.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <limits>
#include <sstream>

#include "client/cli/table.h"

namespace streamnorm {
namespace {

using testing::HasSubstr;
using testing::Not;

std::vector<std::string> LinesOf(const std::string& text) {
  std::vector<std::string> lines;
  std::istringstream stream(text);
  for (std::string line; std::getline(stream, line);) lines.push_back(line);
  return lines;
}

TEST(IntervalPlotTest, MeansAndDeviationsShareOneAxis) {
  EXPECT_EQ(PlotIntervals({{"a", 0, 5}, {"long", 10, 5}}, 40, false),
            "      -5                     15\n"
            "a     |-----*-----|              0 +- 5\n"
            "long              |-----*-----|  10 +- 5\n");
}

TEST(IntervalPlotTest, UnicodeIsAsWide) {
  const auto lines =
      LinesOf(PlotIntervals({{"a", 0, 5}, {"b", 10, 5}}, 60, true));
  ASSERT_EQ(lines.size(), 3U);
  EXPECT_THAT(lines[1], HasSubstr("├"));
  EXPECT_THAT(lines[1], HasSubstr("0 ± 5"));
  for (const std::string& line : lines) EXPECT_LE(DisplayWidth(line), 60U);
}

TEST(IntervalPlotTest, AFeatureWithoutValuesHasALineAndNoBar) {
  const auto lines =
      LinesOf(PlotIntervals({{"a", 1, 1}, {"b", 0, {}}}, 60, false));
  ASSERT_EQ(lines.size(), 3U);
  EXPECT_THAT(lines[2], Not(HasSubstr("*")));
  EXPECT_EQ(lines[2].back(), '-');
}

TEST(IntervalPlotTest, NothingKnownHasNoAxis) {
  EXPECT_EQ(LinesOf(PlotIntervals({{"a", 0, {}}}, 60, false)).size(), 1U);
}

TEST(IntervalPlotTest, OnePointIsInTheMiddle) {
  const auto lines = LinesOf(PlotIntervals({{"a", 7, 0}}, 60, false));
  ASSERT_EQ(lines.size(), 2U);
  EXPECT_NEAR(static_cast<double>(lines[1].find('*')), 27, 5);
}

TEST(IntervalPlotTest, TheLargestNumbersDontOverflow) {
  constexpr double kMax = std::numeric_limits<double>::max();
  const auto lines = LinesOf(PlotIntervals(
      {{"a", -kMax, kMax}, {"b", kMax, kMax}, {"c", 0, 1}}, 80, false));
  ASSERT_EQ(lines.size(), 4U);
  EXPECT_THAT(lines[3], HasSubstr("*"));
  EXPECT_LT(lines[1].find('*'), lines[3].find('*'));
  EXPECT_LT(lines[3].find('*'), lines[2].find('*'));
}

TEST(IntervalPlotTest, NamesReachTheTerminalWithoutControlCharacters) {
  EXPECT_THAT(PlotIntervals({{"a\x1b[2J", 0, 1}}, 60, false),
              Not(HasSubstr("\x1b")));
}

TEST(IntervalPlotTest, LongNamesAreCutBetweenCharacters) {
  std::string name;
  for (int i = 0; i < 30; ++i) name += "ä";
  const auto lines = LinesOf(PlotIntervals({{name, 0, 1}}, 60, false));
  EXPECT_EQ(DisplayWidth(lines[1].substr(0, lines[1].find(' '))), 24U);
}

TEST(IntervalPlotTest, ANarrowTerminalStillGetsAnAxis) {
  EXPECT_THAT(PlotIntervals({{"a", 0, 1}}, 5, false), HasSubstr("*"));
}

}  // namespace
}  // namespace streamnorm
