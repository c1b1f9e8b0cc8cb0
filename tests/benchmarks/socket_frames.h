#ifndef STREAMNORM_TESTS_BENCHMARKS_SOCKET_FRAMES_H_
#define STREAMNORM_TESTS_BENCHMARKS_SOCKET_FRAMES_H_

#include <cstdint>
#include <string>

namespace streamnorm {

// Messages on a blocking socket: four bytes of length (as the machine has
// them), then the message. Sent in one system call, received in one if it is
// all there.

// False if the connection is gone.
bool SendFrame(int socket, const std::string& message);

// Receives one; nothing of the next one may have been sent yet. Keeps the
// memory of `*message`.
bool ReceiveFrame(int socket, std::string* message);

// The most a frame may have: larger ones break the connection.
inline constexpr uint32_t kMaxFrameBytes = uint32_t{1} << 27;

}  // namespace streamnorm

#endif  // STREAMNORM_TESTS_BENCHMARKS_SOCKET_FRAMES_H_
