#include "server/wire.h"

#include <cmath>
#include <cstring>
#include <set>

#include "absl/strings/cord.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "server/errors.h"
#include "stats/scaling.h"
#include "stats/window.h"

namespace streamnorm {
namespace {

v1::Scaling::Method ToProto(ScalingMethod method) {
  switch (method) {
    case ScalingMethod::kStandard:
      return v1::Scaling::STANDARD;
    case ScalingMethod::kMinMax:
      return v1::Scaling::MIN_MAX;
    case ScalingMethod::kMaxAbs:
      return v1::Scaling::MAX_ABS;
  }
  return v1::Scaling::METHOD_UNSPECIFIED;
}

v1::Scaling::EpsilonMode ToProto(EpsilonMode mode) {
  switch (mode) {
    case EpsilonMode::kNone:
      return v1::Scaling::NONE;
    case EpsilonMode::kInsideSqrt:
      return v1::Scaling::INSIDE_SQRT;
    case EpsilonMode::kAddToStd:
      return v1::Scaling::ADD_TO_STD;
    case EpsilonMode::kFloorStd:
      return v1::Scaling::FLOOR_STD;
  }
  return v1::Scaling::EPSILON_MODE_UNSPECIFIED;
}

v1::NonfinitePolicy::Policy ToProto(NonfinitePolicy policy) {
  return policy == NonfinitePolicy::kSkip ? v1::NonfinitePolicy::SKIP
                                          : v1::NonfinitePolicy::REJECT;
}

v1::WarmUp::Answer ToProto(WarmUpAnswer answer) {
  switch (answer) {
    case WarmUpAnswer::kCenter:
      return v1::WarmUp::CENTER;
    case WarmUpAnswer::kError:
      return v1::WarmUp::ERROR;
    case WarmUpAnswer::kIdentity:
      return v1::WarmUp::IDENTITY;
    case WarmUpAnswer::kPrior:
      return v1::WarmUp::PRIOR;
  }
  return v1::WarmUp::ANSWER_UNSPECIFIED;
}

void ToProto(const NormalizerDefinition& definition, v1::Scaling* proto) {
  const ScalingRule& rule = definition.scaling;
  proto->set_preset(definition.scaling_preset);
  proto->set_method(ToProto(rule.method));
  proto->set_epsilon_mode(ToProto(rule.epsilon_mode));
  proto->set_epsilon(rule.epsilon);
  proto->set_clip(rule.clip);
  proto->set_center(rule.center);
  proto->set_scale(rule.scale);
}

void ToProto(const WarmUp& warm_up, v1::WarmUp* proto) {
  proto->set_minimum_rows(warm_up.minimum_rows);
  proto->set_answer(ToProto(warm_up.answer));
  if (warm_up.answer != WarmUpAnswer::kPrior) return;
  auto* prior = proto->mutable_prior();
  prior->mutable_mean()->Assign(warm_up.prior.mean.begin(),
                                warm_up.prior.mean.end());
  prior->mutable_variance()->Assign(warm_up.prior.variance.begin(),
                                    warm_up.prior.variance.end());
  prior->set_pseudo_rows(warm_up.prior.pseudo_rows);
}

void ToProto(const Window& window, v1::Window* proto) {
  proto->set_kind(window.fades() ? v1::Window::HALF_LIFE_ROWS
                                 : v1::Window::CUMULATIVE);
  switch (window.kind) {
    case Window::Kind::kCumulative:
      break;
    case Window::Kind::kHalfLifeRows:
      proto->set_half_life_rows(window.rows);
      break;
    case Window::Kind::kWindowRows:
      proto->set_window_rows(window.rows);
      break;
  }
}

v1::Normalizer::Moments ToMoments(const MomentsKind& kind) {
  return kind.mean_only ? v1::Normalizer::MEAN
                        : v1::Normalizer::MEAN_AND_VARIANCE;
}

void ToProto(const NonfinitePolicies& policies, v1::NonfinitePolicy* proto) {
  proto->set_nan(ToProto(policies.nan));
  proto->set_infinity(ToProto(policies.infinity));
}

// With ddof 1: divided by one less than the count.
double SampleVariance(const Moments& moments, size_t j) {
  const auto count = static_cast<double>(moments.count(j));
  if (count < 2) return 0;
  return moments.m2_is_variance()
             ? moments.variance(j) * (count / (count - 1))
             : (moments.m2()[j] + moments.m2_tail()[j]) / (count - 1);
}

// The statistics of feature `j`, all fields but the name.
v1::FeatureStatistics Describe(const StatisticsView& view,
                               const ScalingTable& scaling, size_t j) {
  const Moments& moments = view.state.moments;
  v1::FeatureStatistics f;
  const uint64_t count = moments.count(j);
  const double variance = moments.variance(j);
  f.set_index(static_cast<int64_t>(j));
  f.set_count(count);
  f.set_mean(moments.mean()[j]);
  f.set_variance(variance);
  f.set_sample_variance(SampleVariance(moments, j));
  f.set_standard_deviation(std::sqrt(variance));
  f.set_offset(scaling.offset[j]);
  f.set_scale(scaling.scale[j]);
  if (moments.minimum()[j] <= moments.maximum()[j]) {
    f.set_minimum(moments.minimum()[j]);
    f.set_maximum(moments.maximum()[j]);
  }
  f.set_missing_count(moments.missing_count(j));
  f.set_infinite_count(moments.infinite_count(j));
  if (count < view.minimum_rows) {
    f.set_state(v1::FeatureStatistics::WARMING);
  } else if (!moments.kind().mean_only &&
             IsConstant(moments.mean()[j], variance, count)) {
    f.set_state(v1::FeatureStatistics::CONSTANT);
  } else {
    f.set_state(v1::FeatureStatistics::OK);
  }
  return f;
}

// Field numbers of FeatureStatistics.
using FieldSet = std::set<int>;

template <typename T>
void Append(const FieldSet& fields, int field, T value, std::string* column) {
  if (!fields.contains(field)) return;
  column->append(reinterpret_cast<const char*>(&value), sizeof(value));
}

void AppendToColumns(const v1::FeatureStatistics& f, const FieldSet& fields,
                     v1::StatisticsColumns* c) {
  using F = v1::FeatureStatistics;
  Append(fields, F::kIndexFieldNumber, f.index(), c->mutable_index());
  Append(fields, F::kCountFieldNumber, f.count(), c->mutable_count());
  Append(fields, F::kMeanFieldNumber, f.mean(), c->mutable_mean());
  Append(fields, F::kVarianceFieldNumber, f.variance(), c->mutable_variance());
  Append(fields, F::kSampleVarianceFieldNumber, f.sample_variance(),
         c->mutable_sample_variance());
  Append(fields, F::kStandardDeviationFieldNumber, f.standard_deviation(),
         c->mutable_standard_deviation());
  Append(fields, F::kOffsetFieldNumber, f.offset(), c->mutable_offset());
  Append(fields, F::kScaleFieldNumber, f.scale(), c->mutable_scale());
  Append(fields, F::kMinimumFieldNumber, f.minimum(), c->mutable_minimum());
  Append(fields, F::kMaximumFieldNumber, f.maximum(), c->mutable_maximum());
  Append(fields, F::kMissingCountFieldNumber, f.missing_count(),
         c->mutable_missing_count());
  Append(fields, F::kInfiniteCountFieldNumber, f.infinite_count(),
         c->mutable_infinite_count());
  Append(fields, F::kStateFieldNumber, static_cast<uint8_t>(f.state()),
         c->mutable_state());
}

// Drops the fields that are not in `fields`.
void Trim(const FieldSet& fields, v1::FeatureStatistics* f) {
  const auto* descriptor = v1::FeatureStatistics::descriptor();
  for (int i = 0; i < descriptor->field_count(); ++i) {
    const auto* field = descriptor->field(i);
    if (!fields.contains(field->number())) {
      f->GetReflection()->ClearField(f, field);
    }
  }
}

absl::StatusOr<FieldSet> ParseReadMask(
    const google::protobuf::FieldMask& read_mask) {
  FieldSet fields;
  const auto* descriptor = v1::FeatureStatistics::descriptor();
  for (const std::string& path : read_mask.paths()) {
    const auto* field = descriptor->FindFieldByName(path);
    if (field == nullptr) {
      return InvalidField("read_mask", Quoted(path),
                          "fields of FeatureStatistics");
    }
    fields.insert(field->number());
  }
  for (int i = 0; read_mask.paths().empty() && i < descriptor->field_count();
       ++i) {
    fields.insert(descriptor->field(i)->number());
  }
  return fields;
}

}  // namespace

google::protobuf::Timestamp ToTimestamp(int64_t micros) {
  google::protobuf::Timestamp timestamp;
  timestamp.set_seconds(micros / 1'000'000);
  timestamp.set_nanos(static_cast<int32_t>(micros % 1'000'000) * 1000);
  return timestamp;
}

void ToProto(const NormalizerDefinition& definition,
             const NormalizerState& state, bool with_feature_names,
             v1::Normalizer* proto) {
  proto->set_name(NormalizerName(definition.id));
  proto->set_features(static_cast<int64_t>(definition.features));
  if (with_feature_names) {
    proto->mutable_feature_names()->Assign(definition.feature_names.begin(),
                                           definition.feature_names.end());
  }
  proto->set_schema_hash(
      SchemaHash(definition.features, definition.feature_names));
  ToProto(definition, proto->mutable_scaling());
  ToProto(definition.kind.window, proto->mutable_window());
  proto->set_moments(ToMoments(definition.kind));
  ToProto(definition.nonfinite, proto->mutable_nonfinite());
  ToProto(definition.warm_up, proto->mutable_warm_up());
  proto->set_frozen(definition.frozen);
  proto->set_revision(state.revision);
  proto->set_row_count(state.moments.row_count());
  proto->set_generation(state.generation);
  *proto->mutable_create_time() = ToTimestamp(definition.create_time_us);
  *proto->mutable_update_time() =
      ToTimestamp(std::max(state.update_time_us, definition.change_time_us));
  proto->set_etag(Etag(definition));
  for (const auto& [key, value] : definition.labels) {
    (*proto->mutable_labels())[key] = value;
  }
}

void ToProto(const SnapshotRecord& snapshot, uint64_t schema_hash,
             v1::Snapshot* proto) {
  const NormalizerDefinition& definition = snapshot.definition;
  proto->set_name(SnapshotName(definition.id, snapshot.id));
  *proto->mutable_create_time() = ToTimestamp(snapshot.create_time_us);
  proto->set_revision(snapshot.state.revision);
  proto->set_row_count(snapshot.state.moments.row_count());
  proto->set_generation(snapshot.state.generation);
  ToProto(definition, proto->mutable_scaling());
  ToProto(definition.kind.window, proto->mutable_window());
  ToProto(definition.nonfinite, proto->mutable_nonfinite());
  ToProto(definition.warm_up, proto->mutable_warm_up());
  proto->set_moments(ToMoments(definition.kind));
  proto->set_features(static_cast<int64_t>(definition.features));
  proto->set_schema_hash(schema_hash);
}

std::string Etag(const NormalizerDefinition& definition) {
  return absl::StrCat(absl::Hex(definition.change_time_us));
}

int64_t EtagChangeTime(absl::string_view etag) {
  if (etag.empty()) return 0;
  int64_t micros = 0;
  if (!absl::SimpleHexAtoi(etag, &micros) || micros <= 0) return -1;
  return micros;
}

namespace {

absl::Status AnswerTooLarge(uint64_t max_bytes) {
  return LimitExceeded(
      "answer", absl::StrCat("more than ", max_bytes, " bytes"),
      absl::StrCat("at most ", max_bytes,
                   "; ask for a range of features, or fewer fields in "
                   "read_mask"),
      "--max_message_bytes");
}

}  // namespace

absl::Status ToProto(const StatisticsView& view,
                     v1::GetStatisticsRequest::View shape,
                     const google::protobuf::FieldMask& read_mask,
                     uint64_t max_bytes, v1::Statistics* proto) {
  const auto fields = ParseReadMask(read_mask);
  if (!fields.ok()) return fields.status();
  proto->set_name(view.name);
  proto->set_revision(view.state.revision);
  proto->set_row_count(view.state.moments.row_count());
  proto->set_generation(view.state.generation);
  ScalingTable scaling;
  ComputeScaling(view.scaling, view.state.moments, &scaling);
  uint64_t bytes = 0;
  for (size_t i = 0; i < view.selected.size(); ++i) {
    v1::FeatureStatistics f = Describe(view, scaling, view.selected[i]);
    if (shape == v1::GetStatisticsRequest::COLUMNS) {
      AppendToColumns(f, *fields, proto->mutable_columns());
      continue;
    }
    if (!view.names.empty()) f.set_name(view.names[i]);
    Trim(*fields, &f);
    bytes += f.ByteSizeLong();
    if (bytes > max_bytes) return AnswerTooLarge(max_bytes);
    proto->mutable_features()->Add(std::move(f));
  }
  return proto->ByteSizeLong() > max_bytes ? AnswerTooLarge(max_bytes)
                                           : absl::OkStatus();
}

uint8_t* ResizeData(size_t bytes, v1::Tensor* tensor) {
  tensor->mutable_data()->resize(bytes);
  return reinterpret_cast<uint8_t*>(tensor->mutable_data()->data());
}

uint8_t* PrepareOutput(const v1::Tensor& input, const TensorView& view,
                       const OutputSpace& space, std::vector<double>* converted,
                       v1::Tensor* output) {
  *output->mutable_shape() = input.shape();
  if (input.values_size() != 0) {
    output->set_datatype(v1::FP64);
    converted->resize(view.rows * view.features);
    return reinterpret_cast<uint8_t*>(converted->data());
  }
  output->set_datatype(input.datatype());
  return space(view.size_bytes());
}

void FinishOutput(const std::vector<double>& converted, v1::Tensor* output) {
  output->mutable_values()->Assign(converted.begin(), converted.end());
}

void ToProto(const std::string& normalizer_id, const Progress& progress,
             v1::SessionProgress* proto) {
  proto->set_name(NormalizerName(normalizer_id));
  proto->set_applied_sequence(progress.applied_sequence);
  if (progress.window.any()) {
    std::string* bytes = proto->mutable_window();
    bytes->assign(kSequenceWindow / 8, '\0');
    for (size_t i = 0; i < kSequenceWindow; ++i) {
      if (progress.window.test(i)) {
        (*bytes)[i / 8] = static_cast<char>((*bytes)[i / 8] | (1 << (i % 8)));
      }
    }
  }
  proto->set_durable_sequence(progress.durable_sequence);
  proto->set_generation(progress.generation);
  proto->set_rows(progress.rows);
}

MergedStatistics PrepareStatistics(size_t features, bool mean_only,
                                   v1::MergeMomentsResponse* response) {
  const auto resize = [features](std::string* bytes) {
    bytes->resize(features * sizeof(double));
    return reinterpret_cast<double*>(bytes->data());
  };
  if (mean_only) {
    return {resize(response->mutable_mean()), nullptr, nullptr, nullptr};
  }
  return {
      resize(response->mutable_mean()), resize(response->mutable_variance()),
      resize(response->mutable_offset()), resize(response->mutable_scale())};
}

google::rpc::Status ToRpcStatus(const absl::Status& status) {
  google::rpc::Status proto;
  proto.set_code(static_cast<int>(status.code()));  // the same numbers
  proto.set_message(std::string(status.message()));
  status.ForEachPayload(
      [&](absl::string_view type_url, const absl::Cord& payload) {
        auto* detail = proto.add_details();
        detail->set_type_url(std::string(type_url));
        detail->set_value(std::string(payload));
      });
  return proto;
}

}  // namespace streamnorm
