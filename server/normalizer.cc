#include "server/normalizer.h"

#include <xxhash.h>

#include <algorithm>
#include <cassert>
#include <utility>

#include "absl/strings/str_cat.h"
#include "server/chosen_scaling.h"
#include "server/clock.h"
#include "server/errors.h"
#include "stats/fused_update.h"

namespace streamnorm {
namespace {

// What a request needs besides its arguments, kept per thread so that the
// steady state allocates nothing.
struct Workspace {
  Moments next;  // the moments after the update
  BatchExtremes extremes;
  ScalingTable scaling;
};

// Of a sequence number that no update took: a late one is a conflict.
constexpr uint32_t kSkippedFingerprint = 0xffffffff;

Workspace& ThreadWorkspace() {
  thread_local Workspace workspace;
  return workspace;
}

}  // namespace

uint64_t SchemaHash(uint64_t features, const std::vector<std::string>& names) {
  std::string schema = absl::StrCat(features);
  for (const std::string& name : names) {
    absl::StrAppend(&schema, ",", name.size(), ":", name);
  }
  return std::max<uint64_t>(1, XXH3_64bits(schema.data(), schema.size()));
}

Normalizer::Normalizer(NormalizerDefinition definition, NormalizerState state,
                       CommitQueue* queue)
    : id_(definition.id),
      features_(definition.features),
      kind_(definition.kind),
      schema_hash_(SchemaHash(definition.features, definition.feature_names)),
      queue_(queue),
      definition_(std::move(definition)),
      state_(std::move(state)),
      durable_generation_(state_.generation) {
  assert(state_.moments.features() == features_);
  assert(state_.moments.kind() == kind_);
}

void Normalizer::RestoreLedger(const LedgerRecord& record,
                               const std::shared_ptr<Session>& session) {
  MutexLock lock(&mu_);
  if (session == nullptr) {
    state_.base_rows += record.rows;
    dropped_ledgers_.push_back(record.session);
    return MarkDirty();
  }
  session->RestoreLedger(id_);
  LedgerEntry& entry = ledgers_[record.session];
  entry.ledger = Ledger(record);
  entry.session = session;
}

void Normalizer::MarkCreated() {
  MutexLock lock(&mu_);
  definition_dirty_ = true;
  durable_generation_ = 0;
  MarkDirty();
}

absl::StatusOr<NormalizeOutcome> Normalizer::Normalize(
    const NormalizeCall& call, uint8_t* output) {
  Workspace& w = ThreadWorkspace();
  NormalizeOutcome outcome;
  NonfinitePolicies policies;
  bool counted = false;
  {
    MutexLock lock(&mu_);
    policies = definition_.nonfinite;
    const auto admission = Check(call);
    if (!admission.ok()) return admission.status();
    Prepared prepared;
    if (auto s = Prepare(call, *admission, output, &prepared); !s.ok()) {
      return s;
    }
    if (auto s = Audit(call.source, *admission, w.next); !s.ok()) return s;
    if (auto s = OpenLedger(call.source, *admission); !s.ok()) return s;
    const uint64_t rows = Accept(call.source, *admission, &w.next);
    outcome.update = Outcome(call.source, *admission, rows);
    outcome.update.warming_up =
        prepared.warming_up.value_or(outcome.update.warming_up);
    outcome.clipped_values = prepared.clipped_values;
    if (prepared.answered) return outcome;
    counted = *admission == Admission::kCount;
    if (counted) outcome.nonfinite_values = w.extremes.nonfinite_values;
  }
  if (output == nullptr) return outcome;
  if (counted && outcome.nonfinite_values == 0) {
    outcome.clipped_values = ApplyCounted(call.input, w.scaling, output);
    return outcome;
  }
  const ApplyResult applied = Apply(call.input, w.scaling, policies, output);
  if (auto s = CheckValues(applied.problem, call.input, id_); !s.ok()) return s;
  outcome.nonfinite_values = applied.nonfinite_values;
  outcome.clipped_values = applied.clipped_values;
  return outcome;
}

absl::StatusOr<Normalizer::Admission> Normalizer::Check(
    const NormalizeCall& call) const {
  if (auto s = CheckUsable(call.schema_hash); !s.ok()) return s;
  if (call.mode == Mode::kNormalizeOnly) return Admission::kRead;
  return Admit(call.source);
}

absl::Status Normalizer::Prepare(const NormalizeCall& call, Admission admission,
                                 uint8_t* output, Prepared* prepared) const {
  prepared->answered =
      FoldAndAnswer(call, admission, output, &prepared->clipped_values);
  if (prepared->answered) {
    prepared->warming_up = false;
    return absl::OkStatus();
  }
  if (auto s = FoldBatch(call, admission); !s.ok()) return s;
  if (output == nullptr) return absl::OkStatus();
  return PrepareOutput(call, admission, output,
                       &prepared->warming_up.emplace());
}

bool Normalizer::FoldAndAnswer(const NormalizeCall& call, Admission admission,
                               uint8_t* output, uint64_t* clipped) const {
  if (admission != Admission::kCount || output == nullptr) return false;
  const Moments& before = state_.moments;
  const bool after = call.mode == Mode::kUpdateThenNormalize;
  const uint64_t rows = before.row_count() + (after ? call.input.rows : 0);
  if (rows < definition_.warm_up.minimum_rows ||
      !CheckRowCount("", before.row_count(), call.input.rows, id_).ok()) {
    return false;
  }
  return FoldAndNormalize(call.input, definition_.scaling,
                          after ? Basis::kAfter : Basis::kBefore, before,
                          &ThreadWorkspace().next, output, clipped);
}

absl::Status Normalizer::FoldBatch(const NormalizeCall& call,
                                   Admission admission) const {
  if (admission != Admission::kCount) return absl::OkStatus();
  if (auto s = CheckRowCount("input.shape[0]", state_.moments.row_count(),
                             call.input.rows, id_);
      !s.ok()) {
    return s;
  }
  Workspace& w = ThreadWorkspace();
  const ValueProblem problem = FoldOnto(call.input, definition_.nonfinite,
                                        state_.moments, &w.next, &w.extremes);
  return CheckValues(problem, call.input, id_);
}

absl::Status Normalizer::PrepareOutput(const NormalizeCall& call,
                                       Admission admission, uint8_t* output,
                                       bool* warming_up) const {
  Workspace& w = ThreadWorkspace();
  const bool count = admission == Admission::kCount;
  const bool after = count && call.mode == Mode::kUpdateThenNormalize;
  if (auto s = ChooseScaling(definition_, after ? w.next : state_.moments,
                             {.rows = &call.input}, &w.scaling, warming_up);
      !s.ok()) {
    return s;
  }
  if (count) {
    const auto feature =
        FindOutputOverflow(w.extremes, w.scaling, call.input.type);
    if (feature) return OutputOverflow(*feature, call.input.type, id_);
  }
  if (admission == Admission::kConsume) {
    // Nothing may fail any more once the sequence is used up.
    const ApplyResult trial =
        Apply(call.input, w.scaling, definition_.nonfinite, output);
    return CheckValues(trial.problem, call.input, id_);
  }
  return absl::OkStatus();
}

absl::StatusOr<UpdateOutcome> Normalizer::MergeMoments(
    const MergeCall& call, const MergedStatistics* statistics) {
  Workspace& w = ThreadWorkspace();
  MutexLock lock(&mu_);
  if (auto s = CheckUsable(call.schema_hash); !s.ok()) return s;
  if (auto s = CheckExtremesGiven(call.moments, definition_.scaling, id_);
      !s.ok()) {
    return s;
  }
  const auto admission = Admit(call.source);
  if (!admission.ok()) return admission.status();
  if (auto s = Merge(call, *admission); !s.ok()) return s;
  bool warming_up = false;
  if (statistics != nullptr) {
    auto s = WriteStatistics(call, *admission, *statistics, &warming_up);
    if (!s.ok()) return s;
  }
  if (auto s = Audit(call.source, *admission, w.next); !s.ok()) return s;
  if (auto s = OpenLedger(call.source, *admission); !s.ok()) return s;
  const uint64_t counted = Accept(call.source, *admission, &w.next);
  UpdateOutcome outcome = Outcome(call.source, *admission, counted);
  if (statistics != nullptr) outcome.warming_up = warming_up;
  return outcome;
}

absl::Status Normalizer::Merge(const MergeCall& call,
                               Admission admission) const {
  if (admission != Admission::kCount) return absl::OkStatus();
  if (auto s = CheckRowCount("count", state_.moments.row_count(),
                             call.moments.rows, id_);
      !s.ok()) {
    return s;
  }
  size_t feature = 0;
  if (MergeOnto(call.moments, state_.moments, &ThreadWorkspace().next,
                &feature)) {
    return absl::OkStatus();
  }
  return StateOverflow(feature, id_);
}

absl::Status Normalizer::WriteStatistics(const MergeCall& call,
                                         Admission admission,
                                         const MergedStatistics& statistics,
                                         bool* warming_up) const {
  Workspace& w = ThreadWorkspace();
  const bool after = admission == Admission::kCount && !call.before;
  const Moments& basis = after ? w.next : state_.moments;
  *warming_up = basis.row_count() < definition_.warm_up.minimum_rows;
  if (!*warming_up) {
    ScaleAndWrite(definition_.scaling, basis, &w.scaling, statistics);
    return absl::OkStatus();
  }
  if (auto s = ChooseScaling(definition_, basis, {.moments = &call.moments},
                             &w.scaling, warming_up);
      !s.ok()) {
    return s;
  }
  streamnorm::WriteStatistics(basis, w.scaling, statistics);
  return absl::OkStatus();
}

absl::StatusOr<NormalizeOutcome> Normalizer::Denormalize(
    const TensorView& input, uint64_t revision, uint64_t schema_hash,
    uint8_t* output) {
  Workspace& w = ThreadWorkspace();
  NormalizeOutcome outcome;
  NonfinitePolicies policies;
  {
    MutexLock lock(&mu_);
    if (auto s = CheckUsable(schema_hash); !s.ok()) return s;
    if (auto s = CheckRevision(revision); !s.ok()) return s;
    bool warming_up = false;
    if (auto s = ChooseScaling(definition_, state_.moments, {}, &w.scaling,
                               &warming_up);
        !s.ok()) {
      return s;
    }
    policies = definition_.nonfinite;
    outcome.update = Outcome({}, Admission::kRead, 0);
  }
  const ApplyResult applied = ApplyInverse(input, w.scaling, policies, output);
  if (auto s = CheckValues(applied.problem, input, id_); !s.ok()) return s;
  outcome.clipped_values = applied.clipped_values;
  return outcome;
}

void Normalizer::Read(const Reader& read) const {
  MutexLock lock(&mu_);
  read(definition_, state_);
}

absl::Status Normalizer::UpdateDefinition(int64_t expected_change_time_us,
                                          const Change& change) {
  MutexLock lock(&mu_);
  if (auto s = CheckUsable(0); !s.ok()) return s;
  if (auto s = CheckUnchanged(expected_change_time_us); !s.ok()) return s;
  NormalizerDefinition changed = definition_;
  if (auto s = change(&changed); !s.ok()) return s;
  if (changed == definition_) return absl::OkStatus();
  // Never the same twice: it is what the etag is made of.
  changed.change_time_us =
      std::max(NowMicros(), definition_.change_time_us + 1);
  definition_ = std::move(changed);
  definition_dirty_ = true;
  MarkDirty();
  return absl::OkStatus();
}

absl::Status Normalizer::Reset(int64_t expected_change_time_us,
                               uint64_t generation) {
  MutexLock lock(&mu_);
  if (auto s = CheckUsable(0); !s.ok()) return s;
  if (auto s = CheckUnchanged(expected_change_time_us); !s.ok()) return s;
  if (definition_.frozen) return FrozenError(id_);
  state_.moments.Clear();
  state_.generation = generation;
  state_.base_rows = 0;
  ++state_.revision;
  state_.update_time_us = NowMicros();
  for (auto& [session, entry] : ledgers_) {
    entry.ledger.ForgetRows();
    MarkDirty(session, &entry);
  }
  MarkDirty();
  return absl::OkStatus();
}

void Normalizer::RestoreSnapshots(const std::vector<SharedSnapshot>& snapshots,
                                  const std::vector<DamagedSnapshot>& damaged) {
  MutexLock lock(&mu_);
  snapshots_.Restore(snapshots, damaged);
}

absl::StatusOr<SharedSnapshot> Normalizer::CreateSnapshot(
    const std::string& snapshot, uint64_t revision, uint64_t max_snapshots) {
  MutexLock lock(&mu_);
  if (auto s = CheckUsable(0); !s.ok()) return s;
  if (auto s = CheckRevision(revision); !s.ok()) return s;
  const auto created =
      snapshots_.Create(snapshot, definition_, state_, max_snapshots);
  if (created.ok()) MarkDirty();
  return created;
}

absl::StatusOr<SharedSnapshot> Normalizer::FindSnapshot(
    const std::string& snapshot, uint64_t schema_hash) const {
  MutexLock lock(&mu_);
  if (auto s = CheckUsable(schema_hash); !s.ok()) return s;
  return snapshots_.Find(id_, snapshot);
}

std::vector<SharedSnapshot> Normalizer::ListSnapshots(absl::string_view after,
                                                      size_t limit) const {
  MutexLock lock(&mu_);
  return snapshots_.List(after, limit);
}

absl::StatusOr<SharedSnapshot> Normalizer::DeleteSnapshot(
    const std::string& snapshot) {
  MutexLock lock(&mu_);
  if (auto s = CheckUsable(0); !s.ok()) return s;
  auto deleted = snapshots_.Delete(id_, snapshot);
  if (deleted.ok()) MarkDirty();
  return deleted;
}

absl::Status Normalizer::Retire(int64_t expected_change_time_us) {
  MutexLock lock(&mu_);
  if (auto s = CheckUsable(0); !s.ok()) return s;
  if (auto s = CheckUnchanged(expected_change_time_us); !s.ok()) return s;
  retired_ = true;
  queue_->DeleteNormalizer(id_);
  for (const auto& [id, entry] : ledgers_) entry.session->RemoveLedger(id_);
  ledgers_.clear();
  snapshots_.Retire();
  dirty_ledgers_.clear();
  dropped_ledgers_.clear();
  return absl::OkStatus();
}

std::optional<Progress> Normalizer::SessionProgress(
    const SessionId& session) const {
  MutexLock lock(&mu_);
  const auto it = ledgers_.find(session);
  if (retired_ || it == ledgers_.end()) return std::nullopt;
  const Ledger& ledger = it->second.ledger;
  return Progress{ledger.applied_sequence(), ledger.window(),
                  ledger.durable_sequence(), state_.generation, ledger.rows()};
}

absl::Status Normalizer::SkipSequences(const std::shared_ptr<Session>& session,
                                       uint64_t epoch,
                                       const std::vector<uint64_t>& sequences) {
  MutexLock lock(&mu_);
  if (auto s = CheckUsable(0); !s.ok()) return s;
  if (auto s = session->Use(epoch); !s.ok()) return s;
  const auto it = ledgers_.find(session->id());
  Ledger skipped = it == ledgers_.end() ? Ledger() : it->second.ledger;
  for (const uint64_t sequence : sequences) {
    switch (skipped.Check(sequence)) {
      case Ledger::Verdict::kOutOfWindow:
        return SequenceOutOfWindow(sequence, skipped.applied_sequence());
      case Ledger::Verdict::kCounted:
        break;
      case Ledger::Verdict::kNew:
        skipped.Count(sequence, epoch, kSkippedFingerprint, 0);
    }
  }
  if (sequences.empty()) return absl::OkStatus();
  UpdateSource source;
  source.session = session;
  source.id = {session->id(), epoch, 0, 0};
  if (auto s = OpenLedger(source, Admission::kConsume); !s.ok()) return s;
  LedgerEntry& entry = ledgers_[session->id()];
  entry.ledger = std::move(skipped);
  MarkDirty(session->id(), &entry);
  return absl::OkStatus();
}

void Normalizer::DropLedger(const SessionId& session) {
  MutexLock lock(&mu_);
  const auto it = ledgers_.find(session);
  if (it == ledgers_.end()) return;
  state_.base_rows += it->second.ledger.rows();
  it->second.session->RemoveLedger(id_);
  ledgers_.erase(it);
  std::erase(dirty_ledgers_, session);
  dropped_ledgers_.push_back(session);
  MarkDirty();
}

Normalizer::Watermarks Normalizer::Capture(CommitBatch* batch) {
  Watermarks watermarks;
  MutexLock lock(&mu_);
  dirty_ = false;
  if (retired_) return watermarks;
  if (definition_dirty_) batch->definitions.push_back(definition_);
  definition_dirty_ = false;
  batch->states.push_back(state_);
  watermarks.generation = state_.generation;
  for (const SessionId& session : dropped_ledgers_) {
    batch->deleted_ledgers.emplace_back(id_, session);
  }
  dropped_ledgers_.clear();
  for (const SessionId& session : dirty_ledgers_) {
    LedgerEntry& entry = ledgers_.at(session);
    entry.dirty = false;
    batch->ledgers.push_back(entry.ledger.ToRecord(id_, session));
    watermarks.sequences.emplace_back(session, entry.ledger.applied_sequence());
  }
  dirty_ledgers_.clear();
  snapshots_.Capture(id_, batch);
  return watermarks;
}

void Normalizer::PublishDurable(const Watermarks& watermarks) {
  MutexLock lock(&mu_);
  durable_generation_ = std::max(durable_generation_, watermarks.generation);
  for (const auto& [session, sequence] : watermarks.sequences) {
    const auto it = ledgers_.find(session);
    if (it == ledgers_.end()) continue;
#ifdef STREAMNORM_PLANT_WATERMARK_AFTER_SYNC
    it->second.ledger.PublishDurable(it->second.ledger.applied_sequence());
#endif
    it->second.ledger.PublishDurable(sequence);
  }
}

absl::Status Normalizer::CheckUsable(uint64_t schema_hash) const {
  if (retired_) return UnknownNormalizer(id_);
  if (schema_hash != 0 && schema_hash != schema_hash_) {
    return MakeError(
        Reason::kSchemaMismatch,
        absl::StrCat("schema_hash: ", schema_hash, ", want ", schema_hash_,
                     " (the features of ", NormalizerName(id_),
                     " are others or in another order than the client's)"));
  }
  return absl::OkStatus();
}

absl::Status Normalizer::CheckUnchanged(int64_t expected_change_time_us) const {
  if (expected_change_time_us == 0 ||
      expected_change_time_us == definition_.change_time_us) {
    return absl::OkStatus();
  }
  return MakeError(
      Reason::kStaleEtag,
      absl::StrCat("etag: not the current one of ", NormalizerName(id_),
                   "; get it again and look what changed"));
}

absl::Status Normalizer::CheckRevision(uint64_t revision) const {
  if (revision == 0 || revision == state_.revision) return absl::OkStatus();
  return MakeError(
      Reason::kRevisionNotKept,
      absl::StrCat("revision: ", revision, ", want ", state_.revision,
                   ", the current one of ", NormalizerName(id_)));
}

absl::StatusOr<Normalizer::Admission> Normalizer::Admit(
    const UpdateSource& source) const {
  const bool frozen = definition_.frozen;
  if (source.session == nullptr) {
    if (frozen && source.fail_if_frozen) return FrozenError(id_);
    return frozen ? Admission::kRead : Admission::kCount;
  }
  const UpdateId& id = source.id;
  // Under our lock, so that whoever raises the epoch or ends the session, and
  // then reads or drops the ledger, has seen the last update of before.
  if (auto s = source.session->Use(id.epoch); !s.ok()) return s;
  const auto it = ledgers_.find(id.session);
  static const Ledger kEmpty;
  const Ledger& ledger = it == ledgers_.end() ? kEmpty : it->second.ledger;
  switch (ledger.Check(id.sequence)) {
    case Ledger::Verdict::kCounted:
#ifdef STREAMNORM_PLANT_NO_DEDUPE
      return Admission::kCount;
#endif
      if (ledger.Conflicts(id.sequence, id.epoch, source.fingerprint)) {
        return SequenceConflict(id.sequence);
      }
      return Admission::kDuplicate;
    case Ledger::Verdict::kOutOfWindow:
      return SequenceOutOfWindow(id.sequence, ledger.applied_sequence());
    case Ledger::Verdict::kNew:
      break;
  }
  if (auto s = CheckGeneration(id); !s.ok()) return s;
  // Born before a reset: used up, never counted.
  if (id.generation != 0 && id.generation < state_.generation) {
    return Admission::kConsume;
  }
  if (frozen && source.fail_if_frozen) return FrozenError(id_);
  return frozen ? Admission::kConsume : Admission::kCount;
}

absl::Status Normalizer::CheckGeneration(const UpdateId& id) const {
  const bool unnamed = id.generation == 0 && id.sequence == 1;
  if (unnamed || (id.generation >= definition_.birth_generation &&
                  id.generation <= state_.generation)) {
    return absl::OkStatus();
  }
  return MakeError(
      Reason::kGenerationUnknown,
      absl::StrCat("update_id.generation: ", id.generation, ", want ",
                   state_.generation, ", Normalizer.generation of ",
                   NormalizerName(id_),
                   id.generation == 0
                       ? " (0 is for sequence 1 only)"
                       : "; the update was made for another normalizer of "
                         "that name, or for a store that lost it"));
}

absl::Status Normalizer::Audit(const UpdateSource& source, Admission admission,
                               const Moments& next) const {
  if (source.session == nullptr || source.rows_sent_total == 0 ||
      admission != Admission::kCount) {
    return absl::OkStatus();
  }
  const auto it = ledgers_.find(source.id.session);
  static const Ledger kEmpty;
  const Ledger& ledger = it == ledgers_.end() ? kEmpty : it->second.ledger;
  if (!ledger.EndsAt(source.id.sequence - 1)) return absl::OkStatus();
  const uint64_t rows =
      ledger.rows() + next.row_count() - state_.moments.row_count();
  if (source.rows_sent_total == rows) return absl::OkStatus();
  return RowsMismatch("rows_sent_total", source.rows_sent_total, rows, id_);
}

absl::Status Normalizer::CheckSentRows(const SessionId& session,
                                       const SentRows& sent) const {
  MutexLock lock(&mu_);
  const auto it = ledgers_.find(session);
  if (it == ledgers_.end() || sent.generation != state_.generation) {
    return absl::OkStatus();
  }
  const Ledger& ledger = it->second.ledger;
  if (!ledger.EndsAt(sent.sequence) || ledger.rows() == sent.rows) {
    return absl::OkStatus();
  }
  return RowsMismatch("sent.rows", sent.rows, ledger.rows(), id_);
}

absl::Status Normalizer::OpenLedger(const UpdateSource& source,
                                    Admission admission) {
  const bool uses_number =
      admission == Admission::kCount || admission == Admission::kConsume;
  if (source.session == nullptr || !uses_number ||
      ledgers_.contains(source.id.session)) {
    return absl::OkStatus();
  }
  if (auto s = source.session->AddLedger(id_, source.id.epoch); !s.ok()) {
    return s;
  }
  ledgers_[source.id.session].session = source.session;
  return absl::OkStatus();
}

uint64_t Normalizer::Accept(const UpdateSource& source, Admission admission,
                            Moments* next) {
  if (admission == Admission::kConsume) NoteSequence(source, 0);
  if (admission != Admission::kCount) return 0;
  const uint64_t rows = next->row_count() - state_.moments.row_count();
  std::swap(state_.moments, *next);
  ++state_.revision;
  state_.update_time_us = NowMicros();
  if (source.session == nullptr) {
    state_.base_rows += rows;
    MarkDirty();
  } else {
    NoteSequence(source, rows);
  }
  return rows;
}

void Normalizer::NoteSequence(const UpdateSource& source, uint64_t rows) {
  LedgerEntry& entry = ledgers_[source.id.session];
#ifdef STREAMNORM_PLANT_NO_DEDUPE
  if (entry.ledger.Check(source.id.sequence) == Ledger::Verdict::kCounted) {
    return MarkDirty();
  }
#endif
  entry.ledger.Count(source.id.sequence, source.id.epoch, source.fingerprint,
                     rows);
  MarkDirty(source.id.session, &entry);
}

void Normalizer::MarkDirty(const SessionId& session, LedgerEntry* entry) {
  if (!entry->dirty) dirty_ledgers_.push_back(session);
  entry->dirty = true;
  MarkDirty();
}

void Normalizer::MarkDirty() {
  if (dirty_) return;
  dirty_ = true;
  queue_->AddNormalizer(shared_from_this());
}

UpdateOutcome Normalizer::Outcome(const UpdateSource& source,
                                  Admission admission,
                                  uint64_t counted_rows) const {
  UpdateOutcome outcome;
  outcome.revision = state_.revision;
  outcome.row_count = state_.moments.row_count();
  outcome.generation = state_.generation;
  outcome.generation_durable = durable_generation_ == state_.generation;
  outcome.counted_rows = counted_rows;
  outcome.duplicate = admission == Admission::kDuplicate;
  outcome.frozen = definition_.frozen;
  outcome.warming_up = outcome.row_count < definition_.warm_up.minimum_rows;
  if (source.session != nullptr) {
    const auto it = ledgers_.find(source.id.session);
    if (it != ledgers_.end()) {
      outcome.durable_sequence = it->second.ledger.durable_sequence();
#ifdef STREAMNORM_PLANT_WATERMARK_IS_APPLIED
      outcome.durable_sequence = it->second.ledger.applied_sequence();
#endif
    }
  }
  return outcome;
}

}  // namespace streamnorm
