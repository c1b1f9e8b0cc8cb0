// stats.

#include <algorithm>
#include <memory>
#include <numeric>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "client/cli/commands.h"
#include "client/cli/csv.h"
#include "client/cli/exit_code.h"
#include "client/cli/interval_plot.h"
#include "client/cli/progress.h"
#include "client/cli/statistics_query.h"
#include "client/cli/watch.h"

namespace streamnorm {
namespace {

struct Flags {
  std::string id;
  std::string features;
  std::string names;
  std::string sort = "index";
  bool reverse = false;
  size_t top = 0;  // 0 = all
  bool plot = false;
  double watch_s = 0;  // 0 = once
};

absl::StatusOr<std::vector<int64_t>> SelectFeatures(
    const Flags& flags, const v1::Normalizer& normalizer) {
  if (!flags.features.empty()) {
    return ParseFeatureRanges(flags.features, normalizer.features());
  }
  if (!flags.names.empty()) return MatchFeatureNames(flags.names, normalizer);
  std::vector<int64_t> all(static_cast<size_t>(normalizer.features()));
  std::iota(all.begin(), all.end(), int64_t{0});
  return all;
}

absl::StatusOr<StatisticsTable> Query(const Globals& globals,
                                      const Flags& flags) {
  auto client = Connect(globals);
  if (!client.ok()) return client.status();
  const auto normalizer = GetReadable(client->get(), flags.id);
  if (!normalizer.ok()) return normalizer.status();
  const auto indices = SelectFeatures(flags, *normalizer);
  if (!indices.ok()) return indices.status();
  auto table = ReadStatistics(client->get(), *normalizer, *indices);
  if (!table.ok()) return table;
  SortStatistics(flags.sort, flags.reverse, &table->features);
  if (flags.top > 0 && flags.top < table->features.size()) {
    table->features.resize(flags.top);
  }
  return table;
}

// What a table shows of a feature without values.
std::string Known(const v1::FeatureStatistics& feature, double value) {
  return feature.count() == 0 ? "-" : ShortNumber(value);
}

Table ForPeople(const StatisticsTable& statistics, bool wide) {
  constexpr auto kRight = Table::Align::kRight;
  std::vector<Table::Column> columns = {{"INDEX", kRight}};
  if (statistics.has_names) columns.push_back({"NAME"});
  for (const char* title : {"COUNT", "MEAN", "SD", "MIN", "MAX", "MISSING"}) {
    columns.push_back({title, kRight});
  }
  if (wide) {
    for (const char* title : {"INFINITE", "VARIANCE", "OFFSET", "SCALE"}) {
      columns.push_back({title, kRight});
    }
  }
  columns.push_back({"STATE"});
  Table table(std::move(columns));
  for (const auto& f : statistics.features) {
    std::vector<std::string> cells = {absl::StrCat(f.index())};
    if (statistics.has_names) cells.push_back(f.name());
    cells.insert(cells.end(),
                 {absl::StrCat(f.count()), Known(f, f.mean()),
                  Known(f, f.standard_deviation()), Known(f, f.minimum()),
                  Known(f, f.maximum()), absl::StrCat(f.missing_count())});
    if (wide) {
      cells.insert(cells.end(),
                   {absl::StrCat(f.infinite_count()), Known(f, f.variance()),
                    ShortNumber(f.offset()), ShortNumber(f.scale())});
    }
    cells.push_back(v1::FeatureStatistics::State_Name(f.state()));
    table.AddRow(std::move(cells));
  }
  return table;
}

std::string Plot(const StatisticsTable& statistics) {
  std::vector<Interval> intervals;
  for (const auto& f : statistics.features) {
    Interval interval;
    interval.label = statistics.has_names ? f.name() : absl::StrCat(f.index());
    interval.mean = f.mean();
    if (f.count() > 0) interval.sd = f.standard_deviation();
    intervals.push_back(std::move(interval));
  }
  return PlotIntervals(intervals, PlotWidth(), UnicodeAllowed());
}

absl::Status PrintForPeople(const StatisticsTable& statistics,
                            const Flags& flags, bool wide) {
  Say(absl::StrCat(statistics.name, ": ", Counted(statistics.row_count, "row"),
                   ", revision ", statistics.last_revision));
  if (flags.plot) return Print(Plot(statistics));
  return PrintTable(ForPeople(statistics, wide));
}

absl::Status PrintCsv(const StatisticsTable& statistics) {
  constexpr char kDelimiter = ',';
  const std::string header =
      CsvLine({"index", "name", "count", "mean", "variance", "sample_variance",
               "standard_deviation", "offset", "scale", "minimum", "maximum",
               "missing_count", "infinite_count", "state"},
              kDelimiter);
  if (auto s = Print(header); !s.ok()) return s;
  for (const auto& f : statistics.features) {
    const std::string line = CsvLine(
        {absl::StrCat(f.index()), f.name(), absl::StrCat(f.count()),
         ExactNumber(f.mean()), ExactNumber(f.variance()),
         ExactNumber(f.sample_variance()), ExactNumber(f.standard_deviation()),
         ExactNumber(f.offset()), ExactNumber(f.scale()),
         ExactNumber(f.minimum()), ExactNumber(f.maximum()),
         absl::StrCat(f.missing_count()), absl::StrCat(f.infinite_count()),
         v1::FeatureStatistics::State_Name(f.state())},
        kDelimiter);
    if (auto s = Print(line); !s.ok()) return s;
  }
  return absl::OkStatus();
}

absl::Status PrintNdjson(const StatisticsTable& statistics) {
  for (const auto& feature : statistics.features) {
    if (auto s = Print(ToJson(feature, /*pretty=*/false)); !s.ok()) return s;
  }
  return absl::OkStatus();
}

// The JSON of a v1::Statistics, a feature a line. Put together here because as
// one message a million features would take gigabytes.
absl::Status PrintJson(const StatisticsTable& statistics) {
  // A name has no character that JSON escapes.
  auto status = Print(absl::StrCat(
      "{\"name\":\"", statistics.name, "\",\"revision\":\"",
      statistics.last_revision, "\",\"row_count\":\"", statistics.row_count,
      "\",\"generation\":\"", statistics.generation, "\",\"features\":[\n"));
  for (size_t i = 0; status.ok() && i < statistics.features.size(); ++i) {
    std::string json = ToJson(statistics.features[i], /*pretty=*/false);
    if (i + 1 < statistics.features.size()) json.insert(json.size() - 1, ",");
    status = Print(json);
  }
  return status.ok() ? Print("]}\n") : status;
}

absl::Status PrintNames(const StatisticsTable& statistics) {
  for (const auto& feature : statistics.features) {
    const std::string line =
        statistics.has_names ? feature.name() : absl::StrCat(feature.index());
    if (auto s = Print(line + "\n"); !s.ok()) return s;
  }
  return absl::OkStatus();
}

absl::Status PrintStatistics(const StatisticsTable& statistics,
                             const Flags& flags, OutputFormat format) {
  switch (format) {
    case OutputFormat::kCsv:
      return PrintCsv(statistics);
    case OutputFormat::kJson:
      return PrintJson(statistics);
    case OutputFormat::kNdjson:
      return PrintNdjson(statistics);
    case OutputFormat::kName:
      return PrintNames(statistics);
    default:
      return PrintForPeople(statistics, flags, format == OutputFormat::kWide);
  }
}

absl::Status QueryAndPrint(const Globals& globals, const Flags& flags,
                           OutputFormat format) {
  const auto statistics = Query(globals, flags);
  if (!statistics.ok()) return statistics.status();
  if (statistics->first_revision != statistics->last_revision) {
    Say(absl::StrCat("rows were counted meanwhile: read from revision ",
                     statistics->first_revision, " to ",
                     statistics->last_revision));
  }
  return PrintStatistics(*statistics, flags, format);
}

absl::StatusOr<int> Stats(const Globals& globals, const Flags& flags) {
  const auto format = ChooseFormat(
      globals.format(),
      {OutputFormat::kTable, OutputFormat::kWide, OutputFormat::kJson,
       OutputFormat::kNdjson, OutputFormat::kCsv, OutputFormat::kName});
  if (!format.ok()) return format.status();
  if (flags.plot && *format != OutputFormat::kTable) {
    return UsageError(absl::StrCat("--plot: with --output ",
                                   OutputFormatName(*format),
                                   ", want table, or no --output"));
  }
  const auto show = [&] { return QueryAndPrint(globals, flags, *format); };
  if (flags.watch_s > 0) {
    return Watch(flags.watch_s, /*times=*/0, globals, show);
  }
  if (auto s = show(); !s.ok()) return s;
  return kExitOk;
}

}  // namespace

void AddStatsCommand(CommandLine* line) {
  const auto flags = std::make_shared<Flags>();
  CLI::App* command = line->Add(
      "stats", "Shows the statistics of a normalizer's features",
      kNormalizerGroup,
      [flags](const Globals& globals) { return Stats(globals, *flags); });
  command->add_option("ID", flags->id, "Which normalizer")
      ->option_text(" ")
      ->required();
  CLI::Option* features = command
                              ->add_option("--features", flags->features,
                                           "Only these, by number from 0")
                              ->option_text("0-9,31");
  command
      ->add_option("--names", flags->names,
                   "Only these, by name; * and ? stand for anything")
      ->option_text("GLOB,...")
      ->excludes(features);
  command
      ->add_option("--sort", flags->sort,
                   absl::StrCat(absl::StrJoin(SortKeys(), ", "),
                                "; numbers largest first"))
      ->option_text("KEY")
      ->check(CLI::IsMember(SortKeys()));
  command->add_flag("--reverse", flags->reverse, "The other way around");
  command->add_option("--top", flags->top, "Only the first N after sorting")
      ->option_text("N")
      ->check(MoreThanZero);
  command->add_flag("--plot", flags->plot,
                    "Draw mean +- sd of each feature over one axis");
  command
      ->add_option("--watch", flags->watch_s,
                   "Show it again every so many seconds, until Ctrl-C")
      ->option_text("SECONDS")
      ->check(CLI::Range(0.1, 86400.0));
  command->footer(
      "Numbers in csv and json read back as the very same values; tables\n"
      "show six digits.");
}

}  // namespace streamnorm
