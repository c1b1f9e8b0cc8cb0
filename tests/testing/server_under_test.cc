#include "tests/testing/server_under_test.h"

#include <gtest/gtest.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <thread>
#include <utility>

namespace streamnorm {

ServerUnderTest::ServerUnderTest(std::vector<std::string> flags,
                                 std::vector<std::string> environment)
    : flags_(std::move(flags)),
      environment_(std::move(environment)),
      log_(memfd_create("log", MFD_CLOEXEC)) {
  if (log_ < 0) abort();
  Start();
}

ServerUnderTest::~ServerUnderTest() {
  if (pid_ > 0) Kill();
  if (testing::Test::HasFailure()) fputs(LogFrom(0).c_str(), stderr);
  close(log_);
}

std::string ServerUnderTest::LogFrom(off_t begin) const {
  std::string text(static_cast<size_t>(lseek(log_, 0, SEEK_END) - begin), '\0');
  const ssize_t got = pread(log_, text.data(), text.size(), begin);
  text.resize(got < 0 ? 0 : static_cast<size_t>(got));
  return text;
}

void ServerUnderTest::Start() {
  const char* binary = std::getenv("STREAMNORM_SERVER_BINARY");
  if (binary == nullptr) {
    fprintf(stderr, "STREAMNORM_SERVER_BINARY: not set\n");
    abort();
  }
  std::vector<char*> argv = {const_cast<char*>(binary)};
  for (const std::string& flag : flags_) {
    argv.push_back(const_cast<char*>(flag.c_str()));
  }
  argv.push_back(nullptr);
  log_begin_ = lseek(log_, 0, SEEK_END);
  int out[2];
  if (pipe(out) != 0) abort();
  pid_ = fork();
  if (pid_ == 0) {
    for (const std::string& setting : environment_) {
      putenv(const_cast<char*>(setting.c_str()));
    }
    dup2(out[1], STDOUT_FILENO);
    dup2(log_, STDERR_FILENO);
    close(out[0]);
    close(out[1]);
    execv(binary, argv.data());
    _exit(127);
  }
  close(out[1]);
  FILE* from_server = fdopen(out[0], "r");
  char line[512];
  address_.clear();
  constexpr char kPrefix[] = "listening on ";
  while (address_.empty() && fgets(line, sizeof(line), from_server)) {
    const std::string text(line);
    if (text.rfind(kPrefix, 0) != 0) continue;
    address_ = text.substr(sizeof(kPrefix) - 1,
                           text.size() - sizeof(kPrefix));  // without newline
  }
  fclose(from_server);
}

void ServerUnderTest::Kill() {
  kill(pid_, SIGKILL);
  Wait();
}

int ServerUnderTest::Terminate() {
  kill(pid_, SIGTERM);
  return Wait();
}

int ServerUnderTest::Wait() {
  int status = 0;
  waitpid(pid_, &status, 0);
  pid_ = -1;
  return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

void ServerUnderTest::Restart() { Start(); }

void ServerUnderTest::Restart(std::vector<std::string> flags,
                              std::vector<std::string> environment) {
  flags_ = std::move(flags);
  environment_ = std::move(environment);
  Start();
}

bool ServerUnderTest::EndsWithin(std::chrono::milliseconds patience) {
  const auto deadline = std::chrono::steady_clock::now() + patience;
  siginfo_t info{};
  while (std::chrono::steady_clock::now() < deadline) {
    info.si_pid = 0;
    waitid(P_PID, static_cast<id_t>(pid_), &info, WEXITED | WNOHANG | WNOWAIT);
    if (info.si_pid != 0) return true;
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  return false;
}

}  // namespace streamnorm
