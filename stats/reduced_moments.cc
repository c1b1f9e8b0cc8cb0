#include "stats/reduced_moments.h"

#include <algorithm>
#include <cassert>
#include <vector>

#include "stats/kernels.h"

namespace streamnorm {
namespace {

bool OneCountServesAll(const Moments& moments) {
  return moments.feature_counts().empty() && moments.missing_counts().empty() &&
         moments.infinite_counts().empty();
}

// Where a loop without a branch per feature does it.
bool MergeColumnsOnto(const ReducedMoments& reduced, const Moments& before,
                      Moments* after) {
  after->CopyCounts(before);
  after->set_row_count(before.row_count() + reduced.rows);
  const MomentsKind& kind = before.kind();
  if (!kind.plain()) {
    const bool mean_only = kind.mean_only;
    return MergeShared({reduced.features,
                        SharesOf(kind.window, before.row_count(), reduced.rows),
                        static_cast<double>(reduced.rows), reduced.mean,
                        mean_only ? nullptr : reduced.m2,
                        mean_only ? nullptr : reduced.minimum,
                        mean_only ? nullptr : reduced.maximum,
                        ColumnsOf(before), ColumnsOf(after)});
  }
  return MergeReduced({reduced.features, static_cast<double>(reduced.rows),
                       static_cast<double>(before.row_count()), reduced.mean,
                       reduced.m2, reduced.minimum, reduced.maximum,
                       ColumnsOf(before), ColumnsOf(after)});
}

}  // namespace

Moments ToMoments(const ReducedMoments& reduced) {
  Moments moments(reduced.features);
  moments.set_row_count(reduced.rows);
  if (reduced.counts != nullptr) {
    moments.set_feature_counts(std::vector<uint64_t>(
        reduced.counts, reduced.counts + reduced.features));
  }
  for (size_t j = 0; j < reduced.features; ++j) {
    if (reduced.count(j) == 0) continue;
    moments.mean()[j] = reduced.mean[j];
    if (reduced.m2 != nullptr) moments.m2()[j] = reduced.m2[j];
    if (reduced.minimum == nullptr) continue;
    moments.minimum()[j] = reduced.minimum[j];
    moments.maximum()[j] = reduced.maximum[j];
  }
  return moments;
}

bool MergeOnto(const ReducedMoments& reduced, const Moments& before,
               Moments* after, size_t* feature) {
  assert(reduced.features == before.features());
  if (before.row_count() > 0 && reduced.counts == nullptr &&
      OneCountServesAll(before) && MergeColumnsOnto(reduced, before, after)) {
    return true;
  }
  // For its memory: one that was larger before would keep what it does not
  // need.
  after->CopyCounts(before);
  *after = before;
  after->Merge(ToMoments(reduced));
  return after->IsFinite(feature);
}

void WriteStatistics(const Moments& moments, const ScalingTable& table,
                     const MergedStatistics& out) {
  std::copy(moments.mean().begin(), moments.mean().end(), out.mean);
  if (moments.kind().mean_only) return;
  for (size_t j = 0; j < moments.features(); ++j) {
    out.variance[j] = moments.variance(j);
  }
  std::copy(table.offset.begin(), table.offset.end(), out.offset);
  std::copy(table.scale.begin(), table.scale.end(), out.scale);
}

void ScaleAndWrite(const ScalingRule& rule, const Moments& moments,
                   ScalingTable* table, const MergedStatistics& out) {
  if (moments.kind().mean_only) return WriteStatistics(moments, *table, out);
  const bool plain =
      rule.method == ScalingMethod::kStandard && rule.center && rule.scale;
  if (plain && moments.row_count() > 0 && !moments.has_feature_counts()) {
    const ScalingInput in{ColumnsOf(moments), nullptr,
                          static_cast<double>(moments.row_count()),
                          moments.m2_is_variance()};
    return DescribeFeatures(rule, moments.features(), in,
                            {out.mean, out.variance, out.offset, out.scale});
  }
  ComputeScaling(rule, moments, table);
  WriteStatistics(moments, *table, out);
}

}  // namespace streamnorm
