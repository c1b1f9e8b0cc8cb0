#ifndef STREAMNORM_STORAGE_RECORD_VERIFIER_H_
#define STREAMNORM_STORAGE_RECORD_VERIFIER_H_

#include <map>
#include <set>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "storage/consistency.h"
#include "storage/maintenance.h"

namespace streamnorm {

// Checks every record of a store as Load would, and keeps only what others have
// to agree with: a store is verified beside the one that serves. Not thread
// safe.
class RecordVerifier {
 public:
  // `report` outlives it.
  explicit RecordVerifier(VerifyReport* report) : report_(report) {}

  void Add(std::string_view key, std::string_view value);

  // After the last record: what contradicts another.
  void FindContradictions();

 private:
  void AddMeta(std::string_view key, std::string_view value);
  void AddDamage(const std::string& normalizer_id, const absl::Status& status);

  VerifyReport* const report_;
  std::map<std::string, NormalizerFacts> normalizers_;
  std::set<std::string> damaged_;
  std::set<SessionId> sessions_;
};

}  // namespace streamnorm

#endif  // STREAMNORM_STORAGE_RECORD_VERIFIER_H_
