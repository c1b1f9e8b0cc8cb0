#include "stats/scaling.h"

#include <algorithm>
#include <array>
#include <cassert>
#include <cmath>
#include <limits>
#include <utility>

#include "stats/half.h"
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

TableColumns ColumnsOf(ScalingTable* table) {
  return {table->offset.data(), table->offset_tail.data(), table->scale.data(),
          table->denominator.data()};
}

ForwardColumns ColumnsOf(const ScalingTable& table) {
  return {table.offset.data(), table.offset_tail.data(), table.scale.data()};
}

// Statistics of one feature that a prior changes.
struct FeatureView {
  double count, mean, variance;
};

double At(const std::vector<double>& one_or_all, size_t j) {
  return one_or_all.size() == 1 ? one_or_all[0] : one_or_all[j];
}

// `m` and the prior as `pseudo_rows` rows of its mean and variance.
FeatureView WithPrior(const Moments& m, const Prior& prior, size_t j) {
  const double mean = At(prior.mean, j);
  const double variance = At(prior.variance, j);
  const auto n = static_cast<double>(m.count(j));
  // More would not change what counts as constant.
  const double count = std::max(1.0, n + std::ceil(prior.pseudo_rows));
  if (m.count(j) == 0) return {count, mean, variance};
  const double total = n + prior.pseudo_rows;
  const double d = mean - (m.mean()[j] + m.mean_tail()[j]);
  const double share = prior.pseudo_rows / total;
  return {count, m.mean()[j] + (m.mean_tail()[j] + d * share),
          m.variance(j) * (n / total) + variance * share +
              d * d * share * (n / total)};
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
                   input.features, ColumnsOf(table), table.clip,
                   reinterpret_cast<T*>(output), clipped);
}

template <typename T>
uint64_t ApplyFiniteAs(const TensorView& input, const ScalingTable& table,
                       uint8_t* output) {
  return ApplyFiniteRows(reinterpret_cast<const T*>(input.data), input.rows,
                         input.features, ColumnsOf(table), table.clip,
                         reinterpret_cast<T*>(output));
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
      return ApplyAs<Half>(input, table, output, clipped);
    case DataType::kBf16:
      return ApplyAs<Bfloat16>(input, table, output, clipped);
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
  const double m = std::min(static_cast<double>(count), kConstantCountLimit);
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
  if (moments.row_count() == 0) {
    IdentityScaling(moments.features(), table);
    table->clip = rule.clip;
    return;
  }
  table->Resize(moments.features());
  table->clip = rule.clip;
  thread_local std::vector<double> counts;
  counts.assign(moments.feature_counts().begin(),
                moments.feature_counts().end());
  const ScalingInput in{
      ColumnsOf(moments), counts.empty() ? nullptr : counts.data(),
      static_cast<double>(moments.row_count()), moments.m2_is_variance()};
  ScaleFeatures(rule, moments.features(), in, ColumnsOf(table));
}

void ComputeScalingWithPrior(const ScalingRule& rule, const Moments& moments,
                             const Prior& prior, ScalingTable* table) {
  const size_t features = moments.features();
  table->Resize(features);
  table->clip = rule.clip;
  std::vector<double> counts(features), mean(features), variance(features);
  for (size_t j = 0; j < features; ++j) {
    const FeatureView topped = WithPrior(moments, prior, j);
    counts[j] = topped.count;
    mean[j] = topped.mean;
    variance[j] = topped.variance;
  }
  const std::vector<double> no_tail(features);
  ScalingInput in{ColumnsOf(moments), counts.data(), 0, true};
  in.columns.mean = mean.data();
  in.columns.m2 = variance.data();
  in.columns.mean_tail = in.columns.m2_tail = no_tail.data();
  ScaleFeatures(rule, features, in, ColumnsOf(table));
}

void IdentityScaling(size_t features, ScalingTable* table) {
  table->clip = 0;
  table->offset.assign(features, 0.0);
  table->offset_tail.assign(features, 0.0);
  table->scale.assign(features, 1.0);
  table->denominator.assign(features, 1.0);
}

void CenterScaling(const Moments& batch, ScalingTable* table) {
  IdentityScaling(batch.features(), table);
  table->offset.assign(batch.mean().begin(), batch.mean().end());
  table->offset_tail.assign(batch.mean_tail().begin(), batch.mean_tail().end());
}

uint64_t ApplyCounted(const TensorView& input, const ScalingTable& table,
                      uint8_t* output) {
  assert(table.offset.size() == input.features);
  switch (input.type) {
    case DataType::kFp32:
      return ApplyFiniteAs<float>(input, table, output);
    case DataType::kFp64:
      return ApplyFiniteAs<double>(input, table, output);
    case DataType::kFp16:
      return ApplyFiniteAs<Half>(input, table, output);
    case DataType::kBf16:
      return ApplyFiniteAs<Bfloat16>(input, table, output);
  }
  return 0;
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
  const size_t features = extremes.minimum.size();
  if (AllFit(extremes.minimum.data(), extremes.maximum.data(), features,
             ColumnsOf(table), bound)) {
    return std::nullopt;
  }
  for (size_t j = 0; j < features; ++j) {
    if (extremes.minimum[j] > extremes.maximum[j]) continue;  // none counts
    const double low = Forward(table, extremes.minimum[j], j);
    const double high = Forward(table, extremes.maximum[j], j);
    if (!(std::fabs(low) <= bound && std::fabs(high) <= bound)) return j;
  }
  return std::nullopt;
}

}  // namespace streamnorm
