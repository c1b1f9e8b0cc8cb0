#ifndef STREAMNORM_TESTS_BENCHMARKS_REDIS_CLIENT_H_
#define STREAMNORM_TESTS_BENCHMARKS_REDIS_CLIENT_H_

#include <hiredis/hiredis.h>

#include <array>
#include <cstddef>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "tests/benchmarks/load_client.h"

namespace streamnorm {

// One batch, and where Redis keeps the statistics that it updates.
struct RedisBatch {
  std::string key;
  size_t rows = 0;
  size_t features = 0;
};

struct RedisClose {
  void operator()(redisContext* context) const { redisFree(context); }
  void operator()(redisReply* reply) const { freeReplyObject(reply); }
};
using RedisContext = std::unique_ptr<redisContext, RedisClose>;
using RedisReply = std::unique_ptr<redisReply, RedisClose>;

// A connection to Redis on `address` (unix:PATH), which may have started a
// moment ago.
absl::StatusOr<RedisContext> ConnectRedis(const std::string& address);

// Waits for the oldest answer that is due.
absl::StatusOr<RedisReply> ReadReply(redisContext* context);

// Sends batches to a script (redis_update.lua), `in_flight` at a time.
class RedisScriptClient : public LoadClient {
 public:
  static absl::StatusOr<std::unique_ptr<LoadClient>> Make(
      const std::string& address, const RedisBatch& batch, size_t in_flight);

  absl::Status Run(const LoadWindow& window) override;

 private:
  RedisScriptClient(RedisContext context, std::string script,
                    const RedisBatch& batch, size_t in_flight);

  const RedisContext context_;
  const std::string script_;  // its hash
  const size_t in_flight_;
  const std::string payload_;
  const std::array<std::string, 3> words_;  // key, rows, features
};

// Reads the statistics, updates them itself and writes them back unless another
// did meanwhile (WATCH, GET; MULTI, SET, EXEC): two round trips.
class RedisWatchClient : public PingPongClient {
 public:
  static absl::StatusOr<std::unique_ptr<LoadClient>> Make(
      const std::string& address, const RedisBatch& batch);

 protected:
  absl::Status Once() override;

 private:
  RedisWatchClient(RedisContext context, const RedisBatch& batch);

  absl::StatusOr<bool> Try();
  std::string Update(std::string_view state);

  const RedisContext context_;
  const RedisBatch batch_;
  const std::vector<float> rows_;
  std::vector<float> normalized_;
};

}  // namespace streamnorm

#endif  // STREAMNORM_TESTS_BENCHMARKS_REDIS_CLIENT_H_
