#ifndef STREAMNORM_TESTS_STORAGE_GOLDEN_VALUES_H_
#define STREAMNORM_TESTS_STORAGE_GOLDEN_VALUES_H_

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "storage/records.h"

namespace streamnorm {

// A record whose bytes in tests/data/storage_v<format>/<name>.bin never change.
struct GoldenValue {
  std::string name;
  std::string key;
  std::string value = {};       // as it is encoded now
  int format = 1;               // of the store, the first to have such a record
  uint32_t newest_version = 1;  // of this kind of record

  // Whether a value under a key can be decoded, whatever it says.
  std::function<absl::Status(std::string_view key, std::string_view value)>
      decode = {};

  // True if the value decodes to the record this was made from.
  std::function<bool(std::string_view value)> says_the_same = {};
};

std::vector<GoldenValue> GoldenValues();

// What tests/data/storage_v2/database holds besides the two below.
CommitBatch GoldenFormat2Batch();

// What tests/data/storage_v1/database holds: the first of these in a table,
// the second in the log.
CommitBatch GoldenTableBatch();
CommitBatch GoldenLogBatch();

}  // namespace streamnorm

#endif  // STREAMNORM_TESTS_STORAGE_GOLDEN_VALUES_H_
