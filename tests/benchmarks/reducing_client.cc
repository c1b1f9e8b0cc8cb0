#include "tests/benchmarks/reducing_client.h"

#include <cstring>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "client/streamnorm_client.h"
#include "stats/moments.h"
#include "stats/scaling.h"
#include "tests/benchmarks/raw_messages.h"

namespace streamnorm {
namespace {

std::string BytesOf(std::span<const double> values) {
  return {reinterpret_cast<const char*>(values.data()), values.size_bytes()};
}

void CopyTo(const std::string& bytes, std::vector<double>* values) {
  std::memcpy(values->data(), bytes.data(),
              std::min(bytes.size(), values->size() * sizeof(double)));
}

class ReducingClient : public PingPongClient {
 public:
  ReducingClient(std::unique_ptr<ClientSession> session, std::string name,
                 const Work& work, Reducing reducing)
      : session_(std::move(session)),
        name_(std::move(name)),
        reducing_(reducing),
        rows_(BenchmarkRows(work.rows, work.features)),
        view_(RowsOf(rows_, work.features)),
        moments_(work.features),
        normalized_(view_.size_bytes()) {
    table_.Resize(work.features);
  }

 protected:
  absl::Status Once() override {
    moments_.Clear();
    Fold(view_, {}, &moments_, &extremes_);
    v1::MergeMomentsRequest request;
    request.set_name(name_);
    request.set_count(moments_.row_count());
    request.set_mean(BytesOf(moments_.mean()));
    request.set_m2(BytesOf(moments_.m2()));
    request.set_return_statistics(true);
    const auto merged = session_->MergeMoments(std::move(request));
    if (!merged.ok()) return merged.status();
    if (reducing_ == Reducing::kAndNormalizing) {
      CopyTo(merged->offset(), &table_.offset);
      CopyTo(merged->scale(), &table_.scale);
      Apply(view_, table_, {}, normalized_.data());
    }
    return absl::OkStatus();
  }

 private:
  const std::unique_ptr<ClientSession> session_;
  const std::string name_;
  const Reducing reducing_;
  const std::vector<float> rows_;
  const TensorView view_;
  Moments moments_;
  BatchExtremes extremes_;
  ScalingTable table_;
  std::vector<uint8_t> normalized_;
};

absl::StatusOr<std::unique_ptr<LoadClient>> MakeClient(
    const std::string& address, const Work& work, bool lane,
    Reducing reducing) {
  ClientOptions options;
  options.use_lane = lane;
  const auto client = Client::Connect(address, options);
  if (!client.ok()) return client.status();
  const auto normalizer =
      (*client)->GetOrCreateNormalizer(absl::StrCat("moments-", work.features),
                                       static_cast<int64_t>(work.features));
  if (!normalizer.ok()) return normalizer.status();
  auto session = (*client)->OpenSession("benchmark");
  if (!session.ok()) return session.status();
  return std::make_unique<ReducingClient>(*std::move(session),
                                          normalizer->name(), work, reducing);
}

}  // namespace

Side ReducingSide(const ServerProcess& server, const Work& work, bool lane,
                  Reducing reducing) {
  return {server.pid(),
          Connecting(work.clients, [address = server.address(), work, lane,
                                    reducing](size_t) {
            return MakeClient(address, work, lane, reducing);
          })};
}

}  // namespace streamnorm
