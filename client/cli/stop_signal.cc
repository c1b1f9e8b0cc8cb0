#include "client/cli/stop_signal.h"

#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>
#include <cstdio>
#include <utility>

namespace streamnorm {
namespace {

sigset_t StopSignals() {
  sigset_t signals;
  sigemptyset(&signals);
  sigaddset(&signals, SIGINT);
  sigaddset(&signals, SIGTERM);
  return signals;
}

void MakeReadable(int event_fd) {
  const uint64_t one = 1;
  // Fails only if the counter is full, and then it is readable already.
  static_cast<void>(!write(event_fd, &one, sizeof(one)));
}

}  // namespace

StopSignal::StopSignal(std::string advice)
    : advice_(std::move(advice)),
      requested_fd_(eventfd(0, EFD_CLOEXEC)),
      end_fd_(eventfd(0, EFD_CLOEXEC)) {
  const sigset_t signals = StopSignals();
  pthread_sigmask(SIG_BLOCK, &signals, nullptr);
  const int signal_fd = signalfd(-1, &signals, SFD_CLOEXEC);
  watcher_ = std::thread([this, signal_fd] { Watch(signal_fd); });
}

StopSignal::~StopSignal() {
  MakeReadable(end_fd_);
  watcher_.join();
  close(end_fd_);
  close(requested_fd_);
  const sigset_t signals = StopSignals();
  pthread_sigmask(SIG_UNBLOCK, &signals, nullptr);
}

void StopSignal::Watch(int signal_fd) {
  while (true) {
    pollfd waits[] = {{signal_fd, POLLIN, 0}, {end_fd_, POLLIN, 0}};
    if (poll(waits, 2, -1) < 0 && errno == EINTR) continue;
    if (waits[1].revents != 0) break;
    signalfd_siginfo info{};
    if (read(signal_fd, &info, sizeof(info)) != sizeof(info)) break;
    const int number = static_cast<int>(info.ssi_signo);
    if (requested()) _exit(128 + number);
    signal_number_ = number;
    // A terminal shows ^C and stays on that line.
    std::fprintf(stderr, "%sstreamnorm: %s\n",
                 isatty(STDERR_FILENO) != 0 ? "\n" : "", advice_.c_str());
    MakeReadable(requested_fd_);
  }
  close(signal_fd);
}

}  // namespace streamnorm
