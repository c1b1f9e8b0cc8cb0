#include "storage/rocksdb_log.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <rocksdb/env.h>

#include <filesystem>
#include <memory>
#include <string>

#include "tests/storage/store_fixture.h"
#include "tests/testing/temp_dir.h"

namespace streamnorm {
namespace {

namespace fs = std::filesystem;

using testing::HasSubstr;
using testing::MatchesRegex;

TEST(RocksdbLogTest, EntryIsALineWithItsTime) {
  const TempDir dir;
  const auto log = NewRocksdbLog(dir.path());
  rocksdb::Log(rocksdb::InfoLogLevel::INFO_LEVEL, log, "flushed %d", 7);
  EXPECT_THAT(ReadFile(dir / "LOG"),
              MatchesRegex("20..-..-.. ..:..:..[.]...... flushed 7\n"));
}

TEST(RocksdbLogTest, OpenedAgainItGoesOn) {
  const TempDir dir;
  for (const char* text : {"first", "second"}) {
    rocksdb::Log(rocksdb::InfoLogLevel::INFO_LEVEL, NewRocksdbLog(dir.path()),
                 "%s", text);
  }
  EXPECT_THAT(ReadFile(dir / "LOG"), HasSubstr("first"));
  EXPECT_THAT(ReadFile(dir / "LOG"), HasSubstr("second"));
}

TEST(RocksdbLogTest, LongEntryIsCut) {
  const TempDir dir;
  const auto log = NewRocksdbLog(dir.path());
  rocksdb::Log(rocksdb::InfoLogLevel::INFO_LEVEL, log, "%s",
               std::string(100'000, 'x').c_str());
  EXPECT_EQ(ReadFile(dir / "LOG").size(), 4096u);
  EXPECT_EQ(ReadFile(dir / "LOG").back(), '\n');
}

TEST(RocksdbLogTest, NeverTakesMoreThanTwoFilesOfAMebibyte) {
  const TempDir dir;
  const auto log = NewRocksdbLog(dir.path());
  const std::string text(1000, 'x');
  for (int i = 0; i < 5000; ++i) {
    rocksdb::Log(rocksdb::InfoLogLevel::INFO_LEVEL, log, "%s", text.c_str());
  }
  uint64_t bytes = 0;
  size_t files = 0;
  for (const auto& entry : fs::directory_iterator(dir.path())) {
    bytes += entry.file_size();
    ++files;
  }
  EXPECT_EQ(files, 2u);
  EXPECT_LE(bytes, (uint64_t{2} << 20) + 2 * 4096);
}

TEST(RocksdbLogTest, EntryThatCantBeWrittenIsDropped) {
  const auto log = NewRocksdbLog("/nowhere/to/be/found");
  for (int i = 0; i < 3; ++i) {
    rocksdb::Log(rocksdb::InfoLogLevel::INFO_LEVEL, log, "lost");
  }
}

}  // namespace
}  // namespace streamnorm
