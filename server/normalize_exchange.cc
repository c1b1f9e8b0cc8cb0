#include "server/normalize_exchange.h"

#include <grpc/slice.h>

#include <utility>

#include "server/wire.h"

namespace streamnorm {
namespace {

// Up to here the answer's memory must not be the request's
// (Handler::Normalize).
constexpr size_t kSmallBytes = size_t{16} << 10;

}  // namespace

void NormalizeExchange::Handle(Handler* handler, Handler::Done done) {
  if (auto s = received_.Parse(message_); !s.ok()) return done(std::move(s));
  const absl::string_view data = Data();
  const auto space = [this](size_t bytes) {
    return output_start_ != nullptr && output_.size() == bytes
               ? output_start_
               : NewOutput(bytes);
  };
  handler->Normalize(received_.request(), data, space, &response_,
                     std::move(done));
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

uint8_t* NormalizeExchange::NewOutput(size_t bytes) {
  // (Not grpc_slice_malloc: a small one would hold its bytes itself, and they
  // would move with it.)
  grpc_slice memory = grpc_slice_malloc_large(bytes);
  output_start_ = GRPC_SLICE_START_PTR(memory);
  output_ = grpc::Slice(memory, grpc::Slice::STEAL_REF);
  return output_start_;
}

void NormalizeExchange::Seal(const absl::Status& status) {
  if (!status.ok()) {
    response_.Clear();
    *response_.mutable_status() = ToRpcStatus(status);
  }
  if (status.ok() && output_start_ != nullptr) {
    answer_ = SerializeWithData(&response_, std::move(output_));
  } else {
    const grpc::Slice whole(response_.SerializeAsString());
    answer_ = grpc::ByteBuffer(&whole, 1);
  }
  output_start_ = nullptr;
}

void NormalizeExchange::Clear() {
  message_.Clear();
  received_.Clear();
  response_.Clear();
  output_ = grpc::Slice();
  output_start_ = nullptr;
  answer_.Clear();
}

}  // namespace streamnorm
