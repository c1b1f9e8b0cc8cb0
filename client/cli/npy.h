#ifndef STREAMNORM_CLIENT_CLI_NPY_H_
#define STREAMNORM_CLIENT_CLI_NPY_H_

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "client/cli/byte_source.h"
#include "stats/tensor_view.h"

namespace streamnorm {

// NumPy's .npy format (NEP 1; numpy.lib.format): a magic string, a version, the
// length of the header, the header (a Python dict as text), the elements.

// The first six bytes of every .npy file.
bool HasNpyMagic(absl::string_view bytes);

// What the header of an array says.
struct NpyHeader {
  DataType type = DataType::kFp32;  // kFp16, kFp32 or kFp64
  std::vector<uint64_t> shape;
};

// Takes the header off `input`; the elements follow. Versions 1, 2 and 3,
// little-endian float16, float32 and float64 in C order; everything else is
// INVALID_ARGUMENT saying how to convert it.
absl::StatusOr<NpyHeader> ReadNpyHeader(BufferedInput* input);

// A version 1 header. Its length depends only on the number of dimensions, so
// that it can be written again in place once the number of rows is known.
// REQUIRES: type is kFp16, kFp32 or kFp64.
std::string NpyHeaderBytes(const NpyHeader& header);

// "float32" and so on, as NumPy calls it; bfloat16 is not a NumPy type.
const char* NumpyName(DataType type);

// Of "float16", "f2", "fp16" and so on; absent for anything else.
std::optional<DataType> ParseNumpyName(absl::string_view name);

}  // namespace streamnorm

#endif  // STREAMNORM_CLIENT_CLI_NPY_H_
