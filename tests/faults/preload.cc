// Fault injection for a program as it is: LD_PRELOAD this library and say by
// the environment what is to happen.
//
//   STREAMNORM_FAULTS_UNDER          the directory that is concerned
//   STREAMNORM_FAULTS_NOTES          where to note what is not synced
//   STREAMNORM_FAULTS_REPORT         a file that tells what struck
//   STREAMNORM_FAULTS_KILL_AT        number of the call to die at
//   STREAMNORM_FAULTS_FAIL_AT        number of the call that fails with EIO
//   STREAMNORM_FAULTS_FULL_AT        number of the call from which on writes
//                                    fail with ENOSPC
//   STREAMNORM_FAULTS_SYNC_DELAY_US  longest extra time of a sync
//   STREAMNORM_FAULTS_KILL_POINT     `NAME N`: die at the N-th passing of kill
//                                    point NAME, RocksDB's or our own
//                                    (storage/kill_point.h); `NAME N EARLIER`:
//                                    count from the first passing of EARLIER
//
// The report also has a line `passed NAME` for each kill point when it is
// passed for the first time.

#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <mutex>
#include <set>
#include <sstream>
#include <string>
#include <vector>

#include "tests/faults/fault_injection.h"

namespace streamnorm {
namespace {

std::string Setting(const char* name) {
  const char* value = std::getenv(name);
  return value == nullptr ? "" : value;
}

int64_t Number(const char* name) { return std::atoll(Setting(name).c_str()); }

__attribute__((constructor)) void Prepare() {
  const std::string directory = Setting("STREAMNORM_FAULTS_UNDER");
  if (directory.empty()) return;
  WatchFilesUnder(directory);
  if (const auto notes = Setting("STREAMNORM_FAULTS_NOTES"); !notes.empty()) {
    RecordUnsynced(notes);
  }
  if (const auto report = Setting("STREAMNORM_FAULTS_REPORT");
      !report.empty()) {
    ReportTo(report);
  }
  if (const auto calls = Number("STREAMNORM_FAULTS_KILL_AT"); calls > 0) {
    KillAtCall(calls);
  }
  if (const auto calls = Number("STREAMNORM_FAULTS_FAIL_AT"); calls > 0) {
    FailCall(calls, EIO);
  }
  if (const auto calls = Number("STREAMNORM_FAULTS_FULL_AT"); calls > 0) {
    FillDiskAtCall(calls);
  }
  DelaySyncs(Number("STREAMNORM_FAULTS_SYNC_DELAY_US"));
}

// Where to die.
struct Death {
  std::string point, earlier;  // "" = from the start
  int64_t times = 0;
};

Death WantedDeath() {
  std::istringstream words(Setting("STREAMNORM_FAULTS_KILL_POINT"));
  Death death;
  words >> death.point >> death.times >> death.earlier;
  return death;
}

struct KillPoints {
  std::mutex mutex;
  std::set<std::string> passed;
  Death death = WantedDeath();
};

}  // namespace

void PassPoint(const std::string& name) {
  static KillPoints& points = *new KillPoints;
  const std::lock_guard<std::mutex> lock(points.mutex);
  if (points.passed.insert(name).second) ReportLine("passed " + name);
  Death& death = points.death;
  if (name != death.point) return;
  if (!death.earlier.empty() && !points.passed.contains(death.earlier)) return;
  if (--death.times != 0) return;
  ReportLine("killed " + name);
  syscall(SYS_kill, syscall(SYS_getpid), SIGKILL);
}

}  // namespace streamnorm

// Our own kill points find it by this name (kill_point.cc).
extern "C" void StreamnormPassKillPoint(const char* name) {
  streamnorm::PassPoint(name);
}

// RocksDB declares this class in a header that it does not install.
namespace rocksdb {

class KillPoint {
 public:
  void TestKillRandom(std::string kill_point, int odds_weight,
                      const std::string& file, int line);
};

void KillPoint::TestKillRandom(std::string kill_point, int, const std::string&,
                               int) {
  streamnorm::PassPoint(kill_point);
}

}  // namespace rocksdb
