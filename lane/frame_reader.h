#ifndef STREAMNORM_LANE_FRAME_READER_H_
#define STREAMNORM_LANE_FRAME_READER_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "lane/frame.h"

namespace streamnorm {

// Takes frames off a socket, as many as come with one call to the kernel. A
// message lies in one piece, in memory that it is given to the caller to write
// to. Not thread safe.
class FrameReader {
 public:
  // Larger messages than `max_message_bytes` are an error.
  FrameReader(int fd, uint64_t max_message_bytes);

  struct Frame {
    FrameHeader header;
    uint8_t* message = nullptr;  // header.bytes of them; until the next call
  };

  // The next frame, if all of it was received already.
  absl::StatusOr<std::optional<Frame>> Take();

  // Receives more of it. `block` false: what is there now. True if the other
  // end sends no more, which within a frame is an error.
  absl::StatusOr<bool> Receive(bool block);

 private:
  size_t available() const { return end_ - begin_; }
  void MakeRoom();

  const int fd_;
  const uint64_t max_message_bytes_;
  std::unique_ptr<uint8_t[]> buffer_;
  size_t capacity_;
  size_t begin_ = 0;  // what was received and not taken
  size_t end_ = 0;
  size_t wanted_;  // bytes of the frame that begins at begin_, as far as known
  size_t last_ = 0;  // and of the last one that was taken
};

}  // namespace streamnorm

#endif  // STREAMNORM_LANE_FRAME_READER_H_
