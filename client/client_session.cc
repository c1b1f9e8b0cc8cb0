#include "client/client_session.h"

#include <algorithm>
#include <utility>
#include <vector>

#include "absl/strings/cord.h"
#include "absl/strings/str_cat.h"
#include "client/counted.h"
#include "client/streamnorm_client.h"
#include "google/rpc/error_details.pb.h"

namespace streamnorm {
namespace {

bool Counts(v1::Mode mode) { return mode != v1::NORMALIZE_ONLY; }

absl::Status FromRpcStatus(const google::rpc::Status& proto) {
  absl::Status status(static_cast<absl::StatusCode>(proto.code()),
                      proto.message());
  for (const auto& detail : proto.details()) {
    status.SetPayload(detail.type_url(), absl::Cord(detail.value()));
  }
  return status;
}

// The server lost what it had promised. `lost` names it.
absl::Status HistoryLost(const std::string& lost) {
  absl::Status status = absl::DataLossError(absl::StrCat(
      "the server lost what it had on disk and this client no longer has: ",
      lost, "; open a new session, and send these rows again if you can"));
  google::rpc::ErrorInfo info;
  info.set_reason("HISTORY_LOST");
  info.set_domain("streamnorm");
  status.SetPayload("type.googleapis.com/google.rpc.ErrorInfo",
                    absl::Cord(info.SerializeAsString()));
  return status;
}

absl::Status TimedOut() {
  return absl::DeadlineExceededError(
      "not answered in time; what was sent stays in the session's buffer and "
      "is delivered by the next call: don't send it again");
}

// True where the session can't go on: someone else has it, or it is gone.
bool EndsSession(const absl::Status& status) {
  const std::string reason = ErrorReason(status);
  return reason == "EPOCH_FENCED" || reason == "SESSION_UNKNOWN" ||
         reason == "HISTORY_LOST" || reason == "ROWS_MISMATCH";
}

uint64_t RowsOfRequest(const v1::NormalizeRequest& request) {
  const auto& shape = request.input().shape();
  return shape.size() == 1 ? 1 : static_cast<uint64_t>(shape[0]);
}

uint64_t RowsOfRequest(const v1::MergeMomentsRequest& request) {
  return request.count();
}

}  // namespace

const std::string& ClientSession::Entry::name() const {
  return std::visit(
      [](const auto& r) -> const std::string& { return r.name(); }, request);
}

v1::UpdateId* ClientSession::Entry::update_id() {
  return std::visit([](auto& r) { return r.mutable_update_id(); }, request);
}

void ClientSession::Entry::Audit(uint64_t rows_before) {
  std::visit(
      [&](auto& r) { r.set_rows_sent_total(rows_before + RowsOfRequest(r)); },
      request);
}

void ClientSession::Entry::DropAudit() {
  std::visit([](auto& r) { r.clear_rows_sent_total(); }, request);
}

uint64_t ClientSession::Entry::sequence() const {
  return std::visit([](const auto& r) { return r.update_id().sequence(); },
                    request);
}

ClientSession::ClientSession(std::shared_ptr<ClientConnection> connection,
                             const v1::OpenSessionResponse& opened)
    : connection_(std::move(connection)),
      session_(opened.session()),
      epoch_(opened.epoch()),
      history_id_(opened.history_id()) {}

ClientSession::ClientSession(std::shared_ptr<ClientConnection> connection,
                             const v1::ResumeSessionResponse& resumed)
    : connection_(std::move(connection)),
      session_(resumed.session()),
      epoch_(resumed.epoch()),
      history_id_(resumed.history_id()) {
  for (const auto& progress : resumed.progress()) {
    Track& track = tracks_[progress.name()];
    track.next_sequence = progress.token_sequence() + 1;
    track.generation = progress.generation();
    track.durable_sequence = progress.token_sequence();
    track.audit.GoOnFrom(progress, progress.token_sequence());
  }
}

ClientSession::~ClientSession() = default;

ClientSession::Clock::time_point ClientSession::Deadline() const {
  return Clock::now() + connection_->options.request_timeout;
}

// Requests.

absl::StatusOr<v1::NormalizeResponse> ClientSession::Normalize(
    absl::string_view id, const TensorView& rows, v1::Mode mode) {
  if (auto s = Submit(MakeNormalizeRequest(id, rows, mode)); !s.ok()) return s;
  auto answer = Receive();
  if (absl::IsDeadlineExceeded(answer.status()) && answers_due_ > 0 &&
      !last_submitted_->answered) {
    last_submitted_->discard = true;  // nobody will ask for it
    --answers_due_;
  }
  return answer;
}

absl::Status ClientSession::Submit(v1::NormalizeRequest request) {
  const auto deadline = Deadline();
  auto entry = std::make_shared<Entry>();
  entry->counts = Counts(request.mode());
  entry->bytes = request.ByteSizeLong();
  const uint64_t limit = connection_->max_message_bytes;
  if (limit != 0 && entry->bytes > limit) {
    return absl::InvalidArgumentError(absl::StrCat(
        "input: a request of ", entry->bytes, " bytes, want at most ", limit,
        "; send fewer rows at a time, or raise the server's "
        "--max_message_bytes"));
  }
  entry->request = std::move(request);
  const size_t most = std::max<size_t>(1, connection_->options.max_in_flight);
  auto status =
      Pump(deadline, [&] { return to_send_.size() + awaiting_.size() < most; });
  if (status.ok() && entry->counts) {
    status = WaitForRoom(entry->bytes, deadline);
    if (status.ok()) status = Number(entry.get(), deadline);
    if (status.ok()) Buffer(entry);
  }
  if (!status.ok()) return status;
  to_send_.push_back(entry);
  last_submitted_ = std::move(entry);
  ++answers_due_;
  // Starts the write, and takes what is there.
  status = Pump(NormalizeChannel::kNoWait, [] { return false; });
  return absl::IsDeadlineExceeded(status) ? absl::OkStatus() : status;
}

absl::StatusOr<v1::NormalizeResponse> ClientSession::Receive() {
  if (auto s = Pump(Deadline(), [&] { return !answers_.empty(); }); !s.ok()) {
    return s;
  }
  auto answer = std::move(answers_.front());
  answers_.pop_front();
  --answers_due_;
  return answer;
}

absl::StatusOr<v1::MergeMomentsResponse> ClientSession::MergeMoments(
    v1::MergeMomentsRequest request) {
  const auto deadline = Deadline();
  auto entry = std::make_shared<Entry>();
  entry->counts = true;
  entry->bytes = request.ByteSizeLong();
  entry->request = std::move(request);
  if (!failed_.ok()) return failed_;
  if (auto s = WaitForRoom(entry->bytes, deadline); !s.ok()) return s;
  if (auto s = Number(entry.get(), deadline); !s.ok()) return s;
  Buffer(entry);
  while (true) {
    auto response = CallMerge(entry, deadline);
    if (response.ok() || !IsRetryable(response.status())) return response;
    channel_.reset();
    first_connection_ = false;
    if (auto s = Reconnect(deadline); !s.ok()) {
      entry->discard = true;
      return s;
    }
  }
}

absl::StatusOr<v1::MergeMomentsResponse> ClientSession::CallMerge(
    const EntryPtr& entry, Clock::time_point deadline) {
  entry->update_id()->set_epoch(epoch_);
  grpc::ClientContext context;
  context.set_deadline(ToSystemTime(deadline));
  v1::MergeMomentsResponse response;
  const absl::Status status = FromGrpc(connection_->stub->MergeMoments(
      &context, std::get<v1::MergeMomentsRequest>(entry->request), &response));
  if (status.ok()) {
    Accepted(entry, response);
    return response;
  }
  if (absl::IsDeadlineExceeded(status)) {
    entry->discard = true;
    return TimedOut();
  }
  if (IsRetryable(status)) return status;
  if (EndsSession(status)) return Fail(status);
  Refused(entry);
  return status;
}

absl::StatusOr<std::string> ClientSession::Barrier() {
  const auto deadline = Deadline();
  while (true) {
    if (auto s = PumpAll(deadline); !s.ok()) return s;
    const auto barrier = CallBarrier(deadline);
    if (barrier.ok() && buffer_.empty()) return barrier->token();
    if (!barrier.ok() && !IsRetryable(barrier.status())) {
      return barrier.status();
    }
    // The server is away, or another one than the one that answered: ask what
    // it has, and send the rest again.
    channel_.reset();
    first_connection_ = false;
    if (auto s = Reconnect(deadline); !s.ok()) return s;
  }
}

absl::StatusOr<v1::BarrierResponse> ClientSession::CallBarrier(
    Clock::time_point deadline) {
  v1::BarrierRequest request;
  request.set_session(session_);
  request.set_epoch(epoch_);
  for (const auto& [name, track] : tracks_) {
    if (track.free_sequences.empty()) continue;
    auto* skipped = request.add_skipped();
    skipped->set_name(name);
    skipped->mutable_sequences()->Assign(track.free_sequences.begin(),
                                         track.free_sequences.end());
  }
  for (const auto& [name, track] : tracks_) {
    const auto rows = track.audit.Rows(track.generation);
    if (!rows) continue;
    auto* sent = request.add_sent();
    sent->set_name(name);
    sent->set_generation(track.generation);
    sent->set_sequence(track.next_sequence - 1);
    sent->set_rows(*rows);
  }
  grpc::ClientContext context;
  context.set_deadline(ToSystemTime(deadline));
  v1::BarrierResponse response;
  const absl::Status status =
      FromGrpc(connection_->stub->Barrier(&context, request, &response));
  if (EndsSession(status)) return Fail(status);
  if (!status.ok()) return status;
  for (auto& [name, track] : tracks_) track.free_sequences.clear();
  for (const auto& progress : response.progress()) {
    Release(progress.name(), progress.durable_sequence());
    Track& track = tracks_[progress.name()];
    track.audit.GoOnFrom(progress, track.next_sequence - 1);
  }
  return response;
}

absl::Status ClientSession::Close() {
  if (auto s = Barrier().status(); !s.ok()) return s;
  v1::CloseSessionRequest request;
  request.set_session(session_);
  request.set_epoch(epoch_);
  bool tried = false;
  const auto status = CallWithRetry(
      *connection_, Deadline(), [&](grpc::ClientContext* context) {
        google::protobuf::Empty empty;
        grpc::Status result =
            connection_->stub->CloseSession(context, request, &empty);
        // The first try did it, and its answer was lost.
        if (tried && ErrorReason(FromGrpc(result)) == "SESSION_UNKNOWN") {
          return grpc::Status::OK;
        }
        tried = true;
        return result;
      });
  if (!status.ok()) return status;
  channel_.reset();
  failed_ = absl::FailedPreconditionError("the session is closed");
  return absl::OkStatus();
}

// Numbering and buffer.

absl::Status ClientSession::Number(Entry* entry, Clock::time_point deadline) {
  Track& track = tracks_[entry->name()];
  if (auto s = LearnGeneration(entry->name(), &track, deadline); !s.ok()) {
    return s;
  }
  uint64_t sequence = 0;
  entry->DropAudit();  // whatever the caller put there
  if (track.free_sequences.empty()) {
    const auto rows = track.audit.Rows(track.generation);
    if (rows) entry->Audit(*rows);
    sequence = track.next_sequence++;
  } else {
    sequence = *track.free_sequences.begin();
    track.free_sequences.erase(track.free_sequences.begin());
  }
  v1::UpdateId* id = entry->update_id();
  id->set_session(session_);
  id->set_epoch(epoch_);
  id->set_sequence(sequence);
  id->set_generation(track.generation);
  return absl::OkStatus();
}

// An update names the generation it was made in. Where the normalizer doesn't
// exist yet (--auto_create), the first update goes without, and the second one
// waits for its answer.
absl::Status ClientSession::LearnGeneration(const std::string& name,
                                            Track* track,
                                            Clock::time_point deadline) {
  if (track->generation != 0) return absl::OkStatus();
  if (track->next_sequence > 1) {
    auto s = Pump(deadline, [&] {
      return track->generation != 0 || (to_send_.empty() && awaiting_.empty());
    });
    if (!s.ok() || track->generation != 0) return s;
  }
  v1::GetNormalizerRequest request;
  request.set_name(name);
  v1::Normalizer normalizer;
  const auto status =
      CallWithRetry(*connection_, deadline, [&](grpc::ClientContext* context) {
        return connection_->stub->GetNormalizer(context, request, &normalizer);
      });
  if (absl::IsNotFound(status)) return absl::OkStatus();
  if (status.ok()) track->generation = normalizer.generation();
  return status;
}

absl::Status ClientSession::WaitForRoom(size_t bytes,
                                        Clock::time_point deadline) {
  const ClientOptions& options = connection_->options;
  const auto room = [&] {
    return buffer_.empty() ||
           (buffer_.size() < options.max_buffered_updates &&
            buffered_bytes_ + bytes <= options.max_buffered_bytes);
  };
  while (!room()) {
    auto s = Pump(deadline, [&] {
      return room() || (to_send_.empty() && awaiting_.empty());
    });
    if (!s.ok()) return s;
    if (room()) break;
    // Everything is answered; the disk is what is waited for.
    const auto barrier = CallBarrier(deadline);
    if (barrier.ok() && room()) break;
    if (!barrier.ok() && !IsRetryable(barrier.status())) {
      return barrier.status();
    }
    channel_.reset();
    first_connection_ = false;
    if (s = Reconnect(deadline); !s.ok()) return s;
  }
  return absl::OkStatus();
}

void ClientSession::Buffer(const EntryPtr& entry) {
  buffer_.push_back(entry);
  buffered_bytes_ += entry->bytes;
  tracks_[entry->name()].audit.Sent(entry->sequence());
}

void ClientSession::Release(const std::string& name,
                            uint64_t durable_sequence) {
  Track& track = tracks_[name];
  track.durable_sequence = std::max(track.durable_sequence, durable_sequence);
  std::erase_if(buffer_, [&](const EntryPtr& entry) {
    const bool release = entry->answered &&
                         entry->sequence() <= track.durable_sequence &&
                         entry->name() == name;
    if (release) buffered_bytes_ -= entry->bytes;
    if (release) track.audit.Released(entry->sequence());
    return release;
  });
}

// A refused update was not counted and its number is free again.
void ClientSession::Refused(const EntryPtr& entry) {
  if (!entry->counts) return;
  Track& track = tracks_[entry->name()];
  track.free_sequences.insert(entry->sequence());
  track.audit.Refused(entry->sequence());
  if (std::erase(buffer_, entry) != 0) buffered_bytes_ -= entry->bytes;
}

template <typename Response>
void ClientSession::Accepted(const EntryPtr& entry, const Response& response) {
  entry->answered = true;
  backoff_ = std::chrono::milliseconds(0);
  if (!entry->counts) return;
  Track& track = tracks_[entry->name()];
  track.generation = std::max(track.generation, response.generation());
#ifdef STREAMNORM_PLANT_RELEASED_ON_ANSWER
  Release(entry->name(), entry->sequence());
#endif
  track.audit.Answered(entry->sequence(), response.generation(),
                       response.counted_rows(), response.duplicate());
  // Looking through the buffer pays only when the disk moved on.
  if (response.durable_sequence() > track.durable_sequence ||
      entry->sequence() <= track.durable_sequence) {
    Release(entry->name(), response.durable_sequence());
  }
}

// The wire.

template <typename Done>
absl::Status ClientSession::Pump(Clock::time_point deadline, Done done) {
  while (!done()) {
    if (!failed_.ok()) return failed_;
    if (channel_ == nullptr) {
      if (auto s = Reconnect(deadline); !s.ok()) return s;
    }
    if (!to_send_.empty() && channel_->can_write()) {
      EntryPtr entry = std::move(to_send_.front());
      to_send_.pop_front();
      if (entry->counts) entry->update_id()->set_epoch(epoch_);
      awaiting_.push_back(entry);
      channel_->Write(std::get<v1::NormalizeRequest>(entry->request));
    }
    absl::Status status;
    switch (channel_->Wait(deadline)) {
      case NormalizeChannel::Event::kProgress:
        break;
      case NormalizeChannel::Event::kAnswer:
        status = HandleAnswer(channel_->answer());
        break;
      case NormalizeChannel::Event::kBroken:
        status = HandleBroken();
        break;
      case NormalizeChannel::Event::kTimeout:
        return TimedOut();
    }
    if (!status.ok()) return status;
  }
  return failed_;
}

absl::Status ClientSession::PumpAll(Clock::time_point deadline) {
  return Pump(deadline, [&] { return to_send_.empty() && awaiting_.empty(); });
}

absl::Status ClientSession::HandleAnswer(
    const v1::NormalizeResponse& response) {
  if (awaiting_.empty()) {
    return Fail(absl::InternalError("the server answered what was not asked"));
  }
  const EntryPtr entry = awaiting_.front();
  if (!response.has_status() || response.status().code() == 0) {
    awaiting_.pop_front();
    Accepted(entry, response);
    Deliver(entry, response);
    return absl::OkStatus();
  }
  absl::Status status = FromRpcStatus(response.status());
  if (EndsSession(status)) return Fail(std::move(status));
  if (IsRetryable(status)) {
    // Counted or not, it can't tell: ask again.
    channel_.reset();
    return absl::OkStatus();
  }
  awaiting_.pop_front();
  Refused(entry);
  Deliver(entry, std::move(status));
  return absl::OkStatus();
}

void ClientSession::Deliver(const EntryPtr& entry,
                            absl::StatusOr<v1::NormalizeResponse> answer) {
  if (!entry->discard) answers_.push_back(std::move(answer));
}

absl::Status ClientSession::HandleBroken() {
  absl::Status status = channel_->status();
  channel_.reset();
  // These would come back every time.
  if (absl::IsUnimplemented(status) || absl::IsUnauthenticated(status) ||
      absl::IsPermissionDenied(status) || absl::IsResourceExhausted(status)) {
    return Fail(std::move(status));
  }
  return absl::OkStatus();
}

absl::Status ClientSession::Reconnect(Clock::time_point deadline) {
  if (!failed_.ok()) return failed_;
  if (std::exchange(first_connection_, false)) {
    channel_ = std::make_unique<NormalizeChannel>(connection_->stub.get());
    return absl::OkStatus();
  }
  if (deadline == NormalizeChannel::kNoWait) return TimedOut();
  while (true) {
    if (backoff_.count() > 0 &&
        !WaitToRetry(*connection_, backoff_, deadline)) {
      return TimedOut();
    }
    backoff_ = NextBackoff(backoff_);
    const absl::Status status = TryResume(deadline);
    if (status.ok()) return status;
    if (absl::IsDeadlineExceeded(status) || Clock::now() >= deadline) {
      return TimedOut();
    }
    if (!IsRetryable(status)) return Fail(status);
  }
}

absl::Status ClientSession::TryResume(Clock::time_point deadline) {
  v1::ResumeSessionRequest request;
  request.set_session(session_);
  v1::ResumeSessionResponse resumed;
  grpc::ClientContext context;
  context.set_deadline(ToSystemTime(deadline));
  if (auto s = FromGrpc(
          connection_->stub->ResumeSession(&context, request, &resumed));
      !s.ok()) {
    return s;
  }
  ++reconnects_;
  if (auto s = CheckNothingLost(resumed); !s.ok()) return s;
  epoch_ = resumed.epoch();
  history_id_ = resumed.history_id();
  if (auto s = SendAgain(resumed, deadline); !s.ok()) return s;
  channel_ = std::make_unique<NormalizeChannel>(connection_->stub.get());
  return absl::OkStatus();
}

absl::Status ClientSession::CheckNothingLost(
    const v1::ResumeSessionResponse& resumed) const {
  const bool same_history = resumed.history_id() == history_id_;
  std::string lost;
  for (const auto& [name, track] : tracks_) {
    const Counted counted = CountedOf(resumed, name);
    if (counted.applied() >= track.durable_sequence) continue;
    // Within a history only a deletion ends a normalizer's progress.
    if (same_history && !counted.known()) continue;
    absl::StrAppend(&lost, lost.empty() ? "" : ", ", name, " updates ",
                    counted.applied() + 1, " to ", track.durable_sequence);
  }
  return lost.empty() ? absl::OkStatus() : HistoryLost(lost);
}

absl::Status ClientSession::SendAgain(const v1::ResumeSessionResponse& resumed,
                                      Clock::time_point deadline) {
  for (const auto& progress : resumed.progress()) {
    Release(progress.name(), progress.durable_sequence());
  }
  std::deque<EntryPtr> again;
  std::vector<EntryPtr> merges;
#ifdef STREAMNORM_PLANT_STAMPED_AGAIN
  for (const auto& progress : resumed.progress()) {
    for (const EntryPtr& entry : buffer_) {
      entry->update_id()->set_generation(progress.generation());
    }
  }
#endif
  for (const EntryPtr& entry : buffer_) {
    const bool missing =
        !CountedOf(resumed, entry->name()).Has(entry->sequence());
    if (missing) tracks_[entry->name()].audit.SentAgain(entry->sequence());
    entry->DropAudit();
    const bool merge =
        std::holds_alternative<v1::MergeMomentsRequest>(entry->request);
    if (merge && missing && (entry->answered || entry->discard)) {
      merges.push_back(entry);
    } else if (!merge && missing && entry->answered) {
      entry->discard = true;
      again.push_back(entry);
    }
    if (merge && !missing && entry->discard) entry->answered = true;
  }
  replayed_updates_ += again.size() + merges.size();
  // Answers come in order, so what was answered is older than what was not.
  again.insert(again.end(), awaiting_.begin(), awaiting_.end());
  again.insert(again.end(), to_send_.begin(), to_send_.end());
  to_send_ = std::move(again);
  awaiting_.clear();
  for (const EntryPtr& entry : merges) {
    const auto response = CallMerge(entry, deadline);
    if (!response.ok() && (IsRetryable(response.status()) || !failed_.ok())) {
      return response.status();
    }
  }
  return absl::OkStatus();
}

absl::Status ClientSession::Fail(absl::Status status) {
  failed_ = status;
  channel_.reset();
  return status;
}

}  // namespace streamnorm
