#include "storage/floor_file.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <iterator>
#include <optional>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "storage/value_format.h"
#include "tests/testing/temp_dir.h"

namespace streamnorm {
namespace {

constexpr size_t kSlotStride = 4096;
constexpr size_t kSlotSize = 44;

class FloorFileTest : public testing::Test {
 protected:
  FloorFile Created(uint64_t sequence) {
    absl::StatusOr<FloorFile> file =
        FloorFile::Create(path_, {kHistory, sequence});
    EXPECT_TRUE(file.ok()) << file.status();
    return *std::move(file);
  }

  // What a new process finds; kDataLoss if there is no file.
  absl::StatusOr<Floor> Found() {
    absl::StatusOr<std::optional<FloorFile>> file = FloorFile::Open(path_);
    if (!file.ok()) return file.status();
    if (!*file) return absl::NotFoundError("no file");
    return (*file)->floor();
  }

  std::string Bytes() {
    std::ifstream file(path_, std::ios::binary);
    return {std::istreambuf_iterator<char>(file), {}};
  }

  void Overwrite(const std::string& bytes) {
    std::ofstream(path_, std::ios::binary) << bytes;
  }

  void DamageSlot(size_t slot) {
    std::string bytes = Bytes();
    bytes[slot * kSlotStride + 20] ^= 1;
    Overwrite(bytes);
  }

  static constexpr HistoryId kHistory = {1, 2, 3};
  TempDir dir_;
  const std::string path_ = dir_ / "FLOOR";
};

TEST_F(FloorFileTest, MissingFileIsAbsent) {
  const absl::StatusOr<std::optional<FloorFile>> file = FloorFile::Open(path_);
  ASSERT_TRUE(file.ok()) << file.status();
  EXPECT_FALSE(file->has_value());
}

TEST_F(FloorFileTest, CreatedFloorIsFound) {
  Created(5);
  EXPECT_EQ(*Found(), (Floor{kHistory, 5}));
}

TEST_F(FloorFileTest, LastStoredFloorIsFound) {
  FloorFile file = Created(5);
  for (uint64_t sequence = 6; sequence < 20; ++sequence) {
    ASSERT_TRUE(file.Store({kHistory, sequence}).ok());
    EXPECT_EQ(file.floor().sequence, sequence);
    EXPECT_EQ(Found()->sequence, sequence);
  }
}

TEST_F(FloorFileTest, ReopenedFileIsWrittenOn) {
  Created(5);
  for (uint64_t sequence = 6; sequence < 12; ++sequence) {
    absl::StatusOr<std::optional<FloorFile>> file = FloorFile::Open(path_);
    ASSERT_TRUE(file.ok() && file->has_value());
    ASSERT_TRUE((*file)->Store({kHistory, sequence}).ok());
    EXPECT_EQ(Found()->sequence, sequence);
  }
}

TEST_F(FloorFileTest, FloorMayFall) {
  FloorFile file = Created(50);
  ASSERT_TRUE(file.Store({kHistory, 7}).ok());
  EXPECT_EQ(Found()->sequence, 7u);
}

TEST_F(FloorFileTest, CreateReplacesAnotherFloor) {
  Created(50);
  Created(7);
  EXPECT_EQ(Found()->sequence, 7u);
}

TEST_F(FloorFileTest, CreateReplacesALeftDraft) {
  std::ofstream(FloorDraftPath(path_)) << std::string(99999, 'x');
  Created(7);
  EXPECT_EQ(Found()->sequence, 7u);
  EXPECT_FALSE(std::filesystem::exists(FloorDraftPath(path_)));
}

// A write that a crash cuts short leaves some of its bytes new, others old.
TEST_F(FloorFileTest, TornWriteFallsBackToTheFloorBefore) {
  FloorFile file = Created(5);
  ASSERT_TRUE(file.Store({kHistory, 6}).ok());
  const std::string before = Bytes();
  ASSERT_TRUE(file.Store({kHistory, 7}).ok());
  const std::string after = Bytes();
  const size_t slot =
      before.substr(0, kSlotStride) == after.substr(0, kSlotStride)
          ? kSlotStride
          : 0;
  for (size_t written = 0; written < kSlotSize; ++written) {
    std::string torn = before;
    torn.replace(slot, written, after.substr(slot, written));
    if (torn == after) continue;
    Overwrite(torn);
    const absl::StatusOr<Floor> found = Found();
    ASSERT_TRUE(found.ok()) << found.status();
    EXPECT_EQ(found->sequence, 6u) << written << " bytes written";
  }
}

TEST_F(FloorFileTest, EitherSlotAloneIsEnough) {
  for (const size_t damaged : {0u, 1u}) {
    Created(5);
    DamageSlot(damaged);
    const absl::StatusOr<Floor> found = Found();
    ASSERT_TRUE(found.ok()) << found.status();
    EXPECT_EQ(found->sequence, 5u);
  }
}

TEST_F(FloorFileTest, StoreAfterADamagedSlotRepairsIt) {
  Created(5);
  DamageSlot(1);
  absl::StatusOr<std::optional<FloorFile>> file = FloorFile::Open(path_);
  ASSERT_TRUE(file.ok() && file->has_value());
  ASSERT_TRUE((*file)->Store({kHistory, 6}).ok());
  DamageSlot(0);
  EXPECT_EQ(Found()->sequence, 6u);
}

TEST_F(FloorFileTest, TwoDamagedSlotsAreDataLoss) {
  Created(5);
  DamageSlot(0);
  DamageSlot(1);
  EXPECT_TRUE(absl::IsDataLoss(Found().status())) << Found().status();
}

TEST_F(FloorFileTest, SlotInTheOthersPlaceIsDamaged) {
  Created(5);
  const std::string bytes = Bytes();
  Overwrite(bytes.substr(kSlotStride) + bytes.substr(0, kSlotStride));
  EXPECT_TRUE(absl::IsDataLoss(Found().status()));
}

TEST_F(FloorFileTest, EveryTruncationKeepsTheFloorOrIsDataLoss) {
  Created(5);
  const std::string bytes = Bytes();
  for (const size_t size :
       {size_t{0}, size_t{1}, kSlotSize - 1, kSlotSize, kSlotStride,
        kSlotStride + kSlotSize - 1, kSlotStride + kSlotSize}) {
    Overwrite(bytes.substr(0, size));
    const absl::StatusOr<Floor> found = Found();
    if (size < kSlotSize) {
      EXPECT_TRUE(absl::IsDataLoss(found.status())) << size << " bytes";
    } else {
      ASSERT_TRUE(found.ok()) << size << " bytes: " << found.status();
      EXPECT_EQ(found->sequence, 5u);
    }
  }
}

TEST_F(FloorFileTest, FileOfANewerVersionIsRefused) {
  Created(5);
  std::string bytes = Bytes();
  bytes[8] = 2;  // version
  const uint64_t checksum =
      ValueChecksum("FLOOR slot 0", bytes.substr(8, kSlotSize - 8));
  bytes.replace(0, 8, reinterpret_cast<const char*>(&checksum), 8);
  Overwrite(bytes);
  EXPECT_TRUE(absl::IsFailedPrecondition(Found().status())) << Found().status();
}

TEST_F(FloorFileTest, MessageNamesTheFile) {
  Overwrite("");
  EXPECT_NE(Found().status().message().find(path_), std::string::npos);
}

TEST_F(FloorFileTest, CreateInAMissingDirectoryFails) {
  EXPECT_FALSE(FloorFile::Create(dir_ / "no/FLOOR", {kHistory, 1}).ok());
}

}  // namespace
}  // namespace streamnorm
