// top.

#include <algorithm>
#include <chrono>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "client/cli/commands.h"
#include "client/cli/exit_code.h"
#include "client/cli/normalizer_list.h"
#include "client/cli/progress.h"
#include "client/cli/watch.h"

namespace streamnorm {
namespace {

using Clock = std::chrono::steady_clock;

struct Flags {
  double interval_s = 2;
  uint64_t times = 0;
  size_t top = 20;
};

struct Line {
  v1::Normalizer normalizer;
  std::optional<double> rows_per_second;  // absent until it was seen twice
};

// What the last look saw, to tell rates from. Not thread safe.
class Rates {
 public:
  // Busiest first, then those with most rows.
  std::vector<Line> Measure(std::vector<v1::Normalizer> normalizers);

 private:
  struct Seen {
    uint64_t generation = 0;
    uint64_t rows = 0;
  };
  std::map<std::string, Seen> seen_;
  std::optional<Clock::time_point> at_;
};

std::vector<Line> Rates::Measure(std::vector<v1::Normalizer> normalizers) {
  const auto now = Clock::now();
  const double seconds =
      at_ ? std::chrono::duration<double>(now - *at_).count() : 0;
  std::map<std::string, Seen> seen;
  std::vector<Line> lines;
  for (v1::Normalizer& normalizer : normalizers) {
    Line line;
    const Seen here = {normalizer.generation(), normalizer.row_count()};
    const auto before = seen_.find(normalizer.name());
    // Another generation was reset, or made anew: it began at 0.
    if (before != seen_.end() && before->second.generation == here.generation) {
      line.rows_per_second =
          static_cast<double>(here.rows - before->second.rows) / seconds;
    }
    seen[normalizer.name()] = here;
    line.normalizer = std::move(normalizer);
    lines.push_back(std::move(line));
  }
  seen_ = std::move(seen);
  at_ = now;
  std::stable_sort(lines.begin(), lines.end(),
                   [](const Line& a, const Line& b) {
                     const double rate_a = a.rows_per_second.value_or(-1);
                     const double rate_b = b.rows_per_second.value_or(-1);
                     if (rate_a != rate_b) return rate_a > rate_b;
                     return a.normalizer.row_count() > b.normalizer.row_count();
                   });
  return lines;
}

Table ForPeople(const std::vector<Line>& lines, size_t top) {
  constexpr auto kRight = Table::Align::kRight;
  Table table({{"NORMALIZER"},
               {"ROWS/S", kRight},
               {"ROWS", kRight},
               {"FEATURES", kRight},
               {"REVISION", kRight}});
  for (const Line& line : lines) {
    if (top-- == 0) break;
    const v1::Normalizer& n = line.normalizer;
    table.AddRow(
        {IdOf(n.name()),
         line.rows_per_second ? ShortNumber(*line.rows_per_second) : "-",
         Grouped(n.row_count()), Grouped(uint64_t(n.features())),
         absl::StrCat(n.revision())});
  }
  return table;
}

absl::Status Show(const Globals& globals, const Flags& flags, Rates* rates) {
  auto client = Connect(globals);
  if (!client.ok()) return client.status();
  auto normalizers = ListAll(client->get());
  if (!normalizers.ok()) return normalizers.status();
  const std::vector<Line> lines = rates->Measure(*std::move(normalizers));
  double total = 0;
  for (const Line& line : lines) total += line.rows_per_second.value_or(0);
  auto printed = Print(absl::StrCat(globals.server, ": ",
                                    Counted(lines.size(), "normalizer"), ", ",
                                    ShortNumber(total), " rows/s\n\n"));
  if (!printed.ok()) return printed;
  return PrintTable(ForPeople(lines, flags.top));
}

absl::StatusOr<int> Top(const Globals& globals, const Flags& flags) {
  const auto format = ChooseFormat(globals.format(), {OutputFormat::kTable});
  if (!format.ok()) return format.status();
  Rates rates;
  return Watch(flags.interval_s, flags.times, globals,
               [&] { return Show(globals, flags, &rates); });
}

}  // namespace

void AddTopCommand(CommandLine* line) {
  const auto flags = std::make_shared<Flags>();
  CLI::App* command = line->Add(
      "top", "Shows which normalizers count rows now, busiest first",
      kNormalizerGroup,
      [flags](const Globals& globals) { return Top(globals, *flags); });
  command
      ->add_option("--interval", flags->interval_s,
                   "Seconds between two looks (default 2)")
      ->option_text("SECONDS")
      ->check(CLI::Range(0.1, 86400.0));
  command
      ->add_option("--times", flags->times,
                   "End after so many looks (default: at Ctrl-C)")
      ->option_text("N")
      ->check(MoreThanZero);
  command->add_option("--top", flags->top, "How many to show (default 20)")
      ->option_text("N")
      ->check(MoreThanZero);
  command->footer(
      "Rates are of the time between two looks; '-' until there were two.");
}

}  // namespace streamnorm
