#include "server/lane_server.h"

#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <utility>

#include "server/logging.h"

namespace streamnorm {
namespace {

// Without a file descriptor to spare nothing helps but to wait for one.
constexpr std::chrono::milliseconds kAcceptPause{20};

}  // namespace

absl::StatusOr<std::unique_ptr<LaneServer>> LaneServer::Start(
    const Options& options, Handler* handler) {
  auto listener = ListenOnUnixSocket(options.path);
  if (!listener.ok()) return listener.status();
  return std::unique_ptr<LaneServer>(
      new LaneServer(options, *std::move(listener), handler));
}

LaneServer::LaneServer(const Options& options, UniqueFd listener,
                       Handler* handler)
    : options_(options),
      listener_(std::move(listener)),
      handler_(handler),
      acceptor_([this] { AcceptAll(); }) {}

LaneServer::~LaneServer() { Stop(); }

void LaneServer::AcceptAll() {
  while (!stopping_) {
    UniqueFd fd(accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC));
    if (stopping_) return;
    JoinDone();
    if (fd.get() >= 0) {
      Serve(std::move(fd));
    } else if (errno != EINTR && errno != ECONNABORTED) {
      std::this_thread::sleep_for(kAcceptPause);
    }
  }
}

// One too many is closed: its client takes gRPC.
void LaneServer::Serve(UniqueFd fd) {
  MutexLock lock(&mu_);
  if (served_.size() >= options_.max_connections) {
    Log(LogLevel::kWarning, "lane_refused",
        {{"connections", served_.size()}, {"flag", "--max_lane_connections"}});
    return;
  }
  Served& served = served_.emplace_back();
  served.connection = std::make_unique<LaneConnection>(
      std::move(fd), options_.hello, options_.max_message_bytes, handler_,
      &metrics_);
  served.thread = std::thread([this, &served] {
    served.connection->Run();
    MutexLock done(&mu_);
    served.done = true;
    // The client is to see the end now, not when the next one comes.
    served.connection->Cut();
  });
}

void LaneServer::JoinDone() {
  std::list<Served> done;
  {
    MutexLock lock(&mu_);
    for (auto it = served_.begin(); it != served_.end();) {
      const auto next = std::next(it);
      if (it->done) done.splice(done.end(), served_, it);
      it = next;
    }
  }
  for (Served& served : done) served.thread.join();
}

size_t LaneServer::connections() const {
  MutexLock lock(&mu_);
  return static_cast<size_t>(
      std::count_if(served_.begin(), served_.end(),
                    [](const Served& served) { return !served.done; }));
}

bool LaneServer::HasLiving() {
  MutexLock lock(&mu_);
  return std::any_of(served_.begin(), served_.end(),
                     [](const Served& served) { return !served.done; });
}

void LaneServer::Drain(std::chrono::steady_clock::time_point deadline) {
  if (stopping_.exchange(true)) return;
  shutdown(listener_.get(), SHUT_RDWR);  // ends accept4
  acceptor_.join();
  unlink(options_.path.c_str());
  {
    MutexLock lock(&mu_);
    for (Served& served : served_) served.connection->Drain();
  }
  while (HasLiving() && std::chrono::steady_clock::now() < deadline) {
    std::this_thread::sleep_for(std::chrono::milliseconds(2));
  }
  MutexLock lock(&mu_);
  for (Served& served : served_) served.connection->Cut();
}

void LaneServer::Stop() {
  Drain(std::chrono::steady_clock::now());
  std::list<Served> rest;
  {
    MutexLock lock(&mu_);
    for (Served& served : served_) served.connection->Cut();
  }
  while (HasLiving()) {
    std::this_thread::sleep_for(std::chrono::milliseconds(2));
  }
  JoinDone();
}

}  // namespace streamnorm
