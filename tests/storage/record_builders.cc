#include "tests/storage/record_builders.h"

#include <algorithm>
#include <cassert>
#include <cstring>
#include <limits>
#include <random>
#include <span>
#include <vector>

#include "stats/moments.h"
#include "stats/tensor_view.h"

namespace streamnorm {
namespace {

std::vector<double> Numbers(size_t count, bool skipped) {
  std::mt19937_64 random(count);
  std::normal_distribution<double> normal(1e6, 3.0);
  std::vector<double> numbers(count);
  for (double& x : numbers) {
    x = normal(random);
    if (!skipped) continue;
    const uint64_t dice = random() % 6;
    if (dice == 0) x = std::numeric_limits<double>::quiet_NaN();
    if (dice == 1) x = std::numeric_limits<double>::infinity();
  }
  return numbers;
}

bool SameBytes(std::span<const double> a, std::span<const double> b) {
  return a.size() == b.size() &&
         std::memcmp(a.data(), b.data(), a.size_bytes()) == 0;
}

bool SameMoments(const Moments& a, const Moments& b) {
  return a.row_count() == b.row_count() && a.kind() == b.kind() &&
         SameBytes(a.mean(), b.mean()) &&
         SameBytes(a.mean_tail(), b.mean_tail()) && SameBytes(a.m2(), b.m2()) &&
         SameBytes(a.m2_tail(), b.m2_tail()) &&
         SameBytes(a.minimum(), b.minimum()) &&
         SameBytes(a.maximum(), b.maximum()) &&
         a.feature_counts() == b.feature_counts() &&
         a.missing_counts() == b.missing_counts() &&
         a.infinite_counts() == b.infinite_counts();
}

}  // namespace

SessionId SessionNamed(uint8_t byte) {
  SessionId session;
  session.bytes.fill(byte);
  return session;
}

NormalizerDefinition DefinitionOf(const std::string& id, uint64_t features) {
  NormalizerDefinition definition;
  definition.id = id;
  definition.features = features;
  for (uint64_t j = 0; j < features; ++j) {
    definition.feature_names.push_back("feature " + std::to_string(j));
  }
  definition.scaling_preset = "vecnormalize";
  definition.scaling = {
      ScalingMethod::kMinMax, EpsilonMode::kInsideSqrt, 1e-8, 10, false, false};
  definition.nonfinite = {NonfinitePolicy::kReject, NonfinitePolicy::kSkip};
  definition.warm_up = {32, WarmUpAnswer::kPrior, {{0.5}, {2.0}, 16}};
  definition.labels = {{"owner", "vision"}, {"stage", ""}};
  definition.frozen = true;
  definition.birth_generation = 3;
  definition.create_time_us = 1'700'000'000'000'000;
  definition.change_time_us = -1;
  return definition;
}

NormalizerState StateOf(const std::string& id, size_t features, size_t rows,
                        bool skipped) {
  NormalizerState state;
  state.id = id;
  state.generation = 4;
  state.revision = 17;
  state.base_rows = rows;
  state.update_time_us = 1'700'000'000'000'001;
  state.moments = Moments(features);
  const std::vector<double> numbers = Numbers(rows * features, skipped);
  TensorView batch;
  batch.type = DataType::kFp64;
  batch.rows = rows;
  batch.features = features;
  batch.data = reinterpret_cast<const uint8_t*>(numbers.data());
  BatchExtremes extremes;
  const NonfinitePolicies skip_all = {NonfinitePolicy::kSkip,
                                      NonfinitePolicy::kSkip};
  const ValueProblem problem = Fold(batch, skip_all, &state.moments, &extremes);
  if (problem.kind != ValueProblem::kNone) assert(false);
  return state;
}

SessionRecord SessionOf(uint8_t byte, uint64_t epoch) {
  return {SessionNamed(byte), epoch, "worker " + std::to_string(byte), 5};
}

LedgerRecord LedgerOf(const std::string& id, uint8_t session, uint64_t rows) {
  LedgerRecord ledger;
  ledger.normalizer_id = id;
  ledger.session = SessionNamed(session);
  ledger.rows = rows;
  ledger.applied_sequence = rows < 2 ? rows : rows - 1;
  if (rows >= 2) ledger.window.set(1);
  return ledger;
}

CommitBatch BatchOf(const std::string& id, uint8_t session, uint64_t rows) {
  CommitBatch batch;
  batch.definitions.push_back(DefinitionOf(id, 2));
  batch.states.push_back(StateOf(id, 2, rows));
  batch.states.back().base_rows = 0;
  batch.sessions.push_back(SessionOf(session));
  batch.ledgers.push_back(LedgerOf(id, session, rows));
  return batch;
}

SnapshotRecord SnapshotOf(const std::string& id, const std::string& snapshot,
                          const NormalizerState& state,
                          const MomentsKind& kind) {
  SnapshotRecord record{snapshot, 1'700'000'000'000'002,
                        DefinitionOf(id, state.moments.features()), state};
  record.definition.feature_names.clear();
  record.definition.labels.clear();
  record.definition.kind = kind;
  if (!kind.plain()) {
    record.definition.scaling.method = ScalingMethod::kStandard;
  }
  return record;
}

bool SameSnapshot(const SnapshotRecord& a, const SnapshotRecord& b) {
  return a.id == b.id && a.create_time_us == b.create_time_us &&
         a.definition == b.definition && SameState(a.state, b.state);
}

bool SameState(const NormalizerState& a, const NormalizerState& b) {
  return a.id == b.id && a.generation == b.generation &&
         a.revision == b.revision && a.base_rows == b.base_rows &&
         a.update_time_us == b.update_time_us &&
         SameMoments(a.moments, b.moments);
}

const StoreContents::Normalizer* Find(const StoreContents& contents,
                                      const std::string& id) {
  const auto found = std::find_if(
      contents.normalizers.begin(), contents.normalizers.end(),
      [&](const auto& normalizer) { return normalizer.definition.id == id; });
  return found == contents.normalizers.end() ? nullptr : &*found;
}

}  // namespace streamnorm
