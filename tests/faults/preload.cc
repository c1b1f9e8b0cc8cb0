// Fault injection for a program as it is: LD_PRELOAD this library and say by
// the environment what is to happen.
//
//   STREAMNORM_FAULTS_UNDER          the directory that is concerned
//   STREAMNORM_FAULTS_NOTES          where to note what is not synced
//   STREAMNORM_FAULTS_REPORT         a file that tells what struck
//   STREAMNORM_FAULTS_KILL_AT        number of the call to die at
//   STREAMNORM_FAULTS_FAIL_AT        number of the call that fails with EIO
//   STREAMNORM_FAULTS_SYNC_DELAY_US  longest extra time of a sync
//   STREAMNORM_FAULTS_KILL_POINT     `NAME N`: die at the N-th passing of
//                                    RocksDB's kill point NAME
//
// The report also has a line `passed NAME` for each of RocksDB's kill points
// when it is passed for the first time.

#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <map>
#include <mutex>
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
  DelaySyncs(Number("STREAMNORM_FAULTS_SYNC_DELAY_US"));
}

struct KillPoints {
  std::mutex mutex;
  std::map<std::string, int64_t> passed;
};

}  // namespace

// Called by RocksDB at each of its kill points.
void PassKillPoint(const std::string& name) {
  static KillPoints& points = *new KillPoints;
  static const std::string wanted = Setting("STREAMNORM_FAULTS_KILL_POINT");
  const std::lock_guard<std::mutex> lock(points.mutex);
  const int64_t times = ++points.passed[name];
  if (times == 1) ReportLine("passed " + name);
  if (wanted != name + " " + std::to_string(times)) return;
  ReportLine("killed " + name);
  syscall(SYS_kill, syscall(SYS_getpid), SIGKILL);
}

}  // namespace streamnorm

// RocksDB declares this class in a header that it does not install.
namespace rocksdb {

class KillPoint {
 public:
  void TestKillRandom(std::string kill_point, int odds_weight,
                      const std::string& file, int line);
};

void KillPoint::TestKillRandom(std::string kill_point, int, const std::string&,
                               int) {
  streamnorm::PassKillPoint(kill_point);
}

}  // namespace rocksdb
