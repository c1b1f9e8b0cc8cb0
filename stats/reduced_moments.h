#ifndef STREAMNORM_STATS_REDUCED_MOMENTS_H_
#define STREAMNORM_STATS_REDUCED_MOMENTS_H_

#include <cstddef>
#include <cstdint>

#include "stats/moments.h"
#include "stats/scaling.h"

namespace streamnorm {

// Moments that someone else reduced rows to, where they lie: a view of
// [features] doubles each, without tails.
struct ReducedMoments {
  size_t features = 0;
  uint64_t rows = 0;
  const double* mean = nullptr;
  const double* m2 = nullptr;  // null: not known, for moments that keep none

  // Both or neither (not known).
  const double* minimum = nullptr;
  const double* maximum = nullptr;

  // Values that count, or null: all rows. Where none does, the columns say
  // nothing.
  const uint64_t* counts = nullptr;

  uint64_t count(size_t j) const {
    return counts == nullptr ? rows : counts[j];
  }
};

// A copy that can be merged.
Moments ToMoments(const ReducedMoments& reduced);

// `*after` = `before` and `reduced`: the same as Moments::Merge to the last
// bit. Returns false if a mean or m2 is not finite, and sets `*feature` to the
// first such; then `*after` is unspecified.
// REQUIRES: reduced.features == before.features(), m2 is there unless `before`
// keeps the mean only, every value of `reduced`
// that counts is finite and no m2 negative; `after` is not `before`.
bool MergeOnto(const ReducedMoments& reduced, const Moments& before,
               Moments* after, size_t* feature);

// Where statistics are written: [features] each. Of moments that keep the mean
// only there is nothing else, and the others may be null.
struct MergedStatistics {
  double *mean, *variance, *offset, *scale;
};

// Mean and population variance of `moments`, and offset and scale of `table`,
// which was computed for them.
void WriteStatistics(const Moments& moments, const ScalingTable& table,
                     const MergedStatistics& out);

// ComputeScaling and WriteStatistics in one go: the same to the last bit.
void ScaleAndWrite(const ScalingRule& rule, const Moments& moments,
                   ScalingTable* table, const MergedStatistics& out);

}  // namespace streamnorm

#endif  // STREAMNORM_STATS_REDUCED_MOMENTS_H_
