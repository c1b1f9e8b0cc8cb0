// glibc's checking wrappers of these very functions are inline.
#undef _FORTIFY_SOURCE

#include "tests/faults/fault_injection.h"

#include <limits.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <cerrno>
#include <csignal>
#include <cstdarg>
#include <cstdio>
#include <functional>
#include <mutex>
#include <random>
#include <string_view>

#include "tests/faults/disk_recorder.h"

namespace streamnorm {
namespace {

// From <fcntl.h>, which would declare what is defined here otherwise.
constexpr int kOpenCreates = 0100;
constexpr int kOpenTruncates = 01000;
constexpr int kOpenToAppend = 01 | 0100 | 02000;  // O_WRONLY, O_CREAT, O_APPEND
constexpr int kAtFdcwd = -100;

struct Plan {
  std::mutex mutex;
  std::string directory;
  int64_t calls_seen = 0;
  int64_t kill_at = 0;
  int64_t fail_at = 0;
  int fail_error = 0;
  int64_t full_from = 0;
  std::string fail_writes;
  int write_error = 0;
  std::string fail_syncs;
  int sync_error = 0;
  std::minstd_rand random{std::random_device()()};
  int64_t sync_delay_us = 0;
  int report = -1;
};

// Never destroyed: threads of RocksDB outlive main.
Plan& ThePlan() {
  static Plan& plan = *new Plan;
  return plan;
}

std::atomic<bool> watching = false;
std::atomic<int64_t> free_bytes = -1;
std::atomic<DiskRecorder*> recorder = nullptr;

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

bool EndsAs(std::string_view path, std::string_view ending) {
  return ending == "*" || (!ending.empty() && path.ends_with(ending));
}

void Report(const Plan& plan, std::string line) {
  if (plan.report < 0) return;
  line += '\n';
  syscall(SYS_write, plan.report, line.data(), line.size());
}

enum class Kind { kName, kWrite, kSync };

// What becomes of a call.
struct Fate {
  bool dies = false;
  int error = 0;                  // 0 = it is made
  DiskRecorder* notes = nullptr;  // who notes it, if anyone
};

Fate FateOf(Kind kind, std::string_view path) {
  if (!watching) return {};
  Plan& plan = ThePlan();
  const std::lock_guard<std::mutex> lock(plan.mutex);
  if (!path.starts_with(plan.directory)) return {};
  Fate fate;
  fate.notes = recorder;
  if (!path.ends_with("/LOG")) {
    ++plan.calls_seen;
    fate.dies = plan.calls_seen == plan.kill_at;
    if (plan.calls_seen == plan.fail_at) fate.error = plan.fail_error;
    const bool full = plan.full_from > 0 && plan.calls_seen >= plan.full_from;
    if (full && kind == Kind::kWrite) fate.error = ENOSPC;
    if (fate.dies) Report(plan, "killed " + std::string(path));
    if (fate.error != 0) Report(plan, "failed " + std::string(path));
  }
  if (kind == Kind::kWrite && EndsAs(path, plan.fail_writes)) {
    fate.error = plan.write_error;
  }
  if (kind == Kind::kSync && EndsAs(path, plan.fail_syncs)) {
    fate.error = plan.sync_error;
  }
  return fate;
}

int Fail(int error) {
  errno = error;
  return -1;
}

// A call that dies as a whole, fails as a whole, or is made.
using Note = std::function<int(DiskRecorder*, const DiskRecorder::Call&)>;
int Make(Kind kind, const std::string& path, const Note& note,
         const DiskRecorder::Call& call) {
  const Fate fate = FateOf(kind, path);
  if (fate.dies) Die();
  if (fate.error != 0) return Fail(fate.error);
  return fate.notes == nullptr ? call() : note(fate.notes, call);
}

void TakeTimeToSync() {
  int64_t us = 0;
  {
    Plan& plan = ThePlan();
    const std::lock_guard<std::mutex> lock(plan.mutex);
    if (plan.sync_delay_us == 0) return;
    us = std::uniform_int_distribution<int64_t>(
        0, plan.sync_delay_us)(plan.random);
  }
  const timespec time = {us / 1'000'000, us % 1'000'000 * 1000};
  nanosleep(&time, nullptr);
}

int Sync(int fd, long system_call) {
  if (!watching) return static_cast<int>(syscall(system_call, fd));
  const std::string path = PathOf(fd);
  return Make(
      Kind::kSync, path,
      [&](DiskRecorder* r, const auto& call) {
        return r->Sync(fd, path, call);
      },
      [&] {
        TakeTimeToSync();
        return static_cast<int>(syscall(system_call, fd));
      });
}

// `write` writes so many of the bytes. One that is cut short by death writes
// half of them.
template <typename Write>
ssize_t WriteSome(int fd, off_t offset, size_t size, const Write& write) {
  if (!watching) return write(size);
  const Fate fate = FateOf(Kind::kWrite, PathOf(fd));
  if (fate.error != 0) return Fail(fate.error);
  if (fate.notes != nullptr) fate.notes->Overwrite(fd, offset, size);
  const long written = write(fate.dies ? size / 2 : size);
  if (fate.dies) Die();
  return written;
}

}  // namespace

void WatchFilesUnder(const std::string& directory) {
  Plan& plan = ThePlan();
  const std::lock_guard<std::mutex> lock(plan.mutex);
  plan.directory = directory;
  plan.calls_seen = plan.kill_at = plan.fail_at = plan.full_from = 0;
  plan.sync_delay_us = 0;
  plan.fail_writes.clear();
  plan.fail_syncs.clear();
  free_bytes = -1;
  recorder = nullptr;
  watching = true;
}

void KillAtCall(int64_t calls) {
  Plan& plan = ThePlan();
  const std::lock_guard<std::mutex> lock(plan.mutex);
  plan.kill_at = plan.calls_seen + calls;
}

void FailCall(int64_t calls, int error) {
  Plan& plan = ThePlan();
  const std::lock_guard<std::mutex> lock(plan.mutex);
  plan.fail_at = plan.calls_seen + calls;
  plan.fail_error = error;
}

void FillDiskAtCall(int64_t calls) {
  Plan& plan = ThePlan();
  const std::lock_guard<std::mutex> lock(plan.mutex);
  plan.full_from = plan.calls_seen + calls;
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

void DelaySyncs(int64_t at_most_us) {
  Plan& plan = ThePlan();
  const std::lock_guard<std::mutex> lock(plan.mutex);
  plan.sync_delay_us = at_most_us;
}

void PretendFreeBytes(int64_t bytes) { free_bytes = bytes; }

void ReportTo(const std::string& path) {
  Plan& plan = ThePlan();
  const std::lock_guard<std::mutex> lock(plan.mutex);
  plan.report = static_cast<int>(
      syscall(SYS_openat, kAtFdcwd, path.c_str(), kOpenToAppend, 0600));
}

void ReportLine(const std::string& line) {
  Plan& plan = ThePlan();
  const std::lock_guard<std::mutex> lock(plan.mutex);
  Report(plan, line);
}

void RecordUnsynced(const std::string& notes) {
  Plan& plan = ThePlan();
  const std::lock_guard<std::mutex> lock(plan.mutex);
  recorder = new DiskRecorder(plan.directory, notes);  // as long as the process
}

}  // namespace streamnorm

// ---- The C library's names. ----

using streamnorm::DiskRecorder;
using streamnorm::Kind;
using streamnorm::Make;
using streamnorm::WriteSome;

extern "C" {

ssize_t write(int fd, const void* bytes, size_t size) {
  const off_t offset =
      streamnorm::watching ? syscall(SYS_lseek, fd, 0, SEEK_CUR) : 0;
  return WriteSome(fd, offset, size, [&](size_t some) {
    return syscall(SYS_write, fd, bytes, some);
  });
}

ssize_t pwrite(int fd, const void* bytes, size_t size, off_t offset) {
  return WriteSome(fd, offset, size, [&](size_t some) {
    return syscall(SYS_pwrite64, fd, bytes, some, offset);
  });
}

int fdatasync(int fd) { return streamnorm::Sync(fd, SYS_fdatasync); }

int fsync(int fd) { return streamnorm::Sync(fd, SYS_fsync); }

int open(const char* path, int flags, ...) {
  va_list arguments;
  va_start(arguments, flags);
  const unsigned mode = va_arg(arguments, unsigned);
  va_end(arguments);
  const auto call = [&] {
    return static_cast<int>(
        syscall(SYS_openat, streamnorm::kAtFdcwd, path, flags, mode));
  };
  if ((flags & streamnorm::kOpenCreates) == 0) return call();
  return Make(
      Kind::kName, path,
      [&](DiskRecorder* r, const auto& open) {
        return r->Create(path, (flags & streamnorm::kOpenTruncates) != 0, open);
      },
      call);
}

int rename(const char* from, const char* to) noexcept {
  return Make(
      Kind::kName, to,
      [&](DiskRecorder* r, const auto& call) {
        return r->Rename(from, to, call);
      },
      [&] { return static_cast<int>(syscall(SYS_rename, from, to)); });
}

int link(const char* from, const char* to) noexcept {
  return Make(
      Kind::kName, to,
      [&](DiskRecorder* r, const auto& call) {
        return r->Link(from, to, call);
      },
      [&] { return static_cast<int>(syscall(SYS_link, from, to)); });
}

int unlink(const char* path) noexcept {
  return Make(
      Kind::kName, path,
      [&](DiskRecorder* r, const auto& call) { return r->Unlink(path, call); },
      [&] { return static_cast<int>(syscall(SYS_unlink, path)); });
}

int rmdir(const char* path) noexcept {
  return Make(
      Kind::kName, path,
      [&](DiskRecorder* r, const auto& call) { return r->Unlink(path, call); },
      [&] { return static_cast<int>(syscall(SYS_rmdir, path)); });
}

// As std::filesystem::remove_all does it.
int unlinkat(int directory, const char* name, int flags) noexcept {
  const auto call = [&] {
    return static_cast<int>(syscall(SYS_unlinkat, directory, name, flags));
  };
  if (!streamnorm::watching) return call();
  const std::string path = name[0] == '/' || directory == streamnorm::kAtFdcwd
                               ? name
                               : streamnorm::PathOf(directory) + "/" + name;
  return Make(
      Kind::kName, path,
      [&](DiskRecorder* r, const auto& unlink) {
        return r->Unlink(path.c_str(), unlink);
      },
      call);
}

// The C library's own would not come by here.
int remove(const char* path) noexcept {
  const int result = unlink(path);
  return result == 0 || errno != EISDIR ? result : rmdir(path);
}

int mkdir(const char* path, mode_t mode) noexcept {
  return Make(
      Kind::kName, path,
      [&](DiskRecorder* r, const auto& call) {
        return r->MakeDirectory(path, call);
      },
      [&] { return static_cast<int>(syscall(SYS_mkdir, path, mode)); });
}

int ftruncate(int fd, off_t size) noexcept {
  const auto call = [&] {
    return static_cast<int>(syscall(SYS_ftruncate, fd, size));
  };
  if (!streamnorm::watching) return call();
  return Make(
      Kind::kName, streamnorm::PathOf(fd),
      [&](DiskRecorder* r, const auto& truncate) {
        return r->Truncate(fd, size, truncate);
      },
      call);
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
