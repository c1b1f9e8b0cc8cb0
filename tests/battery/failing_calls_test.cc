// The disk fails one call: the first, the second, and so on until a life of the
// program passes without a failure. It ends with an exit code that tells why,
// or goes on; it never aborts, what it told is true, and the next start goes on
// or says what to do.

#include <gmock/gmock.h>

#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "tests/battery/battery.h"
#include "tests/battery/churn.h"

namespace streamnorm {
namespace {

namespace fs = std::filesystem;

using std::chrono::milliseconds;
using std::chrono::seconds;
using testing::AnyOf;
using testing::HasSubstr;

// docs/operations.md. Not 65: a disk that fails is no store that is damaged.
constexpr int kExitFailed = 1, kExitUnavailable = 69, kExitStoreFailed = 74,
              kExitNotADataDirectory = 78;

class FailingCalls : public Battery {
 protected:
  // Calls `life` with the faults that let call 1, 2, ... fail, until three in a
  // row pass without a failure.
  template <typename Life>
  void UntilNoneFails(const Life& life) {
    size_t failed = Reported("failed").size();
    const size_t before = failed;
    for (int call = 1, without = 0; without < 3; ++call) {
      SCOPED_TRACE("call " + std::to_string(call));
      life(Faults{absl::StrCat("STREAMNORM_FAULTS_FAIL_AT=", call)});
      if (HasFatalFailure()) return;
      const size_t now = Reported("failed").size();
      without = now == failed ? without + 1 : 0;
      failed = now;
    }
    failed_ += failed - before;
  }

  void Ended(int code) {
    EXPECT_THAT(code,
                AnyOf(0, kExitFailed, kExitUnavailable, kExitStoreFailed));
    ++endings_[code];
  }

  // A life that is to end by SIGTERM after `work`.
  template <typename Work>
  void Serve(const Faults& faults, const Work& work) {
    const bool listens = Start(faults);
    if (listens) work();
    Ended(listens ? server_->Terminate() : server_->Wait());
  }

  void PrintEndings(const char* what) const {
    std::printf("%s: %zu calls failed in turn; exit codes:", what, failed_);
    for (const auto& [code, times] : endings_) {
      std::printf(" %d (%d times)", code, times);
    }
    std::printf("\n");
  }

  static bool Long() { return std::getenv("STREAMNORM_LONG") != nullptr; }

  size_t failed_ = 0;
  std::map<int, int> endings_;  // by exit code
};

TEST_F(FailingCalls, OfALifeUnderLoad) {
  LiveAndDie(/*power_cuts=*/0);
  const int rounds = Cycles(1, 5);
  for (int round = 0; round < rounds; ++round) {
    // A later round lives longer: flushes and compactions fail too.
    const uint64_t answers = 100 * static_cast<uint64_t>(1 + 4 * round);
    UntilNoneFails([&](const Faults& faults) {
      Serve(faults, [&] { load_->WaitForAnswers(answers, milliseconds(300)); });
      if (random_() % 4 == 0) CutPower();
    });
    ASSERT_FALSE(HasFailure());
  }
  EXPECT_GT(failed_, 50u);
  FinishAndCheck();
  PrintEndings("load");
}

TEST_F(FailingCalls, OfAStartWithALogToRecover) {
  if (!Long()) GTEST_SKIP() << "in the long column";
  LiveAndDie(/*power_cuts=*/0);
  UntilNoneFails([&](const Faults& faults) {
    ASSERT_TRUE(Start()) << "it does not start";
    load_->WaitForAnswers(50, seconds(5));
    Kill();
    Serve(faults, [] {});
  });
  EXPECT_GT(failed_, 20u);
  FinishAndCheck();
  PrintEndings("start");
}

TEST_F(FailingCalls, OfResetsDeletionsAndTheEndsOfSessions) {
  if (!Long()) GTEST_SKIP() << "in the long column";
  ASSERT_TRUE(Start());
  Churn churn(server_->address(), seed_);
  Kill();
  UntilNoneFails([&](const Faults& faults) {
    Serve(faults, [&] {
      const uint64_t enough = churn.rounds() + 5;
      while (churn.rounds() < enough && !churn.complained() &&
             !server_->EndsWithin(milliseconds(1))) {
      }
    });
    ASSERT_FALSE(churn.complained());
    if (random_() % 4 == 0) CutPower();
  });
  EXPECT_GT(failed_, 50u);
  ASSERT_TRUE(Start()) << "it does not start";
  churn.FinishAndCheck();
  EXPECT_EQ(server_->Terminate(), 0);
  PrintEndings("resets, deletions, ends of sessions");
}

// The backup fails, or is whole; the server goes on as if nothing had been.
TEST_F(FailingCalls, OfABackupUnderLoad) {
  if (!Long()) GTEST_SKIP() << "in the long column";
  LiveAndDie(/*power_cuts=*/0);
  const std::string backup = dir_ / "backups/b";
  int whole = 0;
  UntilNoneFails([&](Faults faults) {
    faults.push_back("STREAMNORM_FAULTS_UNDER=" + (dir_ / "backups"));
    faults.push_back("STREAMNORM_FAULTS_NOTES=");
    const bool listens = Start(faults);
    if (!listens) return Ended(server_->Wait());
    const auto client = Client::Connect(server_->address()).value();
    const auto made = client->CreateBackup("b");
    ASSERT_FALSE(server_->EndsWithin(milliseconds(1))) << server_->log();
    EXPECT_EQ(fs::exists(backup), made.ok()) << made.status();
    EXPECT_TRUE(load_->WaitForAnswers(20, seconds(10))) << "updates stopped";
    if (made.ok()) {
      ++whole;
    } else {
      const auto again = client->CreateBackup("b");
      EXPECT_TRUE(again.ok()) << again.status();
    }
    EXPECT_EQ(ServerUnderTest({"--verify", "--data_dir", backup}).Wait(), 0);
    fs::remove_all(backup);
    Ended(server_->Terminate());
  });
  EXPECT_GT(failed_, 20u);
  FinishAndCheck();
  PrintEndings("backup");
  std::printf("%d backups whole in spite of it\n", whole);
}

// The restore fails and leaves what can be restored into again, or says what
// has to go; a verification changes nothing, so nothing of it can fail.
TEST_F(FailingCalls, OfARestoreAndAVerification) {
  if (!Long()) GTEST_SKIP() << "in the long column";
  LiveAndDie(/*power_cuts=*/0);
  ASSERT_TRUE(Start());
  ASSERT_TRUE(
      Client::Connect(server_->address()).value()->CreateBackup("b").ok());
  load_->FinishAndCheck();
  Kill();
  const std::string restored = disk_.directory() + "/restored";
  const auto run = [&](const std::vector<std::string>& flags,
                       const Faults& faults) {
    ServerUnderTest program(flags, Environment(faults));
    const int code = program.Wait();
    return std::pair(code, program.log());
  };
  const std::vector<std::string> restore = {
      "--restore_from", dir_ / "backups/b", "--data_dir", restored};
  const std::vector<std::string> verify = {"--verify", "--data_dir", restored};
  int refused = 0;
  UntilNoneFails([&](const Faults& faults) {
    const auto [code, said] = run(restore, faults);
    Ended(code);
    EXPECT_EQ(said.empty(), code == 0) << said;
    if (code == 0) {
      EXPECT_EQ(run(verify, faults).first, 0);
    } else if (const auto [next, hint] = run(restore, {}); next != 0) {
      ++refused;
      EXPECT_EQ(next, kExitNotADataDirectory);
      EXPECT_THAT(hint, HasSubstr("remove it and restore again"));
      fs::remove_all(restored);
      EXPECT_EQ(run(restore, {}).first, 0);
    }
    EXPECT_EQ(run(verify, {}).first, 0);
    fs::remove_all(restored);
  });
  EXPECT_GT(failed_, 20u);
  PrintEndings("restore");
  std::printf("%d directories had to be removed\n", refused);
}

}  // namespace
}  // namespace streamnorm
