#include "stats/scaling.h"

#include <algorithm>
#include <array>
#include <cassert>
#include <cmath>
#include <limits>
#include <utility>

#include "stats/kernels.h"

namespace streamnorm {
namespace {

struct NamedRule {
  std::string_view name;
  ScalingRule rule;
};

constexpr ScalingRule Standard(EpsilonMode mode, double epsilon,
                               double clip = 0) {
  return {ScalingMethod::kStandard, mode, epsilon, clip, true, true};
}

constexpr std::array<NamedRule, 8> kPresets = {{
    {"standard", Standard(EpsilonMode::kNone, 0)},
    {"batchnorm", Standard(EpsilonMode::kInsideSqrt, 1e-5)},
    {"vecnormalize", Standard(EpsilonMode::kInsideSqrt, 1e-8, 10)},
    {"rsl_rl", Standard(EpsilonMode::kAddToStd, 1e-2)},
    {"keras", Standard(EpsilonMode::kFloorStd, 1e-7)},
    {"lerobot", Standard(EpsilonMode::kAddToStd, 1e-8)},
    {"minmax", {ScalingMethod::kMinMax, EpsilonMode::kNone, 0, 0, true, true}},
    {"maxabs", {ScalingMethod::kMaxAbs, EpsilonMode::kNone, 0, 0, true, true}},
}};

double StandardDenominator(const ScalingRule& rule, double variance) {
  switch (rule.epsilon_mode) {
    case EpsilonMode::kNone:
      return std::sqrt(variance);
    case EpsilonMode::kInsideSqrt:
      return std::sqrt(variance + rule.epsilon);
    case EpsilonMode::kAddToStd:
      return std::sqrt(variance) + rule.epsilon;
    case EpsilonMode::kFloorStd:
      return std::max(std::sqrt(variance), rule.epsilon);
  }
  return 1;
}

// Statistics of one feature that a rule looks at.
struct FeatureView {
  uint64_t count;
  double mean, mean_tail, variance, minimum, maximum;
};

// One feature's row of a ScalingTable.
struct FeatureScaling {
  double offset = 0, offset_tail = 0, denominator = 1, scale = 1;
};

FeatureScaling ScaleFeature(const ScalingRule& rule, const FeatureView& f) {
  FeatureScaling s;
  if (f.count == 0) return s;
  const bool constant = IsConstant(f.mean, f.variance, f.count);
  switch (rule.method) {
    case ScalingMethod::kStandard:
      s.offset = f.mean;
      s.offset_tail = f.mean_tail;
      if (!constant) s.denominator = StandardDenominator(rule, f.variance);
      break;
    case ScalingMethod::kMinMax:
      if (f.minimum > f.maximum) return {};  // extremes never came
      s.offset = f.minimum;
      if (!constant) s.denominator = f.maximum - f.minimum;
      break;
    case ScalingMethod::kMaxAbs:
      if (f.minimum > f.maximum) return {};
      s.denominator = std::max(std::fabs(f.minimum), std::fabs(f.maximum));
      break;
  }
  if (!rule.center) s.offset = s.offset_tail = 0;
  // A denominator whose inverse overflows, or that itself did, scales nothing.
  const double scale = 1 / s.denominator;
  if (rule.scale && std::isfinite(s.denominator) && std::isfinite(scale)) {
    s.scale = scale;
  } else {
    s.denominator = 1;
  }
  return s;
}

void SetRow(size_t j, const FeatureScaling& s, ScalingTable* table) {
  table->offset[j] = s.offset;
  table->offset_tail[j] = s.offset_tail;
  table->denominator[j] = s.denominator;
  table->scale[j] = s.scale;
}

FeatureView View(const Moments& m, size_t j) {
  return {m.count(j),    m.mean()[j],    m.mean_tail()[j],
          m.variance(j), m.minimum()[j], m.maximum()[j]};
}

double At(const std::vector<double>& one_or_all, size_t j) {
  return one_or_all.size() == 1 ? one_or_all[0] : one_or_all[j];
}

// Merges the prior as `pseudo_rows` rows of its mean and variance.
FeatureView WithPrior(const FeatureView& f, const Prior& prior, size_t j) {
  const double mean = At(prior.mean, j);
  const double variance = At(prior.variance, j);
  const auto n = static_cast<double>(f.count);
  const double total = n + prior.pseudo_rows;
  const double d = mean - (f.mean + f.mean_tail);
  const double share = prior.pseudo_rows / total;
  FeatureView topped = f;
  // More would not change what counts as constant, and might not fit.
  const double pseudo_rows = std::min(std::ceil(prior.pseudo_rows), 1e9);
  topped.count =
      std::max(uint64_t{1}, f.count + static_cast<uint64_t>(pseudo_rows));
  topped.mean = f.count == 0 ? mean : f.mean + (f.mean_tail + d * share);
  topped.mean_tail = 0;
  topped.variance = f.count == 0 ? variance
                                 : f.variance * (n / total) + variance * share +
                                       d * d * share * (n / total);
  return topped;
}

// Elementwise fallback and description of what a kernel stumbled over.
// `transform` maps a finite x to z and counts limits.
template <typename Transform>
ApplyResult ApplyElements(const TensorView& input,
                          const NonfinitePolicies& policies, uint8_t* output,
                          Transform transform) {
  ApplyResult result;
  const double bound = LargestFinite(input.type);
  const size_t size = ElementSize(input.type);
  for (size_t r = 0; r < input.rows; ++r) {
    for (size_t j = 0; j < input.features; ++j) {
      const size_t at = r * input.features + j;
      double x;
      LoadAsDouble(input, at, 1, &x);
      double z = x;  // NaN and infinity pass through
      if (std::isfinite(x)) {
        z = transform(x, j, &result.clipped_values);
        // What would still round to the bound counts as overflow, here as
        // in ApplyRows and FindOutputOverflow.
        if (!(std::fabs(z) <= bound)) {
          result.problem = {ValueProblem::kOutputOverflow, r, j};
          return result;
        }
      } else {
        const bool nan = std::isnan(x);
        if ((nan ? policies.nan : policies.infinity) ==
            NonfinitePolicy::kReject) {
          result.problem = {nan ? ValueProblem::kNan : ValueProblem::kInfinite,
                            r, j};
          return result;
        }
        ++result.nonfinite_values;
      }
      StoreFromDouble(&z, 1, input.type, output + at * size);
    }
  }
  return result;
}

double Forward(const ScalingTable& table, double x, size_t j) {
  return (x - table.offset[j] - table.offset_tail[j]) * table.scale[j];
}

ApplyResult ApplySlowly(const TensorView& input, const ScalingTable& table,
                        const NonfinitePolicies& policies, uint8_t* output) {
  return ApplyElements(input, policies, output,
                       [&](double x, size_t j, uint64_t* clipped) {
                         const double z = Forward(table, x, j);
                         if (table.clip > 0 && std::fabs(z) > table.clip) {
                           ++*clipped;
                           return std::copysign(table.clip, z);
                         }
                         return z;
                       });
}

template <typename T>
bool ApplyAs(const TensorView& input, const ScalingTable& table,
             uint8_t* output, uint64_t* clipped) {
  return ApplyRows(reinterpret_cast<const T*>(input.data), input.rows,
                   input.features, table.offset.data(),
                   table.offset_tail.data(), table.scale.data(), table.clip,
                   reinterpret_cast<T*>(output), clipped);
}

// FP16 and BF16, a row at a time by way of doubles.
bool ApplyWidened(const TensorView& input, const ScalingTable& table,
                  uint8_t* output, uint64_t* clipped) {
  thread_local std::vector<double> x, z;
  const size_t features = input.features;
  x.resize(features);
  z.resize(features);
  const double bound = LargestFinite(input.type);
  for (size_t r = 0; r < input.rows; ++r) {
    LoadAsDouble(input, r * features, features, x.data());
    if (!ApplyRows(x.data(), 1, features, table.offset.data(),
                   table.offset_tail.data(), table.scale.data(), table.clip,
                   z.data(), clipped)) {
      return false;
    }
    for (const double value : z) {
      if (std::fabs(value) > bound) return false;
    }
    StoreFromDouble(z.data(), features, input.type,
                    output + r * features * ElementSize(input.type));
  }
  return true;
}

// Returns false if something is not finite: then the output is not to be used.
bool ApplyFast(const TensorView& input, const ScalingTable& table,
               uint8_t* output, uint64_t* clipped) {
  switch (input.type) {
    case DataType::kFp32:
      return ApplyAs<float>(input, table, output, clipped);
    case DataType::kFp64:
      return ApplyAs<double>(input, table, output, clipped);
    case DataType::kFp16:
    case DataType::kBf16:
      return ApplyWidened(input, table, output, clipped);
  }
  return false;
}

}  // namespace

std::optional<ScalingRule> PresetRule(std::string_view preset) {
  for (const NamedRule& named : kPresets) {
    if (named.name == preset) return named.rule;
  }
  return std::nullopt;
}

std::string PresetNames() {
  std::string names;
  for (const NamedRule& named : kPresets) {
    if (!names.empty()) names += ", ";
    names += named.name;
  }
  return names;
}

bool IsConstant(double mean, double variance, uint64_t count) {
  constexpr uint64_t kCountLimit = 1024;
  const auto m = static_cast<double>(std::min(count, kCountLimit));
  const double eps = std::numeric_limits<double>::epsilon();
  const double mean_part = m * mean * eps;
  return variance <= m * eps * variance + mean_part * mean_part;
}

void ScalingTable::Resize(size_t features) {
  offset.resize(features);
  offset_tail.resize(features);
  scale.resize(features);
  denominator.resize(features);
}

void ComputeScaling(const ScalingRule& rule, const Moments& moments,
                    ScalingTable* table) {
  table->Resize(moments.features());
  table->clip = rule.clip;
  for (size_t j = 0; j < moments.features(); ++j) {
    SetRow(j, ScaleFeature(rule, View(moments, j)), table);
  }
}

void ComputeScalingWithPrior(const ScalingRule& rule, const Moments& moments,
                             const Prior& prior, ScalingTable* table) {
  table->Resize(moments.features());
  table->clip = rule.clip;
  for (size_t j = 0; j < moments.features(); ++j) {
    SetRow(j, ScaleFeature(rule, WithPrior(View(moments, j), prior, j)), table);
  }
}

void IdentityScaling(size_t features, ScalingTable* table) {
  table->Resize(features);
  table->clip = 0;
  for (size_t j = 0; j < features; ++j) SetRow(j, {}, table);
}

void CenterScaling(const Moments& batch, ScalingTable* table) {
  table->Resize(batch.features());
  table->clip = 0;
  for (size_t j = 0; j < batch.features(); ++j) {
    SetRow(j, {batch.mean()[j], batch.mean_tail()[j], 1}, table);
  }
}

ApplyResult Apply(const TensorView& input, const ScalingTable& table,
                  const NonfinitePolicies& policies, uint8_t* output) {
  assert(table.offset.size() == input.features);
  ApplyResult result;
  if (ApplyFast(input, table, output, &result.clipped_values)) return result;
  return ApplySlowly(input, table, policies, output);
}

ApplyResult ApplyInverse(const TensorView& input, const ScalingTable& table,
                         const NonfinitePolicies& policies, uint8_t* output) {
  assert(table.offset.size() == input.features);
  return ApplyElements(input, policies, output,
                       [&](double z, size_t j, uint64_t* clipped) {
                         if (table.clip > 0 && std::fabs(z) >= table.clip)
                           ++*clipped;
                         return z * table.denominator[j] +
                                table.offset_tail[j] + table.offset[j];
                       });
}

std::optional<size_t> FindOutputOverflow(const BatchExtremes& extremes,
                                         const ScalingTable& table,
                                         DataType type) {
  const double bound = LargestFinite(type);
  if (table.clip > 0 && table.clip <= bound) return std::nullopt;
  for (size_t j = 0; j < extremes.minimum.size(); ++j) {
    if (extremes.minimum[j] > extremes.maximum[j]) continue;  // none counts
    const double low = Forward(table, extremes.minimum[j], j);
    const double high = Forward(table, extremes.maximum[j], j);
    if (!(std::fabs(low) <= bound && std::fabs(high) <= bound)) return j;
  }
  return std::nullopt;
}

}  // namespace streamnorm
