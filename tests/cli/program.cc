#include "tests/cli/program.h"

#include <fcntl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <fstream>
#include <iterator>
#include <utility>

namespace streamnorm {
namespace {

std::vector<char*> PointersTo(std::vector<std::string>& strings) {
  std::vector<char*> pointers;
  for (std::string& string : strings) pointers.push_back(string.data());
  pointers.push_back(nullptr);
  return pointers;
}

std::string Variable(const char* name) {
  const char* value = std::getenv(name);
  return value == nullptr ? "" : value;
}

struct Files {
  std::string in;  // "" = from in_fd
  int in_fd;
  std::string out;
  std::string err;
};

// Between fork and exec: system calls only.
[[noreturn]] void Become(char* const* arguments, char* const* environment,
                         const Files& files) {
  const int in =
      files.in.empty() ? files.in_fd : open(files.in.c_str(), O_RDONLY);
  dup2(in, STDIN_FILENO);
  dup2(open(files.out.c_str(), O_WRONLY | O_CREAT, 0666), STDOUT_FILENO);
  dup2(open(files.err.c_str(), O_WRONLY | O_CREAT, 0666), STDERR_FILENO);
  execve(arguments[0], arguments, environment);
  _exit(127);
}

}  // namespace

Program::Program(std::vector<std::string> arguments,
                 const ProgramOptions& options) {
  arguments.insert(arguments.begin(), Variable("STREAMNORM_CLI_BINARY"));
  std::vector<std::string> environment = options.environment;
  for (const char* name : {"PATH", "TSAN_OPTIONS", "ASAN_OPTIONS", "TMPDIR"}) {
    environment.push_back(std::string(name) + "=" + Variable(name));
  }
  environment.push_back("HOME=" + dir_.path());
  const std::vector<char*> argv = PointersTo(arguments);
  const std::vector<char*> envp = PointersTo(environment);

  Files files = {"", -1, dir_ / "out", dir_ / "err"};
  std::array<int, 2> pipe_ends{-1, -1};
  if (options.keep_input_open) {
    if (pipe2(pipe_ends.data(), O_CLOEXEC) != 0) std::abort();
    files.in_fd = pipe_ends[0];
    input_ = pipe_ends[1];
    const std::string& input = options.input;  // fits into the pipe
    if (write(input_, input.data(), input.size()) < 0) std::abort();
  } else {
    files.in = dir_ / "in";
    std::ofstream(files.in, std::ios::binary) << options.input;
  }
  pid_ = fork();
  if (pid_ < 0) std::abort();
  if (pid_ == 0) Become(argv.data(), envp.data(), files);
  if (pipe_ends[0] >= 0) close(pipe_ends[0]);
}

Program::~Program() {
  if (!ended_) {
    Signal(SIGKILL);
    Reap(0);
  }
  if (input_ >= 0) close(input_);
}

void Program::Signal(int number) const { kill(pid_, number); }

bool Program::HasEnded() { return Reap(WNOHANG); }

Finished Program::Wait() {
  Reap(0);
  const int code =
      WIFEXITED(status_) ? WEXITSTATUS(status_) : 128 + WTERMSIG(status_);
  return {code, OutSoFar(), ErrSoFar()};
}

bool Program::Reap(int options) {
  while (!ended_) {
    const pid_t ended = waitpid(pid_, &status_, options);
    if (ended == 0) return false;
    if (ended < 0 && errno == EINTR) continue;
    ended_ = true;
  }
  return true;
}

std::string Program::OutSoFar() const { return FileText(dir_ / "out"); }
std::string Program::ErrSoFar() const { return FileText(dir_ / "err"); }

Finished RunStreamnorm(std::vector<std::string> arguments,
                       const ProgramOptions& options) {
  return Program(std::move(arguments), options).Wait();
}

std::string FileText(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file),
          std::istreambuf_iterator<char>()};
}

}  // namespace streamnorm
