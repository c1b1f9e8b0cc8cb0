#ifndef STREAMNORM_STATS_WINDOW_H_
#define STREAMNORM_STATS_WINDOW_H_

#include <cstdint>

namespace streamnorm {

// Which past rows count (docs/numerics.md, "Window").
struct Window {
  enum class Kind : uint8_t {
    kCumulative,    // all, each as much as any other
    kHalfLifeRows,  // a row counts half as much after `rows` more
    kWindowRows,    // (1 - 1 / rows) times as much after each one more
  };
  Kind kind = Kind::kCumulative;
  double rows = 0;  // half-life > 0 or window > 1; 0 under kCumulative

  // False where every row counts for ever.
  bool fades() const { return kind != Kind::kCumulative; }

  bool operator==(const Window&) const = default;
};

// What is kept of the rows.
struct MomentsKind {
  Window window;
  bool mean_only = false;  // no squares, no extremes

  // Count, mean, m2 and extremes of all rows.
  bool plain() const { return !mean_only && !window.fades(); }

  bool operator==(const MomentsKind&) const = default;
};

// How much of a result is what was before, and how much the batch: they add up
// to 1, each with all its digits.
struct Shares {
  double before = 0;
  double batch = 1;
};

// Of a batch of `count` values after `count_before` others. If the window
// fades, the batch has the weight a = 1 - 2^(-count / half-life), what was
// before the weight that is left of it, and the shares are those of their sum.
// REQUIRES: count_before + count > 0.
Shares SharesOf(const Window& window, uint64_t count_before, uint64_t count);

}  // namespace streamnorm

#endif  // STREAMNORM_STATS_WINDOW_H_
