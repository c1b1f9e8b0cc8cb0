#ifndef STREAMNORM_SERVER_LANE_SERVER_H_
#define STREAMNORM_SERVER_LANE_SERVER_H_

#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <list>
#include <memory>
#include <string>
#include <thread>

#include "absl/status/statusor.h"
#include "lane/frame.h"
#include "lane/unix_socket.h"
#include "server/handler.h"
#include "server/lane_connection.h"
#include "server/mutex.h"

namespace streamnorm {

// The lane (docs/lane.md): a unix socket, and a thread for each client on it.
// Safe for concurrent use.
class LaneServer {
 public:
  struct Options {
    std::string path;
    size_t max_connections = 0;
    uint64_t max_message_bytes = 0;
    LaneHello hello;
  };

  // Listens. UNAVAILABLE if it can't. `handler` outlives it.
  static absl::StatusOr<std::unique_ptr<LaneServer>> Start(
      const Options& options, Handler* handler);

  // Calls Stop.
  ~LaneServer();

  const LaneMetrics& metrics() const { return metrics_; }
  size_t connections() const;

  const std::string& path() const { return options_.path; }

  // Takes no more connections, lets those that are there answer what they
  // received until `deadline`, and ends them then. What still waits for the
  // disk goes on waiting, and nobody hears of it.
  void Drain(std::chrono::steady_clock::time_point deadline);

  // Waits for the last of them. Nothing must keep what they wait for from
  // being answered.
  void Stop();

 private:
  struct Served {
    std::unique_ptr<LaneConnection> connection;
    std::thread thread;
    bool done = false;
  };

  LaneServer(const Options& options, UniqueFd listener, Handler* handler);

  void AcceptAll();
  void Serve(UniqueFd fd);
  void JoinDone();
  bool HasLiving();

  const Options options_;
  const UniqueFd listener_;
  Handler* const handler_;
  LaneMetrics metrics_;
  std::atomic<bool> stopping_{false};
  std::thread acceptor_;
  mutable Mutex mu_;
  std::list<Served> served_ ABSL_GUARDED_BY(mu_);
};

}  // namespace streamnorm

#endif  // STREAMNORM_SERVER_LANE_SERVER_H_
