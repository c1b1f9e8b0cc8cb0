// What Handler answers without changing anything, with the statistics of now or
// of a snapshot.

#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "server/errors.h"
#include "server/handler.h"
#include "server/snapshot_reads.h"
#include "server/validation.h"
#include "server/wire.h"

namespace streamnorm {

absl::StatusOr<Handler::Readable> Handler::FindReadable(
    const std::string& name, uint64_t schema_hash) const {
  Readable readable;
  if (!NamesSnapshot(name)) {
    auto normalizer = FindNormalizer(*registry_, name);
    if (!normalizer.ok()) return normalizer.status();
    readable.normalizer = *std::move(normalizer);
    return readable;
  }
  const auto ids = ParseSnapshotName("name", name);
  if (!ids.ok()) return ids.status();
  auto normalizer = registry_->Find(ids->normalizer);
  if (!normalizer.ok()) return normalizer.status();
  auto snapshot = (*normalizer)->FindSnapshot(ids->snapshot, schema_hash);
  if (!snapshot.ok()) return snapshot.status();
  readable.normalizer = *std::move(normalizer);
  readable.snapshot = *std::move(snapshot);
  return readable;
}

absl::Status Handler::NormalizeOnSnapshot(
    const v1::NormalizeRequest& request, absl::string_view data,
    const OutputSpace& space, v1::NormalizeResponse* response) const {
  const auto mode = ParseMode(request.mode());
  if (!mode.ok()) return mode.status();
  if (*mode != Mode::kNormalizeOnly) {
    return InvalidField("mode", v1::Mode_Name(request.mode()),
                        absl::StrCat("NORMALIZE_ONLY: ", Quoted(request.name()),
                                     " is a snapshot, which never changes"));
  }
  const auto source = FindReadable(request.name(), request.schema_hash());
  if (!source.ok()) return source.status();
  std::vector<double> values_in, values_out;
  const auto input =
      ParseTensor(request.input(), data, source->normalizer->features(),
                  source->normalizer->id(), &values_in);
  if (!input.ok()) return input.status();
  uint8_t* output = PrepareOutput(request.input(), *input, space, &values_out,
                                  response->mutable_output());
  const auto outcome = NormalizeWith(*source->snapshot, *input, output);
  if (!outcome.ok()) return outcome.status();
  work_.Add(WorkMetrics::kRowsNormalized, input->rows);
  if (!values_out.empty()) {
    FinishOutput(values_out, response->mutable_output());
  }
  response->set_revision(outcome->update.revision);
  response->set_row_count(outcome->update.row_count);
  response->set_generation(outcome->update.generation);
  response->set_incarnation(options_.incarnation);
  response->set_history_id(IdBytes(options_.history_id));
  response->set_warming_up(outcome->update.warming_up);
  response->set_nonfinite_values(outcome->nonfinite_values);
  response->set_clipped_values(outcome->clipped_values);
  return absl::OkStatus();
}

void Handler::Denormalize(const v1::DenormalizeRequest& request,
                          v1::DenormalizeResponse* response, Done done) {
  done(DoDenormalize(request, response));
}

absl::Status Handler::DoDenormalize(const v1::DenormalizeRequest& request,
                                    v1::DenormalizeResponse* response) const {
  const auto source = FindReadable(request.name(), request.schema_hash());
  if (!source.ok()) return source.status();
  const NormalizerPtr& normalizer = source->normalizer;
  std::vector<double> values_in, values_out;
  const auto input =
      ParseTensor(request.input(), request.input().data(),
                  normalizer->features(), normalizer->id(), &values_in);
  if (!input.ok()) return input.status();
  const auto space = [response](size_t bytes) {
    return ResizeData(bytes, response->mutable_output());
  };
  uint8_t* output = PrepareOutput(request.input(), *input, space, &values_out,
                                  response->mutable_output());
  const auto outcome =
      source->snapshot == nullptr
          ? normalizer->Denormalize(*input, request.revision(),
                                    request.schema_hash(), output)
          : DenormalizeWith(*source->snapshot, *input, request.revision(),
                            output);
  if (!outcome.ok()) return outcome.status();
  if (!values_out.empty()) {
    FinishOutput(values_out, response->mutable_output());
  }
  response->set_revision(outcome->update.revision);
  response->set_row_count(outcome->update.row_count);
  response->set_clipped_values(outcome->clipped_values);
  work_.Add(WorkMetrics::kRowsDenormalized, input->rows);
  return absl::OkStatus();
}

absl::StatusOr<int64_t> Handler::FeatureCount(const std::string& name) const {
  const auto source = FindReadable(name, /*schema_hash=*/0);
  if (!source.ok()) return source.status();
  return static_cast<int64_t>(source->normalizer->features());
}

void Handler::GetStatistics(const v1::GetStatisticsRequest& request,
                            v1::Statistics* response, Done done) {
  done(DoGetStatistics(request, response));
}

absl::Status Handler::DoGetStatistics(const v1::GetStatisticsRequest& request,
                                      v1::Statistics* response) const {
  const auto source = FindReadable(request.name(), /*schema_hash=*/0);
  if (!source.ok()) return source.status();
  const SnapshotRecord* const snapshot = source->snapshot.get();
  if (!v1::GetStatisticsRequest::View_IsValid(request.view())) {
    return InvalidField("view", absl::StrCat(int{request.view()}),
                        "FEATURES or COLUMNS");
  }
  StatisticsView view;
  view.name = request.name();
  absl::Status status;
  source->normalizer->Read([&](const NormalizerDefinition& definition,
                               const NormalizerState& state) {
    auto selected = ParseSelection(request.selection(), definition);
    status = selected.status();
    if (!status.ok()) return;
    const auto& rule = snapshot == nullptr ? definition : snapshot->definition;
    view.state = snapshot == nullptr ? state : snapshot->state;
    view.scaling = rule.scaling;
    view.minimum_rows = rule.warm_up.minimum_rows;
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
  return ToProto(view, request.view(), request.read_mask(),
                 options_.limits.max_message_bytes, response);
}

}  // namespace streamnorm
