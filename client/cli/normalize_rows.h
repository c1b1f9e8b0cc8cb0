#ifndef STREAMNORM_CLIENT_CLI_NORMALIZE_ROWS_H_
#define STREAMNORM_CLIENT_CLI_NORMALIZE_ROWS_H_

#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>

#include "absl/status/status.h"
#include "client/cli/rows_sink.h"
#include "client/cli/rows_source.h"
#include "client/streamnorm_client.h"

namespace streamnorm {

// What became of the rows of a file.
struct RowTotals {
  uint64_t sent = 0;
  uint64_t answered = 0;  // and written, where there is an output
  uint64_t counted = 0;
  uint64_t on_disk = 0;     // counted and surely on the server's disk
  uint64_t warming_up = 0;  // answered before there were enough rows
  uint64_t skipped_values = 0;
  uint64_t clipped_values = 0;
  uint64_t updates_sent_again = 0;
  uint64_t reconnects = 0;
  uint64_t row_count = 0;  // of the normalizer, after the last answer
  uint64_t first_revision = 0;
  uint64_t last_revision = 0;
  bool frozen = false;
};

struct RowsJob {
  Client* client = nullptr;
  v1::Normalizer normalizer;
  std::string id;
  v1::Mode mode = v1::UPDATE_THEN_NORMALIZE;
  size_t batch_rows = 1;
  DataType type = DataType::kFp64;
  RowsSource* source = nullptr;
  RowsSink* sink = nullptr;  // null = no output

  std::function<bool()> stop;
  std::function<void(const RowTotals&)> on_progress;
};

// Sends all rows of the source through the normalizer and writes the answers in
// order. Counting modes use a session, which survives a server that dies and
// comes back: no row counts twice. At the first row that can't be read or is
// refused no more is sent, but what is on the way is waited for; `*totals` is
// filled in on errors as well. CANCELLED after job.stop().
absl::Status NormalizeRows(const RowsJob& job, RowTotals* totals);

// The inverse; job.mode is not looked at.
absl::Status DenormalizeRows(const RowsJob& job, RowTotals* totals);

// Rows of a batch: `wanted`, or, where that is 0, 256 unless rows are large.
// INVALID_ARGUMENT if a message can't hold them.
absl::StatusOr<size_t> ChooseBatchRows(size_t wanted, size_t row_bytes,
                                       uint64_t max_message_bytes);

}  // namespace streamnorm

#endif  // STREAMNORM_CLIENT_CLI_NORMALIZE_ROWS_H_
