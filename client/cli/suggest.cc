#include "client/cli/suggest.h"

#include <algorithm>

#include "absl/strings/match.h"

namespace streamnorm {

size_t EditDistance(absl::string_view a, absl::string_view b) {
  // distance[i][j]: from the first i characters of a to the first j of b.
  std::vector<std::vector<size_t>> distance(a.size() + 1,
                                            std::vector<size_t>(b.size() + 1));
  for (size_t i = 0; i <= a.size(); ++i) distance[i][0] = i;
  for (size_t j = 0; j <= b.size(); ++j) distance[0][j] = j;
  for (size_t i = 1; i <= a.size(); ++i) {
    for (size_t j = 1; j <= b.size(); ++j) {
      const size_t replaced =
          distance[i - 1][j - 1] + (a[i - 1] == b[j - 1] ? 0 : 1);
      size_t best =
          std::min({replaced, distance[i - 1][j] + 1, distance[i][j - 1] + 1});
      const bool swapped =
          i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1];
      if (swapped) best = std::min(best, distance[i - 2][j - 2] + 1);
      distance[i][j] = best;
    }
  }
  return distance[a.size()][b.size()];
}

std::optional<std::string> NearestTo(
    absl::string_view mistyped, const std::vector<std::string>& candidates) {
  std::optional<std::string> nearest;
  // One mistake in three characters is still recognized.
  size_t best = mistyped.size() / 3 + 1;
  for (const std::string& candidate : candidates) {
    const bool abbreviated =
        mistyped.size() >= 3 && absl::StartsWith(candidate, mistyped);
    const size_t distance = abbreviated ? 1 : EditDistance(mistyped, candidate);
    if (distance > best || (nearest && distance == best)) continue;
    best = distance;
    nearest = candidate;
  }
  return nearest;
}

}  // namespace streamnorm
