#ifndef STREAMNORM_SERVER_NORMALIZER_SERVICE_H_
#define STREAMNORM_SERVER_NORMALIZER_SERVICE_H_

#include <atomic>
#include <chrono>
#include <cstdint>

#include "absl/container/flat_hash_set.h"
#include "server/handler.h"
#include "server/metrics.h"
#include "server/mutex.h"
#include "server/normalize_stream_call.h"
#include "server/session_handler.h"
#include "server/snapshot_handler.h"
#include "streamnorm/v1/normalizer_service.grpc.pb.h"

namespace streamnorm {

// Which methods get messages and which get bytes: those that carry tensors of
// rows read and write them where they lie.
struct NormalizerMethods {
  using Face = v1::NormalizerService;
  // clang-format off
  using Type =
      Face::WithCallbackMethod_CreateNormalizer<
      Face::WithCallbackMethod_GetNormalizer<
      Face::WithCallbackMethod_ListNormalizers<
      Face::WithCallbackMethod_UpdateNormalizer<
      Face::WithCallbackMethod_DeleteNormalizer<
      Face::WithCallbackMethod_ResetStatistics<
      Face::WithCallbackMethod_FreezeNormalizer<
      Face::WithCallbackMethod_UnfreezeNormalizer<
      Face::WithCallbackMethod_CreateSnapshot<
      Face::WithCallbackMethod_GetSnapshot<
      Face::WithCallbackMethod_ListSnapshots<
      Face::WithCallbackMethod_DeleteSnapshot<
      Face::WithCallbackMethod_Denormalize<
      Face::WithCallbackMethod_MergeMoments<
      Face::WithCallbackMethod_ExchangeMoments<
      Face::WithCallbackMethod_GetStatistics<
      Face::WithCallbackMethod_OpenSession<
      Face::WithCallbackMethod_ResumeSession<
      Face::WithCallbackMethod_CloseSession<
      Face::WithCallbackMethod_Barrier<
      Face::WithRawCallbackMethod_Normalize<
      Face::WithRawCallbackMethod_NormalizeStream<
      Face::Service>>>>>>>>>>>>>>>>>>>>>>;
  // clang-format on
};

// The gRPC face of the handlers: decides nothing. Safe for concurrent use.
class NormalizerService final : public NormalizerMethods::Type {
 public:
  // All outlive it.
  NormalizerService(Handler* handler, SessionHandler* session_handler,
                    SnapshotHandler* snapshot_handler)
      : handler_(handler),
        session_handler_(session_handler),
        snapshot_handler_(snapshot_handler),
        rpcs_(v1::NormalizerService::service_full_name()) {}

  // Refuses new calls (UNAVAILABLE), and waits until those that were read are
  // answered and every stream is ended, at most until `deadline`.
  void Drain(std::chrono::steady_clock::time_point deadline);

  // The requests, of NormalizeStream the messages.
  const RpcMetricsTable& rpcs() const { return rpcs_; }
  size_t open_streams() const;

  using Context = grpc::CallbackServerContext;
  using Unary = grpc::ServerUnaryReactor;

  Unary* CreateNormalizer(Context* context,
                          const v1::CreateNormalizerRequest* request,
                          v1::Normalizer* response) override;
  Unary* GetNormalizer(Context* context,
                       const v1::GetNormalizerRequest* request,
                       v1::Normalizer* response) override;
  Unary* ListNormalizers(Context* context,
                         const v1::ListNormalizersRequest* request,
                         v1::ListNormalizersResponse* response) override;
  Unary* UpdateNormalizer(Context* context,
                          const v1::UpdateNormalizerRequest* request,
                          v1::Normalizer* response) override;
  Unary* DeleteNormalizer(Context* context,
                          const v1::DeleteNormalizerRequest* request,
                          google::protobuf::Empty* response) override;
  Unary* ResetStatistics(Context* context,
                         const v1::ResetStatisticsRequest* request,
                         v1::Normalizer* response) override;
  Unary* FreezeNormalizer(Context* context,
                          const v1::FreezeNormalizerRequest* request,
                          v1::Normalizer* response) override;
  Unary* UnfreezeNormalizer(Context* context,
                            const v1::UnfreezeNormalizerRequest* request,
                            v1::Normalizer* response) override;
  Unary* CreateSnapshot(Context* context,
                        const v1::CreateSnapshotRequest* request,
                        v1::Snapshot* response) override;
  Unary* GetSnapshot(Context* context, const v1::GetSnapshotRequest* request,
                     v1::Snapshot* response) override;
  Unary* ListSnapshots(Context* context,
                       const v1::ListSnapshotsRequest* request,
                       v1::ListSnapshotsResponse* response) override;
  Unary* DeleteSnapshot(Context* context,
                        const v1::DeleteSnapshotRequest* request,
                        google::protobuf::Empty* response) override;
  Unary* Normalize(Context* context, const grpc::ByteBuffer* request,
                   grpc::ByteBuffer* response) override;
  NormalizeStreamCall* NormalizeStream(Context* context) override;
  Unary* Denormalize(Context* context, const v1::DenormalizeRequest* request,
                     v1::DenormalizeResponse* response) override;
  Unary* MergeMoments(Context* context, const v1::MergeMomentsRequest* request,
                      v1::MergeMomentsResponse* response) override;
  Unary* ExchangeMoments(Context* context,
                         const v1::ExchangeMomentsRequest* request,
                         v1::ExchangeMomentsResponse* response) override;
  Unary* GetStatistics(Context* context,
                       const v1::GetStatisticsRequest* request,
                       v1::Statistics* response) override;
  Unary* OpenSession(Context* context, const v1::OpenSessionRequest* request,
                     v1::OpenSessionResponse* response) override;
  Unary* ResumeSession(Context* context,
                       const v1::ResumeSessionRequest* request,
                       v1::ResumeSessionResponse* response) override;
  Unary* CloseSession(Context* context, const v1::CloseSessionRequest* request,
                      google::protobuf::Empty* response) override;
  Unary* Barrier(Context* context, const v1::BarrierRequest* request,
                 v1::BarrierResponse* response) override;

 private:
  // Counts the call in, and out when it is finished by the function that it
  // answers; null if the call was refused.
  std::function<void(const absl::Status&)> Begin(RpcMetrics* rpc,
                                                 Context* context,
                                                 Unary* reactor);

  template <typename Face, typename Request, typename Response>
  Unary* Call(RpcMetrics* rpc, Face* face,
              void (Face::*method)(const Request&, Response*, Handler::Done),
              Context* context, const Request* request, Response* response);

  Handler* const handler_;
  SessionHandler* const session_handler_;
  SnapshotHandler* const snapshot_handler_;
  RpcMetricsTable rpcs_;
  std::atomic<bool> draining_{false};
  std::atomic<int64_t> in_flight_{0};  // unary calls
  mutable Mutex mu_;
  absl::flat_hash_set<NormalizeStreamCall*> streams_ ABSL_GUARDED_BY(mu_);
};

}  // namespace streamnorm

#endif  // STREAMNORM_SERVER_NORMALIZER_SERVICE_H_
