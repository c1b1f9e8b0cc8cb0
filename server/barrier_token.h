#ifndef STREAMNORM_SERVER_BARRIER_TOKEN_H_
#define STREAMNORM_SERVER_BARRIER_TOKEN_H_

#include <cstdint>
#include <map>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "storage/records.h"

namespace streamnorm {

// What a job's checkpoint remembers of its session: how far it had got with
// each normalizer.
struct BarrierToken {
  HistoryId history_id{};
  SessionId session;
  std::map<std::string, uint64_t> sequences;  // by normalizer id

  bool operator==(const BarrierToken&) const = default;
};

// "SNBT", version 1, the 32 bytes of the ids, then per normalizer a varint
// length, the id and a varint sequence; at the end 8 bytes of XXH3.
std::string EncodeToken(const BarrierToken& token);

// INVALID_ARGUMENT if `bytes` is not the whole of a token.
absl::StatusOr<BarrierToken> DecodeToken(absl::string_view bytes);

}  // namespace streamnorm

#endif  // STREAMNORM_SERVER_BARRIER_TOKEN_H_
