#include "server/barrier_token.h"

#include <xxhash.h>

#include <cstring>

#include "absl/strings/strip.h"
#include "server/errors.h"

namespace streamnorm {
namespace {

constexpr absl::string_view kMagic("SNBT\x01", 5);

void AppendVarint(uint64_t value, std::string* to) {
  for (; value >= 0x80; value >>= 7) {
    to->push_back(static_cast<char>((value & 0x7f) | 0x80));
  }
  to->push_back(static_cast<char>(value));
}

bool ConsumeVarint(absl::string_view* from, uint64_t* value) {
  *value = 0;
  for (int shift = 0; shift < 64 && !from->empty(); shift += 7) {
    const auto byte = static_cast<uint8_t>(from->front());
    from->remove_prefix(1);
    *value |= static_cast<uint64_t>(byte & 0x7f) << shift;
    if (byte < 0x80) return true;
  }
  return false;
}

template <typename Bytes>
void AppendBytes(const Bytes& bytes, std::string* to) {
  to->append(reinterpret_cast<const char*>(bytes.data()), bytes.size());
}

template <typename Bytes>
bool ConsumeBytes(absl::string_view* from, Bytes* bytes) {
  if (from->size() < bytes->size()) return false;
  std::memcpy(bytes->data(), from->data(), bytes->size());
  from->remove_prefix(bytes->size());
  return true;
}

bool ConsumeSequences(absl::string_view* from, BarrierToken* token) {
  while (!from->empty()) {
    uint64_t size = 0;
    if (!ConsumeVarint(from, &size) || size > from->size()) return false;
    const std::string id(from->substr(0, size));
    from->remove_prefix(size);
    if (!ConsumeVarint(from, &token->sequences[id])) return false;
  }
  return true;
}

}  // namespace

std::string EncodeToken(const BarrierToken& token) {
  std::string bytes(kMagic);
  AppendBytes(token.history_id, &bytes);
  AppendBytes(token.session.bytes, &bytes);
  for (const auto& [id, sequence] : token.sequences) {
    AppendVarint(id.size(), &bytes);
    bytes += id;
    AppendVarint(sequence, &bytes);
  }
  const uint64_t checksum = XXH3_64bits(bytes.data(), bytes.size());
  bytes.append(reinterpret_cast<const char*>(&checksum), sizeof(checksum));
  return bytes;
}

absl::StatusOr<BarrierToken> DecodeToken(absl::string_view bytes) {
  const absl::Status invalid = InvalidField("token", "damaged or not a token",
                                            "the bytes that Barrier answered");
  uint64_t checksum = 0;
  if (bytes.size() < kMagic.size() + sizeof(checksum)) return invalid;
  const absl::string_view body =
      bytes.substr(0, bytes.size() - sizeof(checksum));
  std::memcpy(&checksum, body.data() + body.size(), sizeof(checksum));
  if (checksum != XXH3_64bits(body.data(), body.size())) return invalid;
  absl::string_view rest = body;
  BarrierToken token;
  if (!absl::ConsumePrefix(&rest, kMagic) ||
      !ConsumeBytes(&rest, &token.history_id) ||
      !ConsumeBytes(&rest, &token.session.bytes) ||
      !ConsumeSequences(&rest, &token)) {
    return invalid;
  }
  return token;
}

}  // namespace streamnorm
