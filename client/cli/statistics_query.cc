#include "client/cli/statistics_query.h"

#include <fnmatch.h>

#include <algorithm>
#include <cassert>
#include <cmath>
#include <cstring>
#include <functional>
#include <limits>
#include <set>
#include <span>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "client/cli/command_line.h"
#include "client/cli/exit_code.h"

namespace streamnorm {
namespace {

// About 6 MB of columns.
constexpr size_t kFeaturesPerCall = size_t{1} << 16;

constexpr double kNan = std::numeric_limits<double>::quiet_NaN();

// One element of a column of `StatisticsColumns`.
template <typename T>
T ElementAt(const std::string& column, size_t i) {
  T value{};
  if (column.size() >= (i + 1) * sizeof(T)) {
    std::memcpy(&value, column.data() + i * sizeof(T), sizeof(T));
  }
  return value;
}

v1::FeatureStatistics FeatureAt(const v1::StatisticsColumns& columns,
                                size_t i) {
  v1::FeatureStatistics feature;
  feature.set_index(ElementAt<int64_t>(columns.index(), i));
  feature.set_count(ElementAt<uint64_t>(columns.count(), i));
  feature.set_mean(ElementAt<double>(columns.mean(), i));
  feature.set_variance(ElementAt<double>(columns.variance(), i));
  feature.set_sample_variance(ElementAt<double>(columns.sample_variance(), i));
  feature.set_standard_deviation(
      ElementAt<double>(columns.standard_deviation(), i));
  feature.set_offset(ElementAt<double>(columns.offset(), i));
  feature.set_scale(ElementAt<double>(columns.scale(), i));
  feature.set_minimum(ElementAt<double>(columns.minimum(), i));
  feature.set_maximum(ElementAt<double>(columns.maximum(), i));
  feature.set_missing_count(ElementAt<uint64_t>(columns.missing_count(), i));
  feature.set_infinite_count(ElementAt<uint64_t>(columns.infinite_count(), i));
  feature.set_state(static_cast<v1::FeatureStatistics::State>(
      ElementAt<uint8_t>(columns.state(), i)));
  return feature;
}

v1::GetStatisticsRequest PartRequest(const std::string& name,
                                     std::span<const int64_t> indices) {
  v1::GetStatisticsRequest request;
  request.set_name(name);
  request.set_view(v1::GetStatisticsRequest::COLUMNS);
  v1::FeatureSelection* selection = request.mutable_selection();
  const bool contiguous = indices.back() - indices.front() + 1 ==
                          static_cast<int64_t>(indices.size());
  if (contiguous) {
    selection->set_start(indices.front());
    selection->set_end(indices.back() + 1);
  } else {
    selection->mutable_indices()->Assign(indices.begin(), indices.end());
  }
  return request;
}

absl::Status AddPart(const v1::Statistics& part,
                     const v1::Normalizer& normalizer, size_t count,
                     StatisticsTable* table) {
  if (part.columns().index().size() != count * sizeof(int64_t)) {
    return absl::InternalError(
        "the server answered other features than those asked for; is it of "
        "another version?");
  }
  if (table->features.empty()) table->first_revision = part.revision();
  table->last_revision = part.revision();
  table->row_count = part.row_count();
  table->generation = part.generation();
  for (size_t i = 0; i < count; ++i) {
    v1::FeatureStatistics feature = FeatureAt(part.columns(), i);
    const auto index = static_cast<int>(feature.index());
    if (index < normalizer.feature_names_size()) {
      feature.set_name(normalizer.feature_names(index));
    }
    table->features.push_back(std::move(feature));
  }
  return absl::OkStatus();
}

bool ParseFeatureRange(absl::string_view item, int64_t features, int64_t* first,
                       int64_t* last) {
  const std::vector<absl::string_view> ends =
      absl::StrSplit(absl::StripAsciiWhitespace(item), '-');
  if (ends.size() > 2 || !absl::SimpleAtoi(ends.front(), first) ||
      !absl::SimpleAtoi(ends.back(), last)) {
    return false;
  }
  return 0 <= *first && *first <= *last && *last < features;
}

struct SortKey {
  const char* name;
  std::function<double(const v1::FeatureStatistics&)> value;
  bool of_values = true;  // means nothing for a feature without any
};

const std::vector<SortKey>& NumericKeys() {
  using Feature = v1::FeatureStatistics;
  static const auto* const keys = new std::vector<SortKey>{
      {"count", [](const Feature& f) { return static_cast<double>(f.count()); },
       false},
      {"mean", [](const Feature& f) { return f.mean(); }},
      {"sd", [](const Feature& f) { return f.standard_deviation(); }},
      {"variance", [](const Feature& f) { return f.variance(); }},
      {"min", [](const Feature& f) { return f.minimum(); }},
      {"max", [](const Feature& f) { return f.maximum(); }},
      {"missing",
       [](const Feature& f) { return static_cast<double>(f.missing_count()); },
       false}};
  return *keys;
}

void SortByNumber(const SortKey& key, bool reverse,
                  std::vector<v1::FeatureStatistics>* features) {
  const auto value = [&](const v1::FeatureStatistics& feature) {
    return key.of_values && feature.count() == 0 ? kNan : key.value(feature);
  };
  std::stable_sort(features->begin(), features->end(),
                   [&](const auto& a, const auto& b) {
                     const double x = value(a);
                     const double y = value(b);
                     if (std::isnan(x) || std::isnan(y)) return !std::isnan(x);
                     return reverse ? x < y : x > y;
                   });
}

}  // namespace

absl::StatusOr<std::vector<int64_t>> ParseFeatureRanges(absl::string_view text,
                                                        int64_t features) {
  std::set<int64_t> indices;
  for (const absl::string_view item : absl::StrSplit(text, ',')) {
    int64_t first = 0;
    int64_t last = 0;
    if (!ParseFeatureRange(item, features, &first, &last)) {
      return UsageError(absl::StrCat("--features: '", item,
                                     "', want numbers from 0 to ", features - 1,
                                     ", such as 0-9,31"));
    }
    for (int64_t i = first; i <= last; ++i) indices.insert(indices.end(), i);
  }
  return std::vector<int64_t>(indices.begin(), indices.end());
}

absl::StatusOr<std::vector<int64_t>> MatchFeatureNames(
    absl::string_view globs, const v1::Normalizer& normalizer) {
  if (normalizer.feature_names().empty()) {
    return UsageError(absl::StrCat(
        "--names: ", normalizer.name(),
        " has no feature names; choose by number with --features"));
  }
  std::set<int64_t> indices;
  for (const absl::string_view part : absl::StrSplit(globs, ',')) {
    const std::string glob(part);
    bool matched = false;
    for (int i = 0; i < normalizer.feature_names_size(); ++i) {
      if (fnmatch(glob.c_str(), normalizer.feature_names(i).c_str(), 0) != 0) {
        continue;
      }
      indices.insert(i);
      matched = true;
    }
    if (!matched) {
      return absl::NotFoundError(
          absl::StrCat("--names: '", glob, "' matches no feature of ",
                       normalizer.name(), "; 'streamnorm stats ",
                       IdOf(normalizer.name()), " -o name' lists them"));
    }
  }
  return std::vector<int64_t>(indices.begin(), indices.end());
}

absl::StatusOr<StatisticsTable> ReadStatistics(
    Client* client, const v1::Normalizer& normalizer,
    const std::vector<int64_t>& indices) {
  StatisticsTable table;
  table.name = normalizer.name();
  table.has_names = !normalizer.feature_names().empty();
  table.features.reserve(indices.size());
  size_t per_call = kFeaturesPerCall;
  for (size_t begin = 0; begin < indices.size();) {
    const size_t count = std::min(per_call, indices.size() - begin);
    const auto part = client->GetStatistics(PartRequest(
        normalizer.name(), std::span(indices).subspan(begin, count)));
    if (absl::IsResourceExhausted(part.status()) && count > 1) {
      per_call = count / 2;  // the server's messages are smaller than usual
      continue;
    }
    if (!part.ok()) return part.status();
    if (auto s = AddPart(*part, normalizer, count, &table); !s.ok()) return s;
    begin += count;
  }
  return table;
}

void SortStatistics(const std::string& key, bool reverse,
                    std::vector<v1::FeatureStatistics>* features) {
  for (const SortKey& numeric : NumericKeys()) {
    if (key == numeric.name) return SortByNumber(numeric, reverse, features);
  }
  assert(key == "name" || key == "index");
  std::stable_sort(features->begin(), features->end(),
                   [&](const auto& a, const auto& b) {
                     const auto& first = reverse ? b : a;
                     const auto& second = reverse ? a : b;
                     if (key == "name") return first.name() < second.name();
                     return first.index() < second.index();
                   });
}

std::vector<std::string> SortKeys() {
  std::vector<std::string> names = {"index", "name"};
  for (const SortKey& key : NumericKeys()) names.emplace_back(key.name);
  return names;
}

}  // namespace streamnorm
