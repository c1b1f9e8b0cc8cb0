#include "tests/benchmarks/report.h"

#include <sys/utsname.h>
#include <unistd.h>

#include <array>
#include <cstdlib>
#include <fstream>
#include <string_view>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "client/cli/output.h"

namespace streamnorm {
namespace {

constexpr auto kRight = Table::Align::kRight;

// Three digits that matter.
std::string Short(double value) {
  if (value >= 100) return absl::StrFormat("%.0f", value);
  if (value >= 10) return absl::StrFormat("%.1f", value);
  return absl::StrFormat("%.2f", value);
}

std::string Pair(const Comparison& comparison, Field field) {
  return absl::StrCat(Short(comparison.Ours(field)), " / ",
                      Short(comparison.Peers(field)));
}

// The value of the first line of /proc/cpuinfo that begins with `key`.
std::string CpuInfo(std::string_view key) {
  std::ifstream file("/proc/cpuinfo");
  for (std::string line; std::getline(file, line);) {
    const size_t colon = line.find(": ");
    if (line.rfind(key, 0) == 0 && colon != std::string::npos) {
      return line.substr(colon + 2);
    }
  }
  return "unknown";
}

std::string VectorInstructions() {
  const std::string flags = absl::StrCat(" ", CpuInfo("flags"), " ");
  constexpr std::array<std::string_view, 5> kKnown = {"avx512_bf16", "avx512f",
                                                      "avx2", "sse4_2", "sse2"};
  for (const std::string_view name : kKnown) {
    if (flags.find(absl::StrCat(" ", std::string(name), " ")) !=
        std::string::npos) {
      return std::string(name);
    }
  }
  return "none known";
}

}  // namespace

std::string Goal::Judge(double ratio) const {
  if (kind == kNone) return Short(ratio);
  const bool reached = kind == kAtLeast ? ratio >= bound : ratio <= bound;
  return absl::StrCat(Short(ratio),
                      kind == kAtLeast ? " (>= " : " (<= ", ShortNumber(bound),
                      reached ? ": yes)" : ": NO)");
}

Report::Report(const std::string& title)
    : table_({{title},
              {"RATIO (goal)", kRight},
              {"p50 RATIO", kRight},
              {"p99 RATIO (goal)", kRight},
              {"msg/s", kRight},
              {"p50 us", kRight},
              {"p99 us", kRight},
              {"CPU us/msg client", kRight},
              {"server", kRight}}) {}

void Report::Add(const std::string& name, const Comparison& comparison,
                 Goal goal, Goal p99_goal, Field field) {
  table_.AddRow({name, goal.Judge(comparison.Ratio(field)),
                 Short(comparison.Ratio(&Measured::p50_us)),
                 p99_goal.Judge(comparison.Ratio(&Measured::p99_us)),
                 Pair(comparison, &Measured::messages_per_s),
                 Pair(comparison, &Measured::p50_us),
                 Pair(comparison, &Measured::p99_us),
                 Pair(comparison, &Measured::client_cpu_us),
                 Pair(comparison, &Measured::server_cpu_us)});
}

absl::Status Report::Print() const {
  if (auto s = PrintTable(table_); !s.ok()) return s;
  if (auto s = streamnorm::Print("\n"); !s.ok()) return s;
  return FlushStdout();
}

absl::Status PrintFact(const std::string& name, double value,
                       const std::string& unit, Goal goal) {
  const std::string judged = goal.Judge(value);
  const size_t end = judged.find(' ');
  const std::string rest = end == std::string::npos ? "" : judged.substr(end);
  return Print(
      absl::StrCat(name, ": ", judged.substr(0, end), " ", unit, rest, "\n"));
}

std::string DescribeMachine() {
  utsname names{};
  uname(&names);
  const double gib = static_cast<double>(sysconf(_SC_PHYS_PAGES)) *
                     static_cast<double>(sysconf(_SC_PAGESIZE)) / (1 << 30);
  double load = 0;
  getloadavg(&load, 1);
  return absl::StrFormat(
      "%s, %d cores, %s, %.0f GiB, %s %s; load %.1f before this run",
      CpuInfo("model name"), sysconf(_SC_NPROCESSORS_ONLN),
      VectorInstructions(), gib, names.sysname, names.release, load);
}

}  // namespace streamnorm
