#ifndef STREAMNORM_SERVER_METRICS_PAGE_H_
#define STREAMNORM_SERVER_METRICS_PAGE_H_

#include <string>

#include "server/admin_service.h"
#include "server/committer.h"
#include "server/handler.h"
#include "server/lane_server.h"
#include "server/normalizer_service.h"
#include "server/registry.h"
#include "server/sessions.h"
#include "storage/statistics_store.h"

namespace streamnorm {

// Whose counts are shown. All outlive whoever has this.
struct MetricsSources {
  const StatisticsStore* store = nullptr;
  const Committer* committer = nullptr;
  const Registry* registry = nullptr;
  const SessionTable* sessions = nullptr;
  const Handler* handler = nullptr;
  const NormalizerService* normalizer_service = nullptr;
  const AdminService* admin_service = nullptr;
  const LaneServer* lane = nullptr;  // null = there is none
};

// All of it as Prometheus's text; docs/operations.md has the table. What a
// label may be is known when the server is built: no names of normalizers,
// sessions or clients. Safe for concurrent use.
std::string MetricsPage(const MetricsSources& sources);

}  // namespace streamnorm

#endif  // STREAMNORM_SERVER_METRICS_PAGE_H_
