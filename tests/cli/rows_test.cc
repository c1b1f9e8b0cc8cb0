// Rows from files into batches, and back into files.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <fstream>
#include <iterator>
#include <limits>

#include "client/cli/exit_code.h"
#include "client/cli/npy.h"
#include "client/cli/rows_sink.h"
#include "client/cli/rows_source.h"
#include "tests/cli/string_source.h"
#include "tests/testing/temp_dir.h"

namespace streamnorm {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

using Names = std::vector<std::string>;

absl::StatusOr<std::unique_ptr<RowsSource>> Open(
    const std::string& bytes, const RowsSourceOptions& options = {}) {
  return OpenRows(std::make_unique<StringSource>(bytes), options);
}

std::unique_ptr<RowsSource> OpenBound(const std::string& bytes, size_t features,
                                      const Names& names = {},
                                      const RowsSourceOptions& options = {}) {
  auto source = Open(bytes, options);
  EXPECT_TRUE(source.ok()) << source.status();
  const absl::Status bound = (*source)->Bind(features, names);
  EXPECT_TRUE(bound.ok()) << bound;
  return *std::move(source);
}

std::vector<double> ValuesOf(const RowBatch& batch) {
  std::vector<double> values(batch.rows * batch.features);
  LoadAsDouble(batch.view(), 0, values.size(), values.data());
  return values;
}

// The next batch as doubles.
std::vector<double> ReadValues(RowsSource* source, size_t most = 100) {
  RowBatch batch;
  const absl::Status status = source->Read(most, DataType::kFp64, &batch);
  EXPECT_TRUE(status.ok()) << status;
  return ValuesOf(batch);
}

std::string ReadError(RowsSource* source, DataType type = DataType::kFp64) {
  RowBatch batch;
  const absl::Status status = source->Read(100, type, &batch);
  EXPECT_TRUE(absl::IsInvalidArgument(status)) << status;
  return std::string(status.message());
}

std::string NpyBytes(const NpyHeader& header, const std::vector<double>& v) {
  std::string bytes = NpyHeaderBytes(header);
  std::vector<uint8_t> values(v.size() * ElementSize(header.type));
  StoreFromDouble(v.data(), v.size(), header.type, values.data());
  return bytes + std::string(values.begin(), values.end());
}

// CSV.

TEST(CsvRowsTest, AFirstLineOfNumbersIsARow) {
  EXPECT_THAT(ReadValues(OpenBound("1,2\n3,4\n", 2).get()),
              ElementsAre(1, 2, 3, 4));
}

TEST(CsvRowsTest, AFirstLineWithAWordIsAHeader) {
  auto source = OpenBound("a,2\n3,4\n", 2);
  EXPECT_THAT(source->feature_names(), ElementsAre("a", "2"));
  EXPECT_THAT(ReadValues(source.get()), ElementsAre(3, 4));
}

TEST(CsvRowsTest, WhetherThereIsAHeaderCanBeSaid) {
  RowsSourceOptions options;
  options.header = RowsSourceOptions::Header::kPresent;
  EXPECT_THAT(ReadValues(OpenBound("1,2\n3,4\n", 2, {}, options).get()),
              ElementsAre(3, 4));
  options.header = RowsSourceOptions::Header::kAbsent;
  auto source = OpenBound("a,2\n3,4\n", 2, {}, options);
  EXPECT_THAT(ReadError(source.get()), HasSubstr("f:1: column 1: \"a\""));
}

TEST(CsvRowsTest, ColumnsAreFoundByTheNamesOfTheFeatures) {
  auto source = OpenBound("id,b,a\nx,2,1\n", 2, {"a", "b"});
  EXPECT_THAT(ReadValues(source.get()), ElementsAre(1, 2));
}

TEST(CsvRowsTest, MissingColumnsAreNamed) {
  const auto source = Open("b,c\n1,2\n");
  const absl::Status bound = (*source)->Bind(3, {"a", "b", "d"});
  EXPECT_TRUE(absl::IsInvalidArgument(bound));
  EXPECT_THAT(std::string(bound.message()),
              HasSubstr("no column \"a\", \"d\""));
}

TEST(CsvRowsTest, TwoColumnsOfANeededNameAreAmbiguous) {
  const auto source = Open("a,b,a\n1,2,3\n");
  EXPECT_TRUE(absl::IsInvalidArgument((*source)->Bind(2, {"a", "b"})));
}

TEST(CsvRowsTest, AnotherNumberOfColumnsThanFeaturesIsAnError) {
  const auto source = Open("1,2,3\n");
  EXPECT_TRUE(absl::IsInvalidArgument((*source)->Bind(2, {})));
}

TEST(CsvRowsTest, ColumnsAreChosenByNameAndByNumber) {
  RowsSourceOptions options;
  options.columns = "c,1-2";
  auto source = OpenBound("a,b,c,d\n1,2,3,4\n", 3, {"x", "y", "z"}, options);
  EXPECT_THAT(ReadValues(source.get()), ElementsAre(3, 1, 2));
}

TEST(CsvRowsTest, MissingValuesAreNan) {
  const auto values = ReadValues(OpenBound("1,\nNA,2\n", 2).get());
  EXPECT_TRUE(std::isnan(values[1]));
  EXPECT_TRUE(std::isnan(values[2]));
}

TEST(CsvRowsTest, ABatchEndsAfterTheRowsAskedFor) {
  auto source = OpenBound("1\n2\n3\n", 1);
  EXPECT_THAT(ReadValues(source.get(), 2), ElementsAre(1, 2));
  EXPECT_THAT(ReadValues(source.get(), 2), ElementsAre(3));
  EXPECT_THAT(ReadValues(source.get(), 2), IsEmpty());
}

TEST(CsvRowsTest, AMalformedCellIsToldByLineAndColumn) {
  auto source = OpenBound("a,b\n1,2\n\n3,oops\n", 2);
  EXPECT_THAT(ReadError(source.get()),
              HasSubstr("f:4: column 2 (\"b\"): \"oops\""));
}

TEST(CsvRowsTest, ARowOfAnotherWidthIsToldByLine) {
  auto source = OpenBound("1,2\n3\n", 2);
  EXPECT_THAT(ReadError(source.get()), HasSubstr("f:2: 1 cells, want 2"));
}

TEST(CsvRowsTest, ANumberThatTheTypeCantHoldIsAnError) {
  auto source = OpenBound("70000\n", 1);
  EXPECT_THAT(ReadError(source.get(), DataType::kFp16),
              HasSubstr("too large for FP16"));
}

TEST(CsvRowsTest, PlacesAreLineAndColumn) {
  auto source = OpenBound("id,b,a\nx,2,1\ny,4,3\n", 2, {"a", "b"});
  RowBatch batch;
  ASSERT_TRUE(source->Read(9, DataType::kFp64, &batch).ok());
  EXPECT_EQ(source->Place(batch, 1, 0), "f:3: column 3 (\"a\")");
}

TEST(CsvRowsTest, AnEmptyFileIsAnError) {
  EXPECT_TRUE(absl::IsInvalidArgument(Open("").status()));
}

TEST(ParseColumnsTest, WrongOnesAreUsageErrors) {
  for (const char* columns : {"", "0", "4", "2-1", "x", "1,1", "1-", "1-2-3"}) {
    const auto positions = ParseColumns(columns, {"a", "b", "c"}, 3);
    EXPECT_EQ(ExitCodeOf(positions.status()), kExitUsage) << columns;
  }
}

// NPY.

TEST(NpyRowsTest, RowsComeInTheirOwnType) {
  auto source = OpenBound(NpyBytes({DataType::kFp16, {2, 2}}, {1, 2, 3, 4}), 2);
  EXPECT_EQ(source->type(), DataType::kFp16);
  RowBatch batch;
  ASSERT_TRUE(source->Read(1, DataType::kFp16, &batch).ok());
  EXPECT_THAT(ValuesOf(batch), ElementsAre(1, 2));
  EXPECT_EQ(batch.values.size(), 4U);
  EXPECT_THAT(ReadValues(source.get()), ElementsAre(3, 4));
  EXPECT_THAT(ReadValues(source.get()), IsEmpty());
}

TEST(NpyRowsTest, OneDimensionIsOneRowOrRowsOfOneFeature) {
  const std::string bytes = NpyBytes({DataType::kFp64, {3}}, {1, 2, 3});
  EXPECT_EQ(OpenBound(bytes, 3)->layout().rows, 1U);
  EXPECT_EQ(OpenBound(bytes, 1)->layout().rows, 3U);
  EXPECT_FALSE((*Open(bytes))->Bind(2, {}).ok());
}

TEST(NpyRowsTest, OtherDimensionsAreErrors) {
  EXPECT_FALSE(Open(NpyBytes({DataType::kFp64, {1, 1, 1}}, {1})).ok());
  EXPECT_FALSE(Open(NpyBytes({DataType::kFp64, {}}, {1})).ok());
}

TEST(NpyRowsTest, AFileThatIsCutOffIsAnError) {
  std::string bytes = NpyBytes({DataType::kFp64, {2, 1}}, {1, 2});
  bytes.pop_back();
  auto source = OpenBound(bytes, 1);
  EXPECT_THAT(ReadError(source.get()), HasSubstr("want 2 rows"));
}

TEST(NpyRowsTest, OfARegularFileThatIsCutOffNothingIsRead) {
  const TempDir dir;
  std::string bytes = NpyBytes({DataType::kFp64, {2, 1}}, {1, 2});
  bytes.pop_back();
  std::ofstream(dir / "a.npy") << bytes;
  auto source = OpenRows(*OpenFile(dir / "a.npy", -1), {});
  ASSERT_TRUE(source.ok());
  EXPECT_TRUE(absl::IsInvalidArgument((*source)->Bind(1, {})));
}

TEST(NpyRowsTest, BytesAfterTheArrayAreNotPassedOverInSilence) {
  auto source = OpenBound(NpyBytes({DataType::kFp64, {1, 1}}, {1}) + "more", 1);
  EXPECT_THAT(ReadValues(source.get()), ElementsAre(1));
  EXPECT_THAT(ReadError(source.get()), HasSubstr("more bytes"));
}

TEST(NpyRowsTest, AValueThatTheTypeCantHoldIsToldByPlace) {
  auto source =
      OpenBound(NpyBytes({DataType::kFp64, {2, 2}}, {1, 2, 3, 1e300}), 2);
  EXPECT_THAT(ReadError(source.get(), DataType::kFp32), HasSubstr("[1, 1]"));
}

TEST(NpyRowsTest, ARowCountThatNoFileHasIsAnError) {
  const TempDir dir;
  std::ofstream(dir / "a.npy")
      << NpyHeaderBytes({DataType::kFp64, {UINT64_MAX, 2}});
  auto source = OpenRows(*OpenFile(dir / "a.npy", -1), {});
  ASSERT_TRUE(source.ok());
  EXPECT_TRUE(absl::IsInvalidArgument((*source)->Bind(2, {})));
}

// Sinks.

std::string FileText(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file),
          std::istreambuf_iterator<char>()};
}

// Copies all rows of `source` into `path`, negated, one a batch.
void CopyNegated(RowsSource* source, const std::string& path, DataType type) {
  auto sink = OpenSink({path, source->layout(), type, ','});
  ASSERT_TRUE(sink.ok()) << sink.status();
  while (true) {
    RowBatch batch;
    ASSERT_TRUE(source->Read(1, type, &batch).ok());
    if (batch.rows == 0) break;
    std::vector<double> values = ValuesOf(batch);
    for (double& value : values) value = -value;
    std::string bytes(batch.values.size(), '\0');
    StoreFromDouble(values.data(), values.size(), type,
                    reinterpret_cast<uint8_t*>(bytes.data()));
    ASSERT_TRUE((*sink)->Write(batch, bytes).ok());
  }
  ASSERT_TRUE((*sink)->Finish().ok());
}

TEST(RowsSinkTest, CsvKeepsOtherColumnsAndTheOrderOfTheInput) {
  const TempDir dir;
  auto source =
      OpenBound("id,b,a,note\n7,2,1,\"x,y\"\n8,4,,z\n", 2, {"a", "b"});
  CopyNegated(source.get(), dir / "o.csv", DataType::kFp64);
  EXPECT_EQ(FileText(dir / "o.csv"), "id,b,a,note\n7,-2,-1,\"x,y\"\n8,-4,,z\n");
}

TEST(RowsSinkTest, CsvWithoutAHeaderStaysWithout) {
  const TempDir dir;
  auto source = OpenBound("1,2\n", 2);
  CopyNegated(source.get(), dir / "o.csv", DataType::kFp64);
  EXPECT_EQ(FileText(dir / "o.csv"), "-1,-2\n");
}

TEST(RowsSinkTest, Float32IsWrittenWithItsOwnDigits) {
  const TempDir dir;
  auto source = OpenBound("0.1\n", 1);
  CopyNegated(source.get(), dir / "o.csv", DataType::kFp32);
  EXPECT_EQ(FileText(dir / "o.csv"), "-0.1\n");
}

TEST(RowsSinkTest, NpyFromCsvLearnsItsRowCountAtTheEnd) {
  const TempDir dir;
  auto source = OpenBound("1,2\n3,4\n5,6\n", 2);
  CopyNegated(source.get(), dir / "o.npy", DataType::kFp32);
  EXPECT_EQ(FileText(dir / "o.npy"),
            NpyBytes({DataType::kFp32, {3, 2}}, {-1, -2, -3, -4, -5, -6}));
}

TEST(RowsSinkTest, NpyKeepsTheNumberOfDimensions) {
  const TempDir dir;
  auto source = OpenBound(NpyBytes({DataType::kFp64, {2}}, {1, 2}), 2);
  CopyNegated(source.get(), dir / "o.npy", DataType::kFp64);
  EXPECT_EQ(FileText(dir / "o.npy"),
            NpyBytes({DataType::kFp64, {2}}, {-1, -2}));
}

TEST(RowsSinkTest, NpyThatEndsEarlySaysHowManyRowsItHas) {
  const TempDir dir;
  RowLayout layout = PlainLayout(1, {});
  layout.rows = 5;
  auto sink = OpenSink({dir / "o.npy", layout, DataType::kFp64, ','});
  ASSERT_TRUE((*sink)->Finish().ok());
  EXPECT_EQ(FileText(dir / "o.npy"), NpyHeaderBytes({DataType::kFp64, {0, 1}}));
}

TEST(RowsSinkTest, AFileThatCantBeMadeIsAnError) {
  const TempDir dir;
  EXPECT_FALSE(
      OpenSink({dir / "none/o.csv", PlainLayout(1, {}), DataType::kFp64, ','})
          .ok());
}

}  // namespace
}  // namespace streamnorm
