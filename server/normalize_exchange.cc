#include "server/normalize_exchange.h"

#include <grpc/slice.h>

#include <array>
#include <cstring>
#include <utility>

#include "lane/tensor_message.h"
#include "server/wire.h"

namespace streamnorm {
namespace {

// Up to here the answer's memory must not be the request's
// (Handler::Normalize).
constexpr size_t kSmallBytes = size_t{16} << 10;

// For the fields of an answer before its data: about 100 bytes. A multiple of
// a cache line, so that the data begins with one.
constexpr size_t kHeadRoom = 192;

}  // namespace

void NormalizeExchange::Handle(Handler* handler, Handler::Done done) {
  if (auto s = received_.Parse(message_); !s.ok()) return done(std::move(s));
  const absl::string_view data = Data();
  const auto space = [this](size_t bytes) {
    return output_start_ != nullptr && output_bytes_ == bytes
               ? output_start_
               : NewOutput(bytes);
  };
  const bool with_output = received_.request().mode() != v1::UPDATE_ONLY;
  handler->Normalize(received_.request(), data, space,
                     response_.Reset(with_output), std::move(done));
}

// The tensor's bytes in one piece.
absl::string_view NormalizeExchange::Data() {
  const size_t size = received_.data_bytes();
  if (size == 0 || received_.data().data() != nullptr) return received_.data();
  uint8_t* whole = nullptr;
  if (size > kSmallBytes && received_.request().mode() != v1::UPDATE_ONLY) {
    whole = NewOutput(size);
  } else {
    scratch_.resize(size);
    whole = scratch_.data();
  }
  received_.CopyData(whole);
  return {reinterpret_cast<const char*>(whole), size};
}

// With room for the fields before it, so that an answer is one slice.
uint8_t* NormalizeExchange::NewOutput(size_t bytes) {
  // (Not grpc_slice_malloc: a small one would hold its bytes itself, and they
  // would move with it.)
  grpc_slice memory = grpc_slice_malloc_large(kHeadRoom + bytes);
  output_start_ = GRPC_SLICE_START_PTR(memory) + kHeadRoom;
  output_bytes_ = bytes;
  output_ = grpc::Slice(memory, grpc::Slice::STEAL_REF);
  return output_start_;
}

void NormalizeExchange::Seal(const absl::Status& status) {
  v1::NormalizeResponse* response = response_.get();
  head_.clear();
  if (!status.ok()) {
    response->Clear();
    *response->mutable_status() = ToRpcStatus(status);
  }
  if (status.ok() && output_start_ != nullptr) {
    AppendUpToData(response, output_bytes_, &head_);
    SealWithOutput();
  } else {
    response->AppendToString(&head_);
    const grpc::Slice whole(head_);
    answer_ = grpc::ByteBuffer(&whole, 1);
  }
  output_start_ = nullptr;
}

void NormalizeExchange::SealWithOutput() {
  if (head_.size() > kHeadRoom) {
    const std::array<grpc::Slice, 2> both = {
        grpc::Slice(head_), output_.sub(kHeadRoom, output_.size())};
    answer_ = grpc::ByteBuffer(both.data(), both.size());
  } else {
    std::memcpy(output_start_ - head_.size(), head_.data(), head_.size());
    const grpc::Slice whole =
        output_.sub(kHeadRoom - head_.size(), output_.size());
    answer_ = grpc::ByteBuffer(&whole, 1);
  }
  output_ = grpc::Slice();
}

void NormalizeExchange::Clear() {
  message_.Clear();
  received_.Clear();
  output_ = grpc::Slice();
  output_start_ = nullptr;
  answer_.Clear();
}

}  // namespace streamnorm
