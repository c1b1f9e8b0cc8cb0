#include "tests/testing/tamper.h"

#include <gtest/gtest.h>
#include <rocksdb/db.h>

#include <memory>

namespace streamnorm {

void Tamper(const std::string& path, const std::string& key,
            const std::function<void(std::string*)>& change) {
  rocksdb::DB* opened = nullptr;
  ASSERT_TRUE(rocksdb::DB::Open(rocksdb::Options(), path, &opened).ok());
  const std::unique_ptr<rocksdb::DB> db(opened);
  std::string value;
  const rocksdb::Status read = db->Get({}, key, &value);
  ASSERT_TRUE(read.ok() || read.IsNotFound()) << read.ToString();
  change(&value);
  ASSERT_TRUE(db->Put({}, key, value).ok());
}

void FlipBitUnder(const std::string& path, const std::string& key) {
  Tamper(path, key, [](std::string* value) {
    ASSERT_FALSE(value->empty()) << "nothing there";
    value->back() ^= 1;
  });
}

}  // namespace streamnorm
