#ifndef STREAMNORM_TESTS_BENCHMARKS_BULK_H_
#define STREAMNORM_TESTS_BENCHMARKS_BULK_H_

#include <sys/types.h>

#include <cstddef>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "client/cli/server_process.h"
#include "grpcpp/channel.h"
#include "grpcpp/support/byte_buffer.h"
#include "tests/benchmarks/measure.h"
#include "tests/benchmarks/raw_messages.h"

namespace streamnorm {

// Normalizers "many-FIRST", ... of 32 features. Each answer waits for the disk,
// so hundreds of calls are on their way at a time.
absl::StatusOr<std::vector<RawTarget>> CreateMany(
    const std::shared_ptr<grpc::Channel>& channel, size_t first, size_t count);
inline constexpr size_t kManyFeatures = 32;

// Sessions that nobody uses.
absl::Status OpenManySessions(const std::shared_ptr<grpc::Channel>& channel,
                              size_t count);

// Streams on which one message was answered and that wait for more; gone with
// this. Not thread safe.
class IdleStreams {
 public:
  IdleStreams();
  ~IdleStreams();
  IdleStreams(const IdleStreams&) = delete;
  IdleStreams& operator=(const IdleStreams&) = delete;

  // `message` makes an update that is in order.
  absl::Status Add(const std::shared_ptr<grpc::Channel>& channel,
                   const std::function<grpc::ByteBuffer()>& message);

 private:
  struct Stream;
  std::vector<std::unique_ptr<Stream>> streams_;
};

// 4x32 for each of `targets` in turn, all in one session.
absl::StatusOr<std::shared_ptr<RawMessages>> InTurnMessages(
    const std::shared_ptr<grpc::Channel>& channel,
    std::vector<RawTarget> targets);

// Those over a stream. They go on where another side with the same messages
// stopped.
Side InTurnSide(const ServerProcess& server,
                const std::shared_ptr<grpc::Channel>& channel,
                const std::shared_ptr<RawMessages>& messages,
                size_t in_flight = 1);

// What a process has in memory (RSS).
double ResidentBytes(pid_t pid);

}  // namespace streamnorm

#endif  // STREAMNORM_TESTS_BENCHMARKS_BULK_H_
