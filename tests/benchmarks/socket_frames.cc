#include "tests/benchmarks/socket_frames.h"

#include <sys/socket.h>
#include <sys/uio.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstddef>
#include <cstring>

namespace streamnorm {
namespace {

// Large enough for a small message and its length.
constexpr size_t kFirstBytes = size_t{64} << 10;

bool ReceiveAll(int socket, char* to, size_t bytes) {
  while (bytes > 0) {
    const ssize_t got = recv(socket, to, bytes, 0);
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) return false;
    to += got;
    bytes -= static_cast<size_t>(got);
  }
  return true;
}

bool SendAll(int socket, const char* from, size_t bytes) {
  while (bytes > 0) {
    const ssize_t sent = send(socket, from, bytes, MSG_NOSIGNAL);
    if (sent < 0 && errno == EINTR) continue;
    if (sent <= 0) return false;
    from += sent;
    bytes -= static_cast<size_t>(sent);
  }
  return true;
}

}  // namespace

bool SendFrame(int socket, const std::string& message) {
  auto size = static_cast<uint32_t>(message.size());
  std::array<iovec, 2> parts = {
      {{&size, sizeof(size)},
       {const_cast<char*>(message.data()), message.size()}}};
  msghdr header{};
  header.msg_iov = parts.data();
  header.msg_iovlen = parts.size();
  ssize_t sent = 0;
  do {
    sent = sendmsg(socket, &header, MSG_NOSIGNAL);
  } while (sent < 0 && errno == EINTR);
  if (sent < static_cast<ssize_t>(sizeof(size))) return false;
  const size_t done = static_cast<size_t>(sent) - sizeof(size);
  return SendAll(socket, message.data() + done, message.size() - done);
}

bool ReceiveFrame(int socket, std::string* message) {
  thread_local std::array<char, kFirstBytes> first;
  ssize_t got = 0;
  do {
    got = recv(socket, first.data(), first.size(), 0);
  } while (got < 0 && errno == EINTR);
  uint32_t size = 0;
  if (got < static_cast<ssize_t>(sizeof(size))) return false;
  std::memcpy(&size, first.data(), sizeof(size));
  if (size > kMaxFrameBytes) return false;
  message->resize(size);
  const size_t here = std::min(static_cast<size_t>(got) - sizeof(size),
                               static_cast<size_t>(size));
  std::memcpy(message->data(), first.data() + sizeof(size), here);
  return ReceiveAll(socket, message->data() + here, size - here);
}

}  // namespace streamnorm
