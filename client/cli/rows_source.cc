#include "client/cli/rows_source.h"

#include <algorithm>
#include <numeric>
#include <set>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "client/cli/csv_rows.h"
#include "client/cli/exit_code.h"
#include "client/cli/ndjson_rows.h"
#include "client/cli/npy.h"
#include "client/cli/npy_rows.h"

namespace streamnorm {
namespace {

// Long enough for NpyMagic.
constexpr size_t kMagicBytes = 6;

using Format = RowsSourceOptions::Format;

absl::StatusOr<Format> FormatOf(BufferedInput* input, Format wanted) {
  if (wanted != Format::kAuto) return wanted;
  const auto begin = input->Peek(kMagicBytes);
  if (!begin.ok()) return begin.status();
  const auto ends_in = [&](absl::string_view ending) {
    return absl::EndsWith(input->name(), ending);
  };
  if (HasNpyMagic(*begin) || ends_in(".npy")) return Format::kNpy;
  const bool ndjson =
      LooksLikeNdjson(*begin) || ends_in(".ndjson") || ends_in(".jsonl");
  return ndjson ? Format::kNdjson : Format::kCsv;
}

absl::Status NoColumn(absl::string_view item, size_t width, bool has_header) {
  return UsageError(absl::StrCat("--columns: '", item, "', want ",
                                 has_header ? "a name of the header or " : "",
                                 "numbers from 1 to ", width));
}

// "3" or "5-8", from 1; false for anything else.
bool ParseRange(absl::string_view item, size_t width, size_t* first,
                size_t* last) {
  const std::vector<absl::string_view> ends = absl::StrSplit(item, '-');
  if (ends.size() > 2 || !absl::SimpleAtoi(ends.front(), first) ||
      !absl::SimpleAtoi(ends.back(), last)) {
    return false;
  }
  return 1 <= *first && *first <= *last && *last <= width;
}

}  // namespace

RowLayout PlainLayout(size_t features, const std::vector<std::string>& names) {
  RowLayout layout;
  layout.features = features;
  layout.header = names;
  layout.cells.resize(features);
  std::iota(layout.cells.begin(), layout.cells.end(), int64_t{0});
  return layout;
}

absl::StatusOr<std::unique_ptr<RowsSource>> OpenRows(
    std::unique_ptr<ByteSource> bytes, const RowsSourceOptions& options) {
  auto input = std::make_unique<BufferedInput>(std::move(bytes));
  const auto format = FormatOf(input.get(), options.format);
  if (!format.ok()) return format.status();
  if (*format == Format::kCsv) return CsvRows::Open(std::move(input), options);
  if (*format == Format::kNdjson) {
    return NdjsonRows::Open(std::move(input), options);
  }
  if (!options.columns.empty()) {
    return UsageError("--columns: set, want it for CSV and NDJSON files only");
  }
  return NpyRows::Open(std::move(input));
}

absl::StatusOr<std::vector<size_t>> ParseColumns(
    absl::string_view columns, const std::vector<std::string>& header,
    size_t width) {
  std::vector<size_t> positions;
  std::set<size_t> seen;
  for (absl::string_view part : absl::StrSplit(columns, ',')) {
    const std::string item(absl::StripAsciiWhitespace(part));
    const auto named = std::find(header.begin(), header.end(), item);
    size_t first = 0;
    size_t last = 0;
    if (named != header.end()) {
      first = last = static_cast<size_t>(named - header.begin()) + 1;
    } else if (!ParseRange(item, width, &first, &last)) {
      return NoColumn(item, width, !header.empty());
    }
    for (size_t number = first; number <= last; ++number) {
      if (!seen.insert(number).second) {
        return UsageError(absl::StrCat("--columns: column ", number,
                                       " twice, want each once"));
      }
      positions.push_back(number - 1);
    }
  }
  return positions;
}

}  // namespace streamnorm
