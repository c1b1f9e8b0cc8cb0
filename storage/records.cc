#include "storage/records.h"

#include <sys/random.h>
#include <sys/types.h>

#include <cassert>
#include <cerrno>

#include "absl/strings/escaping.h"

namespace streamnorm {

bool CommitBatch::empty() const {
  return deleted_normalizers.empty() && deleted_sessions.empty() &&
         deleted_ledgers.empty() && definitions.empty() && states.empty() &&
         deleted_snapshots.empty() && snapshots.empty() && sessions.empty() &&
         ledgers.empty() && !next_generation.has_value();
}

HistoryId NewHistoryId() {
  HistoryId id{};
  ssize_t filled;
  do {  // up to 256 bytes come whole or not at all (getrandom(2))
    filled = getrandom(id.data(), id.size(), 0);
  } while (filled < 0 && errno == EINTR);
  assert(filled == static_cast<ssize_t>(id.size()));
  return id;
}

std::string HexOf(const std::array<uint8_t, 16>& id) {
  return absl::BytesToHexString(
      {reinterpret_cast<const char*>(id.data()), id.size()});
}

}  // namespace streamnorm
