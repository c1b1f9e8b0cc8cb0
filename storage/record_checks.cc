#include "storage/record_checks.h"

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <string_view>
#include <vector>

#include "absl/strings/str_cat.h"
#include "stats/moments.h"
#include "stats/scaling.h"

namespace streamnorm {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();
constexpr double kLargest = std::numeric_limits<double>::max();

std::string Problem(std::string_view field, double got, const char* want) {
  return absl::StrCat(std::string(field), ": ", got, ", want ", want);
}

std::string Element(const char* field, size_t index) {
  return absl::StrCat(field, "[", index, "]");
}

bool IsFiniteNotNegative(double x) { return x >= 0 && x <= kLargest; }

std::string FindPriorProblem(const Prior& prior, uint64_t features,
                             bool needed) {
  const auto size_fits = [&](size_t size) {
    return size == 1 || size == features || (size == 0 && !needed);
  };
  if (!size_fits(prior.mean.size())) return "prior.mean: wrong size";
  if (!size_fits(prior.variance.size())) return "prior.variance: wrong size";
  for (size_t j = 0; j < prior.mean.size(); ++j) {
    if (!std::isfinite(prior.mean[j])) {
      return Problem(Element("prior.mean", j), prior.mean[j], "finite");
    }
  }
  for (size_t j = 0; j < prior.variance.size(); ++j) {
    if (!IsFiniteNotNegative(prior.variance[j])) {
      return Problem(Element("prior.variance", j), prior.variance[j], ">= 0");
    }
  }
  if (!IsFiniteNotNegative(prior.pseudo_rows) ||
      (needed && prior.pseudo_rows == 0)) {
    return Problem("prior.pseudo_rows", prior.pseudo_rows, "> 0");
  }
  return "";
}

// The tail of a double-double is at most half an ulp of its value; this allows
// two, and where the value is next to nothing the smallest normal double.
bool TailFits(double value, double tail) {
  return std::abs(tail) <=
         std::abs(value) * 0x1p-52 + std::numeric_limits<double>::min();
}

// +infinity and -infinity stand for an extreme that is not known: merged
// moments can come without.
bool ExtremesFit(double minimum, double maximum) {
  return (minimum > -kInfinity) & (maximum < kInfinity) &
         ((minimum <= maximum) | (minimum == kInfinity) |
          (maximum == -kInfinity));
}

// No branch and no call, so that it runs at the speed of memory; the slow way
// below says what is wrong.
bool ColumnsFit(const Moments& m) {
  bool fit = true;
  for (size_t j = 0; j < m.features(); ++j) {
    fit &= std::abs(m.mean()[j]) <= kLargest;
    fit &= TailFits(m.mean()[j], m.mean_tail()[j]);
  }
  for (size_t j = 0; j < m.features(); ++j) {
    fit &= m.m2()[j] >= 0;
    fit &= m.m2()[j] <= kLargest;
    fit &= TailFits(m.m2()[j], m.m2_tail()[j]);
  }
  for (size_t j = 0; j < m.features(); ++j) {
    fit &= ExtremesFit(m.minimum()[j], m.maximum()[j]);
  }
  return fit;
}

bool IsEmptyFeature(const Moments& m, size_t j) {
  return m.mean()[j] == 0 && m.mean_tail()[j] == 0 && m.m2()[j] == 0 &&
         m.m2_tail()[j] == 0 && m.minimum()[j] == kInfinity &&
         m.maximum()[j] == -kInfinity;
}

std::string FindColumnProblem(const Moments& m) {
  for (size_t j = 0; j < m.features(); ++j) {
    if (!std::isfinite(m.mean()[j])) {
      return Problem(Element("mean", j), m.mean()[j], "finite");
    }
    if (!TailFits(m.mean()[j], m.mean_tail()[j])) {
      return Problem(Element("mean_tail", j), m.mean_tail()[j],
                     "at most an ulp of mean");
    }
    if (!IsFiniteNotNegative(m.m2()[j])) {
      return Problem(Element("m2", j), m.m2()[j], "finite and >= 0");
    }
    if (!TailFits(m.m2()[j], m.m2_tail()[j])) {
      return Problem(Element("m2_tail", j), m.m2_tail()[j],
                     "at most an ulp of m2");
    }
    if (!ExtremesFit(m.minimum()[j], m.maximum()[j])) {
      return absl::StrCat(Element("minimum, maximum", j), ": ", m.minimum()[j],
                          " and ", m.maximum()[j], ", want minimum <= maximum");
    }
  }
  return "";
}

std::string FindCountProblem(const char* field, uint64_t rows,
                             const std::vector<uint64_t>& counts) {
  for (size_t j = 0; j < counts.size(); ++j) {
    if (counts[j] > rows) {
      return absl::StrCat(Element(field, j), ": ", counts[j],
                          ", want at most row_count ", rows);
    }
  }
  return "";
}

// A feature without values has the moments of nothing.
std::string FindEmptyFeatureProblem(const Moments& m) {
  if (m.row_count() > 0 && !m.has_feature_counts()) return "";
  for (size_t j = 0; j < m.features(); ++j) {
    if (m.count(j) == 0 && !IsEmptyFeature(m, j)) {
      return absl::StrCat(Element("moments", j), ": not empty, but no value");
    }
  }
  return "";
}

std::string FindProblem(const Window& window) {
  const double rows = window.rows;
  if (!window.fades()) {
    return rows == 0 ? "" : Problem("window", rows, "0 if cumulative");
  }
  const double least = window.kind == Window::Kind::kWindowRows ? 1 : 0;
  if (rows > least && rows <= kLargest) return "";
  return Problem("window", rows, "above 0, or 1, and finite");
}

}  // namespace

std::string FindProblem(const NormalizerDefinition& d) {
  if (d.features == 0) return "features: 0, want at least 1";
  if (!d.feature_names.empty() && d.feature_names.size() != d.features) {
    return absl::StrCat("feature_names: ", d.feature_names.size(),
                        " names, want ", d.features);
  }
  if (!IsFiniteNotNegative(d.scaling.epsilon)) {
    return Problem("scaling.epsilon", d.scaling.epsilon, "finite and >= 0");
  }
  if (!IsFiniteNotNegative(d.scaling.clip)) {
    return Problem("scaling.clip", d.scaling.clip, "finite and >= 0");
  }
  std::string problem = FindProblem(d.kind.window);
  if (!problem.empty()) return problem;
  if (!d.kind.plain() && d.scaling.method != ScalingMethod::kStandard) {
    return "scaling.method: of extremes, want standard with such moments";
  }
  return FindPriorProblem(d.warm_up.prior, d.features,
                          d.warm_up.answer == WarmUpAnswer::kPrior);
}

std::string FindProblem(const NormalizerState& state) {
  const Moments& m = state.moments;
  if (m.features() == 0) return "features: 0, want at least 1";
  if (std::string p = FindProblem(m.kind().window); !p.empty()) return p;
  if (state.base_rows > m.row_count()) {
    return absl::StrCat("base_rows: ", state.base_rows,
                        ", want at most row_count ", m.row_count());
  }
  if (!ColumnsFit(m)) return FindColumnProblem(m);
  std::string problem =
      FindCountProblem("count", m.row_count(), m.feature_counts());
  if (!problem.empty()) return problem;
  problem =
      FindCountProblem("missing_count", m.row_count(), m.missing_counts());
  if (!problem.empty()) return problem;
  problem =
      FindCountProblem("infinite_count", m.row_count(), m.infinite_counts());
  if (!problem.empty()) return problem;
  return FindEmptyFeatureProblem(m);
}

std::string FindProblem(const SnapshotRecord& snapshot) {
  const NormalizerDefinition& definition = snapshot.definition;
  std::string problem = FindProblem(definition);
  if (problem.empty()) problem = FindProblem(snapshot.state);
  if (!problem.empty()) return problem;
  if (snapshot.state.moments.features() != definition.features ||
      snapshot.state.moments.kind() != definition.kind) {
    return "state: of other features or moments, want the definition's";
  }
  return "";
}

std::string FindProblem(const LedgerRecord& ledger) {
  return ledger.window.test(0) ? "window[0]: set, want clear" : "";
}

}  // namespace streamnorm
