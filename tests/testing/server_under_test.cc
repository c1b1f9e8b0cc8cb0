#include "tests/testing/server_under_test.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <utility>

namespace streamnorm {

ServerUnderTest::ServerUnderTest(std::vector<std::string> flags)
    : flags_(std::move(flags)) {
  Start();
}

ServerUnderTest::~ServerUnderTest() {
  if (pid_ > 0) Kill();
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
  int out[2];
  if (pipe(out) != 0) abort();
  pid_ = fork();
  if (pid_ == 0) {
    dup2(out[1], STDOUT_FILENO);
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

}  // namespace streamnorm
