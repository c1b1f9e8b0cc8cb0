// The server dies again and again under clients that retry, repeat and reorder:
// by kill -9, by power loss, by both. Nothing is lost, nothing counts twice.

#include <cstdio>

#include "tests/battery/battery.h"

namespace streamnorm {
namespace {

class CrashCycles : public Battery {
 protected:
  void Run(const char* name, int cycles, unsigned power_cuts) {
    for (int cycle = 1; cycle <= cycles; ++cycle) {
      SCOPED_TRACE("cycle " + std::to_string(cycle));
      LiveAndDie(power_cuts);
      if (HasFailure()) break;
      if (cycle % 500 == 0) std::printf("%s: %d cycles\n", name, cycle);
    }
    FinishAndCheck();
    std::printf(
        "%s: %d cycles, %lu updates answered, %lu rows, %lu updates sent again "
        "because the server had lost them, %lu repeated; the cuts took %lu "
        "unsynced bytes and %lu names; longest start %ld ms\n",
        name, cycles, static_cast<unsigned long>(load_->answered()),
        static_cast<unsigned long>(load_->rows()),
        static_cast<unsigned long>(load_->resent()),
        static_cast<unsigned long>(load_->repeated()),
        static_cast<unsigned long>(lost_bytes_),
        static_cast<unsigned long>(lost_names_),
        static_cast<long>(longest_start().count()));
  }
};

TEST_F(CrashCycles, Kill) { Run("kill -9", Cycles(100, 2000), 0); }

TEST_F(CrashCycles, PowerLoss) { Run("power loss", Cycles(300, 10'000), 100); }

TEST_F(CrashCycles, Mixed) {
  Run("kill -9 and power loss", Cycles(300, 10'000), 50);
}

}  // namespace
}  // namespace streamnorm
