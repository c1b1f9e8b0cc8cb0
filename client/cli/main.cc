// streamnorm: the command line client.

#include "client/cli/command_line.h"
#include "client/cli/commands.h"

int main(int argc, char** argv) {
  streamnorm::CommandLine line;
  streamnorm::AddAllCommands(&line);
  return line.Run(argc, argv);
}
