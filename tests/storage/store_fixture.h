#ifndef STREAMNORM_TESTS_STORAGE_STORE_FIXTURE_H_
#define STREAMNORM_TESTS_STORAGE_STORE_FIXTURE_H_

#include <gtest/gtest.h>

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "storage/rocksdb_store.h"
#include "storage/statistics_store.h"
#include "tests/testing/temp_dir.h"

namespace streamnorm {

// Tests of a RocksDB store that look below it.
class RocksdbStoreFixture : public testing::Test {
 protected:
  using Store = std::unique_ptr<StatisticsStore>;

  absl::StatusOr<Store> Open(bool accept_data_loss = false);
  Store MustOpen(bool accept_data_loss = false);

  // Opens and loads; `store_` is open afterwards.
  StoreContents MustLoad(bool accept_data_loss = false);

  void Close() { store_.reset(); }

  // Writes and syncs `batch` with a store that is open for just that.
  void Keep(const CommitBatch& batch);

  // The newest log of db/, and its size.
  std::string LogPath() const;
  uint64_t LogSize() const;

  // Files of db/ whose name ends so.
  std::vector<std::string> DatabaseFiles(const std::string& ending) const;

  // Every file under the data directory with its bytes.
  std::map<std::string, std::string> AllFiles() const;

  std::string FloorPath() const { return options_.data_dir + "/FLOOR"; }
  std::string DatabasePath() const { return options_.data_dir + "/db"; }

  TempDir dir_;
  RocksdbStoreOptions options_ = {.data_dir = dir_ / "data"};
  Store store_;
};

std::string ReadFile(const std::string& path);
void WriteFile(const std::string& path, const std::string& bytes);
void FlipByte(const std::string& path, uint64_t offset);
void CopyDirectory(const std::string& from, const std::string& to);

}  // namespace streamnorm

#endif  // STREAMNORM_TESTS_STORAGE_STORE_FIXTURE_H_
