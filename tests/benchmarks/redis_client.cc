#include "tests/benchmarks/redis_client.h"

#include <chrono>
#include <cmath>
#include <cstring>
#include <deque>
#include <fstream>
#include <iterator>
#include <thread>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "client/cli/program_files.h"
#include "tests/benchmarks/raw_messages.h"

namespace streamnorm {
namespace {

std::string BytesOf(const std::vector<float>& values) {
  return {reinterpret_cast<const char*>(values.data()),
          values.size() * sizeof(float)};
}

void Append(redisContext* context, const std::vector<std::string_view>& words) {
  std::vector<const char*> pointers;
  std::vector<size_t> sizes;
  for (const std::string_view word : words) {
    pointers.push_back(word.data());
    sizes.push_back(word.size());
  }
  redisAppendCommandArgv(context, static_cast<int>(words.size()),
                         pointers.data(), sizes.data());
}

std::string_view TextOf(const redisReply& reply) {
  if (reply.str == nullptr) return {};
  return {reply.str, static_cast<size_t>(reply.len)};
}

absl::StatusOr<std::string> LoadScript(redisContext* context) {
  const std::string path = ProgramDirectory() + "/redis_update.lua";
  std::ifstream file(path);
  const std::string text((std::istreambuf_iterator<char>(file)),
                         std::istreambuf_iterator<char>());
  if (text.empty()) return absl::NotFoundError(path);
  Append(context, {"SCRIPT", "LOAD", text});
  const auto reply = ReadReply(context);
  if (!reply.ok()) return reply.status();
  return std::string(TextOf(**reply));
}

}  // namespace

absl::StatusOr<RedisContext> ConnectRedis(const std::string& address) {
  constexpr int kTries = 500;
  const std::string path(absl::StripPrefix(address, "unix:"));
  for (int i = 0; i < kTries; ++i) {
    RedisContext context(redisConnectUnix(path.c_str()));
    if (context != nullptr && context->err == 0) return context;
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
  return absl::UnavailableError(absl::StrCat("no Redis on ", address));
}

absl::StatusOr<RedisReply> ReadReply(redisContext* context) {
  void* answer = nullptr;
  if (redisGetReply(context, &answer) != REDIS_OK) {
    return absl::UnavailableError(context->errstr);
  }
  RedisReply reply(static_cast<redisReply*>(answer));
  if (reply->type == REDIS_REPLY_ERROR) {
    return absl::InternalError(std::string(TextOf(*reply)));
  }
  return reply;
}

RedisScriptClient::RedisScriptClient(RedisContext context, std::string script,
                                     const RedisBatch& batch, size_t in_flight)
    : context_(std::move(context)),
      script_(std::move(script)),
      in_flight_(in_flight),
      payload_(BytesOf(BenchmarkRows(batch.rows, batch.features))),
      words_({batch.key, absl::StrCat(batch.rows),
              absl::StrCat(batch.features)}) {}

absl::StatusOr<std::unique_ptr<LoadClient>> RedisScriptClient::Make(
    const std::string& address, const RedisBatch& batch, size_t in_flight) {
  auto context = ConnectRedis(address);
  if (!context.ok()) return context.status();
  auto script = LoadScript(context->get());
  if (!script.ok()) return script.status();
  return std::unique_ptr<LoadClient>(new RedisScriptClient(
      *std::move(context), *std::move(script), batch, in_flight));
}

// Refills when half of the answers are in: so many commands go out in one
// write, and Redis reads and answers them in one go, too.
absl::Status RedisScriptClient::Run(const LoadWindow& window) {
  std::deque<LoadClock::time_point> sent;
  while (true) {
    const auto now = LoadClock::now();
    if (now >= window.end && sent.empty()) return absl::OkStatus();
    if (now < window.end && sent.size() <= in_flight_ / 2) {
      while (sent.size() < in_flight_) {
        sent.push_back(now);
        Append(context_.get(), {"EVALSHA", script_, "1", words_[0], payload_,
                                words_[1], words_[2]});
      }
    }
    const auto reply = ReadReply(context_.get());
    if (!reply.ok()) return reply.status();
    if (TextOf(**reply).size() != payload_.size()) {
      return absl::InternalError("an answer of another size");
    }
    Record(sent.front(), window);
    sent.pop_front();
  }
}

RedisWatchClient::RedisWatchClient(RedisContext context,
                                   const RedisBatch& batch)
    : context_(std::move(context)),
      batch_(batch),
      rows_(BenchmarkRows(batch.rows, batch.features)),
      normalized_(rows_.size()) {}

absl::StatusOr<std::unique_ptr<LoadClient>> RedisWatchClient::Make(
    const std::string& address, const RedisBatch& batch) {
  auto context = ConnectRedis(address);
  if (!context.ok()) return context.status();
  return std::unique_ptr<LoadClient>(
      new RedisWatchClient(*std::move(context), batch));
}

// As the script does it: count, means and m2s as doubles.
std::string RedisWatchClient::Update(std::string_view state) {
  const size_t features = batch_.features;
  std::vector<double> after(1 + 2 * features);
  if (state.size() == after.size() * sizeof(double)) {
    std::memcpy(after.data(), state.data(), state.size());
  }
  after[0] += static_cast<double>(batch_.rows);
  const double total = after[0];
  for (size_t f = 0; f < features; ++f) {
    double& mean = after[1 + f];
    double& m2 = after[1 + features + f];
    double sum = 0;
    double squares = 0;
    for (size_t i = f; i < rows_.size(); i += features) {
      const double d = static_cast<double>(rows_[i]) - mean;
      sum += d;
      squares += d * d;
    }
    mean += sum / total;
    m2 += squares - sum * sum / total;
    const double scale = m2 > 0 ? 1 / std::sqrt(m2 / total) : 1;
    for (size_t i = f; i < rows_.size(); i += features) {
      normalized_[i] =
          static_cast<float>((static_cast<double>(rows_[i]) - mean) * scale);
    }
  }
  return {reinterpret_cast<const char*>(after.data()),
          after.size() * sizeof(double)};
}

absl::StatusOr<bool> RedisWatchClient::Try() {
  redisContext* const context = context_.get();
  Append(context, {"WATCH", batch_.key});
  Append(context, {"GET", batch_.key});
  if (const auto s = ReadReply(context); !s.ok()) return s.status();
  const auto state = ReadReply(context);
  if (!state.ok()) return state.status();
  const std::string after = Update(TextOf(**state));
  Append(context, {"MULTI"});
  Append(context, {"SET", batch_.key, after});
  Append(context, {"EXEC"});
  for (int i = 0; i < 2; ++i) {
    if (const auto s = ReadReply(context); !s.ok()) return s.status();
  }
  const auto executed = ReadReply(context);
  if (!executed.ok()) return executed.status();
  return (*executed)->type != REDIS_REPLY_NIL;
}

absl::Status RedisWatchClient::Once() {
  constexpr int kTries = 1000;
  for (int i = 0; i < kTries; ++i) {
    const auto done = Try();
    if (!done.ok()) return done.status();
    if (*done) return absl::OkStatus();
  }
  return absl::AbortedError("others were always faster");
}

}  // namespace streamnorm
