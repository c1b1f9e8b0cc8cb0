#ifndef STREAMNORM_SERVER_SIDE_PORT_H_
#define STREAMNORM_SERVER_SIDE_PORT_H_

#include <atomic>

#include "server/handler.h"
#include "server/http_endpoint.h"
#include "server/metrics_page.h"

namespace streamnorm {

// What --http_listen answers (docs/operations.md): reads only. Safe for
// concurrent use.
class SidePort {
 public:
  // `handler` and all of `sources` outlive it.
  SidePort(Handler* handler, const MetricsSources& sources)
      : handler_(handler), sources_(sources) {}

  HttpResponse Answer(const HttpRequest& request) const;

  // Not ready from now on.
  void Drain() { draining_ = true; }

  // While there is nothing to ask yet: alive, and not ready.
  static HttpResponse AnswerWhileStarting(const HttpRequest& request);

 private:
  HttpResponse Readiness() const;
  HttpResponse Statistics(const HttpRequest& request) const;

  Handler* const handler_;
  const MetricsSources sources_;
  std::atomic<bool> draining_{false};
};

}  // namespace streamnorm

#endif  // STREAMNORM_SERVER_SIDE_PORT_H_
