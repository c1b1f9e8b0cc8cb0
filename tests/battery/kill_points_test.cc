// Dies at each of the points that RocksDB's authors found worth dying at, and
// at each of our own calls.

#include <algorithm>
#include <cstdio>
#include <set>

#include "absl/strings/str_cat.h"
#include "tests/battery/battery.h"

namespace streamnorm {
namespace {

class KillPoints : public Battery {
 protected:
  // Those that are passed by a server that starts, works, flushes and starts
  // again.
  std::set<std::string> Learn() {
    for (int i = 0; i < 6; ++i) {
      LiveAndDie(/*power_cuts=*/0);
      if (HasFailure()) break;
    }
    const auto passed = Reported("passed");
    return {passed.begin(), passed.end()};
  }

  int64_t Died(const std::string& point) const {
    const auto killed = Reported("killed");
    return std::count(killed.begin(), killed.end(), point);
  }

  void DieAt(const std::string& point) {
    const bool listens = Start({absl::StrCat(
        "STREAMNORM_FAULTS_KILL_POINT=", point, " ", 1 + random_() % 3)});
    if (listens) {
      if (server_->EndsWithin(std::chrono::milliseconds(400))) {
        server_->Wait();
      } else {
        Kill();
      }
    } else {
      ASSERT_EQ(server_->Wait(), 128 + SIGKILL);
    }
    if (random_() % 2 == 0) CutPower();
  }
};

TEST_F(KillPoints, EachOfRocksdbIsHit) {
  const int times = Cycles(3, 50);
  const std::set<std::string> points = Learn();
  ASSERT_GE(points.size(), 5u) << "RocksDB has no kill points any more?";
  for (const std::string& point : points) {
    SCOPED_TRACE(point);
    for (int tries = 0; Died(point) < times && tries < 20 * times; ++tries) {
      DieAt(point);
      ASSERT_FALSE(HasFailure());
    }
    EXPECT_GE(Died(point), times);
    std::printf("%s: died %ld times\n", point.c_str(),
                static_cast<long>(Died(point)));
  }
  FinishAndCheck();
}

// Every call that changes a file is a point of our own.
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
        ASSERT_EQ(server_->Wait(), 128 + SIGKILL);
      }
      if (random_() % 2 == 0) CutPower();
    }
  }
  FinishAndCheck();
}

}  // namespace
}  // namespace streamnorm
