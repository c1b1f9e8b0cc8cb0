#include "storage/key_codec.h"

#include <algorithm>
#include <cassert>
#include <cstddef>
#include <cstdint>

#include "absl/status/status.h"
#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"

namespace streamnorm {
namespace {

constexpr size_t kMaxIdLength = 127 + 1;

char KindByte(KeyKind kind) { return static_cast<char>(kind); }

std::string IdKey(KeyKind kind, std::string_view id) {
  assert(IsNormalizerId(id));
  std::string key;
  key.reserve(2 + id.size() + sizeof(SessionId::bytes));
  key.push_back(KindByte(kind));
  key.push_back(static_cast<char>(static_cast<uint8_t>(id.size())));
  key.append(id);
  return key;
}

void AppendSession(const SessionId& session, std::string* key) {
  key->append(reinterpret_cast<const char*>(session.bytes.data()),
              session.bytes.size());
}

bool TakeId(std::string_view* rest, std::string* id) {
  if (rest->empty()) return false;
  const size_t length = static_cast<uint8_t>(rest->front());
  rest->remove_prefix(1);
  if (rest->size() < length || !IsNormalizerId(rest->substr(0, length))) {
    return false;
  }
  *id = rest->substr(0, length);
  rest->remove_prefix(length);
  return true;
}

bool TakeSession(std::string_view* rest, SessionId* session) {
  if (rest->size() < session->bytes.size()) return false;
  std::copy_n(rest->begin(), session->bytes.size(), session->bytes.begin());
  rest->remove_prefix(session->bytes.size());
  return true;
}

bool IsMetaKey(std::string_view key) {
  return key == kFormatKey || key == kHistoryKey || key == kIncarnationKey ||
         key == kNextGenerationKey;
}

bool Parse(std::string_view key, ParsedKey* parsed) {
  if (key.empty()) return false;
  parsed->kind = static_cast<KeyKind>(key.front());
  std::string_view rest = key.substr(1);
  switch (parsed->kind) {
    case KeyKind::kMeta:
      return IsMetaKey(key);
    case KeyKind::kDefinition:
    case KeyKind::kState:
      return TakeId(&rest, &parsed->normalizer_id) && rest.empty();
    case KeyKind::kLedger:
      return TakeId(&rest, &parsed->normalizer_id) &&
             TakeSession(&rest, &parsed->session) && rest.empty();
    case KeyKind::kSession:
      return TakeSession(&rest, &parsed->session) && rest.empty();
    case KeyKind::kSnapshot:
      if (!TakeId(&rest, &parsed->normalizer_id)) return false;
      parsed->snapshot_id = rest;
      return IsNormalizerId(rest);
  }
  return false;
}

}  // namespace

bool IsNormalizerId(std::string_view id) {
  const auto is_lower = [](char c) { return c >= 'a' && c <= 'z'; };
  const auto is_allowed = [&](char c) {
    return is_lower(c) || (c >= '0' && c <= '9') || c == '.' || c == '_' ||
           c == '-';
  };
  return !id.empty() && id.size() <= kMaxIdLength && is_lower(id.front()) &&
         std::all_of(id.begin(), id.end(), is_allowed);
}

std::string DefinitionKey(std::string_view id) {
  return IdKey(KeyKind::kDefinition, id);
}

std::string StateKey(std::string_view id) { return IdKey(KeyKind::kState, id); }

std::string LedgerPrefix(std::string_view id) {
  return IdKey(KeyKind::kLedger, id);
}

std::string LedgerKey(std::string_view id, const SessionId& session) {
  std::string key = LedgerPrefix(id);
  AppendSession(session, &key);
  return key;
}

std::string SnapshotPrefix(std::string_view id) {
  return IdKey(KeyKind::kSnapshot, id);
}

std::string SnapshotKey(std::string_view id, std::string_view snapshot) {
  assert(IsNormalizerId(snapshot));
  std::string key = SnapshotPrefix(id);
  key.append(snapshot);
  return key;
}

std::string SessionKey(const SessionId& session) {
  std::string key(1, KindByte(KeyKind::kSession));
  AppendSession(session, &key);
  return key;
}

absl::StatusOr<ParsedKey> ParseKey(std::string_view key) {
  ParsedKey parsed;
  if (Parse(key, &parsed)) return parsed;
  return absl::DataLossError(
      absl::StrCat("key \"", absl::CHexEscape({key.data(), key.size()}),
                   "\": want a key of docs/storage_format.md"));
}

}  // namespace streamnorm
