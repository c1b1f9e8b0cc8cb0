#include "client/cli/table.h"

#include <algorithm>
#include <cassert>
#include <charconv>
#include <cstdint>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"

namespace streamnorm {
namespace {

struct CodePointRange {
  uint32_t first;
  uint32_t last;
};

// Unicode 15: blocks of marks that add no width (combining marks, zero-width
// space and joiners, variation selectors).
constexpr CodePointRange kNoWidth[] = {
    {0x0300, 0x036F}, {0x200B, 0x200F}, {0x20D0, 0x20FF}, {0xFE00, 0xFE0F}};

// Unicode 15: blocks of East Asian width W or F, and emoji.
constexpr CodePointRange kWide[] = {
    {0x1100, 0x115F}, {0x2E80, 0xA4CF},   {0xAC00, 0xD7A3},
    {0xF900, 0xFAFF}, {0xFE30, 0xFE6F},   {0xFF00, 0xFF60},
    {0xFFE0, 0xFFE6}, {0x1F300, 0x1FAFF}, {0x20000, 0x3FFFD}};

bool In(uint32_t code_point, const CodePointRange& range) {
  return range.first <= code_point && code_point <= range.last;
}

template <size_t n>
bool InAny(uint32_t code_point, const CodePointRange (&ranges)[n]) {
  return std::any_of(std::begin(ranges), std::end(ranges),
                     [&](const auto& range) { return In(code_point, range); });
}

// Bytes of the UTF-8 sequence that `lead` begins; 1 for what begins none.
size_t SequenceLength(uint8_t lead) {
  if (lead >= 0xF0 && lead < 0xF8) return 4;
  if (lead >= 0xE0 && lead < 0xF0) return 3;
  if (lead >= 0xC0 && lead < 0xE0) return 2;
  return 1;
}

// Takes one code point off the front of `*utf8`.
uint32_t TakeCodePoint(absl::string_view* utf8) {
  const auto lead = static_cast<uint8_t>(utf8->front());
  const size_t length = SequenceLength(lead);
  uint32_t code_point = length == 1 ? lead : lead & (0xFFU >> (length + 1));
  bool valid = utf8->size() >= length;
  for (size_t i = 1; valid && i < length; ++i) {
    const auto byte = static_cast<uint8_t>((*utf8)[i]);
    valid = (byte & 0xC0U) == 0x80U;
    code_point = code_point << 6U | (byte & 0x3FU);
  }
  utf8->remove_prefix(valid ? length : 1);
  return valid ? code_point : lead;
}

bool IsControl(char c) {
  const auto byte = static_cast<uint8_t>(c);
  return byte < 0x20 || byte == 0x7F;
}

}  // namespace

std::string Printable(std::string text) {
  std::replace_if(text.begin(), text.end(), IsControl, '?');
  return text;
}

Table::Table(std::vector<Column> columns) : columns_(std::move(columns)) {
  for (const Column& column : columns_) {
    widths_.push_back(DisplayWidth(column.title));
  }
}

void Table::AddRow(std::vector<std::string> cells) {
  assert(cells.size() == columns_.size());
  for (size_t i = 0; i < cells.size(); ++i) {
    cells[i] = Printable(std::move(cells[i]));
    widths_[i] = std::max(widths_[i], DisplayWidth(cells[i]));
  }
  rows_.push_back(std::move(cells));
}

std::string Table::Render(bool bold_titles) const {
  std::vector<std::string> titles;
  for (const Column& column : columns_) titles.push_back(column.title);
  std::string text = Line(titles);
  if (bold_titles) text = absl::StrCat("\x1b[1m", text, "\x1b[0m");
  text += '\n';
  for (const auto& row : rows_) absl::StrAppend(&text, Line(row), "\n");
  return text;
}

std::string Table::Line(const std::vector<std::string>& cells) const {
  std::string line;
  for (size_t i = 0; i < cells.size(); ++i) {
    const std::string gap(widths_[i] - DisplayWidth(cells[i]), ' ');
    const bool right = columns_[i].align == Align::kRight;
    absl::StrAppend(&line, i == 0 ? "" : "  ", right ? gap : "", cells[i],
                    right ? "" : gap);
  }
  line.erase(line.find_last_not_of(' ') + 1);
  return line;
}

size_t DisplayWidth(absl::string_view utf8) {
  size_t width = 0;
  while (!utf8.empty()) {
    const uint32_t code_point = TakeCodePoint(&utf8);
    if (InAny(code_point, kNoWidth)) continue;
    width += InAny(code_point, kWide) ? 2 : 1;
  }
  return width;
}

std::string ShortNumber(double value) { return absl::StrFormat("%.6g", value); }

namespace {

template <typename Float>
std::string Shortest(Float value) {
  char text[32];  // "-1.2345678901234567e-308" and its like
  const auto end = std::to_chars(text, text + sizeof(text), value).ptr;
  return std::string(text, end);
}

}  // namespace

std::string ExactNumber(double value) { return Shortest(value); }
std::string ExactNumber(float value) { return Shortest(value); }

}  // namespace streamnorm
