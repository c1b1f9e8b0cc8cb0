#include "server/handler.h"

#include <xxhash.h>

#include <algorithm>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "server/barrier_token.h"
#include "server/errors.h"
#include "server/validation.h"
#include "server/wire.h"

namespace streamnorm {
namespace {

// A payload's fingerprint tells a retry from another update under the same
// sequence number. Of a large one, head and tail must do: what it catches is a
// client's mistake in numbering, not a forgery.
uint32_t Fingerprint(std::initializer_list<absl::string_view> parts) {
  constexpr size_t kHashed = size_t{32} << 10;
  XXH64_hash_t hash = 0;
  for (const absl::string_view part : parts) {
    const size_t head = std::min(part.size(), kHashed);
    const size_t tail = std::min(part.size() - head, kHashed);
    hash = XXH3_64bits_withSeed(part.data(), head, hash + part.size());
    hash = XXH3_64bits_withSeed(part.data() + part.size() - tail, tail, hash);
  }
  return std::max<uint32_t>(1, static_cast<uint32_t>(hash));
}

uint32_t FingerprintOf(const v1::NormalizeRequest& request) {
  const auto& values = request.input().values();
  return Fingerprint({request.input().data(),
                      {reinterpret_cast<const char*>(values.data()),
                       static_cast<size_t>(values.size()) * sizeof(double)}});
}

uint32_t FingerprintOf(const v1::MergeMomentsRequest& request) {
  const uint64_t count = request.count();
  return Fingerprint({request.mean(),
                      request.m2(),
                      request.feature_counts(),
                      request.minimum(),
                      request.maximum(),
                      {reinterpret_cast<const char*>(&count), sizeof(count)}});
}

template <typename Id>
std::string IdBytes(const Id& id) {
  return {reinterpret_cast<const char*>(id.data()), id.size()};
}

void Describe(const Normalizer& normalizer, bool with_feature_names,
              v1::Normalizer* response) {
  normalizer.Read([&](const NormalizerDefinition& definition,
                      const NormalizerState& state) {
    ToProto(definition, state, with_feature_names, response);
  });
}

}  // namespace

Handler::Handler(const Options& options, Registry* registry,
                 SessionTable* sessions, CommitQueue* queue,
                 const Committer* committer)
    : options_(options),
      registry_(registry),
      sessions_(sessions),
      queue_(queue),
      committer_(committer) {}

// The data path.

void Handler::Normalize(const v1::NormalizeRequest& request,
                        v1::NormalizeResponse* response, Done done) {
  NormalizeCall call;
  const auto mode = ParseMode(request.mode());
  if (!mode.ok()) return done(mode.status());
  call.mode = *mode;
  const bool updates = call.mode != Mode::kNormalizeOnly;
  if (updates) {
    auto source = ParseSource(request.has_update_id(), request.update_id(),
                              request.fail_if_frozen());
    if (!source.ok()) return done(source.status());
    call.source = *std::move(source);
    call.source.fingerprint = FingerprintOf(request);
  }
  call.schema_hash = request.schema_hash();
  auto normalizer = Find(request.name());
  if (absl::IsNotFound(normalizer.status()) && options_.auto_create &&
      updates) {
    normalizer = AutoCreate(request, call);
  }
  if (!normalizer.ok()) return done(normalizer.status());
  std::vector<double> values_in, values_out;
  const auto input = ParseTensor(request.input(), (*normalizer)->features(),
                                 (*normalizer)->id(), &values_in);
  if (!input.ok()) return done(input.status());
  call.input = *input;
  uint8_t* output = nullptr;
  if (call.mode != Mode::kUpdateOnly) {
    output = PrepareOutput(request.input(), call.input, &values_out,
                           response->mutable_output());
  }
  const auto outcome = (*normalizer)->Normalize(call, output);
  if (!outcome.ok()) return done(outcome.status());

  if (!values_out.empty()) {
    FinishOutput(values_out, response->mutable_output());
  }
  FillUpdate(outcome->update, response);
  response->set_nonfinite_values(outcome->nonfinite_values);
  response->set_clipped_values(outcome->clipped_values);
  if (!updates) return done(absl::OkStatus());
  FinishUpdate(*normalizer, call.source, request.wait_durable(), response,
               std::move(done));
}

void Handler::MergeMoments(const v1::MergeMomentsRequest& request,
                           v1::MergeMomentsResponse* response, Done done) {
  const auto mode = ParseMode(request.mode());
  if (!mode.ok()) return done(mode.status());
  if (*mode != Mode::kUpdateThenNormalize &&
      *mode != Mode::kNormalizeThenUpdate) {
    return done(InvalidField("mode", v1::Mode_Name(request.mode()),
                             "UPDATE_THEN_NORMALIZE (statistics after this "
                             "merge) or NORMALIZE_THEN_UPDATE (before)"));
  }
  auto source = ParseSource(request.has_update_id(), request.update_id(),
                            request.fail_if_frozen());
  if (!source.ok()) return done(source.status());
  source->fingerprint = FingerprintOf(request);
  const auto normalizer = Find(request.name());
  if (!normalizer.ok()) return done(normalizer.status());
  const auto moments =
      ParseMoments(request, (*normalizer)->features(), (*normalizer)->id());
  if (!moments.ok()) return done(moments.status());

  MergeCall call;
  call.moments = &*moments;
  call.before = *mode == Mode::kNormalizeThenUpdate;
  call.source = *std::move(source);
  call.schema_hash = request.schema_hash();
  MergedStatistics statistics;
  const auto outcome =
      (*normalizer)
          ->MergeMoments(call,
                         request.return_statistics() ? &statistics : nullptr);
  if (!outcome.ok()) return done(outcome.status());
  FillUpdate(*outcome, response);
  if (request.return_statistics()) {
    response->set_mean(ToBytes(statistics.mean));
    response->set_variance(ToBytes(statistics.variance));
    response->set_offset(ToBytes(statistics.scaling.offset));
    response->set_scale(ToBytes(statistics.scaling.scale));
  }
  FinishUpdate(*normalizer, call.source, request.wait_durable(), response,
               std::move(done));
}

void Handler::Denormalize(const v1::DenormalizeRequest& request,
                          v1::DenormalizeResponse* response, Done done) {
  done(DoDenormalize(request, response));
}

absl::Status Handler::DoDenormalize(const v1::DenormalizeRequest& request,
                                    v1::DenormalizeResponse* response) const {
  const auto normalizer = Find(request.name());
  if (!normalizer.ok()) return normalizer.status();
  std::vector<double> values_in, values_out;
  const auto input = ParseTensor(request.input(), (*normalizer)->features(),
                                 (*normalizer)->id(), &values_in);
  if (!input.ok()) return input.status();
  uint8_t* output = PrepareOutput(request.input(), *input, &values_out,
                                  response->mutable_output());
  const auto outcome = (*normalizer)
                           ->Denormalize(*input, request.revision(),
                                         request.schema_hash(), output);
  if (!outcome.ok()) return outcome.status();
  if (!values_out.empty()) {
    FinishOutput(values_out, response->mutable_output());
  }
  response->set_revision(outcome->update.revision);
  response->set_row_count(outcome->update.row_count);
  response->set_clipped_values(outcome->clipped_values);
  return absl::OkStatus();
}

absl::StatusOr<UpdateSource> Handler::ParseSource(bool has_id,
                                                  const v1::UpdateId& id,
                                                  bool fail_if_frozen) const {
  if (auto s = committer_->AcceptingUpdates(); !s.ok()) return s;
  UpdateSource source;
  source.fail_if_frozen = fail_if_frozen;
  if (!has_id) return source;
  const auto parsed = ParseUpdateId(id);
  if (!parsed.ok()) return parsed.status();
  auto session = sessions_->Find(parsed->session);
  if (!session.ok()) return session.status();
  source.id = *parsed;
  source.session = *std::move(session);
  return source;
}

absl::StatusOr<Handler::NormalizerPtr> Handler::AutoCreate(
    const v1::NormalizeRequest& request, NormalizeCall call) {
  const auto id = ParseName("name", request.name());
  if (!id.ok()) return id.status();
  const auto features = ParseFeatureCount(request.input());
  if (!features.ok()) return features.status();
  v1::CreateNormalizerRequest create;
  create.set_normalizer_id(*id);
  create.mutable_normalizer()->set_features(*features);
  const auto definition = ParseCreate(create, options_.limits);
  if (!definition.ok()) return definition.status();
  if (auto s = TryOnNew(*definition, request, std::move(call)); !s.ok()) {
    return s;
  }
  auto created = registry_->Create(*definition, /*validate_only=*/false);
  // Someone else may have been first.
  if (absl::IsAlreadyExists(created.status())) return Find(request.name());
  return created;
}

// A request that is going to be refused must not leave a normalizer behind, so
// it is made to one that nobody sees first.
absl::Status Handler::TryOnNew(const NormalizerDefinition& definition,
                               const v1::NormalizeRequest& request,
                               NormalizeCall call) const {
  NormalizerDefinition trial = definition;
  NormalizerState state;
  state.moments = Moments(trial.features);
  // No client names this generation.
  trial.birth_generation = state.generation = ~uint64_t{0};
  CommitQueue nowhere;
  const auto normalizer =
      std::make_shared<Normalizer>(std::move(trial), state, &nowhere);
  std::vector<double> values;
  const auto input =
      ParseTensor(request.input(), definition.features, definition.id, &values);
  if (!input.ok()) return input.status();
  call.input = *input;
  std::vector<uint8_t> output(
      call.mode == Mode::kUpdateOnly ? 0 : input->size_bytes());
  return normalizer->Normalize(call, output.empty() ? nullptr : output.data())
      .status();
}

template <typename Response>
void Handler::FillUpdate(const UpdateOutcome& outcome,
                         Response* response) const {
  response->set_revision(outcome.revision);
  response->set_row_count(outcome.row_count);
  response->set_counted_rows(outcome.counted_rows);
  response->set_duplicate(outcome.duplicate);
  response->set_durable_sequence(outcome.durable_sequence);
  response->set_generation(outcome.generation);
  response->set_incarnation(options_.incarnation);
  response->set_history_id(IdBytes(options_.history_id));
  response->set_warming_up(outcome.warming_up);
  response->set_frozen(outcome.frozen);
}

template <typename Response>
void Handler::FinishUpdate(const NormalizerPtr& normalizer,
                           const UpdateSource& source, bool wait_durable,
                           Response* response, Done done) {
  const bool has_session = source.session != nullptr;
  if (has_session && !wait_durable) return done(absl::OkStatus());
  // Without a session nobody else can bring the rows back, so the answer waits
  // for the disk.
  queue_->WhenDurable([normalizer, session = source.id.session, has_session,
                       response, done = std::move(done)](absl::Status status) {
    if (status.ok() && has_session) {
      response->set_durable_sequence(normalizer->DurableSequence(session));
    }
    done(std::move(status));
  });
}

// Statistics.

void Handler::GetStatistics(const v1::GetStatisticsRequest& request,
                            v1::Statistics* response, Done done) {
  done(DoGetStatistics(request, response));
}

absl::Status Handler::DoGetStatistics(const v1::GetStatisticsRequest& request,
                                      v1::Statistics* response) const {
  const auto normalizer = Find(request.name());
  if (!normalizer.ok()) return normalizer.status();
  if (!v1::GetStatisticsRequest::View_IsValid(request.view())) {
    return InvalidField("view", absl::StrCat(int{request.view()}),
                        "FEATURES or COLUMNS");
  }
  StatisticsView view;
  absl::Status status;
  (*normalizer)
      ->Read([&](const NormalizerDefinition& definition,
                 const NormalizerState& state) {
        auto selected = ParseSelection(request.selection(), definition);
        status = selected.status();
        if (!status.ok()) return;
        view.state = state;
        view.scaling = definition.scaling;
        view.minimum_rows = definition.warm_up.minimum_rows;
        view.selected = *std::move(selected);
        // Columns have no names: they are for a million features.
        if (request.view() == v1::GetStatisticsRequest::COLUMNS ||
            definition.feature_names.empty()) {
          return;
        }
        for (const size_t j : view.selected) {
          view.names.push_back(definition.feature_names[j]);
        }
      });
  if (!status.ok()) return status;
  if (status = ToProto(view, request.view(), request.read_mask(), response);
      !status.ok()) {
    return status;
  }
  const size_t size = response->ByteSizeLong();
  if (size <= options_.limits.max_message_bytes) return absl::OkStatus();
  return LimitExceeded(
      "answer", absl::StrCat(size, " bytes"),
      absl::StrCat("at most ", options_.limits.max_message_bytes,
                   "; ask for a range of features, or fewer fields in "
                   "read_mask"),
      "--max_message_bytes");
}

// Resources.

void Handler::CreateNormalizer(const v1::CreateNormalizerRequest& request,
                               v1::Normalizer* response, Done done) {
  auto created = DoCreate(request, response);
  if (created.ok() && request.validate_only()) return done(absl::OkStatus());
  AnswerWhenDurable(std::move(created), response, std::move(done));
}

absl::StatusOr<Handler::NormalizerPtr> Handler::DoCreate(
    const v1::CreateNormalizerRequest& request, v1::Normalizer* response) {
  if (auto s = committer_->AcceptingUpdates(); !s.ok()) return s;
  const auto definition = ParseCreate(request, options_.limits);
  if (!definition.ok()) return definition.status();
  auto created = registry_->Create(*definition, request.validate_only());
  if (created.ok() && request.validate_only()) {
    ToProto(*definition, NormalizerState(), /*with_feature_names=*/true,
            response);
    response->clear_create_time();
    response->clear_update_time();
    response->clear_etag();
  }
  return created;
}

void Handler::GetNormalizer(const v1::GetNormalizerRequest& request,
                            v1::Normalizer* response, Done done) {
  const auto normalizer = Find(request.name());
  if (normalizer.ok()) {
    Describe(**normalizer, /*with_feature_names=*/true, response);
  }
  done(normalizer.status());
}

void Handler::ListNormalizers(const v1::ListNormalizersRequest& request,
                              v1::ListNormalizersResponse* response,
                              Done done) {
  constexpr int32_t kDefaultPage = 100;
  constexpr int32_t kLargestPage = 1000;
  if (request.page_size() < 0) {
    return done(InvalidField("page_size", absl::StrCat(request.page_size()),
                             "0 to 1000"));
  }
  // The token is the name of the page's last normalizer.
  std::string after;
  if (!request.page_token().empty()) {
    const auto id = ParseName("page_token", request.page_token());
    if (!id.ok()) return done(id.status());
    after = *id;
  }
  const int32_t wanted =
      request.page_size() == 0 ? kDefaultPage : request.page_size();
  const auto size = static_cast<size_t>(std::min(wanted, kLargestPage));
  auto page = registry_->List(after, size + 1);
  const bool more = page.size() > size;
  if (more) page.pop_back();
  for (const NormalizerPtr& normalizer : page) {
    Describe(*normalizer, /*with_feature_names=*/false,
             response->add_normalizers());
  }
  if (more) response->set_next_page_token(NormalizerName(page.back()->id()));
  done(absl::OkStatus());
}

void Handler::UpdateNormalizer(const v1::UpdateNormalizerRequest& request,
                               v1::Normalizer* response, Done done) {
  AnswerWhenDurable(DoUpdate(request), response, std::move(done));
}

absl::StatusOr<Handler::NormalizerPtr> Handler::DoUpdate(
    const v1::UpdateNormalizerRequest& request) {
  if (auto s = committer_->AcceptingUpdates(); !s.ok()) return s;
  const v1::Normalizer& wanted = request.normalizer();
  const auto id = ParseName("normalizer.name", wanted.name());
  if (!id.ok()) return id.status();
  auto normalizer = registry_->Find(*id);
  if (!normalizer.ok()) return normalizer;
  std::vector<std::string> paths(request.update_mask().paths().begin(),
                                 request.update_mask().paths().end());
  if (paths.empty()) {
    if (!wanted.labels().empty()) paths.push_back("labels");
    if (wanted.has_scaling()) paths.push_back("scaling");
    if (wanted.has_nonfinite()) paths.push_back("nonfinite");
    if (wanted.has_warm_up()) paths.push_back("warm_up");
  }
  const auto change = [&](NormalizerDefinition* definition) {
    for (const std::string& path : paths) {
      if (auto s = ApplyChange(path, wanted, definition); !s.ok()) return s;
    }
    return absl::OkStatus();
  };
  auto s =
      (*normalizer)->UpdateDefinition(EtagChangeTime(wanted.etag()), change);
  if (!s.ok()) return s;
  return normalizer;
}

void Handler::DeleteNormalizer(const v1::DeleteNormalizerRequest& request,
                               google::protobuf::Empty*, Done done) {
  const absl::Status status = DoDelete(request);
  if (absl::IsNotFound(status) && request.allow_missing()) {
    return done(absl::OkStatus());
  }
  if (!status.ok()) return done(status);
  queue_->WhenDurable(std::move(done));
}

absl::Status Handler::DoDelete(const v1::DeleteNormalizerRequest& request) {
  if (auto s = committer_->AcceptingUpdates(); !s.ok()) return s;
  const auto id = ParseName("name", request.name());
  if (!id.ok()) return id.status();
  return registry_->Delete(*id, EtagChangeTime(request.etag()));
}

void Handler::ResetStatistics(const v1::ResetStatisticsRequest& request,
                              v1::Normalizer* response, Done done) {
  AnswerWhenDurable(DoReset(request), response, std::move(done));
}

absl::StatusOr<Handler::NormalizerPtr> Handler::DoReset(
    const v1::ResetStatisticsRequest& request) {
  if (auto s = committer_->AcceptingUpdates(); !s.ok()) return s;
  auto normalizer = Find(request.name());
  if (!normalizer.ok()) return normalizer;
  auto s =
      (*normalizer)
          ->Reset(EtagChangeTime(request.etag()), registry_->TakeGeneration());
  if (!s.ok()) return s;
  return normalizer;
}

void Handler::FreezeNormalizer(const v1::FreezeNormalizerRequest& request,
                               v1::Normalizer* response, Done done) {
  AnswerWhenDurable(SetFrozen(request.name(), true), response, std::move(done));
}

void Handler::UnfreezeNormalizer(const v1::UnfreezeNormalizerRequest& request,
                                 v1::Normalizer* response, Done done) {
  AnswerWhenDurable(SetFrozen(request.name(), false), response,
                    std::move(done));
}

absl::StatusOr<Handler::NormalizerPtr> Handler::SetFrozen(
    absl::string_view name, bool frozen) {
  if (auto s = committer_->AcceptingUpdates(); !s.ok()) return s;
  auto normalizer = Find(name);
  if (!normalizer.ok()) return normalizer;
  auto s =
      (*normalizer)->UpdateDefinition(0, [&](NormalizerDefinition* definition) {
        definition->frozen = frozen;
        return absl::OkStatus();
      });
  if (!s.ok()) return s;
  return normalizer;
}

absl::StatusOr<Handler::NormalizerPtr> Handler::Find(
    absl::string_view name) const {
  const auto id = ParseName("name", name);
  if (!id.ok()) return id.status();
  return registry_->Find(*id);
}

void Handler::AnswerWhenDurable(absl::StatusOr<NormalizerPtr> normalizer,
                                v1::Normalizer* response, Done done) {
  if (!normalizer.ok()) return done(normalizer.status());
  Describe(**normalizer, /*with_feature_names=*/true, response);
  queue_->WhenDurable(std::move(done));
}

// Sessions.

void Handler::OpenSession(const v1::OpenSessionRequest& request,
                          v1::OpenSessionResponse* response, Done done) {
  constexpr size_t kMaxClientBytes = 256;
  if (auto s = committer_->AcceptingUpdates(); !s.ok()) return done(s);
  if (request.client().size() > kMaxClientBytes) {
    return done(InvalidField("client",
                             absl::StrCat(request.client().size(), " bytes"),
                             absl::StrCat("at most ", kMaxClientBytes)));
  }
  const auto session = sessions_->Open(request.client());
  if (!session.ok()) return done(session.status());
  queue_->AddSession((*session)->ToRecord());
  response->set_session(IdBytes((*session)->id().bytes));
  response->set_epoch((*session)->epoch());
  response->set_history_id(IdBytes(options_.history_id));
  response->set_incarnation(options_.incarnation);
  queue_->WhenDurable(std::move(done));
}

void Handler::ResumeSession(const v1::ResumeSessionRequest& request,
                            v1::ResumeSessionResponse* response, Done done) {
  if (auto s = DoResume(request, response); !s.ok()) return done(s);
  queue_->WhenDurable(std::move(done));
}

absl::Status Handler::DoResume(const v1::ResumeSessionRequest& request,
                               v1::ResumeSessionResponse* response) {
  if (auto s = committer_->AcceptingUpdates(); !s.ok()) return s;
  BarrierToken token;
  if (!request.token().empty() && !request.session().empty()) {
    return InvalidField("token", "set beside session", "one of the two");
  }
  if (!request.token().empty()) {
    auto decoded = DecodeToken(request.token());
    if (!decoded.ok()) return decoded.status();
    token = *std::move(decoded);
    if (token.history_id != options_.history_id) {
      return MakeError(Reason::kHistoryLost,
                       "token: of another history, this store was restored "
                       "or lost data since; start the job from a checkpoint "
                       "made with this store");
    }
  } else {
    const auto id = ParseSessionId("session", request.session());
    if (!id.ok()) return id.status();
    token.session = *id;
  }
  const auto session = sessions_->Find(token.session);
  if (!session.ok()) return session.status();
  // The old epoch ends here; then the ledgers are read. See Normalizer::Admit.
  const auto record = (*session)->RaiseEpoch();
  if (!record.ok()) return record.status();
  queue_->AddSession(*record);
  response->set_session(IdBytes(token.session.bytes));
  response->set_epoch(record->epoch);
  response->set_history_id(IdBytes(options_.history_id));
  response->set_incarnation(options_.incarnation);
  for (const std::string& id : (*session)->normalizers()) {
    const auto normalizer = registry_->Find(id);
    if (!normalizer.ok()) continue;  // deleted, or not served
    const auto progress = (*normalizer)->SessionProgress(token.session);
    if (!progress) continue;
    auto* proto = response->add_progress();
    ToProto(id, *progress, proto);
    const auto at = token.sequences.find(id);
    if (at == token.sequences.end()) continue;
    proto->set_token_sequence(at->second);
    if (progress->applied_sequence < at->second) {
      return MakeError(
          Reason::kHistoryLost,
          absl::StrCat("token: knows ", NormalizerName(id), " up to sequence ",
                       at->second, ", this store up to ",
                       progress->applied_sequence));
    }
  }
  return absl::OkStatus();
}

absl::StatusOr<std::shared_ptr<Session>> Handler::FindSession(
    const std::string& session_bytes, uint64_t epoch) const {
  const auto id = ParseSessionId("session", session_bytes);
  if (!id.ok()) return id.status();
  auto session = sessions_->Find(*id);
  if (!session.ok()) return session;
  if ((*session)->epoch() != epoch) {
    return EpochFenced(epoch, (*session)->epoch());
  }
  return session;
}

void Handler::CloseSession(const v1::CloseSessionRequest& request,
                           google::protobuf::Empty*, Done done) {
  if (auto s = DoClose(request); !s.ok()) return done(s);
  queue_->WhenDurable(std::move(done));
}

absl::Status Handler::DoClose(const v1::CloseSessionRequest& request) {
  if (auto s = committer_->AcceptingUpdates(); !s.ok()) return s;
  const auto session = FindSession(request.session(), request.epoch());
  if (!session.ok()) return session.status();
  // First nothing is counted any more, then the ledgers go, then the record:
  // whatever a crash cuts off, no ledger is left without its session.
  (*session)->Fence();
  sessions_->Remove((*session)->id());
  for (const std::string& id : (*session)->normalizers()) {
    const auto normalizer = registry_->Find(id);
    if (normalizer.ok()) (*normalizer)->DropLedger((*session)->id());
  }
  // A damaged normalizer may have a ledger of it, which must not outlive its
  // session; then the record stays until the next start at least.
  if (registry_->quarantined().empty()) {
    queue_->DeleteSession((*session)->id());
  }
  return absl::OkStatus();
}

absl::Status Handler::SkipSequences(
    const v1::BarrierRequest& request,
    const std::shared_ptr<Session>& session) const {
  for (const auto& skipped : request.skipped()) {
    const auto normalizer = Find(skipped.name());
    if (absl::IsNotFound(normalizer.status())) continue;  // deleted
    if (!normalizer.ok()) return normalizer.status();
    if (auto s = (*normalizer)
                     ->SkipSequences(session, request.epoch(),
                                     {skipped.sequences().begin(),
                                      skipped.sequences().end()});
        !s.ok()) {
      return s;
    }
  }
  return absl::OkStatus();
}

void Handler::Barrier(const v1::BarrierRequest& request,
                      v1::BarrierResponse* response, Done done) {
  const auto session = FindSession(request.session(), request.epoch());
  if (!session.ok()) return done(session.status());
  if (auto s = SkipSequences(request, *session); !s.ok()) return done(s);
  BarrierToken token;
  token.history_id = options_.history_id;
  token.session = (*session)->id();
  for (const std::string& id : (*session)->normalizers()) {
    const auto normalizer = registry_->Find(id);
    if (!normalizer.ok()) continue;
    const auto progress = (*normalizer)->SessionProgress(token.session);
    if (!progress) continue;
    token.sequences[id] = progress->applied_sequence;
    ToProto(id, *progress, response->add_progress());
  }
  response->set_token(EncodeToken(token));
  queue_->WhenDurable([this, response, session_id = token.session,
                       done = std::move(done)](absl::Status status) {
    for (auto& progress : *response->mutable_progress()) {
      const auto normalizer = Find(progress.name());
      if (!normalizer.ok()) continue;
      progress.set_durable_sequence((*normalizer)->DurableSequence(session_id));
    }
    done(std::move(status));
  });
}

}  // namespace streamnorm
