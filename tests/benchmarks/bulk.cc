#include "tests/benchmarks/bulk.h"

#include <unistd.h>

#include <fstream>
#include <memory>
#include <utility>

#include "absl/strings/str_cat.h"
#include "grpcpp/generic/generic_stub.h"
#include "streamnorm/v1/normalizer_service.grpc.pb.h"
#include "tests/benchmarks/raw_client.h"

namespace streamnorm {
namespace {

constexpr size_t kInFlight = 512;

// One unary call on its way.
template <typename Response>
struct Call {
  size_t number = 0;
  grpc::ClientContext context;
  Response response;
  grpc::Status status;
  std::unique_ptr<grpc::ClientAsyncResponseReader<Response>> reader;
};

// Makes calls 0 to count - 1 by `start(&call, &queue)`, many at a time, and
// hands them to `done`. An error of one is the error of all.
template <typename Response, typename Start, typename Done>
absl::Status CallMany(size_t count, Start start, Done done) {
  grpc::CompletionQueue queue;
  absl::Status status;
  size_t started = 0;
  size_t ended = 0;
  while (ended < count) {
    while (started < count && started - ended < kInFlight) {
      auto call = std::make_unique<Call<Response>>();
      call->number = started++;
      start(call.get(), &queue);
      Call<Response>* const raw = call.release();
      raw->reader->Finish(&raw->response, &raw->status, raw);
    }
    void* tag = nullptr;
    bool ok = false;
    queue.Next(&tag, &ok);
    const std::unique_ptr<Call<Response>> call(
        static_cast<Call<Response>*>(tag));
    ++ended;
    if (call->status.ok()) {
      done(*call);
    } else {
      status = FromGrpcStatus(call->status);
    }
  }
  return status;
}

}  // namespace

absl::StatusOr<std::vector<RawTarget>> CreateMany(
    const std::shared_ptr<grpc::Channel>& channel, size_t first, size_t count) {
  const auto stub = v1::NormalizerService::NewStub(channel);
  std::vector<RawTarget> targets(count);
  const auto start = [&](Call<v1::Normalizer>* call,
                         grpc::CompletionQueue* queue) {
    v1::CreateNormalizerRequest request;
    request.set_normalizer_id(absl::StrCat("many-", first + call->number));
    request.mutable_normalizer()->set_features(kManyFeatures);
    call->reader = stub->AsyncCreateNormalizer(&call->context, request, queue);
  };
  const auto done = [&](const Call<v1::Normalizer>& call) {
    targets[call.number] = {call.response.name(), call.response.generation()};
  };
  const auto status = CallMany<v1::Normalizer>(count, start, done);
  if (!status.ok()) return status;
  return targets;
}

absl::Status OpenManySessions(const std::shared_ptr<grpc::Channel>& channel,
                              size_t count) {
  const auto stub = v1::NormalizerService::NewStub(channel);
  const auto start = [&](Call<v1::OpenSessionResponse>* call,
                         grpc::CompletionQueue* queue) {
    call->reader = stub->AsyncOpenSession(&call->context, {}, queue);
  };
  return CallMany<v1::OpenSessionResponse>(
      count, start, [](const Call<v1::OpenSessionResponse>&) {});
}

struct IdleStreams::Stream {
  explicit Stream(std::shared_ptr<grpc::Channel> over)
      : channel(std::move(over)), stub(channel) {}

  absl::Status Wait() {
    void* tag = nullptr;
    bool ok = false;
    if (queue.Next(&tag, &ok) && ok) return absl::OkStatus();
    return absl::UnavailableError("an idle stream broke");
  }

  const std::shared_ptr<grpc::Channel> channel;
  grpc::GenericStub stub;
  grpc::ClientContext context;
  grpc::CompletionQueue queue;
  std::unique_ptr<grpc::GenericClientAsyncReaderWriter> call;
};

IdleStreams::IdleStreams() = default;

IdleStreams::~IdleStreams() {
  for (const auto& stream : streams_) {
    stream->context.TryCancel();
    grpc::Status ignored;
    stream->call->Finish(&ignored, nullptr);
    static_cast<void>(stream->Wait());
    stream->queue.Shutdown();
  }
}

absl::Status IdleStreams::Add(
    const std::shared_ptr<grpc::Channel>& channel,
    const std::function<grpc::ByteBuffer()>& message) {
  auto stream = std::make_unique<Stream>(channel);
  stream->call = stream->stub.PrepareCall(
      &stream->context, "/streamnorm.v1.NormalizerService/NormalizeStream",
      &stream->queue);
  Stream* const added = stream.get();
  streams_.push_back(std::move(stream));
  added->call->StartCall(nullptr);
  if (auto s = added->Wait(); !s.ok()) return s;
  added->call->Write(message(), nullptr);
  if (auto s = added->Wait(); !s.ok()) return s;
  grpc::ByteBuffer answer;
  added->call->Read(&answer, nullptr);
  return added->Wait();
}

absl::StatusOr<std::shared_ptr<RawMessages>> InTurnMessages(
    const std::shared_ptr<grpc::Channel>& channel,
    std::vector<RawTarget> targets) {
  auto session = OpenRawSession(channel);
  if (!session.ok()) return session.status();
  return std::make_shared<RawMessages>(*std::move(session), std::move(targets),
                                       4, kManyFeatures);
}

Side InTurnSide(const ServerProcess& server,
                const std::shared_ptr<grpc::Channel>& channel,
                const std::shared_ptr<RawMessages>& messages,
                size_t in_flight) {
  RawTraffic traffic;
  traffic.method = "NormalizeStream";
  traffic.in_flight = in_flight;
  traffic.next = [messages] { return messages->Next(); };
  traffic.least_answer_bytes = messages->payload_bytes();
  return {server.pid(),
          Connecting(1,
                     [channel, traffic](size_t)
                         -> absl::StatusOr<std::unique_ptr<LoadClient>> {
                       return std::make_unique<RawClient>(channel, traffic);
                     })};
}

// proc(5), /proc/PID/statm: the second number, in pages.
double ResidentBytes(pid_t pid) {
  std::ifstream file(absl::StrCat("/proc/", pid, "/statm"));
  double size = 0;
  double resident = 0;
  file >> size >> resident;
  return resident * static_cast<double>(sysconf(_SC_PAGESIZE));
}

}  // namespace streamnorm
