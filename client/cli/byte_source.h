#ifndef STREAMNORM_CLIENT_CLI_BYTE_SOURCE_H_
#define STREAMNORM_CLIENT_CLI_BYTE_SOURCE_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace streamnorm {

// Bytes that come one after another. Not thread safe.
class ByteSource {
 public:
  virtual ~ByteSource() = default;

  // Up to `size` bytes into `to`, at least one; 0 at the end. CANCELLED once
  // the user asked to stop.
  virtual absl::StatusOr<size_t> Read(char* to, size_t size) = 0;

  // For messages: the path, or "stdin".
  virtual const std::string& name() const = 0;

  // All bytes together, where that is known.
  virtual std::optional<uint64_t> size() const { return std::nullopt; }

  // The next Read begins at byte `offset`. FAILED_PRECONDITION where bytes come
  // only once (stdin).
  virtual absl::Status Seek(uint64_t offset);
};

// A file; "-" is standard input. `stop_fd`, unless -1, becomes readable when
// the user asks to stop, which ends a Read that waits.
absl::StatusOr<std::unique_ptr<ByteSource>> OpenFile(const std::string& path,
                                                     int stop_fd);

// A ByteSource with a look ahead. Not thread safe.
class BufferedInput {
 public:
  explicit BufferedInput(std::unique_ptr<ByteSource> source);

  // The next bytes without taking them: `size` of them, fewer only at the end.
  // Valid until the next call.
  absl::StatusOr<absl::string_view> Peek(size_t size);

  // Takes `size` bytes that Peek showed.
  void Skip(size_t size);

  // Takes `size` bytes into `to`; fewer only at the end.
  absl::StatusOr<size_t> Read(char* to, size_t size);

  // Goes on at byte `offset`, forth or back; `taken` then says so.
  absl::Status Seek(uint64_t offset);

  const std::string& name() const { return source_->name(); }
  std::optional<uint64_t> size() const { return source_->size(); }
  uint64_t taken() const { return taken_; }

 private:
  const std::unique_ptr<ByteSource> source_;
  std::string buffer_;
  size_t begin_ = 0;  // of what was not taken yet
  bool at_end_ = false;
  uint64_t taken_ = 0;
};

}  // namespace streamnorm

#endif  // STREAMNORM_CLIENT_CLI_BYTE_SOURCE_H_
