#include "lane/frame_reader.h"

#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

#include "absl/strings/str_cat.h"
#include "lane/unix_socket.h"

namespace streamnorm {
namespace {

// Holds 64 requests of 4 rows of 32 floats, and is small enough for 1,000
// connections. Larger messages get memory of their own size, until a small one
// comes.
constexpr size_t kBufferBytes = size_t{64} << 10;

}  // namespace

FrameReader::FrameReader(int fd, uint64_t max_message_bytes)
    : fd_(fd),
      max_message_bytes_(max_message_bytes),
      buffer_(new uint8_t[kBufferBytes]),
      capacity_(kBufferBytes),
      wanted_(kFrameHeaderBytes) {}

absl::StatusOr<std::optional<FrameReader::Frame>> FrameReader::Take() {
  wanted_ = kFrameHeaderBytes;
  if (available() < kFrameHeaderBytes) return std::nullopt;
  Frame frame;
  frame.header = DecodeFrameHeader(buffer_.get() + begin_);
  if (frame.header.bytes > max_message_bytes_) {
    return absl::ResourceExhaustedError(absl::StrCat(
        "a message of ", frame.header.bytes, " bytes, want at most ",
        max_message_bytes_, " (--max_message_bytes)"));
  }
  wanted_ += frame.header.bytes;
  if (available() < wanted_) return std::nullopt;
  frame.message = buffer_.get() + begin_ + kFrameHeaderBytes;
  begin_ += wanted_;
  last_ = wanted_;
  wanted_ = kFrameHeaderBytes;
  return frame;
}

// Moves what is left to the front, where the frame it begins will fit.
void FrameReader::MakeRoom() {
  const size_t left = available();
  const size_t capacity = std::max({kBufferBytes, wanted_, last_});
  if (capacity > capacity_ || capacity <= capacity_ / 2) {
    std::unique_ptr<uint8_t[]> buffer(new uint8_t[capacity]);
    std::memcpy(buffer.get(), buffer_.get() + begin_, left);
    buffer_ = std::move(buffer);
    capacity_ = capacity;
  } else if (begin_ > 0 && (left == 0 || begin_ + wanted_ > capacity_)) {
    std::memmove(buffer_.get(), buffer_.get() + begin_, left);
  } else {
    return;
  }
  begin_ = 0;
  end_ = left;
}

absl::StatusOr<bool> FrameReader::Receive(bool block) {
  MakeRoom();
  while (true) {
    const ssize_t got = recv(fd_, buffer_.get() + end_, capacity_ - end_,
                             block ? 0 : MSG_DONTWAIT);
    if (got > 0) {
      end_ += static_cast<size_t>(got);
      return false;
    }
    if (got == 0 && available() == 0) return true;
    if (got == 0) return absl::UnavailableError("cut off within a message");
    if (errno == EAGAIN || errno == EWOULDBLOCK) return false;
    if (errno != EINTR) return SocketError("receive");
  }
}

}  // namespace streamnorm
