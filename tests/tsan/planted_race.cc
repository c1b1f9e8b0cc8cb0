// A data race on purpose. ThreadSanitizer must report it under the very
// options that silence the libraries, or its silence elsewhere means nothing.

#include <atomic>
#include <thread>

#include "gtest/gtest.h"

namespace streamnorm {
namespace {

TEST(PlantedRace, TwoThreadsWriteOneVariableWithoutALock) {
  int shared = 0;
  std::atomic<int> started = 0;
  const auto write = [&] {
    // Relaxed: brings the threads together without ordering their writes.
    started.fetch_add(1, std::memory_order_relaxed);
    while (started.load(std::memory_order_relaxed) < 2) {
    }
    for (int i = 0; i < 1000; ++i) shared = i;
  };
  std::thread first(write);
  std::thread second(write);
  first.join();
  second.join();
  EXPECT_EQ(shared, 999);
}

}  // namespace
}  // namespace streamnorm
