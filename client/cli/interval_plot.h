#ifndef STREAMNORM_CLIENT_CLI_INTERVAL_PLOT_H_
#define STREAMNORM_CLIENT_CLI_INTERVAL_PLOT_H_

#include <cstddef>
#include <optional>
#include <string>
#include <vector>

namespace streamnorm {

// A line of the plot: mean - sd to mean + sd.
struct Interval {
  std::string label;
  double mean = 0;
  std::optional<double> sd;  // absent: nothing is known, not even the mean
};

// All intervals over one axis, `width` columns wide (40 at least); with the
// characters of Unicode's boxes, or of ASCII. Finite means and sds, as the
// server's are; their differences may overflow.
std::string PlotIntervals(const std::vector<Interval>& intervals, size_t width,
                          bool unicode);

// As wide as the terminal on stdout, else 80.
size_t PlotWidth();

// Whether the locale says that the terminal knows UTF-8.
bool UnicodeAllowed();

}  // namespace streamnorm

#endif  // STREAMNORM_CLIENT_CLI_INTERVAL_PLOT_H_
