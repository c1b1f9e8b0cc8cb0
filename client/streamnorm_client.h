#ifndef STREAMNORM_CLIENT_STREAMNORM_CLIENT_H_
#define STREAMNORM_CLIENT_STREAMNORM_CLIENT_H_

#include <functional>
#include <memory>
#include <span>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "client/client_options.h"
#include "client/client_session.h"
#include "client/connection.h"
#include "stats/tensor_view.h"
#include "streamnorm/v1/admin_service.grpc.pb.h"
#include "streamnorm/v1/normalizer_service.grpc.pb.h"

namespace streamnorm {

// A connection to a StreamNorm server. Start here:
//
//   auto client = streamnorm::Client::Connect("127.0.0.1:50051");
//   (*client)->GetOrCreateNormalizer("layer3", 32);
//   auto session = (*client)->OpenSession("trainer-0");
//   auto answer = (*session)->Normalize("layer3", rows);   // counted once
//
// Calls that don't change statistics, and those that make resources, are here;
// updates go through a session, which survives broken connections and server
// crashes without losing or double counting a row.
//
// Errors are absl::Status with the server's code and message; ErrorReason tells
// the reason of docs/api.md. UNAVAILABLE is retried until the request timeout.
//
// Safe for concurrent use; sessions are not (one per thread).
class Client {
 public:
  // `address` is host:port or unix:/path. Fails with UNAVAILABLE if no server
  // answers within the request timeout.
  static absl::StatusOr<std::unique_ptr<Client>> Connect(
      const std::string& address, const ClientOptions& options = {});

  absl::StatusOr<v1::Normalizer> CreateNormalizer(
      const v1::CreateNormalizerRequest& request);

  // The normalizer `id`, created with `features` features and preset `preset`
  // ("" = standard) if it doesn't exist. FAILED_PRECONDITION if it exists with
  // another number of features.
  absl::StatusOr<v1::Normalizer> GetOrCreateNormalizer(
      absl::string_view id, int64_t features, absl::string_view preset = "");

  // `id` without the leading "normalizers/" here and below.
  absl::StatusOr<v1::Normalizer> GetNormalizer(absl::string_view id);
  absl::StatusOr<v1::ListNormalizersResponse> ListNormalizers(
      const v1::ListNormalizersRequest& request);
  absl::StatusOr<v1::Normalizer> UpdateNormalizer(
      const v1::UpdateNormalizerRequest& request);
  absl::Status DeleteNormalizer(absl::string_view id,
                                absl::string_view etag = "");
  absl::StatusOr<v1::Normalizer> ResetStatistics(absl::string_view id,
                                                 absl::string_view etag = "");
  absl::StatusOr<v1::Normalizer> FreezeNormalizer(absl::string_view id);
  absl::StatusOr<v1::Normalizer> UnfreezeNormalizer(absl::string_view id);

  // Keep the statistics of normalizer `id` as they are under the name
  // `snapshot`. "{id}/snapshots/{snapshot}" is then an id for NormalizeOnly,
  // and its name one for GetStatistics and Denormalize.
  absl::StatusOr<v1::Snapshot> CreateSnapshot(absl::string_view id,
                                              absl::string_view snapshot);
  absl::StatusOr<v1::Snapshot> GetSnapshot(absl::string_view id,
                                           absl::string_view snapshot);
  absl::StatusOr<v1::ListSnapshotsResponse> ListSnapshots(
      absl::string_view id, int page_size = 0,
      absl::string_view page_token = "");
  absl::Status DeleteSnapshot(absl::string_view id, absl::string_view snapshot);

  absl::StatusOr<v1::Statistics> GetStatistics(
      const v1::GetStatisticsRequest& request);
  absl::StatusOr<v1::DenormalizeResponse> Denormalize(
      const v1::DenormalizeRequest& request);

  // Normalizes without counting (mode NORMALIZE_ONLY).
  absl::StatusOr<v1::NormalizeResponse> NormalizeOnly(absl::string_view id,
                                                      const TensorView& rows);

  absl::StatusOr<v1::ServerInfo> GetServerInfo();

  // Long work of the server (docs/operations.md): no timeout, and not retried.
  // `on_progress` may be empty.
  using OnProgress = std::function<void(const v1::MaintenanceProgress&)>;
  absl::StatusOr<v1::Backup> CreateBackup(absl::string_view backup_id,
                                          const OnProgress& on_progress = {});
  absl::StatusOr<v1::StoreReport> VerifyStore(
      const OnProgress& on_progress = {});

  // "SERVING" or "NOT_SERVING", by the standard health protocol.
  absl::StatusOr<std::string> CheckHealth();

  // A new session; `name` tells people whose it is.
  absl::StatusOr<std::unique_ptr<ClientSession>> OpenSession(
      absl::string_view name);

  // Goes on where a Barrier was: `token` comes from ClientSession::Barrier,
  // stored in the job's checkpoint. The job sends the steps since then again;
  // what was counted is not counted twice.
  absl::StatusOr<std::unique_ptr<ClientSession>> ResumeSession(
      absl::string_view token);

  const std::string& address() const { return connection_->address; }

 private:
  explicit Client(std::shared_ptr<ClientConnection> connection)
      : connection_(std::move(connection)) {}

  const std::shared_ptr<ClientConnection> connection_;
};

// A request for `id` with `rows` as its input.
v1::NormalizeRequest MakeNormalizeRequest(absl::string_view id,
                                          const TensorView& rows,
                                          v1::Mode mode);

// Rows of float32 / float64 values, row-major; the view doesn't own them.
// REQUIRES: values.size() is a multiple of `features`.
TensorView RowsOf(std::span<const float> values, size_t features);
TensorView RowsOf(std::span<const double> values, size_t features);

// ErrorInfo.reason of an error of the server, such as "NORMALIZER_NOT_FOUND";
// "" if it has none.
std::string ErrorReason(const absl::Status& status);

}  // namespace streamnorm

#endif  // STREAMNORM_CLIENT_STREAMNORM_CLIENT_H_
