#ifndef STREAMNORM_LANE_UNIX_SOCKET_H_
#define STREAMNORM_LANE_UNIX_SOCKET_H_

#include <sys/uio.h>

#include <chrono>
#include <cstddef>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace streamnorm {

// A file descriptor, closed at the end. Not thread safe.
class UniqueFd {
 public:
  UniqueFd() = default;
  explicit UniqueFd(int fd) : fd_(fd) {}
  UniqueFd(UniqueFd&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  UniqueFd& operator=(UniqueFd&& other) noexcept {
    std::swap(fd_, other.fd_);
    return *this;
  }
  ~UniqueFd();

  int get() const { return fd_; }

 private:
  int fd_ = -1;
};

// What sockaddr_un has room for, without its zero.
inline constexpr size_t kMaxSocketPathBytes = 107;

// Stream sockets at `path`; they don't block a call for ever unless told to.
// Listen takes the place of a socket that nobody listens on any more;
// UNAVAILABLE if somebody does, or if there is a file that is no socket.
absl::StatusOr<UniqueFd> ListenOnUnixSocket(const std::string& path);
absl::StatusOr<UniqueFd> ConnectToUnixSocket(const std::string& path);

// Sends all of `parts`, which are used up, or fails with UNAVAILABLE. Blocks.
absl::Status SendAll(int fd, iovec* parts, size_t count);

// Reads exactly `bytes`. UNAVAILABLE at the end, DEADLINE_EXCEEDED after
// `timeout`.
absl::Status ReceiveExactly(int fd, void* to, size_t bytes,
                            std::chrono::milliseconds timeout);

// "what: the system's word for errno", UNAVAILABLE.
absl::Status SocketError(const std::string& what);

}  // namespace streamnorm

#endif  // STREAMNORM_LANE_UNIX_SOCKET_H_
