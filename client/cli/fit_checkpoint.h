#ifndef STREAMNORM_CLIENT_CLI_FIT_CHECKPOINT_H_
#define STREAMNORM_CLIENT_CLI_FIT_CHECKPOINT_H_

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "client/cli/rows_source.h"

namespace streamnorm {

// What tells a file from another one, or from what it was.
struct FileIdentity {
  std::string path;
  uint64_t size = 0;
  int64_t modified_ns = 0;  // since 1970
  uint64_t begin_hash = 0;  // of its first 64 KiB (FNV-1a)

  bool operator==(const FileIdentity&) const = default;
};

// Absent for what is no regular file: its bytes come only once.
absl::StatusOr<std::optional<FileIdentity>> IdentityOf(const std::string& path);

// How far `streamnorm fit` is. All rows before the position are counted and on
// the server's disk; what was sent after it has the same batches, and so the
// same sequence numbers, when it is sent again from here in the session of the
// token: no row counts twice.
struct FitCheckpoint {
  std::string normalizer;  // normalizers/{id}
  uint64_t generation = 0;
  std::string options;  // that say how rows are read, as one text
  uint64_t batch_rows = 0;
  std::vector<FileIdentity> files;
  std::string token;  // of Barrier; bytes

  size_t file = 0;                      // the one to go on with
  std::optional<RowPosition> position;  // in it; none = its beginning
  uint64_t rows = 0;                    // before it, of all files
  uint64_t skipped_values = 0;          // in them
  bool settled = false;                 // nothing was sent after the position
  bool finished = false;                // there is nothing after it
};

// Whole or not at all, also if the machine stops: a new file, synced, takes
// the place of the old one.
absl::Status SaveCheckpoint(const FitCheckpoint& checkpoint,
                            const std::string& path);

// Absent if there is no file.
absl::StatusOr<std::optional<FitCheckpoint>> LoadCheckpoint(
    const std::string& path);

absl::Status RemoveCheckpoint(const std::string& path);

}  // namespace streamnorm

#endif  // STREAMNORM_CLIENT_CLI_FIT_CHECKPOINT_H_
