#ifndef STREAMNORM_STORAGE_KEY_CODEC_H_
#define STREAMNORM_STORAGE_KEY_CODEC_H_

#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "storage/records.h"

namespace streamnorm {

// The keys of docs/storage_format.md: a byte that says what the record is, then
// what names it. An id has its length before it, so no id's keys are between or
// among those of another.
enum class KeyKind : char {
  kDefinition = 'C',
  kSession = 'E',
  kLedger = 'L',
  kMeta = 'M',
  kSnapshot = 'P',
  kState = 'S',
};

inline constexpr std::string_view kFormatKey = "Mformat";
inline constexpr std::string_view kHistoryKey = "Mhistory";
inline constexpr std::string_view kIncarnationKey = "Mincarnation";
inline constexpr std::string_view kNextGenerationKey = "Mnext_generation";

// True for [a-z][a-z0-9._-]{0,127}.
bool IsNormalizerId(std::string_view id);

// REQUIRES: IsNormalizerId(id), for all of these.
std::string DefinitionKey(std::string_view id);
std::string StateKey(std::string_view id);
std::string LedgerKey(std::string_view id, const SessionId& session);

// REQUIRES: IsNormalizerId(snapshot), too: their ids are made alike.
std::string SnapshotKey(std::string_view id, std::string_view snapshot);

// What the keys of all snapshots of `id`, and no others, start with.
std::string SnapshotPrefix(std::string_view id);

// What the keys of all ledgers of `id`, and no others, start with.
std::string LedgerPrefix(std::string_view id);

std::string SessionKey(const SessionId& session);

struct ParsedKey {
  KeyKind kind = KeyKind::kMeta;
  std::string normalizer_id;  // kDefinition, kState, kLedger and kSnapshot
  std::string snapshot_id;    // kSnapshot
  SessionId session;          // kSession and kLedger
};

// kDataLoss if no version of this program writes such a key.
absl::StatusOr<ParsedKey> ParseKey(std::string_view key);

}  // namespace streamnorm

#endif  // STREAMNORM_STORAGE_KEY_CODEC_H_
