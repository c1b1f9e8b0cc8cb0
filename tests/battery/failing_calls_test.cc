// The disk fails one call: the first, the second, and so on until a whole life
// of the server passes without a failure. It ends with an exit code that tells
// why, or goes on; it never aborts, and what it told is true.

#include <cstdio>
#include <map>

#include "absl/strings/str_cat.h"
#include "tests/battery/battery.h"

namespace streamnorm {
namespace {

class FailingCalls : public Battery {
 protected:
  // Fails call `call` in a life of about `answers` answers; what became of it.
  int Live(int call, uint64_t answers) {
    if (!Start({absl::StrCat("STREAMNORM_FAULTS_FAIL_AT=", call)})) {
      return server_->Wait();
    }
    load_->WaitForAnswers(answers, std::chrono::milliseconds(300));
    return server_->Terminate();
  }
};

TEST_F(FailingCalls, EachInTurnUntilNoneFails) {
  LiveAndDie(/*power_cuts=*/0);
  const int rounds = Cycles(1, 5);
  std::map<int, int> endings;  // by exit code
  int calls = 0;
  for (int round = 0; round < rounds; ++round) {
    // A later round lives longer: flushes and compactions fail too.
    const uint64_t answers = 100 * static_cast<uint64_t>(1 + 4 * round);
    size_t failed = 0;
    int call = 0, without_failure = 0;
    while (without_failure < 3) {
      SCOPED_TRACE("call " + std::to_string(++call));
      const int ending = Live(call, answers);
      ++endings[ending];
      ASSERT_LT(ending, 128) << "ended by signal " << ending - 128;
      const size_t now = Reported("failed").size();
      without_failure = now == failed ? without_failure + 1 : 0;
      failed = now;
      if (random_() % 4 == 0) CutPower();
    }
    calls += call;
    EXPECT_GT(failed, 50u);
  }
  FinishAndCheck();
  std::printf("%d calls failed in turn; exit codes:", calls);
  for (const auto& [code, times] : endings) {
    std::printf(" %d (%d times)", code, times);
  }
  std::printf("\n");
}

}  // namespace
}  // namespace streamnorm
