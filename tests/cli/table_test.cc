#include "client/cli/table.h"

#include <gtest/gtest.h>

#include <cstdlib>

namespace streamnorm {
namespace {

TEST(TableTest, TextIsLeftAndNumbersAreRight) {
  Table table({{"NAME"}, {"N", Table::Align::kRight}});
  table.AddRow({"a", "1"});
  table.AddRow({"longer", "1234"});
  EXPECT_EQ(table.Render(false),
            "NAME       N\n"
            "a          1\n"
            "longer  1234\n");
}

TEST(TableTest, LinesHaveNoSpacesAtTheirEnd) {
  Table table({{"A"}, {"B"}});
  table.AddRow({"long cell", ""});
  EXPECT_EQ(table.Render(false), "A          B\nlong cell\n");
}

TEST(TableTest, OnlyTitlesHaveEscapesAndOnlyWhereAsked) {
  Table table({{"A"}});
  table.AddRow({"x"});
  EXPECT_EQ(table.Render(true), "\x1b[1mA\x1b[0m\nx\n");
  EXPECT_EQ(table.Render(false), "A\nx\n");
}

TEST(TableTest, ControlCharactersInCellsDontReachTheTerminal) {
  Table table({{"A"}});
  table.AddRow({"x\x1b[2J\n"});
  EXPECT_EQ(table.Render(false), "A\nx?[2J?\n");
}

TEST(TableTest, WideAndCombiningCharactersKeepColumnsAligned) {
  Table table({{"A"}, {"B"}});
  table.AddRow({"\xE6\x97\xA5\xE6\x9C\xAC", "1"});  // two wide ones
  table.AddRow({"e\xCC\x81tat", "2"});              // e and an accent
  EXPECT_EQ(table.Render(false),
            "A     B\n"
            "\xE6\x97\xA5\xE6\x9C\xAC  1\n"
            "e\xCC\x81tat  2\n");
}

TEST(DisplayWidthTest, BytesThatAreNoUtf8CountOne) {
  EXPECT_EQ(DisplayWidth("\xFF\xFE"), 2U);
  EXPECT_EQ(DisplayWidth("a\xE6\x97"), 3U);
  EXPECT_EQ(DisplayWidth("\xC3\xA9"), 1U);
}

TEST(NumberTest, ShortNumbersHaveSixDigits) {
  EXPECT_EQ(ShortNumber(1.0 / 3), "0.333333");
  EXPECT_EQ(ShortNumber(1234567.0), "1.23457e+06");
  EXPECT_EQ(ShortNumber(2), "2");
}

TEST(NumberTest, ExactNumbersReadBackAsTheSameValue) {
  for (const double value : {1.0 / 3, 0.1, -0.0, 5e-324, 1.7976931348623157e308,
                             123456789012345678.0}) {
    EXPECT_EQ(std::strtod(ExactNumber(value).c_str(), nullptr), value);
  }
  EXPECT_EQ(ExactNumber(0.1f), "0.1");
}

}  // namespace
}  // namespace streamnorm
