#include "tests/benchmarks/peers.h"

#include <array>
#include <utility>

#include "absl/strings/str_cat.h"

namespace streamnorm {
namespace {

// Where a program is, as seen from this one's directory.
struct PeerProgram {
  const char* name;
  const char* folder;
  const char* file;
};

constexpr char kHere[] = "benchmarks";
constexpr char kServerFolder[] = "../server";
constexpr char kServerFile[] = "streamnorm-server";
constexpr std::array<PeerProgram, 5> kPrograms = {{
    {"server", kServerFolder, kServerFile},
    {"echo", kHere, "streamnorm-echo"},
    {"naive", kHere, "naive_server.py"},
    {"redis", kHere, "redis_server.sh"},
    {"socket-echo", kHere, "streamnorm-socket-echo"},
}};

}  // namespace

absl::StatusOr<std::unique_ptr<ServerProcess>> Peers::Start(
    const std::string& program, const std::string& name,
    std::vector<std::string> arguments) const {
  if (scratch_.path().empty()) return absl::UnknownError("no directory");
  ServerProcessOptions options;
  options.binary = program;
  options.listen = absl::StrCat("unix:", scratch_.path(), "/", name, ".sock");
  options.data_dir = DataDirectory(name);
  options.log_path = options.data_dir + ".log";
  options.arguments = std::move(arguments);
  return ServerProcess::Start(options);
}

absl::StatusOr<std::unique_ptr<ServerProcess>> Peers::StartServer(
    const std::string& name, std::vector<std::string> arguments) const {
  const auto program = FindProgram(kServerFolder, kServerFile);
  if (!program.ok()) return program.status();
  return Start(*program, name, std::move(arguments));
}

absl::StatusOr<const ServerProcess*> Peers::Get(const std::string& name) {
  std::unique_ptr<ServerProcess>& running = running_[name];
  if (running != nullptr) return running.get();
  for (const PeerProgram& known : kPrograms) {
    if (known.name != name) continue;
    const auto program = FindProgram(known.folder, known.file);
    if (!program.ok()) return program.status();
    auto started = Start(*program, name, {});
    if (!started.ok()) return started.status();
    running = *std::move(started);
    return running.get();
  }
  return absl::NotFoundError(name);
}

}  // namespace streamnorm
