#ifndef STREAMNORM_CLIENT_CLI_SUGGEST_H_
#define STREAMNORM_CLIENT_CLI_SUGGEST_H_

#include <cstddef>
#include <optional>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"

namespace streamnorm {

// Insertions, deletions, replacements and swaps of neighbours that turn one
// text into the other (optimal string alignment).
size_t EditDistance(absl::string_view a, absl::string_view b);

// The candidate that `mistyped` was most likely meant to be, if any is near.
std::optional<std::string> NearestTo(
    absl::string_view mistyped, const std::vector<std::string>& candidates);

}  // namespace streamnorm

#endif  // STREAMNORM_CLIENT_CLI_SUGGEST_H_
