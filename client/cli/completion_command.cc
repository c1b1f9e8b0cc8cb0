// completion.

#include <algorithm>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_replace.h"
#include "client/cli/commands.h"
#include "client/cli/exit_code.h"

namespace streamnorm {
namespace {

// @COMMANDS@ and @OPTIONS@ are filled in from what the program really has.
constexpr char kBashScript[] =
    R"bash(# bash completion for streamnorm; use it with
#   source <(streamnorm completion bash)
_streamnorm() {
  local word=${COMP_WORDS[COMP_CWORD]} before=${COMP_WORDS[COMP_CWORD - 1]}
  local command='' i server=()
  local commands='@COMMANDS@'
  for ((i = 1; i < COMP_CWORD; i++)); do
    case ${COMP_WORDS[i]} in
      -s | --server)
        server=(-s "${COMP_WORDS[i + 1]}")
        ((i++))
        ;;
      -o | --output | --timeout | --config) ((i++)) ;;
      -*) ;;
      *)
        command=${COMP_WORDS[i]}
        break
        ;;
    esac
  done
  COMPREPLY=()
  case $before in
    -o | --output)
      mapfile -t COMPREPLY < <(compgen -W 'table wide json ndjson csv name' -- "$word")
      return
      ;;
    --mode)
      mapfile -t COMPREPLY < <(compgen -W 'after before only update' -- "$word")
      return
      ;;
    --sort)
      mapfile -t COMPREPLY < <(compgen -W 'index name count mean sd variance min max missing' -- "$word")
      return
      ;;
    --preset)
      mapfile -t COMPREPLY < <(compgen -W 'standard batchnorm vecnormalize rsl_rl keras lerobot minmax maxabs' -- "$word")
      return
      ;;
    --dtype)
      mapfile -t COMPREPLY < <(compgen -W 'float16 float32 float64' -- "$word")
      return
      ;;
    -O | --out | --names-from | --checkpoint | --data | --config | --server_binary)
      mapfile -t COMPREPLY < <(compgen -f -- "$word")
      return
      ;;
  esac
  if [[ -z $command && $word != -* ]]; then
    mapfile -t COMPREPLY < <(compgen -W "$commands" -- "$word")
    return
  fi
  if [[ $word == -* ]]; then
    case $command in
@OPTIONS@
    esac
    return
  fi
  case $command in
    get | stats | reset | freeze | unfreeze | delete | normalize | denormalize | fit | export)
      if [[ $before == "$command" ]]; then
        mapfile -t COMPREPLY < <(compgen -W "$(streamnorm "${server[@]}" --timeout 1 list -o name 2>/dev/null)" -- "$word")
      elif [[ $command == *normalize || $command == fit ]]; then
        mapfile -t COMPREPLY < <(compgen -f -- "$word")
      fi
      ;;
    import)
      mapfile -t COMPREPLY < <(compgen -f -- "$word")
      ;;
    completion)
      mapfile -t COMPREPLY < <(compgen -W 'bash' -- "$word")
      ;;
  esac
}
complete -o filenames -F _streamnorm streamnorm
)bash";

void AddOptionNames(const CLI::App& app, std::vector<std::string>* names) {
  for (const CLI::Option* option : app.get_options()) {
    for (const auto& name : option->get_lnames()) names->push_back("--" + name);
    for (const auto& name : option->get_snames()) names->push_back("-" + name);
  }
}

std::string OptionsLine(const std::string& pattern,
                        const std::vector<std::string>& names) {
  return absl::StrCat("      ", pattern,
                      ") mapfile -t COMPREPLY < <(compgen -W '",
                      absl::StrJoin(names, " "), "' -- \"$word\") ;;");
}

std::string BashScript(const CLI::App& app) {
  std::vector<std::string> global_names;
  AddOptionNames(app, &global_names);
  std::vector<std::string> commands;
  std::vector<std::string> lines;
  for (const CLI::App* command : app.get_subcommands({})) {
    commands.push_back(command->get_name());
    std::vector<std::string> names = global_names;
    AddOptionNames(*command, &names);
    std::sort(names.begin(), names.end());
    names.erase(std::unique(names.begin(), names.end()), names.end());
    lines.push_back(OptionsLine(command->get_name(), names));
  }
  lines.push_back(OptionsLine("*", global_names));
  return absl::StrReplaceAll(kBashScript,
                             {{"@COMMANDS@", absl::StrJoin(commands, " ")},
                              {"@OPTIONS@", absl::StrJoin(lines, "\n")}});
}

}  // namespace

void AddCompletionCommand(CommandLine* line) {
  const auto shell = std::make_shared<std::string>();
  CLI::App* command = line->Add(
      "completion",
      "Prints a completion script: source <(streamnorm completion bash)",
      kOtherGroup, [line, shell](const Globals&) -> absl::StatusOr<int> {
        if (auto s = Print(BashScript(line->app())); !s.ok()) return s;
        return kExitOk;
      });
  command->add_option("SHELL", *shell, "bash")
      ->option_text(" ")
      ->required()
      ->check(CLI::IsMember({"bash"}));
}

void AddAllCommands(CommandLine* line) {
  AddCreateCommand(line);
  AddStatsCommand(line);
  AddTopCommand(line);
  AddResourceCommands(line);
  AddSnapshotCommand(line);
  AddExportCommands(line);
  AddNormalizeCommands(line);
  AddFitCommand(line);
  AddServerCommands(line);
  AddDoctorCommand(line);
  AddMaintenanceCommands(line);
  AddDemoCommand(line);
  AddBenchCommand(line);
  AddCompletionCommand(line);
}

}  // namespace streamnorm
