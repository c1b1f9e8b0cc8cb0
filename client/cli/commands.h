#ifndef STREAMNORM_CLIENT_CLI_COMMANDS_H_
#define STREAMNORM_CLIENT_CLI_COMMANDS_H_

#include "client/cli/command_line.h"

namespace streamnorm {

// Each adds its commands to `*line`, which outlives nothing of theirs.
void AddCreateCommand(CommandLine* line);
void AddResourceCommands(CommandLine* line);  // get list reset ... delete
void AddSnapshotCommand(CommandLine* line);
void AddExportCommands(CommandLine* line);  // export import
void AddStatsCommand(CommandLine* line);
void AddTopCommand(CommandLine* line);
void AddNormalizeCommands(CommandLine* line);  // normalize denormalize
void AddFitCommand(CommandLine* line);
void AddServerCommands(CommandLine* line);  // health info version
void AddDoctorCommand(CommandLine* line);
void AddMaintenanceCommands(CommandLine* line);  // backup verify
void AddDemoCommand(CommandLine* line);
void AddBenchCommand(CommandLine* line);
void AddCompletionCommand(CommandLine* line);

// All of them, in the order of the help.
void AddAllCommands(CommandLine* line);

inline constexpr char kNormalizerGroup[] = "Normalizers";
inline constexpr char kRowsGroup[] = "Rows";
inline constexpr char kServerGroup[] = "Server";
inline constexpr char kOtherGroup[] = "Other";

}  // namespace streamnorm

#endif  // STREAMNORM_CLIENT_CLI_COMMANDS_H_
