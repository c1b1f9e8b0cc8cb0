#ifndef STREAMNORM_STORAGE_RECORDS_H_
#define STREAMNORM_STORAGE_RECORDS_H_

#include <array>
#include <bitset>
#include <compare>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "stats/moments.h"
#include "stats/scaling.h"
#include "stats/window.h"

namespace streamnorm {

// How far ahead of the lowest uncounted sequence a session may be; also the
// size of a client's replay buffer in updates (docs/durability.md).
inline constexpr uint64_t kSequenceWindow = 1024;

// 16 random bytes that name a session.
struct SessionId {
  std::array<uint8_t, 16> bytes{};

  // clang-tidy 14 takes the 0 that its result is compared with for a pointer.
  // NOLINTNEXTLINE(modernize-use-nullptr)
  auto operator<=>(const SessionId&) const = default;
  template <typename H>
  friend H AbslHashValue(H state, const SessionId& id) {
    return H::combine(std::move(state), id.bytes);
  }
};

// 16 random bytes that name what a store remembers: new when it is created,
// restored, or opened although it lost something.
using HistoryId = std::array<uint8_t, 16>;

// From the kernel's random source.
HistoryId NewHistoryId();

// An id in hexadecimal, for messages.
std::string HexOf(const std::array<uint8_t, 16>& id);

// Times are microseconds since 1970-01-01 UTC.

// What people set.
struct NormalizerDefinition {
  std::string id;  // [a-z][a-z0-9._-]{0,127}
  uint64_t features = 0;
  std::vector<std::string> feature_names;  // [features] or empty
  std::string scaling_preset;              // as it was asked for, or empty
  ScalingRule scaling;
  NonfinitePolicies nonfinite;
  WarmUp warm_up;
  MomentsKind kind;  // of the moments, for ever
  std::map<std::string, std::string> labels;
  bool frozen = false;
  uint64_t birth_generation = 0;  // generation it was created with
  int64_t create_time_us = 0;
  int64_t change_time_us = 0;  // when one of the fields here last changed

  bool operator==(const NormalizerDefinition&) const = default;
};

// What was counted. moments.row_count() = base_rows + the rows of the ledgers.
struct NormalizerState {
  std::string id;
  uint64_t generation = 0;  // >= birth_generation
  uint64_t revision = 0;
  uint64_t base_rows = 0;  // of no session, or of one that ended
  int64_t update_time_us = 0;
  Moments moments;
};

struct SessionRecord {
  SessionId id;
  uint64_t epoch = 0;
  std::string client;
  int64_t create_time_us = 0;

  bool operator==(const SessionRecord&) const = default;
};

// Which updates of one session one normalizer counted.
struct LedgerRecord {
  std::string normalizer_id;
  SessionId session;
  uint64_t applied_sequence = 0;  // every sequence <= this one was counted
  // Bit i: sequence applied_sequence + 1 + i was counted. Bit 0 is never set.
  std::bitset<kSequenceWindow> window;
  uint64_t rows = 0;  // of the present generation

  bool operator==(const LedgerRecord&) const = default;
};

// The statistics of a normalizer at one moment, under a name.
struct SnapshotRecord {
  std::string id;  // [a-z][a-z0-9._-]{0,127}
  int64_t create_time_us = 0;
  // Without feature names and labels: those are the normalizer's.
  NormalizerDefinition definition;
  NormalizerState state;

  const std::string& normalizer_id() const { return definition.id; }
};

// It may be a million features, and never changes.
using SharedSnapshot = std::shared_ptr<const SnapshotRecord>;

// Everything one atomic write changes. Deletions take effect before the puts
// of the same batch.
struct CommitBatch {
  // With state, ledgers and snapshots.
  std::vector<std::string> deleted_normalizers;
  std::vector<SessionId> deleted_sessions;  // without ledgers
  std::vector<std::pair<std::string, SessionId>> deleted_ledgers;
  std::vector<std::pair<std::string, std::string>> deleted_snapshots;

  std::vector<NormalizerDefinition> definitions;
  std::vector<NormalizerState> states;
  std::vector<SessionRecord> sessions;
  std::vector<LedgerRecord> ledgers;
  std::vector<SharedSnapshot> snapshots;

  // The generation the next create or reset will take, if it changed.
  std::optional<uint64_t> next_generation;

  bool empty() const;
};

}  // namespace streamnorm

#endif  // STREAMNORM_STORAGE_RECORDS_H_
