#ifndef STREAMNORM_TESTS_BENCHMARKS_MOMENTS_MESSAGES_H_
#define STREAMNORM_TESTS_BENCHMARKS_MOMENTS_MESSAGES_H_

#include <cstddef>
#include <string>
#include <vector>

#include "grpcpp/support/byte_buffer.h"
#include "tests/benchmarks/raw_messages.h"

namespace streamnorm {

// Makes the bytes of MergeMomentsRequests that ask for the statistics, or, of
// several normalizers at a time, of ExchangeMomentsRequests
// { repeated MergeMomentsRequest merges = 1; }. Not thread safe.
class MomentsMessages {
 public:
  MomentsMessages(RawSession session, std::vector<RawTarget> targets,
                  size_t features);

  // Of the first normalizer.
  grpc::ByteBuffer NextMerge();

  // Of all of them.
  grpc::ByteBuffer NextExchange();

  // Of the statistics in the answer for one normalizer.
  size_t answer_bytes() const { return answer_bytes_; }

 private:
  std::string Head(RawTarget* target) const;

  const RawSession session_;
  std::vector<RawTarget> targets_;
  const size_t answer_bytes_;
  grpc::Slice moments_;
};

}  // namespace streamnorm

#endif  // STREAMNORM_TESTS_BENCHMARKS_MOMENTS_MESSAGES_H_
