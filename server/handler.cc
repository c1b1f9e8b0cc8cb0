#include "server/handler.h"

#include <xxhash.h>

#include <algorithm>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "server/definition_validation.h"
#include "server/errors.h"
#include "server/validation.h"
#include "server/wire.h"
#include "storage/kill_point.h"

namespace streamnorm {

#ifdef STREAMNORM_PEER_PUT_PER_REQUEST  // tests/benchmarks/put_per_request.cc
void PutNow(Normalizer* normalizer);
#endif

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

uint32_t FingerprintOf(const v1::NormalizeRequest& request,
                       absl::string_view data) {
  const auto& values = request.input().values();
  return Fingerprint({data,
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

Handler::Update Handler::UpdateOf(NormalizerPtr normalizer, UpdateSource source,
                                  bool wait_durable,
                                  const UpdateOutcome& outcome) {
  // Without a session nobody else can bring the rows back, so the answer waits
  // for the disk.
  const bool waits =
      wait_durable || !outcome.generation_durable || source.session == nullptr;
  return {std::move(normalizer), std::move(source), waits};
}

void Handler::Normalize(const v1::NormalizeRequest& request,
                        v1::NormalizeResponse* response, Done done) {
  const auto space = [response](size_t bytes) {
    return ResizeData(bytes, response->mutable_output());
  };
  Normalize(request, request.input().data(), space, response, std::move(done));
}

void Handler::Normalize(const v1::NormalizeRequest& request,
                        absl::string_view data, const OutputSpace& space,
                        v1::NormalizeResponse* response, Done done) {
  if (NamesSnapshot(request.name())) {
    return done(NormalizeOnSnapshot(request, data, space, response));
  }
  NormalizeCall call;
  const auto mode = ParseMode(request.mode());
  if (!mode.ok()) return done(mode.status());
  call.mode = *mode;
  const bool updates = call.mode != Mode::kNormalizeOnly;
  if (updates) {
    if (auto s = committer_->AcceptingUpdates(); !s.ok()) return done(s);
    auto source = ParseSource(request.has_update_id(), request.update_id(),
                              request.fail_if_frozen());
    if (!source.ok()) return done(source.status());
    call.source = *std::move(source);
    call.source.fingerprint = FingerprintOf(request, data);
    call.source.rows_sent_total = request.rows_sent_total();
  }
  call.schema_hash = request.schema_hash();
  auto normalizer = FindNormalizer(*registry_, request.name());
  if (absl::IsNotFound(normalizer.status()) && options_.auto_create &&
      updates) {
    normalizer = AutoCreate(request, data, call);
  }
  if (!normalizer.ok()) return done(normalizer.status());
  std::vector<double> values_in, values_out;
  const auto input =
      ParseTensor(request.input(), data, (*normalizer)->features(),
                  (*normalizer)->id(), &values_in);
  if (!input.ok()) return done(input.status());
  call.input = *input;
  uint8_t* output = nullptr;
  if (call.mode != Mode::kUpdateOnly) {
    output = PrepareOutput(request.input(), call.input, space, &values_out,
                           response->mutable_output());
  }
  const auto outcome = (*normalizer)->Normalize(call, output);
  if (!outcome.ok()) return done(outcome.status());

  if (!values_out.empty()) {
    FinishOutput(values_out, response->mutable_output());
  }
  if (output != nullptr) work_.Add(WorkMetrics::kRowsNormalized, input->rows);
  FillUpdate(outcome->update, response);
  response->set_nonfinite_values(outcome->nonfinite_values);
  response->set_clipped_values(outcome->clipped_values);
  if (!updates) return done(absl::OkStatus());
  CountUpdate(outcome->update);
  FinishUpdate(UpdateOf(*std::move(normalizer), std::move(call.source),
                        request.wait_durable(), outcome->update),
               response, std::move(done));
}

void Handler::MergeMoments(const v1::MergeMomentsRequest& request,
                           v1::MergeMomentsResponse* response, Done done) {
  if (auto s = committer_->AcceptingUpdates(); !s.ok()) return done(s);
  auto update = DoMerge(request, response);
  if (!update.ok()) return done(update.status());
  FinishUpdate(*std::move(update), response, std::move(done));
}

absl::StatusOr<Handler::Update> Handler::DoMerge(
    const v1::MergeMomentsRequest& request,
    v1::MergeMomentsResponse* response) const {
  const auto mode = ParseMode(request.mode());
  if (!mode.ok()) return mode.status();
  if (*mode != Mode::kUpdateThenNormalize &&
      *mode != Mode::kNormalizeThenUpdate) {
    return InvalidField("mode", v1::Mode_Name(request.mode()),
                        "UPDATE_THEN_NORMALIZE (statistics after this merge) "
                        "or NORMALIZE_THEN_UPDATE (before)");
  }
  auto source = ParseSource(request.has_update_id(), request.update_id(),
                            request.fail_if_frozen());
  if (!source.ok()) return source.status();
  source->fingerprint = FingerprintOf(request);
  source->rows_sent_total = request.rows_sent_total();
  auto normalizer = FindNormalizer(*registry_, request.name());
  if (!normalizer.ok()) return normalizer.status();
  const size_t features = (*normalizer)->features();
  const bool mean_only = (*normalizer)->kind().mean_only;
  const auto moments =
      ParseMoments(request, features, mean_only, (*normalizer)->id());
  if (!moments.ok()) return moments.status();

  MergeCall call;
  call.moments = *moments;
  call.before = *mode == Mode::kNormalizeThenUpdate;
  call.source = *std::move(source);
  call.schema_hash = request.schema_hash();
  MergedStatistics statistics{};
  if (request.return_statistics()) {
    statistics = PrepareStatistics(features, mean_only, response);
  }
  const auto outcome =
      (*normalizer)
          ->MergeMoments(call,
                         request.return_statistics() ? &statistics : nullptr);
  if (!outcome.ok()) return outcome.status();
  FillUpdate(*outcome, response);
  CountUpdate(*outcome);
  return UpdateOf(*std::move(normalizer), std::move(call.source),
                  request.wait_durable(), *outcome);
}

void Handler::ExchangeMoments(const v1::ExchangeMomentsRequest& request,
                              v1::ExchangeMomentsResponse* response,
                              Done done) {
  // For all of them at once, so that a disk that gets full refuses all or none.
  if (auto s = committer_->AcceptingUpdates(); !s.ok()) return done(s);
  if (auto s = CheckExchange(request, options_.limits.max_message_bytes);
      !s.ok()) {
    return done(s);
  }
  std::vector<std::pair<Update, v1::MergeMomentsResponse*>> updates;
  updates.reserve(static_cast<size_t>(request.merges_size()));
  bool wait = false;
  for (int i = 0; i < request.merges_size(); ++i) {
    v1::MergeMomentsResponse* answer = response->add_merges();
    auto update = DoMerge(request.merges(i), answer);
    if (!update.ok()) {
      answer->Clear();
      *answer->mutable_status() =
          ToRpcStatus(Within(absl::StrCat("merges[", i, "]"), update.status()));
      continue;
    }
    wait = wait || update->waits;
    updates.emplace_back(*std::move(update), answer);
  }
#ifdef STREAMNORM_PEER_PUT_PER_REQUEST
  for (const auto& [update, answer] : updates) PutNow(update.normalizer.get());
  return done(absl::OkStatus());
#endif
  if (!wait) return done(absl::OkStatus());
  queue_->WhenDurable([updates = std::move(updates),
                       done = std::move(done)](absl::Status status) {
    for (const auto& [update, answer] : updates) {
      if (status.ok()) NoteDurable(update, answer);
    }
    done(std::move(status));
  });
}

absl::StatusOr<UpdateSource> Handler::ParseSource(bool has_id,
                                                  const v1::UpdateId& id,
                                                  bool fail_if_frozen) const {
  UpdateSource source;
  source.fail_if_frozen = fail_if_frozen;
  if (!has_id) return source;
  const auto parsed = ParseUpdateId(id);
  if (!parsed.ok()) return parsed.status();
  auto session = sessions_->Find(parsed->session);
#ifdef STREAMNORM_PLANT_SESSION_MADE_UP
  if (!session.ok()) {
    sessions_->Restore({parsed->session, parsed->epoch, "", 0});
    session = sessions_->Find(parsed->session);
  }
#endif
  if (!session.ok()) return session.status();
  source.id = *parsed;
  source.session = *std::move(session);
  return source;
}

absl::StatusOr<Handler::NormalizerPtr> Handler::AutoCreate(
    const v1::NormalizeRequest& request, absl::string_view data,
    NormalizeCall call) {
  const auto id = ParseName("name", request.name());
  if (!id.ok()) return id.status();
  const auto features = ParseFeatureCount(request.input());
  if (!features.ok()) return features.status();
  v1::CreateNormalizerRequest create;
  create.set_normalizer_id(*id);
  create.mutable_normalizer()->set_features(*features);
  const auto definition = ParseCreate(create, options_.limits);
  if (!definition.ok()) return definition.status();
  if (auto s = TryOnNew(*definition, request, data, std::move(call)); !s.ok()) {
    return s;
  }
  auto created = registry_->Create(*definition, /*validate_only=*/false);
  // Someone else may have been first.
  if (absl::IsAlreadyExists(created.status()))
    return FindNormalizer(*registry_, request.name());
  return created;
}

// A request that is going to be refused must not leave a normalizer behind, so
// it is made to one that nobody sees first.
absl::Status Handler::TryOnNew(const NormalizerDefinition& definition,
                               const v1::NormalizeRequest& request,
                               absl::string_view data,
                               NormalizeCall call) const {
  NormalizerDefinition trial = definition;
  NormalizerState state;
  state.moments = Moments(trial.features, trial.kind);
  // No client names this generation.
  trial.birth_generation = state.generation = ~uint64_t{0};
  CommitQueue nowhere;
  const auto normalizer =
      std::make_shared<Normalizer>(std::move(trial), state, &nowhere);
  std::vector<double> values;
  const auto input = ParseTensor(request.input(), data, definition.features,
                                 definition.id, &values);
  if (!input.ok()) return input.status();
  call.input = *input;
  // What the trial notes in the session must not meet what the real one does.
  auto& session = call.source.session;
  if (session != nullptr) session = session->Copy();
  std::vector<uint8_t> output(
      call.mode == Mode::kUpdateOnly ? 0 : input->size_bytes());
  const auto outcome =
      normalizer->Normalize(call, output.empty() ? nullptr : output.data());
  if (auto s = normalizer->Retire(0); !s.ok()) return s;  // frees its ledger
  return outcome.status();
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
  response->set_history_id(options_.history_id.data(),
                           options_.history_id.size());
  response->set_warming_up(outcome.warming_up);
  response->set_frozen(outcome.frozen);
}

void Handler::CountUpdate(const UpdateOutcome& outcome) const {
  if (outcome.duplicate) return work_.Add(WorkMetrics::kUpdatesDuplicate, 1);
  if (outcome.frozen) return work_.Add(WorkMetrics::kUpdatesFrozen, 1);
  work_.Add(WorkMetrics::kUpdatesCounted, 1);
  work_.Add(WorkMetrics::kRowsCounted, outcome.counted_rows);
}

template <typename Response>
void Handler::FinishUpdate(Update update, Response* response, Done done) {
#ifdef STREAMNORM_PEER_PUT_PER_REQUEST
  PutNow(update.normalizer.get());
  return done(absl::OkStatus());
#endif
  if (!update.waits) return done(absl::OkStatus());
  queue_->WhenDurable([update = std::move(update), response,
                       done = std::move(done)](absl::Status status) {
    if (status.ok()) NoteDurable(update, response);
    done(std::move(status));
  });
}

template <typename Response>
void Handler::NoteDurable(const Update& update, Response* response) {
  if (update.source.session == nullptr) return;
  response->set_durable_sequence(
      update.normalizer->DurableSequence(update.source.id.session));
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
  const auto normalizer = FindNormalizer(*registry_, request.name());
  if (!normalizer.ok()) return done(normalizer.status());
  Describe(**normalizer, /*with_feature_names=*/true, response);
  if ((*normalizer)->GenerationIsDurable()) return done(absl::OkStatus());
  queue_->WhenDurable(std::move(done));
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
  bool more = page.size() > size;
  if (more) page.pop_back();
  // A prior may have a million numbers: the page ends where the message would
  // be too large, but has at least one.
  size_t bytes = 0;
  for (const NormalizerPtr& normalizer : page) {
    v1::Normalizer described;
    Describe(*normalizer, /*with_feature_names=*/false, &described);
    bytes += described.ByteSizeLong();
    if (bytes > options_.limits.max_message_bytes &&
        response->normalizers_size() > 0) {
      more = true;
      break;
    }
    *response->add_normalizers() = std::move(described);
  }
  if (more) {
    const auto& last = *response->normalizers().rbegin();
    response->set_next_page_token(last.name());
  }
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
  // One per field; a warm_up may be large, and each mention of it costs a copy.
  constexpr int kMostPaths = 4;
  if (request.update_mask().paths_size() > kMostPaths) {
    return InvalidField(
        "update_mask",
        absl::StrCat(request.update_mask().paths_size(), " paths"),
        absl::StrCat("at most ", kMostPaths, ", each field once"));
  }
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
  auto s = registry_->UpdateDefinition(normalizer->get(),
                                       EtagChangeTime(wanted.etag()), change);
  if (!s.ok()) return s;
  return normalizer;
}

void Handler::DeleteNormalizer(const v1::DeleteNormalizerRequest& request,
                               google::protobuf::Empty*, Done done) {
  const absl::Status status = DoDelete(request);
  // That it is gone may not be on disk yet: an earlier try was just taken.
  const bool gone = absl::IsNotFound(status) && request.allow_missing();
  if (!status.ok() && !gone) return done(status);
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
  auto normalizer = FindNormalizer(*registry_, request.name());
  if (!normalizer.ok()) return normalizer;
  auto s =
      (*normalizer)
          ->Reset(EtagChangeTime(request.etag()), registry_->TakeGeneration());
  if (!s.ok()) return s;
  STREAMNORM_KILL_POINT("reset.done");
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
  auto normalizer = FindNormalizer(*registry_, name);
  if (!normalizer.ok()) return normalizer;
  auto s =
      (*normalizer)->UpdateDefinition(0, [&](NormalizerDefinition* definition) {
        definition->frozen = frozen;
        return absl::OkStatus();
      });
  if (!s.ok()) return s;
  return normalizer;
}

void Handler::AnswerWhenDurable(absl::StatusOr<NormalizerPtr> normalizer,
                                v1::Normalizer* response, Done done) {
  if (!normalizer.ok()) return done(normalizer.status());
  Describe(**normalizer, /*with_feature_names=*/true, response);
  queue_->WhenDurable(std::move(done));
}

}  // namespace streamnorm
