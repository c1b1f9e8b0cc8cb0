#include "stats/half.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <cfloat>
#include <cmath>
#include <cstdint>
#include <limits>
#include <random>
#include <vector>

#include "tests/stats/oracle.h"

namespace streamnorm {
namespace {

struct Format {
  const char* name;
  float (*widen)(uint16_t);
  uint16_t (*narrow)(double);
  uint16_t infinity;
  double overflow;  // the number after the largest, had it one exponent more
};

constexpr Format kFormats[] = {
    {"FP16", HalfToFloat, DoubleToHalf, 0x7c00, 0x1p16},
    {"BF16", Bfloat16ToFloat, DoubleToBfloat16, 0x7f80, 0x1p128},
};

class HalfTest : public testing::TestWithParam<Format> {
 protected:
  HalfTest() {
    for (int bits = 0; bits < format_.infinity; ++bits) {
      numbers_.push_back(
          static_cast<double>(format_.widen(static_cast<uint16_t>(bits))));
    }
    numbers_.push_back(format_.overflow);
  }

  // The pattern nearest to `value`, found by search and exact comparison.
  uint16_t Nearest(double value) const {
    const uint16_t sign = std::signbit(value) ? 0x8000 : 0;
    const double magnitude = std::fabs(value);
    const auto above =
        std::lower_bound(numbers_.begin(), numbers_.end(), magnitude);
    if (above == numbers_.end()) return sign | format_.infinity;
    auto bits = static_cast<uint16_t>(above - numbers_.begin());
    if (*above != magnitude) {
      const Quad twice = Quad{magnitude} * 2;
      const Quad middle = Quad{*above} + *(above - 1);
      const bool odd = (bits & 1) != 0;
      if (twice < middle || (twice == middle && odd)) --bits;
    }
    return sign | bits;
  }

  void ExpectNearest(double value) const {
    ASSERT_EQ(format_.narrow(value), Nearest(value)) << value;
    ASSERT_EQ(format_.narrow(-value), Nearest(-value)) << -value;
  }

  const Format format_ = GetParam();
  std::vector<double> numbers_;  // by pattern, then `overflow`
};

TEST_P(HalfTest, EveryNumberSurvivesWideningAndNarrowing) {
  for (int i = 0; i < 0x10000; ++i) {
    const auto bits = static_cast<uint16_t>(i);
    const float wide = format_.widen(bits);
    if ((bits & 0x7fff) > format_.infinity) continue;  // NaN
    ASSERT_EQ(format_.narrow(static_cast<double>(wide)), bits) << i;
  }
}

TEST_P(HalfTest, EveryNanStaysANanOfItsSign) {
  for (int i = 0; i < 0x10000; ++i) {
    const auto bits = static_cast<uint16_t>(i);
    if ((bits & 0x7fff) <= format_.infinity) continue;
    const float wide = format_.widen(bits);
    ASSERT_TRUE(std::isnan(wide)) << i;
    const uint16_t back = format_.narrow(static_cast<double>(wide));
    ASSERT_GT(back & 0x7fff, format_.infinity) << i;
    ASSERT_EQ(back & 0x8000, bits & 0x8000) << i;
  }
}

TEST_P(HalfTest, WideningIsTheValueOfThePattern) {
  const int mantissa_bits = std::countr_zero(format_.infinity);
  const int bias = (format_.infinity >> mantissa_bits) / 2;
  for (int bits = 0; bits < format_.infinity; ++bits) {
    const int exponent = bits >> mantissa_bits;
    const int fraction = bits & ((1 << mantissa_bits) - 1);
    const int leading = exponent == 0 ? 0 : 1 << mantissa_bits;
    const double value = std::ldexp(
        leading + fraction, std::max(exponent, 1) - bias - mantissa_bits);
    ASSERT_EQ(numbers_[static_cast<size_t>(bits)], value) << bits;
    ASSERT_EQ(format_.widen(static_cast<uint16_t>(bits | 0x8000)),
              static_cast<float>(-value));
  }
}

TEST_P(HalfTest, TiesGoToEvenAndTheirNeighboursToTheNearest) {
  for (size_t i = 0; i + 1 < numbers_.size(); ++i) {
    const double middle = numbers_[i] / 2 + numbers_[i + 1] / 2;
    ExpectNearest(middle);
    ExpectNearest(std::nextafter(middle, 0.0));
    ExpectNearest(std::nextafter(middle, HUGE_VAL));
    ExpectNearest(std::nextafter(numbers_[i], HUGE_VAL));
    if (i > 0) ExpectNearest(std::nextafter(numbers_[i], 0.0));
  }
}

TEST_P(HalfTest, AnyNumberIsRoundedToTheNearest) {
  Random random(1);
  std::uniform_int_distribution<uint64_t> any;
  // Near the format's range, then anywhere a double can be.
  std::uniform_real_distribution<double> exponent(-150, 140);
  for (int i = 0; i < Repetitions(500000); ++i) {
    ExpectNearest(std::exp2(exponent(random)));
    const auto value = std::bit_cast<double>(any(random));
    if (!std::isnan(value)) ExpectNearest(value);
  }
}

TEST_P(HalfTest, WhatRoundsPastTheLargestIsInfinity) {
  const double largest = numbers_[numbers_.size() - 2];
  const double limit = largest / 2 + format_.overflow / 2;
  EXPECT_EQ(format_.narrow(largest), format_.infinity - 1);
  EXPECT_EQ(format_.narrow(std::nextafter(limit, 0.0)), format_.infinity - 1);
  EXPECT_EQ(format_.narrow(limit), format_.infinity);
  EXPECT_EQ(format_.narrow(DBL_MAX), format_.infinity);
  EXPECT_EQ(format_.narrow(HUGE_VAL), format_.infinity);
  EXPECT_EQ(format_.narrow(-HUGE_VAL), format_.infinity | 0x8000);
}

TEST_P(HalfTest, WhatIsTooSmallIsZeroOfItsSign) {
  const double smallest = numbers_[1];
  EXPECT_EQ(format_.narrow(smallest / 2), 0);
  EXPECT_EQ(format_.narrow(std::nextafter(smallest / 2, 1.0)), 1);
  EXPECT_EQ(format_.narrow(DBL_TRUE_MIN), 0);
  EXPECT_EQ(format_.narrow(-DBL_TRUE_MIN), 0x8000);
  EXPECT_EQ(format_.narrow(-0.0), 0x8000);
}

TEST_P(HalfTest, NanOfADoubleThatOnlyItsLowestBitMarksStaysNan) {
  const auto nan = std::bit_cast<double>(0x7ff0000000000001u);
  EXPECT_GT(format_.narrow(nan) & 0x7fff, format_.infinity);
}

INSTANTIATE_TEST_SUITE_P(Formats, HalfTest, testing::ValuesIn(kFormats),
                         [](const auto& test) { return test.param.name; });

// One rounding, where a detour over float would make two.
TEST(DoubleToHalf, RoundsOnceOnly) {
  const double just_above_tie = 1 + 0x1p-11 + 0x1p-40;
  EXPECT_EQ(
      DoubleToHalf(static_cast<double>(static_cast<float>(just_above_tie))),
      0x3c00);
  EXPECT_EQ(DoubleToHalf(just_above_tie), 0x3c01);
}

}  // namespace
}  // namespace streamnorm
