#include "tests/storage/store_fixture.h"

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <utility>

namespace streamnorm {

namespace fs = std::filesystem;

absl::StatusOr<RocksdbStoreFixture::Store> RocksdbStoreFixture::Open(
    bool accept_data_loss) {
  options_.accept_data_loss = accept_data_loss;
  return OpenRocksdbStore(options_);
}

RocksdbStoreFixture::Store RocksdbStoreFixture::MustOpen(
    bool accept_data_loss) {
  absl::StatusOr<Store> store = Open(accept_data_loss);
  EXPECT_TRUE(store.ok()) << store.status();
  return store.ok() ? *std::move(store) : nullptr;
}

StoreContents RocksdbStoreFixture::MustLoad(bool accept_data_loss) {
  Close();
  store_ = MustOpen(accept_data_loss);
  if (store_ == nullptr) return {};
  absl::StatusOr<StoreContents> contents = store_->Load();
  EXPECT_TRUE(contents.ok()) << contents.status();
  return contents.ok() ? *std::move(contents) : StoreContents();
}

void RocksdbStoreFixture::Keep(const CommitBatch& batch) {
  Close();
  const Store store = MustOpen();
  ASSERT_NE(store, nullptr);
  const absl::Status written = store->Write(batch);
  ASSERT_TRUE(written.ok()) << written;
  const absl::Status synced = store->Sync();
  ASSERT_TRUE(synced.ok()) << synced;
}

std::vector<std::string> RocksdbStoreFixture::DatabaseFiles(
    const std::string& ending) const {
  std::vector<std::string> paths;
  for (const auto& entry : fs::directory_iterator(DatabasePath())) {
    const std::string path = entry.path();
    if (path.ends_with(ending)) paths.push_back(path);
  }
  std::sort(paths.begin(), paths.end());
  return paths;
}

std::string RocksdbStoreFixture::LogPath() const {
  const std::vector<std::string> logs = DatabaseFiles(".log");
  return logs.empty() ? "" : logs.back();
}

uint64_t RocksdbStoreFixture::LogSize() const {
  return fs::file_size(LogPath());
}

std::map<std::string, std::string> RocksdbStoreFixture::AllFiles() const {
  std::map<std::string, std::string> files;
  for (const auto& entry :
       fs::recursive_directory_iterator(options_.data_dir)) {
    if (entry.is_regular_file()) {
      files[entry.path()] = ReadFile(entry.path());
    }
  }
  return files;
}

std::string ReadFile(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

void WriteFile(const std::string& path, const std::string& bytes) {
  std::ofstream(path, std::ios::binary) << bytes;
}

void FlipByte(const std::string& path, uint64_t offset) {
  std::string bytes = ReadFile(path);
  bytes.at(offset) = static_cast<char>(bytes.at(offset) ^ 0x10);
  WriteFile(path, bytes);
}

void CopyDirectory(const std::string& from, const std::string& to) {
  fs::copy(from, to, fs::copy_options::recursive);
}

}  // namespace streamnorm
