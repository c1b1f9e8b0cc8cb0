// streamnorm-benchmark: measures StreamNorm against peers that it starts
// itself, in turns (./run bench).

#include <CLI/CLI.hpp>
#include <cstdio>
#include <map>
#include <string>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "client/cli/output.h"
#include "tests/benchmarks/peers.h"
#include "tests/benchmarks/report.h"
#include "tests/benchmarks/suites.h"

namespace streamnorm {
namespace {

using Suite = absl::Status (*)(Peers*, const Timing&);

#ifndef STREAMNORM_HAVE_HIREDIS
absl::Status NoRedisSuite(Peers*, const Timing&) {
  return Print(
      "Redis: not built; install libhiredis-dev and configure again\n\n");
}
#endif

absl::Status PrintMachine(Peers*, const Timing&) {
  return Print(absl::StrCat(DescribeMachine(), "\n\n"));
}

const std::map<std::string, Suite>& Suites() {
  static const auto& suites = *new std::map<std::string, Suite>{
      {"machine", PrintMachine}, {"transport", RunTransportSuite},
      {"naive", RunNaiveSuite},
#ifdef STREAMNORM_HAVE_HIREDIS
      {"redis", RunRedisSuite},
#else
      {"redis", NoRedisSuite},
#endif
      {"lane", RunLaneSuite},    {"moments", RunMomentsSuite},
      {"many", RunManySuite},    {"scale", RunScaleSuite},
  };
  return suites;
}

int Main(int argc, char** argv) {
  CLI::App app("Measures StreamNorm against its peers", "streamnorm-benchmark");
  std::string suite;
  std::string directory;
  Timing timing;
  app.add_option("suite", suite)->required()->check(CLI::IsMember(Suites()));
  app.add_option("--rounds", timing.rounds, "Measurements of each side")
      ->check(CLI::Range(1, 1000));
  app.add_option("--seconds", timing.seconds, "How long each takes")
      ->check(CLI::Range(0.001, 600.0));
  app.add_option("--warm_up_seconds", timing.warm_up_seconds)
      ->check(CLI::Range(0.0, 600.0));
  app.add_option("--only", timing.only,
                 "Of transport: the rows whose names contain this");
  app.add_option("--directory", directory, "Where the stores are meanwhile");
  CLI11_PARSE(app, argc, argv);
  Peers peers(directory);
  const absl::Status status = Suites().at(suite)(&peers, timing);
  if (status.ok()) return 0;
  std::fprintf(stderr, "%s: %s\n", suite.c_str(), status.ToString().c_str());
  return 1;
}

}  // namespace
}  // namespace streamnorm

int main(int argc, char** argv) { return streamnorm::Main(argc, argv); }
