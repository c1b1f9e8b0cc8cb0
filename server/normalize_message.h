#ifndef STREAMNORM_SERVER_NORMALIZE_MESSAGE_H_
#define STREAMNORM_SERVER_NORMALIZE_MESSAGE_H_

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "grpcpp/support/byte_buffer.h"
#include "grpcpp/support/slice.h"
#include "streamnorm/v1/normalizer_service.pb.h"

namespace streamnorm {

// A NormalizeRequest as it came from the wire. The bytes of its tensor
// (input.data), nearly all of it, stay where gRPC received them; libprotobuf
// reads the rest, so that everything it takes is taken: fields in any order and
// in pieces, unknown ones. Not thread safe; to be used again and again.
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
  bool CutData();
  absl::Status ParseWhole();

  std::vector<grpc::Slice> slices_;  // keep the memory of message_
  std::vector<absl::string_view> message_;
  v1::NormalizeRequest request_;
  std::string head_, input_;  // for Parse; kept for their memory
  std::vector<absl::string_view> pieces_;
  size_t data_bytes_ = 0;
};

// The bytes of `response` with `data` as its output.data.
// REQUIRES: response.output().data() is empty.
grpc::ByteBuffer SerializeWithData(v1::NormalizeResponse* response,
                                   grpc::Slice data);

}  // namespace streamnorm

#endif  // STREAMNORM_SERVER_NORMALIZE_MESSAGE_H_
