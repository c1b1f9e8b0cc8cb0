#ifndef STREAMNORM_CLIENT_CLI_COMMAND_LINE_H_
#define STREAMNORM_CLIENT_CLI_COMMAND_LINE_H_

#include <CLI/CLI.hpp>
#include <chrono>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "client/cli/output.h"
#include "client/streamnorm_client.h"

namespace streamnorm {

// What the options that every command takes say.
struct Globals {
  std::string server = "127.0.0.1:50051";
  std::string output;    // "" = not said
  double timeout_s = 0;  // 0 = not said

  // How long commands wait for a server. Somebody is sitting in front of them.
  static constexpr double kDefaultTimeoutS = 5;
  // How long a file that is half sent does: a server restarts meanwhile.
  static constexpr double kPatientTimeoutS = 30;

  std::optional<OutputFormat> format() const {
    return ParseOutputFormat(output);
  }
};

// What a command does; the answer is what the program ends with.
using Action = std::function<absl::StatusOr<int>(const Globals&)>;

// The program's commands and options. Not thread safe.
class CommandLine {
 public:
  CommandLine();

  // A command; its options are added to what is returned.
  CLI::App* Add(const std::string& name, const std::string& description,
                const std::string& group, Action action);

  // Parses and runs; what the program ends with.
  int Run(int argc, const char* const* argv);

  const CLI::App& app() const { return app_; }

 private:
  int Parse(std::vector<std::string> arguments);
  std::string Explain(const CLI::ParseError& error) const;
  std::string ExplainExtra(const std::string& extra) const;
  const CLI::App& Parsed() const;

  CLI::App app_;
  Globals globals_;
  Action action_;
};

// Connects with the time-out for somebody waiting, or for long work.
absl::StatusOr<std::unique_ptr<Client>> Connect(const Globals& globals);
absl::StatusOr<std::unique_ptr<Client>> ConnectPatiently(
    const Globals& globals);

// Says what went wrong on stderr; answers the exit code.
int Report(const absl::Status& status, const Globals& globals);

// A check for options; answers what is wrong.
std::string MoreThanZero(const std::string& text);

// "x" of "x" and of "normalizers/x".
std::string IdOf(const std::string& text);

// The normalizer `text`, or the one that the snapshot `text` ("x/snapshots/y")
// is of, under the name that is to be read from.
absl::StatusOr<v1::Normalizer> GetReadable(Client* client,
                                           const std::string& text);

}  // namespace streamnorm

#endif  // STREAMNORM_CLIENT_CLI_COMMAND_LINE_H_
