#ifndef STREAMNORM_STATS_SCALING_H_
#define STREAMNORM_STATS_SCALING_H_

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "stats/moments.h"
#include "stats/tensor_view.h"

namespace streamnorm {

enum class ScalingMethod : uint8_t { kStandard, kMinMax, kMaxAbs };
enum class EpsilonMode : uint8_t { kNone, kInsideSqrt, kAddToStd, kFloorStd };

// How statistics become an offset and a scale (docs/numerics.md).
struct ScalingRule {
  ScalingMethod method = ScalingMethod::kStandard;
  EpsilonMode epsilon_mode = EpsilonMode::kNone;
  double epsilon = 0;  // >= 0
  double clip = 0;     // 0 = outputs are not limited
  bool center = true;
  bool scale = true;

  bool operator==(const ScalingRule&) const = default;
};

// The rule of a known library: standard, batchnorm, vecnormalize, rsl_rl,
// keras, lerobot, minmax, maxabs. Absent for any other name.
std::optional<ScalingRule> PresetRule(std::string_view preset);

// The preset names, for messages.
std::string PresetNames();

// Statistics to lean on while there are too few rows.
struct Prior {
  std::vector<double> mean;      // [features] or [1]
  std::vector<double> variance;  // likewise
  double pseudo_rows = 0;        // > 0

  bool operator==(const Prior&) const = default;
};

enum class WarmUpAnswer : uint8_t { kCenter, kError, kIdentity, kPrior };

struct WarmUp {
  uint64_t minimum_rows = 2;
  WarmUpAnswer answer = WarmUpAnswer::kCenter;
  Prior prior;  // kPrior only

  bool operator==(const WarmUp&) const = default;
};

// True if the feature does not vary beyond what rounding explains:
// var <= m eps var + (m mean eps)^2 with m = min(n, 1024). This is
// scikit-learn's bound (sklearn.preprocessing._data._is_constant_feature) with
// n held at 1024, because our error does not grow with the stream
// (docs/decisions/0002-constant-features.md).
bool IsConstant(double mean, double variance, uint64_t count);
inline constexpr double kConstantCountLimit = 1024;

// z = (x - offset - offset_tail) * scale, limited to [-clip, clip].
// x = z * denominator + offset + offset_tail.
struct ScalingTable {
  std::vector<double> offset;
  std::vector<double> offset_tail;  // what the double `offset` can't hold
  std::vector<double> scale;        // 1 / denominator
  std::vector<double> denominator;
  double clip = 0;

  void Resize(size_t features);
};

// The table of `rule` for `moments`. A constant feature (under kMaxAbs: one
// that is always 0), and one without values, has denominator 1.
void ComputeScaling(const ScalingRule& rule, const Moments& moments,
                    ScalingTable* table);

// Likewise for `moments` topped up with `pseudo_rows` rows of the prior's mean
// and variance. Those have no extremes: kMinMax and kMaxAbs do without them.
void ComputeScalingWithPrior(const ScalingRule& rule, const Moments& moments,
                             const Prior& prior, ScalingTable* table);

// z = x.
void IdentityScaling(size_t features, ScalingTable* table);

// z = x - mean of the batch, scale 1 (WarmUpAnswer::kCenter). `batch` are the
// moments of the batch alone.
void CenterScaling(const Moments& batch, ScalingTable* table);

struct ApplyResult {
  uint64_t nonfinite_values = 0;  // in the input; passed through
  uint64_t clipped_values = 0;
  ValueProblem problem;  // kNan, kInfinite or kOutputOverflow; output unusable
};

// Normalizes `input` into `output` (same shape and type, not overlapping, no
// alignment needed). NaN and infinity pass through where `policies` skip them.
ApplyResult Apply(const TensorView& input, const ScalingTable& table,
                  const NonfinitePolicies& policies, uint8_t* output);

// Apply for a batch that was just counted: returns the number of clipped
// values. REQUIRES: Fold skipped no value of `input`, and FindOutputOverflow
// found no feature, with this table.
uint64_t ApplyCounted(const TensorView& input, const ScalingTable& table,
                      uint8_t* output);

// The inverse. `clipped_values` counts inputs at the limit: those can't be
// inverted.
ApplyResult ApplyInverse(const TensorView& input, const ScalingTable& table,
                         const NonfinitePolicies& policies, uint8_t* output);

// The first feature whose normalized extreme would not fit `type`. With it an
// update is refused before anything is counted.
std::optional<size_t> FindOutputOverflow(const BatchExtremes& extremes,
                                         const ScalingTable& table,
                                         DataType type);

}  // namespace streamnorm

#endif  // STREAMNORM_STATS_SCALING_H_
