#include "lane/unix_socket.h"

#include <poll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "absl/strings/str_cat.h"

namespace streamnorm {
namespace {

// More than a burst of clients that connect at once.
constexpr int kBacklog = 128;

absl::StatusOr<sockaddr_un> AddressOf(const std::string& path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path.empty() || path.size() > kMaxSocketPathBytes) {
    return absl::InvalidArgumentError(
        absl::StrCat(path, ": a path of ", path.size(), " bytes, want 1 to ",
                     kMaxSocketPathBytes));
  }
  std::memcpy(address.sun_path, path.c_str(), path.size() + 1);
  return address;
}

absl::StatusOr<UniqueFd> NewSocket() {
  UniqueFd fd(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (fd.get() < 0) return SocketError("socket");
  return fd;
}

// A server that was killed leaves its socket behind.
absl::Status RemoveAbandoned(const std::string& path) {
  struct stat info {};
  if (lstat(path.c_str(), &info) != 0) return absl::OkStatus();
  if (!S_ISSOCK(info.st_mode)) {
    return absl::UnavailableError(
        absl::StrCat(path, ": is there and no socket, want a path for one"));
  }
  if (ConnectToUnixSocket(path).ok()) {
    return absl::UnavailableError(
        absl::StrCat(path, ": another process listens there"));
  }
  return unlink(path.c_str()) == 0 ? absl::OkStatus() : SocketError(path);
}

// Leaves out the first `sent` bytes.
void Skip(size_t sent, iovec** parts, size_t* count) {
  while (*count > 0 && sent >= (*parts)->iov_len) {
    sent -= (*parts)->iov_len;
    ++*parts;
    --*count;
  }
  if (*count == 0) return;
  (*parts)->iov_base = static_cast<char*>((*parts)->iov_base) + sent;
  (*parts)->iov_len -= sent;
}

}  // namespace

UniqueFd::~UniqueFd() {
  if (fd_ >= 0) close(fd_);
}

absl::Status SocketError(const std::string& what) {
  return absl::UnavailableError(absl::StrCat(what, ": ", std::strerror(errno)));
}

absl::StatusOr<UniqueFd> ListenOnUnixSocket(const std::string& path) {
  const auto address = AddressOf(path);
  if (!address.ok()) return address.status();
  if (auto s = RemoveAbandoned(path); !s.ok()) return s;
  auto fd = NewSocket();
  if (!fd.ok()) return fd;
  if (bind(fd->get(), reinterpret_cast<const sockaddr*>(&*address),
           sizeof(*address)) != 0 ||
      listen(fd->get(), kBacklog) != 0) {
    return SocketError(path);
  }
  return fd;
}

absl::StatusOr<UniqueFd> ConnectToUnixSocket(const std::string& path) {
  const auto address = AddressOf(path);
  if (!address.ok()) return address.status();
  auto fd = NewSocket();
  if (!fd.ok()) return fd;
  // (Blocks only while the backlog is full.)
  if (connect(fd->get(), reinterpret_cast<const sockaddr*>(&*address),
              sizeof(*address)) != 0) {
    return SocketError(path);
  }
  return fd;
}

absl::Status SendAll(int fd, iovec* parts, size_t count) {
  while (true) {
    Skip(0, &parts, &count);  // empty ones
    if (count == 0) return absl::OkStatus();
    msghdr message{};
    message.msg_iov = parts;
    message.msg_iovlen = count;
    const ssize_t sent = sendmsg(fd, &message, MSG_NOSIGNAL);
    if (sent < 0 && errno != EINTR) return SocketError("send");
    if (sent > 0) Skip(static_cast<size_t>(sent), &parts, &count);
  }
}

absl::Status ReceiveExactly(int fd, void* to, size_t bytes,
                            std::chrono::milliseconds timeout) {
  const auto deadline = std::chrono::steady_clock::now() + timeout;
  auto* at = static_cast<char*>(to);
  while (bytes > 0) {
    const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(
        deadline - std::chrono::steady_clock::now());
    pollfd poller = {fd, POLLIN, 0};
    const int ready = left.count() <= 0
                          ? 0
                          : poll(&poller, 1, static_cast<int>(left.count()));
    if (ready == 0) return absl::DeadlineExceededError("receive: no answer");
    if (ready < 0 && errno != EINTR) return SocketError("poll");
    if (ready < 0) continue;
    const ssize_t got = recv(fd, at, bytes, 0);
    if (got == 0) return absl::UnavailableError("receive: the other end left");
    if (got < 0 && errno != EINTR) return SocketError("receive");
    if (got < 0) continue;
    at += got;
    bytes -= static_cast<size_t>(got);
  }
  return absl::OkStatus();
}

}  // namespace streamnorm
