#include "client/cli/npy.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <fstream>
#include <iterator>

#include "tests/cli/string_source.h"

namespace streamnorm {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

// tests/data/npy, written by NumPy (tests/data/make_npy.py).
std::unique_ptr<BufferedInput> OpenGolden(const std::string& name) {
  auto file =
      OpenFile(std::string(STREAMNORM_TEST_DATA) + "/npy/" + name + ".npy", -1);
  EXPECT_TRUE(file.ok()) << file.status();
  return std::make_unique<BufferedInput>(*std::move(file));
}

std::unique_ptr<BufferedInput> OpenBytes(const std::string& bytes) {
  return std::make_unique<BufferedInput>(std::make_unique<StringSource>(bytes));
}

std::string BytesOf(const std::string& name) {
  std::ifstream file(std::string(STREAMNORM_TEST_DATA) + "/npy/" + name +
                     ".npy");
  return {std::istreambuf_iterator<char>(file),
          std::istreambuf_iterator<char>()};
}

void ExpectRefused(const std::string& name, const std::string& because) {
  const auto header = ReadNpyHeader(OpenGolden(name).get());
  EXPECT_TRUE(absl::IsInvalidArgument(header.status())) << header.status();
  EXPECT_THAT(std::string(header.status().message()), HasSubstr(because));
}

struct Golden {
  const char* name;
  DataType type;
};

class GoldenNpyTest : public testing::TestWithParam<Golden> {};

TEST_P(GoldenNpyTest, WhatNumpyWroteIsRead) {
  const auto input = OpenGolden(GetParam().name);
  const auto header = ReadNpyHeader(input.get());
  ASSERT_TRUE(header.ok()) << header.status();
  EXPECT_EQ(header->type, GetParam().type);
  EXPECT_THAT(header->shape, ElementsAre(2, 3));
  std::vector<uint8_t> bytes(6 * ElementSize(header->type));
  ASSERT_EQ(*input->Read(reinterpret_cast<char*>(bytes.data()), bytes.size()),
            bytes.size());
  std::vector<double> values(6);
  LoadAsDouble({bytes.data(), header->type, 2, 3}, 0, 6, values.data());
  EXPECT_TRUE(std::isnan(values.back()));
  values.pop_back();
  EXPECT_THAT(values, ElementsAre(1.5, -2.25, 0, 1024, 0.0078125));
}

INSTANTIATE_TEST_SUITE_P(AllTypesAndVersions, GoldenNpyTest,
                         testing::Values(Golden{"float16", DataType::kFp16},
                                         Golden{"float32", DataType::kFp32},
                                         Golden{"float64", DataType::kFp64},
                                         Golden{"version_2", DataType::kFp32},
                                         Golden{"version_3", DataType::kFp32}),
                         [](const auto& test) { return test.param.name; });

TEST(NpyTest, ShapesOfOtherDimensionsAreTold) {
  EXPECT_THAT(ReadNpyHeader(OpenGolden("one_dimension").get())->shape,
              ElementsAre(3));
  EXPECT_THAT(ReadNpyHeader(OpenGolden("three_dimensions").get())->shape,
              ElementsAre(2, 2, 2));
  EXPECT_THAT(ReadNpyHeader(OpenGolden("no_dimension").get())->shape,
              ElementsAre());
  EXPECT_THAT(ReadNpyHeader(OpenGolden("no_rows").get())->shape,
              ElementsAre(0, 3));
}

TEST(NpyTest, BigEndianIsRefusedWithAWayOut) {
  ExpectRefused("big_endian", "newbyteorder");
}

TEST(NpyTest, FortranOrderIsRefusedWithAWayOut) {
  ExpectRefused("fortran_order", "ascontiguousarray");
}

TEST(NpyTest, OtherElementTypesAreRefusedByName) {
  ExpectRefused("integers", "'<i8'");
  ExpectRefused("structured", "float32");
}

TEST(NpyTest, EveryTruncatedHeaderIsRefused) {
  const std::string whole = BytesOf("float32");
  const size_t header_size = whole.size() - 6 * sizeof(float);
  for (size_t size = 0; size < header_size; ++size) {
    const auto header = ReadNpyHeader(OpenBytes(whole.substr(0, size)).get());
    EXPECT_TRUE(absl::IsInvalidArgument(header.status())) << size;
  }
}

TEST(NpyTest, AHugeHeaderLengthIsRefusedBeforeItIsAllocated) {
  std::string bytes = BytesOf("version_2");
  for (size_t i = 8; i < 12; ++i) bytes[i] = '\xFF';
  EXPECT_TRUE(
      absl::IsInvalidArgument(ReadNpyHeader(OpenBytes(bytes).get()).status()));
}

TEST(NpyTest, AnUnknownVersionIsRefused) {
  std::string bytes = BytesOf("float32");
  bytes[6] = 4;
  EXPECT_TRUE(
      absl::IsInvalidArgument(ReadNpyHeader(OpenBytes(bytes).get()).status()));
}

TEST(NpyTest, OurHeaderIsTheOneThatNumpyWrites) {
  for (const char* name : {"float16", "float32", "float64"}) {
    const std::string numpy = BytesOf(name);
    const auto header = ReadNpyHeader(OpenBytes(numpy).get());
    ASSERT_TRUE(header.ok());
    const std::string ours = NpyHeaderBytes(*header);
    EXPECT_EQ(ours, numpy.substr(0, ours.size())) << name;
  }
}

TEST(NpyTest, TheHeaderHasTheSameSizeForAnyNumberOfRows) {
  for (const size_t features : {1UL, 1000UL, 1UL << 20}) {
    const size_t size = NpyHeaderBytes({DataType::kFp64, {0, features}}).size();
    EXPECT_EQ(size % 64, 0U);
    for (const uint64_t rows : {uint64_t{1}, uint64_t{1} << 40, UINT64_MAX}) {
      EXPECT_EQ(NpyHeaderBytes({DataType::kFp64, {rows, features}}).size(),
                size);
    }
  }
}

TEST(NpyTest, OneDimensionIsWrittenAsATuple) {
  const auto header =
      ReadNpyHeader(OpenBytes(NpyHeaderBytes({DataType::kFp32, {7}})).get());
  ASSERT_TRUE(header.ok()) << header.status();
  EXPECT_THAT(header->shape, ElementsAre(7));
}

TEST(NpyTest, TypesHaveTheNamesThatPeopleUse) {
  EXPECT_EQ(ParseNumpyName("float32"), DataType::kFp32);
  EXPECT_EQ(ParseNumpyName("f8"), DataType::kFp64);
  EXPECT_EQ(ParseNumpyName("FP16"), DataType::kFp16);
  EXPECT_EQ(ParseNumpyName("int8"), std::nullopt);
}

}  // namespace
}  // namespace streamnorm
