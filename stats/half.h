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

}  // namespace streamnorm

#endif  // STREAMNORM_STATS_HALF_H_
