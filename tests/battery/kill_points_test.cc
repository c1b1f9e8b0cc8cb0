// Dies at each of the points that RocksDB's authors found worth dying at, at
// each of those that we did (storage/kill_point.h), and at each of the first
// file calls of a life.

#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "tests/battery/battery.h"
#include "tests/battery/churn.h"

namespace streamnorm {
namespace {

namespace fs = std::filesystem;

constexpr int kExitNotADataDirectory = 78;
constexpr int kKilled = 128 + SIGKILL;

// Our own points, by what has to happen for them to be passed.
const std::vector<std::string> kOfCommits = {
    "commit.captured",   "write.before",   "write.after",     "sync.log_synced",
    "sync.floor_stored", "commit.durable", "commit.published"};
const std::vector<std::string> kOfRequests = {"create.done",
                                              "reset.done",
                                              "delete.done",
                                              "resume.epoch_raised",
                                              "session_end.ended",
                                              "session_end.on_disk",
                                              "session_end.ledger_dropped",
                                              "session_end.forgotten"};
const std::vector<std::string> kOfStarts = {
    "start.recovered", "start.meta_written", "start.log_synced",
    "start.one_floor_slot", "start.promised"};
constexpr char kOfAnUnfinishedEnd[] = "start.ended_session_found";
const std::vector<std::string> kOfFirstStarts = {
    "floor.drafted",   "floor.named",        "first_start.floor_made",
    "start.recovered", "start.meta_written", "start.log_synced",
    "start.promised"};
const std::vector<std::string> kOfBackups = {
    "backup.begun",  "backup.records_copied", "backup.contents_noted",
    "floor.drafted", "floor.named",           "backup.drafted",
    "backup.named",  "backup.durable"};
const std::vector<std::string> kOfRestores = {
    "restore.marked",      "restore.records_copied",
    "restore.copy_synced", "floor.drafted",
    "floor.named",         "restore.whole",
    "restore.unmarked"};

// RocksDB's are named after their files and functions, by `:`.
bool IsOurs(const std::string& point) {
  return point.find('.') != std::string::npos &&
         point.find(':') == std::string::npos;
}

std::string DeathAt(const std::string& point, uint64_t times,
                    const std::string& earlier = "") {
  return absl::StrCat("STREAMNORM_FAULTS_KILL_POINT=", point, " ", times, " ",
                      earlier);
}

class KillPoints : public Battery {
 protected:
  // Those of RocksDB that are passed by a server that starts, works, flushes
  // and starts again.
  std::set<std::string> Learn() {
    for (int i = 0; i < 6; ++i) {
      LiveAndDie(/*power_cuts=*/0);
      if (HasFailure()) break;
    }
    auto passed = Reported("passed");
    std::erase_if(passed, IsOurs);
    return {passed.begin(), passed.end()};
  }

  int64_t Died(const std::string& point) const {
    const auto killed = Reported("killed");
    return std::count(killed.begin(), killed.end(), point);
  }

  // A life that is to end at `point`. It may not get there.
  void DieAt(const std::string& point, uint64_t times,
             const std::string& earlier = "") {
    if (Start({DeathAt(point, times, earlier)})) {
      if (server_->EndsWithin(std::chrono::milliseconds(400))) {
        ASSERT_EQ(server_->Wait(), kKilled);
      } else {
        Kill();
      }
    } else {
      ASSERT_EQ(server_->Wait(), kKilled);
    }
    if (random_() % 2 == 0) CutPower();
  }

  // Dies there `times` times, in as many lives as it takes.
  void DieOftenAt(const std::string& point, int times,
                  const std::string& earlier = "", uint64_t passings = 3) {
    SCOPED_TRACE(absl::StrCat(point, " after ", earlier));
    const int64_t wanted = Died(point) + times;
    for (int lives = 0; Died(point) < wanted && lives < 20 * times; ++lives) {
      DieAt(point, 1 + random_() % passings, earlier);
      ASSERT_FALSE(HasFailure());
      ASSERT_FALSE(churn_ && churn_->complained());
    }
    EXPECT_GE(Died(point), wanted) << "not reached";
  }

  void PrintDeaths(const std::vector<std::string>& points) const {
    for (const std::string& point : points) {
      std::printf("%s: died %ld times\n", point.c_str(),
                  static_cast<long>(Died(point)));
    }
  }

  // Each must be one that this test knows, or nobody dies at it.
  void ExpectAllListed() const {
    std::set<std::string> listed = {kOfAnUnfinishedEnd};
    for (const auto& points : {kOfCommits, kOfRequests, kOfStarts,
                               kOfFirstStarts, kOfBackups, kOfRestores}) {
      listed.insert(points.begin(), points.end());
    }
    for (const std::string& point : Reported("passed")) {
      EXPECT_TRUE(!IsOurs(point) || listed.contains(point))
          << point << ": is not listed in this test";
    }
  }

  void BeginChurn() {
    LiveAndDie(/*power_cuts=*/0);
    ASSERT_TRUE(Start());
    churn_.emplace(server_->address(), seed_);
    Kill();
  }

  void FinishChurnAndCheck() {
    ASSERT_TRUE(Start()) << "it does not start";
    churn_->FinishAndCheck();
    load_->FinishAndCheck();
    EXPECT_EQ(server_->Terminate(), 0);
    ExpectAllListed();
  }

  std::optional<Churn> churn_;
};

TEST_F(KillPoints, EachOfRocksdbIsHit) {
  const int times = Cycles(3, 50);
  const std::set<std::string> points = Learn();
  ASSERT_GE(points.size(), 5u) << "RocksDB has no kill points any more?";
  for (const std::string& point : points) {
    DieOftenAt(point, times);
    ASSERT_FALSE(HasFailure());
  }
  PrintDeaths({points.begin(), points.end()});
  FinishAndCheck();
}

// A commit of updates, and one that takes a reset, a deletion, ... to the disk.
TEST_F(KillPoints, EachOfACommitIsHitAfterEachKindOfRequest) {
  const int times = Cycles(1, 10);
  const auto requests =
      times > 1 ? kOfRequests
                : std::vector<std::string>{"reset.done", "delete.done",
                                           "session_end.forgotten"};
  BeginChurn();
  for (const std::string& point : kOfCommits) {
    DieOftenAt(point, times, "", /*passings=*/30);
    for (const std::string& request : requests) {
      DieOftenAt(point, times, request, /*passings=*/2);
      ASSERT_FALSE(HasFailure());
    }
  }
  PrintDeaths(kOfCommits);
  FinishChurnAndCheck();
}

TEST_F(KillPoints, EachOfARequestIsHit) {
  const int times = Cycles(3, 50);
  BeginChurn();
  for (const std::string& point : kOfRequests) {
    DieOftenAt(point, times);
    ASSERT_FALSE(HasFailure());
  }
  PrintDeaths(kOfRequests);
  FinishChurnAndCheck();
}

TEST_F(KillPoints, EachOfAStartIsHit) {
  const int times = Cycles(3, 50);
  BeginChurn();
  for (const std::string& point : kOfStarts) {
    DieOftenAt(point, times, "", /*passings=*/1);
  }
  for (int time = 0; time < times; ++time) {
    DieOftenAt("session_end.ledger_dropped", 1);
    DieOftenAt(kOfAnUnfinishedEnd, 1, "", /*passings=*/1);
    ASSERT_FALSE(HasFailure());
  }
  PrintDeaths(kOfStarts);
  PrintDeaths({kOfAnUnfinishedEnd});
  FinishChurnAndCheck();
}

TEST_F(KillPoints, EachOfAFirstStartIsHitAndTheNextOneSucceeds) {
  const int times = Cycles(3, 50);
  for (const std::string& point : kOfFirstStarts) {
    SCOPED_TRACE(point);
    for (int time = 0; time < times; ++time) {
      ASSERT_FALSE(Start({DeathAt(point, 1)})) << "not reached";
      ASSERT_EQ(server_->Wait(), kKilled);
      if (random_() % 2 == 0) CutPower();
      ASSERT_TRUE(Start()) << "it does not start";
      ASSERT_EQ(server_->Terminate(), 0);
      fs::remove_all(disk_.directory() + "/data");
      disk_.Settle();
    }
  }
  PrintDeaths(kOfFirstStarts);
  ExpectAllListed();
}

// What a backup that was killed left is whole, or not there.
TEST_F(KillPoints, EachOfABackupIsHit) {
  const int times = Cycles(3, 50);
  BeginChurn();
  for (const std::string& point : kOfBackups) {
    for (int time = 0; time < times; ++time) {
      SCOPED_TRACE(absl::StrCat(point, " ", time));
      const std::string name = absl::StrCat(point, "-", time);
      ASSERT_TRUE(Start({DeathAt(point, 1, "backup.begun")}));
      const auto client = Client::Connect(server_->address());
      ASSERT_TRUE(client.ok()) << client.status();
      EXPECT_FALSE((*client)->CreateBackup(name).ok());
      ASSERT_EQ(server_->Wait(), kKilled);
      const bool named = fs::exists(dir_ / "backups/" + name);
      EXPECT_EQ(named, point == "backup.named" || point == "backup.durable");
      if (named) {
        EXPECT_EQ(ServerUnderTest({"--restore_from", dir_ / "backups/" + name,
                                   "--data_dir", dir_ / "restored"})
                      .Wait(),
                  0);
        fs::remove_all(dir_ / "restored");
      }
      ASSERT_TRUE(Start());
      const auto again = (*client)->CreateBackup(name);
      EXPECT_EQ(again.ok(), !named) << again.status();
      EXPECT_FALSE(fs::exists(dir_ / "backups/" + name + ".tmp"));
      Kill();
      fs::remove_all(dir_ / "backups/" + name);
      ASSERT_FALSE(HasFailure());
    }
  }
  PrintDeaths(kOfBackups);
  FinishChurnAndCheck();
}

// What a restore that was killed leaves is refused by servers and restores, or
// whole; once it is removed the restore succeeds.
TEST_F(KillPoints, EachOfARestoreIsHit) {
  const int times = Cycles(3, 50);
  LiveAndDie(/*power_cuts=*/0);
  ASSERT_TRUE(Start());
  const auto client = Client::Connect(server_->address());
  ASSERT_TRUE(client.ok() && (*client)->CreateBackup("b").ok());
  load_->FinishAndCheck();
  Kill();
  const std::string restored = dir_ / "restored";
  const auto restore = [&](const Faults& faults) {
    return ServerUnderTest(
               {"--restore_from", dir_ / "backups/b", "--data_dir", restored},
               Environment(faults))
        .Wait();
  };
  for (const std::string& point : kOfRestores) {
    for (int time = 0; time < times; ++time) {
      SCOPED_TRACE(point);
      ASSERT_EQ(restore({DeathAt(point, 1)}), kKilled) << "not reached";
      ServerUnderTest started(
          {"--listen", "unix:" + (dir_ / "other"), "--data_dir", restored});
      const bool whole = !started.address().empty();
      EXPECT_EQ(whole, point == "restore.unmarked");
      EXPECT_EQ(whole ? started.Terminate() : started.Wait(),
                whole ? 0 : kExitNotADataDirectory);
      if (time + 1 == times) {
        EXPECT_EQ(restore({}), kExitNotADataDirectory) << "it holds something";
      }
      fs::remove_all(restored);
      ASSERT_FALSE(HasFailure());
    }
    EXPECT_EQ(restore({}), 0);
    fs::remove_all(restored);
  }
  PrintDeaths(kOfRestores);
  ExpectAllListed();
}

// Every call that changes a file, too.
TEST_F(KillPoints, EachCallOfAStartAndOfTheFirstCommitsIsHit) {
  const int times = Cycles(1, 50);
  LiveAndDie(0);
  for (int time = 0; time < times; ++time) {
    for (int call = 1; call <= 100; ++call) {
      SCOPED_TRACE("call " + std::to_string(call));
      const bool listens =
          Start({absl::StrCat("STREAMNORM_FAULTS_KILL_AT=", call)});
      if (listens && !server_->EndsWithin(std::chrono::milliseconds(400))) {
        Kill();
      } else {
        ASSERT_EQ(server_->Wait(), kKilled);
      }
      if (random_() % 2 == 0) CutPower();
    }
  }
  FinishAndCheck();
}

}  // namespace
}  // namespace streamnorm
