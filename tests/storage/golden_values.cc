#include "tests/storage/golden_values.h"

#include <algorithm>
#include <initializer_list>
#include <limits>
#include <span>

#include "absl/status/statusor.h"
#include "stats/moments.h"
#include "storage/key_codec.h"
#include "storage/record_codec.h"
#include "tests/storage/record_builders.h"

namespace streamnorm {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();

void Fill(std::span<double> column, std::initializer_list<double> values) {
  std::copy(values.begin(), values.end(), column.begin());
}

// The states are written out and not folded: they must not change when the
// arithmetic does.
NormalizerState PlainState(const std::string& id) {
  NormalizerState state;
  state.id = id;
  state.generation = 4;
  state.revision = 17;
  state.base_rows = 3;
  state.update_time_us = 1'700'000'000'000'001;
  Moments& m = state.moments;
  m = Moments(3);
  m.set_row_count(10);
  Fill(m.mean(), {1.5, -2.0e300, 0.0});
  Fill(m.mean_tail(), {0x1p-55, 0.0, -0x1p-1030});
  Fill(m.m2(), {12.25, 0.0, 0x1p-1074});
  Fill(m.m2_tail(), {-0x1p-51, 0.0, 0.0});
  Fill(m.minimum(), {-1.0, -2.0e300, kInfinity});
  Fill(m.maximum(), {4.0, -2.0e300, -kInfinity});
  return state;
}

NormalizerState StateWithCounts() {
  NormalizerState state = PlainState("gappy.state");
  state.moments.set_feature_counts({10, 1, 9});
  state.moments.set_missing_counts({0, 9, 0});
  state.moments.set_infinite_counts({0, 0, 1});
  return state;
}

// Of moments that are not plain.
NormalizerState StateOfKind(const std::string& id, const MomentsKind& kind) {
  NormalizerState state = PlainState(id);
  const Moments plain = state.moments;
  Moments& m = state.moments;
  m = Moments(3, kind);
  m.set_row_count(10);
  std::copy_n(plain.mean().begin(), 3, m.mean().begin());
  std::copy_n(plain.mean_tail().begin(), 3, m.mean_tail().begin());
  m.set_feature_counts({10, 1, 9});
  m.set_missing_counts({0, 9, 1});
  if (kind.mean_only) return state;
  std::copy_n(plain.m2().begin(), 3, m.m2().begin());
  std::copy_n(plain.m2_tail().begin(), 3, m.m2_tail().begin());
  std::copy_n(plain.minimum().begin(), 3, m.minimum().begin());
  std::copy_n(plain.maximum().begin(), 3, m.maximum().begin());
  return state;
}

constexpr MomentsKind kFading = {{Window::Kind::kWindowRows, 1000}, false};
constexpr MomentsKind kMeanOnly = {{}, true};
constexpr MomentsKind kFadingMean = {{Window::Kind::kHalfLifeRows, 69.5}, true};

NormalizerDefinition DefinitionOfKind(const std::string& id,
                                      const MomentsKind& kind) {
  NormalizerDefinition definition = DefinitionOf(id, 3);
  definition.scaling.method = ScalingMethod::kStandard;
  definition.kind = kind;
  return definition;
}

NormalizerDefinition PlainDefinition() {
  NormalizerDefinition definition;
  definition.id = std::string("a");
  definition.features = 1;
  return definition;
}

LedgerRecord EmptyLedger() {
  LedgerRecord ledger;
  ledger.normalizer_id = std::string("a");
  return ledger;
}

LedgerRecord FullLedger() {
  LedgerRecord ledger;
  ledger.normalizer_id = "layer3";
  ledger.session = SessionNamed(0xa5);
  ledger.applied_sequence = 0x0102030405060708;
  ledger.rows = 7;
  ledger.window.set(1).set(9).set(kSequenceWindow - 1);
  return ledger;
}

bool Same(const NormalizerState& a, const NormalizerState& b) {
  return SameState(a, b);
}
bool Same(const SnapshotRecord& a, const SnapshotRecord& b) {
  return SameSnapshot(a, b);
}
template <typename T>
bool Same(const T& a, const T& b) {
  return a == b;
}

template <typename Record, typename Decode>
GoldenValue ValueOf(const std::string& name, const std::string& key,
                    const Record& record, Decode decode) {
  GoldenValue golden{name, key};
  Encode(key, record, &golden.value);
  golden.decode = [decode](std::string_view k, std::string_view value) {
    return decode(k, value).status();
  };
  golden.says_the_same = [decode, key, record](std::string_view value) {
    const absl::StatusOr<Record> decoded = decode(key, value);
    return decoded.ok() && Same(*decoded, record);
  };
  return golden;
}

GoldenValue NumberValue() {
  GoldenValue golden{"incarnation", std::string(kIncarnationKey)};
  constexpr uint64_t kNumber = 0x1122334455667788;
  EncodeNumber(golden.key, kNumber, &golden.value);
  golden.decode = [](std::string_view key, std::string_view value) {
    return DecodeNumber(key, value).status();
  };
  golden.says_the_same = [key = golden.key](std::string_view value) {
    const absl::StatusOr<uint64_t> number = DecodeNumber(key, value);
    return number.ok() && *number == kNumber;
  };
  return golden;
}

GoldenValue HistoryValue() {
  GoldenValue golden{"history", std::string(kHistoryKey)};
  const HistoryId history = SessionNamed(0x5a).bytes;
  EncodeHistory(golden.key, history, &golden.value);
  golden.decode = [](std::string_view key, std::string_view value) {
    return DecodeHistory(key, value).status();
  };
  golden.says_the_same = [key = golden.key, history](std::string_view value) {
    const absl::StatusOr<HistoryId> decoded = DecodeHistory(key, value);
    return decoded.ok() && *decoded == history;
  };
  return golden;
}

}  // namespace

namespace {

GoldenValue Since(int format, uint32_t newest_version, GoldenValue golden) {
  golden.format = format;
  golden.newest_version = newest_version;
  return golden;
}

GoldenValue DefinitionValue(int format, const std::string& name,
                            const NormalizerDefinition& definition) {
  return Since(format, 2,
               ValueOf(name, DefinitionKey(definition.id), definition,
                       DecodeDefinition));
}

GoldenValue StateValue(int format, const std::string& name,
                       const NormalizerState& state) {
  return Since(format, 2,
               ValueOf(name, StateKey(state.id), state, DecodeState));
}

GoldenValue SnapshotValue(int format, const std::string& name,
                          const SnapshotRecord& snapshot) {
  return Since(format, 1,
               ValueOf(name, SnapshotKey(snapshot.normalizer_id(), snapshot.id),
                       snapshot, DecodeSnapshot));
}

}  // namespace

std::vector<GoldenValue> GoldenValues() {
  return {
      DefinitionValue(1, "definition", DefinitionOf("layer3", 3)),
      DefinitionValue(1, "definition_plain", PlainDefinition()),
      DefinitionValue(2, "definition_window", DefinitionOfKind("w", kFading)),
      DefinitionValue(2, "definition_mean", DefinitionOfKind("m", kMeanOnly)),
      StateValue(1, "state", PlainState("layer3")),
      StateValue(1, "state_counts", StateWithCounts()),
      StateValue(2, "state_window", StateOfKind("w", kFading)),
      StateValue(2, "state_mean", StateOfKind("m", kMeanOnly)),
      StateValue(2, "state_window_mean", StateOfKind("x", kFadingMean)),
      SnapshotValue(2, "snapshot",
                    SnapshotOf("layer3", "epoch.1", PlainState("layer3"))),
      SnapshotValue(
          2, "snapshot_window_mean",
          SnapshotOf("x", "y", StateOfKind("x", kFadingMean), kFadingMean)),
      ValueOf("session", SessionKey(SessionNamed(1)), SessionOf(1, 9),
              DecodeSession),
      ValueOf("ledger", LedgerKey("layer3", SessionNamed(0xa5)), FullLedger(),
              DecodeLedger),
      ValueOf("ledger_empty", LedgerKey("a", SessionId()), EmptyLedger(),
              DecodeLedger),
      NumberValue(),
      HistoryValue(),
  };
}

CommitBatch GoldenFormat2Batch() {
  CommitBatch batch;
  batch.definitions = {DefinitionOfKind("w", kFading),
                       DefinitionOfKind("m", kMeanOnly)};
  batch.states = {StateOfKind("w", kFading), StateOfKind("m", kMeanOnly)};
  for (NormalizerState& state : batch.states) state.base_rows = 10;
  const auto snapshot = [&](const std::string& id, const MomentsKind& kind) {
    batch.snapshots.push_back(std::make_shared<const SnapshotRecord>(
        SnapshotOf(id, "epoch.1", StateOfKind(id, kind), kind)));
  };
  snapshot("m", kMeanOnly);
  snapshot("w", kFading);
  return batch;
}

CommitBatch GoldenTableBatch() {
  CommitBatch batch;
  batch.definitions = {DefinitionOf("layer3", 3)};
  batch.states = {PlainState("layer3")};  // 3 base rows + 7
  batch.sessions = {SessionOf(0xa5, 2)};
  batch.ledgers = {FullLedger()};
  batch.next_generation = 5;
  return batch;
}

CommitBatch GoldenLogBatch() {
  CommitBatch batch;
  batch.definitions = {DefinitionOf("gappy.state", 3)};
  batch.states = {StateWithCounts()};
  batch.states[0].base_rows = 10;
  return batch;
}

}  // namespace streamnorm
