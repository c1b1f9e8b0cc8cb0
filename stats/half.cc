#include "stats/half.h"

#include <bit>
#include <cstdint>

namespace streamnorm {
namespace {

// Rounds to a format of 16 bits with `kMantissaBits` stored mantissa bits. The
// bits below the last one kept decide; a carry runs on into the exponent, and
// from the largest number to infinity. The detour over float would round twice.
template <int kMantissaBits>
uint16_t NarrowTo16(double value) {
  constexpr int kExponentBits = 15 - kMantissaBits;
  constexpr int kBias = (1 << (kExponentBits - 1)) - 1;
  constexpr uint64_t kInfinityBits = ((uint64_t{1} << kExponentBits) - 1)
                                     << kMantissaBits;
  const auto bits = std::bit_cast<uint64_t>(value);
  const auto sign = static_cast<uint16_t>((bits >> 48) & 0x8000u);
  const int exponent = static_cast<int>((bits >> 52) & 0x7ffu) - 1023;
  const uint64_t mantissa = bits & ((uint64_t{1} << 52) - 1);
  if (exponent > kBias) {
    const bool nan = exponent == 1024 && mantissa != 0;
    const uint64_t quiet = nan ? uint64_t{1} << (kMantissaBits - 1) : 0;
    return static_cast<uint16_t>(sign | kInfinityBits | quiet);
  }
  const bool subnormal = exponent < 1 - kBias;
  // Subnormals share the smallest exponent: their leading bit is explicit.
  const int shift = 52 - kMantissaBits + (subnormal ? 1 - kBias - exponent : 0);
  if (shift > 54) return sign;  // below half of the smallest subnormal
  const uint64_t wide =
      subnormal ? mantissa | (uint64_t{1} << 52)
                : mantissa | (static_cast<uint64_t>(exponent + kBias) << 52);
  const uint64_t half = uint64_t{1} << (shift - 1);
  const uint64_t rest = wide & ((half << 1) - 1);
  uint64_t narrow = wide >> shift;
  if (rest > half || (rest == half && (narrow & 1) != 0)) ++narrow;
  return static_cast<uint16_t>(sign | narrow);
}

}  // namespace

float HalfToFloat(uint16_t bits) {
  const uint32_t sign = static_cast<uint32_t>(bits & 0x8000u) << 16;
  const uint32_t exponent = (bits >> 10) & 0x1fu;
  const uint32_t mantissa = bits & 0x3ffu;
  if (exponent == 0) {  // zero and subnormals: mantissa * 2^-24
    const float magnitude = static_cast<float>(mantissa) * 0x1p-24f;
    return std::bit_cast<float>(std::bit_cast<uint32_t>(magnitude) | sign);
  }
  const uint32_t wide_exponent = exponent == 0x1f ? 0xffu : exponent + 112u;
  return std::bit_cast<float>(sign | (wide_exponent << 23) | (mantissa << 13));
}

uint16_t DoubleToHalf(double value) { return NarrowTo16<10>(value); }

float Bfloat16ToFloat(uint16_t bits) {
  return std::bit_cast<float>(static_cast<uint32_t>(bits) << 16);
}

uint16_t DoubleToBfloat16(double value) { return NarrowTo16<7>(value); }

}  // namespace streamnorm
