#ifndef STREAMNORM_TESTS_CLI_PROGRAM_H_
#define STREAMNORM_TESTS_CLI_PROGRAM_H_

#include <sys/types.h>

#include <string>
#include <vector>

#include "tests/testing/temp_dir.h"

namespace streamnorm {

struct ProgramOptions {
  std::string input;                     // its stdin
  bool keep_input_open = false;          // so that it waits for more
  std::vector<std::string> environment;  // "NAME=value", besides PATH and HOME
};

// What a program left behind.
struct Finished {
  int code = -1;  // 128 + signal if one ended it
  std::string out;
  std::string err;
};

// The real `streamnorm` (STREAMNORM_CLI_BINARY) in an empty home directory.
// Not thread safe.
class Program {
 public:
  explicit Program(std::vector<std::string> arguments,
                   const ProgramOptions& options = {});
  // Kills it if it still runs.
  ~Program();
  Program(const Program&) = delete;
  Program& operator=(const Program&) = delete;

  void Signal(int number) const;
  bool HasEnded();
  Finished Wait();

  // What it has written so far.
  std::string OutSoFar() const;
  std::string ErrSoFar() const;

 private:
  bool Reap(int options);

  TempDir dir_;
  pid_t pid_ = -1;
  int input_ = -1;  // our end of an open stdin
  bool ended_ = false;
  int status_ = 0;
};

// Runs it to its end.
Finished RunStreamnorm(std::vector<std::string> arguments,
                       const ProgramOptions& options = {});

// All of a file; "" if there is none.
std::string FileText(const std::string& path);

}  // namespace streamnorm

#endif  // STREAMNORM_TESTS_CLI_PROGRAM_H_
