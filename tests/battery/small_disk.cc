#include "tests/battery/small_disk.h"

#include <fcntl.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>

namespace streamnorm {
namespace {

namespace fs = std::filesystem;

// EXT4_IOC_SHUTDOWN with EXT4_GOING_FLAGS_NOLOGFLUSH: no flush, no journal.
constexpr unsigned long kShutDown = 0x8004587D;
constexpr uint32_t kWithoutFlush = 2;

bool Succeeds(const std::string& command) {
  return std::system(command.c_str()) == 0;
}

}  // namespace

SmallDisk::SmallDisk(const std::string& path)
    : mount_point_(path + "/small-disk"), image_(path + "/small-disk.image") {
  fs::create_directory(mount_point_);
}

SmallDisk::~SmallDisk() { Unmount(); }

void SmallDisk::Unmount() {
  if (mounted_) umount2(mount_point_.c_str(), MNT_DETACH);
  mounted_ = false;
}

bool SmallDisk::MountTmpfs() {
  const std::string size = "size=" + std::to_string(kBytes);
  mounted_ = geteuid() == 0 &&
             mount("none", mount_point_.c_str(), "tmpfs", 0, size.c_str()) == 0;
  return mounted_;
}

bool SmallDisk::MountExt4() {
  if (geteuid() != 0) return false;
  std::ofstream(image_).close();
  fs::resize_file(image_, kBytes);
  return Succeeds("mkfs.ext4 -q " + image_) && Remount();
}

bool SmallDisk::Remount() {
  Unmount();
  mounted_ = Succeeds("mount -o loop " + image_ + " " + mount_point_);
  return mounted_;
}

bool SmallDisk::CutPower() const {
  const int directory = open(mount_point_.c_str(), O_RDONLY | O_DIRECTORY);
  uint32_t flags = kWithoutFlush;
  const bool done = ioctl(directory, kShutDown, &flags) == 0;
  close(directory);
  return done;
}

void SmallDisk::Fill(uint64_t leave) const {
  std::ofstream filler(mount_point_ + "/filler", std::ios::app);
  const std::string block(64 << 10, 'x');
  struct statvfs info {};
  while (filler && statvfs(mount_point_.c_str(), &info) == 0 &&
         (leave == 0 || info.f_bavail * info.f_frsize > leave + block.size())) {
    filler << block << std::flush;
  }
}

void SmallDisk::Free() const { fs::remove(mount_point_ + "/filler"); }

}  // namespace streamnorm
