#include "tests/benchmarks/sides.h"

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "client/streamnorm_client.h"
#include "tests/benchmarks/raw_client.h"
#include "tests/benchmarks/raw_messages.h"

namespace streamnorm {
namespace {

using ClientOr = absl::StatusOr<std::unique_ptr<LoadClient>>;

std::string IdOf(const Work& work, size_t client) {
  return absl::StrCat("n", work.features, "-", client % work.normalizers);
}

std::unique_ptr<LoadClient> MakeRaw(std::shared_ptr<grpc::Channel> channel,
                                    RawSession session, RawTarget target,
                                    const Work& work) {
  const auto messages = std::make_shared<RawMessages>(
      std::move(session), std::vector<RawTarget>{std::move(target)}, work.rows,
      work.features);
  RawTraffic traffic;
  traffic.method = work.in_flight == 0 ? "Normalize" : "NormalizeStream";
  traffic.in_flight = work.in_flight;
  traffic.next = [messages] { return messages->Next(); };
  traffic.least_answer_bytes = messages->payload_bytes();
  return std::make_unique<RawClient>(std::move(channel), std::move(traffic));
}

ClientOr MakeInSession(const std::string& address, const Work& work,
                       size_t number) {
  const std::string id = IdOf(work, number);
  const auto client = Client::Connect(address);
  if (!client.ok()) return client.status();
  const auto normalizer =
      (*client)->GetOrCreateNormalizer(id, static_cast<int64_t>(work.features));
  if (!normalizer.ok()) return normalizer.status();
  auto channel = ConnectRaw(address);
  auto session = OpenRawSession(channel);
  if (!session.ok()) return session.status();
  return MakeRaw(std::move(channel), *std::move(session),
                 {normalizer->name(), normalizer->generation()}, work);
}

}  // namespace

Side SessionSide(const ServerProcess& server, const Work& work) {
  return {server.pid(), Connecting(work.clients, [address = server.address(),
                                                  work](size_t number) {
            return MakeInSession(address, work, number);
          })};
}

Side PlainSide(const ServerProcess& server, const Work& work) {
  return {
      server.pid(),
      Connecting(work.clients,
                 [address = server.address(), work](size_t number) -> ClientOr {
                   RawTarget target;
                   target.name = "normalizers/" + IdOf(work, number);
                   return MakeRaw(ConnectRaw(address), {}, target, work);
                 })};
}

}  // namespace streamnorm
