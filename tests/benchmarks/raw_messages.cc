#include "tests/benchmarks/raw_messages.h"

#include <array>
#include <random>
#include <vector>

#include "client/streamnorm_client.h"
#include "streamnorm/v1/normalizer_service.pb.h"

namespace streamnorm {

RawMessages::RawMessages(const std::string& normalizer_id,
                         const std::string& session, uint64_t epoch,
                         uint64_t generation, size_t rows, size_t features)
    : name_("normalizers/" + normalizer_id),
      session_(session),
      epoch_(epoch),
      generation_(generation) {
  std::mt19937 random(7);
  std::normal_distribution<float> normal(3, 2);
  std::vector<float> values(rows * features);
  for (float& value : values) value = normal(random);
  v1::NormalizeRequest request;
  *request.mutable_input() =
      MakeNormalizeRequest(normalizer_id, RowsOf(values, features),
                           v1::UPDATE_THEN_NORMALIZE)
          .input();
  payload_bytes_ = request.input().data().size();
  input_ = grpc::Slice(request.SerializeAsString());
}

// Fields of a message may come in pieces: first all but the input, then that.
grpc::ByteBuffer RawMessages::Next() {
  v1::NormalizeRequest head;
  head.set_name(name_);
  ++sequence_;
  if (session_.empty()) {
    head.set_mode(v1::NORMALIZE_ONLY);
  } else {
    head.set_mode(v1::UPDATE_THEN_NORMALIZE);
    v1::UpdateId* id = head.mutable_update_id();
    id->set_session(session_);
    id->set_epoch(epoch_);
    id->set_sequence(sequence_);
    id->set_generation(generation_);
  }
  const std::array<grpc::Slice, 2> slices = {
      grpc::Slice(head.SerializeAsString()), input_};
  return {slices.data(), slices.size()};
}

}  // namespace streamnorm
