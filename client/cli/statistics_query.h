#ifndef STREAMNORM_CLIENT_CLI_STATISTICS_QUERY_H_
#define STREAMNORM_CLIENT_CLI_STATISTICS_QUERY_H_

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "client/streamnorm_client.h"

namespace streamnorm {

// The statistics of some features of a normalizer.
struct StatisticsTable {
  std::string name;
  uint64_t generation = 0;
  uint64_t row_count = 0;

  // Large normalizers are read in parts; rows counted meanwhile show as a
  // revision that moves.
  uint64_t first_revision = 0;
  uint64_t last_revision = 0;

  bool has_names = false;
  std::vector<v1::FeatureStatistics> features;
};

// "0-9,31": feature numbers from 0, sorted, each once. A usage error beyond
// `features`.
absl::StatusOr<std::vector<int64_t>> ParseFeatureRanges(absl::string_view text,
                                                        int64_t features);

// "mean*,radius": the features whose names match one of the globs. NOT_FOUND
// if one matches nothing.
absl::StatusOr<std::vector<int64_t>> MatchFeatureNames(
    absl::string_view globs, const v1::Normalizer& normalizer);

// Reads the statistics of `indices` (sorted) in parts that fit a message.
absl::StatusOr<StatisticsTable> ReadStatistics(
    Client* client, const v1::Normalizer& normalizer,
    const std::vector<int64_t>& indices);

// Numbers largest first; names and indices ascending; `reverse` turns that
// around. Features without values, and NaN, come last.
// REQUIRES: `key` is one of SortKeys().
void SortStatistics(const std::string& key, bool reverse,
                    std::vector<v1::FeatureStatistics>* features);

// "index", "name", "count" and so on.
std::vector<std::string> SortKeys();

}  // namespace streamnorm

#endif  // STREAMNORM_CLIENT_CLI_STATISTICS_QUERY_H_
