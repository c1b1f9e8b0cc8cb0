#ifndef STREAMNORM_TESTS_TESTING_SERVER_UNDER_TEST_H_
#define STREAMNORM_TESTS_TESTING_SERVER_UNDER_TEST_H_

#include <sys/types.h>

#include <chrono>
#include <string>
#include <vector>

namespace streamnorm {

// The real server program in a process of its own, found by the environment
// variable STREAMNORM_SERVER_BINARY. What it says on stderr is kept, and
// printed at the end if the test failed. Not thread safe.
class ServerUnderTest {
 public:
  // Starts it with `flags` and waits until it listens; with a listening
  // address in `flags` there is nothing to add. `environment`: NAME=VALUE.
  explicit ServerUnderTest(std::vector<std::string> flags,
                           std::vector<std::string> environment = {});

  // Kills it if it still runs.
  ~ServerUnderTest();
  ServerUnderTest(const ServerUnderTest&) = delete;
  ServerUnderTest& operator=(const ServerUnderTest&) = delete;

  // The first address it listens on; empty if it ended instead.
  const std::string& address() const { return address_; }

  pid_t pid() const { return pid_; }

  // What the last process said on stderr so far.
  std::string log() const { return LogFrom(log_begin_); }

  // SIGKILL: nothing gets a chance to be saved.
  void Kill();

  // SIGTERM, then its exit code.
  int Terminate();

  // Waits for its end: the exit code, or 128 + the signal.
  int Wait();

  // A new process with the same flags and environment, or with others.
  void Restart();
  void Restart(std::vector<std::string> flags,
               std::vector<std::string> environment);

  // True if it ended by itself, within `patience`.
  bool EndsWithin(std::chrono::milliseconds patience);

 private:
  void Start();
  std::string LogFrom(off_t begin) const;

  std::vector<std::string> flags_, environment_;
  const int log_;        // a file without a name
  off_t log_begin_ = 0;  // of the last process
  std::string address_;
  pid_t pid_ = -1;
};

}  // namespace streamnorm

#endif  // STREAMNORM_TESTS_TESTING_SERVER_UNDER_TEST_H_
