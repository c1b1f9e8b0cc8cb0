#ifndef STREAMNORM_TESTS_STORAGE_CONFORMANCE_SUITE_H_
#define STREAMNORM_TESTS_STORAGE_CONFORMANCE_SUITE_H_

#include <gtest/gtest.h>

#include <functional>
#include <memory>

#include "storage/statistics_store.h"

namespace streamnorm {

// A store and what is under it.
class StoreUnderTest {
 public:
  virtual ~StoreUnderTest() = default;
  virtual StatisticsStore& store() = 0;

  // Closes the store and opens it again on what it left. Does nothing where
  // nothing is left: then Load must say at any time what is kept.
  virtual void Reopen() = 0;
};

// What every store must do. A test of a store makes it run:
//
//   INSTANTIATE_TEST_SUITE_P(Memory, StoreConformance,
//                            testing::Values(&NewMemoryStoreUnderTest));
using StoreFactory = std::unique_ptr<StoreUnderTest> (*)();

class StoreConformance : public testing::TestWithParam<StoreFactory> {
 protected:
  void Write(const CommitBatch& batch);

  // Syncs and reopens.
  StoreContents ContentsAfterReopen();

  StatisticsStore& store() { return under_test_->store(); }

 private:
  const std::unique_ptr<StoreUnderTest> under_test_ = GetParam()();
};

}  // namespace streamnorm

#endif  // STREAMNORM_TESTS_STORAGE_CONFORMANCE_SUITE_H_
