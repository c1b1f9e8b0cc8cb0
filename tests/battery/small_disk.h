#ifndef STREAMNORM_TESTS_BATTERY_SMALL_DISK_H_
#define STREAMNORM_TESTS_BATTERY_SMALL_DISK_H_

#include <cstdint>
#include <string>

namespace streamnorm {

// A file system of its own, 64 MiB large: to be filled, and to lose its power.
// Needs root, and for ext4 a loop device and mkfs.ext4. Unmounted at the end.
class SmallDisk {
 public:
  static constexpr uint64_t kBytes = uint64_t{64} << 20;

  // `path` is a directory to make the mount point and the image in.
  explicit SmallDisk(const std::string& path);
  ~SmallDisk();
  SmallDisk(const SmallDisk&) = delete;
  SmallDisk& operator=(const SmallDisk&) = delete;

  // False if it can't be had here.
  bool MountTmpfs();
  bool MountExt4();

  const std::string& path() const { return mount_point_; }

  // Writes a file until at most `leave` bytes are free; removes it.
  void Fill(uint64_t leave) const;
  void Free() const;

  // What an ext4 had not on disk is gone, and it is dead; `Remount` brings back
  // what was. Nobody may have a file of it open by then.
  bool CutPower() const;
  bool Remount();

 private:
  void Unmount();

  const std::string mount_point_, image_;
  bool mounted_ = false;
};

}  // namespace streamnorm

#endif  // STREAMNORM_TESTS_BATTERY_SMALL_DISK_H_
