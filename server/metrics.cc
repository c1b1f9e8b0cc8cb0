#include "server/metrics.h"

#include "google/protobuf/descriptor.h"

namespace streamnorm {
namespace {

const google::protobuf::ServiceDescriptor& Describe(
    const std::string& service) {
  return *google::protobuf::DescriptorPool::generated_pool()->FindServiceByName(
      service);
}

}  // namespace

LatencySnapshot LatencyHistogram::Snapshot() const {
  LatencySnapshot snapshot;
  for (size_t i = 0; i < snapshot.counts.size(); ++i) {
    snapshot.counts[i] = values_.Sum(i);
  }
  snapshot.sum = std::chrono::nanoseconds(values_.Sum(kSum));
  return snapshot;
}

uint64_t RpcMetrics::InFlight() const {
  // The ends first: one that begins and ends meanwhile must not be missing
  // from the beginnings.
  uint64_t ended = 0;
  for (size_t i = 0; i < kCodeCount; ++i) ended += values_.Sum(kCodes + i);
  const uint64_t begun = values_.Sum(kBegun);
  return begun < ended ? 0 : begun - ended;
}

RpcMetricsTable::RpcMetricsTable(const std::string& service) {
  const auto& descriptor = Describe(service);
  for (int i = 0; i < descriptor.method_count(); ++i) {
    methods_.emplace_back(descriptor.method(i)->name());
  }
}

size_t RpcMetricsTable::IndexOf(const std::string& service,
                                const std::string& method) {
  return static_cast<size_t>(
      Describe(service).FindMethodByName(method)->index());
}

}  // namespace streamnorm
