#ifndef STREAMNORM_SERVER_SNAPSHOT_READS_H_
#define STREAMNORM_SERVER_SNAPSHOT_READS_H_

#include <cstdint>

#include "absl/status/statusor.h"
#include "server/normalizer.h"
#include "stats/tensor_view.h"
#include "storage/records.h"

namespace streamnorm {

// What Normalizer::Normalize answers under kNormalizeOnly, and Denormalize,
// with the statistics and the rule of a snapshot: the same bits as the
// normalizer itself when the snapshot was made. `output` has the size of
// `input`. Safe for concurrent use: a snapshot never changes.
absl::StatusOr<NormalizeOutcome> NormalizeWith(const SnapshotRecord& snapshot,
                                               const TensorView& input,
                                               uint8_t* output);
absl::StatusOr<NormalizeOutcome> DenormalizeWith(const SnapshotRecord& snapshot,
                                                 const TensorView& input,
                                                 uint64_t revision,
                                                 uint8_t* output);

}  // namespace streamnorm

#endif  // STREAMNORM_SERVER_SNAPSHOT_READS_H_
