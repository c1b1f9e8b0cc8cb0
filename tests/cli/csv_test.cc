#include "client/cli/csv.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "tests/cli/string_source.h"

namespace streamnorm {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

using Cells = std::vector<std::string>;

Cells CellsOf(const CsvRecord& record) {
  Cells cells;
  for (size_t i = 0; i < record.size(); ++i) cells.emplace_back(record.cell(i));
  return cells;
}

// All records of `text`, read `part` bytes at a time.
absl::StatusOr<std::vector<Cells>> ReadAll(const std::string& text,
                                           char delimiter = ',',
                                           size_t part = 1 << 20) {
  BufferedInput input(std::make_unique<StringSource>(text, part));
  CsvReader reader(&input, delimiter);
  CsvRecord record;
  std::vector<Cells> records;
  while (true) {
    const auto more = reader.Next(&record);
    if (!more.ok()) return more.status();
    if (!*more) return records;
    records.push_back(CellsOf(record));
  }
}

TEST(CsvReaderTest, RecordsEndAtLineEndsOfBothKindsAndAtTheEndOfTheFile) {
  const auto records = ReadAll("a,b\r\n1,2\n3,4");
  ASSERT_TRUE(records.ok());
  EXPECT_THAT(*records,
              ElementsAre(Cells{"a", "b"}, Cells{"1", "2"}, Cells{"3", "4"}));
}

TEST(CsvReaderTest, QuotedCellsHoldDelimitersLineEndsAndQuotes) {
  const auto records = ReadAll("\"a,b\",\"c\nd\",\"e\"\"f\"\r\nx,,\"\"\n");
  ASSERT_TRUE(records.ok());
  EXPECT_THAT(*records,
              ElementsAre(Cells{"a,b", "c\nd", "e\"f"}, Cells{"x", "", ""}));
}

TEST(CsvReaderTest, ByteOrderMarkAndBlankLinesArePassedOver) {
  const auto records = ReadAll(
      "\xEF\xBB\xBF"
      "a\n\n\r\n1\n\n");
  ASSERT_TRUE(records.ok());
  EXPECT_THAT(*records, ElementsAre(Cells{"a"}, Cells{"1"}));
}

TEST(CsvReaderTest, AQuotedEmptyCellIsARecordWhereABlankLineIsNone) {
  const auto records = ReadAll("1\n\"\"\n2\n");
  ASSERT_TRUE(records.ok());
  EXPECT_THAT(*records, ElementsAre(Cells{"1"}, Cells{""}, Cells{"2"}));
}

TEST(CsvReaderTest, AnotherDelimiterMakesCommasOrdinary) {
  const auto records = ReadAll("a,b\tc\n", '\t');
  ASSERT_TRUE(records.ok());
  EXPECT_THAT(*records, ElementsAre(Cells{"a,b", "c"}));
}

TEST(CsvReaderTest, AnEmptyFileHasNoRecords) {
  const auto records = ReadAll("");
  ASSERT_TRUE(records.ok());
  EXPECT_TRUE(records->empty());
}

TEST(CsvReaderTest, WhereTheFileIsCutIntoPartsMakesNoDifference) {
  const std::string text = "\xEF\xBB\xBF\"a\"\"\n,\",b\r\n\r\n,\"\"\r\n\"x\",y";
  const auto whole = ReadAll(text);
  ASSERT_TRUE(whole.ok());
  for (size_t part = 1; part < text.size(); ++part) {
    const auto records = ReadAll(text, ',', part);
    ASSERT_TRUE(records.ok()) << part;
    EXPECT_EQ(*records, *whole) << part;
  }
}

TEST(CsvReaderTest, AQuoteThatIsNeverClosedIsAnErrorOfTheLineItIsOn) {
  const auto records = ReadAll("a\nb,\"c\nd\ne\n");
  EXPECT_TRUE(absl::IsInvalidArgument(records.status()));
  EXPECT_THAT(std::string(records.status().message()), HasSubstr("f:2: "));
}

TEST(CsvReaderTest, TextAfterAClosingQuoteIsAnError) {
  const auto records = ReadAll("a\n\"b\"c\n");
  EXPECT_TRUE(absl::IsInvalidArgument(records.status()));
  EXPECT_THAT(std::string(records.status().message()), HasSubstr("f:2: "));
}

TEST(CsvReaderTest, RecordsKnowTheLineTheyBeginOn) {
  BufferedInput input(std::make_unique<StringSource>("a\n\n\"b\nc\"\nd\n"));
  CsvReader reader(&input, ',');
  CsvRecord record;
  std::vector<uint64_t> lines;
  while (*reader.Next(&record)) lines.push_back(record.line());
  EXPECT_THAT(lines, ElementsAre(1, 3, 5));
}

TEST(CsvLineTest, WhatIsWrittenReadsBackAsItWas) {
  const Cells cells = {"plain", "a,b", "say \"x\"", "two\nlines", "cr\r", ""};
  const auto records = ReadAll(CsvLine(cells, ','));
  ASSERT_TRUE(records.ok());
  EXPECT_THAT(*records, ElementsAre(cells));
}

TEST(CsvLineTest, ALonelyEmptyCellIsNotABlankLine) {
  const auto records = ReadAll(CsvLine({""}, ','));
  ASSERT_TRUE(records.ok());
  EXPECT_THAT(*records, ElementsAre(Cells{""}));
}

TEST(ParseCellTest, NumbersOfAllFormsAreRead) {
  EXPECT_EQ(ParseCell("1.5"), 1.5);
  EXPECT_EQ(ParseCell(" -2e3 "), -2000);
  EXPECT_EQ(ParseCell("+7"), 7);
  EXPECT_EQ(ParseCell(".5"), 0.5);
  EXPECT_EQ(ParseCell("1e-400"), 0);
  EXPECT_EQ(ParseCell("-Infinity"), -std::numeric_limits<double>::infinity());
  EXPECT_EQ(ParseCell("inf"), std::numeric_limits<double>::infinity());
}

TEST(ParseCellTest, WordsForAMissingValueAreNan) {
  for (const char* text : {"", "  ", "NA", "n/a", "NaN", "null"}) {
    const auto value = ParseCell(text);
    ASSERT_TRUE(value.has_value()) << text;
    EXPECT_TRUE(std::isnan(*value)) << text;
  }
}

TEST(ParseCellTest, AnythingElseIsNoNumber) {
  for (const char* text :
       {"x", "1x", "1 2", "0x10", "1e999", "--1", "+-1", "1,5", "+"}) {
    EXPECT_FALSE(ParseCell(text).has_value()) << text;
  }
}

}  // namespace
}  // namespace streamnorm
