#ifndef STREAMNORM_TESTS_BENCHMARKS_RAW_MESSAGES_H_
#define STREAMNORM_TESTS_BENCHMARKS_RAW_MESSAGES_H_

#include <cstddef>
#include <cstdint>
#include <string>

#include "grpcpp/support/byte_buffer.h"
#include "grpcpp/support/slice.h"

namespace streamnorm {

// Makes the bytes of NormalizeRequests of one session and one batch: a new
// sequence number each, the batch's bytes shared by all, so that a client that
// measures a server costs as little as it can. Not thread safe.
class RawMessages {
 public:
  // `session` as OpenSession answered it; "" = without a session, not counted
  // (NORMALIZE_ONLY).
  RawMessages(const std::string& normalizer_id, const std::string& session,
              uint64_t epoch, uint64_t generation, size_t rows,
              size_t features);

  grpc::ByteBuffer Next();
  uint64_t made() const { return sequence_; }

  // Of the batch's values alone.
  size_t payload_bytes() const { return payload_bytes_; }

 private:
  const std::string name_, session_;
  const uint64_t epoch_, generation_;
  size_t payload_bytes_ = 0;
  grpc::Slice input_;
  uint64_t sequence_ = 0;
};

}  // namespace streamnorm

#endif  // STREAMNORM_TESTS_BENCHMARKS_RAW_MESSAGES_H_
