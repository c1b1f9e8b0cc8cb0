#ifndef STREAMNORM_STORAGE_RECORD_CODEC_H_
#define STREAMNORM_STORAGE_RECORD_CODEC_H_

#include <cstdint>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "storage/records.h"

namespace streamnorm {

// The values of docs/storage_format.md: checksum, version, fields in
// little-endian order. The checksum covers the key too, so a value found under
// another key is damaged.
//
// Encode replaces `*value`. It REQUIRES that `key` is the record's key and that
// the record keeps its invariants ("What a record must say" there), so nothing
// that Decode would refuse is ever written.
//
// Decode returns kDataLoss, naming the field, for any value that Encode did not
// make, and kFailedPrecondition for one that a newer version made.
void Encode(std::string_view key, const NormalizerDefinition& definition,
            std::string* value);
void Encode(std::string_view key, const NormalizerState& state,
            std::string* value);
void Encode(std::string_view key, const SessionRecord& session,
            std::string* value);
void Encode(std::string_view key, const LedgerRecord& ledger,
            std::string* value);
void Encode(std::string_view key, const SnapshotRecord& snapshot,
            std::string* value);
void EncodeHistory(std::string_view key, const HistoryId& history,
                   std::string* value);
void EncodeNumber(std::string_view key, uint64_t number, std::string* value);

absl::StatusOr<NormalizerDefinition> DecodeDefinition(std::string_view key,
                                                      std::string_view value);
absl::StatusOr<NormalizerState> DecodeState(std::string_view key,
                                            std::string_view value);
absl::StatusOr<SessionRecord> DecodeSession(std::string_view key,
                                            std::string_view value);
absl::StatusOr<LedgerRecord> DecodeLedger(std::string_view key,
                                          std::string_view value);
absl::StatusOr<SnapshotRecord> DecodeSnapshot(std::string_view key,
                                              std::string_view value);
absl::StatusOr<HistoryId> DecodeHistory(std::string_view key,
                                        std::string_view value);
absl::StatusOr<uint64_t> DecodeNumber(std::string_view key,
                                      std::string_view value);

}  // namespace streamnorm

#endif  // STREAMNORM_STORAGE_RECORD_CODEC_H_
