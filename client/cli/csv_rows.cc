#include "client/cli/csv_rows.h"

#include <cmath>
#include <map>
#include <numeric>
#include <utility>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"

namespace streamnorm {
namespace {

// A message shows so many of the names that are missing.
constexpr size_t kShownNames = 5;

std::string Quoted(absl::string_view text) {
  constexpr size_t kShown = 60;
  const bool cut = text.size() > kShown;
  return absl::StrCat("\"", absl::Utf8SafeCHexEscape(text.substr(0, kShown)),
                      cut ? "..." : "", "\"");
}

std::vector<std::string> CellsOf(const CsvRecord& record) {
  std::vector<std::string> cells;
  for (size_t i = 0; i < record.size(); ++i) {
    cells.emplace_back(record.cell(i));
  }
  return cells;
}

}  // namespace

absl::StatusOr<std::unique_ptr<RowsSource>> CsvRows::Open(
    std::unique_ptr<BufferedInput> input, const RowsSourceOptions& options) {
  auto rows = std::unique_ptr<CsvRows>(
      new CsvRows(std::move(input), options.delimiter));
  if (auto s = rows->ReadFirstRecord(options.header); !s.ok()) return s;
  rows->chosen_ = !options.columns.empty();
  if (rows->chosen_) {
    auto positions = ParseColumns(options.columns, rows->header_, rows->width_);
    if (!positions.ok()) return positions.status();
    rows->positions_ = *std::move(positions);
  } else {
    rows->positions_.resize(rows->width_);
    std::iota(rows->positions_.begin(), rows->positions_.end(), size_t{0});
  }
  return rows;
}

absl::Status CsvRows::ReadFirstRecord(RowsSourceOptions::Header header) {
  const auto more = reader_.Next(&record_);
  if (!more.ok()) return more.status();
  if (!*more) {
    return absl::InvalidArgumentError(
        absl::StrCat(input_->name(), ": empty, want a header or rows"));
  }
  width_ = record_.size();
  const bool has_header = header == RowsSourceOptions::Header::kAuto
                              ? LooksLikeHeader(record_)
                              : header == RowsSourceOptions::Header::kPresent;
  if (has_header) header_ = CellsOf(record_);
  record_pending_ = !has_header;
  return absl::OkStatus();
}

std::vector<std::string> CsvRows::feature_names() const {
  std::vector<std::string> names;
  if (header_.empty()) return names;
  for (const size_t position : positions_) names.push_back(header_[position]);
  return names;
}

absl::Status CsvRows::Bind(size_t features,
                           const std::vector<std::string>& names) {
  if (!chosen_ && !header_.empty() && !names.empty()) {
    if (auto s = FindByName(names); !s.ok()) return s;
  }
  if (positions_.size() != features) {
    return absl::InvalidArgumentError(
        absl::StrCat(input_->name(), ": ", positions_.size(), " columns",
                     chosen_ ? " chosen" : "", ", want ", features,
                     ", one per feature; choose them with --columns"));
  }
  LayOut();
  return absl::OkStatus();
}

absl::Status CsvRows::FindByName(const std::vector<std::string>& names) {
  std::map<absl::string_view, size_t> position_of;
  std::map<absl::string_view, size_t> occurrences;
  for (size_t i = 0; i < header_.size(); ++i) {
    position_of[header_[i]] = i;
    ++occurrences[header_[i]];
  }
  positions_.clear();
  std::string missing;
  size_t missing_names = 0;
  for (const std::string& name : names) {
    const auto found = position_of.find(name);
    if (found == position_of.end()) {
      if (++missing_names > kShownNames) continue;
      absl::StrAppend(&missing, missing.empty() ? "" : ", ", Quoted(name));
    } else if (occurrences[name] > 1) {
      return absl::InvalidArgumentError(absl::StrCat(
          input_->name(), ": ", occurrences[name], " columns named ",
          Quoted(name), ", want one; choose by number with --columns"));
    } else {
      positions_.push_back(found->second);
    }
  }
  if (missing_names == 0) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat(
      input_->name(), ": no column ", missing,
      missing_names > kShownNames
          ? absl::StrCat(" and ", missing_names - kShownNames, " more")
          : "",
      ", which the normalizer has as features; rename columns, or choose "
      "them with --columns"));
}

void CsvRows::LayOut() {
  layout_ = RowLayout();
  layout_.features = positions_.size();
  layout_.header = header_;
  constexpr int64_t kOther = -1;
  layout_.cells.assign(width_, kOther);
  for (size_t j = 0; j < positions_.size(); ++j) {
    layout_.cells[positions_[j]] = static_cast<int64_t>(j);
  }
  int64_t others = 0;
  for (int64_t& cell : layout_.cells) {
    if (cell < 0) cell = kOther - others++;
  }
}

absl::StatusOr<bool> CsvRows::NextRecord() {
  if (std::exchange(record_pending_, false)) return true;
  const auto more = reader_.Next(&record_);
  if (!more.ok() || !*more || record_.size() == width_) return more;
  return absl::InvalidArgumentError(
      absl::StrCat(input_->name(), ":", record_.line(), ": ", record_.size(),
                   " cells, want ", width_, " as on the first line"));
}

absl::Status CsvRows::Read(size_t most, DataType type, RowBatch* batch) {
  *batch = RowBatch();
  batch->type = type;
  batch->features = positions_.size();
  batch->first_row = next_row_;
  std::vector<double> values;
  while (batch->rows < most) {
    const auto more = NextRecord();
    if (!more.ok()) return more.status();
    if (!*more) break;
    if (auto s = TakeValues(batch, &values); !s.ok()) return s;
  }
  batch->values.resize(batch->view().size_bytes());
  StoreFromDouble(values.data(), values.size(), type, batch->values.data());
  next_row_ += batch->rows;
  return absl::OkStatus();
}

RowPosition CsvRows::position() const {
  if (record_pending_) return RowPosition();
  return {input_->taken(), next_row_ - 1, reader_.line()};
}

absl::Status CsvRows::GoTo(const RowPosition& position) {
  if (auto s = input_->Seek(position.bytes); !s.ok()) return s;
  reader_.GoOnAt(position.line);
  record_pending_ = false;
  next_row_ = position.rows + 1;
  return absl::OkStatus();
}

absl::Status CsvRows::TakeValues(RowBatch* batch,
                                 std::vector<double>* values) const {
  for (const size_t position : positions_) {
    const auto value = TakeValue(position, batch->type);
    if (!value.ok()) return value.status();
    values->push_back(*value);
  }
  for (size_t i = 0; i < width_; ++i) {
    if (layout_.cells[i] < 0) batch->other_cells.emplace_back(record_.cell(i));
  }
  batch->lines.push_back(record_.line());
  ++batch->rows;
  return absl::OkStatus();
}

absl::StatusOr<double> CsvRows::TakeValue(size_t position,
                                          DataType type) const {
  const auto value = ParseCell(record_.cell(position));
  const bool fits = value && (!std::isfinite(*value) ||
                              std::fabs(*value) <= LargestFinite(type));
  if (fits) return *value;
  return absl::InvalidArgumentError(absl::StrCat(
      input_->name(), ":", record_.line(), ": ", ColumnText(position), ": ",
      Quoted(record_.cell(position)),
      value ? absl::StrCat(" is too large for ", DataTypeName(type))
            : " is not a number (choose columns with --columns)"));
}

std::string CsvRows::Place(const RowBatch& batch, size_t row,
                           size_t feature) const {
  return absl::StrCat(input_->name(), ":", batch.lines[row], ": ",
                      ColumnText(positions_[feature]));
}

std::string CsvRows::ColumnText(size_t position) const {
  std::string text = absl::StrCat("column ", position + 1);
  if (!header_.empty())
    absl::StrAppend(&text, " (", Quoted(header_[position]), ")");
  return text;
}

}  // namespace streamnorm
