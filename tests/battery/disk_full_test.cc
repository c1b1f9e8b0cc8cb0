// A full disk: updates are refused with a reason, reads go on, and as soon as
// there is space again so do updates: in the same process, with nothing lost.

#include <gmock/gmock.h>

#include <cstdio>
#include <span>

#include "grpcpp/create_channel.h"
#include "tests/battery/battery.h"
#include "tests/battery/small_disk.h"

namespace streamnorm {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;
using std::chrono::steady_clock;

constexpr uint64_t kLimitBytes = uint64_t{16} << 20;

class DiskFull : public testing::Test {
 protected:
  ~DiskFull() override {
    load_.reset();
    server_.reset();
  }

  absl::Status Update() {
    const std::vector<double> row(kIntegerFeatures, 1.0);
    v1::NormalizeRequest request = MakeNormalizeRequest(
        "other", RowsOf(std::span<const double>(row), kIntegerFeatures),
        v1::UPDATE_ONLY);
    grpc::ClientContext context;
    context.set_deadline(std::chrono::system_clock::now() + seconds(5));
    v1::NormalizeResponse response;
    return FromGrpc(stub_->Normalize(&context, request, &response));
  }

  void Begin() {
    server_.emplace(std::vector<std::string>{
        "--listen", "unix:" + (dir_ / "socket"), "--data_dir",
        disk_.path() + "/data", "--log_level=error", "--drain_timeout_s=1",
        "--min_free_disk_bytes=" + std::to_string(kLimitBytes),
        "--max_log_bytes=4194304"});
    stub_ = v1::NormalizerService::NewStub(grpc::CreateChannel(
        server_->address(), grpc::InsecureChannelCredentials()));
    client_ = *Client::Connect(server_->address());
    ASSERT_TRUE(client_->GetOrCreateNormalizer("other", kIntegerFeatures).ok());
    load_.emplace(server_->address(), Load::Options{.seed = 1});
  }

  // Leaves so much room, under load, and waits until updates are refused.
  void Fill(uint64_t leave) {
    ASSERT_TRUE(load_->WaitForAnswers(500, seconds(20)));
    disk_.Fill(leave);
    const auto full = steady_clock::now();
    absl::Status refused;
    // One that was taken before waits for the disk, and may do so too long.
    while ((refused.ok() || absl::IsDeadlineExceeded(refused)) &&
           steady_clock::now() - full < seconds(10)) {
      refused = Update();
    }
    EXPECT_TRUE(absl::IsUnavailable(refused)) << refused;
    EXPECT_EQ(ErrorReason(refused), "DISK_FULL");
  }

  void TestCycles(int cycles) {
    Begin();
    milliseconds longest{0};
    for (int cycle = 0; cycle < cycles; ++cycle) {
      SCOPED_TRACE("cycle " + std::to_string(cycle));
      // At first what is left would do, then it is the last byte.
      Fill(cycle % 2 == 0 ? kLimitBytes / 2 : 0);
      ASSERT_FALSE(HasFatalFailure());
      const std::vector<double> row(kIntegerFeatures, 1.0);
      const auto read = client_->NormalizeOnly(
          "counted-0", RowsOf(std::span<const double>(row), kIntegerFeatures));
      EXPECT_TRUE(read.ok()) << read.status();
      EXPECT_TRUE(client_->GetNormalizer("counted-0").ok());
      std::this_thread::sleep_for(milliseconds(300));
      disk_.Free();
      const auto freed = steady_clock::now();
      for (absl::Status s = Update(); !s.ok(); s = Update()) {
        ASSERT_LT(steady_clock::now() - freed, seconds(10));
        std::this_thread::sleep_for(milliseconds(20));
      }
      longest = std::max(longest, std::chrono::duration_cast<milliseconds>(
                                      steady_clock::now() - freed));
      ASSERT_FALSE(server_->EndsWithin(milliseconds(1))) << "it ended";
    }
    load_->FinishAndCheck();
    EXPECT_EQ(server_->Terminate(), 0);
    std::printf("%d times full; updates again %ld ms after space was freed\n",
                cycles, static_cast<long>(longest.count()));
  }

  TempDir dir_;
  SmallDisk disk_{dir_.path()};
  std::optional<ServerUnderTest> server_;
  std::unique_ptr<v1::NormalizerService::Stub> stub_;
  std::unique_ptr<Client> client_;
  std::optional<Load> load_;
};

TEST_F(DiskFull, Tmpfs) {
  if (!disk_.MountTmpfs()) {
    GTEST_SKIP() << "SKIPPED LOUDLY: mounting a tmpfs needs root";
  }
  TestCycles(Cycles(5, 100));
}

TEST_F(DiskFull, Ext4) {
  if (!disk_.MountExt4()) {
    GTEST_SKIP() << "SKIPPED LOUDLY: mounting an ext4 image needs root, a loop "
                    "device and mkfs.ext4";
  }
  TestCycles(Cycles(5, 100));
}

// What waits for room is nowhere but with its clients, who were told nothing
// else of it.
TEST_F(DiskFull, StoppedWhileABatchWaitsForRoomItEndsWellAndLosesNothing) {
  if (!disk_.MountTmpfs()) {
    GTEST_SKIP() << "SKIPPED LOUDLY: mounting a tmpfs needs root";
  }
  Begin();
  const int cycles = Cycles(3, 50);
  milliseconds longest{0};
  for (int cycle = 0; cycle < cycles; ++cycle) {
    Fill(/*leave=*/0);
    const auto asked = steady_clock::now();
    ASSERT_EQ(server_->Terminate(), 0) << server_->log();
    longest = std::max(longest, std::chrono::duration_cast<milliseconds>(
                                    steady_clock::now() - asked));
    EXPECT_THAT(server_->log(), testing::HasSubstr("stopped_without_room"));
    disk_.Free();
    server_->Restart();
    ASSERT_FALSE(server_->address().empty()) << "it does not start";
    ASSERT_FALSE(load_->complained());
  }
  load_->FinishAndCheck();
  EXPECT_EQ(server_->Terminate(), 0);
  std::printf("%d times stopped without room; it took at most %ld ms\n", cycles,
              static_cast<long>(longest.count()));
}

}  // namespace
}  // namespace streamnorm
