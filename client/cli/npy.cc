#include "client/cli/npy.h"

#include <algorithm>
#include <cassert>
#include <cstring>

#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/strip.h"

namespace streamnorm {
namespace {

constexpr absl::string_view kMagic("\x93NUMPY", 6);
constexpr size_t kPreambleSize = 8;  // magic and version

// NumPy refuses to read larger ones without being asked to
// (numpy.lib.format, max_header_size); ours hold three short entries.
constexpr uint32_t kMaxHeaderBytes = 10'000;

// numpy.lib.format writes headers so that the elements begin at a multiple.
constexpr size_t kAlignment = 64;

// Digits of the largest row count, so that any one fits in its place.
constexpr size_t kMaxDigits = 20;

struct TypeEntry {
  DataType type;
  const char* numpy_name;
  const char* short_name;
  const char* wire_name;
  const char* descr;
};
constexpr TypeEntry kTypes[] = {
    {DataType::kFp16, "float16", "f2", "fp16", "<f2"},
    {DataType::kFp32, "float32", "f4", "fp32", "<f4"},
    {DataType::kFp64, "float64", "f8", "fp64", "<f8"},
};

// The dict of a header: string keys; strings, booleans, tuples and lists.
class HeaderParser {
 public:
  explicit HeaderParser(absl::string_view text) : text_(text) {}

  // The value of `key`, as text: the word, or what is between quotes or
  // brackets.
  std::optional<absl::string_view> Find(absl::string_view key) {
    rest_ = text_;
    if (!Consume('{')) return std::nullopt;
    while (!Consume('}')) {
      const auto name = TakeValue();
      if (!name || !Consume(':')) return std::nullopt;
      const auto value = TakeValue();
      if (!value) return std::nullopt;
      if (*name == key) return value;
      Consume(',');
    }
    return std::nullopt;
  }

 private:
  bool Consume(char c) {
    rest_ = absl::StripLeadingAsciiWhitespace(rest_);
    if (rest_.empty() || rest_.front() != c) return false;
    rest_.remove_prefix(1);
    return true;
  }

  std::optional<absl::string_view> TakeValue() {
    for (const auto& [open, close] :
         {std::pair('\'', '\''), std::pair('"', '"'), std::pair('(', ')'),
          std::pair('[', ']')}) {
      if (Consume(open)) return TakeUntil(close);
    }
    const auto* const end =
        std::find_if_not(rest_.begin(), rest_.end(), [](char c) {
          return absl::ascii_isalnum(static_cast<unsigned char>(c));
        });
    const auto length = static_cast<size_t>(end - rest_.begin());
    if (length == 0) return std::nullopt;
    const auto word = rest_.substr(0, length);
    rest_.remove_prefix(length);
    return word;
  }

  std::optional<absl::string_view> TakeUntil(char close) {
    const size_t length = rest_.find(close);
    if (length == absl::string_view::npos) return std::nullopt;
    const auto value = rest_.substr(0, length);
    rest_.remove_prefix(length + 1);
    return value;
  }

  const absl::string_view text_;
  absl::string_view rest_;
};

absl::Status Refused(const BufferedInput& input, absl::string_view got,
                     absl::string_view want) {
  return absl::InvalidArgumentError(
      absl::StrCat(input.name(), ": ", got, ", want ", want));
}

absl::Status Damaged(const BufferedInput& input) {
  return Refused(input, "a damaged NPY header", "a file that numpy.load reads");
}

// The version decides how many bytes the header's length takes.
absl::StatusOr<size_t> LengthBytes(const BufferedInput& input,
                                   absl::string_view preamble) {
  if (preamble.size() < kPreambleSize || !HasNpyMagic(preamble)) {
    return Refused(input, "no NPY file (no magic string)",
                   "what numpy.save writes");
  }
  const int major = static_cast<uint8_t>(preamble[6]);
  if (major == 1) return 2;
  if (major == 2 || major == 3) return 4;
  return Refused(input, absl::StrCat("NPY version ", major),
                 "version 1, 2 or 3");
}

absl::StatusOr<std::string> TakeHeaderText(BufferedInput* input) {
  const auto preamble = input->Peek(kPreambleSize);
  if (!preamble.ok()) return preamble.status();
  const auto length_bytes = LengthBytes(*input, *preamble);
  if (!length_bytes.ok()) return length_bytes.status();
  input->Skip(kPreambleSize);
  uint32_t length = 0;  // little-endian, in the file and here
  auto got = input->Read(reinterpret_cast<char*>(&length), *length_bytes);
  if (!got.ok()) return got.status();
  if (*got < *length_bytes || length > kMaxHeaderBytes) return Damaged(*input);
  std::string text(length, '\0');
  got = input->Read(text.data(), text.size());
  if (!got.ok()) return got.status();
  if (*got < text.size()) return Damaged(*input);
  return text;
}

absl::StatusOr<DataType> ParseDescr(const BufferedInput& input,
                                    absl::string_view descr) {
  for (const TypeEntry& entry : kTypes) {
    if (descr == entry.descr) return entry.type;
  }
  if (absl::StartsWith(descr, ">")) {
    return Refused(input, absl::StrCat("big-endian numbers (", descr, ")"),
                   "little-endian ones: x.astype(x.dtype.newbyteorder('<'))");
  }
  return Refused(
      input, absl::StrCat("elements of type '", absl::CHexEscape(descr), "'"),
      "float16, float32 or float64: x.astype('float32')");
}

absl::StatusOr<std::vector<uint64_t>> ParseShape(const BufferedInput& input,
                                                 absl::string_view text) {
  std::vector<uint64_t> shape;
  for (absl::string_view rest = text; !rest.empty();) {
    const size_t comma = std::min(rest.find(','), rest.size());
    const auto item = absl::StripAsciiWhitespace(rest.substr(0, comma));
    rest.remove_prefix(std::min(comma + 1, rest.size()));
    if (item.empty() && absl::StripAsciiWhitespace(rest).empty()) break;
    // Python 2 wrote 3L.
    uint64_t size = 0;
    if (!absl::SimpleAtoi(absl::StripSuffix(item, "L"), &size)) {
      return Damaged(input);
    }
    shape.push_back(size);
  }
  return shape;
}

const TypeEntry& EntryOf(DataType type) {
  for (const TypeEntry& entry : kTypes) {
    if (entry.type == type) return entry;
  }
  assert(false);
  return kTypes[0];
}

}  // namespace

bool HasNpyMagic(absl::string_view bytes) {
  return absl::StartsWith(bytes, kMagic);
}

absl::StatusOr<NpyHeader> ReadNpyHeader(BufferedInput* input) {
  const auto text = TakeHeaderText(input);
  if (!text.ok()) return text.status();
  HeaderParser parser(*text);
  const auto descr = parser.Find("descr");
  const auto fortran_order = parser.Find("fortran_order");
  const auto shape_text = parser.Find("shape");
  if (!descr || !fortran_order || !shape_text) return Damaged(*input);
  const auto type = ParseDescr(*input, *descr);
  if (!type.ok()) return type.status();
  auto shape = ParseShape(*input, *shape_text);
  if (!shape.ok()) return shape.status();
  if (*fortran_order != "False") {
    return Refused(*input, "an array in Fortran order",
                   "C order: numpy.ascontiguousarray(x)");
  }
  return NpyHeader{*type, *std::move(shape)};
}

std::string NpyHeaderBytes(const NpyHeader& header) {
  std::string text = absl::StrCat("{'descr': '", EntryOf(header.type).descr,
                                  "', 'fortran_order': False, 'shape': (",
                                  absl::StrJoin(header.shape, ", "),
                                  header.shape.size() == 1 ? "," : "", "), }");
  size_t longest = text.size();
  for (const uint64_t size : header.shape) {
    longest += kMaxDigits - absl::StrCat(size).size();
  }
  const size_t fixed = kPreambleSize + 2 + 1;  // length and line end
  const size_t total =
      (fixed + longest + kAlignment - 1) / kAlignment * kAlignment;
  text.append(total - fixed - text.size(), ' ');
  text += '\n';
  const size_t length = text.size();
  assert(length <= 0xFFFF);
  std::string bytes(kMagic.data(), kMagic.size());
  bytes += {'\x01', '\x00', static_cast<char>(length & 0xFFU),
            static_cast<char>(length >> 8U)};
  return bytes + text;
}

const char* NumpyName(DataType type) {
  return type == DataType::kBf16 ? "bfloat16" : EntryOf(type).numpy_name;
}

std::optional<DataType> ParseNumpyName(absl::string_view name) {
  for (const TypeEntry& entry : kTypes) {
    if (absl::EqualsIgnoreCase(name, entry.numpy_name) ||
        absl::EqualsIgnoreCase(name, entry.short_name) ||
        absl::EqualsIgnoreCase(name, entry.wire_name)) {
      return entry.type;
    }
  }
  return std::nullopt;
}

}  // namespace streamnorm
