#include "tests/benchmarks/socket_client.h"

#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cstring>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/strip.h"
#include "tests/benchmarks/raw_messages.h"
#include "tests/benchmarks/socket_frames.h"

namespace streamnorm {
namespace {

class SocketClient : public PingPongClient {
 public:
  SocketClient(int socket, const Work& work) : socket_(socket) {
    RawMessages messages({}, {RawTarget()}, work.rows, work.features);
    std::vector<grpc::Slice> slices;
    static_cast<void>(messages.Next().Dump(&slices));
    for (const grpc::Slice& slice : slices) {
      message_.append(reinterpret_cast<const char*>(slice.begin()),
                      slice.size());
    }
  }
  ~SocketClient() override { close(socket_); }

 protected:
  absl::Status Once() override {
    if (!SendFrame(socket_, message_) || !ReceiveFrame(socket_, &answer_)) {
      return absl::UnavailableError("the connection broke");
    }
    if (answer_.size() == message_.size()) return absl::OkStatus();
    return absl::InternalError("an answer of another size");
  }

 private:
  const int socket_;
  std::string message_, answer_;
};

absl::StatusOr<std::unique_ptr<LoadClient>> Connect(const std::string& to,
                                                    const Work& work) {
  const absl::string_view path = absl::StripPrefix(to, "unix:");
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  std::memcpy(address.sun_path, path.data(),
              std::min(path.size(), sizeof(address.sun_path) - 1));
  const int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  auto client = std::make_unique<SocketClient>(fd, work);
  if (connect(fd, reinterpret_cast<sockaddr*>(&address), sizeof(address)) !=
      0) {
    return absl::UnavailableError(to);
  }
  return client;
}

}  // namespace

Side SocketEchoSide(const ServerProcess& echo, const Work& work) {
  return {echo.pid(),
          Connecting(work.clients, [address = echo.address(), work](size_t) {
            return Connect(address, work);
          })};
}

}  // namespace streamnorm
