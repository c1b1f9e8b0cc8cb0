#include "client/cli/ndjson_rows.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <set>

#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "client/cli/json_scanner.h"

namespace streamnorm {
namespace {

// As CsvReader has it: a file that never ends a line must not fill the memory.
constexpr size_t kMaxLineBytes = size_t{256} << 20;
constexpr size_t kFirstPeek = 4096;

std::string Quoted(absl::string_view text) {
  constexpr size_t kShown = 60;
  text = absl::StripAsciiWhitespace(text);
  return absl::StrCat("\"", absl::Utf8SafeCHexEscape(text.substr(0, kShown)),
                      text.size() > kShown ? "..." : "", "\"");
}

}  // namespace

bool LooksLikeNdjson(absl::string_view begin) {
  begin = absl::StripLeadingAsciiWhitespace(begin);
  return !begin.empty() && (begin.front() == '{' || begin.front() == '[');
}

absl::StatusOr<std::unique_ptr<RowsSource>> NdjsonRows::Open(
    std::unique_ptr<BufferedInput> input, const RowsSourceOptions& options) {
  auto rows = std::unique_ptr<NdjsonRows>(new NdjsonRows(std::move(input)));
  if (auto s = rows->LearnColumns(); !s.ok()) return s;
  rows->by_columns_ = !options.columns.empty();
  if (rows->by_columns_) {
    auto chosen = ParseColumns(options.columns, rows->names_, rows->width_);
    if (!chosen.ok()) return chosen.status();
    rows->chosen_ = *std::move(chosen);
  } else {
    rows->chosen_.resize(rows->width_);
    std::iota(rows->chosen_.begin(), rows->chosen_.end(), size_t{0});
  }
  return rows;
}

absl::StatusOr<absl::string_view> NdjsonRows::PeekLine() {
  for (size_t size = kFirstPeek;; size *= 2) {
    const auto text = input_->Peek(size);
    if (!text.ok()) return text.status();
    const size_t end = text->find('\n');
    if (end != text->npos) return text->substr(0, end + 1);
    if (text->size() < size) return *text;  // the last one
    if (size > kMaxLineBytes) return Problem("a line of more than 256 MiB");
  }
}

absl::StatusOr<absl::string_view> NdjsonRows::NextLine() {
  while (true) {
    const auto line = PeekLine();
    if (!line.ok() || line->empty()) return line;
    if (!absl::StripAsciiWhitespace(*line).empty()) return line;
    TakeLine(*line);
  }
}

void NdjsonRows::TakeLine(absl::string_view line) {
  input_->Skip(line.size());
  ++line_;
}

// From the first row, which is not taken.
absl::Status NdjsonRows::LearnColumns() {
  const auto line = NextLine();
  if (!line.ok()) return line.status();
  if (line->empty()) {
    return absl::InvalidArgumentError(
        absl::StrCat(input_->name(), ": empty, want rows"));
  }
  JsonScanner scanner(*line);
  objects_ = scanner.Peek() == '{';
  const char end = objects_ ? '}' : ']';
  if (!scanner.Take('{') && !scanner.Take('[')) {
    return Problem(absl::StrCat(Quoted(*line), ", want [1, 2] or {\"a\": 1}"));
  }
  std::string name;
  while (!scanner.Take(end)) {
    if (objects_ && (!scanner.TakeString(&name) || !scanner.Take(':'))) {
      return Problem(absl::StrCat("no JSON from ", Quoted(scanner.rest())));
    }
    const bool number = scanner.TakeNumber().has_value();
    if (!number && (!objects_ || !scanner.SkipValue())) {
      return Problem(
          absl::StrCat(Quoted(scanner.rest()), ", want a number or null"));
    }
    if (number) ++width_;
    if (number && objects_) names_.push_back(name);
    if (!scanner.Take(',') && scanner.Peek() != end) {
      return Problem(absl::StrCat("no JSON from ", Quoted(scanner.rest())));
    }
  }
  return absl::OkStatus();
}

std::vector<std::string> NdjsonRows::feature_names() const {
  std::vector<std::string> names;
  if (!objects_) return names;
  for (const size_t column : chosen_) names.push_back(names_[column]);
  return names;
}

absl::Status NdjsonRows::Bind(size_t features,
                              const std::vector<std::string>& names) {
  const bool by_name = objects_ && !by_columns_ && !names.empty();
  feature_names_ = by_name ? names : feature_names();
  const size_t found = by_name ? names.size() : chosen_.size();
  if (found != features) {
    return absl::InvalidArgumentError(absl::StrCat(
        input_->name(), ": ", found, " numbers", by_columns_ ? " chosen" : "",
        " in the first row, want ", features,
        ", one per feature; choose them with --columns"));
  }
  for (size_t j = 0; j < feature_names_.size(); ++j) {
    feature_of_name_[feature_names_[j]] = j;
  }
  feature_of_column_.assign(width_, -1);
  for (size_t j = 0; !objects_ && j < chosen_.size(); ++j) {
    feature_of_column_[chosen_[j]] = static_cast<int64_t>(j);
  }
  layout_ = PlainLayout(features, feature_names_);
  return absl::OkStatus();
}

absl::Status NdjsonRows::Read(size_t most, DataType type, RowBatch* batch) {
  *batch = RowBatch();
  batch->type = type;
  batch->features = layout_.features;
  batch->first_row = rows_read_ + 1;
  std::vector<double> values;
  while (batch->rows < most) {
    const auto line = NextLine();
    if (!line.ok()) return line.status();
    if (line->empty()) break;
    if (auto s = TakeRow(*line, &values); !s.ok()) return s;
    batch->lines.push_back(line_);
    TakeLine(*line);
    ++batch->rows;
  }
  const double largest = LargestFinite(type);
  for (size_t i = 0; type != DataType::kFp64 && i < values.size(); ++i) {
    if (!std::isfinite(values[i]) || std::fabs(values[i]) <= largest) continue;
    return absl::InvalidArgumentError(absl::StrCat(
        Place(*batch, i / batch->features, i % batch->features), ": ",
        values[i], " is too large for ", DataTypeName(type)));
  }
  batch->values.resize(batch->view().size_bytes());
  StoreFromDouble(values.data(), values.size(), type, batch->values.data());
  rows_read_ += batch->rows;
  return absl::OkStatus();
}

absl::Status NdjsonRows::TakeRow(absl::string_view line,
                                 std::vector<double>* values) {
  const size_t begin = values->size();
  values->resize(begin + layout_.features);
  std::vector<bool> seen(layout_.features);
  JsonScanner scanner(line);
  const char end = objects_ ? '}' : ']';
  if (!scanner.Take(objects_ ? '{' : '[')) {
    return Problem(absl::StrCat(Quoted(line), ", want ",
                                objects_ ? "an object" : "an array",
                                " as on the first line"));
  }
  std::string name;
  size_t column = 0;
  for (; !scanner.Take(end); ++column) {
    int64_t feature = -1;
    if (objects_) {
      if (!scanner.TakeString(&name) || !scanner.Take(':')) {
        return Problem(absl::StrCat("no JSON from ", Quoted(scanner.rest())));
      }
      const auto found = feature_of_name_.find(name);
      if (found != feature_of_name_.end()) {
        feature = static_cast<int64_t>(found->second);
      }
    } else if (column < width_) {
      feature = feature_of_column_[column];
    }
    if (feature >= 0) {
      const auto j = static_cast<size_t>(feature);
      const auto number = scanner.TakeNumber();
      if (!number || seen[j]) {
        return Problem(absl::StrCat(
            ColumnText(j), ": ",
            seen[j] ? "twice, want it once"
                    : Quoted(scanner.rest()) + " is not a number or null"));
      }
      (*values)[begin + j] = *number;
      seen[j] = true;
    } else if (!scanner.SkipValue()) {
      return Problem(absl::StrCat("no JSON from ", Quoted(scanner.rest())));
    }
    if (!scanner.Take(',') && scanner.Peek() != end) {
      return Problem(absl::StrCat("no JSON from ", Quoted(scanner.rest())));
    }
  }
  if (!scanner.AtEnd()) {
    return Problem(absl::StrCat(Quoted(scanner.rest()),
                                " after the row, want one row a line"));
  }
  if (!objects_ && column != width_) {
    return Problem(absl::StrCat(column, " numbers, want ", width_,
                                " as on the first line"));
  }
  const auto missing = std::find(seen.begin(), seen.end(), false);
  if (missing == seen.end()) return absl::OkStatus();
  return Problem(absl::StrCat(
      "no ", ColumnText(static_cast<size_t>(missing - seen.begin())),
      ", want every feature; null for a missing value"));
}

RowPosition NdjsonRows::position() const {
  return {input_->taken(), rows_read_, line_};
}

absl::Status NdjsonRows::GoTo(const RowPosition& position) {
  rows_read_ = position.rows;
  line_ = position.line;
  return input_->Seek(position.bytes);
}

std::string NdjsonRows::Place(const RowBatch& batch, size_t row,
                              size_t feature) const {
  return absl::StrCat(input_->name(), ":", batch.lines[row], ": ",
                      ColumnText(feature));
}

std::string NdjsonRows::ColumnText(size_t feature) const {
  if (objects_) return Quoted(feature_names_[feature]);
  return absl::StrCat("column ", chosen_[feature] + 1);
}

absl::Status NdjsonRows::Problem(absl::string_view what) const {
  return absl::InvalidArgumentError(
      absl::StrCat(input_->name(), ":", line_, ": ", what));
}

}  // namespace streamnorm
