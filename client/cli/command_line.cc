#include "client/cli/command_line.h"

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <sstream>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "client/cli/exit_code.h"
#include "client/cli/suggest.h"

namespace streamnorm {
namespace {

constexpr char kDescription[] =
    "streamnorm - running mean and variance per feature, kept by a server.";

constexpr char kFooter[] =
    "Examples:\n"
    "  streamnorm create layer3 --features 32\n"
    "  streamnorm normalize layer3 rows.csv -O normalized.csv\n"
    "  streamnorm fit layer3 huge.csv more.npy\n"
    "  streamnorm stats layer3 --sort sd --top 10\n"
    "  streamnorm demo\n"
    "\n"
    "'streamnorm COMMAND --help' tells more. Options may also stand in\n"
    "~/.config/streamnorm.ini, as in `server = 10.0.0.7:50051`.\n"
    "\n"
    "Ends with 0 ok, 1 failed, 2 wrong usage, 3 not found, 4 server\n"
    "unreachable, 5 not permitted, 6 conflict, 130 interrupted.";

// CLI11's, with descriptions broken into lines that fit a terminal.
class HelpFormatter : public CLI::Formatter {
 public:
  HelpFormatter() {
    column_width(kNameColumn);
    label("SUBCOMMAND", "COMMAND");
  }

  std::string make_option_desc(const CLI::Option* option) const override {
    return Wrapped(option->get_description());
  }

  std::string make_subcommand(const CLI::App* command) const override {
    std::stringstream out;
    CLI::detail::format_help(out, command->get_name(),
                             Wrapped(command->get_description()), kNameColumn);
    return out.str();
  }

  std::string make_footer(const CLI::App* app) const override {
    std::string footer = CLI::Formatter::make_footer(app);
    if (app->get_parent() == nullptr) return footer;
    if (!footer.empty()) footer += '\n';
    return footer +
           "For -s, -o, --timeout and --config see 'streamnorm --help'.\n";
  }

 private:
  static constexpr size_t kNameColumn = 27;
  static constexpr size_t kLineWidth = 80;

  static std::string Wrapped(const std::string& text) {
    std::string lines;
    size_t column = kNameColumn;
    for (const absl::string_view word : absl::StrSplit(text, ' ')) {
      const bool first = column == kNameColumn;
      const bool fits = column + word.size() + 1 <= kLineWidth;
      if (!first) absl::StrAppend(&lines, fits ? " " : "\n");
      if (!first && !fits) column = kNameColumn;
      column += word.size() + 1;
      absl::StrAppend(&lines, word);
    }
    return lines;
  }
};

std::string ConfigPath() {
  const char* config = std::getenv("XDG_CONFIG_HOME");
  if (config != nullptr && *config != '\0') {
    return absl::StrCat(config, "/streamnorm.ini");
  }
  const char* home = std::getenv("HOME");
  if (home == nullptr || *home == '\0') return "";
  return absl::StrCat(home, "/.config/streamnorm.ini");
}

// " (Connection refused)" of what gRPC has to say about it.
std::string ReasonOf(absl::string_view message) {
  for (const char* reason : {"Connection refused", "No such file or directory",
                             "Permission denied", "DNS resolution failed"}) {
    if (absl::StrContains(message, reason)) {
      return absl::StrCat(" (", reason, ")");
    }
  }
  return "";
}

absl::StatusOr<std::unique_ptr<Client>> ConnectWithin(const Globals& globals,
                                                      double timeout_s) {
  ClientOptions options;
  options.request_timeout =
      std::chrono::milliseconds(static_cast<int64_t>(1000 * timeout_s));
  auto client = Client::Connect(globals.server, options);
  const absl::Status& status = client.status();
  if (!absl::IsDeadlineExceeded(status) && !absl::IsUnavailable(status)) {
    return client;
  }
  return absl::UnavailableError(absl::StrCat("no answer from ", globals.server,
                                             ReasonOf(status.message())));
}

// "--feature" of "--feature=3".
std::string OptionName(const std::string& argument) {
  return argument.substr(0, argument.find('='));
}

std::vector<std::string> OptionNames(const CLI::App& app) {
  std::vector<std::string> names;
  for (const CLI::Option* option : app.get_options()) {
    for (const std::string& name : option->get_lnames()) {
      names.push_back("--" + name);
    }
  }
  return names;
}

std::vector<std::string> CommandNames(const CLI::App& app) {
  std::vector<std::string> names;
  for (const CLI::App* command : app.get_subcommands({})) {
    names.push_back(command->get_name());
  }
  return names;
}

std::string DidYouMean(const std::string& mistyped,
                       const std::vector<std::string>& candidates) {
  const auto nearest = NearestTo(mistyped, candidates);
  return nearest ? absl::StrCat("did you mean '", *nearest, "'?") : "";
}

}  // namespace

CommandLine::CommandLine() : app_(kDescription, "streamnorm") {
  app_.formatter(std::make_shared<HelpFormatter>());
  app_.footer(kFooter);
  app_.require_subcommand(1);
  app_.fallthrough();  // global options may come after the command
  app_.set_config("--config", ConfigPath(), "File with options")
      ->option_text("FILE");
  app_.set_version_flag("--version", "streamnorm " STREAMNORM_VERSION,
                        "Print the version and exit");
  app_.add_option("-s,--server", globals_.server,
                  "Address of the server, host:port or unix:/path "
                  "(env STREAMNORM_SERVER; default 127.0.0.1:50051)")
      ->option_text("ADDRESS")
      ->multi_option_policy(CLI::MultiOptionPolicy::TakeLast);
  app_.add_option("-o,--output", globals_.output,
                  "What stdout gets: table, wide, json, ndjson, csv or name, "
                  "as far as the command has it")
      ->option_text("FORMAT")
      ->configurable(false);
  app_.add_option("--timeout", globals_.timeout_s,
                  "How long to try to reach the server (default 5; "
                  "normalize, denormalize and fit 30)")
      ->option_text("SECONDS")
      ->check(MoreThanZero);
}

CLI::App* CommandLine::Add(const std::string& name,
                           const std::string& description,
                           const std::string& group, Action action) {
  CLI::App* command = app_.add_subcommand(name, description);
  command->group(group);
  command->footer("");  // not the parent's
  command->callback([this, action = std::move(action)] { action_ = action; });
  return command;
}

int CommandLine::Run(int argc, const char* const* argv) {
  std::vector<std::string> arguments(argv + 1, argv + argc);
  // CLI11 lets a config file win over the environment; here it loses.
  const char* server = std::getenv("STREAMNORM_SERVER");
  if (server != nullptr && *server != '\0') {
    arguments.insert(arguments.begin(), absl::StrCat("--server=", server));
  }
  if (const int code = Parse(std::move(arguments)); code >= 0) return code;
  const auto result = action_(globals_);
  const absl::Status flushed = FlushStdout();
  if (!result.ok()) return Report(result.status(), globals_);
  return flushed.ok() ? *result : Report(flushed, globals_);
}

// What the program ends with, or -1 if there is something to run.
int CommandLine::Parse(std::vector<std::string> arguments) {
  std::reverse(arguments.begin(), arguments.end());  // as CLI11 wants them
  try {
    app_.parse(std::move(arguments));
  } catch (const CLI::Success& success) {
    return app_.exit(success);  // prints the help
  } catch (const CLI::ParseError& error) {
    return Report(UsageError(Explain(error)), globals_);
  }
  if (!globals_.output.empty() && !globals_.format()) {
    return Report(
        UsageError(absl::StrCat("--output: '", globals_.output,
                                "', want table, wide, json, ndjson, csv or "
                                "name; rows go to a file with --out")),
        globals_);
  }
  return -1;
}

std::string CommandLine::Explain(const CLI::ParseError& error) const {
  const std::vector<std::string> extras = app_.remaining(true);
  const bool about_extras =
      dynamic_cast<const CLI::ExtrasError*>(&error) != nullptr ||
      (app_.get_subcommands().empty() && !extras.empty());
  if (about_extras && !extras.empty()) return ExplainExtra(extras.front());
  std::string what = error.what();
  if (app_.get_subcommands().empty() &&
      dynamic_cast<const CLI::RequiredError*>(&error) != nullptr) {
    what = "no command";
  }
  return absl::StrCat(
      what, "; see '",
      Parsed().get_name() == app_.get_name() ? "" : "streamnorm ",
      Parsed().get_name(), " --help'");
}

std::string CommandLine::ExplainExtra(const std::string& extra) const {
  const CLI::App& command = Parsed();
  const bool is_command = &command != &app_;
  std::string what;
  std::string advice;
  if (absl::StartsWith(extra, "-")) {
    const std::string name = OptionName(extra);
    auto names = OptionNames(command);
    if (is_command) {
      const auto globals = OptionNames(app_);
      names.insert(names.end(), globals.begin(), globals.end());
    }
    what = absl::StrCat(is_command ? "'" + command.get_name() + "' has " : "",
                        "no option '", name, "'");
    advice = DidYouMean(name, names);
  } else if (is_command) {
    what = absl::StrCat("'", extra, "' is one argument too many for '",
                        command.get_name(), "'");
  } else {
    what = absl::StrCat("no command '", extra, "'");
    advice = DidYouMean(extra, CommandNames(app_));
  }
  if (advice.empty()) {
    advice =
        absl::StrCat("see 'streamnorm ", is_command ? command.get_name() : "",
                     is_command ? " " : "", "--help'");
  }
  return absl::StrCat(what, "; ", advice);
}

const CLI::App& CommandLine::Parsed() const {
  const auto commands = app_.get_subcommands();
  return commands.empty() ? app_ : *commands.front();
}

absl::StatusOr<std::unique_ptr<Client>> Connect(const Globals& globals) {
  return ConnectWithin(globals, globals.timeout_s > 0
                                    ? globals.timeout_s
                                    : Globals::kDefaultTimeoutS);
}

absl::StatusOr<std::unique_ptr<Client>> ConnectPatiently(
    const Globals& globals) {
  return ConnectWithin(globals, globals.timeout_s > 0
                                    ? globals.timeout_s
                                    : Globals::kPatientTimeoutS);
}

std::string MoreThanZero(const std::string& text) {
  double number = 0;
  if (absl::SimpleAtod(text, &number) && number > 0) return "";
  return absl::StrCat("'", text, "', want a number > 0");
}

int Report(const absl::Status& status, const Globals& globals) {
  Say(ErrorLine(status, globals.server));
  return ExitCodeOf(status);
}

std::string IdOf(const std::string& text) {
  return std::string(absl::StripPrefix(text, "normalizers/"));
}

absl::StatusOr<v1::Normalizer> GetReadable(Client* client,
                                           const std::string& text) {
  const std::string id = IdOf(text);
  const size_t end = id.find("/snapshots/");
  auto normalizer = client->GetNormalizer(id.substr(0, end));
  if (normalizer.ok() && end != std::string::npos) {
    normalizer->set_name(absl::StrCat("normalizers/", id));
  }
  return normalizer;
}

}  // namespace streamnorm
