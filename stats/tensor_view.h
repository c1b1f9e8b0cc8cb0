#ifndef STREAMNORM_STATS_TENSOR_VIEW_H_
#define STREAMNORM_STATS_TENSOR_VIEW_H_

#include <cstddef>
#include <cstdint>
#include <cstring>

namespace streamnorm {

enum class DataType : uint8_t { kFp32, kFp64, kFp16, kBf16 };

// Bytes of one element.
size_t ElementSize(DataType type);

// "FP32", "FP64", "FP16" or "BF16".
const char* DataTypeName(DataType type);

// The largest finite value the type can hold.
double LargestFinite(DataType type);

// Rows of feature values that someone else owns: row-major, little-endian,
// no padding, no alignment needed.
struct TensorView {
  const uint8_t* data = nullptr;
  DataType type = DataType::kFp32;
  size_t rows = 0;
  size_t features = 0;

  size_t size_bytes() const { return rows * features * ElementSize(type); }
};

// The element at `p`, which needs no alignment.
template <typename T>
T LoadElement(const void* p) {
  T value;
  std::memcpy(&value, p, sizeof(value));
  return value;
}

// Converts `count` elements starting at element `first` to double / float /
// from double; double to a narrower type rounds to nearest, ties to even.
void LoadAsDouble(const TensorView& view, size_t first, size_t count,
                  double* out);
void StoreFromDouble(const double* values, size_t count, DataType type,
                     uint8_t* out);

}  // namespace streamnorm

#endif  // STREAMNORM_STATS_TENSOR_VIEW_H_
