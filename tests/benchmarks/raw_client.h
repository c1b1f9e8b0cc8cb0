#ifndef STREAMNORM_TESTS_BENCHMARKS_RAW_CLIENT_H_
#define STREAMNORM_TESTS_BENCHMARKS_RAW_CLIENT_H_

#include <cstddef>
#include <functional>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "grpcpp/channel.h"
#include "grpcpp/generic/generic_stub.h"
#include "grpcpp/support/byte_buffer.h"
#include "tests/benchmarks/load_client.h"

namespace streamnorm {

// A connection of its own, without limits on messages.
std::shared_ptr<grpc::Channel> ConnectRaw(const std::string& address);

absl::Status FromGrpcStatus(const grpc::Status& status);

// What a RawClient sends.
struct RawTraffic {
  std::string method = "Normalize";  // of the NormalizerService
  size_t in_flight = 0;              // on one stream; 0 = unary calls
  std::function<grpc::ByteBuffer()> next;
  size_t least_answer_bytes = 0;  // an error in a stream is a short answer
};

// A gRPC client that neither makes nor reads more of a message than it must,
// for StreamNorm and its peers alike.
class RawClient : public LoadClient {
 public:
  RawClient(std::shared_ptr<grpc::Channel> channel, RawTraffic traffic);

  absl::Status Run(const LoadWindow& window) override;

 private:
  absl::Status Stream(const LoadWindow& window);
  absl::Status Unary(const LoadWindow& window);
  absl::Status Check(const grpc::ByteBuffer& answer) const;

  const std::shared_ptr<grpc::Channel> channel_;
  const RawTraffic traffic_;
  const std::string method_;
  grpc::GenericStub stub_;
};

}  // namespace streamnorm

#endif  // STREAMNORM_TESTS_BENCHMARKS_RAW_CLIENT_H_
