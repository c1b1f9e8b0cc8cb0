// The only file that knows prometheus-cpp: of it the data model and the text
// format. Its own histograms take a lock for each value, ours don't.

#include "server/metrics_page.h"

#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <limits>
#include <system_error>
#include <utility>
#include <vector>

#include "prometheus/metric_family.h"
#include "prometheus/text_serializer.h"
#include "server/version.h"

namespace streamnorm {
namespace {

using prometheus::ClientMetric;
using prometheus::MetricFamily;
using prometheus::MetricType;
using Labels = std::vector<ClientMetric::Label>;

double Seconds(std::chrono::nanoseconds time) {
  return std::chrono::duration<double>(time).count();
}

ClientMetric::Histogram ToPrometheus(const LatencySnapshot& snapshot) {
  ClientMetric::Histogram histogram;
  uint64_t count = 0;
  for (size_t i = 0; i < snapshot.counts.size(); ++i) {
    count += snapshot.counts[i];
    histogram.bucket.push_back(
        {count, i < kLatencyBuckets.size()
                    ? Seconds(kLatencyBuckets[i])
                    : std::numeric_limits<double>::infinity()});
  }
  histogram.sample_count = count;
  histogram.sample_sum = Seconds(snapshot.sum);
  return histogram;
}

// The page as it grows, family by family.
class Page {
 public:
  void Family(const char* name, const char* help, MetricType type) {
    families_.push_back({name, help, type, {}});
  }
  void Counter(double value, Labels labels) {
    Add(std::move(labels)).counter.value = value;
  }
  void Gauge(double value, Labels labels) {
    Add(std::move(labels)).gauge.value = value;
  }
  void Histogram(const LatencySnapshot& snapshot, Labels labels) {
    Add(std::move(labels)).histogram = ToPrometheus(snapshot);
  }

  // Families of one.
  void OneCounter(const char* name, const char* help, double value) {
    Family(name, help, MetricType::Counter);
    Counter(value, {});
  }
  void OneGauge(const char* name, const char* help, double value) {
    Family(name, help, MetricType::Gauge);
    Gauge(value, {});
  }
  void OneHistogram(const char* name, const char* help,
                    const LatencySnapshot& snapshot) {
    Family(name, help, MetricType::Histogram);
    Histogram(snapshot, {});
  }

  std::string Text() const {
    return prometheus::TextSerializer().Serialize(families_);
  }

 private:
  ClientMetric& Add(Labels labels) {
    ClientMetric& metric = families_.back().metric.emplace_back();
    metric.label = std::move(labels);
    return metric;
  }

  std::vector<MetricFamily> families_;
};

struct Method {
  const char* transport;
  const RpcMetrics* rpc;
  Labels labels() const {
    return {{"transport", transport}, {"method", rpc->method()}};
  }
};

std::vector<Method> MethodsOf(const MetricsSources& sources) {
  std::vector<Method> methods;
  for (const RpcMetricsTable* table :
       {&sources.normalizer_service->rpcs(), &sources.admin_service->rpcs()}) {
    for (const RpcMetrics& rpc : table->methods()) {
      methods.push_back({"grpc", &rpc});
    }
  }
  if (sources.lane != nullptr) {
    const LaneMetrics& lane = sources.lane->metrics();
    for (const RpcMetrics* rpc : {&lane.normalize, &lane.merge_moments,
                                  &lane.exchange_moments, &lane.other}) {
      methods.push_back({"lane", rpc});
    }
  }
  return methods;
}

void AddRequests(const std::vector<Method>& methods, Page* page) {
  page->Family("streamnorm_requests_total",
               "Requests answered, by gRPC status code. Each message of a "
               "NormalizeStream is one.",
               MetricType::Counter);
  for (const Method& method : methods) {
    for (size_t i = 0; i < RpcMetrics::kCodeCount; ++i) {
      const auto code = static_cast<absl::StatusCode>(i);
      const uint64_t ended = method.rpc->Ended(code);
      // A series that never was would cost a scraper as much as any other.
      if (ended == 0 && code != absl::StatusCode::kOk) continue;
      Labels labels = method.labels();
      labels.push_back({"code", absl::StatusCodeToString(code)});
      page->Counter(static_cast<double>(ended), std::move(labels));
    }
  }
  page->Family("streamnorm_requests_in_flight",
               "Requests received and not answered yet.", MetricType::Gauge);
  for (const Method& method : methods) {
    page->Gauge(static_cast<double>(method.rpc->InFlight()), method.labels());
  }
  page->Family("streamnorm_request_duration_seconds",
               "Time from a request's last byte to its answer, with the wait "
               "for the disk where there is one.",
               MetricType::Histogram);
  for (const Method& method : methods) {
    page->Histogram(method.rpc->Latency(), method.labels());
  }
}

void AddWork(const WorkMetrics& work, Page* page) {
  const auto sum = [&](WorkMetrics::Kind kind) {
    return static_cast<double>(work.Sum(kind));
  };
  page->OneCounter("streamnorm_rows_counted_total",
                   "Rows that went into statistics, each once.",
                   sum(WorkMetrics::kRowsCounted));
  page->OneCounter("streamnorm_rows_normalized_total",
                   "Rows answered normalized.",
                   sum(WorkMetrics::kRowsNormalized));
  page->OneCounter("streamnorm_rows_denormalized_total",
                   "Rows answered denormalized.",
                   sum(WorkMetrics::kRowsDenormalized));
  page->Family("streamnorm_updates_total",
               "Updates accepted: counted, duplicates of counted ones, and "
               "those of frozen normalizers, which count nothing.",
               MetricType::Counter);
  page->Counter(sum(WorkMetrics::kUpdatesCounted), {{"result", "counted"}});
  page->Counter(sum(WorkMetrics::kUpdatesDuplicate), {{"result", "duplicate"}});
  page->Counter(sum(WorkMetrics::kUpdatesFrozen), {{"result", "frozen"}});
}

void AddCommits(const Committer& committer, Page* page) {
  page->OneHistogram("streamnorm_commit_duration_seconds",
                     "Time of a commit: capture, write and sync.",
                     committer.commit_latency().Snapshot());
  page->OneHistogram("streamnorm_sync_duration_seconds",
                     "Time of a commit's sync alone.",
                     committer.sync_latency().Snapshot());
  page->OneGauge("streamnorm_commit_lag_seconds",
                 "Age of the oldest change that is in memory only: how far "
                 "the durable watermarks are behind.",
                 Seconds(committer.lag()));
}

void AddStore(const MetricsSources& sources, Page* page) {
  const auto size = sources.store->SizeBytes();
  if (size.ok()) {
    page->OneGauge("streamnorm_store_size_bytes",
                   "Bytes the store's files take.", static_cast<double>(*size));
  }
  const auto free_bytes = sources.store->FreeBytes();
  if (free_bytes.ok() && sources.store->kind() != "memory") {
    page->OneGauge("streamnorm_store_free_bytes",
                   "Bytes the store's disk has left.",
                   static_cast<double>(*free_bytes));
  }
  page->OneGauge("streamnorm_store_failed",
                 "1 if writing failed for good: the server must be restarted.",
                 sources.committer->failed() ? 1 : 0);
  page->OneGauge("streamnorm_store_out_of_space",
                 "1 while updates are refused because the disk is full.",
                 sources.committer->out_of_space() ? 1 : 0);
}

void AddResources(const MetricsSources& sources, Page* page) {
  page->OneGauge("streamnorm_normalizers", "Normalizers.",
                 static_cast<double>(sources.registry->size()));
  page->OneGauge("streamnorm_normalizers_quarantined",
                 "Normalizers whose records are damaged.",
                 static_cast<double>(sources.registry->quarantined().size()));
  page->OneGauge("streamnorm_features",
                 "Features of all normalizers and snapshots.",
                 static_cast<double>(sources.registry->total_features()));
  page->OneGauge("streamnorm_sessions", "Living sessions.",
                 static_cast<double>(sources.sessions->size()));
  page->OneGauge("streamnorm_ledgers", "Ledgers of all sessions.",
                 static_cast<double>(sources.sessions->ledgers()));
  page->OneGauge(
      "streamnorm_open_streams", "NormalizeStream calls that are open.",
      static_cast<double>(sources.normalizer_service->open_streams()));
  page->OneGauge("streamnorm_lane_connections", "Clients on the lane.",
                 sources.lane == nullptr
                     ? 0
                     : static_cast<double>(sources.lane->connections()));
}

// The second number of /proc/self/statm is the resident pages.
double ResidentBytes() {
  double pages = 0;
  std::ifstream("/proc/self/statm") >> pages >> pages;
  return pages * static_cast<double>(sysconf(_SC_PAGESIZE));
}

double OpenFds() {
  double count = 0;
  std::error_code error;
  for (std::filesystem::directory_iterator it("/proc/self/fd", error), end;
       !error && it != end; it.increment(error)) {
    ++count;
  }
  return count - 1;  // the one that looks
}

void AddProcess(const MetricsSources& sources, Page* page) {
  page->Family("streamnorm_build_info", "Always 1; what runs is in the labels.",
               MetricType::Gauge);
  page->Gauge(1, {{"version", kVersion},
                  {"store", std::string(sources.store->kind())}});
  // Names as every Prometheus client has them.
  page->OneGauge(
      "process_start_time_seconds",
      "When the server started, in seconds since 1970.",
      static_cast<double>(sources.admin_service->start_time_us()) * 1e-6);
  page->OneGauge("process_resident_memory_bytes", "Resident memory.",
                 ResidentBytes());
  page->OneGauge("process_open_fds", "Open file descriptors.", OpenFds());
}

}  // namespace

std::string MetricsPage(const MetricsSources& sources) {
  Page page;
  AddRequests(MethodsOf(sources), &page);
  AddWork(sources.handler->work(), &page);
  AddCommits(*sources.committer, &page);
  AddStore(sources, &page);
  AddResources(sources, &page);
  AddProcess(sources, &page);
  return page.Text();
}

}  // namespace streamnorm
