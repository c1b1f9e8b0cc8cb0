// How long the kernels take for one batch, beside a memcpy of its rows to the
// output. Each benchmark is one scenario: cold or hot data, rows x features,
// type, statistics before or after the batch.
//
// Rounds of both kinds alternate within a run, so that a machine that changes
// its speed changes both; reported are medians:
//   Time       of one batch
//   memcpy_ns  of a memcpy of the same rows, cold or hot likewise
//   memcpy     the one by the other
//
// Cold data is far larger than the last cache and worked through in order: a
// batch comes from memory and its output goes there. The statistics stay warm.
// The clock is this thread's CPU time: what else runs here doesn't count.

#include <benchmark/benchmark.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "stats/fused_update.h"
#include "stats/moments.h"
#include "stats/scaling.h"
#include "stats/tensor_view.h"

namespace streamnorm {
namespace {

struct Scenario {
  bool cold;
  size_t rows, features;
  DataType type;
  Basis basis;

  size_t batch_bytes() const { return rows * features * ElementSize(type); }

  std::string Name() const {
    return std::string(cold ? "cold/" : "hot/") + std::to_string(rows) + "x" +
           std::to_string(features) + "/" + DataTypeName(type) +
           (basis == Basis::kAfter ? "/after" : "/before");
  }
};

int Rounds() {
  const char* rounds = std::getenv("STREAMNORM_BENCHMARK_ROUNDS");
  return rounds == nullptr ? 51 : std::max(1, std::atoi(rounds));
}

// Input and output together are four times the last cache.
size_t ColdBytes() {
  const long cache = sysconf(_SC_LEVEL3_CACHE_SIZE);
  const size_t known =
      cache > 0 ? static_cast<size_t>(cache) : size_t{32} << 20;
  return 2 * known;
}

// Rows for as many batches as a scenario goes through, and room for output.
class Buffers {
 public:
  explicit Buffers(const Scenario& scenario)
      : batch_bytes_(scenario.batch_bytes()),
        batches_(scenario.cold ? std::max<size_t>(2, ColdBytes() / batch_bytes_)
                               : 1),
        input_(batch_bytes_ * batches_),
        output_(batch_bytes_ * batches_ + kOutputShift) {
    std::mt19937_64 random(1);
    std::normal_distribution<double> normal(3, 2);
    std::vector<double> values(size_t{1} << 12);
    for (double& x : values) x = normal(random);
    std::vector<uint8_t> stored(values.size() * ElementSize(scenario.type));
    StoreFromDouble(values.data(), values.size(), scenario.type, stored.data());
    for (size_t at = 0; at < input_.size(); at += stored.size()) {
      std::memcpy(input_.data() + at, stored.data(),
                  std::min(stored.size(), input_.size() - at));
    }
  }

  size_t batches() const { return batches_; }
  const uint8_t* input(size_t batch) const {
    return input_.data() + batch % batches_ * batch_bytes_;
  }
  uint8_t* output(size_t batch) {
    return output_.data() + kOutputShift + batch % batches_ * batch_bytes_;
  }

 private:
  // Large allocations begin at the same place of a page each; writes there
  // would hold up reads of the other, and memcpy far more than our kernels.
  static constexpr size_t kOutputShift = 1024;

  size_t batch_bytes_, batches_;
  std::vector<uint8_t> input_, output_;
};

// A normalizer's statistics and what an update of them works with.
class Updater {
 public:
  explicit Updater(const Scenario& scenario)
      : scenario_(scenario),
        moments_(scenario.features),
        next_(scenario.features) {}

  void Update(const uint8_t* rows, uint8_t* output) {
    const TensorView batch{rows, scenario_.type, scenario_.rows,
                           scenario_.features};
    uint64_t clipped = 0;
    if (!FoldAndNormalize(batch, rule_, scenario_.basis, moments_, &next_,
                          output, &clipped)) {
      InSteps(batch, output);
    }
    std::swap(moments_, next_);
  }

 private:
  void InSteps(const TensorView& batch, uint8_t* output) {
    const NonfinitePolicies policies;
    bool fine = FoldOnto(batch, policies, moments_, &next_, &extremes_).kind ==
                ValueProblem::kNone;
    ComputeScaling(rule_, scenario_.basis == Basis::kAfter ? next_ : moments_,
                   &scaling_);
    fine = fine && !FindOutputOverflow(extremes_, scaling_, scenario_.type);
    if (!fine || extremes_.nonfinite_values != 0) std::abort();
    ApplyCounted(batch, scaling_, output);
  }

  const Scenario scenario_;
  const ScalingRule rule_;
  Moments moments_, next_;
  BatchExtremes extremes_;
  ScalingTable scaling_;
};

double CpuNanoseconds() {
  timespec now;
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
  return static_cast<double>(now.tv_sec) * 1e9 +
         static_cast<double>(now.tv_nsec);
}

// Batches worked through between two looks at the clock: some milliseconds.
size_t BatchesPerRound(const Scenario& scenario) {
  return std::max<size_t>(1, (size_t{4} << 20) / scenario.batch_bytes());
}

double Median(std::vector<double> values) {
  const auto middle =
      values.begin() + static_cast<ptrdiff_t>(values.size() / 2);
  std::nth_element(values.begin(), middle, values.end());
  return *middle;
}

void Run(benchmark::State& state, const Scenario& scenario) {
  Buffers buffers(scenario);
  Updater updater(scenario);
  const size_t batches = BatchesPerRound(scenario);
  size_t next = 0;  // both kinds of rounds go on where the last one stopped
  const auto round_of = [&](auto work) {
    const double start = CpuNanoseconds();
    for (size_t i = 0; i < batches; ++i, ++next) {
      work(buffers.input(next), buffers.output(next));
      benchmark::ClobberMemory();
    }
    return (CpuNanoseconds() - start) / static_cast<double>(batches);
  };
  const auto copy = [&](const uint8_t* input, uint8_t* output) {
    std::memcpy(output, input, scenario.batch_bytes());
  };
  const auto update = [&](const uint8_t* input, uint8_t* output) {
    updater.Update(input, output);
  };
  round_of(copy);
  round_of(update);
  for (auto _ : state) {
    std::vector<double> copies, updates;
    for (int round = 0; round < Rounds(); ++round) {
      copies.push_back(round_of(copy));
      updates.push_back(round_of(update));
    }
    const double copy_ns = Median(copies);
    const double update_ns = Median(updates);
    state.SetIterationTime(update_ns * 1e-9);
    state.counters["memcpy_ns"] = copy_ns;
    state.counters["memcpy"] = update_ns / copy_ns;
  }
}

void RegisterScenarios() {
  constexpr std::pair<size_t, size_t> kShapes[] = {
      {4, 32}, {4, 1024}, {256, 1024}, {8192, 1024}};
  for (const bool cold : {true, false}) {
    for (const auto& [rows, features] : kShapes) {
      for (const DataType type : {DataType::kFp32, DataType::kFp64,
                                  DataType::kFp16, DataType::kBf16}) {
        for (const Basis basis : {Basis::kBefore, Basis::kAfter}) {
          const Scenario scenario{cold, rows, features, type, basis};
          benchmark::RegisterBenchmark(
              scenario.Name().c_str(),
              [scenario](benchmark::State& state) { Run(state, scenario); })
              ->UseManualTime()
              ->Iterations(1)
              ->Unit(benchmark::kNanosecond);
        }
      }
    }
  }
}

[[maybe_unused]] const bool kRegistered = (RegisterScenarios(), true);

}  // namespace
}  // namespace streamnorm
