#ifndef STREAMNORM_TESTS_STATS_DISPATCH_H_
#define STREAMNORM_TESTS_STATS_DISPATCH_H_

#include <gtest/gtest.h>
#include <hwy/targets.h>

#include <cstdint>

namespace streamnorm {

// Runs each case with one of the instruction sets that this CPU has.
class DispatchTest : public testing::TestWithParam<int64_t> {
 protected:
  DispatchTest() { Choose(GetParam()); }
  ~DispatchTest() override { Choose(0); }

 private:
  // 0: what the CPU has.
  static void Choose(int64_t target) {
    hwy::SetSupportedTargetsForTest(target);
    hwy::GetChosenTarget().Update(hwy::SupportedTargets());
  }
};

#define STREAMNORM_FOR_ALL_TARGETS(Suite)                                     \
  INSTANTIATE_TEST_SUITE_P(                                                   \
      Targets, Suite, testing::ValuesIn(hwy::SupportedAndGeneratedTargets()), \
      [](const auto& test) { return hwy::TargetName(test.param); })

}  // namespace streamnorm

#endif  // STREAMNORM_TESTS_STATS_DISPATCH_H_
