#ifndef STREAMNORM_TESTS_FAULTS_DISK_RECORDER_H_
#define STREAMNORM_TESTS_FAULTS_DISK_RECORDER_H_

#include <sys/types.h>

#include <cstdint>
#include <functional>
#include <mutex>
#include <string>
#include <string_view>

namespace streamnorm {

// Notes in a journal what a power loss could take back of the files under one
// directory: which bytes were not synced, which names came or went without a
// sync of their directory. The journal outlives the process, and PowerCut reads
// it. fault_injection.cc calls this for every change of a file.
//
// The notes lie in a directory of the same file system:
//
//   journal   one line for each event, in their order
//   keep/N    a link to every file that was created, so that its bytes are
//             still there after it was unlinked
//
// Lines: `C inode path` created, `M path` mkdir, `R from to` rename, `L from
// to` link, `U path` unlink or rmdir, `S inode size` synced up to there, `O
// inode offset hex` bytes that an overwrite replaced, `T inode size` truncated,
// `d number path` sync of a directory began, `D number` and ended, `B inode
// size path` found synced at the start (a directory has inode 0).
//
// Safe for concurrent use.
class DiskRecorder {
 public:
  DiskRecorder(std::string directory, const std::string& notes);

  bool Watches(std::string_view path) const {
    return path.starts_with(directory_);
  }

  // Each does one system call by `call`, which returns -1 if it failed, and
  // notes what it did.
  using Call = std::function<int()>;
  int Create(const char* path, bool truncates, const Call& open);
  int Rename(const char* from, const char* to, const Call& call);
  int Link(const char* from, const char* to, const Call& call);
  int Unlink(const char* path, const Call& call);
  int MakeDirectory(const char* path, const Call& call);
  int Truncate(int fd, off_t size, const Call& call);
  int Sync(int fd, const std::string& path, const Call& call);

  // Before bytes that are there already are written again.
  void Overwrite(int fd, off_t offset, size_t size);

 private:
  int Change(const std::string& note, const Call& call);
  void Note(const std::string& line);

  const std::string directory_;
  const std::string keep_;
  int journal_ = -1;
  std::mutex mu_;  // a change of names and its line are one step
  uint64_t next_sync_ = 0;
};

}  // namespace streamnorm

#endif  // STREAMNORM_TESTS_FAULTS_DISK_RECORDER_H_
