#ifndef STREAMNORM_CLIENT_LANE_CHANNEL_H_
#define STREAMNORM_CLIENT_LANE_CHANNEL_H_

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "client/session_channel.h"
#include "google/protobuf/message_lite.h"
#include "lane/frame.h"
#include "lane/frame_reader.h"
#include "lane/unix_socket.h"

namespace streamnorm {

// Whose lane it has to be: what OpenSession or ResumeSession said.
struct ServerIdentity {
  std::string history_id;
  uint64_t incarnation = 0;
};

// The lane (docs/lane.md): frames on a unix socket. Besides Normalize it
// carries MergeMoments and ExchangeMoments.
class LaneChannel final : public SessionChannel {
 public:
  // An error if nobody answers at `path`, or someone else than `server`.
  static absl::StatusOr<std::unique_ptr<LaneChannel>> Connect(
      const std::string& path, const ServerIdentity& server);

  bool can_write() const override { return unsent() == 0 && !broken(); }
  void Write(v1::NormalizeRequest* request) override;
  Event Wait(std::chrono::steady_clock::time_point deadline) override;
  v1::NormalizeResponse& answer() override { return answer_; }
  absl::Status status() override { return status_; }

  // One request and its answer. The server's error, UNAVAILABLE if the
  // connection broke, DEADLINE_EXCEEDED: then the channel is of no more use.
  // REQUIRES: every request was answered.
  absl::Status Call(LaneMethod method,
                    const google::protobuf::MessageLite& request,
                    google::protobuf::MessageLite* response,
                    std::chrono::steady_clock::time_point deadline);

 private:
  explicit LaneChannel(UniqueFd fd);

  bool broken() const { return !status_.ok(); }
  size_t unsent() const { return head_.size() + data_.size() - sent_; }
  void EncodeHeader(LaneMethod method);
  void Send();
  void Receive(bool block);
  void WaitForSocket(std::chrono::steady_clock::time_point deadline);
  bool WaitForFrame(std::chrono::steady_clock::time_point deadline);

  const UniqueFd fd_;
  FrameReader reader_;
  FrameReader::Frame frame_;
  v1::NormalizeResponse answer_;

  // What is being sent: the frame up to the tensor's bytes, and these, which
  // are the request's.
  std::string head_;
  absl::string_view data_;
  size_t sent_ = 0;
  absl::Status status_;  // not OK: broken
};

}  // namespace streamnorm

#endif  // STREAMNORM_CLIENT_LANE_CHANNEL_H_
