#include "tests/benchmarks/raw_client.h"

#include <deque>
#include <utility>

#include "absl/strings/str_cat.h"
#include "client/streamnorm_client.h"
#include "grpcpp/create_channel.h"
#include "grpcpp/security/credentials.h"

namespace streamnorm {
namespace {

constexpr char kUnary[] = "/streamnorm.v1.NormalizerService/Normalize";
constexpr char kStream[] = "/streamnorm.v1.NormalizerService/NormalizeStream";

enum Tag : intptr_t { kStarted = 1, kRead, kWritten, kFinished };
void* AsPointer(Tag tag) { return reinterpret_cast<void*>(tag); }

std::shared_ptr<grpc::Channel> Connect(const std::string& address) {
  grpc::ChannelArguments arguments;
  arguments.SetMaxReceiveMessageSize(-1);
  arguments.SetMaxSendMessageSize(-1);
  arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
  return grpc::CreateCustomChannel(address, grpc::InsecureChannelCredentials(),
                                   arguments);
}

absl::Status FromGrpcStatus(const grpc::Status& status) {
  return {static_cast<absl::StatusCode>(status.error_code()),
          status.error_message()};
}

// A stream call and its completion queue, which is empty when this is gone.
class Call {
 public:
  explicit Call(grpc::GenericStub* stub)
      : stream_(stub->PrepareCall(&context_, kStream, &queue_)) {
    stream_->StartCall(AsPointer(kStarted));
  }
  ~Call() {
    context_.TryCancel();
    grpc::Status ignored;
    stream_->Finish(&ignored, AsPointer(kFinished));
    queue_.Shutdown();
    void* tag;
    bool ok;
    while (queue_.Next(&tag, &ok)) {
    }
  }
  grpc::GenericClientAsyncReaderWriter* operator->() { return stream_.get(); }

  // 0 when the stream broke.
  intptr_t Next() {
    void* tag = nullptr;
    bool ok = false;
    if (!queue_.Next(&tag, &ok) || !ok) return 0;
    return reinterpret_cast<intptr_t>(tag);
  }

 private:
  grpc::ClientContext context_;
  grpc::CompletionQueue queue_;
  const std::unique_ptr<grpc::GenericClientAsyncReaderWriter> stream_;
};

}  // namespace

RawClient::RawClient(std::shared_ptr<grpc::Channel> channel,
                     RawMessages messages)
    : channel_(std::move(channel)),
      stub_(channel_),
      messages_(std::move(messages)) {}

std::unique_ptr<RawClient> RawClient::ForEcho(const std::string& address,
                                              const std::string& normalizer_id,
                                              size_t rows, size_t features) {
  // As large as the messages that StreamNorm gets.
  const std::string session(16, 's');
  return std::unique_ptr<RawClient>(
      new RawClient(Connect(address),
                    RawMessages(normalizer_id, session, 1, 1, rows, features)));
}

absl::StatusOr<std::unique_ptr<RawClient>> RawClient::ForServer(
    const std::string& address, const std::string& normalizer_id, size_t rows,
    size_t features) {
  const auto client = Client::Connect(address);
  if (!client.ok()) return client.status();
  const auto normalizer = (*client)->GetOrCreateNormalizer(
      normalizer_id, static_cast<int64_t>(features));
  if (!normalizer.ok()) return normalizer.status();
  auto channel = Connect(address);
  const auto stub = v1::NormalizerService::NewStub(channel);
  grpc::ClientContext context;
  v1::OpenSessionResponse opened;
  v1::OpenSessionRequest request;
  if (const auto s = stub->OpenSession(&context, request, &opened); !s.ok()) {
    return FromGrpcStatus(s);
  }
  return std::unique_ptr<RawClient>(
      new RawClient(std::move(channel),
                    RawMessages(normalizer_id, opened.session(), opened.epoch(),
                                normalizer->generation(), rows, features)));
}

// An error in a stream is an answer without values.
absl::Status RawClient::Check(const grpc::ByteBuffer& answer) const {
  if (answer.Length() >= messages_.payload_bytes()) return absl::OkStatus();
  return absl::InternalError(absl::StrCat("an answer of ", answer.Length(),
                                          " bytes, want at least ",
                                          messages_.payload_bytes()));
}

void RawClient::Record(Clock::time_point sent, Clock::time_point begin,
                       Clock::time_point end) {
  const auto now = Clock::now();
  if (now < begin || now >= end) return;
  latencies_us_.push_back(
      std::chrono::duration<double, std::micro>(now - sent).count());
}

absl::Status RawClient::Stream(size_t in_flight, Clock::time_point begin,
                               Clock::time_point end) {
  Call call(&stub_);
  grpc::ByteBuffer request, answer;
  std::deque<Clock::time_point> sent;
  if (call.Next() != kStarted) return absl::UnavailableError("no stream");
  call->Read(&answer, AsPointer(kRead));
  bool writing = false;
  while (true) {
    const auto now = Clock::now();
    if (now >= end && sent.empty()) return absl::OkStatus();
    if (now < end && !writing && sent.size() < in_flight) {
      request = messages_.Next();
      sent.push_back(now);
      call->Write(request, AsPointer(kWritten));
      writing = true;
    }
    switch (call.Next()) {
      case kWritten:
        writing = false;
        break;
      case kRead:
        if (auto s = Check(answer); !s.ok()) return s;
        Record(sent.front(), begin, end);
        sent.pop_front();
        call->Read(&answer, AsPointer(kRead));
        break;
      default:
        return absl::UnavailableError("the stream broke");
    }
  }
}

absl::Status RawClient::Unary(Clock::time_point begin, Clock::time_point end) {
  grpc::CompletionQueue queue;
  while (Clock::now() < end) {
    const auto sent = Clock::now();
    grpc::ClientContext context;
    grpc::ByteBuffer answer;
    grpc::Status status;
    const auto call =
        stub_.PrepareUnaryCall(&context, kUnary, messages_.Next(), &queue);
    call->StartCall();
    call->Finish(&answer, &status, AsPointer(kFinished));
    void* tag = nullptr;
    bool ok = false;
    queue.Next(&tag, &ok);
    if (!status.ok()) return FromGrpcStatus(status);
    if (auto s = Check(answer); !s.ok()) return s;
    Record(sent, begin, end);
  }
  return absl::OkStatus();
}

std::vector<double> RawClient::TakeLatencies() {
  return std::exchange(latencies_us_, {});
}

}  // namespace streamnorm
