#ifndef STREAMNORM_SERVER_HTTP_ENDPOINT_H_
#define STREAMNORM_SERVER_HTTP_ENDPOINT_H_

#include <atomic>
#include <chrono>
#include <functional>
#include <list>
#include <memory>
#include <string>
#include <thread>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "lane/unix_socket.h"
#include "server/mutex.h"

namespace streamnorm {

// GET or HEAD of `path`, with what came after its `?`. Both as they came: not
// decoded.
struct HttpRequest {
  std::string path;
  std::string query;
};

struct HttpResponse {
  int status = 200;
  std::string content_type = "text/plain; charset=utf-8";
  std::string body;
};

// Answers GET and HEAD over HTTP/1.1, one request a connection, from one
// thread; whatever a client does, it costs a bounded amount of memory and time
// and keeps no other from its answer
// (docs/decisions/0009-the-side-port-owns-its-sockets.md).
// Safe for concurrent use.
class HttpEndpoint {
 public:
  using Handler = std::function<HttpResponse(const HttpRequest&)>;

  // Listens on `host:port` (port 0: one that is free). `handler` must not
  // block. UNAVAILABLE if it can't.
  static absl::StatusOr<std::unique_ptr<HttpEndpoint>> Start(
      const std::string& address, Handler handler);

  // Ends every connection.
  ~HttpEndpoint();

  // With the real port number.
  const std::string& address() const { return address_; }

  // Answers from now on. When this returns, the one before is not running.
  void SetHandler(Handler handler);

 private:
  using Clock = std::chrono::steady_clock;

  struct Connection {
    UniqueFd fd;
    Clock::time_point deadline;
    std::string in;     // the request, until its answer is made
    std::string out;    // the answer
    size_t sent = 0;    // of it
    bool over = false;  // is to be closed
    bool answered() const { return !out.empty(); }
    bool sent_all() const { return answered() && sent == out.size(); }
  };

  HttpEndpoint(UniqueFd listener, UniqueFd wake, std::string address,
               Handler handler);

  void Run();
  void WaitForWork();
  void Accept();
  void Serve(Connection* connection);
  void Receive(Connection* connection);
  void Answer(Connection* connection);
  void Send(Connection* connection);
  std::string AnswerTo(absl::string_view head);

  const UniqueFd listener_;
  const UniqueFd wake_;  // an eventfd: stop
  const std::string address_;
  std::list<Connection> connections_;  // of the thread; oldest first
  std::atomic<bool> stopping_{false};
  Mutex mu_;
  Handler handler_ ABSL_GUARDED_BY(mu_);
  std::thread thread_;
};

}  // namespace streamnorm

#endif  // STREAMNORM_SERVER_HTTP_ENDPOINT_H_
