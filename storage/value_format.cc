#include "storage/value_format.h"

#include <xxhash.h>

#include <cassert>

#include "absl/status/statusor.h"
#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "storage/key_codec.h"

namespace streamnorm {
namespace {

constexpr size_t kChecksumSize = sizeof(uint64_t);

std::string NameOf(std::string_view key) {
  const absl::StatusOr<ParsedKey> parsed = ParseKey(key);
  if (parsed.ok() && parsed->kind != KeyKind::kMeta) {
    const std::string normalizer =
        absl::StrCat("normalizers/", parsed->normalizer_id);
    switch (parsed->kind) {
      case KeyKind::kDefinition:
        return absl::StrCat("definition of ", normalizer);
      case KeyKind::kState:
        return absl::StrCat("state of ", normalizer);
      case KeyKind::kLedger:
        return absl::StrCat("ledger of ", normalizer, " for session ",
                            HexOf(parsed->session.bytes));
      case KeyKind::kSnapshot:
        return absl::StrCat("snapshot of ", normalizer, ": ",
                            parsed->snapshot_id);
      case KeyKind::kSession:
        return absl::StrCat("session ", HexOf(parsed->session.bytes));
      case KeyKind::kMeta:
        break;
    }
  }
  return absl::CHexEscape({key.data(), key.size()});
}

}  // namespace

uint64_t ValueChecksum(std::string_view key, std::string_view bytes) {
  return XXH3_64bits_withSeed(bytes.data(), bytes.size(),
                              XXH3_64bits(key.data(), key.size()));
}

uint64_t ChainedChecksum(uint64_t before, std::string_view key,
                         std::string_view value) {
  return XXH3_64bits_withSeed(
      value.data(), value.size(),
      XXH3_64bits_withSeed(key.data(), key.size(), before));
}

absl::Status DamagedValue(std::string_view key, std::string_view problem) {
  return absl::DataLossError(
      absl::StrCat(NameOf(key), ": ", std::string(problem)));
}

ValueWriter::ValueWriter(uint32_t version, size_t size_hint, std::string* value)
    : value_(value) {
  value_->clear();
  value_->reserve(size_hint);
  Number(uint64_t{0});  // the checksum's place
  Number(version);
}

void ValueWriter::String(std::string_view string) {
  assert(string.size() <= std::numeric_limits<uint32_t>::max());
  Number(static_cast<uint32_t>(string.size()));
  value_->append(string);
}

void ValueWriter::Finish(std::string_view key) {
  const uint64_t checksum =
      ValueChecksum(key, std::string_view(*value_).substr(kChecksumSize));
  std::memcpy(value_->data(), &checksum, sizeof(checksum));
}

ValueReader::ValueReader(std::string_view key, uint32_t newest_version,
                         std::string_view value)
    : key_(key), rest_(value) {
  const auto checksum = Number<uint64_t>("checksum");
  if (ok() && checksum != ValueChecksum(key, rest_)) {
    Fail("checksum: does not match the bytes");
  }
  version_ = Number<uint32_t>("version");
  if (ok()) CheckVersion(version_, newest_version);
}

void ValueReader::CheckVersion(uint32_t version, uint32_t newest_version) {
  if (version == 0) {
    Fail("version: 0, want at least 1");
  } else if (version > newest_version) {
    status_ = absl::FailedPreconditionError(absl::StrCat(
        NameOf(key_), ": version: ", version, ", want at most ", newest_version,
        ": written by a newer version of this program"));
    rest_ = {};
  }
}

std::string ValueReader::String(const char* field) {
  const auto size = Number<uint32_t>(field);
  return Take(field, size) ? std::string(taken_) : std::string();
}

std::vector<double> ValueReader::Doubles(const char* field) {
  const auto size = Number<uint64_t>(field);
  if (!CanHold(field, size, sizeof(double))) return {};
  std::vector<double> column(static_cast<size_t>(size));
  Column(field, std::span(column));
  return column;
}

bool ValueReader::CanHold(const char* field, uint64_t count,
                          size_t element_size) {
  if (!ok()) return false;
  if (count <= rest_.size() / element_size) return true;
  Fail(absl::StrCat(field, ": ", count, " elements in ", rest_.size(),
                    " bytes"));
  return false;
}

void ValueReader::Fail(std::string_view problem) {
  if (ok()) status_ = DamagedValue(key_, problem);
  rest_ = {};
}

absl::Status ValueReader::Finish() {
  if (!rest_.empty()) {
    Fail(absl::StrCat("end: ", rest_.size(), " bytes too many"));
  }
  return status_;
}

bool ValueReader::Take(const char* field, size_t size) {
  if (!ok()) return false;
  if (size > rest_.size()) {
    Fail(absl::StrCat(field, ": ", rest_.size(), " bytes left, want ", size));
    return false;
  }
  taken_ = rest_.substr(0, size);
  rest_.remove_prefix(size);
  return true;
}

uint8_t ValueReader::Limited(const char* field, uint8_t last) {
  const auto byte = Number<uint8_t>(field);
  if (byte <= last) return byte;
  Fail(absl::StrCat(field, ": ", byte, ", want at most ", last));
  return 0;
}

}  // namespace streamnorm
