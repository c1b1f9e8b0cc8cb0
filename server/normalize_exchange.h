#ifndef STREAMNORM_SERVER_NORMALIZE_EXCHANGE_H_
#define STREAMNORM_SERVER_NORMALIZE_EXCHANGE_H_

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "grpcpp/support/byte_buffer.h"
#include "grpcpp/support/slice.h"
#include "server/handler.h"
#include "server/normalize_message.h"

namespace streamnorm {

// One Normalize request and its answer, both in wire form: the way of a
// tensor's bytes from the network to the kernels and back. Each is copied once
// at most; a large batch in pieces is put together where its answer will be and
// normalized there. Not thread safe; to be used again and again.
class NormalizeExchange {
 public:
  // The request. Handle may be called once it is there.
  grpc::ByteBuffer* message() { return &message_; }
  size_t request_bytes() const { return message_.Length(); }

  // Calls `done` as Handler::Normalize does; INVALID_ARGUMENT if the message is
  // no NormalizeRequest. This must live until then.
  void Handle(Handler* handler, Handler::Done done);

  // What Handle's `done` was called with becomes the answer: for an error one
  // with its status.
  void Seal(const absl::Status& status);
  const grpc::ByteBuffer* answer() const { return &answer_; }

  void Clear();

 private:
  absl::string_view Data();
  uint8_t* NewOutput(size_t bytes);
  void SealWithOutput();

  grpc::ByteBuffer message_;
  ReceivedNormalize received_;
  std::vector<uint8_t> scratch_;  // a small batch that came in pieces
  ReusedResponse response_;
  std::string head_;    // the answer up to its data
  grpc::Slice output_;  // room for it, and the answer's output.data
  uint8_t* output_start_ = nullptr;
  size_t output_bytes_ = 0;
  grpc::ByteBuffer answer_;
};

}  // namespace streamnorm

#endif  // STREAMNORM_SERVER_NORMALIZE_EXCHANGE_H_
