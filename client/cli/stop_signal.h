#ifndef STREAMNORM_CLIENT_CLI_STOP_SIGNAL_H_
#define STREAMNORM_CLIENT_CLI_STOP_SIGNAL_H_

#include <atomic>
#include <string>
#include <thread>

namespace streamnorm {

// Turns the first SIGINT or SIGTERM into a request to stop; a second one ends
// the process at once. One at a time in a process, made before any other
// thread is: threads inherit that these signals are not theirs.
class StopSignal {
 public:
  // `advice` is said on stderr at the first signal.
  explicit StopSignal(std::string advice);
  ~StopSignal();
  StopSignal(const StopSignal&) = delete;
  StopSignal& operator=(const StopSignal&) = delete;

  // Safe for concurrent use.
  bool requested() const { return signal_number_ != 0; }
  int signal_number() const { return signal_number_; }

  // Readable once a stop is requested; nobody reads from it.
  int fd() const { return requested_fd_; }

 private:
  void Watch(int signal_fd);

  const std::string advice_;
  int requested_fd_ = -1;
  int end_fd_ = -1;
  std::atomic<int> signal_number_{0};
  std::thread watcher_;
};

}  // namespace streamnorm

#endif  // STREAMNORM_CLIENT_CLI_STOP_SIGNAL_H_
