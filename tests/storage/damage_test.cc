// Every file of a store with a bit flipped, cut short or gone: the store says
// so, or everything in it is right. Never a wrong number, never silently less.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <random>

#include "tests/storage/record_builders.h"
#include "tests/storage/store_fixture.h"

namespace streamnorm {
namespace {

namespace fs = std::filesystem;

class DamageTest : public RocksdbStoreFixture {
 protected:
  static constexpr int kNormalizers = 12;

  // A life that leaves tables, a log and two starts behind.
  void KeepSomething() {
    options_.max_total_wal_bytes = uint64_t{128} << 10;
    for (uint64_t life = 0; life < 3; ++life) {
      MustLoad();
      for (uint64_t n = 1; n <= 30; ++n) {
        for (int i = 0; i < kNormalizers; ++i) {
          const auto session = static_cast<uint8_t>(i + 1);
          ASSERT_TRUE(store_
                          ->Write(BatchOf("normalizer" + std::to_string(i),
                                          session, life * 30 + n))
                          .ok());
        }
        ASSERT_TRUE(store_->Sync().ok());
      }
      Close();
    }
    whole_ = MustLoad();
    Close();
    ASSERT_EQ(whole_.normalizers.size(), size_t{kNormalizers});
  }

  // What happened to a file, in words.
  std::string Damage(const std::string& path) {
    const uint64_t size = fs::file_size(path);
    switch (random_() % 4) {
      case 0:
        fs::remove(path);
        return path + " deleted";
      case 1:
        fs::resize_file(path, size == 0 ? 0 : random_() % size);
        return path + " cut to " + std::to_string(fs::file_size(path));
      default: {
        if (size == 0) return path + " is empty";
        std::string bytes = ReadFile(path);
        const uint64_t bit = random_() % (8 * size);
        bytes[bit / 8] = static_cast<char>(bytes[bit / 8] ^ 1 << bit % 8);
        WriteFile(path, bytes);
        return path + " bit " + std::to_string(bit) + " flipped";
      }
    }
  }

  // True if the store can be used; then nothing may be missing or wrong.
  bool OpensAndIsRight() {
    auto store = Open();
    const absl::StatusOr<StoreContents> contents =
        store.ok() ? (*store)->Load() : store.status();
    if (!contents.ok()) {
      EXPECT_TRUE(absl::IsDataLoss(contents.status())) << contents.status();
      return false;
    }
    EXPECT_EQ(contents->history_id, whole_.history_id);
    EXPECT_EQ(contents->next_generation, whole_.next_generation);
    for (const auto& want : whole_.normalizers) {
      const std::string& id = want.definition.id;
      const auto* got = Find(*contents, id);
      if (got == nullptr) {
        const bool named = std::any_of(
            contents->quarantined.begin(), contents->quarantined.end(),
            [&](const auto& quarantined) { return quarantined.id == id; });
        EXPECT_TRUE(named) << id << " is silently gone";
        continue;
      }
      EXPECT_EQ(got->definition, want.definition);
      EXPECT_EQ(got->ledgers, want.ledgers);
      EXPECT_TRUE(SameState(got->state, want.state)) << id;
    }
    return true;
  }

  std::mt19937_64 random_{20261123};
  StoreContents whole_;
};

TEST_F(DamageTest, AnyFileAnyBit) {
  const int times = std::getenv("STREAMNORM_LONG") != nullptr ? 10'000 : 200;
  KeepSomething();
  const std::string original = options_.data_dir;
  int refused = 0;
  for (int time = 0; time < times; ++time) {
    options_.data_dir = dir_ / "damaged";
    CopyDirectory(original, options_.data_dir);
    std::vector<std::string> files;
    for (const auto& entry :
         fs::recursive_directory_iterator(options_.data_dir)) {
      if (entry.is_regular_file()) files.push_back(entry.path());
    }
    std::sort(files.begin(), files.end());
    SCOPED_TRACE(Damage(files[random_() % files.size()]));
    if (!OpensAndIsRight()) ++refused;
    fs::remove_all(options_.data_dir);
    if (HasFailure()) break;
  }
  std::printf("%d files damaged: %d stores refused, %d right\n", times, refused,
              times - refused);
  EXPECT_GT(refused, times / 10);
}

}  // namespace
}  // namespace streamnorm
