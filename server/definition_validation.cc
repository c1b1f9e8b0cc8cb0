#include "server/definition_validation.h"

#include <cmath>
#include <string>
#include <utility>

#include "absl/container/flat_hash_set.h"
#include "absl/strings/str_cat.h"
#include "server/errors.h"
#include "server/validation.h"
#include "stats/window.h"

namespace streamnorm {
namespace {

constexpr size_t kMaxFeatureNameBytes = 256;
constexpr size_t kMaxLabels = 64;
constexpr size_t kMaxLabelKeyBytes = 63;
constexpr size_t kMaxLabelValueBytes = 255;

std::string AtMost(uint64_t limit) { return absl::StrCat("at most ", limit); }

absl::Status CheckNonNegative(absl::string_view field, double value) {
  if (std::isfinite(value) && value >= 0) return absl::OkStatus();
  return InvalidField(field, absl::StrCat(value), "a finite value >= 0");
}

absl::StatusOr<ScalingMethod> ParseMethod(v1::Scaling::Method method) {
  switch (method) {
    case v1::Scaling::STANDARD:
      return ScalingMethod::kStandard;
    case v1::Scaling::MIN_MAX:
      return ScalingMethod::kMinMax;
    case v1::Scaling::MAX_ABS:
      return ScalingMethod::kMaxAbs;
    default:
      return InvalidField("normalizer.scaling.method",
                          absl::StrCat(int{method}),
                          "STANDARD, MIN_MAX or MAX_ABS");
  }
}

absl::StatusOr<EpsilonMode> ParseEpsilonMode(v1::Scaling::EpsilonMode mode) {
  switch (mode) {
    case v1::Scaling::NONE:
      return EpsilonMode::kNone;
    case v1::Scaling::INSIDE_SQRT:
      return EpsilonMode::kInsideSqrt;
    case v1::Scaling::ADD_TO_STD:
      return EpsilonMode::kAddToStd;
    case v1::Scaling::FLOOR_STD:
      return EpsilonMode::kFloorStd;
    default:
      return InvalidField("normalizer.scaling.epsilon_mode",
                          absl::StrCat(int{mode}),
                          "NONE, INSIDE_SQRT, ADD_TO_STD or FLOOR_STD");
  }
}

absl::StatusOr<ScalingRule> ParseScaling(const v1::Scaling& scaling) {
  ScalingRule rule;
  if (!scaling.preset().empty()) {
    const auto preset = PresetRule(scaling.preset());
    if (!preset) {
      return InvalidField("normalizer.scaling.preset", Quoted(scaling.preset()),
                          absl::StrCat("one of ", PresetNames()));
    }
    rule = *preset;
  }
  if (scaling.method() != v1::Scaling::METHOD_UNSPECIFIED) {
    const auto method = ParseMethod(scaling.method());
    if (!method.ok()) return method.status();
    rule.method = *method;
  }
  if (scaling.epsilon_mode() != v1::Scaling::EPSILON_MODE_UNSPECIFIED) {
    const auto mode = ParseEpsilonMode(scaling.epsilon_mode());
    if (!mode.ok()) return mode.status();
    rule.epsilon_mode = *mode;
  }
  if (scaling.has_epsilon()) rule.epsilon = scaling.epsilon();
  if (scaling.has_clip()) rule.clip = scaling.clip();
  if (scaling.has_center()) rule.center = scaling.center();
  if (scaling.has_scale()) rule.scale = scaling.scale();
  if (auto s = CheckNonNegative("normalizer.scaling.epsilon", rule.epsilon);
      !s.ok()) {
    return s;
  }
  if (auto s = CheckNonNegative("normalizer.scaling.clip", rule.clip); !s.ok())
    return s;
  return rule;
}

// Counts are exact in a double up to here, and 1 - 1 / rows is not 1.
constexpr double kMostWindowRows = 0x1p53;

absl::StatusOr<Window> ParseLength(const v1::Window& window) {
  if (window.has_half_life_rows()) {
    const double rows = window.half_life_rows();
    if (rows > 0 && rows <= kMostWindowRows) {
      return Window{Window::Kind::kHalfLifeRows, rows};
    }
    return InvalidField("normalizer.window.half_life_rows", absl::StrCat(rows),
                        "more than 0, at most 2^53 rows");
  }
  const double rows = window.window_rows();
  if (rows > 1 && rows <= kMostWindowRows) {
    return Window{Window::Kind::kWindowRows, rows};
  }
  return InvalidField("normalizer.window.window_rows", absl::StrCat(rows),
                      "more than 1, at most 2^53 rows");
}

absl::StatusOr<Window> ParseWindow(const v1::Window& window) {
  const bool has_length = window.length_case() != v1::Window::LENGTH_NOT_SET;
  switch (window.kind()) {
    case v1::Window::KIND_UNSPECIFIED:
      if (has_length) return ParseLength(window);
      return Window();
    case v1::Window::CUMULATIVE:
      if (!has_length) return Window();
      return InvalidField("normalizer.window.length", "set",
                          "unset under CUMULATIVE, or kind HALF_LIFE_ROWS");
    case v1::Window::HALF_LIFE_ROWS:
      if (has_length) return ParseLength(window);
      return InvalidField("normalizer.window.length", "unset",
                          "half_life_rows or window_rows");
    default:
      return InvalidField("normalizer.window.kind",
                          absl::StrCat(int{window.kind()}),
                          "CUMULATIVE or HALF_LIFE_ROWS");
  }
}

absl::StatusOr<MomentsKind> ParseKind(const v1::Normalizer& wanted) {
  const auto window = ParseWindow(wanted.window());
  if (!window.ok()) return window.status();
  if (!v1::Normalizer::Moments_IsValid(wanted.moments())) {
    return InvalidField("normalizer.moments",
                        absl::StrCat(int{wanted.moments()}),
                        "MEAN_AND_VARIANCE or MEAN");
  }
  return MomentsKind{*window, wanted.moments() == v1::Normalizer::MEAN};
}

// Makes the rule, or what was left open of it, one for what is kept.
absl::Status FitToKind(const MomentsKind& kind, const v1::Scaling& wanted,
                       ScalingRule* rule) {
  if (!kind.plain() && rule->method != ScalingMethod::kStandard) {
    return InvalidField(
        wanted.method() == v1::Scaling::METHOD_UNSPECIFIED
            ? "normalizer.scaling.preset"
            : "normalizer.scaling.method",
        "a rule made of extremes",
        kind.mean_only ? "STANDARD: normalizer.moments MEAN keeps no extremes"
                       : "STANDARD: extremes don't fade as "
                         "normalizer.window says");
  }
  if (!kind.mean_only) return absl::OkStatus();
  if (!wanted.preset().empty()) {
    return InvalidField("normalizer.scaling.preset", Quoted(wanted.preset()),
                        "none: normalizer.moments MEAN keeps no variance");
  }
  if (wanted.has_scale() && wanted.scale()) {
    return InvalidField("normalizer.scaling.scale", "true",
                        "false or unset: normalizer.moments MEAN keeps no "
                        "variance");
  }
  rule->scale = false;
  return absl::OkStatus();
}

absl::StatusOr<NonfinitePolicy> ParsePolicy(absl::string_view field,
                                            v1::NonfinitePolicy::Policy policy,
                                            NonfinitePolicy unspecified) {
  switch (policy) {
    case v1::NonfinitePolicy::POLICY_UNSPECIFIED:
      return unspecified;
    case v1::NonfinitePolicy::SKIP:
      return NonfinitePolicy::kSkip;
    case v1::NonfinitePolicy::REJECT:
      return NonfinitePolicy::kReject;
    default:
      return InvalidField(field, absl::StrCat(int{policy}), "SKIP or REJECT");
  }
}

absl::StatusOr<NonfinitePolicies> ParsePolicies(
    const v1::NonfinitePolicy& nonfinite) {
  const auto nan = ParsePolicy("normalizer.nonfinite.nan", nonfinite.nan(),
                               NonfinitePolicy::kSkip);
  if (!nan.ok()) return nan.status();
  const auto infinity =
      ParsePolicy("normalizer.nonfinite.infinity", nonfinite.infinity(),
                  NonfinitePolicy::kReject);
  if (!infinity.ok()) return infinity.status();
  return NonfinitePolicies{*nan, *infinity};
}

absl::StatusOr<WarmUpAnswer> ParseAnswer(v1::WarmUp::Answer answer) {
  switch (answer) {
    case v1::WarmUp::ANSWER_UNSPECIFIED:
    case v1::WarmUp::CENTER:
      return WarmUpAnswer::kCenter;
    case v1::WarmUp::ERROR:
      return WarmUpAnswer::kError;
    case v1::WarmUp::IDENTITY:
      return WarmUpAnswer::kIdentity;
    case v1::WarmUp::PRIOR:
      return WarmUpAnswer::kPrior;
    default:
      return InvalidField("normalizer.warm_up.answer",
                          absl::StrCat(int{answer}),
                          "CENTER, ERROR, IDENTITY or PRIOR");
  }
}

template <typename Values>
absl::Status CheckPriorValues(absl::string_view field, const Values& values,
                              uint64_t features, bool allow_negative) {
  const auto size = static_cast<uint64_t>(values.size());
  if (size != 1 && size != features) {
    return InvalidField(field, absl::StrCat(size, " values"),
                        absl::StrCat("1 or ", features, ", one per feature"));
  }
  for (int i = 0; i < values.size(); ++i) {
    if (!std::isfinite(values[i]) || (!allow_negative && values[i] < 0)) {
      return InvalidField(
          absl::StrCat(field, "[", i, "]"), absl::StrCat(values[i]),
          allow_negative ? "a finite value" : "a finite value >= 0");
    }
  }
  return absl::OkStatus();
}

absl::StatusOr<Prior> ParsePrior(const v1::WarmUp::Prior& prior,
                                 uint64_t features) {
  if (auto s = CheckPriorValues("normalizer.warm_up.prior.mean", prior.mean(),
                                features,
                                /*allow_negative=*/true);
      !s.ok()) {
    return s;
  }
  if (auto s = CheckPriorValues("normalizer.warm_up.prior.variance",
                                prior.variance(), features,
                                /*allow_negative=*/false);
      !s.ok()) {
    return s;
  }
  // Beyond 2^53 a row more would not change the weight.
  if (!(prior.pseudo_rows() > 0) || prior.pseudo_rows() > 0x1p53) {
    return InvalidField("normalizer.warm_up.prior.pseudo_rows",
                        absl::StrCat(prior.pseudo_rows()),
                        "more than 0, at most 2^53");
  }
  return Prior{{prior.mean().begin(), prior.mean().end()},
               {prior.variance().begin(), prior.variance().end()},
               prior.pseudo_rows()};
}

absl::StatusOr<WarmUp> ParseWarmUp(const v1::WarmUp& warm_up, uint64_t features,
                                   const ScalingRule& scaling) {
  WarmUp parsed;
  if (warm_up.has_minimum_rows()) parsed.minimum_rows = warm_up.minimum_rows();
  const auto answer = ParseAnswer(warm_up.answer());
  if (!answer.ok()) return answer.status();
  parsed.answer = *answer;
  if (parsed.answer == WarmUpAnswer::kPrior) {
    if (scaling.method != ScalingMethod::kStandard) {
      return InvalidField("normalizer.warm_up.answer", "PRIOR",
                          "another answer: a prior has no extremes, which "
                          "scaling.method is made of");
    }
    auto prior = ParsePrior(warm_up.prior(), features);
    if (!prior.ok()) return prior.status();
    parsed.prior = *std::move(prior);
  } else if (warm_up.has_prior()) {
    return InvalidField("normalizer.warm_up.prior", "set",
                        "unset unless warm_up.answer is PRIOR");
  }
  return parsed;
}

absl::Status CheckFeatureNames(const v1::Normalizer& normalizer) {
  const auto& names = normalizer.feature_names();
  if (names.empty()) return absl::OkStatus();
  if (names.size() != normalizer.features()) {
    return InvalidField(
        "normalizer.feature_names", absl::StrCat(names.size(), " names"),
        absl::StrCat(normalizer.features(), ", one per feature, or none"));
  }
  absl::flat_hash_set<absl::string_view> seen;
  for (int i = 0; i < names.size(); ++i) {
    const std::string field = absl::StrCat("normalizer.feature_names[", i, "]");
    if (names[i].empty() || names[i].size() > kMaxFeatureNameBytes) {
      return InvalidField(field, absl::StrCat(names[i].size(), " bytes"),
                          absl::StrCat("1 to ", kMaxFeatureNameBytes));
    }
    if (!seen.insert(names[i]).second) {
      return InvalidField(field, Quoted(names[i]),
                          "a name no feature before has");
    }
  }
  return absl::OkStatus();
}

absl::Status CheckLabels(const v1::Normalizer& normalizer) {
  if (normalizer.labels().size() > kMaxLabels) {
    return InvalidField("normalizer.labels",
                        absl::StrCat(normalizer.labels().size(), " labels"),
                        AtMost(kMaxLabels));
  }
  for (const auto& [key, value] : normalizer.labels()) {
    if (key.empty() || key.size() > kMaxLabelKeyBytes) {
      return InvalidField(
          "normalizer.labels", Quoted(key),
          absl::StrCat("keys of 1 to ", kMaxLabelKeyBytes, " bytes"));
    }
    if (value.size() > kMaxLabelValueBytes) {
      return InvalidField(absl::StrCat("normalizer.labels[", Quoted(key), "]"),
                          absl::StrCat(value.size(), " bytes"),
                          AtMost(kMaxLabelValueBytes));
    }
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<NormalizerDefinition> ParseCreate(
    const v1::CreateNormalizerRequest& request, const Limits& limits) {
  const v1::Normalizer& wanted = request.normalizer();
  if (auto s = CheckId("normalizer_id", request.normalizer_id()); !s.ok()) {
    return s;
  }
  if (wanted.features() < 1) {
    return InvalidField("normalizer.features", absl::StrCat(wanted.features()),
                        "at least 1");
  }
  if (static_cast<uint64_t>(wanted.features()) > limits.max_features) {
    return LimitExceeded("normalizer.features", absl::StrCat(wanted.features()),
                         AtMost(limits.max_features), "--max_features");
  }
  if (auto s = CheckFeatureNames(wanted); !s.ok()) return s;
  NormalizerDefinition definition;
  const auto kind = ParseKind(wanted);
  if (!kind.ok()) return kind.status();
  definition.kind = *kind;
  definition.id = request.normalizer_id();
  definition.features = static_cast<uint64_t>(wanted.features());
  definition.feature_names = {wanted.feature_names().begin(),
                              wanted.feature_names().end()};
  for (const char* path : {"labels", "scaling", "nonfinite", "warm_up"}) {
    if (auto s = ApplyChange(path, wanted, &definition); !s.ok()) return s;
  }
  return definition;
}

absl::Status ApplyChange(absl::string_view path, const v1::Normalizer& wanted,
                         NormalizerDefinition* definition) {
  if (path == "labels") {
    if (auto s = CheckLabels(wanted); !s.ok()) return s;
    definition->labels = {wanted.labels().begin(), wanted.labels().end()};
  } else if (path == "scaling") {
    auto rule = ParseScaling(wanted.scaling());
    if (!rule.ok()) return rule.status();
    if (auto s = FitToKind(definition->kind, wanted.scaling(), &*rule);
        !s.ok()) {
      return s;
    }
    if (rule->method != ScalingMethod::kStandard &&
        definition->warm_up.answer == WarmUpAnswer::kPrior) {
      return InvalidField("normalizer.scaling.method", "one made of extremes",
                          "STANDARD, because warm_up.answer is PRIOR");
    }
    definition->scaling = *rule;
    definition->scaling_preset = wanted.scaling().preset();
  } else if (path == "nonfinite") {
    const auto policies = ParsePolicies(wanted.nonfinite());
    if (!policies.ok()) return policies.status();
    definition->nonfinite = *policies;
  } else if (path == "warm_up") {
    auto warm_up = ParseWarmUp(wanted.warm_up(), definition->features,
                               definition->scaling);
    if (!warm_up.ok()) return warm_up.status();
    definition->warm_up = *std::move(warm_up);
  } else if (path == "window" || path == "moments") {
    return InvalidField("update_mask", Quoted(path),
                        "labels, scaling, nonfinite or warm_up (what was "
                        "counted under one window or kind of moments says "
                        "nothing under another; create another normalizer)");
  } else {
    return InvalidField("update_mask", Quoted(path),
                        "labels, scaling, nonfinite or warm_up (other fields "
                        "can't be changed)");
  }
  return absl::OkStatus();
}

}  // namespace streamnorm
