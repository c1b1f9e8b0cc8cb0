// Counts allocations: the steady state of the data path makes none.

#include <gtest/gtest.h>

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <limits>
#include <new>
#include <vector>

#include "stats/moments.h"
#include "stats/scaling.h"
#include "tests/stats/oracle.h"

namespace {
std::atomic<uint64_t> allocations{0};
}  // namespace

// Not inlined: else the compiler sees free() of what new returned.
[[gnu::noinline]] void* operator new(size_t size) {
  ++allocations;
  void* p = std::malloc(size == 0 ? 1 : size);
  if (p == nullptr) throw std::bad_alloc();
  return p;
}
[[gnu::noinline]] void operator delete(void* p) noexcept { std::free(p); }
[[gnu::noinline]] void operator delete(void* p, size_t) noexcept {
  std::free(p);
}

namespace streamnorm {
namespace {

class AllocationTest : public testing::TestWithParam<DataType> {
 protected:
  static constexpr size_t kFeatures = 33;
  static constexpr size_t kRows = 4;

  AllocationTest()
      : values_(kRows * kFeatures * ElementSize(GetParam())),
        output_(values_.size()),
        view_{values_.data(), GetParam(), kRows, kFeatures},
        moments_(kFeatures) {
    Random random(1);
    const auto x = NormalValues(random, kRows * kFeatures, 5, 2);
    StoreFromDouble(x.data(), x.size(), GetParam(), values_.data());
  }

  void Step() {
    ASSERT_EQ(Fold(view_, kSkipAll, &moments_, &extremes_).kind,
              ValueProblem::kNone);
    ComputeScaling(rule_, moments_, &table_);
    ASSERT_FALSE(FindOutputOverflow(extremes_, table_, GetParam()));
    Apply(view_, table_, kSkipAll, output_.data());
  }

  std::vector<uint8_t> values_, output_;
  TensorView view_;
  Moments moments_;
  BatchExtremes extremes_;
  ScalingRule rule_;
  ScalingTable table_;
};

TEST_P(AllocationTest, SteadyStateOfUpdateThenNormalizeMakesNone) {
  for (int i = 0; i < 3; ++i) Step();
  const uint64_t before = allocations;
  for (int i = 0; i < 100; ++i) Step();
  EXPECT_EQ(allocations, before);
}

INSTANTIATE_TEST_SUITE_P(Types, AllocationTest,
                         testing::Values(DataType::kFp32, DataType::kFp64,
                                         DataType::kFp16, DataType::kBf16),
                         [](const auto& test) {
                           return DataTypeName(test.param);
                         });

}  // namespace
}  // namespace streamnorm
