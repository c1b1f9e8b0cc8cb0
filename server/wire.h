#ifndef STREAMNORM_SERVER_WIRE_H_
#define STREAMNORM_SERVER_WIRE_H_

#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "google/protobuf/field_mask.pb.h"
#include "google/protobuf/timestamp.pb.h"
#include "google/rpc/status.pb.h"
#include "server/normalizer.h"
#include "stats/tensor_view.h"
#include "storage/records.h"
#include "streamnorm/v1/normalizer_service.pb.h"
#include "streamnorm/v1/snapshot.pb.h"

namespace streamnorm {

// Domain values as the messages of the API. (The other way, with its checks,
// is validation.h.)

google::protobuf::Timestamp ToTimestamp(int64_t micros);

// Feature names may be a million: ListNormalizers leaves them out.
void ToProto(const NormalizerDefinition& definition,
             const NormalizerState& state, bool with_feature_names,
             v1::Normalizer* proto);

// `schema_hash` is the normalizer's.
void ToProto(const SnapshotRecord& snapshot, uint64_t schema_hash,
             v1::Snapshot* proto);

// The etag of a definition, and the change time an etag stands for: 0 for the
// empty one (not checked), -1 for one that can't be current.
std::string Etag(const NormalizerDefinition& definition);
int64_t EtagChangeTime(absl::string_view etag);

// A copy of what statistics are made of, so that a million features are turned
// into an answer without holding up their normalizer.
struct StatisticsView {
  std::string name;  // of the normalizer or the snapshot
  NormalizerState state;
  ScalingRule scaling;
  uint64_t minimum_rows = 0;
  std::vector<size_t> selected;    // features to answer
  std::vector<std::string> names;  // of the selected, or empty
};

// INVALID_ARGUMENT if `read_mask` names no field of FeatureStatistics;
// RESOURCE_EXHAUSTED, as soon as it shows, beyond `max_bytes` of answer.
absl::Status ToProto(const StatisticsView& view,
                     v1::GetStatisticsRequest::View shape,
                     const google::protobuf::FieldMask& read_mask,
                     uint64_t max_bytes, v1::Statistics* proto);

// Memory for the elements of an answer's tensor: so many bytes.
using OutputSpace = std::function<uint8_t*(size_t bytes)>;

// That of tensor->data().
uint8_t* ResizeData(size_t bytes, v1::Tensor* tensor);

// Makes `output` a tensor of the shape and form of `input`, and returns where
// its elements are to be written: what `space` answers. For `values`, they are
// to be written to `*converted` and FinishOutput copies them.
uint8_t* PrepareOutput(const v1::Tensor& input, const TensorView& view,
                       const OutputSpace& space, std::vector<double>* converted,
                       v1::Tensor* output);
void FinishOutput(const std::vector<double>& converted, v1::Tensor* output);

void ToProto(const std::string& normalizer_id, const Progress& progress,
             v1::SessionProgress* proto);

// Makes the statistics of an answer as long as `features` need, and says where
// they are to be written.
MergedStatistics PrepareStatistics(size_t features, bool mean_only,
                                   v1::MergeMomentsResponse* response);

// The message of an error, with its details.
google::rpc::Status ToRpcStatus(const absl::Status& status);

// A session's or a history's id.
template <typename Id>
std::string IdBytes(const Id& id) {
  return {reinterpret_cast<const char*>(id.data()), id.size()};
}

}  // namespace streamnorm

#endif  // STREAMNORM_SERVER_WIRE_H_
