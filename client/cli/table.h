#ifndef STREAMNORM_CLIENT_CLI_TABLE_H_
#define STREAMNORM_CLIENT_CLI_TABLE_H_

#include <cstddef>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"

namespace streamnorm {

// A table for people: titles, then rows, columns two spaces apart.
// Not thread safe.
class Table {
 public:
  enum class Align { kLeft, kRight };
  struct Column {
    std::string title;
    Align align = Align::kLeft;
  };

  explicit Table(std::vector<Column> columns);

  // Shown as Printable.
  // REQUIRES: one cell per column.
  void AddRow(std::vector<std::string> cells);

  // `bold_titles` with terminal escapes. Lines have no spaces at their end.
  std::string Render(bool bold_titles) const;

 private:
  std::string Line(const std::vector<std::string>& cells) const;

  const std::vector<Column> columns_;
  std::vector<std::vector<std::string>> rows_;
  std::vector<size_t> widths_;
};

// With '?' for control characters: names and messages come from others.
std::string Printable(std::string text);

// Columns that `utf8` takes on a terminal: 2 for wide East Asian characters
// and emoji, 0 for combining ones. A byte that is no UTF-8 counts 1.
size_t DisplayWidth(absl::string_view utf8);

// Six significant digits, as %g.
std::string ShortNumber(double value);

// The shortest text that reads back as the very same value.
std::string ExactNumber(double value);
std::string ExactNumber(float value);

}  // namespace streamnorm

#endif  // STREAMNORM_CLIENT_CLI_TABLE_H_
