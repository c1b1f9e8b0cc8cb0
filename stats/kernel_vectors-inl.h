// Vectors of doubles, loaded from and stored to elements of any type. Part of
// each file that is compiled once per instruction set (Highway's
// foreach_target).

#if defined(STREAMNORM_STATS_KERNEL_VECTORS_INL_H_) == \
    defined(HWY_TARGET_TOGGLE)
#ifdef STREAMNORM_STATS_KERNEL_VECTORS_INL_H_
#undef STREAMNORM_STATS_KERNEL_VECTORS_INL_H_
#else
#define STREAMNORM_STATS_KERNEL_VECTORS_INL_H_
#endif

#include <cstddef>
#include <cstdint>
#include <cstring>

#include "hwy/highway.h"
#include "stats/half.h"
#include "stats/tensor_view.h"

HWY_BEFORE_NAMESPACE();
namespace streamnorm {
namespace HWY_NAMESPACE {

// Of the caches, in bytes.
inline constexpr size_t kLine = 64;

namespace hn = hwy::HWY_NAMESPACE;

// All statistics are doubles: a vector of doubles, and as many elements beside
// it. What is left of a row goes through the same code a column at a time.
using Wide = hn::ScalableTag<double>;
using One = hn::CappedTag<double, 1>;

template <class D>
inline constexpr bool kIsOne = hn::MaxLanes(D()) == 1;

// The float16 conversions of Highway serve where the CPU has them (F16C, from
// AVX2 on): its emulation takes infinity for a number and -0 for 0.
#if HWY_TARGET <= HWY_AVX2 && !defined(HWY_DISABLE_F16C)
inline constexpr bool kHasHalf = true;
#else
inline constexpr bool kHasHalf = false;
#endif

// The float of each FP16 pattern. A pattern moved to the place of a float's
// bits is its value times 2^-112; what comes out past the largest FP16 number
// is infinite or NaN.
template <class DF, class D16 = hn::Rebind<uint16_t, DF>>
HWY_INLINE hn::Vec<DF> WidenHalf(DF df, hn::Vec<D16> bits16) {
  if constexpr (kHasHalf) {
    const hn::Rebind<hwy::float16_t, DF> half;
    return hn::PromoteTo(df, hn::BitCast(half, bits16));
  } else {
    const hn::RebindToUnsigned<DF> du;
    const auto bits = hn::PromoteTo(du, bits16);
    const auto sign = hn::ShiftLeft<16>(hn::And(bits, hn::Set(du, 0x8000u)));
    const auto rest = hn::ShiftLeft<13>(hn::And(bits, hn::Set(du, 0x7fffu)));
    const auto scaled = hn::Mul(hn::BitCast(df, rest), hn::Set(df, 0x1p112f));
    const auto special =
        hn::IfThenElseZero(hn::Ge(scaled, hn::Set(df, 0x1p16f)),
                           hn::BitCast(df, hn::Set(du, 0x7f800000u)));
    return hn::Or(hn::Or(scaled, special), hn::BitCast(df, sign));
  }
}

// The FP16 pattern of each float.
// REQUIRES: the floats are FP16 numbers.
template <class DF, class D16 = hn::Rebind<uint16_t, DF>>
HWY_INLINE hn::Vec<D16> NarrowToHalf(DF df, hn::Vec<DF> v) {
  const D16 d16;
  if constexpr (kHasHalf) {
    const hn::Rebind<hwy::float16_t, DF> half;
    return hn::BitCast(d16, hn::DemoteTo(half, v));
  } else {
    const hn::RebindToUnsigned<DF> du;
    const hn::RebindToSigned<DF> di;
    const auto scaled = hn::Mul(hn::Abs(v), hn::Set(df, 0x1p-112f));
    const auto sign =
        hn::And(hn::ShiftRight<16>(hn::BitCast(du, v)), hn::Set(du, 0x8000u));
    const auto rest = hn::ShiftRight<13>(hn::BitCast(du, scaled));
    return hn::DemoteTo(d16, hn::BitCast(di, hn::Or(sign, rest)));
  }
}

// Lanes(d) elements as they are compared: in double if they are, else in float,
// which holds any other type exactly. A single element goes through memcpy:
// LoadU would want it aligned.
template <class D>
HWY_INLINE hn::Vec<D> LoadNative(D d, const double* p) {
  if constexpr (kIsOne<D>) {
    return hn::Set(d, LoadElement<double>(p));
  } else {
    return hn::LoadU(d, p);
  }
}
template <class D, class DF = hn::Rebind<float, D>>
HWY_INLINE hn::Vec<DF> LoadNative(D, const float* p) {
  const DF floats;
  if constexpr (kIsOne<D>) {
    return hn::Set(floats, LoadElement<float>(p));
  } else {
    return hn::LoadU(floats, p);
  }
}
template <class D, class DF = hn::Rebind<float, D>>
HWY_INLINE hn::Vec<DF> LoadNative(D, const Half* p) {
  const DF floats;
  if constexpr (kIsOne<D>) {
    return hn::Set(floats, HalfToFloat(LoadElement<Half>(p).bits));
  } else {
    const hn::Rebind<uint16_t, D> patterns;
    const auto bits = hn::LoadU(patterns, reinterpret_cast<const uint16_t*>(p));
    return WidenHalf(floats, bits);
  }
}
template <class D, class DF = hn::Rebind<float, D>>
HWY_INLINE hn::Vec<DF> LoadNative(D, const Bfloat16* p) {
  const DF floats;
  if constexpr (kIsOne<D>) {
    return hn::Set(floats, Bfloat16ToFloat(LoadElement<Bfloat16>(p).bits));
  } else {
    const hn::Rebind<uint32_t, D> words;
    const hn::Rebind<uint16_t, D> patterns;
    const auto bits = hn::LoadU(patterns, reinterpret_cast<const uint16_t*>(p));
    return hn::BitCast(floats, hn::ShiftLeft<16>(hn::PromoteTo(words, bits)));
  }
}

// What LoadNative gave as doubles, exactly.
template <class D>
HWY_INLINE hn::Vec<D> Widen(D, hn::Vec<D> v) {
  return v;
}
template <class D, class DF = hn::Rebind<float, D>>
HWY_INLINE hn::Vec<D> Widen(D d, hn::Vec<DF> v) {
  return hn::PromoteTo(d, v);
}

template <class D, typename T>
HWY_INLINE hn::Vec<D> LoadWide(D d, const T* p) {
  return Widen(d, LoadNative(d, p));
}

// Rounds to `kMantissaBits` stored mantissa bits, to nearest, ties to even,
// and to the multiples of the smallest subnormal: adding 1.5 times a power of
// two that is so much larger leaves no lower bits.
// REQUIRES: the largest number of the format is not exceeded.
template <int kMantissaBits, class D>
HWY_INLINE hn::Vec<D> RoundTo16(D d, hn::Vec<D> v) {
  constexpr double kSmallestNormal = kMantissaBits == 10 ? 0x1p-14 : 0x1p-126;
  constexpr double kShift =
      1.5 * static_cast<double>(uint64_t{1} << (52 - kMantissaBits));
  const hn::RebindToUnsigned<D> bits;
  const auto exponent_only =
      hn::BitCast(d, hn::Set(bits, uint64_t{0x7ff0000000000000}));
  const auto magnitude = hn::Max(hn::Abs(v), hn::Set(d, kSmallestNormal));
  const auto large =
      hn::Mul(hn::And(magnitude, exponent_only), hn::Set(d, kShift));
  return hn::CopySign(hn::Sub(hn::Add(v, large), large), v);
}

// Doubles as elements of the type of `p`: a vector of float, double or, for
// Half and Bfloat16, of bit patterns.
template <class D>
HWY_INLINE hn::Vec<D> Narrow(D, hn::Vec<D> v, const double*) {
  return v;
}
template <class D, class DF = hn::Rebind<float, D>>
HWY_INLINE hn::Vec<DF> Narrow(D, hn::Vec<D> v, const float*) {
  return hn::DemoteTo(DF(), v);
}
template <class D, class D16 = hn::Rebind<uint16_t, D>>
HWY_INLINE hn::Vec<D16> Narrow(D d, hn::Vec<D> v, const Half*) {
  const hn::Rebind<float, D> floats;
  if constexpr (kIsOne<D>) {
    return hn::Set(D16(), DoubleToHalf(hn::GetLane(v)));
  } else {
    return NarrowToHalf(floats, hn::DemoteTo(floats, RoundTo16<10>(d, v)));
  }
}
template <class D, class D16 = hn::Rebind<uint16_t, D>>
HWY_INLINE hn::Vec<D16> Narrow(D d, hn::Vec<D> v, const Bfloat16*) {
  if constexpr (kIsOne<D>) {
    return hn::Set(D16(), DoubleToBfloat16(hn::GetLane(v)));
  } else {
    const hn::Rebind<float, D> floats;
    const hn::Rebind<uint32_t, D> words;
    const hn::Rebind<int32_t, D> signed_words;
    const auto rounded = hn::DemoteTo(floats, RoundTo16<7>(d, v));
    const auto bits = hn::ShiftRight<16>(hn::BitCast(words, rounded));
    return hn::DemoteTo(D16(), hn::BitCast(signed_words, bits));
  }
}

// How output is written: through the caches or past them.
enum class Way { kCached, kStreamed };

// Stores Lanes(d) doubles as elements.
// REQUIRES: if kStreamed and not a single element, `p` is aligned to as many.
template <Way kWay = Way::kCached, class D, typename T>
HWY_INLINE void StoreNarrow(D d, hn::Vec<D> v, T* p) {
  const auto narrowed = Narrow(d, v, p);
  const hn::DFromV<decltype(narrowed)> elements;
  using Element = hn::TFromD<decltype(elements)>;
  static_assert(sizeof(Element) == sizeof(T));
  if constexpr (kIsOne<D>) {
    const Element element = hn::GetLane(narrowed);
    std::memcpy(p, &element, sizeof(element));
  } else if constexpr (kWay == Way::kCached) {
    hn::StoreU(narrowed, elements, reinterpret_cast<Element*>(p));
  } else {
    hn::Stream(narrowed, elements, reinterpret_cast<Element*>(p));
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace streamnorm
HWY_AFTER_NAMESPACE();

#endif  // STREAMNORM_STATS_KERNEL_VECTORS_INL_H_
