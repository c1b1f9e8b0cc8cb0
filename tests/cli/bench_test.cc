// `streamnorm bench`, for the shortest time: that it measures and tells, not
// what.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <thread>

#include "tests/cli/program.h"
#include "tests/testing/temp_dir.h"

namespace streamnorm {
namespace {

using testing::ContainsRegex;
using testing::HasSubstr;
using testing::Not;

std::vector<std::string> Durability(const TempDir& dir, const char* rounds) {
  return {"bench",           "durability",
          "--directory",     dir.path(),
          "--seconds",       "0.05",
          "--rounds",        rounds,
          "--server_binary", std::getenv("STREAMNORM_SERVER_BINARY")};
}

TEST(BenchTest, DurabilityShowsItsCostBesideThatOfOnePutPerRequest) {
  const TempDir dir;
  const Finished bench = RunStreamnorm(Durability(dir, "1"));
  EXPECT_EQ(bench.code, 0) << bench.out << bench.err;
  EXPECT_THAT(bench.out,
              ContainsRegex("4x1024, 8 clients.* [0-9.]+x +[0-9.]+x"));
  EXPECT_THAT(bench.out, HasSubstr("durable / memory, up to 1,024 features"));
  EXPECT_THAT(bench.out, ContainsRegex("[0-9.]+x one synced put per request"));
  EXPECT_THAT(bench.out, ContainsRegex("with a log of [67][0-9] MiB: median"));
  EXPECT_THAT(bench.err, Not(HasSubstr("left out")));
  EXPECT_TRUE(std::filesystem::is_empty(dir.path()));
}

TEST(BenchTest, InterruptedItLeavesNothing) {
  const TempDir dir;
  Program bench(Durability(dir, "1000"));
  while (!bench.HasEnded() &&
         bench.ErrSoFar().find("measuring") == std::string::npos) {
    std::this_thread::yield();
  }
  bench.Signal(SIGINT);
  EXPECT_EQ(bench.Wait().code, 130);
  EXPECT_TRUE(std::filesystem::is_empty(dir.path()));
}

TEST(BenchTest, AnUnknownSuiteIsAUsageError) {
  const Finished bench = RunStreamnorm({"bench", "everything"});
  EXPECT_EQ(bench.code, 2);
  EXPECT_THAT(bench.err, HasSubstr("durability"));
}

}  // namespace
}  // namespace streamnorm
