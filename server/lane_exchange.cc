#include "server/lane_exchange.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "lane/tensor_message.h"
#include "server/errors.h"
#include "server/rpc_status.h"
#include "stats/fused_update.h"

namespace streamnorm {

void LaneExchange::Handle(const FrameReader::Frame& frame, Handler* handler,
                          Handler::Done done) {
  method_ = static_cast<LaneMethod>(frame.header.method);
  output_ = {};
  const absl::string_view message(reinterpret_cast<const char*>(frame.message),
                                  frame.header.bytes);
  switch (method_) {
    case LaneMethod::kNormalize:
      return HandleNormalize(message, handler, std::move(done));
    case LaneMethod::kMergeMoments:
      return HandleMoments(&Handler::MergeMoments, message, handler,
                           std::move(done), &merge_, &merged_);
    case LaneMethod::kExchangeMoments:
      return HandleMoments(&Handler::ExchangeMoments, message, handler,
                           std::move(done), &exchange_, &exchanged_);
  }
  done(InvalidField("method", absl::StrCat(int{frame.header.method}),
                    "one of docs/lane.md"));
}

void LaneExchange::HandleNormalize(absl::string_view message, Handler* handler,
                                   Handler::Done done) {
  if (auto s = received_.Parse(message); !s.ok()) return done(std::move(s));
  const absl::string_view data = received_.data();
  const auto space = [this, data](size_t bytes) {
    return OutputSpace(data, bytes);
  };
  const bool with_output = received_.request().mode() != v1::UPDATE_ONLY;
  handler->Normalize(received_.request(), data, space,
                     normalized_.Reset(with_output), std::move(done));
}

// That of the input, which nobody needs afterwards, where Handler allows it.
uint8_t* LaneExchange::OutputSpace(absl::string_view input, size_t bytes) {
  auto* at = reinterpret_cast<uint8_t*>(const_cast<char*>(input.data()));
  if (bytes <= kFusedBytes || input.size() != bytes) {
    own_output_.resize(bytes);
    at = own_output_.data();
  }
  output_ = {reinterpret_cast<const char*>(at), bytes};
  return at;
}

template <typename Request, typename Response>
void LaneExchange::HandleMoments(
    void (Handler::*method)(const Request&, Response*, Handler::Done),
    absl::string_view message, Handler* handler, Handler::Done done,
    Request* request, Response* response) {
  response->Clear();
  if (!request->ParseFromArray(message.data(),
                               static_cast<int>(message.size()))) {
    return done(absl::InvalidArgumentError(absl::StrCat(
        "the message is no ", Request::descriptor()->full_name())));
  }
  (handler->*method)(*request, response, std::move(done));
}

void LaneExchange::KeepOutput() {
  const auto* at = reinterpret_cast<const uint8_t*>(output_.data());
  if (output_.empty() || at == own_output_.data()) return;
  own_output_.assign(at, at + output_.size());
  output_ = {reinterpret_cast<const char*>(own_output_.data()),
             own_output_.size()};
}

void LaneExchange::Seal(const absl::Status& status) {
  FrameHeader header;
  header.method = static_cast<uint8_t>(method_);
  head_.assign(kFrameHeaderBytes, '\0');
  if (!status.ok()) {
    header.flags = kLaneError;
    output_ = {};
    ToRpcStatus(status).AppendToString(&head_);
  } else if (method_ == LaneMethod::kMergeMoments) {
    merged_.AppendToString(&head_);
  } else if (method_ == LaneMethod::kExchangeMoments) {
    exchanged_.AppendToString(&head_);
  } else if (output_.data() != nullptr) {
    AppendUpToData(normalized_.get(), output_.size(), &head_);
  } else {
    normalized_.get()->AppendToString(&head_);
  }
  header.bytes =
      static_cast<uint32_t>(head_.size() - kFrameHeaderBytes + output_.size());
  EncodeFrameHeader(header, reinterpret_cast<uint8_t*>(head_.data()));
}

}  // namespace streamnorm
