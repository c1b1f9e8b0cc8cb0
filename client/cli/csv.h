#ifndef STREAMNORM_CLIENT_CLI_CSV_H_
#define STREAMNORM_CLIENT_CLI_CSV_H_

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "client/cli/byte_source.h"

namespace streamnorm {

// One record of a CSV file. Reused from record to record.
class CsvRecord {
 public:
  size_t size() const { return ends_.size(); }
  absl::string_view cell(size_t i) const {
    const size_t begin = i == 0 ? 0 : ends_[i - 1];
    return absl::string_view(text_).substr(begin, ends_[i] - begin);
  }

  // Where it begins, counted from 1.
  uint64_t line() const { return line_; }

 private:
  friend class CsvReader;

  // A line without anything on it; `""` is something.
  bool IsBlank() const {
    return ends_.size() == 1 && text_.empty() && !quoted_;
  }

  std::string text_;          // the cells, unquoted, one after another
  std::vector<size_t> ends_;  // of each cell in text_
  uint64_t line_ = 0;
  bool quoted_ = false;  // some cell was
};

// Reads CSV as RFC 4180 has it: cells may be quoted, and then hold delimiters,
// line ends and doubled quotes; lines end in LF or CRLF. Besides: a UTF-8 byte
// order mark and blank lines are passed over, and a quote inside an unquoted
// cell is a character like any other. Not thread safe.
class CsvReader {
 public:
  // `input` outlives the reader.
  CsvReader(BufferedInput* input, char delimiter);

  // The next record; false at the end. INVALID_ARGUMENT, with the line, for
  // quotes that don't match and for records beyond 256 MiB.
  absl::StatusOr<bool> Next(CsvRecord* record);

  // Of the next record, counted from 1.
  uint64_t line() const { return line_; }

  // The input went on elsewhere, where a record and line `line` begin.
  void GoOnAt(uint64_t line) {
    state_ = State::kCellBegin;
    line_ = line;
  }

 private:
  enum class State { kCellBegin, kUnquoted, kQuoted, kQuoteInQuoted };

  absl::StatusOr<bool> NextWithBlanks(CsvRecord* record);
  absl::Status SkipByteOrderMark();

  // Reads on in `text`; true once the record is complete.
  absl::StatusOr<bool> Scan(absl::string_view text, size_t* taken,
                            CsvRecord* record);
  absl::StatusOr<bool> Take(char c, CsvRecord* record);

  // How much of `text` is inside the cell for sure.
  size_t PlainPrefix(absl::string_view text) const;
  bool TakeOutsideQuotes(char c, CsvRecord* record);
  absl::StatusOr<bool> EndOfInput(CsvRecord* record);
  void EndCell(CsvRecord* record);
  absl::Status Malformed(uint64_t line, absl::string_view what) const;

  BufferedInput* const input_;
  const char delimiter_;
  State state_ = State::kCellBegin;
  uint64_t line_ = 1;
  uint64_t quote_line_ = 0;  // where the open quote is
  size_t record_bytes_ = 0;
};

// `cell` as a CSV cell, quoted where it has to be.
std::string CsvCell(absl::string_view cell, char delimiter);

// `cells` as one line with its end. A single empty cell is quoted, since a
// blank line is no record.
std::string CsvLine(const std::vector<std::string>& cells, char delimiter);

// The number in a cell, spaces around it aside. NaN for an empty cell, NA, N/A,
// NaN and null; "inf" and "infinity" with or without sign. Absent for anything
// else, also for numbers beyond a double.
std::optional<double> ParseCell(absl::string_view cell);

// True if some cell is neither a number nor missing: the record has names.
bool LooksLikeHeader(const CsvRecord& record);

}  // namespace streamnorm

#endif  // STREAMNORM_CLIENT_CLI_CSV_H_
