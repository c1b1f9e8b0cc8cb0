#ifndef STREAMNORM_SERVER_NORMALIZE_MESSAGE_H_
#define STREAMNORM_SERVER_NORMALIZE_MESSAGE_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "grpcpp/support/byte_buffer.h"
#include "grpcpp/support/slice.h"
#include "streamnorm/v1/normalizer_service.pb.h"

namespace streamnorm {

class MessageCursor;

// A NormalizeRequest as it came from the wire. The bytes of its tensor
// (input.data), nearly all of it, stay where gRPC received them; the few fields
// before them are read here, without a copy or an allocation, and what no
// generated client sends (a tensor in two parts, numbers as `values`) by
// libprotobuf: everything it takes is taken, but unknown fields are not kept.
// Not thread safe; to be used again and again.
class ReceivedNormalize {
 public:
  // INVALID_ARGUMENT if `message` is no NormalizeRequest. Keeps `message`'s
  // memory until the next Parse or Clear.
  absl::Status Parse(const grpc::ByteBuffer& message);

  // The same; `message` must live until then.
  absl::Status Parse(absl::string_view message);
  void Clear();

  // All but the tensor's bytes.
  const v1::NormalizeRequest& request() const { return request_; }

  // The tensor's bytes.
  size_t data_bytes() const { return data_bytes_; }

  // Them, if they lie in one piece; else null data, and CopyData puts them
  // together.
  absl::string_view data() const;
  void CopyData(uint8_t* to) const;

 private:
  absl::Status ParseMessage();
  bool ReadField(uint32_t tag, MessageCursor* cursor);
  bool ReadUpdateIdField(uint32_t tag, MessageCursor* cursor, v1::UpdateId* id);
  bool ReadInputField(uint32_t tag, MessageCursor* cursor, v1::Tensor* input);
  v1::UpdateId* UpdateId();
  v1::Tensor* Input();
  absl::Status ParseWhole();

  std::vector<grpc::Slice> slices_;  // keep the memory of message_
  std::vector<absl::string_view> message_;
  v1::NormalizeRequest request_;
  // Those of an earlier request_, for their memory.
  std::unique_ptr<v1::UpdateId> update_id_;
  std::unique_ptr<v1::Tensor> input_;
  std::vector<absl::string_view> pieces_;
  uint64_t data_bytes_ = 0;
};

// A NormalizeResponse that keeps its memory from one use to the next. Not
// thread safe.
class ReusedResponse {
 public:
  // Empties it; `with_output` if it will have one.
  v1::NormalizeResponse* Reset(bool with_output);
  v1::NormalizeResponse* get() { return &response_; }

 private:
  v1::NormalizeResponse response_;
  std::unique_ptr<v1::Tensor> output_;
};

}  // namespace streamnorm

#endif  // STREAMNORM_SERVER_NORMALIZE_MESSAGE_H_
