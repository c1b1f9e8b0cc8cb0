#ifndef STREAMNORM_TESTS_BENCHMARKS_PEERS_H_
#define STREAMNORM_TESTS_BENCHMARKS_PEERS_H_

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "client/cli/program_files.h"
#include "client/cli/server_process.h"

namespace streamnorm {

// The servers that are compared, each on a unix socket of its own, started when
// it is first asked for and ended with this. Not thread safe.
class Peers {
 public:
  // `directory` is where the stores are for the time of the run; "" = where
  // temporary files are.
  explicit Peers(const std::string& directory) : scratch_(directory) {}

  absl::StatusOr<const ServerProcess*> Server() { return Get("server"); }
  absl::StatusOr<const ServerProcess*> Echo() { return Get("echo"); }
  absl::StatusOr<const ServerProcess*> Naive() { return Get("naive"); }
  absl::StatusOr<const ServerProcess*> Redis() { return Get("redis"); }
  absl::StatusOr<const ServerProcess*> SocketEcho() {
    return Get("socket-echo");
  }

  // One more StreamNorm that nobody else uses, on the data of `name`.
  absl::StatusOr<std::unique_ptr<ServerProcess>> StartServer(
      const std::string& name, std::vector<std::string> arguments = {}) const;

  std::string DataDirectory(const std::string& name) const {
    return scratch_.path() + "/" + name;
  }

 private:
  absl::StatusOr<const ServerProcess*> Get(const std::string& name);
  absl::StatusOr<std::unique_ptr<ServerProcess>> Start(
      const std::string& program, const std::string& name,
      std::vector<std::string> arguments) const;

  const ScratchDirectory scratch_;
  std::map<std::string, std::unique_ptr<ServerProcess>> running_;
};

}  // namespace streamnorm

#endif  // STREAMNORM_TESTS_BENCHMARKS_PEERS_H_
