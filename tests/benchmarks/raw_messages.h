#ifndef STREAMNORM_TESTS_BENCHMARKS_RAW_MESSAGES_H_
#define STREAMNORM_TESTS_BENCHMARKS_RAW_MESSAGES_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "grpcpp/channel.h"
#include "grpcpp/support/byte_buffer.h"
#include "grpcpp/support/slice.h"
#include "streamnorm/v1/normalizer_service.pb.h"

namespace streamnorm {

// The rows that every client of every benchmark sends: row-major FP32.
std::vector<float> BenchmarkRows(size_t rows, size_t features);

// A session, and the normalizer that it updates next.
struct RawSession {
  // Of the size of a real one, for servers that don't look at it.
  std::string session = std::string(16, 's');
  uint64_t epoch = 1;
};
struct RawTarget {
  std::string name = "normalizers/n";
  uint64_t generation = 1;
  uint64_t sequence = 0;

  // The id of one more update.
  void FillNext(const RawSession& session, v1::UpdateId* id);
};

absl::StatusOr<RawSession> OpenRawSession(
    const std::shared_ptr<grpc::Channel>& channel);

// Makes the bytes of NormalizeRequests of one session and one batch, for each
// normalizer in turn: the batch's bytes are shared by all, so that a client
// that measures a server costs as little as it can. Not thread safe.
class RawMessages {
 public:
  RawMessages(RawSession session, std::vector<RawTarget> targets, size_t rows,
              size_t features);

  grpc::ByteBuffer Next();

  size_t made() const { return made_; }

  // Of the batch's values alone.
  size_t payload_bytes() const { return payload_bytes_; }

 private:
  const RawSession session_;
  std::vector<RawTarget> targets_;
  size_t next_ = 0;
  size_t made_ = 0;
  size_t payload_bytes_ = 0;
  grpc::Slice input_;
};

}  // namespace streamnorm

#endif  // STREAMNORM_TESTS_BENCHMARKS_RAW_MESSAGES_H_
