#include "client/cli/normalizer_export.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <nlohmann/json.hpp>
#include <numeric>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "client/cli/command_line.h"
#include "client/cli/csv.h"
#include "client/cli/fnv1a.h"
#include "client/cli/output.h"
#include "google/protobuf/util/json_util.h"

namespace streamnorm {
namespace {

using Json = nlohmann::ordered_json;
using Feature = v1::FeatureStatistics;

constexpr char kFormat[] = "streamnorm-export 1";

// Someone who counts rows between two parts of a large normalizer.
constexpr int kTries = 5;

template <typename Value>
std::vector<Value> Column(const ExportedNormalizer& exported,
                          Value (Feature::*get)() const) {
  std::vector<Value> values;
  for (const Feature& feature : exported.statistics.features) {
    values.push_back((feature.*get)());
  }
  return values;
}

// Of the text without spaces.
std::string Checksum(const Json& normalizer, const Json& statistics) {
  return absl::StrCat(absl::Hex(Fnv1a(normalizer.dump() + statistics.dump()),
                                absl::kZeroPad16));
}

absl::Status Invalid(absl::string_view what) {
  return absl::InvalidArgumentError(absl::StrCat(
      what, ", want what 'streamnorm export --format json' wrote"));
}

template <typename Value, typename Set>
bool TakeColumn(const Json& statistics, const char* name, Set set,
                std::vector<Feature>* features) {
  const auto column = statistics.find(name);
  if (column == statistics.end() || !column->is_array() ||
      column->size() != features->size()) {
    return false;
  }
  for (size_t j = 0; j < features->size(); ++j) {
    if (!(*column)[j].is_number()) return false;
    ((*features)[j].*set)((*column)[j].get<Value>());
  }
  return true;
}

bool TakeStatistics(const Json& json, ExportedNormalizer* exported) {
  StatisticsTable& table = exported->statistics;
  const auto features = exported->normalizer.features();
  const auto mean = json.find("mean");
  if (features < 1 || mean == json.end() || !mean->is_array() ||
      mean->size() != static_cast<size_t>(features)) {
    return false;
  }
  table.features.resize(mean->size());
  table.name = exported->normalizer.name();
  table.row_count = exported->normalizer.row_count();
  return TakeColumn<uint64_t>(json, "count", &Feature::set_count,
                              &table.features) &&
         TakeColumn<double>(json, "mean", &Feature::set_mean,
                            &table.features) &&
         TakeColumn<double>(json, "variance", &Feature::set_variance,
                            &table.features) &&
         TakeColumn<double>(json, "minimum", &Feature::set_minimum,
                            &table.features) &&
         TakeColumn<double>(json, "maximum", &Feature::set_maximum,
                            &table.features) &&
         TakeColumn<uint64_t>(json, "missing_count",
                              &Feature::set_missing_count, &table.features) &&
         TakeColumn<uint64_t>(json, "infinite_count",
                              &Feature::set_infinite_count, &table.features);
}

void AppendElements(const std::vector<double>& values, DataType type,
                    std::string* bytes) {
  const size_t begin = bytes->size();
  bytes->resize(begin + values.size() * ElementSize(type));
  StoreFromDouble(values.data(), values.size(), type,
                  reinterpret_cast<uint8_t*>(bytes->data() + begin));
}

void AppendLittleEndian(uint64_t value, std::string* bytes) {
  for (int shift = 0; shift < 64; shift += 8) {
    bytes->push_back(static_cast<char>(value >> shift & 0xFF));
  }
}

}  // namespace

absl::StatusOr<ExportedNormalizer> ReadForExport(Client* client,
                                                 const std::string& id) {
  ExportedNormalizer exported;
  for (int i = 0; i < kTries; ++i) {
    auto normalizer = GetReadable(client, id);
    if (!normalizer.ok()) return normalizer.status();
    std::vector<int64_t> all(static_cast<size_t>(normalizer->features()));
    std::iota(all.begin(), all.end(), int64_t{0});
    auto statistics = ReadStatistics(client, *normalizer, all);
    if (!statistics.ok()) return statistics.status();
    const uint64_t revision = statistics->first_revision;
    const bool snapshot = id.find("/snapshots/") != id.npos;
    if (statistics->last_revision != revision ||
        (!snapshot && normalizer->revision() != revision)) {
      continue;
    }
    normalizer->set_revision(revision);
    normalizer->set_row_count(statistics->row_count);
    return ExportedNormalizer{*std::move(normalizer), *std::move(statistics)};
  }
  return absl::AbortedError(
      absl::StrCat(id,
                   ": rows are counted while it is read; export a snapshot: "
                   "'streamnorm snapshot create ",
                   id, " NAME'"));
}

std::string ExportJson(const ExportedNormalizer& exported) {
  const Json normalizer =
      Json::parse(ToJson(exported.normalizer, /*pretty=*/false));
  const Json statistics = {
      {"count", Column(exported, &Feature::count)},
      {"mean", Column(exported, &Feature::mean)},
      {"variance", Column(exported, &Feature::variance)},
      {"minimum", Column(exported, &Feature::minimum)},
      {"maximum", Column(exported, &Feature::maximum)},
      {"missing_count", Column(exported, &Feature::missing_count)},
      {"infinite_count", Column(exported, &Feature::infinite_count)}};
  const Json json = {{"format", kFormat},
                     {"normalizer", normalizer},
                     {"statistics", statistics},
                     {"checksum", Checksum(normalizer, statistics)}};
  return json.dump(1) + "\n";
}

absl::StatusOr<ExportedNormalizer> ParseExport(absl::string_view text) {
  const Json json = Json::parse(text.begin(), text.end(), nullptr,
                                /*allow_exceptions=*/false);
  if (!json.is_object() || json.value("format", Json()) != Json(kFormat) ||
      !json.contains("normalizer") || !json.contains("statistics")) {
    return Invalid("cut off, or another file");
  }
  if (json.value("checksum", Json()) !=
      Json(Checksum(json["normalizer"], json["statistics"]))) {
    return Invalid("its checksum does not match: it was changed or damaged");
  }
  ExportedNormalizer exported;
  const auto parsed = google::protobuf::util::JsonStringToMessage(
      json["normalizer"].dump(), &exported.normalizer);
  if (!parsed.ok() || !TakeStatistics(json["statistics"], &exported)) {
    return Invalid("it does not hold a normalizer");
  }
  return exported;
}

std::string ExportCsv(const ExportedNormalizer& exported) {
  std::string text = CsvLine(
      {"feature", "name", "count", "mean", "variance", "sd", "min", "max"},
      ',');
  for (const Feature& f : exported.statistics.features) {
    text += CsvLine({absl::StrCat(f.index()), f.name(), absl::StrCat(f.count()),
                     ExactNumber(f.mean()), ExactNumber(f.variance()),
                     ExactNumber(f.standard_deviation()),
                     ExactNumber(f.minimum()), ExactNumber(f.maximum())},
                    ',');
  }
  return text;
}

// https://github.com/huggingface/safetensors: the length of the header, the
// header as JSON, the bytes of the tensors.
std::string ExportSafetensors(const ExportedNormalizer& exported,
                              DataType type) {
  std::string data;
  Json header;
  const char* const dtype = type == DataType::kFp64 ? "F64" : "F32";
  const auto add = [&](const char* name, const char* of, Json shape,
                       const auto& append) {
    const size_t begin = data.size();
    append();
    header[name] = {{"dtype", of},
                    {"shape", std::move(shape)},
                    {"data_offsets", {begin, data.size()}}};
  };
  const size_t features = exported.statistics.features.size();
  add("num_batches_tracked", "I64", Json::array(),
      [&] { AppendLittleEndian(exported.normalizer.revision(), &data); });
  add("running_mean", dtype, Json::array({features}),
      [&] { AppendElements(Column(exported, &Feature::mean), type, &data); });
  add("running_var", dtype, Json::array({features}), [&] {
    AppendElements(Column(exported, &Feature::variance), type, &data);
  });
  std::string text = header.dump();
  text.append((8 - text.size() % 8) % 8, ' ');  // data is aligned
  std::string bytes;
  AppendLittleEndian(text.size(), &bytes);
  return bytes + text + data;
}

std::string ExportSklearn(const ExportedNormalizer& exported) {
  std::vector<double> scale;
  for (const Feature& f : exported.statistics.features) {
    const bool constant = f.state() == Feature::CONSTANT || f.variance() == 0;
    scale.push_back(constant ? 1 : f.standard_deviation());
  }
  const auto counts = Column(exported, &Feature::count);
  const bool alike =
      std::all_of(counts.begin(), counts.end(),
                  [&](uint64_t count) { return count == counts.front(); });
  Json json = {{"mean_", Column(exported, &Feature::mean)},
               {"var_", Column(exported, &Feature::variance)},
               {"scale_", scale},
               {"n_samples_seen_", alike ? Json(counts.front()) : Json(counts)},
               {"n_features_in_", counts.size()}};
  const auto& names = exported.normalizer.feature_names();
  if (!names.empty()) {
    json["feature_names_in_"] =
        std::vector<std::string>(names.begin(), names.end());
  }
  return json.dump(1) + "\n";
}

}  // namespace streamnorm
