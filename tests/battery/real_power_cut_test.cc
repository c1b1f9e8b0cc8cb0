// The power cut of a real file system: an ext4 that stops in the middle of its
// work and forgets what it had not written.

#include <cstdio>
#include <optional>

#include "tests/battery/battery.h"
#include "tests/battery/load.h"
#include "tests/battery/small_disk.h"

namespace streamnorm {
namespace {

TEST(RealPowerCut, Ext4) {
  TempDir dir;
  SmallDisk disk(dir.path());
  if (!disk.MountExt4()) {
    GTEST_SKIP() << "SKIPPED LOUDLY: mounting an ext4 image needs root, a loop "
                    "device and mkfs.ext4";
  }
  const int cycles = Cycles(5, 100);
  std::mt19937_64 random(cycles);
  ServerUnderTest server({"--listen", "unix:" + (dir / "socket"), "--data_dir",
                          disk.path() + "/data", "--log_level=error",
                          "--min_free_disk_bytes=0",
                          "--max_log_bytes=1048576"});
  std::optional<Load> load;
  load.emplace(server.address(), Load::Options{.seed = 2});
  for (int cycle = 0; cycle < cycles; ++cycle) {
    ASSERT_TRUE(
        load->WaitForAnswers(200 + random() % 400, std::chrono::seconds(20)));
    ASSERT_TRUE(disk.CutPower());
    server.Kill();
    ASSERT_TRUE(disk.Remount());
    server.Restart();
    ASSERT_FALSE(server.address().empty()) << "it does not start";
    ASSERT_FALSE(load->complained());
  }
  load->FinishAndCheck();
  EXPECT_EQ(server.Terminate(), 0);
  std::printf("%d power cuts of an ext4: %lu rows, %lu updates sent again\n",
              cycles, static_cast<unsigned long>(load->rows()),
              static_cast<unsigned long>(load->resent()));
}

}  // namespace
}  // namespace streamnorm
