#ifndef STREAMNORM_SERVER_LANE_EXCHANGE_H_
#define STREAMNORM_SERVER_LANE_EXCHANGE_H_

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "lane/frame_reader.h"
#include "server/handler.h"
#include "server/normalize_message.h"
#include "streamnorm/v1/normalizer_service.pb.h"

namespace streamnorm {

// One request of a lane and its answer, both in wire form. A large batch is
// normalized where it was received. Not thread safe; to be used again and
// again.
class LaneExchange {
 public:
  // Calls `done` as the handler does. The frame's memory must stay as it is
  // until the answer was sent, or KeepOutput called.
  void Handle(const FrameReader::Frame& frame, Handler* handler,
              Handler::Done done);

  // From now on the answer has memory of its own. (Not for an answer that is
  // being made: `done` may be called meanwhile.)
  void KeepOutput();

  // What Handle's `done` was called with becomes the answer.
  void Seal(const absl::Status& status);

  // The answer's bytes, one after the other. REQUIRES: sealed.
  absl::string_view head() const { return head_; }
  absl::string_view data() const { return output_; }

 private:
  void HandleNormalize(absl::string_view message, Handler* handler,
                       Handler::Done done);
  template <typename Request, typename Response>
  void HandleMoments(void (Handler::*method)(const Request&, Response*,
                                             Handler::Done),
                     absl::string_view message, Handler* handler,
                     Handler::Done done, Request* request, Response* response);
  uint8_t* OutputSpace(absl::string_view input, size_t bytes);

  LaneMethod method_{};
  ReceivedNormalize received_;
  ReusedResponse normalized_;
  v1::MergeMomentsRequest merge_;
  v1::MergeMomentsResponse merged_;
  v1::ExchangeMomentsRequest exchange_;
  v1::ExchangeMomentsResponse exchanged_;
  absl::string_view output_;  // the bytes of normalized_.output.data
  std::vector<uint8_t> own_output_;
  std::string head_;
};

}  // namespace streamnorm

#endif  // STREAMNORM_SERVER_LANE_EXCHANGE_H_
