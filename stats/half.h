#ifndef STREAMNORM_STATS_HALF_H_
#define STREAMNORM_STATS_HALF_H_

#include <cstdint>

namespace streamnorm {

// IEEE 754 binary16 and bfloat16, as bit patterns. Widening is exact;
// narrowing rounds to nearest, ties to even, overflows to infinity and keeps
// NaN a NaN.
float HalfToFloat(uint16_t bits);
uint16_t DoubleToHalf(double value);
float Bfloat16ToFloat(uint16_t bits);
uint16_t DoubleToBfloat16(double value);

// Elements of FP16 and BF16 tensors.
struct Half {
  uint16_t bits;
};
struct Bfloat16 {
  uint16_t bits;
};

// The value of an element of any type, exactly.
inline double ToDouble(double value) { return value; }
inline double ToDouble(float value) { return static_cast<double>(value); }
inline double ToDouble(Half value) {
  return static_cast<double>(HalfToFloat(value.bits));
}
inline double ToDouble(Bfloat16 value) {
  return static_cast<double>(Bfloat16ToFloat(value.bits));
}

}  // namespace streamnorm

#endif  // STREAMNORM_STATS_HALF_H_
