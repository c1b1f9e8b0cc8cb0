// Backups and restores when the power goes, when they are killed, and when the
// disk is full: what is there under the name of a backup is whole, and what is
// not whole is never taken for a store.

#include <gmock/gmock.h>

#include <cstdio>
#include <filesystem>
#include <span>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "tests/battery/battery.h"

namespace streamnorm {
namespace {

namespace fs = std::filesystem;

using std::chrono::milliseconds;
using std::chrono::seconds;
using testing::AnyOf;
using testing::HasSubstr;

constexpr int kExitNotADataDirectory = 78;
constexpr int kKilled = 128 + SIGKILL;

class BackupFaults : public Battery {
 protected:
  BackupFaults() { backup_dir_ = disk_.directory() + "/backups"; }

  // Starts with work to back up, and `load_` at it.
  void Begin() {
    LiveAndDie(/*power_cuts=*/0);
    ASSERT_TRUE(Start());
    client_ = Client::Connect(server_->address()).value();
    ASSERT_TRUE(load_->WaitForAnswers(300, seconds(10)));
  }

  // Rows of "told" that are on disk, after one more.
  int64_t TellOneMore() {
    EXPECT_TRUE(client_->GetOrCreateNormalizer("told", 1).ok());
    const auto session = client_->OpenSession("told");
    const double row = 1;
    EXPECT_TRUE(
        (*session)->Normalize("told", RowsOf(std::span(&row, 1), 1)).ok());
    EXPECT_TRUE((*session)->Close().ok());
    return client_->GetNormalizer("told")->row_count();
  }

  std::pair<int, std::string> Run(const std::vector<std::string>& flags,
                                  Faults faults = {}) {
    faults.push_back("STREAMNORM_FAULTS_SYNC_DELAY_US=0");
    ServerUnderTest program(flags, Environment(faults));
    const int code = program.Wait();
    return {code, program.log()};
  }

  std::pair<int, std::string> Restore(const std::string& backup,
                                      const Faults& faults = {}) {
    return Run({"--restore_from", backup, "--data_dir", restored_}, faults);
  }

  int Verify(const std::string& path) {
    return Run({"--verify", "--data_dir", path}).first;
  }

  // Rows of "told" in the restored store; -1 = a server refuses it.
  int64_t RowsRestored() {
    ServerUnderTest server({"--listen", "unix:" + (dir_ / "other"),
                            "--data_dir", restored_, "--log_level=error"});
    if (server.address().empty()) {
      EXPECT_EQ(server.Wait(), kExitNotADataDirectory) << server.log();
      EXPECT_THAT(server.log(), HasSubstr("remove it and restore again"));
      return -1;
    }
    const auto client = Client::Connect(server.address());
    const auto told = (*client)->GetNormalizer("told");
    EXPECT_EQ(server.Terminate(), 0);
    return told.ok() ? told->row_count() : 0;
  }

  // The test changed files of the recorded disk itself: that is no writer whose
  // names can be lost.
  void Remove(const std::string& path) {
    fs::remove_all(path);
    disk_.Settle();
  }

  const std::string restored_ = disk_.directory() + "/restored";
  std::unique_ptr<Client> client_;
};

// Killed while it is made, or as soon as it was answered; then the power goes.
TEST_F(BackupFaults, AnsweredBackupSurvivesThePowerCutAndNoOtherIsTakenForOne) {
  Begin();
  const int64_t told = TellOneMore();
  Kill();
  const std::string backup = backup_dir_ + "/b";
  const int cycles = Cycles(40, 1000);
  int answered = 0, whole = 0, drafts = 0;
  for (int cycle = 0; cycle < cycles; ++cycle) {
    SCOPED_TRACE("cycle " + std::to_string(cycle));
    ASSERT_TRUE(Start()) << "it does not start";
    absl::Status made = absl::UnavailableError("never called");
    std::thread maker([&] { made = client_->CreateBackup("b").status(); });
    const bool in_time = random_() % 2 == 0;
    if (in_time) maker.join();
    load_->WaitForAnswers(random_() % (in_time ? 20 : 300), milliseconds(400));
    Kill();
    if (!in_time) maker.join();
    CutPower();
    if (made.ok()) {
      ++answered;
      ASSERT_TRUE(fs::exists(backup)) << "answered, and gone";
    }
    if (fs::exists(backup)) {
      ++whole;
      EXPECT_EQ(Verify(backup), 0);
      EXPECT_EQ(Restore(backup), std::pair(0, std::string()));
      EXPECT_EQ(RowsRestored(), told);
      Remove(backup);
    } else if (fs::exists(backup + ".tmp")) {
      ++drafts;
      // Only its name may be missing.
      const auto [code, said] = Restore(backup + ".tmp");
      EXPECT_EQ(said.empty(), code == 0) << said;
      EXPECT_EQ(code == 0 ? RowsRestored() : told, told);
    }
    Remove(restored_);
    ASSERT_FALSE(HasFailure());
  }
  FinishAndCheck();
  std::printf(
      "%d power cuts: %d backups were answered, %d were there, %d were "
      "drafts\n",
      cycles, answered, whole, drafts);
  EXPECT_GT(answered, 0);
  EXPECT_GT(drafts, 0);
}

TEST_F(BackupFaults, RestoreKilledAtAnyCallLeavesNothingOrSaysSoOrIsWhole) {
  Begin();
  const int64_t told = TellOneMore();
  const auto made = client_->CreateBackup("b");
  ASSERT_TRUE(made.ok()) << made.status();
  load_->FinishAndCheck();
  Kill();
  const int rounds = Cycles(1, 20);
  int calls = 0, nothing = 0, refused = 0, whole = 0;
  for (int round = 0; round < rounds; ++round) {
    Remove(restored_);
    int code = kKilled;
    for (int call = 1; code == kKilled; ++call) {
      SCOPED_TRACE("call " + std::to_string(call));
      code = Restore(made->path(),
                     {absl::StrCat("STREAMNORM_FAULTS_KILL_AT=", call)})
                 .first;
      ASSERT_THAT(code, AnyOf(0, kKilled));
      if (code == 0) break;
      ++calls;
      if ((call + round) % 2 == 0) CutPower();
      if (!fs::exists(restored_) || fs::is_empty(restored_)) {
        ++nothing;
        EXPECT_EQ(Restore(made->path()).first, 0);
        EXPECT_EQ(RowsRestored(), told);
      } else if (const int64_t rows = RowsRestored(); rows >= 0) {
        ++whole;
        EXPECT_EQ(rows, told);
      } else if (++refused % 10 == 1) {
        const auto [next, said] = Restore(made->path());
        EXPECT_EQ(next, kExitNotADataDirectory);
        EXPECT_THAT(said, HasSubstr("remove it and restore again"));
      }
      Remove(restored_);
      ASSERT_FALSE(HasFailure());
    }
  }
  EXPECT_EQ(RowsRestored(), told);
  std::printf(
      "%d restores killed: %d left nothing, %d were refused, %d whole\n", calls,
      nothing, refused, whole);
  EXPECT_GT(refused, 20);
}

TEST_F(BackupFaults, DiskThatFillsUpDuringABackupEndsItAndNothingElse) {
  Begin();
  Kill();
  const std::string backup = backup_dir_ + "/b";
  const int stride = Cycles(5, 1);
  int call = 1, times = 0;
  for (absl::Status status = absl::UnknownError(""); !status.ok();
       call += stride) {
    SCOPED_TRACE("call " + std::to_string(call));
    // Power is not cut here: nothing has to be noted.
    ASSERT_TRUE(Start({"STREAMNORM_FAULTS_UNDER=" + backup_dir_,
                       "STREAMNORM_FAULTS_NOTES=",
                       absl::StrCat("STREAMNORM_FAULTS_FULL_AT=", call)}));
    status = client_->CreateBackup("b").status();
    ASSERT_FALSE(server_->EndsWithin(milliseconds(1))) << server_->log();
    if (!status.ok()) {
      ++times;
      EXPECT_TRUE(absl::IsResourceExhausted(status)) << status;
      EXPECT_EQ(ErrorReason(status), "BACKUP_NO_SPACE");
      EXPECT_FALSE(fs::exists(backup));
      EXPECT_FALSE(fs::exists(backup + ".tmp"));
    }
    EXPECT_TRUE(load_->WaitForAnswers(20, seconds(10))) << "updates stopped";
    Kill();
    ASSERT_FALSE(HasFailure());
  }
  EXPECT_EQ(Verify(backup), 0);
  FinishAndCheck();
  std::printf("%d backups found the disk full\n", times);
  EXPECT_GT(times, 10);
}

}  // namespace
}  // namespace streamnorm
