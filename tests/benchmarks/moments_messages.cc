#include "tests/benchmarks/moments_messages.h"

#include <array>
#include <utility>

#include "google/protobuf/io/coded_stream.h"

namespace streamnorm {
namespace {

// Field 1, length-delimited.
constexpr char kMergesTag = (1 << 3) | 2;

// Of a batch of 256 rows; doubles of no round values.
std::string MomentsBytes(size_t features) {
  v1::MergeMomentsRequest request;
  std::vector<double> values(features);
  const auto bytes = [&] {
    return std::string(reinterpret_cast<const char*>(values.data()),
                       values.size() * sizeof(double));
  };
  request.set_count(256);
  for (size_t j = 0; j < features; ++j) {
    values[j] = 3 + 1 / static_cast<double>(j + 3);
  }
  request.set_mean(bytes());
  for (double& value : values) value *= 345;
  request.set_m2(bytes());
  request.set_return_statistics(true);
  return request.SerializeAsString();
}

std::string MergesPrefix(size_t bytes) {
  std::array<uint8_t, 10> varint{};
  const uint8_t* const end =
      google::protobuf::io::CodedOutputStream::WriteVarint64ToArray(
          bytes, varint.data());
  std::string prefix(1, kMergesTag);
  prefix.append(reinterpret_cast<const char*>(varint.data()),
                static_cast<size_t>(end - varint.data()));
  return prefix;
}

}  // namespace

MomentsMessages::MomentsMessages(RawSession session,
                                 std::vector<RawTarget> targets,
                                 size_t features)
    : session_(std::move(session)),
      targets_(std::move(targets)),
      answer_bytes_(4 * features * sizeof(double)),
      moments_(MomentsBytes(features)) {}

std::string MomentsMessages::Head(RawTarget* target) const {
  v1::MergeMomentsRequest head;
  head.set_name(target->name);
  target->FillNext(session_, head.mutable_update_id());
  return head.SerializeAsString();
}

grpc::ByteBuffer MomentsMessages::NextMerge() {
  const std::array<grpc::Slice, 2> slices = {
      grpc::Slice(Head(&targets_.front())), moments_};
  return {slices.data(), slices.size()};
}

grpc::ByteBuffer MomentsMessages::NextExchange() {
  std::vector<grpc::Slice> slices;
  for (RawTarget& target : targets_) {
    const std::string head = Head(&target);
    slices.emplace_back(MergesPrefix(head.size() + moments_.size()) + head);
    slices.push_back(moments_);
  }
  return {slices.data(), slices.size()};
}

}  // namespace streamnorm
