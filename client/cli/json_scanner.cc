#include "client/cli/json_scanner.h"

#include <charconv>
#include <cmath>
#include <cstdint>
#include <limits>

#include "absl/strings/match.h"
#include "client/cli/csv.h"

namespace streamnorm {
namespace {

constexpr int kMostLevels = 64;

void AppendUtf8(uint32_t code, std::string* text) {
  const auto add = [text](uint32_t byte) {
    text->push_back(static_cast<char>(byte));
  };
  if (code < 0x80) return add(code);
  if (code < 0x800) {
    add(0xC0 | code >> 6);
  } else if (code < 0x10000) {
    add(0xE0 | code >> 12);
    add(0x80 | (code >> 6 & 0x3F));
  } else {
    add(0xF0 | code >> 18);
    add(0x80 | (code >> 12 & 0x3F));
    add(0x80 | (code >> 6 & 0x3F));
  }
  add(0x80 | (code & 0x3F));
}

// The four digits of \uXXXX.
std::optional<uint32_t> TakeHex(absl::string_view* rest) {
  if (rest->size() < 4) return std::nullopt;
  uint32_t code = 0;
  const auto result = std::from_chars(rest->data(), rest->data() + 4, code, 16);
  if (result.ptr != rest->data() + 4) return std::nullopt;
  rest->remove_prefix(4);
  return code;
}

bool IsSpace(char c) { return c == ' ' || c == '\t' || c == '\n' || c == '\r'; }

}  // namespace

char JsonScanner::Peek() {
  while (!rest_.empty() && IsSpace(rest_.front())) rest_.remove_prefix(1);
  return rest_.empty() ? '\0' : rest_.front();
}

bool JsonScanner::Take(char c) {
  if (Peek() != c) return false;
  rest_.remove_prefix(1);
  return true;
}

bool JsonScanner::TakeWord(absl::string_view word) {
  if (!absl::StartsWith(rest_, word)) return false;
  rest_.remove_prefix(word.size());
  return true;
}

std::optional<double> JsonScanner::TakeNumber() {
  constexpr double kInfinity = std::numeric_limits<double>::infinity();
  const char first = Peek();
  if (first == 'n' || first == 'N' || first == 'I') {
    if (TakeWord("null") || TakeWord("NaN")) return std::nan("");
    if (TakeWord("Infinity")) return kInfinity;
    return std::nullopt;
  }
  if (TakeWord("-Infinity")) return -kInfinity;
  double value = 0;
  const auto result =
      std::from_chars(rest_.data(), rest_.data() + rest_.size(), value);
  if (result.ec == std::errc::invalid_argument) return std::nullopt;
  const auto size = static_cast<size_t>(result.ptr - rest_.data());
  if (result.ec != std::errc()) {
    // Too small for a double, which is a number, or too large.
    const auto checked = ParseCell(rest_.substr(0, size));
    if (!checked) return std::nullopt;
    value = *checked;
  }
  if (!std::isfinite(value)) return std::nullopt;  // "inf" is no JSON
  rest_.remove_prefix(size);
  return value;
}

bool JsonScanner::TakeString(std::string* text) {
  if (!Take('"')) return false;
  text->clear();
  while (!rest_.empty()) {
    const char c = rest_.front();
    rest_.remove_prefix(1);
    if (c == '"') return true;
    if (c != '\\') {
      text->push_back(c);
    } else if (!TakeEscape(text)) {
      return false;
    }
  }
  return false;
}

bool JsonScanner::TakeEscape(std::string* text) {
  if (rest_.empty()) return false;
  const char c = rest_.front();
  rest_.remove_prefix(1);
  constexpr absl::string_view kNames = "\"\\/bfnrt";
  constexpr absl::string_view kMeanings = "\"\\/\b\f\n\r\t";
  if (const size_t at = kNames.find(c); at != kNames.npos) {
    text->push_back(kMeanings[at]);
    return true;
  }
  if (c != 'u') return false;
  auto code = TakeHex(&rest_);
  if (!code) return false;
  if (*code >= 0xD800 && *code < 0xDC00) {  // half of a surrogate pair
    if (!TakeWord("\\u")) return false;
    const auto low = TakeHex(&rest_);
    if (!low || *low < 0xDC00 || *low > 0xDFFF) return false;
    code = 0x10000 + ((*code - 0xD800) << 10) + (*low - 0xDC00);
  }
  AppendUtf8(*code, text);
  return true;
}

bool JsonScanner::Skip(int depth) {
  if (depth > kMostLevels) return false;
  switch (Peek()) {
    case '"':
      return TakeString(&skipped_);
    case '{':
      return SkipMembers('}', depth);
    case '[':
      return SkipMembers(']', depth);
    case 't':
      return TakeWord("true");
    case 'f':
      return TakeWord("false");
    default:
      return TakeNumber().has_value();
  }
}

bool JsonScanner::SkipMembers(char end, int depth) {
  rest_.remove_prefix(1);
  if (Take(end)) return true;
  do {
    if (end == '}' && (!TakeString(&skipped_) || !Take(':'))) return false;
    if (!Skip(depth + 1)) return false;
  } while (Take(','));
  return Take(end);
}

}  // namespace streamnorm
