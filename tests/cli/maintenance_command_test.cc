// backup and verify: the real program against the real server.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>

#include "tests/cli/program.h"
#include "tests/testing/server_under_test.h"
#include "tests/testing/temp_dir.h"

namespace streamnorm {
namespace {

using testing::AllOf;
using testing::HasSubstr;

class MaintenanceCommandTest : public testing::Test {
 protected:
  Finished Run(std::vector<std::string> arguments) {
    arguments.insert(arguments.begin(), {"--server", server_.address()});
    return RunStreamnorm(std::move(arguments));
  }

  const TempDir dir_;
  ServerUnderTest server_{{"--listen", "unix:" + (dir_ / "socket"),
                           "--data_dir", dir_ / "data", "--backup_dir",
                           dir_ / "backups", "--log_level=error"}};
};

TEST_F(MaintenanceCommandTest, BackupIsMadeWhereTheServerWasToldAndSaysSo) {
  ASSERT_EQ(Run({"create", "layer3", "--features", "2"}).code, 0);
  const std::string path = dir_ / "backups/monday";
  const Finished made = Run({"backup", "monday"});
  EXPECT_EQ(made.code, 0) << made.err;
  EXPECT_THAT(made.out, AllOf(HasSubstr(path), HasSubstr("normalizers")));
  EXPECT_TRUE(std::filesystem::exists(path + "/BACKUP"));
  const Finished named = Run({"backup", "tuesday", "-o", "name"});
  EXPECT_EQ(named.out, dir_ / "backups/tuesday\n");
}

TEST_F(MaintenanceCommandTest, TakenNameIsAConflictAndABadOneAFailure) {
  ASSERT_EQ(Run({"backup", "monday"}).code, 0);
  const Finished taken = Run({"backup", "monday"});
  EXPECT_EQ(taken.code, 6);
  EXPECT_THAT(taken.err, HasSubstr("take another name"));
  const Finished bad = Run({"backup", "../monday"});
  EXPECT_EQ(bad.code, 1);
  EXPECT_THAT(bad.err, HasSubstr("backup_id: \"../monday\", want"));
}

TEST_F(MaintenanceCommandTest, VerifyCountsWhatItLookedAt) {
  ASSERT_EQ(Run({"create", "layer3", "--features", "2"}).code, 0);
  const Finished verified = Run({"verify", "-o", "ndjson"});
  EXPECT_EQ(verified.code, 0) << verified.err;
  EXPECT_THAT(verified.out, AllOf(HasSubstr("\"normalizers\":\"1\""),
                                  HasSubstr("\"damaged_count\":\"0\"")));
  EXPECT_EQ(verified.err, "");
}

}  // namespace
}  // namespace streamnorm
