#ifndef STREAMNORM_TESTS_BENCHMARKS_REPORT_H_
#define STREAMNORM_TESTS_BENCHMARKS_REPORT_H_

#include <optional>
#include <string>

#include "absl/status/status.h"
#include "client/cli/table.h"
#include "tests/benchmarks/measure.h"

namespace streamnorm {

// What a ratio should be.
struct Goal {
  enum Kind { kNone, kAtLeast, kAtMost };
  Kind kind = kNone;
  double bound = 0;

  static Goal AtLeast(double bound) { return {kAtLeast, bound}; }
  static Goal AtMost(double bound) { return {kAtMost, bound}; }

  // "0.97 (>= 0.95: yes)".
  std::string Judge(double ratio) const;
};

// A table of comparisons, "ours / peer" in each cell but those of ratios.
// Not thread safe.
class Report {
 public:
  // `title` says what is compared with what.
  explicit Report(const std::string& title);

  // A row whose ratio is that of messages per second, or of `field`.
  void Add(const std::string& name, const Comparison& comparison, Goal goal,
           Goal p99_goal = {}, Field field = &Measured::messages_per_s);

  absl::Status Print() const;

 private:
  Table table_;
};

// A fact with a unit: "name: value unit (goal ...)".
absl::Status PrintFact(const std::string& name, double value,
                       const std::string& unit, Goal goal = {});

// CPU model, cores, vector instructions, memory, kernel, and what else was
// running, for a person who compares two runs.
std::string DescribeMachine();

}  // namespace streamnorm

#endif  // STREAMNORM_TESTS_BENCHMARKS_REPORT_H_
