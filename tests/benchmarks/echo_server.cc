// streamnorm-echo: answers every Normalize and NormalizeStream message with a
// copy of its bytes, every MergeMoments with two (mean and m2 come, mean,
// variance, offset and scale go), and knows nothing of them. The ceiling of a
// gRPC server of this API kind (callback, raw messages) on this machine.

#include <grpc/grpc.h>
#include <signal.h>

#include <CLI/CLI.hpp>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <vector>

#include "grpcpp/security/server_credentials.h"
#include "grpcpp/server.h"
#include "grpcpp/server_builder.h"
#include "grpcpp/support/byte_buffer.h"
#include "server/process_tuning.h"
#include "streamnorm/v1/normalizer_service.grpc.pb.h"

namespace streamnorm {
namespace {

// The same bytes, `times` one after the other, in memory of its own.
grpc::ByteBuffer CopyOf(const grpc::ByteBuffer& message, size_t times = 1) {
  std::vector<grpc::Slice> slices;
  if (!message.Dump(&slices).ok()) return message;
  grpc_slice copy = grpc_slice_malloc_large(times * message.Length());
  uint8_t* to = GRPC_SLICE_START_PTR(copy);
  for (size_t i = 0; i < times; ++i) {
    for (const grpc::Slice& slice : slices) {
      std::memcpy(to, slice.begin(), slice.size());
      to += slice.size();
    }
  }
  const grpc::Slice owner(copy, grpc::Slice::STEAL_REF);
  return {&owner, 1};
}

// One message at a time. Owns itself.
class EchoStream
    : public grpc::ServerBidiReactor<grpc::ByteBuffer, grpc::ByteBuffer> {
 public:
  EchoStream() { StartRead(&request_); }
  void OnReadDone(bool ok) override {
    if (!ok) return Finish(grpc::Status::OK);
    response_ = CopyOf(request_);
    StartWrite(&response_);
  }
  void OnWriteDone(bool ok) override {
    if (!ok) return Finish(grpc::Status::OK);
    StartRead(&request_);
  }
  void OnDone() override { delete this; }

 private:
  grpc::ByteBuffer request_, response_;
};

using Face = v1::NormalizerService;
using Service = Face::WithRawCallbackMethod_Normalize<
    Face::WithRawCallbackMethod_NormalizeStream<
        Face::WithRawCallbackMethod_MergeMoments<Face::Service>>>;

grpc::ServerUnaryReactor* Answer(grpc::CallbackServerContext* context) {
  grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
  reactor->Finish(grpc::Status::OK);
  return reactor;
}

class Echo final : public Service {
 public:
  grpc::ServerUnaryReactor* Normalize(grpc::CallbackServerContext* context,
                                      const grpc::ByteBuffer* request,
                                      grpc::ByteBuffer* response) override {
    *response = CopyOf(*request);
    return Answer(context);
  }
  grpc::ServerUnaryReactor* MergeMoments(grpc::CallbackServerContext* context,
                                         const grpc::ByteBuffer* request,
                                         grpc::ByteBuffer* response) override {
    *response = CopyOf(*request, 2);
    return Answer(context);
  }
  grpc::ServerBidiReactor<grpc::ByteBuffer, grpc::ByteBuffer>* NormalizeStream(
      grpc::CallbackServerContext*) override {
    return new EchoStream;
  }
};

int Main(int argc, char** argv) {
  sigset_t signals;
  sigemptyset(&signals);
  sigaddset(&signals, SIGINT);
  sigaddset(&signals, SIGTERM);
  pthread_sigmask(SIG_BLOCK, &signals, nullptr);
  TuneProcess();
  grpc_init();
  CLI::App app("Echoes what a normalizer would answer", "streamnorm-echo");
  std::string listen;
  std::string ignored;
  app.add_option("--listen", listen)->required();
  app.add_option("--data_dir", ignored, "Ignored");
  CLI11_PARSE(app, argc, argv);
  Echo echo;
  grpc::ServerBuilder builder;
  builder.SetMaxReceiveMessageSize(-1);
  builder.SetMaxSendMessageSize(-1);
  builder.AddListeningPort(listen, grpc::InsecureServerCredentials());
  builder.RegisterService(&echo);
  const auto server = builder.BuildAndStart();
  if (server == nullptr) return EXIT_FAILURE;
  std::printf("listening on %s\n", listen.c_str());
  std::fflush(stdout);
  int signal_number = 0;
  sigwait(&signals, &signal_number);
  server->Shutdown(std::chrono::system_clock::now());
  return EXIT_SUCCESS;
}

}  // namespace
}  // namespace streamnorm

int main(int argc, char** argv) { return streamnorm::Main(argc, argv); }
