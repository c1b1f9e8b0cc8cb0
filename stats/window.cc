#include "stats/window.h"

#include <algorithm>
#include <cassert>
#include <cmath>

namespace streamnorm {
namespace {

// The weight of a row is e^-decay times what it was one row before.
double DecayOf(const Window& window) {
  constexpr double kLn2 = 0.693147180559945309417232121458;
  return window.kind == Window::Kind::kHalfLifeRows
             ? kLn2 / window.rows
             : -std::log1p(-1 / window.rows);
}

}  // namespace

Shares SharesOf(const Window& window, uint64_t count_before, uint64_t count) {
  assert(count_before + count > 0);
  if (count_before == 0) return {0, 1};
  if (count == 0) return {1, 0};
  const auto n_before = static_cast<double>(count_before);
  const auto n = static_cast<double>(count);
  if (!window.fades()) {
    return {n_before / (n_before + n), n / (n_before + n)};
  }
  // The weights of all batches so far add up to 1 - e^(-decay n), whatever the
  // batches were, so that the counts say all: nothing is kept besides them.
  const double decay = DecayOf(window);
  const double total = -std::expm1(-decay * (n_before + n));
  const double before = -std::expm1(-decay * n_before) * std::exp(-decay * n);
  const double batch = -std::expm1(-decay * n);
  return {std::min(1.0, before / total), std::min(1.0, batch / total)};
}

}  // namespace streamnorm
