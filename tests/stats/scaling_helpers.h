#ifndef STREAMNORM_TESTS_STATS_SCALING_HELPERS_H_
#define STREAMNORM_TESTS_STATS_SCALING_HELPERS_H_

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "stats/moments.h"
#include "stats/scaling.h"
#include "stats/tensor_view.h"
#include "tests/stats/oracle.h"

namespace streamnorm {

inline constexpr DataType kTypes[] = {DataType::kFp64, DataType::kFp32,
                                      DataType::kFp16, DataType::kBf16};

inline ScalingRule Rule(const std::string& preset) {
  return PresetRule(preset).value();
}

inline ScalingTable TableOf(const ScalingRule& rule, const Moments& moments) {
  ScalingTable table;
  ComputeScaling(rule, moments, &table);
  return table;
}

inline Moments MomentsOf(const std::vector<double>& values,
                         size_t features = 1) {
  return FoldAll(ViewOf(values, features));
}

// The output of Apply or ApplyInverse beside its result.
struct Applied {
  ApplyResult result;
  std::vector<double> values;
};

using Application = ApplyResult (*)(const TensorView&, const ScalingTable&,
                                    const NonfinitePolicies&, uint8_t*);

inline Applied Through(Application apply, const TensorView& input,
                       const ScalingTable& table,
                       NonfinitePolicies policies = kSkipAll) {
  std::vector<uint8_t> bytes(input.size_bytes());
  Applied applied{apply(input, table, policies, bytes.data()),
                  std::vector<double>(input.rows * input.features)};
  TensorView output = input;
  output.data = bytes.data();
  LoadAsDouble(output, 0, applied.values.size(), applied.values.data());
  return applied;
}

inline Applied Normalize(const std::vector<double>& x,
                         const ScalingTable& table,
                         DataType type = DataType::kFp64) {
  return Through(Apply, StoredRows(x, table.offset.size(), type).view(), table);
}

}  // namespace streamnorm

#endif  // STREAMNORM_TESTS_STATS_SCALING_HELPERS_H_
