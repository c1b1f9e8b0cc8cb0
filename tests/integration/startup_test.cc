// Flags, and starts that must fail with a code and a text that helps.

#include <gtest/gtest.h>
#include <stdlib.h>

#include <fstream>

#include "client/streamnorm_client.h"
#include "tests/testing/server_under_test.h"
#include "tests/testing/temp_dir.h"

namespace streamnorm {
namespace {

int ExitCodeOf(std::vector<std::string> flags) {
  ServerUnderTest server(std::move(flags));
  EXPECT_TRUE(server.address().empty()) << "it started";
  return server.address().empty() ? server.Wait() : -1;
}

TEST(StartupTest, ByDefaultItListensOnLoopbackAndASocketInItsDirectory) {
  TempDir dir;
  ServerUnderTest server({"--data_dir", dir / "data", "--listen", "127.0.0.1:0",
                          "--listen", "unix:" + (dir / "s"),
                          "--log_level=warning"});
  EXPECT_EQ(server.address().rfind("127.0.0.1:", 0), 0);
  EXPECT_TRUE(Client::Connect(server.address()).ok());
  EXPECT_TRUE(Client::Connect("unix:" + (dir / "s")).ok());
}

TEST(StartupTest, FlagsComeFromTheEnvironmentToo) {
  TempDir dir;
  setenv("STREAMNORM_MAX_FEATURES", "7", 1);
  ServerUnderTest server({"--store=memory", "--listen", "unix:" + (dir / "s"),
                          "--log_level=warning"});
  unsetenv("STREAMNORM_MAX_FEATURES");
  auto client = *Client::Connect(server.address());
  EXPECT_TRUE(client->GetOrCreateNormalizer("a", 7).ok());
  EXPECT_TRUE(absl::IsResourceExhausted(
      client->GetOrCreateNormalizer("b", 8).status()));
}

TEST(StartupTest, FlagsComeFromAFileAndTheCommandLineWins) {
  TempDir dir;
  std::ofstream(dir / "flags.ini") << "max_features = 7\nmax_normalizers = 1\n";
  ServerUnderTest server({"--config", dir / "flags.ini", "--store=memory",
                          "--max_features=9", "--listen", "unix:" + (dir / "s"),
                          "--log_level=warning"});
  auto client = *Client::Connect(server.address());
  EXPECT_TRUE(client->GetOrCreateNormalizer("a", 9).ok());
  EXPECT_TRUE(absl::IsResourceExhausted(
      client->GetOrCreateNormalizer("b", 1).status()));
}

TEST(StartupTest, WithoutADataDirectoryItSaysWhatIsMissing) {
  EXPECT_EQ(ExitCodeOf({}), 2);
}

TEST(StartupTest, BeyondLoopbackItWantsInsecureSaid) {
  EXPECT_EQ(ExitCodeOf({"--store=memory", "--listen", "0.0.0.0:0"}), 2);
  ServerUnderTest server({"--store=memory", "--listen", "0.0.0.0:0",
                          "--insecure", "--log_level=error"});
  EXPECT_FALSE(server.address().empty());
}

TEST(StartupTest, ASecondServerOnTheSameDirectoryIsRefused) {
  TempDir dir;
  ServerUnderTest first({"--data_dir", dir / "data", "--listen", "127.0.0.1:0",
                         "--log_level=warning"});
  EXPECT_EQ(ExitCodeOf({"--data_dir", dir / "data", "--listen", "127.0.0.1:0"}),
            69);
}

TEST(StartupTest, ASecondServerOnTheSamePortIsRefused) {
  ServerUnderTest first(
      {"--store=memory", "--listen", "127.0.0.1:0", "--log_level=warning"});
  EXPECT_EQ(ExitCodeOf({"--store=memory", "--listen", first.address()}), 69);
}

TEST(StartupTest, AnUnusableDataDirectoryIsRefused) {
  TempDir dir;
  std::ofstream(dir / "file") << "x";
  EXPECT_NE(ExitCodeOf({"--data_dir", dir / "file", "--listen", "127.0.0.1:0"}),
            0);
}

TEST(StartupTest, BadFlagsAreUsageErrors) {
  EXPECT_EQ(ExitCodeOf({"--store=memory", "--listen", "nonsense"}), 2);
  EXPECT_EQ(ExitCodeOf({"--store=floppy"}), 2);
  EXPECT_EQ(ExitCodeOf({"--store=memory", "--max_features=-1"}), 2);
  EXPECT_EQ(ExitCodeOf({"--store=memory", "--no_such_flag"}), 2);
  EXPECT_EQ(ExitCodeOf({"--store=memory", "--listen",
                        "unix:/" + std::string(200, 'x')}),
            2);
}

TEST(StartupTest, UpdatesAreRefusedAndReadsAnsweredBelowTheFreeSpace) {
  TempDir dir;
  std::string socket = "unix:" + (dir / "s");
  {
    ServerUnderTest server({"--data_dir", dir / "data", "--listen", socket,
                            "--log_level=warning"});
    auto client = *Client::Connect(server.address());
    ASSERT_TRUE(client->GetOrCreateNormalizer("n", 1).ok());
    EXPECT_EQ(server.Terminate(), 0);
  }
  ServerUnderTest server({"--data_dir", dir / "data", "--listen", socket,
                          "--min_free_disk_bytes=1000000000000000000",
                          "--log_level=warning"});
  ClientOptions impatient;
  impatient.request_timeout = std::chrono::milliseconds(200);
  auto client = *Client::Connect(server.address(), impatient);
  const double row = 1;
  EXPECT_TRUE(client->NormalizeOnly("n", RowsOf(std::span(&row, 1), 1)).ok());
  EXPECT_EQ(ErrorReason(client->ResetStatistics("n").status()), "DISK_FULL");
  EXPECT_FALSE(client->GetServerInfo()->accepting_updates());
}

}  // namespace
}  // namespace streamnorm
