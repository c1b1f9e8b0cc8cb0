#include "client/cli/normalizer_view.h"

#include <map>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "client/cli/command_line.h"
#include "client/cli/csv.h"
#include "client/cli/output.h"
#include "google/protobuf/util/time_util.h"

namespace streamnorm {
namespace {

std::string Time(const google::protobuf::Timestamp& time) {
  return ShortTime(google::protobuf::util::TimeUtil::ToString(time));
}

std::string DescribePolicy(const v1::NonfinitePolicy& policy) {
  const bool reject_nan = policy.nan() == v1::NonfinitePolicy::REJECT;
  const bool skip_infinity = policy.infinity() == v1::NonfinitePolicy::SKIP;
  return absl::StrCat("NaN ", reject_nan ? "reject" : "skip", ", infinity ",
                      skip_infinity ? "skip" : "reject");
}

std::string DescribeWarmUp(const v1::WarmUp& warm_up) {
  const uint64_t rows = warm_up.has_minimum_rows() ? warm_up.minimum_rows() : 2;
  const auto answer = warm_up.answer() == v1::WarmUp::ANSWER_UNSPECIFIED
                          ? v1::WarmUp::CENTER
                          : warm_up.answer();
  return absl::StrCat("below ", rows, " rows ",
                      v1::WarmUp::Answer_Name(answer));
}

std::string DescribeWindow(const v1::Window& window) {
  switch (window.length_case()) {
    case v1::Window::kHalfLifeRows:
      return absl::StrCat("half-life of ", window.half_life_rows(), " rows");
    case v1::Window::kWindowRows:
      return absl::StrCat(window.window_rows(), " rows");
    case v1::Window::LENGTH_NOT_SET:
      break;
  }
  return "cumulative";
}

std::string DescribeLabels(const v1::Normalizer& normalizer) {
  const std::map<std::string, std::string> sorted(normalizer.labels().begin(),
                                                  normalizer.labels().end());
  return absl::StrJoin(sorted, ",", absl::PairFormatter("="));
}

// "mean radius, mean texture and 28 more".
std::string DescribeNames(const v1::Normalizer& normalizer) {
  constexpr int kShown = 4;
  const auto& names = normalizer.feature_names();
  std::string text = absl::StrJoin(
      names.begin(), names.begin() + std::min(kShown, names.size()), ", ");
  if (names.size() > kShown) {
    absl::StrAppend(&text, " and ", names.size() - kShown, " more");
  }
  return text;
}

const char* YesNo(bool value) { return value ? "yes" : "no"; }

}  // namespace

std::string DescribeScaling(const v1::Scaling& scaling) {
  const bool standard = scaling.method() == v1::Scaling::METHOD_UNSPECIFIED ||
                        scaling.method() == v1::Scaling::STANDARD;
  std::string text =
      standard
          ? "standard"
          : absl::AsciiStrToLower(v1::Scaling::Method_Name(scaling.method()));
  const auto add = [&](const auto&... parts) {
    absl::StrAppend(&text, ", ", parts...);
  };
  if (scaling.epsilon_mode() > v1::Scaling::NONE) {
    add(v1::Scaling::EpsilonMode_Name(scaling.epsilon_mode()), " ",
        scaling.epsilon());
  }
  if (scaling.clip() > 0) add("clip ", scaling.clip());
  if (scaling.has_center() && !scaling.center()) add("no center");
  if (scaling.has_scale() && !scaling.scale()) add("no scale");
  return text;
}

absl::Status PrintNormalizer(const v1::Normalizer& normalizer,
                             OutputFormat format) {
  switch (format) {
    case OutputFormat::kJson:
    case OutputFormat::kNdjson:
      return Print(ToJson(normalizer, format == OutputFormat::kJson));
    case OutputFormat::kName:
      return Print(IdOf(normalizer.name()) + "\n");
    default:
      return PrintTable(DescribeNormalizer(normalizer));
  }
}

Table DescribeNormalizer(const v1::Normalizer& normalizer) {
  Table table({{"PROPERTY"}, {"VALUE"}});
  const auto add = [&](const char* name, const auto& value) {
    table.AddRow({name, absl::StrCat(value)});
  };
  add("id", IdOf(normalizer.name()));
  add("features", normalizer.features());
  if (!normalizer.feature_names().empty()) {
    add("feature names", DescribeNames(normalizer));
  }
  add("rows", normalizer.row_count());
  add("revision", normalizer.revision());
  add("scaling", DescribeScaling(normalizer.scaling()));
  add("window", DescribeWindow(normalizer.window()));
  if (normalizer.moments() == v1::Normalizer::MEAN) add("moments", "mean");
  add("nonfinite", DescribePolicy(normalizer.nonfinite()));
  add("warm-up", DescribeWarmUp(normalizer.warm_up()));
  add("frozen", YesNo(normalizer.frozen()));
  add("created", Time(normalizer.create_time()));
  add("updated", Time(normalizer.update_time()));
  add("etag", normalizer.etag());
  add("generation", normalizer.generation());
  add("schema hash", absl::StrCat(absl::Hex(normalizer.schema_hash())));
  if (!normalizer.labels().empty()) add("labels", DescribeLabels(normalizer));
  return table;
}

Table ListNormalizersTable(const std::vector<v1::Normalizer>& normalizers,
                           bool wide) {
  constexpr auto kRight = Table::Align::kRight;
  std::vector<Table::Column> columns = {
      {"ID"},      {"FEATURES", kRight}, {"ROWS", kRight}, {"REVISION", kRight},
      {"SCALING"}, {"FROZEN"},           {"UPDATED"}};
  if (wide) {
    for (const char* title :
         {"CREATED", "NONFINITE", "WARM-UP", "ETAG", "LABELS"}) {
      columns.push_back({title});
    }
  }
  Table table(std::move(columns));
  for (const v1::Normalizer& normalizer : normalizers) {
    std::vector<std::string> cells = {IdOf(normalizer.name()),
                                      absl::StrCat(normalizer.features()),
                                      absl::StrCat(normalizer.row_count()),
                                      absl::StrCat(normalizer.revision()),
                                      DescribeScaling(normalizer.scaling()),
                                      YesNo(normalizer.frozen()),
                                      Time(normalizer.update_time())};
    if (wide) {
      cells.insert(cells.end(),
                   {Time(normalizer.create_time()),
                    DescribePolicy(normalizer.nonfinite()),
                    DescribeWarmUp(normalizer.warm_up()), normalizer.etag(),
                    DescribeLabels(normalizer)});
    }
    table.AddRow(std::move(cells));
  }
  return table;
}

std::string ListNormalizersCsv(const std::vector<v1::Normalizer>& normalizers) {
  constexpr char kDelimiter = ',';
  std::string csv =
      CsvLine({"id", "features", "row_count", "revision", "scaling", "frozen",
               "create_time", "update_time", "etag", "labels"},
              kDelimiter);
  for (const v1::Normalizer& normalizer : normalizers) {
    csv += CsvLine(
        {IdOf(normalizer.name()), absl::StrCat(normalizer.features()),
         absl::StrCat(normalizer.row_count()),
         absl::StrCat(normalizer.revision()),
         DescribeScaling(normalizer.scaling()),
         normalizer.frozen() ? "true" : "false",
         google::protobuf::util::TimeUtil::ToString(normalizer.create_time()),
         google::protobuf::util::TimeUtil::ToString(normalizer.update_time()),
         normalizer.etag(), DescribeLabels(normalizer)},
        kDelimiter);
  }
  return csv;
}

}  // namespace streamnorm
