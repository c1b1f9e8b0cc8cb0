// glibc's checking wrappers of these very functions are inline.
#undef _FORTIFY_SOURCE

#include "tests/storage/fault_injection.h"

#include <limits.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <cerrno>
#include <csignal>
#include <cstdarg>
#include <cstdio>
#include <mutex>
#include <string_view>

namespace streamnorm {
namespace {

// From <fcntl.h>, which would declare what is defined here otherwise.
constexpr int kOpenCreates = 0100;
constexpr int kAtFdcwd = -100;

struct Plan {
  std::mutex mutex;
  std::string directory;
  int64_t calls_seen = 0;
  int64_t kill_at = 0;
  std::string fail_writes;
  int write_error = 0;
  std::string fail_syncs;
  int sync_error = 0;
};

// Never destroyed: threads of RocksDB outlive main.
Plan& ThePlan() {
  static Plan& plan = *new Plan;
  return plan;
}

std::atomic<bool> watching = false;
std::atomic<int64_t> free_bytes = -1;

[[noreturn]] void Die() {
  syscall(SYS_kill, syscall(SYS_getpid), SIGKILL);
  for (;;) pause();
}

std::string PathOf(int fd) {
  std::array<char, 64> link{};
  std::snprintf(link.data(), link.size(), "/proc/self/fd/%d", fd);
  std::array<char, PATH_MAX> path{};
  const long size =
      syscall(SYS_readlink, link.data(), path.data(), path.size());
  return size < 0 ? "" : std::string(path.data(), static_cast<size_t>(size));
}

bool IsWatched(const Plan& plan, std::string_view path) {
  return path.starts_with(plan.directory);
}

bool EndsAs(std::string_view path, std::string_view ending) {
  return ending == "*" || (!ending.empty() && path.ends_with(ending));
}

// True if the process is to die at this call.
bool CountCall(std::string_view path) {
  if (!watching) return false;
  Plan& plan = ThePlan();
  const std::lock_guard<std::mutex> lock(plan.mutex);
  if (!IsWatched(plan, path) || path.ends_with("/LOG")) return false;
  return ++plan.calls_seen == plan.kill_at;
}

void DieIfDue(std::string_view path) {
  if (CountCall(path)) Die();
}

int ErrorFor(const std::string& path, std::string Plan::*ending,
             int Plan::*error) {
  Plan& plan = ThePlan();
  const std::lock_guard<std::mutex> lock(plan.mutex);
  const bool fails = IsWatched(plan, path) && EndsAs(path, plan.*ending);
  return fails ? plan.*error : 0;
}

// 0 if a write to `fd` may go on, else the error it is to fail with.
int BeforeWrite(int fd, bool* dies) {
  if (!watching) return 0;
  const std::string path = PathOf(fd);
  *dies = CountCall(path);
  return ErrorFor(path, &Plan::fail_writes, &Plan::write_error);
}

int BeforeSync(int fd) {
  if (!watching) return 0;
  const std::string path = PathOf(fd);
  DieIfDue(path);
  return ErrorFor(path, &Plan::fail_syncs, &Plan::sync_error);
}

int Fail(int error) {
  errno = error;
  return -1;
}

}  // namespace

void WatchFilesUnder(const std::string& directory) {
  Plan& plan = ThePlan();
  const std::lock_guard<std::mutex> lock(plan.mutex);
  plan.directory = directory;
  plan.calls_seen = 0;
  plan.kill_at = 0;
  plan.fail_writes.clear();
  plan.fail_syncs.clear();
  free_bytes = -1;
  watching = true;
}

void KillAtCall(int64_t calls) {
  Plan& plan = ThePlan();
  const std::lock_guard<std::mutex> lock(plan.mutex);
  plan.kill_at = plan.calls_seen + calls;
}

int64_t CallsSeen() {
  Plan& plan = ThePlan();
  const std::lock_guard<std::mutex> lock(plan.mutex);
  return plan.calls_seen;
}

void FailWritesTo(const std::string& path_ending, int error) {
  Plan& plan = ThePlan();
  const std::lock_guard<std::mutex> lock(plan.mutex);
  plan.fail_writes = path_ending;
  plan.write_error = error;
}

void FailSyncsOf(const std::string& path_ending, int error) {
  Plan& plan = ThePlan();
  const std::lock_guard<std::mutex> lock(plan.mutex);
  plan.fail_syncs = path_ending;
  plan.sync_error = error;
}

void PretendFreeBytes(int64_t bytes) { free_bytes = bytes; }

}  // namespace streamnorm

// ---- The C library's names. ----

using streamnorm::BeforeSync;
using streamnorm::BeforeWrite;
using streamnorm::Die;
using streamnorm::DieIfDue;
using streamnorm::Fail;
using streamnorm::PathOf;
using streamnorm::watching;

extern "C" {

ssize_t write(int fd, const void* bytes, size_t size) {
  bool dies = false;
  const int error = BeforeWrite(fd, &dies);
  if (error != 0) return Fail(error);
  const long written = syscall(SYS_write, fd, bytes, dies ? size / 2 : size);
  if (dies) Die();
  return written;
}

ssize_t pwrite(int fd, const void* bytes, size_t size, off_t offset) {
  bool dies = false;
  const int error = BeforeWrite(fd, &dies);
  if (error != 0) return Fail(error);
  const long written =
      syscall(SYS_pwrite64, fd, bytes, dies ? size / 2 : size, offset);
  if (dies) Die();
  return written;
}

int fdatasync(int fd) {
  const int error = BeforeSync(fd);
  if (error != 0) return Fail(error);
  return static_cast<int>(syscall(SYS_fdatasync, fd));
}

int fsync(int fd) {
  const int error = BeforeSync(fd);
  if (error != 0) return Fail(error);
  return static_cast<int>(syscall(SYS_fsync, fd));
}

int open(const char* path, int flags, ...) {
  va_list arguments;
  va_start(arguments, flags);
  const unsigned mode = va_arg(arguments, unsigned);
  va_end(arguments);
  if (watching && (flags & streamnorm::kOpenCreates) != 0) DieIfDue(path);
  return static_cast<int>(
      syscall(SYS_openat, streamnorm::kAtFdcwd, path, flags, mode));
}

int rename(const char* from, const char* to) noexcept {
  if (watching) DieIfDue(to);
  return static_cast<int>(syscall(SYS_rename, from, to));
}

int unlink(const char* path) noexcept {
  if (watching) DieIfDue(path);
  return static_cast<int>(syscall(SYS_unlink, path));
}

int mkdir(const char* path, mode_t mode) noexcept {
  if (watching) DieIfDue(path);
  return static_cast<int>(syscall(SYS_mkdir, path, mode));
}

int ftruncate(int fd, off_t size) noexcept {
  if (watching) DieIfDue(PathOf(fd));
  return static_cast<int>(syscall(SYS_ftruncate, fd, size));
}

int statvfs(const char* path, struct statvfs* info) noexcept {
  const int descriptor =
      static_cast<int>(syscall(SYS_openat, streamnorm::kAtFdcwd, path, 0, 0));
  if (descriptor < 0) return -1;
  const int result = fstatvfs(descriptor, info);
  syscall(SYS_close, descriptor);
  const int64_t pretended = streamnorm::free_bytes;
  if (result == 0 && pretended >= 0) {
    info->f_bavail = static_cast<fsblkcnt_t>(pretended) / info->f_frsize;
    info->f_bfree = info->f_bavail;
  }
  return result;
}

}  // extern "C"
