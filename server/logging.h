#ifndef STREAMNORM_SERVER_LOGGING_H_
#define STREAMNORM_SERVER_LOGGING_H_

#include <cstdint>
#include <initializer_list>
#include <string>
#include <type_traits>
#include <variant>

namespace streamnorm {

enum class LogLevel { kDebug, kInfo, kWarning, kError };

// One value of a log line.
struct LogField {
  LogField(const char* k, std::string v) : key(k), value(std::move(v)) {}
  LogField(const char* k, const char* v) : key(k), value(std::string(v)) {}
  LogField(const char* k, bool v) : key(k), value(v) {}
  LogField(const char* k, double v) : key(k), value(v) {}
  template <typename Integer,
            typename = std::enable_if_t<std::is_integral_v<Integer>>>
  LogField(const char* k, Integer v) : key(k), value(static_cast<int64_t>(v)) {}

  const char* key;
  std::variant<std::string, bool, double, int64_t> value;
};

// Writes one line to stderr: a JSON object with time, level, event and the
// fields. Never log payloads, credentials or names of features.
// Safe for concurrent use.
void Log(LogLevel level, const char* event,
         std::initializer_list<LogField> fields);

// Lines below `level` are dropped. "debug", "info", "warning" or "error";
// false for any other.
bool SetLogLevel(const std::string& level);

// For the last line before the process ends.
void FlushLog();

}  // namespace streamnorm

#endif  // STREAMNORM_SERVER_LOGGING_H_
