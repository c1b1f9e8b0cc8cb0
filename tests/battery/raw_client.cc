#include "tests/battery/raw_client.h"

#include <algorithm>
#include <thread>
#include <utility>

#include "absl/strings/str_cat.h"
#include "grpcpp/channel.h"
#include "grpcpp/create_channel.h"

namespace streamnorm {
namespace {

using std::chrono::milliseconds;

constexpr milliseconds kTimeout{5000};

// Updates a client keeps; the server takes 1,024 numbers ahead.
constexpr size_t kMostKept = 512;

std::shared_ptr<grpc::Channel> NewChannel(const std::string& address) {
  grpc::ChannelArguments arguments;
  arguments.SetInt(GRPC_ARG_INITIAL_RECONNECT_BACKOFF_MS, 5);
  arguments.SetInt(GRPC_ARG_MIN_RECONNECT_BACKOFF_MS, 5);
  arguments.SetInt(GRPC_ARG_MAX_RECONNECT_BACKOFF_MS, 20);
  arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
  return grpc::CreateCustomChannel(address, grpc::InsecureChannelCredentials(),
                                   arguments);
}

bool IsAway(const grpc::Status& status) {
  return status.error_code() == grpc::StatusCode::UNAVAILABLE ||
         status.error_code() == grpc::StatusCode::DEADLINE_EXCEEDED ||
         status.error_code() == grpc::StatusCode::CANCELLED ||
         status.error_code() == grpc::StatusCode::UNKNOWN;
}

bool Has(const v1::SessionProgress* progress, uint64_t sequence) {
  if (progress == nullptr) return false;
  if (sequence <= progress->applied_sequence()) return true;
  const uint64_t bit = sequence - progress->applied_sequence() - 1;
  return bit / 8 < progress->window().size() &&
         (static_cast<uint8_t>(progress->window()[bit / 8]) >> bit % 8 & 1) !=
             0;
}

}  // namespace

RawClient::RawClient(const std::string& address, uint64_t seed,
                     const std::vector<std::string>& names,
                     const std::atomic<bool>* abandoned)
    : stub_(v1::NormalizerService::NewStub(NewChannel(address))),
      random_(seed),
      abandoned_(abandoned),
      names_(names) {
  v1::OpenSessionResponse opened;
  for (const std::string& name : names_) {
    v1::GetNormalizerRequest request;
    request.set_name(name);
    v1::Normalizer normalizer;
    CallUntilAnswered(&v1::NormalizerService::Stub::GetNormalizer, request,
                      &normalizer);
    tracks_[name].generation = normalizer.generation();
    sent_[name];
  }
  CallUntilAnswered(&v1::NormalizerService::Stub::OpenSession,
                    v1::OpenSessionRequest(), &opened);
  session_ = opened.session();
  epoch_ = opened.epoch();
  history_id_ = opened.history_id();
}

template <typename Request, typename Response>
grpc::Status RawClient::Call(
    grpc::Status (v1::NormalizerService::Stub::*method)(grpc::ClientContext*,
                                                        const Request&,
                                                        Response*),
    const Request& request, Response* response, milliseconds timeout) {
  grpc::ClientContext context;
  context.set_deadline(std::chrono::system_clock::now() + timeout);
  context.set_wait_for_ready(true);
  return (stub_.get()->*method)(&context, request, response);
}

template <typename Request, typename Response>
void RawClient::CallUntilAnswered(
    grpc::Status (v1::NormalizerService::Stub::*method)(grpc::ClientContext*,
                                                        const Request&,
                                                        Response*),
    const Request& request, Response* response) {
  grpc::Status status;
  do {
    status = Call(method, request, response, kTimeout);
  } while (IsAway(status) && !*abandoned_);
  if (!status.ok()) Complain(status.error_message());
}

void RawClient::Complain(const std::string& what) {
  if (complaints_.size() < 10) complaints_.push_back(what);
}

void RawClient::Step() {
  const std::string& name = names_[random_() % names_.size()];
  Track& track = tracks_[name];
  if (Chance(10)) {  // the next one first
    const uint64_t late = Make(name);
    SendUntilAnswered(name, Make(name));
    SendUntilAnswered(name, late);
  } else {
    SendUntilAnswered(name, Make(name));
  }
  if (Chance(15) && !track.kept.empty()) {
    auto it = track.kept.begin();
    std::advance(it, random_() % track.kept.size());
    ++repeated_;
    SendUntilAnswered(name, it->first);
  }
  if (track.kept.size() >= kMostKept) Finish();
}

uint64_t RawClient::Make(const std::string& name) {
  Track& track = tracks_[name];
  const uint64_t sequence = track.next_sequence++;
  const auto rows = MakeIntegerRows(1 + random_() % 3, &random_);
  sent_[name].Add(rows);
  v1::NormalizeRequest& request = track.kept[sequence].request;
  request.set_name(name);
  request.set_mode(Chance(50) ? v1::UPDATE_ONLY : v1::UPDATE_THEN_NORMALIZE);
  request.set_wait_durable(Chance(3));
  auto* input = request.mutable_input();
  input->set_datatype(v1::FP64);
  input->add_shape(static_cast<int64_t>(rows.size() / kIntegerFeatures));
  input->add_shape(kIntegerFeatures);
  input->set_data(rows.data(), rows.size() * sizeof(double));
  auto* id = request.mutable_update_id();
  id->set_session(session_);
  id->set_sequence(sequence);
  id->set_generation(track.generation);
  return sequence;
}

void RawClient::SendUntilAnswered(const std::string& name, uint64_t sequence) {
  // Recover may have sent it, and been told that it is on disk.
  while (tracks_[name].kept.contains(sequence) && !Send(name, sequence)) {
    if (*abandoned_) {
      return Complain(absl::StrCat(name, " ", sequence, ": never answered"));
    }
    Recover();
  }
}

// False if the server is away.
bool RawClient::Send(const std::string& name, uint64_t sequence) {
  Track& track = tracks_[name];
  Update& update = track.kept.at(sequence);
  update.request.mutable_update_id()->set_epoch(epoch_);
  v1::NormalizeResponse response;
  const auto status = Call(&v1::NormalizerService::Stub::Normalize,
                           update.request, &response, kTimeout);
  if (IsAway(status)) return false;
  if (!status.ok()) {
    Complain(absl::StrCat(name, " ", sequence, ": ", status.error_message()));
    return true;
  }
  const auto rows = static_cast<uint64_t>(update.request.input().shape(0));
  if (response.counted_rows() != (response.duplicate() ? 0 : rows)) {
    Complain(absl::StrCat(name, " ", sequence, ": counted ",
                          response.counted_rows(), " of ", rows));
  }
  // A process forgets nothing.
  if (update.answered_by == response.incarnation() && !response.duplicate()) {
    Complain(absl::StrCat(name, " ", sequence, ": counted twice"));
  }
  if (response.history_id() != history_id_) Complain("another history");
  if (update.request.wait_durable() && response.durable_sequence() < sequence &&
      track.kept.begin()->first == sequence) {
    Complain(absl::StrCat(name, " ", sequence, ": waited, durable only ",
                          response.durable_sequence()));
  }
  update.answered_by = response.incarnation();
  ++answered_;
  ToldDurable(name, response.durable_sequence());
  return true;
}

void RawClient::ToldDurable(const std::string& name, uint64_t sequence) {
  Track& track = tracks_[name];
  if (sequence < track.durable_sequence) {
    Complain(absl::StrCat(name, ": durable ", sequence, " after ",
                          track.durable_sequence));
  }
  if (sequence >= track.next_sequence) {
    Complain(absl::StrCat(name, ": durable ", sequence, " was never sent"));
  }
  track.durable_sequence = std::max(track.durable_sequence, sequence);
  track.kept.erase(track.kept.begin(), track.kept.upper_bound(sequence));
}

void RawClient::Recover() {
  while (!TryResume()) {
    if (*abandoned_) return;
    std::this_thread::sleep_for(milliseconds(2));
  }
}

bool RawClient::TryResume() {
  v1::ResumeSessionRequest request;
  request.set_session(session_);
  v1::ResumeSessionResponse resumed;
  const auto status = Call(&v1::NormalizerService::Stub::ResumeSession, request,
                           &resumed, kTimeout);
  if (IsAway(status)) return false;
  if (!status.ok()) {
    Complain("resume: " + status.error_message());
    return true;
  }
  if (resumed.epoch() <= epoch_) Complain("resume: an old epoch");
  epoch_ = resumed.epoch();
  if (resumed.history_id() != history_id_) Complain("another history");
  std::vector<std::pair<std::string, uint64_t>> missing;
  for (auto& [name, track] : tracks_) {
    const v1::SessionProgress* progress = nullptr;
    for (const auto& candidate : resumed.progress()) {
      if (candidate.name() == name) progress = &candidate;
    }
    CheckProgress(name, &track, progress, &missing);
  }
  std::shuffle(missing.begin(), missing.end(), random_);
  for (const auto& [name, sequence] : missing) {
    ++resent_;
    if (!tracks_[name].kept.contains(sequence)) continue;  // durable by now
    if (!Send(name, sequence)) return false;
  }
  return true;
}

void RawClient::CheckProgress(
    const std::string& name, Track* track, const v1::SessionProgress* progress,
    std::vector<std::pair<std::string, uint64_t>>* missing) {
  for (uint64_t s = 1; s <= track->durable_sequence; ++s) {
    if (Has(progress, s)) continue;
    Complain(absl::StrCat(name, " ", s, ": told durable and lost"));
    break;
  }
  for (const auto& [sequence, update] : track->kept) {
    if (!Has(progress, sequence)) missing->emplace_back(name, sequence);
  }
  if (progress == nullptr) return;
  if (progress->applied_sequence() >= track->next_sequence) {
    Complain(absl::StrCat(name, ": counted ", progress->applied_sequence(),
                          ", which was never sent"));
  }
  ToldDurable(name, progress->durable_sequence());
}

void RawClient::Finish() {
  const auto all_durable = [&] {
    return std::all_of(tracks_.begin(), tracks_.end(), [](const auto& track) {
      return track.second.kept.empty();
    });
  };
  while (!all_durable() && !*abandoned_) {
    v1::BarrierRequest request;
    request.set_session(session_);
    request.set_epoch(epoch_);
    v1::BarrierResponse passed;
    const auto status =
        Call(&v1::NormalizerService::Stub::Barrier, request, &passed, kTimeout);
    if (status.ok()) {
      for (const auto& progress : passed.progress()) {
        ToldDurable(progress.name(), progress.durable_sequence());
      }
      if (all_durable()) return;
    }
    Recover();
  }
  if (!all_durable()) Complain("never durable");
}

}  // namespace streamnorm
