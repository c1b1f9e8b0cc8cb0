#ifndef STREAMNORM_CLIENT_CLI_JSON_SCANNER_H_
#define STREAMNORM_CLIENT_CLI_JSON_SCANNER_H_

#include <optional>
#include <string>

#include "absl/strings/string_view.h"

namespace streamnorm {

// Goes through one JSON value as text, without building anything: rows of
// numbers, millions of them. Every method answers false, or nothing, where the
// text is something else, and then stays where it is. Not thread safe.
class JsonScanner {
 public:
  explicit JsonScanner(absl::string_view text) : rest_(text) {}

  // What comes next, spaces aside; '\0' at the end.
  char Peek();
  bool Take(char c);
  bool AtEnd() { return Peek() == '\0'; }

  // A number, or null, NaN, Infinity or -Infinity; null is NaN. Nothing for
  // numbers beyond a double.
  std::optional<double> TakeNumber();

  // A string into `*text`, which is used again and again.
  bool TakeString(std::string* text);

  // A value of any kind, up to 64 levels deep.
  bool SkipValue() { return Skip(0); }

  // For messages: what comes next, cut.
  absl::string_view rest() const { return rest_; }

 private:
  bool Skip(int depth);
  bool SkipMembers(char end, int depth);
  bool TakeEscape(std::string* text);
  bool TakeWord(absl::string_view word);

  absl::string_view rest_;
  std::string skipped_;  // strings that nobody wants
};

}  // namespace streamnorm

#endif  // STREAMNORM_CLIENT_CLI_JSON_SCANNER_H_
