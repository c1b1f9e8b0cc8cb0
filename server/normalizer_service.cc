#include "server/normalizer_service.h"

#include <thread>

#include "server/errors.h"
#include "server/rpc_status.h"

namespace streamnorm {
namespace {

size_t IndexOf(const char* method) {
  return RpcMetricsTable::IndexOf(v1::NormalizerService::service_full_name(),
                                  method);
}

}  // namespace

std::function<void(const absl::Status&)> NormalizerService::Begin(
    RpcMetrics* rpc, Context* context, Unary* reactor) {
  const auto begun = rpc->Begin();
  if (context->IsCancelled()) {
    rpc->End(begun, absl::StatusCode::kCancelled);
    reactor->Finish(grpc::Status::CANCELLED);
    return nullptr;
  }
  // Counted before the look at draining_, so that Drain sees it or it sees
  // Drain.
  ++in_flight_;
  const auto finish = [this, rpc, begun, reactor](const absl::Status& status) {
    rpc->End(begun, status.code());
    reactor->Finish(ToGrpcStatus(status));
    --in_flight_;
  };
  if (!draining_) return finish;
  finish(MakeError(Reason::kShuttingDown, "the server is shutting down"));
  return nullptr;
}

template <typename Face, typename Request, typename Response>
NormalizerService::Unary* NormalizerService::Call(
    RpcMetrics* rpc, Face* face,
    void (Face::*method)(const Request&, Response*, Handler::Done),
    Context* context, const Request* request, Response* response) {
  Unary* reactor = context->DefaultReactor();
  if (auto finish = Begin(rpc, context, reactor)) {
    (face->*method)(*request, response, std::move(finish));
  }
  return reactor;
}

NormalizerService::Unary* NormalizerService::Normalize(
    Context* context, const grpc::ByteBuffer* request,
    grpc::ByteBuffer* response) {
  static const size_t index = IndexOf("Normalize");
  Unary* reactor = context->DefaultReactor();
  const auto finish = Begin(rpcs_.at(index), context, reactor);
  if (finish == nullptr) return reactor;
  auto exchange = std::make_shared<NormalizeExchange>();
  *exchange->message() = *request;
  exchange->Handle(handler_,
                   [exchange, response, finish](const absl::Status& status) {
                     exchange->Seal(status);
                     *response = *exchange->answer();
                     finish(status);
                   });
  return reactor;
}

// One line per RPC.
#define STREAMNORM_RPC(Face, face, name, Request, Response)           \
  NormalizerService::Unary* NormalizerService::name(                  \
      Context* context, const Request* request, Response* response) { \
    static const size_t index = IndexOf(#name);                       \
    return Call(rpcs_.at(index), face, &Face::name, context, request, \
                response);                                            \
  }
STREAMNORM_RPC(Handler, handler_, CreateNormalizer, v1::CreateNormalizerRequest,
               v1::Normalizer)
STREAMNORM_RPC(Handler, handler_, GetNormalizer, v1::GetNormalizerRequest,
               v1::Normalizer)
STREAMNORM_RPC(Handler, handler_, ListNormalizers, v1::ListNormalizersRequest,
               v1::ListNormalizersResponse)
STREAMNORM_RPC(Handler, handler_, UpdateNormalizer, v1::UpdateNormalizerRequest,
               v1::Normalizer)
STREAMNORM_RPC(Handler, handler_, DeleteNormalizer, v1::DeleteNormalizerRequest,
               google::protobuf::Empty)
STREAMNORM_RPC(Handler, handler_, ResetStatistics, v1::ResetStatisticsRequest,
               v1::Normalizer)
STREAMNORM_RPC(Handler, handler_, FreezeNormalizer, v1::FreezeNormalizerRequest,
               v1::Normalizer)
STREAMNORM_RPC(Handler, handler_, UnfreezeNormalizer,
               v1::UnfreezeNormalizerRequest, v1::Normalizer)
STREAMNORM_RPC(SnapshotHandler, snapshot_handler_, CreateSnapshot,
               v1::CreateSnapshotRequest, v1::Snapshot)
STREAMNORM_RPC(SnapshotHandler, snapshot_handler_, GetSnapshot,
               v1::GetSnapshotRequest, v1::Snapshot)
STREAMNORM_RPC(SnapshotHandler, snapshot_handler_, ListSnapshots,
               v1::ListSnapshotsRequest, v1::ListSnapshotsResponse)
STREAMNORM_RPC(SnapshotHandler, snapshot_handler_, DeleteSnapshot,
               v1::DeleteSnapshotRequest, google::protobuf::Empty)
STREAMNORM_RPC(Handler, handler_, Denormalize, v1::DenormalizeRequest,
               v1::DenormalizeResponse)
STREAMNORM_RPC(Handler, handler_, MergeMoments, v1::MergeMomentsRequest,
               v1::MergeMomentsResponse)
STREAMNORM_RPC(Handler, handler_, ExchangeMoments, v1::ExchangeMomentsRequest,
               v1::ExchangeMomentsResponse)
STREAMNORM_RPC(Handler, handler_, GetStatistics, v1::GetStatisticsRequest,
               v1::Statistics)
STREAMNORM_RPC(SessionHandler, session_handler_, OpenSession,
               v1::OpenSessionRequest, v1::OpenSessionResponse)
STREAMNORM_RPC(SessionHandler, session_handler_, ResumeSession,
               v1::ResumeSessionRequest, v1::ResumeSessionResponse)
STREAMNORM_RPC(SessionHandler, session_handler_, CloseSession,
               v1::CloseSessionRequest, google::protobuf::Empty)
STREAMNORM_RPC(SessionHandler, session_handler_, Barrier, v1::BarrierRequest,
               v1::BarrierResponse)
#undef STREAMNORM_RPC

NormalizeStreamCall* NormalizerService::NormalizeStream(Context*) {
  static const size_t index = IndexOf("NormalizeStream");
  auto* stream = new NormalizeStreamCall(handler_, rpcs_.at(index),
                                         [this](NormalizeStreamCall* done) {
                                           MutexLock lock(&mu_);
                                           streams_.erase(done);
                                         });
  MutexLock lock(&mu_);
  streams_.insert(stream);
  stream->Start();
  if (draining_) stream->Drain();
  return stream;
}

size_t NormalizerService::open_streams() const {
  MutexLock lock(&mu_);
  return streams_.size();
}

void NormalizerService::Drain(std::chrono::steady_clock::time_point deadline) {
  draining_ = true;
  {
    // Under the lock no stream can end and be gone.
    MutexLock lock(&mu_);
    for (auto* stream : streams_) stream->Drain();
  }
  const auto idle = [this] {
    MutexLock lock(&mu_);
    return in_flight_ == 0 && streams_.empty();
  };
  while (!idle() && std::chrono::steady_clock::now() < deadline) {
    std::this_thread::sleep_for(std::chrono::milliseconds(2));
  }
}

}  // namespace streamnorm
