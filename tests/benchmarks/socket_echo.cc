// streamnorm-socket-echo: answers every message on a unix socket with its own
// bytes: no gRPC, no protobuf, a thread per connection that blocks. The ceiling
// of a lane on this machine.

#include <signal.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <thread>

#include "tests/benchmarks/socket_frames.h"

namespace streamnorm {
namespace {

void Echo(int socket) {
  std::string message;
  while (ReceiveFrame(socket, &message) && SendFrame(socket, message)) {
  }
  close(socket);
}

int Listen(const std::string& path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path.size() >= sizeof(address.sun_path)) return -1;
  std::memcpy(address.sun_path, path.data(), path.size());
  const int listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  unlink(path.c_str());
  if (bind(listener, reinterpret_cast<sockaddr*>(&address), sizeof(address)) !=
          0 ||
      listen(listener, 128) != 0) {
    return -1;
  }
  return listener;
}

int Main(int argc, char** argv) {
  CLI::App app("Echoes messages on a unix socket", "streamnorm-socket-echo");
  std::string listen;
  std::string ignored;
  app.add_option("--listen", listen, "unix:PATH")->required();
  app.add_option("--data_dir", ignored, "Ignored");
  CLI11_PARSE(app, argc, argv);
  if (listen.rfind("unix:", 0) != 0) return EXIT_FAILURE;
  const int listener = Listen(listen.substr(5));
  if (listener < 0) return EXIT_FAILURE;
  std::printf("listening on %s\n", listen.c_str());
  std::fflush(stdout);
  while (true) {  // until a signal ends it
    const int socket = accept4(listener, nullptr, nullptr, SOCK_CLOEXEC);
    if (socket < 0) return EXIT_FAILURE;
    std::thread(Echo, socket).detach();
  }
}

}  // namespace
}  // namespace streamnorm

int main(int argc, char** argv) { return streamnorm::Main(argc, argv); }
