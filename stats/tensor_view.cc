#include "stats/tensor_view.h"

#include <cfloat>
#include <cstring>

#include "stats/half.h"

namespace streamnorm {
namespace {

template <typename Stored>
void StoreAs(Stored value, uint8_t* p) {
  std::memcpy(p, &value, sizeof(value));
}

}  // namespace

size_t ElementSize(DataType type) {
  switch (type) {
    case DataType::kFp32:
      return 4;
    case DataType::kFp64:
      return 8;
    case DataType::kFp16:
    case DataType::kBf16:
      return 2;
  }
  return 0;
}

const char* DataTypeName(DataType type) {
  switch (type) {
    case DataType::kFp32:
      return "FP32";
    case DataType::kFp64:
      return "FP64";
    case DataType::kFp16:
      return "FP16";
    case DataType::kBf16:
      return "BF16";
  }
  return "?";
}

double LargestFinite(DataType type) {
  switch (type) {
    case DataType::kFp32:
      return FLT_MAX;
    case DataType::kFp64:
      return DBL_MAX;
    case DataType::kFp16:
      return 65504.0;
    case DataType::kBf16:
      return 0x1.FEp127;
  }
  return 0;
}

void LoadAsDouble(const TensorView& view, size_t first, size_t count,
                  double* out) {
  const size_t size = ElementSize(view.type);
  const uint8_t* p = view.data + first * size;
  for (size_t i = 0; i < count; ++i, p += size) {
    switch (view.type) {
      case DataType::kFp32:
        out[i] = static_cast<double>(LoadElement<float>(p));
        break;
      case DataType::kFp64:
        out[i] = LoadElement<double>(p);
        break;
      case DataType::kFp16:
        out[i] = static_cast<double>(HalfToFloat(LoadElement<uint16_t>(p)));
        break;
      case DataType::kBf16:
        out[i] = static_cast<double>(Bfloat16ToFloat(LoadElement<uint16_t>(p)));
        break;
    }
  }
}

void StoreFromDouble(const double* values, size_t count, DataType type,
                     uint8_t* out) {
  const size_t size = ElementSize(type);
  for (size_t i = 0; i < count; ++i, out += size) {
    switch (type) {
      case DataType::kFp32:
        StoreAs(static_cast<float>(values[i]), out);
        break;
      case DataType::kFp64:
        StoreAs(values[i], out);
        break;
      case DataType::kFp16:
        StoreAs(DoubleToHalf(values[i]), out);
        break;
      case DataType::kBf16:
        StoreAs(DoubleToBfloat16(values[i]), out);
        break;
    }
  }
}

}  // namespace streamnorm
