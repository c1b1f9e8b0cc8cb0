#include "tests/testing/child_process.h"

#include <fcntl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <string_view>
#include <vector>

namespace streamnorm {
namespace {

constexpr char kArgument[] = "STREAMNORM_CHILD_ARGUMENT";
constexpr int kTellFd = 3;

std::vector<std::string> EnvironmentWith(const std::string& argument) {
  std::vector<std::string> result;
  for (char** entry = environ; *entry != nullptr; ++entry) {
    // What ctest sets to choose among tests would choose in the child too.
    const std::string_view text = *entry;
    if (!text.starts_with("GTEST_")) result.emplace_back(text);
  }
  result.push_back(std::string(kArgument) + "=" + argument);
  return result;
}

std::vector<char*> PointersTo(std::vector<std::string>& strings) {
  std::vector<char*> pointers;
  pointers.reserve(strings.size() + 1);
  for (std::string& string : strings) pointers.push_back(string.data());
  pointers.push_back(nullptr);
  return pointers;
}

// Between fork and exec of a process with threads: system calls only.
[[noreturn]] void Become(char* const* arguments, char* const* environment,
                         int tell) {
  const int null = open("/dev/null", O_WRONLY);
  dup2(null, STDOUT_FILENO);
  if (tell == kTellFd) {
    fcntl(tell, F_SETFD, 0);
  } else {
    dup2(tell, kTellFd);
  }
  execve("/proc/self/exe", arguments, environment);
  _exit(127);
}

}  // namespace

ChildProcess::ChildProcess(const std::string& test,
                           const std::string& argument) {
  std::array<int, 2> pipe_ends{};
  if (pipe2(pipe_ends.data(), O_CLOEXEC) != 0) std::abort();
  std::vector<std::string> arguments = {"child", "--gtest_filter=" + test,
                                        "--gtest_also_run_disabled_tests"};
  std::vector<std::string> environment = EnvironmentWith(argument);
  const std::vector<char*> argv = PointersTo(arguments);
  const std::vector<char*> envp = PointersTo(environment);
  pid_ = fork();
  if (pid_ < 0) std::abort();
  if (pid_ == 0) Become(argv.data(), envp.data(), pipe_ends[1]);
  close(pipe_ends[1]);
  from_child_ = pipe_ends[0];
}

ChildProcess::~ChildProcess() {
  if (!ended_) {
    Kill();
    Wait();
  }
  close(from_child_);
}

std::optional<uint64_t> ChildProcess::Listen() {
  uint64_t number = 0;
  ssize_t got;
  do {  // a pipe passes eight bytes whole
    got = read(from_child_, &number, sizeof(number));
  } while (got < 0 && errno == EINTR);
  if (got != static_cast<ssize_t>(sizeof(number))) return std::nullopt;
  return number;
}

void ChildProcess::Kill() { kill(pid_, SIGKILL); }

int ChildProcess::Wait() {
  while (!ended_) {
    const pid_t ended = waitpid(pid_, &status_, 0);
    if (ended < 0 && errno == EINTR) continue;
    ended_ = true;
  }
  return status_;
}

std::string ChildArgument() {
  const char* argument = std::getenv(kArgument);
  return argument == nullptr ? "" : argument;
}

void TellParent(uint64_t number) {
  if (write(kTellFd, &number, sizeof(number)) !=
      static_cast<ssize_t>(sizeof(number))) {
    _exit(1);  // the parent is gone
  }
}

}  // namespace streamnorm
