#ifndef STREAMNORM_CLIENT_CLI_SERVER_PROCESS_H_
#define STREAMNORM_CLIENT_CLI_SERVER_PROCESS_H_

#include <sys/types.h>

#include <chrono>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace streamnorm {

struct ServerProcessOptions {
  std::string binary;
  std::string listen = "127.0.0.1:0";
  std::string data_dir;
  std::string log_path;                // appended to
  std::vector<std::string> arguments;  // further ones

  // Sanitizers make a start slow, a busy machine slower.
  std::chrono::seconds start_timeout{60};
};

// A streamnorm-server that lives no longer than this, nor than the thread that
// started it, however either ends. Not thread safe.
class ServerProcess {
 public:
  // Answers once the server is listening. UNAVAILABLE, with the end of its log,
  // if it doesn't within the timeout.
  static absl::StatusOr<std::unique_ptr<ServerProcess>> Start(
      const ServerProcessOptions& options);

  // Kills it if it still runs.
  ~ServerProcess();
  ServerProcess(const ServerProcess&) = delete;
  ServerProcess& operator=(const ServerProcess&) = delete;

  // Where it listens, with the port it got.
  const std::string& address() const { return address_; }
  pid_t pid() const { return pid_; }

  // kill -9; answers when it is gone.
  void Kill();

  // Asks it to end, and waits. An error if it had to be killed or failed.
  absl::Status Stop(std::chrono::seconds timeout);

 private:
  ServerProcess(pid_t pid, int output) : pid_(pid), output_(output) {}

  absl::Status ReadAddress(const ServerProcessOptions& options);

  const pid_t pid_;
  const int output_;  // its stdout
  std::string address_;
  bool ended_ = false;
};

}  // namespace streamnorm

#endif  // STREAMNORM_CLIENT_CLI_SERVER_PROCESS_H_
