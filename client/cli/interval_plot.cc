#include "client/cli/interval_plot.h"

#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <limits>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "client/cli/table.h"

namespace streamnorm {
namespace {

constexpr size_t kSmallestWidth = 40;
constexpr size_t kDefaultWidth = 80;
constexpr size_t kLongestLabel = 24;
// What is left for the axis if labels and numbers are long.
constexpr size_t kShortestAxis = 10;

struct Glyphs {
  const char* left;
  const char* line;
  const char* right;
  const char* mean;
  const char* plus_minus;
};
constexpr Glyphs kAscii = {"|", "-", "|", "*", " +- "};
constexpr Glyphs kUnicode = {"├", "─", "┤", "●", " ± "};

double Low(const Interval& i) { return i.mean - *i.sd; }
double High(const Interval& i) { return i.mean + *i.sd; }

// Halves, so that the length of the axis doesn't overflow.
class Axis {
 public:
  Axis(const std::vector<Interval>& intervals, size_t columns)
      : columns_(columns) {
    constexpr double kMax = std::numeric_limits<double>::max();
    double low = kMax, high = -kMax;
    for (const Interval& interval : intervals) {
      if (!interval.sd) continue;
      low = std::min(low, Low(interval));
      high = std::max(high, High(interval));
    }
    low_ = std::clamp(low, -kMax, kMax);
    high_ = std::clamp(high, -kMax, kMax);
  }

  double low() const { return low_; }
  double high() const { return high_; }

  size_t ColumnOf(double x) const {
    const double length = high_ / 2 - low_ / 2;
    if (!(length > 0)) return columns_ / 2;
    const double share = std::clamp((x / 2 - low_ / 2) / length, 0.0, 1.0);
    return static_cast<size_t>(
        std::lround(share * static_cast<double>(columns_ - 1)));
  }

 private:
  const size_t columns_;
  double low_ = 0;
  double high_ = 0;
};

std::string Bar(const Interval& interval, const Axis& axis,
                const Glyphs& glyphs) {
  const size_t left = axis.ColumnOf(Low(interval));
  const size_t mean = axis.ColumnOf(interval.mean);
  const size_t right = axis.ColumnOf(High(interval));
  std::string bar(left, ' ');
  for (size_t i = left; i <= right; ++i) {
    absl::StrAppend(&bar, i == mean    ? glyphs.mean
                          : i == left  ? glyphs.left
                          : i == right ? glyphs.right
                                       : glyphs.line);
  }
  return bar;
}

// Padded with spaces; cut, if need be, between characters.
std::string Fitted(absl::string_view text, size_t width) {
  std::string fitted(text);
  while (DisplayWidth(fitted) > width) {
    do {
      fitted.pop_back();
    } while (!fitted.empty() && (fitted.back() & 0xC0) == 0x80);
    if (!fitted.empty() && (fitted.back() & 0xC0) == 0xC0) fitted.pop_back();
  }
  return fitted + std::string(width - DisplayWidth(fitted), ' ');
}

std::string ValueOf(const Interval& interval, const Glyphs& glyphs) {
  if (!interval.sd) return "-";
  return absl::StrCat(ShortNumber(interval.mean), glyphs.plus_minus,
                      ShortNumber(*interval.sd));
}

// "low        high" over the bars.
std::string Scale(const Axis& axis, size_t columns) {
  std::string low = ShortNumber(axis.low());
  std::string high = ShortNumber(axis.high());
  if (low == high) return std::string(columns / 2, ' ') + low;
  if (low.size() + high.size() + 1 > columns) return low;
  return low + std::string(columns - low.size() - high.size(), ' ') + high;
}

}  // namespace

std::string PlotIntervals(const std::vector<Interval>& intervals, size_t width,
                          bool unicode) {
  const Glyphs& glyphs = unicode ? kUnicode : kAscii;
  size_t label_width = 0, value_width = 0;
  bool something = false;
  for (const Interval& interval : intervals) {
    label_width = std::max(label_width, DisplayWidth(interval.label));
    value_width =
        std::max(value_width, DisplayWidth(ValueOf(interval, glyphs)));
    something = something || interval.sd.has_value();
  }
  label_width = std::min(label_width, kLongestLabel);
  const size_t taken = label_width + value_width + 4;
  width = std::max(width, kSmallestWidth);
  const size_t columns =
      width > taken + kShortestAxis ? width - taken : kShortestAxis;
  const Axis axis(intervals, columns);

  std::string plot;
  if (something) {
    plot = absl::StrCat(std::string(label_width + 2, ' '), Scale(axis, columns),
                        "\n");
  }
  for (const Interval& interval : intervals) {
    const std::string bar =
        interval.sd ? Bar(interval, axis, glyphs) : std::string();
    absl::StrAppend(&plot, Fitted(Printable(interval.label), label_width), "  ",
                    Fitted(bar, columns), "  ", ValueOf(interval, glyphs),
                    "\n");
  }
  return plot;
}

size_t PlotWidth() {
  winsize size{};
  const bool known = ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0;
  return known && size.ws_col > 0 ? size.ws_col : kDefaultWidth;
}

bool UnicodeAllowed() {
  // The first that is set decides, as in setlocale.
  for (const char* name : {"LC_ALL", "LC_CTYPE", "LANG"}) {
    const char* value = std::getenv(name);
    if (value == nullptr || *value == '\0') continue;
    const std::string lower = absl::AsciiStrToLower(value);
    return absl::StrContains(lower, "utf-8") ||
           absl::StrContains(lower, "utf8");
  }
  return false;
}

}  // namespace streamnorm
