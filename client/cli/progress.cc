#include "client/cli/progress.h"

#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstdio>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"

namespace streamnorm {
namespace {

constexpr std::chrono::milliseconds kBetweenDraws{200};

// "8 s", "3 min 20 s", "2 h 5 min".
std::string Duration(double seconds) {
  const auto s = static_cast<uint64_t>(std::ceil(seconds));
  if (s < 60) return absl::StrCat(s, " s");
  if (s < 3600) return absl::StrCat(s / 60, " min ", s % 60, " s");
  return absl::StrCat(s / 3600, " h ", s / 60 % 60, " min");
}

}  // namespace

Progress::Progress(const char* noun)
    : noun_(noun),
      enabled_(isatty(STDERR_FILENO) != 0),
      begin_(Clock::now()),
      next_(begin_ + kBetweenDraws) {}

void Progress::Show(uint64_t count, uint64_t bytes_done,
                    std::optional<uint64_t> bytes) {
  const auto now = Clock::now();
  if (!enabled_ || now < next_) return;
  next_ = now + kBetweenDraws;
  const double seconds = std::chrono::duration<double>(now - begin_).count();
  std::fprintf(stderr, "\r\x1b[K%s",
               ProgressText(count, bytes_done, bytes, seconds, noun_).c_str());
  std::fflush(stderr);
  drawn_ = true;
}

void Progress::Erase() {
  if (!drawn_) return;
  std::fputs("\r\x1b[K", stderr);
  std::fflush(stderr);
  drawn_ = false;
}

std::string ProgressText(uint64_t count, uint64_t bytes_done,
                         std::optional<uint64_t> bytes, double seconds,
                         const char* noun) {
  const double rate =
      static_cast<double>(count) / std::max(seconds, 1e-3);  // no 0 / 0
  std::string text = absl::StrCat(
      Grouped(count), " ", noun, "  ",
      Grouped(static_cast<uint64_t>(std::llround(rate))), " ", noun, "/s");
  if (!bytes || *bytes == 0 || bytes_done == 0) return text;
  const double done = static_cast<double>(bytes_done) /
                      static_cast<double>(std::max(*bytes, bytes_done));
  return absl::StrFormat("%s  %.0f %%  %s left", text, 100 * done,
                         Duration(seconds * (1 - done) / done));
}

std::string Grouped(uint64_t number) {
  std::string digits = absl::StrCat(number);
  for (size_t end = digits.size(); end > 3;) {
    end -= 3;
    digits.insert(end, 1, ',');
  }
  return digits;
}

std::string Counted(uint64_t number, const char* noun) {
  return absl::StrCat(Grouped(number), " ", noun, number == 1 ? "" : "s");
}

}  // namespace streamnorm
