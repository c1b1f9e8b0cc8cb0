#include "tests/faults/disk_recorder.h"

#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <utility>

namespace streamnorm {
namespace {

// All of this happens inside the C library's calls, so it makes its own without
// the library's names. From <fcntl.h>, which the callers may not include:
constexpr int kOpenToAppend =
    01 | 0100 | 02000;  // O_WRONLY | O_CREAT | O_APPEND
constexpr int kAtFdcwd = -100;

[[noreturn]] void Give(const char* what) {
  std::perror(what);
  std::abort();
}

struct stat StatOf(int fd) {
  struct stat info {};
  if (fstat(fd, &info) != 0) Give("disk recorder: fstat");
  return info;
}

std::string Hex(const std::string& bytes) {
  constexpr char kDigits[] = "0123456789abcdef";
  std::string hex;
  for (const char c : bytes) {
    hex += kDigits[static_cast<uint8_t>(c) >> 4];
    hex += kDigits[static_cast<uint8_t>(c) & 15];
  }
  return hex;
}

std::string Inode(const struct stat& info) {
  return std::to_string(info.st_ino);
}

}  // namespace

DiskRecorder::DiskRecorder(std::string directory, const std::string& notes)
    : directory_(std::move(directory)), keep_(notes + "/keep/") {
  const std::string path = notes + "/journal";
  journal_ = static_cast<int>(
      syscall(SYS_openat, kAtFdcwd, path.c_str(), kOpenToAppend, 0600));
  if (journal_ < 0) Give("disk recorder: journal");
}

void DiskRecorder::Note(const std::string& line) {
  const std::string text = line + "\n";
  const auto written = syscall(SYS_write, journal_, text.data(), text.size());
  if (written != static_cast<long>(text.size())) Give("disk recorder: write");
}

int DiskRecorder::Change(const std::string& note, const Call& call) {
  const std::lock_guard<std::mutex> lock(mu_);
  const int result = call();
  if (result == 0) Note(note);
  return result;
}

int DiskRecorder::Create(const char* path, bool truncates, const Call& open) {
  const std::lock_guard<std::mutex> lock(mu_);
  const bool there = syscall(SYS_access, path, F_OK) == 0;
  const int fd = open();
  if (fd < 0 || (there && !truncates)) return fd;
  const std::string inode = Inode(StatOf(fd));
  if (there) {
    Note("T " + inode + " 0");
    return fd;
  }
  if (syscall(SYS_link, path, (keep_ + inode).c_str()) != 0) {
    Give("disk recorder: link");
  }
  Note("C " + inode + " " + path);
  return fd;
}

int DiskRecorder::Rename(const char* from, const char* to, const Call& call) {
  return Change(std::string("R ") + from + " " + to, call);
}

int DiskRecorder::Link(const char* from, const char* to, const Call& call) {
  return Change(std::string("L ") + from + " " + to, call);
}

int DiskRecorder::Unlink(const char* path, const Call& call) {
  return Change(std::string("U ") + path, call);
}

int DiskRecorder::MakeDirectory(const char* path, const Call& call) {
  return Change(std::string("M ") + path, call);
}

int DiskRecorder::Truncate(int fd, off_t size, const Call& call) {
  return Change("T " + Inode(StatOf(fd)) + " " + std::to_string(size), call);
}

// What is written or renamed while the sync is under way may or may not be
// covered by it: it is taken as not covered.
int DiskRecorder::Sync(int fd, const std::string& path, const Call& call) {
  const struct stat before = StatOf(fd);
  if (!S_ISDIR(before.st_mode)) {
    const int result = call();
    if (result == 0) {
      Note("S " + Inode(before) + " " + std::to_string(before.st_size));
    }
    return result;
  }
  std::string number;
  {
    const std::lock_guard<std::mutex> lock(mu_);
    number = std::to_string(getpid()) + "-" + std::to_string(++next_sync_);
    Note("d " + number + " " + path);
  }
  const int result = call();
  if (result == 0) Note("D " + number);
  return result;
}

void DiskRecorder::Overwrite(int fd, off_t offset, size_t size) {
  const struct stat info = StatOf(fd);
  if (offset >= info.st_size) return;
  std::string old(std::min(size, static_cast<size_t>(info.st_size - offset)),
                  '\0');
  // The file may be open for writing only.
  char link[64];
  std::snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
  const auto reader =
      static_cast<int>(syscall(SYS_openat, kAtFdcwd, link, 0, 0));
  const auto read =
      syscall(SYS_pread64, reader, old.data(), old.size(), offset);
  if (read != static_cast<long>(old.size())) Give("disk recorder: read");
  syscall(SYS_close, reader);
  Note("O " + Inode(info) + " " + std::to_string(offset) + " " + Hex(old));
}

}  // namespace streamnorm
