#ifndef STREAMNORM_STATS_FUSED_UPDATE_H_
#define STREAMNORM_STATS_FUSED_UPDATE_H_

#include <cstddef>
#include <cstdint>

#include "stats/moments.h"
#include "stats/scaling.h"
#include "stats/tensor_view.h"

namespace streamnorm {

// Up to here a batch stays in L1 while it is counted and normalized.
inline constexpr size_t kFusedBytes = size_t{16} << 10;

// The statistics that a batch is normalized with.
enum class Basis : uint8_t { kBefore, kAfter };

// Counts the rows of `batch` on top of `before` into `*after` and normalizes
// them into `output` in one go: the same as Fold, ComputeScaling and Apply to
// the last bit. Adds the clipped values to `*clipped`. With Basis::kBefore that
// is one pass over a batch of any size.
//
// Returns false for what it is not made for: batches that are larger than
// kFusedBytes under Basis::kAfter, that outweigh `before` or overlap `output`;
// features with counts of their own, moments that are not plain, values that
// are not finite, an overflow.
// Then `*after` and the output, unless it overlaps, are unspecified, and Fold,
// ComputeScaling and Apply do it or say what is wrong.
// REQUIRES: batch.features == before.features().
bool FoldAndNormalize(const TensorView& batch, const ScalingRule& rule,
                      Basis basis, const Moments& before, Moments* after,
                      uint8_t* output, uint64_t* clipped);

}  // namespace streamnorm

#endif  // STREAMNORM_STATS_FUSED_UPDATE_H_
