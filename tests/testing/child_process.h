#ifndef STREAMNORM_TESTS_TESTING_CHILD_PROCESS_H_
#define STREAMNORM_TESTS_TESTING_CHILD_PROCESS_H_

#include <sys/types.h>

#include <cstdint>
#include <optional>
#include <string>

namespace streamnorm {

// A disabled test of this very executable, run in a process of its own, so
// that it can be killed or die. It finds `argument` with ChildArgument() and
// tells its parent numbers with TellParent(). Not thread safe.
class ChildProcess {
 public:
  // `test` is "Suite.DISABLED_Name".
  ChildProcess(const std::string& test, const std::string& argument);
  // Kills it if it still runs.
  ~ChildProcess();
  ChildProcess(const ChildProcess&) = delete;
  ChildProcess& operator=(const ChildProcess&) = delete;

  // The next number it told; waits for it. Absent once there is no more.
  std::optional<uint64_t> Listen();

  // SIGKILL.
  void Kill();

  // Waits for its end: the status of waitpid(2).
  int Wait();

 private:
  pid_t pid_ = -1;
  int from_child_ = -1;
  int status_ = 0;
  bool ended_ = false;
};

// In the child.
std::string ChildArgument();
void TellParent(uint64_t number);

}  // namespace streamnorm

#endif  // STREAMNORM_TESTS_TESTING_CHILD_PROCESS_H_
