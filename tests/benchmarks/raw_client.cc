#include "tests/benchmarks/raw_client.h"

#include <deque>
#include <utility>

#include "absl/strings/str_cat.h"
#include "grpcpp/create_channel.h"
#include "grpcpp/security/credentials.h"

namespace streamnorm {
namespace {

constexpr char kService[] = "/streamnorm.v1.NormalizerService/";

enum Tag : intptr_t { kStarted = 1, kRead, kWritten, kFinished };
void* AsPointer(Tag tag) { return reinterpret_cast<void*>(tag); }

// A stream call and its completion queue, which is empty when this is gone.
class Call {
 public:
  Call(grpc::GenericStub* stub, const std::string& method)
      : stream_(stub->PrepareCall(&context_, method, &queue_)) {
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

std::shared_ptr<grpc::Channel> ConnectRaw(const std::string& address) {
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

RawClient::RawClient(std::shared_ptr<grpc::Channel> channel, RawTraffic traffic)
    : channel_(std::move(channel)),
      traffic_(std::move(traffic)),
      method_(kService + traffic_.method),
      stub_(channel_) {}

absl::Status RawClient::Run(const LoadWindow& window) {
  return traffic_.in_flight == 0 ? Unary(window) : Stream(window);
}

absl::Status RawClient::Check(const grpc::ByteBuffer& answer) const {
  if (answer.Length() >= traffic_.least_answer_bytes) return absl::OkStatus();
  return absl::InternalError(absl::StrCat("an answer of ", answer.Length(),
                                          " bytes, want at least ",
                                          traffic_.least_answer_bytes));
}

absl::Status RawClient::Stream(const LoadWindow& window) {
  Call call(&stub_, method_);
  grpc::ByteBuffer request, answer;
  std::deque<LoadClock::time_point> sent;
  if (call.Next() != kStarted) return absl::UnavailableError("no stream");
  call->Read(&answer, AsPointer(kRead));
  bool writing = false;
  while (true) {
    const auto now = LoadClock::now();
    if (now >= window.end && sent.empty()) return absl::OkStatus();
    if (now < window.end && !writing && sent.size() < traffic_.in_flight) {
      request = traffic_.next();
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
        Record(sent.front(), window);
        sent.pop_front();
        call->Read(&answer, AsPointer(kRead));
        break;
      default:
        return absl::UnavailableError("the stream broke");
    }
  }
}

absl::Status RawClient::Unary(const LoadWindow& window) {
  grpc::CompletionQueue queue;
  while (LoadClock::now() < window.end) {
    const auto sent = LoadClock::now();
    grpc::ClientContext context;
    grpc::ByteBuffer answer;
    grpc::Status status;
    const auto call =
        stub_.PrepareUnaryCall(&context, method_, traffic_.next(), &queue);
    call->StartCall();
    call->Finish(&answer, &status, AsPointer(kFinished));
    void* tag = nullptr;
    bool ok = false;
    queue.Next(&tag, &ok);
    if (!status.ok()) return FromGrpcStatus(status);
    if (auto s = Check(answer); !s.ok()) return s;
    Record(sent, window);
  }
  return absl::OkStatus();
}

}  // namespace streamnorm
