#include "lane/tensor_message.h"

#include <algorithm>
#include <array>
#include <cstdint>

#include "google/protobuf/io/coded_stream.h"
#include "lane/protobuf_wire.h"

namespace streamnorm {
namespace {

using google::protobuf::io::CodedOutputStream;

void AppendTensor(int field, v1::Tensor* tensor, size_t data_bytes,
                  std::string* to) {
  constexpr uint32_t kDataTag = LengthTag(v1::Tensor::kDataFieldNumber);
  std::string data;
  data.swap(*tensor->mutable_data());
  const size_t bytes = tensor->ByteSizeLong() +
                       CodedOutputStream::VarintSize32(kDataTag) +
                       CodedOutputStream::VarintSize64(data_bytes) + data_bytes;
  AppendVarint(LengthTag(field), to);
  AppendVarint(bytes, to);
  tensor->AppendToString(to);
  AppendVarint(kDataTag, to);
  AppendVarint(data_bytes, to);
  data.swap(*tensor->mutable_data());
}

// Writes fields to memory that is large enough, those that are 0 not at all, as
// libprotobuf does.
class FieldWriter {
 public:
  explicit FieldWriter(uint8_t* to) : to_(to) {}
  uint8_t* end() const { return to_; }

  void Varint(uint64_t value) {
    to_ = CodedOutputStream::WriteVarint64ToArray(value, to_);
  }
  void Number(int field, uint64_t value) {
    if (value == 0) return;
    Varint(VarintTag(field));
    Varint(value);
  }
  // [begin, end)
  template <typename Byte>
  void Bytes(int field, const Byte* begin, const Byte* end) {
    if (begin == end) return;
    Varint(LengthTag(field));
    Varint(static_cast<uint64_t>(end - begin));
    Copy(begin, end);
  }
  template <typename Byte>
  void Copy(const Byte* begin, const Byte* end) {
    to_ = std::copy(begin, end, to_);
  }

 private:
  uint8_t* to_;
};

// Ids have 16 bytes, shapes one or two dimensions.
constexpr size_t kPlainIdBytes = 32;
constexpr int kPlainDimensions = 4;
// 11 numbers of the answer, its id, and the tensor: type, shape and sizes.
constexpr size_t kPlainBytes =
    11 * 11 + 2 + kPlainIdBytes + 2 * 11 + 10 * kPlainDimensions + 4 * 11;

// The answer to an ordinary request: each one has it, so it is written without
// libprotobuf, which goes over a message twice.
bool IsPlain(const v1::NormalizeResponse& response) {
  const v1::Tensor& output = response.output();
  return !response.has_status() && output.values().empty() &&
         response.history_id().size() <= kPlainIdBytes &&
         output.shape_size() <= kPlainDimensions;
}

void AppendPlain(const v1::NormalizeResponse& response, size_t data_bytes,
                 std::string* to) {
  using Response = v1::NormalizeResponse;
  const v1::Tensor& output = response.output();
  std::array<uint8_t, 10 * kPlainDimensions> shape;
  FieldWriter dimensions(shape.data());
  for (const int64_t dimension : output.shape()) {
    dimensions.Varint(static_cast<uint64_t>(dimension));
  }
  std::array<uint8_t, 11 + 11 + shape.size() + 11> tensor;
  FieldWriter fields(tensor.data());
  fields.Number(v1::Tensor::kDatatypeFieldNumber,
                static_cast<uint64_t>(output.datatype()));
  fields.Bytes<uint8_t>(v1::Tensor::kShapeFieldNumber, shape.data(),
                        dimensions.end());
  fields.Varint(LengthTag(v1::Tensor::kDataFieldNumber));
  fields.Varint(data_bytes);

  std::array<uint8_t, kPlainBytes> bytes;
  FieldWriter all(bytes.data());
  all.Number(Response::kRevisionFieldNumber, response.revision());
  all.Number(Response::kRowCountFieldNumber, response.row_count());
  all.Number(Response::kCountedRowsFieldNumber, response.counted_rows());
  all.Number(Response::kDuplicateFieldNumber, response.duplicate());
  all.Number(Response::kDurableSequenceFieldNumber,
             response.durable_sequence());
  all.Number(Response::kGenerationFieldNumber, response.generation());
  all.Number(Response::kIncarnationFieldNumber, response.incarnation());
  const std::string& history_id = response.history_id();
  all.Bytes(Response::kHistoryIdFieldNumber, history_id.data(),
            history_id.data() + history_id.size());
  all.Number(Response::kNonfiniteValuesFieldNumber,
             response.nonfinite_values());
  all.Number(Response::kClippedValuesFieldNumber, response.clipped_values());
  all.Number(Response::kWarmingUpFieldNumber, response.warming_up());
  all.Number(Response::kFrozenFieldNumber, response.frozen());
  all.Varint(LengthTag(Response::kOutputFieldNumber));
  all.Varint(static_cast<size_t>(fields.end() - tensor.data()) + data_bytes);
  all.Copy<uint8_t>(tensor.data(), fields.end());
  to->append(reinterpret_cast<const char*>(bytes.data()),
             static_cast<size_t>(all.end() - bytes.data()));
}

}  // namespace

void AppendUpToData(v1::NormalizeRequest* request, size_t data_bytes,
                    std::string* to) {
  v1::Tensor input;
  input.Swap(request->mutable_input());
  request->clear_input();
  request->AppendToString(to);
  input.Swap(request->mutable_input());
  AppendTensor(v1::NormalizeRequest::kInputFieldNumber,
               request->mutable_input(), data_bytes, to);
}

void AppendUpToData(v1::NormalizeResponse* response, size_t data_bytes,
                    std::string* to) {
  if (IsPlain(*response)) return AppendPlain(*response, data_bytes, to);
  v1::Tensor output;
  output.Swap(response->mutable_output());
  response->clear_output();
  response->AppendToString(to);
  output.Swap(response->mutable_output());
  AppendTensor(v1::NormalizeResponse::kOutputFieldNumber,
               response->mutable_output(), data_bytes, to);
}

}  // namespace streamnorm
