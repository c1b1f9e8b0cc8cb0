#include "client/streamnorm_client.h"

#include <utility>

#include "absl/strings/cord.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "google/rpc/error_details.pb.h"
#include "grpcpp/create_channel.h"
#include "grpcpp/generic/generic_stub.h"

namespace streamnorm {
namespace {

std::string Name(absl::string_view id) {
  return absl::StrCat("normalizers/", id);
}

// Calls `(stub->*method)` with retries.
template <typename Stub, typename Request, typename Response>
absl::StatusOr<Response> Call(const ClientConnection& connection, Stub* stub,
                              grpc::Status (Stub::*method)(grpc::ClientContext*,
                                                           const Request&,
                                                           Response*),
                              const Request& request) {
  Response response;
  const auto deadline =
      std::chrono::steady_clock::now() + connection.options.request_timeout;
  auto status =
      CallWithRetry(connection, deadline, [&](grpc::ClientContext* context) {
        return (stub->*method)(context, request, &response);
      });
  if (!status.ok()) return status;
  return response;
}

template <typename Request, typename Response>
absl::StatusOr<Response> Call(
    const ClientConnection& connection,
    grpc::Status (v1::NormalizerService::Stub::*method)(grpc::ClientContext*,
                                                        const Request&,
                                                        Response*),
    const Request& request) {
  return Call(connection, connection.stub.get(), method, request);
}

using Stub = v1::NormalizerService::Stub;

// By its address. In a container or behind a tunnel it may be elsewhere in
// spite of it: then the lane's socket isn't there, or is another server's.
bool IsOnThisMachine(absl::string_view address) {
  return absl::StartsWith(address, "unix:") ||
         absl::StartsWith(address, "127.") ||
         absl::StartsWith(address, "localhost:") ||
         absl::StartsWith(address, "[::1]:");
}

// Reads how far the work is up to its last answer, which has the result.
template <typename Response>
absl::StatusOr<Response> ReadToTheEnd(grpc::ClientReader<Response>* reader,
                                      const Client::OnProgress& on_progress) {
  Response response;
  Response last;
  while (reader->Read(&response)) {
    if (response.has_progress() && on_progress) {
      on_progress(response.progress());
    }
    last.Swap(&response);
  }
  absl::Status status = FromGrpc(reader->Finish());
  if (!status.ok()) return status;
  return last;
}

}  // namespace

absl::StatusOr<std::unique_ptr<Client>> Client::Connect(
    const std::string& address, const ClientOptions& options) {
  auto connection = std::make_shared<ClientConnection>();
  connection->address = address;
  connection->options = options;
  grpc::ChannelArguments arguments;
  arguments.SetMaxReceiveMessageSize(-1);  // the server's limit holds
  arguments.SetMaxSendMessageSize(-1);
  // A server that restarts is to be found again soon.
  arguments.SetInt(GRPC_ARG_INITIAL_RECONNECT_BACKOFF_MS, 20);
  // (gRPC's name for the longest time one attempt to connect may take.)
  arguments.SetInt(GRPC_ARG_MIN_RECONNECT_BACKOFF_MS, 2000);
  arguments.SetInt(GRPC_ARG_MAX_RECONNECT_BACKOFF_MS, 500);
  // Clients of one process don't share a connection.
  arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
  connection->channel = grpc::CreateCustomChannel(
      address, grpc::InsecureChannelCredentials(), arguments);
  connection->stub = v1::NormalizerService::NewStub(connection->channel);
  connection->admin = v1::AdminService::NewStub(connection->channel);
  std::unique_ptr<Client> client(new Client(connection));
  const auto info = client->GetServerInfo();
  if (!info.ok()) return info.status();
  const auto limit = info->limits().find("max_message_bytes");
  if (limit != info->limits().end()) {
    connection->max_message_bytes = static_cast<uint64_t>(limit->second);
  }
  if (options.use_lane && IsOnThisMachine(address)) {
    connection->lane = info->lane();
  }
  return client;
}

absl::StatusOr<v1::Normalizer> Client::CreateNormalizer(
    const v1::CreateNormalizerRequest& request) {
  return Call(*connection_, &Stub::CreateNormalizer, request);
}

absl::StatusOr<v1::Normalizer> Client::GetOrCreateNormalizer(
    absl::string_view id, int64_t features, absl::string_view preset) {
  v1::CreateNormalizerRequest create;
  create.set_normalizer_id(std::string(id));
  create.mutable_normalizer()->set_features(features);
  create.mutable_normalizer()->mutable_scaling()->set_preset(
      std::string(preset));
  auto normalizer = CreateNormalizer(create);
  if (!absl::IsAlreadyExists(normalizer.status())) return normalizer;
  normalizer = GetNormalizer(id);
  if (normalizer.ok() && normalizer->features() != features) {
    return absl::FailedPreconditionError(
        absl::StrCat(Name(id), ": exists with ", normalizer->features(),
                     " features, want ", features));
  }
  return normalizer;
}

absl::StatusOr<v1::Normalizer> Client::GetNormalizer(absl::string_view id) {
  v1::GetNormalizerRequest request;
  request.set_name(Name(id));
  return Call(*connection_, &Stub::GetNormalizer, request);
}

absl::StatusOr<v1::ListNormalizersResponse> Client::ListNormalizers(
    const v1::ListNormalizersRequest& request) {
  return Call(*connection_, &Stub::ListNormalizers, request);
}

absl::StatusOr<v1::Normalizer> Client::UpdateNormalizer(
    const v1::UpdateNormalizerRequest& request) {
  return Call(*connection_, &Stub::UpdateNormalizer, request);
}

absl::Status Client::DeleteNormalizer(absl::string_view id,
                                      absl::string_view etag) {
  v1::DeleteNormalizerRequest request;
  request.set_name(Name(id));
  request.set_etag(std::string(etag));
  return Call(*connection_, &Stub::DeleteNormalizer, request).status();
}

absl::StatusOr<v1::Normalizer> Client::ResetStatistics(absl::string_view id,
                                                       absl::string_view etag) {
  v1::ResetStatisticsRequest request;
  request.set_name(Name(id));
  request.set_etag(std::string(etag));
  return Call(*connection_, &Stub::ResetStatistics, request);
}

absl::StatusOr<v1::Snapshot> Client::CreateSnapshot(
    absl::string_view id, absl::string_view snapshot) {
  v1::CreateSnapshotRequest request;
  request.set_parent(Name(id));
  request.set_snapshot_id(std::string(snapshot));
  return Call(*connection_, &Stub::CreateSnapshot, request);
}

absl::StatusOr<v1::Snapshot> Client::GetSnapshot(absl::string_view id,
                                                 absl::string_view snapshot) {
  v1::GetSnapshotRequest request;
  request.set_name(absl::StrCat(Name(id), "/snapshots/", snapshot));
  return Call(*connection_, &Stub::GetSnapshot, request);
}

absl::StatusOr<v1::ListSnapshotsResponse> Client::ListSnapshots(
    absl::string_view id, int page_size, absl::string_view page_token) {
  v1::ListSnapshotsRequest request;
  request.set_parent(Name(id));
  request.set_page_size(page_size);
  request.set_page_token(std::string(page_token));
  return Call(*connection_, &Stub::ListSnapshots, request);
}

absl::Status Client::DeleteSnapshot(absl::string_view id,
                                    absl::string_view snapshot) {
  v1::DeleteSnapshotRequest request;
  request.set_name(absl::StrCat(Name(id), "/snapshots/", snapshot));
  return Call(*connection_, &Stub::DeleteSnapshot, request).status();
}

absl::StatusOr<v1::Normalizer> Client::FreezeNormalizer(absl::string_view id) {
  v1::FreezeNormalizerRequest request;
  request.set_name(Name(id));
  return Call(*connection_, &Stub::FreezeNormalizer, request);
}

absl::StatusOr<v1::Normalizer> Client::UnfreezeNormalizer(
    absl::string_view id) {
  v1::UnfreezeNormalizerRequest request;
  request.set_name(Name(id));
  return Call(*connection_, &Stub::UnfreezeNormalizer, request);
}

absl::StatusOr<v1::Statistics> Client::GetStatistics(
    const v1::GetStatisticsRequest& request) {
  return Call(*connection_, &Stub::GetStatistics, request);
}

absl::StatusOr<v1::DenormalizeResponse> Client::Denormalize(
    const v1::DenormalizeRequest& request) {
  return Call(*connection_, &Stub::Denormalize, request);
}

absl::StatusOr<v1::NormalizeResponse> Client::NormalizeOnly(
    absl::string_view id, const TensorView& rows) {
  return Call(*connection_, &Stub::Normalize,
              MakeNormalizeRequest(id, rows, v1::NORMALIZE_ONLY));
}

absl::StatusOr<v1::ServerInfo> Client::GetServerInfo() {
  return Call(*connection_, connection_->admin.get(),
              &v1::AdminService::Stub::GetServerInfo,
              v1::GetServerInfoRequest());
}

absl::StatusOr<v1::Backup> Client::CreateBackup(absl::string_view backup_id,
                                                const OnProgress& on_progress) {
  v1::CreateBackupRequest request;
  request.set_backup_id(std::string(backup_id));
  grpc::ClientContext context;
  const auto reader = connection_->admin->CreateBackup(&context, request);
  auto last = ReadToTheEnd(reader.get(), on_progress);
  if (!last.ok()) return last.status();
  return last->backup();
}

absl::StatusOr<v1::StoreReport> Client::VerifyStore(
    const OnProgress& on_progress) {
  grpc::ClientContext context;
  const auto reader = connection_->admin->VerifyStore(&context, {});
  auto last = ReadToTheEnd(reader.get(), on_progress);
  if (!last.ok()) return last.status();
  return last->report();
}

absl::StatusOr<std::string> Client::CheckHealth() {
  // grpc.health.v1.Health/Check with an empty request; the answer is one enum
  // field: 08 01 is SERVING. No generated code is needed for that.
  constexpr char kServing[] = {0x08, 0x01};
  const auto deadline =
      std::chrono::steady_clock::now() + connection_->options.request_timeout;
  grpc::GenericStub stub(connection_->channel);
  std::string answer;
  const auto status =
      CallWithRetry(*connection_, deadline, [&](grpc::ClientContext* context) {
        grpc::CompletionQueue queue;
        grpc::ByteBuffer request(nullptr, 0), response;
        grpc::Status result;
        auto call = stub.PrepareUnaryCall(
            context, "/grpc.health.v1.Health/Check", request, &queue);
        call->StartCall();
        call->Finish(&response, &result, nullptr);
        void* tag;
        bool ok;
        queue.Next(&tag, &ok);
        grpc::Slice slice;
        if (result.ok() && response.DumpToSingleSlice(&slice).ok()) {
          answer.assign(slice.begin(), slice.end());
        }
        return result;
      });
  if (!status.ok()) return status;
  return answer == std::string(kServing, sizeof(kServing)) ? "SERVING"
                                                           : "NOT_SERVING";
}

absl::StatusOr<std::unique_ptr<ClientSession>> Client::OpenSession(
    absl::string_view name) {
  v1::OpenSessionRequest request;
  request.set_client(std::string(name));
  const auto opened = Call(*connection_, &Stub::OpenSession, request);
  if (!opened.ok()) return opened.status();
  return std::unique_ptr<ClientSession>(
      new ClientSession(connection_, *opened));
}

absl::StatusOr<std::unique_ptr<ClientSession>> Client::ResumeSession(
    absl::string_view token) {
  v1::ResumeSessionRequest request;
  request.set_token(std::string(token));
  const auto resumed = Call(*connection_, &Stub::ResumeSession, request);
  if (!resumed.ok()) return resumed.status();
  return std::unique_ptr<ClientSession>(
      new ClientSession(connection_, *resumed));
}

v1::NormalizeRequest MakeNormalizeRequest(absl::string_view id,
                                          const TensorView& rows,
                                          v1::Mode mode) {
  v1::NormalizeRequest request;
  request.set_name(Name(id));
  request.set_mode(mode);
  auto* input = request.mutable_input();
  switch (rows.type) {
    case DataType::kFp32:
      input->set_datatype(v1::FP32);
      break;
    case DataType::kFp64:
      input->set_datatype(v1::FP64);
      break;
    case DataType::kFp16:
      input->set_datatype(v1::FP16);
      break;
    case DataType::kBf16:
      input->set_datatype(v1::BF16);
      break;
  }
  input->add_shape(static_cast<int64_t>(rows.rows));
  input->add_shape(static_cast<int64_t>(rows.features));
  input->set_data(rows.data, rows.size_bytes());
  return request;
}

TensorView RowsOf(std::span<const float> values, size_t features) {
  return {reinterpret_cast<const uint8_t*>(values.data()), DataType::kFp32,
          values.size() / features, features};
}

TensorView RowsOf(std::span<const double> values, size_t features) {
  return {reinterpret_cast<const uint8_t*>(values.data()), DataType::kFp64,
          values.size() / features, features};
}

std::string ErrorReason(const absl::Status& status) {
  google::rpc::ErrorInfo info;
  const auto payload =
      status.GetPayload("type.googleapis.com/google.rpc.ErrorInfo");
  if (!payload || !info.ParseFromString(std::string(*payload))) return "";
  return info.reason();
}

}  // namespace streamnorm
