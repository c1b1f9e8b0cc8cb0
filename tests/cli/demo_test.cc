// The demonstration, as `./run demo` runs it.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
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

std::string ServerBinary() { return std::getenv("STREAMNORM_SERVER_BINARY"); }

std::vector<std::string> Demo(const std::string& server_binary) {
  return {"demo", "--server_binary", server_binary, "--data",
          std::string(STREAMNORM_TEST_DATA) + "/breast_cancer.csv"};
}

TEST(DemoTest, ItEndsWellAndLeavesNothing) {
  const TempDir dir;
  ProgramOptions options;
  options.environment = {"TMPDIR=" + dir.path()};
  const Finished demo = RunStreamnorm(Demo(ServerBinary()), options);
  EXPECT_EQ(demo.code, 0) << demo.out << demo.err;
  EXPECT_THAT(demo.out, HasSubstr("kill -9"));
  EXPECT_THAT(demo.out, ContainsRegex("breast-cancer +11380 +11380 .* exact"));
  EXPECT_THAT(demo.out, ContainsRegex("seed +4000 +4000 .* exact"));
  EXPECT_EQ(demo.err, "");
  EXPECT_TRUE(std::filesystem::is_empty(dir.path()));
}

TEST(DemoTest, InterruptedItLeavesNothing) {
  const TempDir dir;
  ProgramOptions options;
  options.environment = {"TMPDIR=" + dir.path()};
  std::vector<std::string> arguments = Demo(ServerBinary());
  arguments.insert(arguments.end(), {"--passes", "1000"});
  Program demo(arguments, options);
  while (!demo.HasEnded() &&
         demo.OutSoFar().find("3. 4 clients") == std::string::npos) {
    std::this_thread::yield();
  }
  demo.Signal(SIGINT);
  EXPECT_EQ(demo.Wait().code, 130);
  EXPECT_TRUE(std::filesystem::is_empty(dir.path()));
}

TEST(DemoTest, AServerThatDoesNotStartIsAnErrorThatLeavesNothing) {
  const TempDir dir;
  ProgramOptions options;
  options.environment = {"TMPDIR=" + dir.path()};
  const Finished demo = RunStreamnorm(Demo("/bin/false"), options);
  EXPECT_EQ(demo.code, 1);
  EXPECT_THAT(demo.err, HasSubstr("/bin/false: ended at once"));
  EXPECT_TRUE(std::filesystem::is_empty(dir.path()));
}

}  // namespace
}  // namespace streamnorm
