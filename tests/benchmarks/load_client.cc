#include "tests/benchmarks/load_client.h"

#include <utility>

namespace streamnorm {

std::vector<double> LoadClient::TakeLatencies() {
  return std::exchange(latencies_us_, {});
}

void LoadClient::Record(LoadClock::time_point sent, const LoadWindow& window) {
  const auto now = LoadClock::now();
  if (now < window.begin || now >= window.end) return;
  latencies_us_.push_back(
      std::chrono::duration<double, std::micro>(now - sent).count());
}

absl::Status PingPongClient::Run(const LoadWindow& window) {
  while (LoadClock::now() < window.end) {
    const auto sent = LoadClock::now();
    if (auto s = Once(); !s.ok()) return s;
    Record(sent, window);
  }
  return absl::OkStatus();
}

}  // namespace streamnorm
