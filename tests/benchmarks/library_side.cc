// Clients that use the client library, over its lane or not.

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "client/streamnorm_client.h"
#include "tests/benchmarks/raw_messages.h"
#include "tests/benchmarks/sides.h"

namespace streamnorm {
namespace {

class LibraryClient : public PingPongClient {
 public:
  LibraryClient(std::unique_ptr<ClientSession> session, bool lane,
                std::string id, const Work& work)
      : session_(std::move(session)),
        lane_(lane),
        id_(std::move(id)),
        features_(work.features),
        rows_(BenchmarkRows(work.rows, work.features)) {}

 protected:
  absl::Status Once() override {
    const auto answer = session_->Normalize(id_, RowsOf(rows_, features_));
    if (!answer.ok() || session_->uses_lane() == lane_) return answer.status();
    return absl::FailedPreconditionError(lane_ ? "gRPC, want the lane"
                                               : "the lane, want gRPC");
  }

 private:
  const std::unique_ptr<ClientSession> session_;
  const bool lane_;
  const std::string id_;
  const size_t features_;
  const std::vector<float> rows_;
};

absl::StatusOr<std::unique_ptr<LoadClient>> MakeClient(
    const std::string& address, const Work& work, bool lane, size_t number) {
  ClientOptions options;
  options.use_lane = lane;
  const auto client = Client::Connect(address, options);
  if (!client.ok()) return client.status();
  std::string id =
      absl::StrCat("n", work.features, "-", number % work.normalizers);
  const auto normalizer =
      (*client)->GetOrCreateNormalizer(id, static_cast<int64_t>(work.features));
  if (!normalizer.ok()) return normalizer.status();
  auto session = (*client)->OpenSession("benchmark");
  if (!session.ok()) return session.status();
  return std::make_unique<LibraryClient>(*std::move(session), lane,
                                         std::move(id), work);
}

}  // namespace

Side LibrarySide(const ServerProcess& server, const Work& work, bool lane) {
  return {server.pid(), Connecting(work.clients, [address = server.address(),
                                                  work, lane](size_t number) {
            return MakeClient(address, work, lane, number);
          })};
}

}  // namespace streamnorm
