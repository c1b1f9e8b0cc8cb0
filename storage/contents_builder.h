#ifndef STREAMNORM_STORAGE_CONTENTS_BUILDER_H_
#define STREAMNORM_STORAGE_CONTENTS_BUILDER_H_

#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "storage/records.h"
#include "storage/statistics_store.h"

namespace streamnorm {

// Puts the records of a store together and quarantines what contradicts itself
// (docs/storage_format.md, "What is checked on load"). Not thread safe.
class ContentsBuilder {
 public:
  void Add(NormalizerDefinition definition);
  void Add(NormalizerState state);
  void Add(SessionRecord session);
  void Add(LedgerRecord ledger);
  void Add(SharedSnapshot snapshot);

  // A record of this normalizer can't be read.
  void Quarantine(const std::string& normalizer_id, std::string reason);

  // A snapshot of it can't be read.
  void AddDamaged(const std::string& normalizer_id, DamagedSnapshot snapshot);

  // Fills normalizers, sessions and quarantined, and raises `next_generation`
  // above every generation in use. The builder is empty afterwards.
  void Finish(StoreContents* contents);

 private:
  struct Parts {
    std::optional<NormalizerDefinition> definition;
    std::optional<NormalizerState> state;
    std::vector<LedgerRecord> ledgers;
    std::vector<SharedSnapshot> snapshots;
    std::vector<DamagedSnapshot> damaged_snapshots;
    std::string damage;  // the first; empty = none
  };

  static void KeepFittingSnapshots(Parts* parts);
  static uint64_t NewestGeneration(const Parts& parts);

  std::map<std::string, Parts> normalizers_;
  std::vector<SessionRecord> sessions_;
  std::set<SessionId> session_ids_;
};

}  // namespace streamnorm

#endif  // STREAMNORM_STORAGE_CONTENTS_BUILDER_H_
