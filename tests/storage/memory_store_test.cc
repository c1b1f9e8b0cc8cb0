#include "storage/memory_store.h"

#include <gtest/gtest.h>

#include <memory>

#include "tests/storage/conformance_suite.h"

namespace streamnorm {
namespace {

class MemoryStoreUnderTest : public StoreUnderTest {
 public:
  StatisticsStore& store() override { return *store_; }
  void Reopen() override {}

 private:
  const std::unique_ptr<StatisticsStore> store_ = NewMemoryStore();
};

std::unique_ptr<StoreUnderTest> NewMemoryStoreUnderTest() {
  return std::make_unique<MemoryStoreUnderTest>();
}

INSTANTIATE_TEST_SUITE_P(Memory, StoreConformance,
                         testing::Values(&NewMemoryStoreUnderTest));

}  // namespace
}  // namespace streamnorm
