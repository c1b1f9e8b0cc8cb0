#include "client/cli/csv.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstdlib>
#include <limits>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"

namespace streamnorm {
namespace {

constexpr char kByteOrderMark[] = "\xEF\xBB\xBF";

// A million numbers are 25 MB; a file that never ends a line must not fill the
// memory.
constexpr size_t kMaxRecordBytes = size_t{256} << 20;

bool IsMissing(absl::string_view cell) {
  if (cell.empty()) return true;
  for (const char* word : {"na", "n/a", "nan", "null"}) {
    if (absl::EqualsIgnoreCase(cell, word)) return true;
  }
  return false;
}

// std::from_chars calls both ends of the range out of range.
std::optional<double> OutOfRange(absl::string_view cell) {
  const double value = std::strtod(std::string(cell).c_str(), nullptr);
  if (std::isinf(value)) return std::nullopt;
  return value;
}

}  // namespace

CsvReader::CsvReader(BufferedInput* input, char delimiter)
    : input_(input), delimiter_(delimiter) {}

absl::StatusOr<bool> CsvReader::Next(CsvRecord* record) {
  while (true) {
    const auto more = NextWithBlanks(record);
    if (!more.ok() || !*more || !record->IsBlank()) return more;
  }
}

absl::StatusOr<bool> CsvReader::NextWithBlanks(CsvRecord* record) {
  if (input_->taken() == 0) {
    if (auto s = SkipByteOrderMark(); !s.ok()) return s;
  }
  record->text_.clear();
  record->ends_.clear();
  record->quoted_ = false;
  record->line_ = line_;
  record_bytes_ = 0;
  while (true) {
    const auto text = input_->Peek(1);
    if (!text.ok()) return text.status();
    if (text->empty()) return EndOfInput(record);
    size_t taken = 0;
    const auto complete = Scan(*text, &taken, record);
    input_->Skip(taken);
    record_bytes_ += taken;
    if (!complete.ok() || *complete) return complete;
    if (record_bytes_ > kMaxRecordBytes) {
      return Malformed(record->line_, "a record of more than 256 MiB");
    }
  }
}

absl::Status CsvReader::SkipByteOrderMark() {
  const auto text = input_->Peek(sizeof(kByteOrderMark) - 1);
  if (!text.ok()) return text.status();
  if (absl::StartsWith(*text, kByteOrderMark)) {
    input_->Skip(sizeof(kByteOrderMark) - 1);
  }
  return absl::OkStatus();
}

absl::StatusOr<bool> CsvReader::Scan(absl::string_view text, size_t* taken,
                                     CsvRecord* record) {
  for (*taken = 0; *taken < text.size();) {
    const size_t plain = PlainPrefix(text.substr(*taken));
    record->text_.append(text.data() + *taken, plain);
    *taken += plain;
    if (*taken == text.size()) break;
    const auto complete = Take(text[(*taken)++], record);
    if (!complete.ok() || *complete) return complete;
  }
  return false;
}

size_t CsvReader::PlainPrefix(absl::string_view text) const {
  if (state_ == State::kCellBegin || state_ == State::kQuoteInQuoted) return 0;
  const bool quoted = state_ == State::kQuoted;
  const auto* const end = std::find_if(text.begin(), text.end(), [&](char c) {
    return c == '\n' || c == (quoted ? '"' : delimiter_);
  });
  return static_cast<size_t>(end - text.begin());
}

absl::StatusOr<bool> CsvReader::Take(char c, CsvRecord* record) {
  if (c == '\n') ++line_;
  switch (state_) {
    case State::kCellBegin:
      if (c == '"') {
        state_ = State::kQuoted;
        quote_line_ = line_;
        record->quoted_ = true;
        return false;
      }
      [[fallthrough]];
    case State::kUnquoted:
      return TakeOutsideQuotes(c, record);
    case State::kQuoted:
      if (c == '"') {
        state_ = State::kQuoteInQuoted;
      } else {
        record->text_.push_back(c);
      }
      return false;
    case State::kQuoteInQuoted:
      break;
  }
  if (c == '"') {
    record->text_.push_back(c);
    state_ = State::kQuoted;
    return false;
  }
  if (c == delimiter_ || c == '\n') return TakeOutsideQuotes(c, record);
  if (c == '\r') return false;  // of CRLF
  return Malformed(line_, "text after the closing quote of a cell");
}

bool CsvReader::TakeOutsideQuotes(char c, CsvRecord* record) {
  if (c != delimiter_ && c != '\n') {
    record->text_.push_back(c);
    state_ = State::kUnquoted;
    return false;
  }
  const size_t begin = record->ends_.empty() ? 0 : record->ends_.back();
  std::string& text = record->text_;
  if (c == '\n' && state_ == State::kUnquoted && text.size() > begin &&
      text.back() == '\r') {
    text.pop_back();
  }
  EndCell(record);
  return c == '\n';
}

absl::StatusOr<bool> CsvReader::EndOfInput(CsvRecord* record) {
  if (state_ == State::kQuoted) {
    return Malformed(quote_line_, "a quote that is never closed");
  }
  if (state_ == State::kCellBegin && record->ends_.empty()) return false;
  TakeOutsideQuotes('\n', record);
  return true;
}

void CsvReader::EndCell(CsvRecord* record) {
  record->ends_.push_back(record->text_.size());
  state_ = State::kCellBegin;
}

absl::Status CsvReader::Malformed(uint64_t line, absl::string_view what) const {
  return absl::InvalidArgumentError(
      absl::StrCat(input_->name(), ":", line, ": ", what));
}

std::string CsvCell(absl::string_view cell, char delimiter) {
  const bool plain = std::none_of(cell.begin(), cell.end(), [&](char c) {
    return c == delimiter || c == '"' || c == '\n' || c == '\r';
  });
  if (plain) return std::string(cell);
  std::string quoted = "\"";
  for (const char c : cell) quoted.append(c == '"' ? 2 : 1, c);
  return quoted + '"';
}

std::string CsvLine(const std::vector<std::string>& cells, char delimiter) {
  if (cells.size() == 1 && cells[0].empty()) return "\"\"\n";
  std::string line;
  for (size_t i = 0; i < cells.size(); ++i) {
    if (i > 0) line += delimiter;
    line += CsvCell(cells[i], delimiter);
  }
  return line + '\n';
}

std::optional<double> ParseCell(absl::string_view cell) {
  cell = absl::StripAsciiWhitespace(cell);
  if (IsMissing(cell)) return std::numeric_limits<double>::quiet_NaN();
  if (cell.front() == '+' && cell.size() > 1 && cell[1] != '-') {
    cell.remove_prefix(1);  // from_chars takes no plus
  }
  double value = 0;
  const char* const end = cell.data() + cell.size();
  const auto result = std::from_chars(cell.data(), end, value);
  if (result.ptr != end) return std::nullopt;
  if (result.ec == std::errc::result_out_of_range) return OutOfRange(cell);
  if (result.ec != std::errc()) return std::nullopt;
  return value;
}

bool LooksLikeHeader(const CsvRecord& record) {
  for (size_t i = 0; i < record.size(); ++i) {
    if (!ParseCell(record.cell(i))) return true;
  }
  return false;
}

}  // namespace streamnorm
