#include "server/http_endpoint.h"

#include <netdb.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"

namespace streamnorm {
namespace {

// A browser's request has 1 to 2 KiB, Prometheus's 200 bytes.
constexpr size_t kMaxRequestBytes = size_t{8} << 10;

// Scrapers and probes have one each, a page six. When another one comes, the
// oldest is closed: those who talk have long been answered.
constexpr size_t kMaxConnections = 64;

// From the first byte to the last: Prometheus waits as long by default.
constexpr std::chrono::seconds kExchangeTimeout{10};

// For the client to read the answer before the connection is gone: what it
// sent and nobody read would turn the end into a reset.
constexpr std::chrono::seconds kLingerTimeout{1};

// Without a file descriptor to spare nothing helps but to wait for one.
constexpr std::chrono::milliseconds kAcceptPause{20};

const char* ReasonPhrase(int status) {
  switch (status) {
    case 200:
      return "OK";
    case 400:
      return "Bad Request";
    case 404:
      return "Not Found";
    case 405:
      return "Method Not Allowed";
    case 413:
      return "Content Too Large";
    case 431:
      return "Request Header Fields Too Large";
    case 503:
      return "Service Unavailable";
    case 505:
      return "HTTP Version Not Supported";
    default:
      return "Internal Server Error";
  }
}

std::string Format(const HttpResponse& response, bool with_body) {
  std::string text = absl::StrCat(
      "HTTP/1.1 ", response.status, " ", ReasonPhrase(response.status),
      "\r\nContent-Type: ", response.content_type,
      "\r\nContent-Length: ", response.body.size(),
      "\r\nCache-Control: no-store\r\nX-Content-Type-Options: nosniff"
      "\r\nConnection: close\r\n",
      response.status == 405 ? "Allow: GET, HEAD\r\n" : "", "\r\n");
  if (with_body) text += response.body;
  return text;
}

std::string Refuse(int status, absl::string_view why) {
  return Format({.status = status, .body = absl::StrCat(why, "\n")}, true);
}

std::string PortOf(int fd) {
  sockaddr_storage bound{};
  socklen_t size = sizeof(bound);
  getsockname(fd, reinterpret_cast<sockaddr*>(&bound), &size);
  const auto port =
      bound.ss_family == AF_INET6
          ? reinterpret_cast<const sockaddr_in6*>(&bound)->sin6_port
          : reinterpret_cast<const sockaddr_in*>(&bound)->sin_port;
  return absl::StrCat(ntohs(port));
}

absl::StatusOr<UniqueFd> ListenOnTcp(const std::string& host,
                                     const std::string& port) {
  addrinfo hints{};
  hints.ai_flags = AI_PASSIVE | AI_NUMERICSERV;
  hints.ai_socktype = SOCK_STREAM;
  addrinfo* found = nullptr;
  if (const int error = getaddrinfo(host.empty() ? nullptr : host.c_str(),
                                    port.c_str(), &hints, &found);
      error != 0) {
    return absl::UnavailableError(gai_strerror(error));
  }
  UniqueFd fd(
      socket(found->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  const int on = 1;
  // After a restart; a second server on the same port still fails.
  setsockopt(fd.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
  const bool listens = fd.get() >= 0 &&
                       bind(fd.get(), found->ai_addr, found->ai_addrlen) == 0 &&
                       listen(fd.get(), static_cast<int>(kMaxConnections)) == 0;
  const int error = errno;
  freeaddrinfo(found);
  if (!listens) return absl::UnavailableError(std::strerror(error));
  return fd;
}

}  // namespace

absl::StatusOr<std::unique_ptr<HttpEndpoint>> HttpEndpoint::Start(
    const std::string& address, Handler handler) {
  const size_t colon = address.rfind(':');
  std::string host = address.substr(0, colon);
  if (absl::StartsWith(host, "[") && absl::EndsWith(host, "]")) {
    host = host.substr(1, host.size() - 2);
  }
  auto listener = ListenOnTcp(host, address.substr(colon + 1));
  if (!listener.ok()) return listener.status();
  UniqueFd wake(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  if (wake.get() < 0) return absl::UnavailableError(std::strerror(errno));
  std::string bound =
      absl::StrCat(address.substr(0, colon + 1), PortOf(listener->get()));
  return std::unique_ptr<HttpEndpoint>(
      new HttpEndpoint(*std::move(listener), std::move(wake), std::move(bound),
                       std::move(handler)));
}

HttpEndpoint::HttpEndpoint(UniqueFd listener, UniqueFd wake,
                           std::string address, Handler handler)
    : listener_(std::move(listener)),
      wake_(std::move(wake)),
      address_(std::move(address)),
      handler_(std::move(handler)),
      thread_([this] { Run(); }) {}

HttpEndpoint::~HttpEndpoint() {
  stopping_ = true;
  eventfd_write(wake_.get(), 1);
  thread_.join();
}

void HttpEndpoint::SetHandler(Handler handler) {
  MutexLock lock(&mu_);
  handler_ = std::move(handler);
}

void HttpEndpoint::Run() {
  while (!stopping_) WaitForWork();
}

void HttpEndpoint::WaitForWork() {
  std::vector<pollfd> pollers = {{wake_.get(), POLLIN, 0},
                                 {listener_.get(), POLLIN, 0}};
  auto first = Clock::time_point::max();
  for (const Connection& connection : connections_) {
    const bool writes = connection.answered() && !connection.sent_all();
    pollers.push_back({connection.fd.get(),
                       static_cast<short>(writes ? POLLOUT : POLLIN), 0});
    first = std::min(first, connection.deadline);
  }
  int timeout_ms = -1;
  if (!connections_.empty()) {
    const auto left =
        std::chrono::ceil<std::chrono::milliseconds>(first - Clock::now());
    timeout_ms = static_cast<int>(std::max<int64_t>(0, left.count()));
  }
  poll(pollers.data(), pollers.size(), timeout_ms);
  const auto now = Clock::now();
  size_t i = 2;
  for (Connection& connection : connections_) {
    if (pollers[i++].revents != 0) Serve(&connection);
    if (now >= connection.deadline) connection.over = true;
  }
  connections_.remove_if([](const Connection& c) { return c.over; });
  if (pollers[1].revents != 0) Accept();
}

void HttpEndpoint::Accept() {
  UniqueFd fd(
      accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK));
  if (fd.get() < 0) {
    if (errno == EMFILE || errno == ENFILE) {
      std::this_thread::sleep_for(kAcceptPause);
    }
    return;
  }
  if (connections_.size() >= kMaxConnections) connections_.pop_front();
  Connection& connection = connections_.emplace_back();
  connection.fd = std::move(fd);
  connection.deadline = Clock::now() + kExchangeTimeout;
}

void HttpEndpoint::Serve(Connection* connection) {
  if (!connection->answered()) Receive(connection);
  if (connection->over) return;
  if (connection->answered() && !connection->sent_all()) {
    return Send(connection);
  }
  if (!connection->sent_all()) return;
  // What else it says is dropped, until it hangs up.
  std::array<char, 4096> ignored;
  const ssize_t got =
      recv(connection->fd.get(), ignored.data(), ignored.size(), 0);
  connection->over = got == 0 || (got < 0 && errno != EAGAIN);
}

void HttpEndpoint::Receive(Connection* connection) {
  std::array<char, 4096> bytes;
  const ssize_t got = recv(connection->fd.get(), bytes.data(), bytes.size(), 0);
  if (got <= 0) {
    connection->over = got == 0 || (errno != EAGAIN && errno != EINTR);
    return;
  }
  connection->in.append(bytes.data(), static_cast<size_t>(got));
  const size_t end = connection->in.find("\r\n\r\n");
  if (end <= kMaxRequestBytes) {  // npos is not
    connection->out =
        AnswerTo(absl::string_view(connection->in).substr(0, end));
  } else if (connection->in.size() > kMaxRequestBytes) {
    connection->out = Refuse(431, absl::StrCat("want a request of at most ",
                                               kMaxRequestBytes, " bytes"));
  }
}

void HttpEndpoint::Send(Connection* connection) {
  const ssize_t sent =
      send(connection->fd.get(), connection->out.data() + connection->sent,
           connection->out.size() - connection->sent, MSG_NOSIGNAL);
  if (sent < 0) {
    connection->over = errno != EAGAIN && errno != EINTR;
    return;
  }
  connection->sent += static_cast<size_t>(sent);
  if (!connection->sent_all()) return;
  shutdown(connection->fd.get(), SHUT_WR);
  connection->deadline =
      std::min(connection->deadline, Clock::now() + kLingerTimeout);
}

// `head` is the request line and the headers, of which none matters here.
std::string HttpEndpoint::AnswerTo(absl::string_view head) {
  const std::vector<std::string> line =
      absl::StrSplit(head.substr(0, head.find("\r\n")), ' ');
  if (line.size() != 3) return Refuse(400, "want METHOD PATH HTTP/1.1");
  const std::string& method = line[0];
  if (!absl::StartsWith(line[2], "HTTP/1.")) {
    return Refuse(505, "want HTTP/1.1");
  }
  if (method != "GET" && method != "HEAD") {
    return Refuse(405, "want GET or HEAD: nothing can be changed here");
  }
  const size_t mark = line[1].find('?');
  HttpRequest request;
  request.path = line[1].substr(0, mark);
  if (mark != std::string::npos) request.query = line[1].substr(mark + 1);
  MutexLock lock(&mu_);
  return Format(handler_(request), method == "GET");
}

}  // namespace streamnorm
