#include "tests/benchmarks/raw_messages.h"

#include <array>
#include <random>
#include <utility>

#include "client/streamnorm_client.h"
#include "tests/benchmarks/raw_client.h"

namespace streamnorm {

std::vector<float> BenchmarkRows(size_t rows, size_t features) {
  std::mt19937 random(7);
  std::normal_distribution<float> normal(3, 2);
  std::vector<float> values(rows * features);
  for (float& value : values) value = normal(random);
  return values;
}

void RawTarget::FillNext(const RawSession& session, v1::UpdateId* id) {
  id->set_session(session.session);
  id->set_epoch(session.epoch);
  id->set_sequence(++sequence);
  id->set_generation(generation);
}

absl::StatusOr<RawSession> OpenRawSession(
    const std::shared_ptr<grpc::Channel>& channel) {
  const auto stub = v1::NormalizerService::NewStub(channel);
  grpc::ClientContext context;
  v1::OpenSessionResponse opened;
  const auto status = stub->OpenSession(&context, {}, &opened);
  if (!status.ok()) return FromGrpcStatus(status);
  return RawSession{opened.session(), opened.epoch()};
}

RawMessages::RawMessages(RawSession session, std::vector<RawTarget> targets,
                         size_t rows, size_t features)
    : session_(std::move(session)), targets_(std::move(targets)) {
  const std::vector<float> values = BenchmarkRows(rows, features);
  v1::NormalizeRequest request;
  *request.mutable_input() = MakeNormalizeRequest("", RowsOf(values, features),
                                                  v1::UPDATE_THEN_NORMALIZE)
                                 .input();
  payload_bytes_ = request.input().data().size();
  input_ = grpc::Slice(request.SerializeAsString());
}

// Fields of a message may come in pieces: first all but the input, then that.
grpc::ByteBuffer RawMessages::Next() {
  ++made_;
  RawTarget& target = targets_[next_];
  next_ = next_ + 1 == targets_.size() ? 0 : next_ + 1;
  v1::NormalizeRequest head;
  head.set_name(target.name);
  head.set_mode(v1::UPDATE_THEN_NORMALIZE);
  target.FillNext(session_, head.mutable_update_id());
  const std::array<grpc::Slice, 2> slices = {
      grpc::Slice(head.SerializeAsString()), input_};
  return {slices.data(), slices.size()};
}

}  // namespace streamnorm
