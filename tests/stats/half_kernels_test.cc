// FP16 and BF16 through the vector loops, against the scalar conversions of
// stats/half.cc, which half_test holds to the definition of the formats.

#include <gtest/gtest.h>

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <vector>

#include "stats/half.h"
#include "stats/kernels.h"
#include "tests/stats/dispatch.h"
#include "tests/stats/oracle.h"

namespace streamnorm {
namespace {

constexpr size_t kPatterns = 0x10000;

uint16_t Narrow(double value, Half) { return DoubleToHalf(value); }
uint16_t Narrow(double value, Bfloat16) { return DoubleToBfloat16(value); }

template <typename T>
std::vector<T> AllPatterns() {
  std::vector<T> patterns(kPatterns);
  for (size_t i = 0; i < kPatterns; ++i) {
    patterns[i].bits = static_cast<uint16_t>(i);
  }
  return patterns;
}

class HalfKernelsTest : public DispatchTest {
 protected:
  template <typename T>
  void TestWidening() {
    const auto x = AllPatterns<T>();
    const std::vector<double> shift(kPatterns);
    std::vector<double> sum(kPatterns), squares(kPatterns);
    std::vector<double> low(kPatterns, kInfinity), high(kPatterns, -kInfinity);
    FoldRows(x.data(), 1, kPatterns, shift.data(),
             {sum.data(), squares.data(), low.data(), high.data()});
    for (size_t i = 0; i < kPatterns; ++i) {
      const double value = ToDouble(x[i]);
      if (std::isnan(value)) {
        ASSERT_TRUE(std::isnan(sum[i])) << i;
      } else {
        ASSERT_EQ(sum[i], value) << i;
        // The sign of zero shows in the extremes only.
        ASSERT_TRUE(SameBits(low[i], value)) << i;
        ASSERT_TRUE(SameBits(high[i], value)) << i;
      }
    }
  }

  // Every finite pattern times `scale`, where that is small enough.
  template <typename T>
  void TestNarrowing(double scale, double largest) {
    std::vector<T> x;
    for (const T pattern : AllPatterns<T>()) {
      const double z = ToDouble(pattern) * scale;
      if (std::fabs(z) <= largest) x.push_back(pattern);  // false for NaN
    }
    const std::vector<double> zero(x.size()), scales(x.size(), scale);
    std::vector<T> z(x.size());
    uint64_t clipped = 0;
    ASSERT_TRUE(ApplyRows(x.data(), 1, x.size(),
                          {zero.data(), zero.data(), scales.data()}, 0,
                          z.data(), &clipped));
    for (size_t i = 0; i < x.size(); ++i) {
      ASSERT_EQ(z[i].bits, Narrow(ToDouble(x[i]) * scale, T()))
          << ToDouble(x[i]) << " times " << scale;
    }
  }

  template <typename T>
  void TestAllNarrowing(double largest) {
    // Halves, ties and what is next to a tie, subnormal results, odd factors.
    for (const double scale : {1.0,
                               -1.0,
                               0.5,
                               1 + 0x1p-11,
                               1 + 0x1p-8,
                               1 + 0x1p-11 + 0x1p-50,
                               1 + 0x1p-8 - 0x1p-50,
                               1.0 / 3,
                               0x1p-8,
                               0x1p-14,
                               0x1.8p-15,
                               0x1p-24,
                               0x1.8p-25,
                               0x1p-120,
                               0x1p-126,
                               0x1.8p-130,
                               0x1.4p-133,
                               3e-40,
                               1e-60,
                               1e-300,
                               7.7,
                               1e3}) {
      ASSERT_NO_FATAL_FAILURE(TestNarrowing<T>(scale, largest)) << scale;
    }
  }

  // Rows whose vectors begin anywhere, and in an address that fits no type.
  template <typename T>
  void TestEveryLength() {
    for (size_t features = 1; features <= 70; ++features) {
      for (const size_t rows : {1u, 3u, 4u, 9u}) {
        const auto values = NormalValues(random_, rows * features, 1, 2);
        std::vector<uint8_t> in(values.size() * 2 + 1), out(in.size());
        for (size_t i = 0; i < values.size(); ++i) {
          const uint16_t bits = Narrow(values[i], T());
          std::memcpy(&in[2 * i + 1], &bits, 2);
        }
        const auto offset = NormalValues(random_, features, 1, 1);
        const auto tail = NormalValues(random_, features, 0, 1e-16);
        const auto scale = NormalValues(random_, features, 1, 0.3);
        uint64_t clipped = 0;
        ASSERT_TRUE(ApplyRows(reinterpret_cast<const T*>(&in[1]), rows,
                              features,
                              {offset.data(), tail.data(), scale.data()}, 0,
                              reinterpret_cast<T*>(&out[1]), &clipped));
        for (size_t i = 0; i < values.size(); ++i) {
          const size_t j = i % features;
          const double x = ToDouble(LoadElement<T>(&in[2 * i + 1]));
          ASSERT_EQ(LoadElement<uint16_t>(&out[2 * i + 1]),
                    Narrow((x - offset[j] - tail[j]) * scale[j], T()));
        }
      }
    }
  }

  Random random_{5};
};

TEST_P(HalfKernelsTest, EveryHalfIsWidenedAsByTheScalarCode) {
  TestWidening<Half>();
}

TEST_P(HalfKernelsTest, EveryBfloat16IsWidenedAsByTheScalarCode) {
  TestWidening<Bfloat16>();
}

TEST_P(HalfKernelsTest, HalfIsNarrowedAsByTheScalarCode) {
  TestAllNarrowing<Half>(65504);
}

TEST_P(HalfKernelsTest, Bfloat16IsNarrowedAsByTheScalarCode) {
  TestAllNarrowing<Bfloat16>(0x1.FEp127);
}

TEST_P(HalfKernelsTest, EveryLengthAtAnyAddress) {
  TestEveryLength<Half>();
  TestEveryLength<Bfloat16>();
}

TEST_P(HalfKernelsTest, WhatDoesNotFitIsFound) {
  const double zero = 0, twice = 2;
  const ForwardColumns table{&zero, &zero, &twice};
  uint64_t clipped = 0;
  Half half{DoubleToHalf(40000)}, half_z;
  EXPECT_FALSE(ApplyRows(&half, 1, 1, table, 0, &half_z, &clipped));
  Bfloat16 wide{DoubleToBfloat16(2e38)}, wide_z;
  EXPECT_FALSE(ApplyRows(&wide, 1, 1, table, 0, &wide_z, &clipped));
}

STREAMNORM_FOR_ALL_TARGETS(HalfKernelsTest);

}  // namespace
}  // namespace streamnorm
