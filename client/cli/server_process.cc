#include "client/cli/server_process.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <fstream>
#include <iterator>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"

namespace streamnorm {
namespace {

constexpr char kListening[] = "listening on ";
constexpr std::chrono::milliseconds kPollInterval{10};

struct ChildFiles {
  int output;
  int log;
  pid_t parent;
};

// Between fork and exec of a process with threads: system calls only.
[[noreturn]] void Become(const char* binary, char* const* arguments,
                         const ChildFiles& files) {
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (getppid() != files.parent) _exit(127);  // died before the line above
  sigset_t none;
  sigemptyset(&none);
  sigprocmask(SIG_SETMASK, &none, nullptr);
  signal(SIGPIPE, SIG_DFL);
  dup2(files.output, STDOUT_FILENO);
  dup2(files.log, STDERR_FILENO);
  execv(binary, arguments);
  _exit(127);
}

std::vector<std::string> Arguments(const ServerProcessOptions& options) {
  std::vector<std::string> arguments = {options.binary, "--listen",
                                        options.listen, "--data_dir",
                                        options.data_dir};
  arguments.insert(arguments.end(), options.arguments.begin(),
                   options.arguments.end());
  return arguments;
}

// The last lines of a log, as one.
std::string EndOf(const std::string& path) {
  constexpr size_t kShown = 500;
  std::ifstream file(path);
  const std::string text((std::istreambuf_iterator<char>(file)),
                         std::istreambuf_iterator<char>());
  return text.size() > kShown ? text.substr(text.size() - kShown) : text;
}

absl::Status NotStarted(const ServerProcessOptions& options,
                        absl::string_view why) {
  return absl::UnavailableError(
      absl::StrCat(options.binary, ": ", why,
                   "; its log ends with: ", EndOf(options.log_path)));
}

absl::Status SystemError(absl::string_view what) {
  return absl::UnknownError(absl::StrCat(what, ": ", std::strerror(errno)));
}

}  // namespace

absl::StatusOr<std::unique_ptr<ServerProcess>> ServerProcess::Start(
    const ServerProcessOptions& options) {
  std::vector<std::string> arguments = Arguments(options);
  std::vector<char*> pointers;
  pointers.reserve(arguments.size() + 1);
  for (std::string& argument : arguments) pointers.push_back(argument.data());
  pointers.push_back(nullptr);

  const int log = open(options.log_path.c_str(),
                       O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0666);
  if (log < 0) return SystemError(options.log_path);
  std::array<int, 2> output{};
  if (pipe2(output.data(), O_CLOEXEC) != 0) return SystemError("pipe");
  const ChildFiles files = {output[1], log, getpid()};
  const pid_t pid = fork();
  if (pid == 0) Become(options.binary.c_str(), pointers.data(), files);
  close(output[1]);
  close(log);
  if (pid < 0) {
    close(output[0]);
    return SystemError("fork");
  }
  std::unique_ptr<ServerProcess> server(new ServerProcess(pid, output[0]));
  if (auto s = server->ReadAddress(options); !s.ok()) return s;
  return server;
}

ServerProcess::~ServerProcess() {
  Kill();
  close(output_);
}

absl::Status ServerProcess::ReadAddress(const ServerProcessOptions& options) {
  const auto deadline =
      std::chrono::steady_clock::now() + options.start_timeout;
  std::string text;
  while (text.find('\n') == std::string::npos) {
    const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(
        deadline - std::chrono::steady_clock::now());
    if (left.count() <= 0) return NotStarted(options, "does not listen");
    pollfd wait = {output_, POLLIN, 0};
    if (poll(&wait, 1, static_cast<int>(left.count())) <= 0) continue;
    std::array<char, 256> part{};
    const ssize_t got = read(output_, part.data(), part.size());
    if (got == 0) return NotStarted(options, "ended at once");
    if (got > 0) text.append(part.data(), static_cast<size_t>(got));
  }
  const absl::string_view line =
      absl::string_view(text).substr(0, text.find('\n'));
  address_ = std::string(absl::StripPrefix(line, kListening));
  return absl::OkStatus();
}

void ServerProcess::Kill() {
  if (std::exchange(ended_, true)) return;
  kill(pid_, SIGKILL);
  while (waitpid(pid_, nullptr, 0) < 0 && errno == EINTR) {
  }
}

absl::Status ServerProcess::Stop(std::chrono::seconds timeout) {
  const auto deadline = std::chrono::steady_clock::now() + timeout;
  kill(pid_, SIGTERM);
  int status = 0;
  while (waitpid(pid_, &status, WNOHANG) == 0) {
    if (std::chrono::steady_clock::now() >= deadline) {
      Kill();
      return absl::DeadlineExceededError("the server did not end when asked");
    }
    std::this_thread::sleep_for(kPollInterval);
  }
  ended_ = true;
  if (WIFEXITED(status) && WEXITSTATUS(status) == 0) return absl::OkStatus();
  return absl::InternalError("the server failed when it was asked to end");
}

}  // namespace streamnorm
