#ifndef STREAMNORM_TESTS_BENCHMARKS_RAW_CLIENT_H_
#define STREAMNORM_TESTS_BENCHMARKS_RAW_CLIENT_H_

#include <chrono>
#include <cstddef>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "grpcpp/channel.h"
#include "grpcpp/generic/generic_stub.h"
#include "tests/benchmarks/raw_messages.h"

namespace streamnorm {

// One client that measures a server: its own connection, one thread, messages
// that it neither makes nor reads more of than it must. Not thread safe.
class RawClient {
 public:
  using Clock = std::chrono::steady_clock;

  // For an echo server, which has no sessions.
  static std::unique_ptr<RawClient> ForEcho(const std::string& address,
                                            const std::string& normalizer_id,
                                            size_t rows, size_t features);

  // For StreamNorm: creates the normalizer if need be, opens a session.
  static absl::StatusOr<std::unique_ptr<RawClient>> ForServer(
      const std::string& address, const std::string& normalizer_id, size_t rows,
      size_t features);

  // Sends until `end`, `in_flight` messages at a time on one stream, or one
  // after the other as unary calls, and keeps how long those took whose answers
  // came between `begin` and `end`. An error if an answer is not one.
  absl::Status Stream(size_t in_flight, Clock::time_point begin,
                      Clock::time_point end);
  absl::Status Unary(Clock::time_point begin, Clock::time_point end);

  // In microseconds, in the order of the answers. Taken away by the call.
  std::vector<double> TakeLatencies();

 private:
  RawClient(std::shared_ptr<grpc::Channel> channel, RawMessages messages);

  absl::Status Check(const grpc::ByteBuffer& answer) const;
  void Record(Clock::time_point sent, Clock::time_point begin,
              Clock::time_point end);

  const std::shared_ptr<grpc::Channel> channel_;
  grpc::GenericStub stub_;
  RawMessages messages_;
  std::vector<double> latencies_us_;
};

}  // namespace streamnorm

#endif  // STREAMNORM_TESTS_BENCHMARKS_RAW_CLIENT_H_
