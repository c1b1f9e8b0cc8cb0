#include "client/lane_channel.h"

#include <poll.h>
#include <sys/socket.h>
#include <sys/time.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <limits>
#include <utility>

#include "client/connection.h"
#include "google/rpc/status.pb.h"
#include "lane/tensor_message.h"

namespace streamnorm {
namespace {

using Clock = std::chrono::steady_clock;

// A server on the same machine greets within microseconds.
constexpr std::chrono::milliseconds kGreetingTimeout{1000};

// A thread that blocks in the kernel looks at its deadline this often.
constexpr timeval kBlockAtMost = {.tv_sec = 0, .tv_usec = 50'000};

// Up to here a tensor is copied next to the fields before it: cheaper than a
// second piece for the kernel.
constexpr size_t kCopiedBytes = size_t{16} << 10;

}  // namespace

LaneChannel::LaneChannel(UniqueFd fd)
    : fd_(std::move(fd)),
      // The server's limit holds.
      reader_(fd_.get(), std::numeric_limits<uint32_t>::max()) {}

absl::StatusOr<std::unique_ptr<LaneChannel>> LaneChannel::Connect(
    const std::string& path, const ServerIdentity& server) {
  auto fd = ConnectToUnixSocket(path);
  if (!fd.ok()) return fd.status();
  std::array<char, 8> magic = kLaneMagic;
  iovec part = {magic.data(), magic.size()};
  if (auto s = SendAll(fd->get(), &part, 1); !s.ok()) return s;
  std::array<uint8_t, kLaneHelloBytes> bytes;
  auto s =
      ReceiveExactly(fd->get(), bytes.data(), bytes.size(), kGreetingTimeout);
  if (!s.ok()) return s;
  const LaneHello hello = DecodeLaneHello(bytes.data());
  const absl::string_view history(
      reinterpret_cast<const char*>(hello.history_id.data()),
      hello.history_id.size());
  if (hello.magic != kLaneMagic || history != server.history_id ||
      hello.incarnation != server.incarnation) {
    return absl::FailedPreconditionError(path + ": another server's");
  }
  if (setsockopt(fd->get(), SOL_SOCKET, SO_RCVTIMEO, &kBlockAtMost,
                 sizeof(kBlockAtMost)) != 0) {
    return SocketError("SO_RCVTIMEO");
  }
  return std::unique_ptr<LaneChannel>(new LaneChannel(*std::move(fd)));
}

void LaneChannel::Write(v1::NormalizeRequest* request) {
  head_.assign(kFrameHeaderBytes, '\0');
  data_ = {};
  sent_ = 0;
  if (request->input().data().size() <= kCopiedBytes) {
    request->AppendToString(&head_);
  } else {
    data_ = request->input().data();
    AppendUpToData(request, data_.size(), &head_);
    data_ = request->input().data();
  }
  EncodeHeader(LaneMethod::kNormalize);
  Send();
}

void LaneChannel::EncodeHeader(LaneMethod method) {
  FrameHeader header;
  header.method = static_cast<uint8_t>(method);
  header.bytes = static_cast<uint32_t>(unsent() - kFrameHeaderBytes);
  EncodeFrameHeader(header, reinterpret_cast<uint8_t*>(head_.data()));
}

// As much as the socket takes.
void LaneChannel::Send() {
  while (unsent() > 0 && !broken()) {
    std::array<iovec, 2> parts;
    size_t count = 0;
    if (sent_ < head_.size()) {
      parts[count++] = {head_.data() + sent_, head_.size() - sent_};
    }
    const size_t data_sent = std::max(sent_, head_.size()) - head_.size();
    if (data_sent < data_.size()) {
      parts[count++] = {const_cast<char*>(data_.data()) + data_sent,
                        data_.size() - data_sent};
    }
    msghdr message{};
    message.msg_iov = parts.data();
    message.msg_iovlen = count;
    const ssize_t sent =
        sendmsg(fd_.get(), &message, MSG_NOSIGNAL | MSG_DONTWAIT);
    if (sent >= 0) {
      sent_ += static_cast<size_t>(sent);
    } else if (errno == EAGAIN || errno == EWOULDBLOCK) {
      return;
    } else if (errno != EINTR) {
      status_ = SocketError("lane: send");
    }
  }
}

SessionChannel::Event LaneChannel::Wait(Clock::time_point deadline) {
  if (!WaitForFrame(deadline)) {
    return broken() ? Event::kBroken : Event::kTimeout;
  }
  answer_.Clear();
  const int bytes = static_cast<int>(frame_.header.bytes);
  const bool parsed =
      (frame_.header.flags & kLaneError) != 0
          ? answer_.mutable_status()->ParseFromArray(frame_.message, bytes)
          : answer_.ParseFromArray(frame_.message, bytes);
  if (parsed) return Event::kAnswer;
  status_ = absl::UnavailableError("lane: an answer that is no message");
  return Event::kBroken;
}

absl::Status LaneChannel::Call(LaneMethod method,
                               const google::protobuf::MessageLite& request,
                               google::protobuf::MessageLite* response,
                               Clock::time_point deadline) {
  head_.assign(kFrameHeaderBytes, '\0');
  data_ = {};
  sent_ = 0;
  request.AppendToString(&head_);
  EncodeHeader(method);
  Send();
  if (!WaitForFrame(deadline)) {
    return broken() ? status_ : absl::DeadlineExceededError("lane: no answer");
  }
  const int bytes = static_cast<int>(frame_.header.bytes);
  if ((frame_.header.flags & kLaneError) == 0) {
    if (response->ParseFromArray(frame_.message, bytes)) {
      return absl::OkStatus();
    }
  } else if (google::rpc::Status error;
             error.ParseFromArray(frame_.message, bytes)) {
    return FromRpcStatus(error);
  }
  status_ = absl::UnavailableError("lane: an answer that is no message");
  return status_;
}

// Sends, and receives the next frame. False: broken, or the deadline came.
bool LaneChannel::WaitForFrame(Clock::time_point deadline) {
  Send();
  bool received = false;
  while (!broken()) {
    const auto frame = reader_.Take();
    if (!frame.ok()) {
      status_ = absl::UnavailableError(frame.status().message());
    } else if (*frame) {
      frame_ = **frame;
      return true;
    } else if (deadline == kNoWait) {
      if (std::exchange(received, true)) return false;
      Receive(/*block=*/false);
    } else if (Clock::now() >= deadline) {
      return false;
    } else {
      WaitForSocket(deadline);
    }
  }
  return false;
}

void LaneChannel::WaitForSocket(Clock::time_point deadline) {
  if (unsent() == 0) return Receive(/*block=*/true);
  // The server may be waiting for us to read before it reads on.
  const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(
      deadline - Clock::now());
  pollfd poller = {fd_.get(), POLLIN | POLLOUT, 0};
  constexpr int64_t kLongest = 1000;
  poll(&poller, 1,
       static_cast<int>(std::clamp<int64_t>(left.count() + 1, 1, kLongest)));
  Send();
  if ((poller.revents & POLLIN) != 0) Receive(/*block=*/false);
}

void LaneChannel::Receive(bool block) {
  const auto ended = reader_.Receive(block);
  if (!ended.ok()) {
    status_ = absl::UnavailableError(ended.status().message());
  } else if (*ended) {
    status_ = absl::UnavailableError("lane: the server ended the connection");
  }
}

}  // namespace streamnorm
