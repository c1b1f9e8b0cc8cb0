#ifndef STREAMNORM_CLIENT_CLI_FIT_ROWS_H_
#define STREAMNORM_CLIENT_CLI_FIT_ROWS_H_

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "client/cli/fit_checkpoint.h"
#include "client/cli/rows_source.h"
#include "client/streamnorm_client.h"

namespace streamnorm {

struct FitJob {
  Client* client = nullptr;
  v1::Normalizer normalizer;
  std::string id;
  std::vector<std::string> files;

  // Opens a file and binds it to the normalizer.
  using Source = absl::StatusOr<std::unique_ptr<RowsSource>>;
  std::function<Source(const std::string& path)> open;

  // Where to begin, and at the end how far it came. A token in it: resume.
  FitCheckpoint checkpoint;
  std::string checkpoint_path;  // "" = none is kept
  std::chrono::duration<double> checkpoint_interval{3};

  std::function<bool()> stop;

  // Rows that were sent, and bytes of all files that were read.
  std::function<void(uint64_t rows, uint64_t bytes)> on_progress;
};

// Counts all rows of the files, each once. First and every few seconds it waits
// for the server's disk and saves a checkpoint, from which the same job goes on
// after whatever ended it; when all is counted the checkpoint is removed.
//
// job->checkpoint.rows says how many rows were counted, on errors as well. A
// row that can't be read, and job->stop() (CANCELLED), leave a checkpoint that
// is settled; a server that is away, or that refuses rows, the one before.
absl::Status FitRows(FitJob* job);

}  // namespace streamnorm

#endif  // STREAMNORM_CLIENT_CLI_FIT_ROWS_H_
