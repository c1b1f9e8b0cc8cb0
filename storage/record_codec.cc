#include "storage/record_codec.h"

#include <bit>
#include <bitset>
#include <cassert>
#include <cstddef>
#include <cstring>
#include <map>
#include <span>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "stats/moments.h"
#include "stats/scaling.h"
#include "stats/window.h"
#include "storage/key_codec.h"
#include "storage/record_checks.h"
#include "storage/value_format.h"

namespace streamnorm {
namespace {

// Each kind of record counts its own versions; read "Versions" in
// docs/storage_format.md before raising one. A definition or a state of plain
// moments is written as version 1: it needs nothing of version 2.
constexpr uint32_t kDefinitionVersion = 2;
constexpr uint32_t kStateVersion = 2;
constexpr uint32_t kPlainVersion = 1;
constexpr uint32_t kSnapshotVersion = 1;

// Within a snapshot both are as in version 2, and may be of plain moments.
constexpr uint32_t kEitherKind = ~uint32_t{0};
constexpr uint32_t kSessionVersion = 1;
constexpr uint32_t kLedgerVersion = 1;
constexpr uint32_t kMetaVersion = 1;

constexpr size_t kStateColumns = 6;
constexpr size_t kMeanColumns = 2;
constexpr size_t kStateHeaderSize = 64;

// Which optional columns a state has.
constexpr uint32_t kHasCounts = 1;
constexpr uint32_t kHasMissing = 2;
constexpr uint32_t kHasInfinite = 4;
constexpr uint32_t kAllCounts = kHasCounts | kHasMissing | kHasInfinite;

// Version 2: how its moments are not plain.
constexpr uint32_t kHasWindow = 8;
constexpr uint32_t kMeanOnly = 16;
constexpr uint32_t kAllParts = kAllCounts | kHasWindow | kMeanOnly;

template <typename Record>
absl::StatusOr<Record> Checked(std::string_view key, ValueReader* reader,
                               Record record) {
  absl::Status status = reader->Finish();
  if (!status.ok()) return status;
  const std::string problem = FindProblem(record);
  if (!problem.empty()) return DamagedValue(key, problem);
  return record;
}

// The parsed `key`, if it is one of `kind`.
absl::StatusOr<ParsedKey> KeyOf(KeyKind kind, std::string_view key) {
  absl::StatusOr<ParsedKey> parsed = ParseKey(key);
  if (parsed.ok() && parsed->kind != kind) {
    return DamagedValue(key, "key: of another kind of record");
  }
  return parsed;
}

void WriteScaling(const NormalizerDefinition& d, ValueWriter* writer) {
  writer->Byte(static_cast<uint8_t>(d.scaling.method));
  writer->Byte(static_cast<uint8_t>(d.scaling.epsilon_mode));
  writer->Byte(d.scaling.center);
  writer->Byte(d.scaling.scale);
  writer->Number(d.scaling.epsilon);
  writer->Number(d.scaling.clip);
  writer->String(d.scaling_preset);
}

void ReadScaling(ValueReader* reader, NormalizerDefinition* d) {
  d->scaling.method = reader->Enum("scaling.method", ScalingMethod::kMaxAbs);
  d->scaling.epsilon_mode =
      reader->Enum("scaling.epsilon_mode", EpsilonMode::kFloorStd);
  d->scaling.center = reader->Bool("scaling.center");
  d->scaling.scale = reader->Bool("scaling.scale");
  d->scaling.epsilon = reader->Number<double>("scaling.epsilon");
  d->scaling.clip = reader->Number<double>("scaling.clip");
  d->scaling_preset = reader->String("scaling.preset");
}

void WriteWarmUp(const WarmUp& warm_up, ValueWriter* writer) {
  writer->Number(warm_up.minimum_rows);
  writer->Byte(static_cast<uint8_t>(warm_up.answer));
  writer->Number(warm_up.prior.pseudo_rows);
  writer->Number(uint64_t{warm_up.prior.mean.size()});
  writer->Column(std::span<const double>(warm_up.prior.mean));
  writer->Number(uint64_t{warm_up.prior.variance.size()});
  writer->Column(std::span<const double>(warm_up.prior.variance));
}

void ReadWarmUp(ValueReader* reader, WarmUp* warm_up) {
  warm_up->minimum_rows = reader->Number<uint64_t>("warm_up.minimum_rows");
  warm_up->answer = reader->Enum("warm_up.answer", WarmUpAnswer::kPrior);
  warm_up->prior.pseudo_rows = reader->Number<double>("prior.pseudo_rows");
  warm_up->prior.mean = reader->Doubles("prior.mean");
  warm_up->prior.variance = reader->Doubles("prior.variance");
}

void WriteLabels(const std::map<std::string, std::string>& labels,
                 ValueWriter* writer) {
  writer->Number(static_cast<uint32_t>(labels.size()));
  for (const auto& [name, label] : labels) {
    writer->String(name);
    writer->String(label);
  }
}

void ReadLabels(ValueReader* reader,
                std::map<std::string, std::string>* labels) {
  const auto count = reader->Number<uint32_t>("labels");
  for (uint32_t i = 0; i < count && reader->ok(); ++i) {
    std::string name = reader->String("labels");
    std::string label = reader->String("labels");
    if (!labels->empty() && name <= labels->rbegin()->first) {
      reader->Fail("labels: want names in ascending order");
    }
    labels->emplace_hint(labels->end(), std::move(name), std::move(label));
  }
}

void ReadFeatureNames(ValueReader* reader, std::vector<std::string>* names) {
  const auto count = reader->Number<uint64_t>("feature_names");
  if (!reader->CanHold("feature_names", count, sizeof(uint32_t))) return;
  names->reserve(static_cast<size_t>(count));
  for (uint64_t i = 0; i < count && reader->ok(); ++i) {
    names->push_back(reader->String("feature_names"));
  }
}

uint32_t VersionFor(const MomentsKind& kind, uint32_t newest) {
  return kind.plain() ? kPlainVersion : newest;
}

void WriteWindow(const Window& window, ValueWriter* writer) {
  writer->Byte(static_cast<uint8_t>(window.kind));
  writer->Number(window.rows);
}

Window ReadWindow(ValueReader* reader) {
  Window window;
  window.kind = reader->Enum("window.kind", Window::Kind::kWindowRows);
  window.rows = reader->Number<double>("window.rows");
  return window;
}

size_t ColumnsIn(uint32_t parts) {
  return (parts & kMeanOnly ? kMeanColumns : kStateColumns) +
         static_cast<size_t>(std::popcount(parts & kAllCounts));
}

size_t SizeOf(const NormalizerState& state, uint32_t parts) {
  return kStateHeaderSize + sizeof(uint8_t) + sizeof(double) +
         ColumnsIn(parts) * sizeof(double) * state.moments.features();
}

uint32_t PartsOf(const Moments& moments) {
  return (moments.kind().window.fades() ? kHasWindow : 0) |
         (moments.kind().mean_only ? kMeanOnly : 0) |
         (moments.feature_counts().empty() ? 0 : kHasCounts) |
         (moments.missing_counts().empty() ? 0 : kHasMissing) |
         (moments.infinite_counts().empty() ? 0 : kHasInfinite);
}

void WriteColumns(const Moments& m, ValueWriter* writer) {
  writer->Column(m.mean());
  writer->Column(m.mean_tail());
  if (!m.kind().mean_only) {
    for (const std::span<const double> column :
         {m.m2(), m.m2_tail(), m.minimum(), m.maximum()}) {
      writer->Column(column);
    }
  }
  writer->Column(std::span<const uint64_t>(m.feature_counts()));
  writer->Column(std::span<const uint64_t>(m.missing_counts()));
  writer->Column(std::span<const uint64_t>(m.infinite_counts()));
}

std::vector<uint64_t> ReadCounts(ValueReader* reader, const char* field,
                                 size_t features) {
  std::vector<uint64_t> counts(features);
  reader->Column(field, std::span(counts));
  return counts;
}

// `*m` has the right number of features, and the value room for all columns.
void ReadColumns(ValueReader* reader, uint32_t parts, Moments* m) {
  reader->Column("mean", m->mean());
  reader->Column("mean_tail", m->mean_tail());
  if (!m->kind().mean_only) {
    reader->Column("m2", m->m2());
    reader->Column("m2_tail", m->m2_tail());
    reader->Column("minimum", m->minimum());
    reader->Column("maximum", m->maximum());
  }
  if (parts & kHasCounts) {
    m->set_feature_counts(ReadCounts(reader, "count", m->features()));
  }
  if (parts & kHasMissing) {
    m->set_missing_counts(ReadCounts(reader, "missing_count", m->features()));
  }
  if (parts & kHasInfinite) {
    m->set_infinite_counts(ReadCounts(reader, "infinite_count", m->features()));
  }
}

void WriteBody(const NormalizerDefinition& definition, uint32_t version,
               ValueWriter* writer) {
  writer->Number(definition.features);
  writer->Number(definition.birth_generation);
  writer->Number(definition.create_time_us);
  writer->Number(definition.change_time_us);
  writer->Byte(definition.frozen);
  writer->Byte(static_cast<uint8_t>(definition.nonfinite.nan));
  writer->Byte(static_cast<uint8_t>(definition.nonfinite.infinity));
  WriteScaling(definition, writer);
  WriteWarmUp(definition.warm_up, writer);
  WriteLabels(definition.labels, writer);
  writer->Number(uint64_t{definition.feature_names.size()});
  for (const std::string& name : definition.feature_names) writer->String(name);
  if (version > kPlainVersion) {
    writer->Byte(definition.kind.mean_only);
    WriteWindow(definition.kind.window, writer);
  }
}

// Fills all but the id.
void ReadBody(ValueReader* reader, uint32_t version,
              NormalizerDefinition* definition) {
  definition->features = reader->Number<uint64_t>("features");
  definition->birth_generation = reader->Number<uint64_t>("birth_generation");
  definition->create_time_us = reader->Number<int64_t>("create_time");
  definition->change_time_us = reader->Number<int64_t>("change_time");
  definition->frozen = reader->Bool("frozen");
  definition->nonfinite.nan =
      reader->Enum("nonfinite.nan", NonfinitePolicy::kReject);
  definition->nonfinite.infinity =
      reader->Enum("nonfinite.infinity", NonfinitePolicy::kReject);
  ReadScaling(reader, definition);
  ReadWarmUp(reader, &definition->warm_up);
  ReadLabels(reader, &definition->labels);
  ReadFeatureNames(reader, &definition->feature_names);
  if (version > kPlainVersion) {
    definition->kind.mean_only = reader->Bool("moments");
    definition->kind.window = ReadWindow(reader);
    if (version != kEitherKind && definition->kind.plain()) {
      reader->Fail("version: 2, want 1");
    }
  }
}

void WriteBody(const NormalizerState& state, ValueWriter* writer) {
  const uint32_t parts = PartsOf(state.moments);
  writer->Number(parts);
  writer->Number(uint64_t{state.moments.features()});
  writer->Number(state.generation);
  writer->Number(state.revision);
  writer->Number(state.base_rows);
  writer->Number(state.update_time_us);
  writer->Number(state.moments.row_count());
  if (parts & kHasWindow) WriteWindow(state.moments.kind().window, writer);
  WriteColumns(state.moments, writer);
}

// Fills all but the id. In version 1 moments are plain, in version 2 not, and
// in kEitherKind either.
void ReadBody(ValueReader* reader, uint32_t version, NormalizerState* state) {
  const auto parts = reader->Number<uint32_t>("parts");
  const bool plain = (parts & (kHasWindow | kMeanOnly)) == 0;
  if (parts > kAllParts ||
      (version != kEitherKind && plain != (version == kPlainVersion))) {
    reader->Fail(absl::StrCat("parts: ", parts));
  }
  const auto features = reader->Number<uint64_t>("features");
  state->generation = reader->Number<uint64_t>("generation");
  state->revision = reader->Number<uint64_t>("revision");
  state->base_rows = reader->Number<uint64_t>("base_rows");
  state->update_time_us = reader->Number<int64_t>("update_time");
  const auto rows = reader->Number<uint64_t>("row_count");
  MomentsKind kind;
  kind.mean_only = (parts & kMeanOnly) != 0;
  if (parts & kHasWindow) {
    kind.window = ReadWindow(reader);
    if (!kind.window.fades()) reader->Fail("window.kind: 0, want no window");
  }
  if (reader->CanHold("features", features,
                      ColumnsIn(parts) * sizeof(double))) {
    state->moments = Moments(static_cast<size_t>(features), kind);
    state->moments.set_row_count(rows);
    ReadColumns(reader, parts, &state->moments);
  }
}

// 64 sequences of the window from `first` on, the first in the lowest bit.
uint64_t WindowWord(const std::bitset<kSequenceWindow>& window, size_t first) {
  constexpr std::bitset<kSequenceWindow> kWord(~0ULL);
  return ((window >> first) & kWord).to_ullong();
}

// The window's bytes up to the last that is not zero: none where it is empty.
std::vector<uint8_t> WindowBytes(const std::bitset<kSequenceWindow>& window) {
  if (window.none()) return {};
  std::vector<uint8_t> bytes(kSequenceWindow / 8);
  for (size_t i = 0; i < bytes.size(); i += sizeof(uint64_t)) {
    const uint64_t word = WindowWord(window, i * 8);
    std::memcpy(bytes.data() + i, &word, sizeof(word));
  }
  while (bytes.back() == 0) bytes.pop_back();
  return bytes;
}

void ReadWindow(ValueReader* reader, std::bitset<kSequenceWindow>* window) {
  const size_t size = reader->remaining();
  std::vector<uint8_t> bytes(kSequenceWindow / 8);
  if (size > bytes.size()) {
    reader->Fail(
        absl::StrCat("window: ", size, " bytes, want at most ", bytes.size()));
    return;
  }
  reader->Column("window", std::span(bytes).first(size));
  if (size > 0 && bytes[size - 1] == 0) {
    reader->Fail("window: ends with a zero byte");
  }
  for (size_t i = size; i-- > 0;) {
    *window = (*window << 8) | std::bitset<kSequenceWindow>(bytes[i]);
  }
}

}  // namespace

void Encode(std::string_view key, const NormalizerDefinition& definition,
            std::string* value) {
  assert(key == DefinitionKey(definition.id));
  assert(FindProblem(definition).empty());
  const uint32_t version = VersionFor(definition.kind, kDefinitionVersion);
  ValueWriter writer(version, 0, value);
  WriteBody(definition, version, &writer);
  writer.Finish(key);
}

absl::StatusOr<NormalizerDefinition> DecodeDefinition(std::string_view key,
                                                      std::string_view value) {
  absl::StatusOr<ParsedKey> parsed = KeyOf(KeyKind::kDefinition, key);
  if (!parsed.ok()) return parsed.status();
  ValueReader reader(key, kDefinitionVersion, value);
  NormalizerDefinition definition;
  definition.id = std::move(parsed->normalizer_id);
  ReadBody(&reader, reader.version(), &definition);
  return Checked(key, &reader, std::move(definition));
}

void Encode(std::string_view key, const NormalizerState& state,
            std::string* value) {
  assert(key == StateKey(state.id));
  assert(FindProblem(state).empty());
  const size_t size = SizeOf(state, PartsOf(state.moments));
  ValueWriter writer(VersionFor(state.moments.kind(), kStateVersion), size,
                     value);
  WriteBody(state, &writer);
  writer.Finish(key);
}

absl::StatusOr<NormalizerState> DecodeState(std::string_view key,
                                            std::string_view value) {
  absl::StatusOr<ParsedKey> parsed = KeyOf(KeyKind::kState, key);
  if (!parsed.ok()) return parsed.status();
  ValueReader reader(key, kStateVersion, value);
  NormalizerState state;
  state.id = std::move(parsed->normalizer_id);
  ReadBody(&reader, reader.version(), &state);
  return Checked(key, &reader, std::move(state));
}

void Encode(std::string_view key, const SessionRecord& session,
            std::string* value) {
  assert(key == SessionKey(session.id));
  ValueWriter writer(kSessionVersion, 0, value);
  writer.Number(session.epoch);
  writer.Number(session.create_time_us);
  writer.String(session.client);
  writer.Finish(key);
}

absl::StatusOr<SessionRecord> DecodeSession(std::string_view key,
                                            std::string_view value) {
  const absl::StatusOr<ParsedKey> parsed = KeyOf(KeyKind::kSession, key);
  if (!parsed.ok()) return parsed.status();
  ValueReader reader(key, kSessionVersion, value);
  SessionRecord session;
  session.id = parsed->session;
  session.epoch = reader.Number<uint64_t>("epoch");
  session.create_time_us = reader.Number<int64_t>("create_time");
  session.client = reader.String("client");
  absl::Status status = reader.Finish();
  if (!status.ok()) return status;
  return session;
}

void Encode(std::string_view key, const LedgerRecord& ledger,
            std::string* value) {
  assert(key == LedgerKey(ledger.normalizer_id, ledger.session));
  assert(FindProblem(ledger).empty());
  ValueWriter writer(kLedgerVersion, 0, value);
  writer.Number(ledger.applied_sequence);
  writer.Number(ledger.rows);
  writer.Column(std::span<const uint8_t>(WindowBytes(ledger.window)));
  writer.Finish(key);
}

absl::StatusOr<LedgerRecord> DecodeLedger(std::string_view key,
                                          std::string_view value) {
  absl::StatusOr<ParsedKey> parsed = KeyOf(KeyKind::kLedger, key);
  if (!parsed.ok()) return parsed.status();
  ValueReader reader(key, kLedgerVersion, value);
  LedgerRecord ledger;
  ledger.normalizer_id = std::move(parsed->normalizer_id);
  ledger.session = parsed->session;
  ledger.applied_sequence = reader.Number<uint64_t>("applied_sequence");
  ledger.rows = reader.Number<uint64_t>("rows");
  ReadWindow(&reader, &ledger.window);
  return Checked(key, &reader, std::move(ledger));
}

void Encode(std::string_view key, const SnapshotRecord& snapshot,
            std::string* value) {
  assert(key == SnapshotKey(snapshot.normalizer_id(), snapshot.id));
  assert(FindProblem(snapshot).empty());
  ValueWriter writer(kSnapshotVersion,
                     SizeOf(snapshot.state, PartsOf(snapshot.state.moments)),
                     value);
  writer.Number(snapshot.create_time_us);
  WriteBody(snapshot.definition, kEitherKind, &writer);
  WriteBody(snapshot.state, &writer);
  writer.Finish(key);
}

absl::StatusOr<SnapshotRecord> DecodeSnapshot(std::string_view key,
                                              std::string_view value) {
  absl::StatusOr<ParsedKey> parsed = KeyOf(KeyKind::kSnapshot, key);
  if (!parsed.ok()) return parsed.status();
  ValueReader reader(key, kSnapshotVersion, value);
  SnapshotRecord snapshot;
  snapshot.id = std::move(parsed->snapshot_id);
  snapshot.definition.id = parsed->normalizer_id;
  snapshot.state.id = std::move(parsed->normalizer_id);
  snapshot.create_time_us = reader.Number<int64_t>("create_time");
  ReadBody(&reader, kEitherKind, &snapshot.definition);
  ReadBody(&reader, kEitherKind, &snapshot.state);
  return Checked(key, &reader, std::move(snapshot));
}

void EncodeHistory(std::string_view key, const HistoryId& history,
                   std::string* value) {
  ValueWriter writer(kMetaVersion, 0, value);
  writer.Column(std::span<const uint8_t>(history));
  writer.Finish(key);
}

absl::StatusOr<HistoryId> DecodeHistory(std::string_view key,
                                        std::string_view value) {
  ValueReader reader(key, kMetaVersion, value);
  HistoryId history{};
  reader.Column("history_id", std::span<uint8_t>(history));
  absl::Status status = reader.Finish();
  if (!status.ok()) return status;
  return history;
}

void EncodeNumber(std::string_view key, uint64_t number, std::string* value) {
  ValueWriter writer(kMetaVersion, 0, value);
  writer.Number(number);
  writer.Finish(key);
}

absl::StatusOr<uint64_t> DecodeNumber(std::string_view key,
                                      std::string_view value) {
  ValueReader reader(key, kMetaVersion, value);
  const auto number = reader.Number<uint64_t>("value");
  absl::Status status = reader.Finish();
  if (!status.ok()) return status;
  return number;
}

}  // namespace streamnorm
