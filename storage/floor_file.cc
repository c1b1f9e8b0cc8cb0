#include "storage/floor_file.h"

#include <fcntl.h>
#include <sys/stat.h>

#include <array>
#include <cerrno>
#include <cstddef>
#include <cstdio>
#include <filesystem>
#include <span>
#include <string_view>
#include <utility>

#include "absl/strings/str_cat.h"
#include "storage/kill_point.h"
#include "storage/value_format.h"

namespace streamnorm {
namespace {

constexpr uint32_t kFloorVersion = 1;

// A page and more than a sector each: a torn write of one can't reach the
// other.
constexpr size_t kSlotStride = 4096;
constexpr size_t kSlots = 2;
constexpr size_t kSlotSize = 44;  // checksum, version, counter, sequence, id

struct Slot {
  uint64_t counter = 0;
  Floor floor;
};

size_t SlotOf(uint64_t counter) { return counter % kSlots; }

// Stands in for a key, so that a slot in the other's place is damaged.
std::string SlotKey(size_t index) { return absl::StrCat("FLOOR slot ", index); }

std::string EncodeSlot(const Slot& slot) {
  std::string value;
  ValueWriter writer(kFloorVersion, kSlotSize, &value);
  writer.Number(slot.counter);
  writer.Number(slot.floor.sequence);
  writer.Column(std::span<const uint8_t>(slot.floor.history_id));
  writer.Finish(SlotKey(SlotOf(slot.counter)));
  return value;
}

absl::StatusOr<Slot> DecodeSlot(size_t index, std::string_view value) {
  const std::string key = SlotKey(index);
  ValueReader reader(key, kFloorVersion, value);
  Slot slot;
  slot.counter = reader.Number<uint64_t>("counter");
  slot.floor.sequence = reader.Number<uint64_t>("sequence");
  reader.Column("history_id", std::span<uint8_t>(slot.floor.history_id));
  if (reader.ok() && SlotOf(slot.counter) != index) {
    reader.Fail("counter: of the other slot");
  }
  absl::Status status = reader.Finish();
  if (!status.ok()) return status;
  return slot;
}

// The newest readable slot.
absl::StatusOr<Slot> NewestSlot(std::string_view bytes) {
  absl::StatusOr<Slot> newest = DamagedValue("FLOOR", "no readable slot");
  for (size_t index = 0; index < kSlots; ++index) {
    const size_t offset = index * kSlotStride;
    if (bytes.size() < offset + kSlotSize) continue;
    absl::StatusOr<Slot> slot =
        DecodeSlot(index, bytes.substr(offset, kSlotSize));
    if (absl::IsFailedPrecondition(slot.status())) return slot.status();
    if (!slot.ok()) continue;
    if (!newest.ok() || slot->counter > newest->counter) newest = slot;
  }
  return newest;
}

std::string EncodeFile(const Floor& floor) {
  std::string bytes(kSlots * kSlotStride, '\0');
  for (uint64_t counter = 0; counter < kSlots; ++counter) {
    const std::string slot = EncodeSlot({counter, floor});
    bytes.replace(SlotOf(counter) * kSlotStride, slot.size(), slot);
  }
  return bytes;
}

absl::Status WriteDraft(const std::string& path, const Floor& floor) {
  const absl::StatusOr<FileDescriptor> draft =
      OpenFile(path, O_WRONLY | O_CREAT | O_TRUNC, S_IRUSR | S_IWUSR);
  if (!draft.ok()) return draft.status();
  absl::Status status = WriteAt(*draft, path, EncodeFile(floor), 0);
  if (!status.ok()) return status;
  return SyncFile(*draft, path);
}

}  // namespace

std::string FloorDraftPath(const std::string& path) { return path + ".new"; }

absl::StatusOr<std::optional<FloorFile>> FloorFile::Open(
    const std::string& path, FloorAccess access) {
  absl::StatusOr<FileDescriptor> opened =
      OpenFile(path, access == FloorAccess::kRead ? O_RDONLY : O_RDWR);
  if (absl::IsNotFound(opened.status())) return std::nullopt;
  if (!opened.ok()) return opened.status();
  FloorFile file(*std::move(opened), path);
  const absl::StatusOr<std::string> bytes =
      ReadStart(file.file_, path, kSlots * kSlotStride);
  if (!bytes.ok()) return bytes.status();
  const absl::StatusOr<Slot> slot = NewestSlot(*bytes);
  if (!slot.ok()) {
    return absl::Status(slot.status().code(),
                        absl::StrCat(path, ": ", slot.status().message()));
  }
  file.counter_ = slot->counter;
  file.floor_ = slot->floor;
  return file;
}

absl::StatusOr<FloorFile> FloorFile::Create(const std::string& path,
                                            const Floor& floor) {
  const std::string draft = FloorDraftPath(path);
  absl::Status status = WriteDraft(draft, floor);
  if (!status.ok()) return status;
  STREAMNORM_KILL_POINT("floor.drafted");
  if (std::rename(draft.c_str(), path.c_str()) != 0) {
    return LastError(draft, "rename");
  }
  STREAMNORM_KILL_POINT("floor.named");
  status = SyncDirectory(std::filesystem::path(path).parent_path());
  if (!status.ok()) return status;
  absl::StatusOr<std::optional<FloorFile>> file = Open(path);
  if (!file.ok()) return file.status();
  return **std::move(file);
}

absl::Status FloorFile::Store(const Floor& floor) {
  const Slot slot{counter_ + 1, floor};
  absl::Status status =
      WriteAt(file_, path_, EncodeSlot(slot),
              static_cast<off_t>(SlotOf(slot.counter) * kSlotStride));
  if (!status.ok()) return status;
  status = SyncFile(file_, path_);
  if (!status.ok()) return status;
  counter_ = slot.counter;
  floor_ = floor;
  return absl::OkStatus();
}

}  // namespace streamnorm
