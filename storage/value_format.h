#ifndef STREAMNORM_STORAGE_VALUE_FORMAT_H_
#define STREAMNORM_STORAGE_VALUE_FORMAT_H_

#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <limits>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

#include "absl/status/status.h"

namespace streamnorm {

// What every value starts with (docs/storage_format.md, "Values"):
//   uint64 checksum of everything behind it, and of the key
//   uint32 version of this kind of record, >= 1
// Numbers and columns follow as they are in the memory of a little-endian
// machine.
static_assert(std::endian::native == std::endian::little);
static_assert(std::numeric_limits<double>::is_iec559);

// XXH3-64 of `bytes`, seeded with the XXH3-64 of `key`.
uint64_t ValueChecksum(std::string_view key, std::string_view bytes);

// Of a series of records, one after another: what it was `before` this one.
uint64_t ChainedChecksum(uint64_t before, std::string_view key,
                         std::string_view value);

// kDataLoss: what the record under `key` is, then `problem`.
absl::Status DamagedValue(std::string_view key, std::string_view problem);

// Writes one value, field after field. Not thread safe.
class ValueWriter {
 public:
  // Replaces `*value`, which grows at once to `size_hint` bytes.
  ValueWriter(uint32_t version, size_t size_hint, std::string* value);

  template <typename T>
  void Number(T number) {
    static_assert(std::is_arithmetic_v<T> && !std::is_same_v<T, bool>);
    value_->append(reinterpret_cast<const char*>(&number), sizeof(number));
  }
  void Byte(uint8_t byte) { Number(byte); }

  // Its length is not written.
  template <typename T>
  void Column(std::span<const T> column) {
    static_assert(std::is_arithmetic_v<T>);
    value_->append(reinterpret_cast<const char*>(column.data()),
                   column.size_bytes());
  }

  // uint32 length, bytes. REQUIRES: shorter than 4 GiB.
  void String(std::string_view string);

  // Puts the checksum in its place; the last call.
  void Finish(std::string_view key);

 private:
  std::string* value_;
};

// Reads one value, field after field. The first problem sticks: everything read
// from then on is zero or empty, and Finish returns it. `field` is for its
// message. Not thread safe; `key` and `value` must outlive it.
class ValueReader {
 public:
  // Checks checksum and version.
  ValueReader(std::string_view key, uint32_t newest_version,
              std::string_view value);

  bool ok() const { return status_.ok(); }
  uint32_t version() const { return version_; }
  size_t remaining() const { return rest_.size(); }

  template <typename T>
  T Number(const char* field) {
    static_assert(std::is_arithmetic_v<T> && !std::is_same_v<T, bool>);
    T number = 0;
    if (Take(field, sizeof(T))) std::memcpy(&number, taken_.data(), sizeof(T));
    return number;
  }

  bool Bool(const char* field) { return Limited(field, 1) != 0; }

  // An enum with the values 0 to `last`.
  template <typename E>
  E Enum(const char* field, E last) {
    return static_cast<E>(Limited(field, static_cast<uint8_t>(last)));
  }

  std::string String(const char* field);

  // Fills `column`.
  template <typename T>
  void Column(const char* field, std::span<T> column) {
    static_assert(std::is_arithmetic_v<T>);
    if (!column.empty() && Take(field, column.size_bytes())) {
      std::memcpy(column.data(), taken_.data(), column.size_bytes());
    }
  }

  // uint64 length, then as many doubles.
  std::vector<double> Doubles(const char* field);

  // True if `count` elements of `element_size` bytes or more can follow; to be
  // asked before memory is taken for them.
  bool CanHold(const char* field, uint64_t count, size_t element_size);

  void Fail(std::string_view problem);

  // OK if everything was read and nothing is left.
  absl::Status Finish();

 private:
  bool Take(const char* field, size_t size);
  uint8_t Limited(const char* field, uint8_t last);
  void CheckVersion(uint32_t version, uint32_t newest_version);

  std::string_view key_;
  std::string_view rest_;
  std::string_view taken_;
  uint32_t version_ = 0;
  absl::Status status_;
};

}  // namespace streamnorm

#endif  // STREAMNORM_STORAGE_VALUE_FORMAT_H_
