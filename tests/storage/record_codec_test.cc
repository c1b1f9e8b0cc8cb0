#include "storage/record_codec.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <iterator>
#include <limits>
#include <random>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "storage/key_codec.h"
#include "storage/value_format.h"
#include "tests/storage/golden_values.h"
#include "tests/storage/record_builders.h"

namespace streamnorm {
namespace {

using testing::HasSubstr;

constexpr size_t kVersionOffset = 8;
constexpr size_t kBodyOffset = 12;
constexpr double kNan = std::numeric_limits<double>::quiet_NaN();
constexpr double kInfinity = std::numeric_limits<double>::infinity();

// `value` with the checksum that its bytes should have.
std::string Sealed(std::string_view key, std::string value) {
  const uint64_t checksum =
      ValueChecksum(key, std::string_view(value).substr(kVersionOffset));
  std::memcpy(value.data(), &checksum, sizeof(checksum));
  return value;
}

// A string view on memory of its own size: a read past it is found by ASan.
class Exactly {
 public:
  explicit Exactly(std::string_view bytes)
      : bytes_(bytes.begin(), bytes.end()) {}
  // Implicit, to stand where a view stands.
  operator std::string_view() const {  // NOLINT(google-explicit-constructor)
    return {bytes_.data(), bytes_.size()};
  }

 private:
  std::vector<char> bytes_;
};

class EveryRecordTest : public testing::TestWithParam<GoldenValue> {
 protected:
  absl::Status Decode(std::string_view value) {
    return GetParam().decode(GetParam().key, Exactly(value));
  }
  const std::string& value() { return GetParam().value; }
  std::string GoldenBytes() {
    const std::string name = absl::StrCat("/storage_v", GetParam().format, "/",
                                          GetParam().name, ".bin");
    std::ifstream file(STREAMNORM_TEST_DATA + name, std::ios::binary);
    return {std::istreambuf_iterator<char>(file), {}};
  }
};

TEST_P(EveryRecordTest, ComesBackAsItWas) {
  EXPECT_TRUE(GetParam().says_the_same(value())) << Decode(value());
}

TEST_P(EveryRecordTest, GoldenBytesAreStillWritten) {
  EXPECT_EQ(value(), GoldenBytes());
}

TEST_P(EveryRecordTest, GoldenBytesAreStillRead) {
  const std::string golden = GoldenBytes();
  EXPECT_TRUE(GetParam().says_the_same(golden)) << Decode(golden);
}

TEST_P(EveryRecordTest, EveryTruncationIsDataLoss) {
  for (size_t size = 0; size < value().size(); ++size) {
    const absl::Status status = Decode(value().substr(0, size));
    EXPECT_TRUE(absl::IsDataLoss(status)) << size << " bytes: " << status;
  }
}

TEST_P(EveryRecordTest, EveryFlippedBitIsDataLoss) {
  for (size_t bit = 0; bit < 8 * value().size(); ++bit) {
    std::string damaged = value();
    damaged[bit / 8] = static_cast<char>(damaged[bit / 8] ^ (1 << bit % 8));
    const absl::Status status = Decode(damaged);
    EXPECT_TRUE(absl::IsDataLoss(status)) << "bit " << bit << ": " << status;
  }
}

TEST_P(EveryRecordTest, ValueUnderAnotherKeyIsDataLoss) {
  std::string key = GetParam().key;
  key.back() = key.back() == 'b' ? 'c' : 'b';
  EXPECT_TRUE(absl::IsDataLoss(GetParam().decode(key, value())));
}

TEST_P(EveryRecordTest, NewerVersionIsRefusedAsSuch) {
  std::string newer = value();
  const uint32_t version = GetParam().newest_version + 1;
  newer[kVersionOffset] = static_cast<char>(version);
  const absl::Status status = Decode(Sealed(GetParam().key, newer));
  EXPECT_TRUE(absl::IsFailedPrecondition(status)) << status;
  EXPECT_THAT(std::string(status.message()),
              HasSubstr(absl::StrCat("version: ", version)));
}

TEST_P(EveryRecordTest, AnotherVersionWithTheSameBytesIsNeverTheSame) {
  for (uint32_t v = 1; v <= GetParam().newest_version; ++v) {
    std::string other = value();
    if (other[kVersionOffset] == static_cast<char>(v)) continue;
    other[kVersionOffset] = static_cast<char>(v);
    EXPECT_TRUE(absl::IsDataLoss(Decode(Sealed(GetParam().key, other))));
  }
}

TEST_P(EveryRecordTest, VersionZeroIsDataLoss) {
  std::string bad = value();
  bad[kVersionOffset] = 0;
  EXPECT_TRUE(absl::IsDataLoss(Decode(Sealed(GetParam().key, bad))));
}

// With the right checksum: what a writer's bug would leave.
TEST_P(EveryRecordTest, SealedTruncationIsNeverTheSameRecord) {
  for (size_t size = kBodyOffset; size < value().size(); ++size) {
    const std::string cut = Sealed(GetParam().key, value().substr(0, size));
    EXPECT_FALSE(GetParam().says_the_same(Exactly(cut))) << size << " bytes";
  }
}

TEST_P(EveryRecordTest, SealedGarbageNeitherCrashesNorTakesMemory) {
  std::mt19937_64 random(7);
  for (int round = 0; round < 20'000; ++round) {
    std::string bad = value();
    const size_t changes = 1 + random() % 8;
    for (size_t i = 0; i < changes && bad.size() > kBodyOffset; ++i) {
      const size_t at = kBodyOffset + random() % (bad.size() - kBodyOffset);
      bad[at] = static_cast<char>(random() % 3 == 0 ? 0xff : random());
    }
    bad.resize(bad.size() - random() % (bad.size() - kBodyOffset + 1));
    const absl::Status status = Decode(Sealed(GetParam().key, bad));
    ASSERT_TRUE(status.ok() || absl::IsDataLoss(status)) << status;
  }
}

INSTANTIATE_TEST_SUITE_P(All, EveryRecordTest,
                         testing::ValuesIn(GoldenValues()),
                         [](const testing::TestParamInfo<GoldenValue>& golden) {
                           return golden.param.name;
                         });

// Run by hand, once per format: STREAMNORM_CHILD_ARGUMENT is the directory.
// Only what the newest format added.
TEST(GoldenValuesTest, DISABLED_AreWritten) {
  const char* directory = std::getenv("STREAMNORM_CHILD_ARGUMENT");
  ASSERT_NE(directory, nullptr);
  const auto goldens = GoldenValues();
  int newest = 0;
  for (const auto& golden : goldens) newest = std::max(newest, golden.format);
  for (const GoldenValue& golden : goldens) {
    if (golden.format != newest) continue;
    std::ofstream file(std::string(directory) + "/" + golden.name + ".bin",
                       std::ios::binary);
    file << golden.value;
  }
}

// ---- States: what Decode says of one that breaks its invariants. ----

class StateInvariantTest : public testing::Test {
 protected:
  // Writes `bits` over the 8 bytes at `offset` of the encoded state.
  template <typename T>
  absl::Status DecodeWith(size_t offset, T number) {
    static_assert(sizeof(T) == 8);
    std::memcpy(value_.data() + offset, &number, sizeof(number));
    return DecodeState(key_, Sealed(key_, value_)).status();
  }

  size_t Column(size_t column, size_t feature) {
    return 64 + 8 * (column * 3 + feature);
  }

  void SetUp() override {
    NormalizerState state = StateOf("layer3", 3, 6, /*skipped=*/true);
    state.moments.set_feature_counts({6, 6, 6});
    state.moments.set_missing_counts({0, 0, 0});
    state.moments.set_infinite_counts({0, 0, 0});
    Encode(key_, state, &value_);
    ASSERT_TRUE(DecodeState(key_, value_).ok());
  }

  const std::string key_ = StateKey("layer3");
  std::string value_;
};

TEST_F(StateInvariantTest, MeanMustBeFinite) {
  EXPECT_THAT(std::string(DecodeWith(Column(0, 1), kNan).message()),
              HasSubstr("state of normalizers/layer3: mean[1]: nan"));
}

TEST_F(StateInvariantTest, MeanTailMustBeSmall) {
  EXPECT_THAT(std::string(DecodeWith(Column(1, 2), 1.0).message()),
              HasSubstr("mean_tail[2]: 1"));
}

TEST_F(StateInvariantTest, MeanTailMustBeANumber) {
  EXPECT_TRUE(absl::IsDataLoss(DecodeWith(Column(1, 2), kNan)));
}

TEST_F(StateInvariantTest, SquaresMustNotBeNegative) {
  EXPECT_THAT(std::string(DecodeWith(Column(2, 0), -1.0).message()),
              HasSubstr("m2[0]: -1"));
}

TEST_F(StateInvariantTest, SquaresMustBeFinite) {
  EXPECT_THAT(std::string(DecodeWith(Column(2, 0), kInfinity).message()),
              HasSubstr("m2[0]: inf"));
}

TEST_F(StateInvariantTest, SquaresTailMustBeSmall) {
  EXPECT_THAT(std::string(DecodeWith(Column(3, 0), 1e9).message()),
              HasSubstr("m2_tail[0]"));
}

TEST_F(StateInvariantTest, MinimumMustNotBeAboveMaximum) {
  EXPECT_THAT(std::string(DecodeWith(Column(4, 1), 1e300).message()),
              HasSubstr("minimum, maximum[1]"));
}

TEST_F(StateInvariantTest, ExtremesMustNotBeInfiniteTheWrongWay) {
  EXPECT_TRUE(absl::IsDataLoss(DecodeWith(Column(4, 1), -kInfinity)));
  EXPECT_TRUE(absl::IsDataLoss(DecodeWith(Column(5, 1), kInfinity)));
  EXPECT_TRUE(absl::IsDataLoss(DecodeWith(Column(5, 1), kNan)));
}

TEST_F(StateInvariantTest, ExtremesMayBeUnknown) {
  EXPECT_TRUE(DecodeWith(Column(4, 1), kInfinity).ok());
  EXPECT_TRUE(DecodeWith(Column(5, 1), -kInfinity).ok());
}

TEST_F(StateInvariantTest, NoCountMayExceedTheRows) {
  EXPECT_THAT(std::string(DecodeWith(Column(6, 0), uint64_t{7}).message()),
              HasSubstr("count[0]: 7, want at most row_count 6"));
  SetUp();
  EXPECT_THAT(std::string(DecodeWith(Column(7, 1), uint64_t{7}).message()),
              HasSubstr("missing_count[1]"));
  SetUp();
  EXPECT_THAT(std::string(DecodeWith(Column(8, 2), uint64_t{7}).message()),
              HasSubstr("infinite_count[2]"));
}

TEST_F(StateInvariantTest, FeatureWithoutValuesMustBeEmpty) {
  EXPECT_THAT(std::string(DecodeWith(Column(6, 0), uint64_t{0}).message()),
              HasSubstr("moments[0]"));
}

TEST_F(StateInvariantTest, BaseRowsMustNotExceedTheRows) {
  EXPECT_THAT(std::string(DecodeWith(40, uint64_t{7}).message()),
              HasSubstr("base_rows: 7"));
}

TEST_F(StateInvariantTest, HugeWidthIsDataLossBeforeMemoryIsTaken) {
  for (const uint64_t features :
       {uint64_t{4}, uint64_t{1} << 40, uint64_t{1} << 61, ~uint64_t{0}}) {
    SetUp();
    EXPECT_TRUE(absl::IsDataLoss(DecodeWith(16, features))) << features;
  }
}

TEST_F(StateInvariantTest, StateWithoutFeaturesIsDataLoss) {
  value_.resize(64);
  value_[12] = 0;  // no optional columns
  EXPECT_THAT(std::string(DecodeWith(16, uint64_t{0}).message()),
              HasSubstr("features: 0"));
}

TEST_F(StateInvariantTest, UnknownPartsAreDataLoss) {
  value_[12] = 8;
  EXPECT_TRUE(absl::IsDataLoss(DecodeWith(16, uint64_t{3})));
}

TEST(StateCodecTest, EveryFoldedStateComesBackToTheLastBit) {
  for (const size_t features : {1u, 2u, 7u, 64u, 1000u}) {
    for (const size_t rows : {1u, 2u, 3u, 50u}) {
      for (const bool skipped : {false, true}) {
        const NormalizerState state = StateOf("x", features, rows, skipped);
        std::string value;
        Encode(StateKey("x"), state, &value);
        const absl::StatusOr<NormalizerState> decoded =
            DecodeState(StateKey("x"), value);
        ASSERT_TRUE(decoded.ok()) << decoded.status();
        EXPECT_TRUE(SameState(*decoded, state));
      }
    }
  }
}

TEST(StateCodecTest, StateWithoutRowsComesBack) {
  NormalizerState state;
  state.id = "new";
  state.moments = Moments(5);
  std::string value;
  Encode(StateKey("new"), state, &value);
  const absl::StatusOr<NormalizerState> decoded =
      DecodeState(StateKey("new"), value);
  ASSERT_TRUE(decoded.ok()) << decoded.status();
  EXPECT_TRUE(SameState(*decoded, state));
}

TEST(StateCodecDeathTest, StateThatIsNotFiniteIsNeverWritten) {
  NormalizerState state = StateOf("x", 2, 3);
  state.moments.mean()[1] = kNan;
  std::string value;
  EXPECT_DEATH(Encode(StateKey("x"), state, &value), "FindProblem");
}

TEST(StateCodecDeathTest, RecordUnderTheKeyOfAnotherIsNeverWritten) {
  const NormalizerState state = StateOf("x", 2, 3);
  std::string value;
  EXPECT_DEATH(Encode(StateKey("y"), state, &value), "key == StateKey");
}

// ---- The other records. ----

TEST(LedgerCodecTest, EmptyWindowCostsNoByte) {
  LedgerRecord ledger = LedgerOf("x", 1, 1);
  std::string value;
  Encode(LedgerKey("x", ledger.session), ledger, &value);
  EXPECT_EQ(value.size(), 28u);
}

TEST(LedgerCodecTest, EveryBitOfTheWindowComesBack) {
  LedgerRecord ledger = LedgerOf("x", 1, 1);
  const std::string key = LedgerKey("x", ledger.session);
  for (size_t bit = 1; bit < kSequenceWindow; ++bit) {
    ledger.window.reset();
    ledger.window.set(bit);
    std::string value;
    Encode(key, ledger, &value);
    EXPECT_EQ(value.size(), 28 + bit / 8 + 1);
    const absl::StatusOr<LedgerRecord> decoded = DecodeLedger(key, value);
    ASSERT_TRUE(decoded.ok()) << decoded.status();
    EXPECT_EQ(*decoded, ledger);
  }
}

TEST(LedgerCodecTest, FirstBitOfTheWindowMustBeClear) {
  LedgerRecord ledger = LedgerOf("x", 1, 3);
  const std::string key = LedgerKey("x", ledger.session);
  std::string value;
  Encode(key, ledger, &value);
  value[28] |= 1;
  const absl::Status status = DecodeLedger(key, Sealed(key, value)).status();
  EXPECT_THAT(std::string(status.message()), HasSubstr("window[0]"));
}

TEST(LedgerCodecTest, WindowLongerThanItsBitsIsDataLoss) {
  LedgerRecord ledger = LedgerOf("x", 1, 3);
  const std::string key = LedgerKey("x", ledger.session);
  std::string value;
  Encode(key, ledger, &value);
  value.resize(28 + kSequenceWindow / 8 + 1, '\x02');
  EXPECT_TRUE(absl::IsDataLoss(DecodeLedger(key, Sealed(key, value)).status()));
}

TEST(LedgerCodecTest, WindowHasOnlyOneWayToBeWritten) {
  LedgerRecord ledger = LedgerOf("x", 1, 3);
  const std::string key = LedgerKey("x", ledger.session);
  std::string value;
  Encode(key, ledger, &value);
  value.push_back('\0');
  EXPECT_TRUE(absl::IsDataLoss(DecodeLedger(key, Sealed(key, value)).status()));
}

TEST(LedgerCodecDeathTest, SetFirstBitIsNeverWritten) {
  LedgerRecord ledger = LedgerOf("x", 1, 3);
  ledger.window.set(0);
  std::string value;
  EXPECT_DEATH(Encode(LedgerKey("x", ledger.session), ledger, &value),
               "FindProblem");
}

TEST(DefinitionCodecTest, ManyFeatureNamesComeBack) {
  const NormalizerDefinition definition = DefinitionOf("x", 10'000);
  std::string value;
  Encode(DefinitionKey("x"), definition, &value);
  const absl::StatusOr<NormalizerDefinition> decoded =
      DecodeDefinition(DefinitionKey("x"), value);
  ASSERT_TRUE(decoded.ok()) << decoded.status();
  EXPECT_EQ(*decoded, definition);
}

TEST(DefinitionCodecTest, PriorMustFitTheFeatures) {
  NormalizerDefinition definition = DefinitionOf("x", 3);
  const std::string key = DefinitionKey("x");
  definition.warm_up.prior.mean = {1, 2, 3};
  definition.feature_names.clear();
  std::string value;
  Encode(key, definition, &value);
  value[kBodyOffset] = 4;  // features
  const absl::Status status =
      DecodeDefinition(key, Sealed(key, value)).status();
  EXPECT_THAT(std::string(status.message()), HasSubstr("prior.mean"));
}

TEST(DefinitionCodecDeathTest, DefinitionWithoutFeaturesIsNeverWritten) {
  NormalizerDefinition definition = DefinitionOf("x", 0);
  std::string value;
  EXPECT_DEATH(Encode(DefinitionKey("x"), definition, &value), "FindProblem");
}

}  // namespace
}  // namespace streamnorm
