#include "lane/tensor_message.h"

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
  v1::Tensor output;
  output.Swap(response->mutable_output());
  response->clear_output();
  response->AppendToString(to);
  output.Swap(response->mutable_output());
  AppendTensor(v1::NormalizeResponse::kOutputFieldNumber,
               response->mutable_output(), data_bytes, to);
}

}  // namespace streamnorm
