#ifndef STREAMNORM_TESTS_BATTERY_BATTERY_H_
#define STREAMNORM_TESTS_BATTERY_BATTERY_H_

#include <gtest/gtest.h>

#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <random>
#include <string>
#include <vector>

#include "tests/battery/load.h"
#include "tests/faults/power_cut.h"
#include "tests/testing/server_under_test.h"
#include "tests/testing/temp_dir.h"

namespace streamnorm {

// `few` in the short battery, `many` where STREAMNORM_LONG is set.
int Cycles(int few, int many);

// Longer than the server is ever away. In the long battery 50 starts in a row
// may die.
std::chrono::seconds LongestAbsence();

// The real server on a disk whose power can be cut. The seed is printed, and
// taken from STREAMNORM_BATTERY_SEED where that is set.
class Battery : public testing::Test {
 protected:
  Battery();

  // Faults of the next process: settings of tests/faults/preload.cc.
  using Faults = std::vector<std::string>;

  // Starts the server with options rolled anew. False if it ended instead.
  bool Start(const Faults& faults = {});

  // Environment of a process whose disk is this one.
  std::vector<std::string> Environment(const Faults& faults);

  // SIGKILL, and the power with it.
  void Kill();
  void CutPower();

  std::string ReportPath() const { return dir_ / "report"; }
  // Lines of the report that begin with `what`, without it.
  std::vector<std::string> Reported(const std::string& what) const;

  // Dies in the middle of the load, in one of several ways; then the power is
  // cut, perhaps. `power_cuts` of 100 deaths are power losses.
  void LiveAndDie(unsigned power_cuts);

  // A last start without faults, then all must have been counted.
  void FinishAndCheck();

  std::chrono::milliseconds longest_start() const { return longest_start_; }

  const uint64_t seed_;
  std::mt19937_64 random_;
  TempDir dir_;
  RecordedDisk disk_;
  std::string backup_dir_ = dir_ / "backups";  // power cuts don't reach it
  std::unique_ptr<ServerUnderTest> server_;
  std::optional<Load> load_;
  uint64_t lost_bytes_ = 0, lost_names_ = 0;

 private:
  std::vector<std::string> RollFlags();

  std::chrono::milliseconds longest_start_{0};
};

}  // namespace streamnorm

#endif  // STREAMNORM_TESTS_BATTERY_BATTERY_H_
