// bench.

#include <memory>
#include <string>

#include "absl/strings/str_cat.h"
#include "client/cli/bench_durability.h"
#include "client/cli/commands.h"
#include "client/cli/exit_code.h"
#include "client/cli/stop_signal.h"

namespace streamnorm {
namespace {

struct Flags {
  std::string suite;
  DurabilityBench durability;
  double seconds = 1;
};

absl::StatusOr<int> RunBench(const Globals& globals, Flags flags) {
  if (!globals.output.empty()) {
    return UsageError("--output: set, want none: bench prints tables");
  }
  flags.durability.time.measured =
      std::chrono::milliseconds(static_cast<int64_t>(flags.seconds * 1000));
  const StopSignal stop("stopping; Ctrl-C again stops at once");
  const absl::Status status = RunDurabilityBench(flags.durability, stop);
  if (absl::IsCancelled(status) && stop.requested()) {
    return 128 + stop.signal_number();
  }
  if (!status.ok()) return status;
  return kExitOk;
}

}  // namespace

void AddBenchCommand(CommandLine* line) {
  const auto flags = std::make_shared<Flags>();
  CLI::App* command = line->Add(
      "bench",
      "Measures servers of its own against each other: what durability costs",
      kOtherGroup,
      [flags](const Globals& globals) { return RunBench(globals, *flags); });
  command->add_option("suite", flags->suite, "What to measure: durability")
      ->option_text("SUITE")
      ->required()
      ->check(CLI::IsMember({"durability"}));
  command
      ->add_option("--server_binary,--server-binary",
                   flags->durability.server_binary,
                   "streamnorm-server to start (default: the one next door)")
      ->option_text("FILE");
  command
      ->add_option("--directory", flags->durability.directory,
                   "Where the stores are, for the time of the run (default: "
                   "where temporary files are)")
      ->option_text("DIR")
      ->check(CLI::ExistingDirectory);
  command
      ->add_option("--rounds", flags->durability.rounds,
                   "Measurements of each load on each server; medians are "
                   "shown (default 7)")
      ->option_text("N")
      ->check(CLI::Range(1, 1000));
  command
      ->add_option("--seconds", flags->seconds,
                   "How long each measurement takes (default 1)")
      ->option_text("S")
      ->check(CLI::Range(0.05, 600.0));
}

}  // namespace streamnorm
