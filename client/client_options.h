#ifndef STREAMNORM_CLIENT_CLIENT_OPTIONS_H_
#define STREAMNORM_CLIENT_CLIENT_OPTIONS_H_

#include <chrono>
#include <cstddef>

namespace streamnorm {

struct ClientOptions {
  // How long a call tries, reconnecting as needed, before it answers
  // DEADLINE_EXCEEDED. Long enough for a server to restart.
  std::chrono::milliseconds request_timeout{30'000};

  // What a session keeps for a replay until it is on the server's disk. Full =
  // the next update waits for the disk (back-pressure). The server accepts at
  // most 1,024 sequence numbers ahead.
  size_t max_buffered_updates = 1024;
  size_t max_buffered_bytes = size_t{64} << 20;

  // Requests a session has on the wire at a time.
  size_t max_in_flight = 64;

  // Take the lane (docs/lane.md) where the server is on this machine and offers
  // it; the results are the same. Otherwise, or if false: gRPC.
  bool use_lane = true;
};

}  // namespace streamnorm

#endif  // STREAMNORM_CLIENT_CLIENT_OPTIONS_H_
