#ifndef STREAMNORM_CLIENT_CLI_PROGRESS_H_
#define STREAMNORM_CLIENT_CLI_PROGRESS_H_

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>

namespace streamnorm {

// A line on stderr that shows how far long work is; nothing unless stderr is a
// terminal. Not thread safe.
class Progress {
 public:
  using Clock = std::chrono::steady_clock;

  // `noun` is what is counted, in the plural.
  explicit Progress(const char* noun = "rows");
  ~Progress() { Erase(); }
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;

  // Draws, but not more often than the eye can follow.
  void Show(uint64_t count, uint64_t bytes_done, std::optional<uint64_t> bytes);

  // Leaves the line empty for something else.
  void Erase();

 private:
  const char* const noun_;
  const bool enabled_;
  const Clock::time_point begin_;
  Clock::time_point next_;
  bool drawn_ = false;
};

// "12,345 rows  2,469 rows/s  40 %  8 s left".
std::string ProgressText(uint64_t count, uint64_t bytes_done,
                         std::optional<uint64_t> bytes, double seconds,
                         const char* noun = "rows");

// 1234567 as "1,234,567".
std::string Grouped(uint64_t number);

// "1 row", "2 rows", "1,234 rows".
std::string Counted(uint64_t number, const char* noun);

}  // namespace streamnorm

#endif  // STREAMNORM_CLIENT_CLI_PROGRESS_H_
