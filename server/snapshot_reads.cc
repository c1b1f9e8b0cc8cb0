#include "server/snapshot_reads.h"

#include "absl/strings/str_cat.h"
#include "server/chosen_scaling.h"
#include "server/errors.h"
#include "stats/scaling.h"

namespace streamnorm {
namespace {

ScalingTable& ThreadTable() {
  thread_local ScalingTable table;
  return table;
}

NormalizeOutcome OutcomeOf(const SnapshotRecord& snapshot) {
  NormalizeOutcome outcome;
  outcome.update.revision = snapshot.state.revision;
  outcome.update.row_count = snapshot.state.moments.row_count();
  outcome.update.generation = snapshot.state.generation;
  return outcome;
}

}  // namespace

absl::StatusOr<NormalizeOutcome> NormalizeWith(const SnapshotRecord& snapshot,
                                               const TensorView& input,
                                               uint8_t* output) {
  const NormalizerDefinition& definition = snapshot.definition;
  ScalingTable& table = ThreadTable();
  NormalizeOutcome outcome = OutcomeOf(snapshot);
  if (auto s =
          ChooseScaling(definition, snapshot.state.moments, {.rows = &input},
                        &table, &outcome.update.warming_up);
      !s.ok()) {
    return s;
  }
  const ApplyResult applied = Apply(input, table, definition.nonfinite, output);
  if (auto s = CheckValues(applied.problem, input, definition.id); !s.ok()) {
    return s;
  }
  outcome.nonfinite_values = applied.nonfinite_values;
  outcome.clipped_values = applied.clipped_values;
  return outcome;
}

absl::StatusOr<NormalizeOutcome> DenormalizeWith(const SnapshotRecord& snapshot,
                                                 const TensorView& input,
                                                 uint64_t revision,
                                                 uint8_t* output) {
  const NormalizerDefinition& definition = snapshot.definition;
  if (revision != 0 && revision != snapshot.state.revision) {
    return MakeError(
        Reason::kRevisionNotKept,
        absl::StrCat("revision: ", revision, ", want ", snapshot.state.revision,
                     ", that of ", SnapshotName(definition.id, snapshot.id)));
  }
  ScalingTable& table = ThreadTable();
  NormalizeOutcome outcome = OutcomeOf(snapshot);
  if (auto s = ChooseScaling(definition, snapshot.state.moments, {}, &table,
                             &outcome.update.warming_up);
      !s.ok()) {
    return s;
  }
  const ApplyResult applied =
      ApplyInverse(input, table, definition.nonfinite, output);
  if (auto s = CheckValues(applied.problem, input, definition.id); !s.ok()) {
    return s;
  }
  outcome.clipped_values = applied.clipped_values;
  return outcome;
}

}  // namespace streamnorm
