#include "server/validation.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <utility>

#include "absl/container/flat_hash_map.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "server/errors.h"
#include "stats/kernels.h"

namespace streamnorm {
namespace {

static_assert(std::endian::native == std::endian::little,
              "tensors are little-endian on the wire and used in place");

absl::StatusOr<DataType> ParseDataType(absl::string_view field,
                                       v1::DataType type) {
  switch (type) {
    case v1::FP32:
      return DataType::kFp32;
    case v1::FP64:
      return DataType::kFp64;
    case v1::FP16:
      return DataType::kFp16;
    case v1::BF16:
      return DataType::kBf16;
    default:
      return InvalidField(field, absl::StrCat(int{type}),
                          "FP32, FP64, FP16 or BF16");
  }
}

bool IsLower(char c) { return c >= 'a' && c <= 'z'; }
bool IsDigit(char c) { return c >= '0' && c <= '9'; }

// Of at most 128 of [a-z0-9._-].
bool IsShortAndPlain(absl::string_view id) {
  return id.size() <= 128 && std::all_of(id.begin(), id.end(), [](char c) {
           return IsLower(c) || IsDigit(c) || c == '.' || c == '_' || c == '-';
         });
}

// Rows of a shape whose last dimension was checked.
absl::StatusOr<size_t> ParseRows(const v1::Tensor& tensor) {
  if (tensor.shape_size() == 1) return size_t{1};
  const int64_t rows = tensor.shape(0);
  // No message holds more; keeps rows * features * 8 within 64 bits.
  constexpr int64_t kMostRows = int64_t{1} << 32;
  if (rows < 1 || rows > kMostRows) {
    return InvalidField("input.shape[0]", absl::StrCat(rows),
                        "at least 1 row, and no more than `data` holds");
  }
  return static_cast<size_t>(rows);
}

// A `bytes` field of `features` doubles.
absl::Status CheckDoubles(absl::string_view field, const std::string& bytes,
                          size_t features, absl::string_view id) {
  if (bytes.size() == features * sizeof(double)) return absl::OkStatus();
  return InvalidField(
      field, absl::StrCat(bytes.size(), " bytes"),
      absl::StrCat(features * sizeof(double), " (", NormalizerName(id), " has ",
                   features, " features, FP64)"));
}

// Where the elements of a field lie that was checked.
template <typename T>
const T* ElementsOf(const std::string& bytes) {
  return bytes.empty() ? nullptr : reinterpret_cast<const T*>(bytes.data());
}

absl::StatusOr<const double*> ParseDoubles(absl::string_view field,
                                           const std::string& bytes,
                                           size_t features,
                                           absl::string_view id) {
  if (auto s = CheckDoubles(field, bytes, features, id); !s.ok()) return s;
  const auto* values = ElementsOf<double>(bytes);
  if (AllFinite(values, features)) return values;
  for (size_t j = 0; j < features; ++j) {
    if (!std::isfinite(values[j])) {
      return InvalidField(absl::StrCat(field, "[", j, "]"),
                          absl::StrCat(values[j]), "a finite value");
    }
  }
  return values;
}

absl::Status ParseFeatureCounts(const v1::MergeMomentsRequest& request,
                                absl::string_view id, ReducedMoments* moments) {
  const std::string& bytes = request.feature_counts();
  if (bytes.empty()) return absl::OkStatus();
  if (auto s = CheckDoubles("feature_counts", bytes, moments->features, id);
      !s.ok()) {
    return s;
  }
  moments->counts = ElementsOf<uint64_t>(bytes);
  for (size_t j = 0; j < moments->features; ++j) {
    if (moments->counts[j] > request.count()) {
      return InvalidField(absl::StrCat("feature_counts[", j, "]"),
                          absl::StrCat(moments->counts[j]),
                          absl::StrCat("at most count, ", request.count()));
    }
  }
  return absl::OkStatus();
}

absl::Status ParseExtremes(const v1::MergeMomentsRequest& request,
                           absl::string_view id, ReducedMoments* moments) {
  if (request.has_minimum() != request.has_maximum()) {
    return InvalidField(request.has_minimum() ? "maximum" : "minimum", "absent",
                        "both minimum and maximum, or neither");
  }
  if (!request.has_minimum()) return absl::OkStatus();
  const auto minimum =
      ParseDoubles("minimum", request.minimum(), moments->features, id);
  if (!minimum.ok()) return minimum.status();
  const auto maximum =
      ParseDoubles("maximum", request.maximum(), moments->features, id);
  if (!maximum.ok()) return maximum.status();
  moments->minimum = *minimum;
  moments->maximum = *maximum;
  return absl::OkStatus();
}

// All sign bits in one go: a vector loop.
bool AnySign(const double* values, size_t count) {
  uint64_t signs = 0;
  for (size_t j = 0; j < count; ++j)
    signs |= std::bit_cast<uint64_t>(values[j]);
  return signs >> 63 != 0;
}

// Moments that no rows can have are a client's mistake, and would stay.
absl::Status CheckConsistent(const ReducedMoments& moments) {
  const bool has_extremes = moments.minimum != nullptr;
  const bool has_m2 = moments.m2 != nullptr;
  if (!has_extremes && !(has_m2 && AnySign(moments.m2, moments.features))) {
    return absl::OkStatus();
  }
  for (size_t j = 0; j < moments.features; ++j) {
    if (moments.count(j) == 0) continue;
    const double m2 = has_m2 ? moments.m2[j] : 0;
    if (m2 < 0) {
      return InvalidField(absl::StrCat("m2[", j, "]"), absl::StrCat(m2),
                          "a sum of squared deviations, >= 0");
    }
    if (!has_extremes) continue;
    const double low = moments.minimum[j];
    const double high = moments.maximum[j];
    if (low > high) {
      return InvalidField(absl::StrCat("minimum[", j, "]"), absl::StrCat(low),
                          absl::StrCat("at most maximum, ", high));
    }
  }
  return absl::OkStatus();
}

// What an answer's fields besides the statistics take at most, and what a
// refusal does: a name of 200 bytes that had to be escaped is in it twice.
constexpr uint64_t kAnswerEntryBytes = 2560;

// More than any model has layers, and far fewer than would keep the other calls
// waiting behind one message.
constexpr int kMostMerges = 1024;

// An entry that counts answers four times its own mean; any other is refused.
uint64_t LargestAnswer(const v1::MergeMomentsRequest& merge) {
  constexpr uint64_t kStatistics = 4;
  return kAnswerEntryBytes +
         (merge.return_statistics() ? kStatistics * merge.mean().size() : 0);
}

absl::Status CheckIndex(absl::string_view field, int64_t index,
                        uint64_t features) {
  if (index >= 0 && static_cast<uint64_t>(index) < features) {
    return absl::OkStatus();
  }
  return InvalidField(field, absl::StrCat(index),
                      absl::StrCat("0 to ", features - 1));
}

absl::StatusOr<std::vector<size_t>> SelectNames(
    const v1::FeatureSelection& selection,
    const NormalizerDefinition& definition) {
  absl::flat_hash_map<absl::string_view, size_t> index_of;
  for (size_t j = 0; j < definition.feature_names.size(); ++j) {
    index_of[definition.feature_names[j]] = j;
  }
  std::vector<size_t> selected;
  for (int i = 0; i < selection.names_size(); ++i) {
    const auto it = index_of.find(selection.names(i));
    if (it == index_of.end()) {
      return InvalidField(
          absl::StrCat("selection.names[", i, "]"), Quoted(selection.names(i)),
          absl::StrCat("a feature name of ", NormalizerName(definition.id)));
    }
    selected.push_back(it->second);
  }
  return selected;
}

}  // namespace

absl::Status CheckId(absl::string_view field, absl::string_view id) {
  if (!id.empty() && IsLower(id[0]) && IsShortAndPlain(id)) {
    return absl::OkStatus();
  }
  return InvalidField(field, Quoted(id), "an id [a-z][a-z0-9._-]{0,127}");
}

absl::Status CheckBackupId(absl::string_view field, absl::string_view id) {
  if (!id.empty() && (IsLower(id[0]) || IsDigit(id[0])) &&
      IsShortAndPlain(id) && !absl::EndsWith(id, ".tmp")) {
    return absl::OkStatus();
  }
  return InvalidField(field, Quoted(id),
                      "[a-z0-9][a-z0-9._-]{0,127}, not ending in .tmp");
}

absl::StatusOr<std::string> ParseName(absl::string_view field,
                                      absl::string_view name) {
  if (NamesSnapshot(name)) {
    return InvalidField(field, Quoted(name),
                        "normalizers/{id}; a snapshot never changes, and is "
                        "read by Normalize with NORMALIZE_ONLY, Denormalize "
                        "and GetStatistics");
  }
  absl::string_view id = name;
  if (!absl::ConsumePrefix(&id, "normalizers/") || !CheckId(field, id).ok()) {
    return InvalidField(field, Quoted(name),
                        "normalizers/{id} with an id [a-z][a-z0-9._-]{0,127}");
  }
  return std::string(id);
}

bool NamesSnapshot(absl::string_view name) {
  return absl::StrContains(name, "/snapshots/");
}

absl::StatusOr<SnapshotIds> ParseSnapshotName(absl::string_view field,
                                              absl::string_view name) {
  const std::pair<absl::string_view, absl::string_view> parts =
      absl::StrSplit(name, absl::MaxSplits("/snapshots/", 1));
  absl::string_view id = parts.first;
  if (!absl::ConsumePrefix(&id, "normalizers/") || !CheckId(field, id).ok() ||
      !CheckId(field, parts.second).ok()) {
    return InvalidField(field, Quoted(name),
                        "normalizers/{id}/snapshots/{snapshot}, each "
                        "[a-z][a-z0-9._-]{0,127}");
  }
  return SnapshotIds{std::string(id), std::string(parts.second)};
}

absl::StatusOr<std::shared_ptr<Normalizer>> FindNormalizer(
    const Registry& registry, absl::string_view name) {
  const auto id = ParseName("name", name);
  if (!id.ok()) return id.status();
  return registry.Find(*id);
}

absl::StatusOr<int64_t> ParseFeatureCount(const v1::Tensor& tensor) {
  if (tensor.shape_size() != 1 && tensor.shape_size() != 2) {
    return InvalidField("input.shape",
                        absl::StrCat(tensor.shape_size(), " dimensions"),
                        "[rows, features], or [features] for one row");
  }
  return tensor.shape(tensor.shape_size() - 1);
}

absl::StatusOr<TensorView> ParseTensor(const v1::Tensor& tensor,
                                       absl::string_view data, size_t features,
                                       absl::string_view id,
                                       std::vector<double>* converted) {
  const auto stated = ParseFeatureCount(tensor);
  if (!stated.ok()) return stated.status();
  if (*stated < 0 || static_cast<uint64_t>(*stated) != features) {
    return InvalidField(
        absl::StrCat("input.shape[", tensor.shape_size() - 1, "]"),
        absl::StrCat(*stated),
        absl::StrCat(features, " (", NormalizerName(id), " has ", features,
                     " features)"));
  }
  const auto rows = ParseRows(tensor);
  if (!rows.ok()) return rows.status();
  TensorView view;
  view.rows = *rows;
  view.features = features;
  if (tensor.values_size() != 0) {
    if (!data.empty()) {
      return InvalidField("input.values", "set beside input.data",
                          "one of the two");
    }
    if (tensor.datatype() != v1::DATA_TYPE_UNSPECIFIED &&
        tensor.datatype() != v1::FP64) {
      return InvalidField("input.datatype",
                          v1::DataType_Name(tensor.datatype()),
                          "FP64 or none with input.values");
    }
    converted->assign(tensor.values().begin(), tensor.values().end());
    view.type = DataType::kFp64;
    view.data = reinterpret_cast<const uint8_t*>(converted->data());
    if (converted->size() != view.rows * features) {
      return InvalidField("input.values",
                          absl::StrCat(converted->size(), " values"),
                          absl::StrCat(view.rows * features, " = ", view.rows,
                                       " x ", features));
    }
    return view;
  }
  const auto type = ParseDataType("input.datatype", tensor.datatype());
  if (!type.ok()) return type.status();
  view.type = *type;
  view.data = reinterpret_cast<const uint8_t*>(data.data());
  if (data.size() != view.size_bytes()) {
    return InvalidField("input.data", absl::StrCat(data.size(), " bytes"),
                        absl::StrCat(view.size_bytes(), " = ", view.rows, " x ",
                                     features, " x ", ElementSize(view.type),
                                     " (", DataTypeName(view.type), ")"));
  }
  return view;
}

absl::StatusOr<Mode> ParseMode(v1::Mode mode) {
  switch (mode) {
    case v1::MODE_UNSPECIFIED:
    case v1::UPDATE_THEN_NORMALIZE:
      return Mode::kUpdateThenNormalize;
    case v1::NORMALIZE_THEN_UPDATE:
      return Mode::kNormalizeThenUpdate;
    case v1::NORMALIZE_ONLY:
      return Mode::kNormalizeOnly;
    case v1::UPDATE_ONLY:
      return Mode::kUpdateOnly;
    default:
      return InvalidField("mode", absl::StrCat(int{mode}),
                          "UPDATE_THEN_NORMALIZE, NORMALIZE_THEN_UPDATE, "
                          "NORMALIZE_ONLY or UPDATE_ONLY");
  }
}

absl::StatusOr<SessionId> ParseSessionId(absl::string_view field,
                                         absl::string_view bytes) {
  SessionId id;
  if (bytes.size() != id.bytes.size()) {
    return InvalidField(field, absl::StrCat(bytes.size(), " bytes"),
                        "the 16 bytes OpenSession answered");
  }
  std::memcpy(id.bytes.data(), bytes.data(), bytes.size());
  return id;
}

absl::StatusOr<UpdateId> ParseUpdateId(const v1::UpdateId& id) {
  const auto session = ParseSessionId("update_id.session", id.session());
  if (!session.ok()) return session.status();
  if (id.sequence() == 0) {
    return InvalidField("update_id.sequence", "0", "at least 1");
  }
  return UpdateId{*session, id.epoch(), id.sequence(), id.generation()};
}

absl::StatusOr<ReducedMoments> ParseMoments(
    const v1::MergeMomentsRequest& request, size_t features, bool mean_only,
    absl::string_view id) {
  // Counts are exact in a double up to here.
  constexpr uint64_t kMostRows = uint64_t{1} << 53;
  if (request.count() < 1 || request.count() > kMostRows) {
    return InvalidField("count", absl::StrCat(request.count()),
                        "1 to 2^53 rows");
  }
  ReducedMoments moments;
  moments.features = features;
  moments.rows = request.count();
  const auto mean = ParseDoubles("mean", request.mean(), features, id);
  if (!mean.ok()) return mean.status();
  moments.mean = *mean;
  if (!mean_only || !request.m2().empty()) {
    const auto m2 = ParseDoubles("m2", request.m2(), features, id);
    if (!m2.ok()) return m2.status();
    moments.m2 = *m2;
  }
  if (auto s = ParseFeatureCounts(request, id, &moments); !s.ok()) return s;
  if (auto s = ParseExtremes(request, id, &moments); !s.ok()) return s;
  if (auto s = CheckConsistent(moments); !s.ok()) return s;
  return moments;
}

absl::Status CheckExchange(const v1::ExchangeMomentsRequest& request,
                           uint64_t max_bytes) {
  if (request.merges_size() < 1 || request.merges_size() > kMostMerges) {
    return InvalidField("merges",
                        absl::StrCat(request.merges_size(), " entries"),
                        absl::StrCat("1 to ", kMostMerges));
  }
  uint64_t answer = 0;
  for (const auto& merge : request.merges()) answer += LargestAnswer(merge);
  if (answer <= max_bytes) return absl::OkStatus();
  return LimitExceeded(
      "answer", absl::StrCat("up to ", answer, " bytes"),
      absl::StrCat("at most ", max_bytes,
                   "; send fewer merges in a message, or ask for fewer "
                   "statistics"),
      "--max_message_bytes");
}

absl::StatusOr<std::vector<size_t>> ParseSelection(
    const v1::FeatureSelection& selection,
    const NormalizerDefinition& definition) {
  const bool range = selection.start() != 0 || selection.end() != 0;
  const int ways = (selection.indices_size() != 0 ? 1 : 0) +
                   (selection.names_size() != 0 ? 1 : 0) + (range ? 1 : 0);
  if (ways > 1) {
    return InvalidField("selection", "more than one of them",
                        "indices, names, or start and end");
  }
  // Twice the same is no use, and what is answered must have an end.
  const auto asked = static_cast<uint64_t>(
      std::max(selection.indices_size(), selection.names_size()));
  if (asked > definition.features) {
    return InvalidField(
        selection.names_size() != 0 ? "selection.names" : "selection.indices",
        absl::StrCat(asked, " features"),
        absl::StrCat("at most ", definition.features, ", all there are"));
  }
  if (selection.names_size() != 0) return SelectNames(selection, definition);
  std::vector<size_t> selected;
  if (selection.indices_size() != 0) {
    for (int i = 0; i < selection.indices_size(); ++i) {
      if (auto s = CheckIndex(absl::StrCat("selection.indices[", i, "]"),
                              selection.indices(i), definition.features);
          !s.ok()) {
        return s;
      }
      selected.push_back(static_cast<size_t>(selection.indices(i)));
    }
    return selected;
  }
  const auto features = static_cast<int64_t>(definition.features);
  const int64_t end = selection.end() == 0 ? features : selection.end();
  if (auto s =
          CheckIndex("selection.start", selection.start(), definition.features);
      !s.ok()) {
    return s;
  }
  if (end <= selection.start() || end > features) {
    return InvalidField("selection.end", absl::StrCat(end),
                        absl::StrCat(selection.start() + 1, " to ", features));
  }
  for (int64_t j = selection.start(); j < end; ++j) {
    selected.push_back(static_cast<size_t>(j));
  }
  return selected;
}

}  // namespace streamnorm
