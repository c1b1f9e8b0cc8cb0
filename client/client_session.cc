#include "client/client_session.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "client/loss_error.h"
#include "client/normalize_channel.h"
#include "client/streamnorm_client.h"

namespace streamnorm {
namespace {

using Stub = v1::NormalizerService::Stub;

absl::Status TimedOut() {
  return absl::DeadlineExceededError(
      "not answered in time; what was sent stays in the session's buffer and "
      "is delivered by the next call: don't send it again");
}

// `status` of what comes before an update is kept: no time left means that
// nothing was sent, which DEADLINE_EXCEEDED would deny.
absl::Status NotKept(const absl::Status& status) {
  if (!absl::IsDeadlineExceeded(status)) return status;
  return absl::UnavailableError(
      "no answer in time to what came before; this was not sent: send it "
      "again later");
}

// True if a refusal by `why` means that rows are gone that the client counts
// on. Those of a deleted normalizer went with it.
bool IsLoss(const OutgoingRequest& update, const absl::Status& why) {
  return update.counts && (update.discard || update.answered) &&
         ErrorReason(why) != "NORMALIZER_NOT_FOUND";
}

// `update`, whose answer nobody waits for, was refused when it was delivered:
// again, after a crash, or at last, after its call had timed out.
absl::Status UpdateLost(const OutgoingRequest& update,
                        const absl::Status& why) {
  return LossError(
      "UPDATE_LOST",
      absl::StrCat(update.name(), " update ", update.sequence(),
                   update.answered ? " was answered, lost in a crash of the "
                                     "server and sent again: "
                                   : " was not answered in time and was "
                                     "delivered later: ",
                   "the server refuses it now: ", why.message(),
                   "; its rows are not counted; open a new session"));
}

// Nobody waits for their answers any more.
void GiveUp(std::span<const OutgoingPtr> merges) {
  for (const OutgoingPtr& merge : merges) {
    if (!merge->answered) merge->discard = true;
  }
}

// The most that one message has: the server's limit.
constexpr size_t kMostMerges = 1024;

// A message of merges that stay where they are: they may be large.
class BorrowedMerges {
 public:
  explicit BorrowedMerges(std::span<const OutgoingPtr> merges) {
    for (const OutgoingPtr& merge : merges) {
      message_.mutable_merges()->UnsafeArenaAddAllocated(
          merge->mutable_merge());
    }
  }
  ~BorrowedMerges() {
    auto* merges = message_.mutable_merges();
    while (!merges->empty()) merges->UnsafeArenaReleaseLast();
  }
  BorrowedMerges(const BorrowedMerges&) = delete;
  BorrowedMerges& operator=(const BorrowedMerges&) = delete;

  const v1::ExchangeMomentsRequest& message() const { return message_; }

 private:
  v1::ExchangeMomentsRequest message_;
};

// True where the session can't go on: someone else has it, or it is gone.
bool EndsSession(const absl::Status& status) {
  const std::string reason = ErrorReason(status);
  return reason == "EPOCH_FENCED" || reason == "SESSION_UNKNOWN" ||
         reason == "HISTORY_LOST" || reason == "ROWS_MISMATCH";
}

}  // namespace

ClientSession::ClientSession(std::shared_ptr<ClientConnection> connection,
                             const v1::OpenSessionResponse& opened)
    : connection_(std::move(connection)),
      server_{opened.history_id(), opened.incarnation()},
      outbox_(opened, connection_->options) {}

ClientSession::ClientSession(std::shared_ptr<ClientConnection> connection,
                             const v1::ResumeSessionResponse& resumed)
    : connection_(std::move(connection)),
      server_{resumed.history_id(), resumed.incarnation()},
      outbox_(resumed, connection_->options) {}

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
  auto outgoing = std::make_shared<OutgoingRequest>(std::move(request));
  if (auto s = CheckSize(outgoing->bytes, "rows"); !s.ok()) return s;
  const size_t most = std::max<size_t>(1, connection_->options.max_in_flight);
  auto status = Pump(deadline, [&] { return outbox_.on_the_way() < most; });
  if (status.ok() && outgoing->counts) {
    status = Prepare({&outgoing, 1}, deadline);
  }
  if (!status.ok()) return NotKept(status);
  outbox_.Add(outgoing);
  last_submitted_ = std::move(outgoing);
  ++answers_due_;
  // Starts the write, and takes what is there.
  status = Pump(SessionChannel::kNoWait, [] { return false; });
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

ClientSession::MergeAnswer ClientSession::MergeMoments(
    v1::MergeMomentsRequest request) {
  const auto merge = std::make_shared<OutgoingRequest>(std::move(request));
  auto answers = Merge({&merge, 1});
  if (!answers.ok()) return answers.status();
  return std::move(answers->front());
}

absl::StatusOr<std::vector<ClientSession::MergeAnswer>>
ClientSession::ExchangeMoments(std::vector<v1::MergeMomentsRequest> requests) {
  if (requests.empty() || requests.size() > kMostMerges) {
    return absl::InvalidArgumentError(absl::StrCat(
        "merges: ", requests.size(), " entries, want 1 to ", kMostMerges));
  }
  std::vector<OutgoingPtr> merges;
  merges.reserve(requests.size());
  for (auto& request : requests) {
    merges.push_back(std::make_shared<OutgoingRequest>(std::move(request)));
  }
  return Merge(merges);
}

absl::StatusOr<std::vector<ClientSession::MergeAnswer>> ClientSession::Merge(
    std::span<const OutgoingPtr> merges) {
  const auto deadline = Deadline();
  if (!failed_.ok()) return failed_;
  size_t bytes = 0;
  for (const OutgoingPtr& merge : merges) bytes += merge->bytes;
  if (auto s = CheckSize(bytes, "merges"); !s.ok()) return s;
  if (auto s = Prepare(merges, deadline); !s.ok()) return NotKept(s);
  if (auto s = ClearLane(deadline); !s.ok()) return NotKept(s);
  for (const OutgoingPtr& merge : merges) outbox_.Add(merge);
  std::vector<MergeAnswer> answers(merges.size(),
                                   absl::UnavailableError("not sent yet"));
  while (true) {
    const auto status = CallMerges(merges, deadline, &answers);
    if (status.ok()) return answers;
    if (!IsRetryable(status)) return status;
    if (auto s = ReconnectAnew(deadline); !s.ok()) {
      GiveUp(merges);
      return s;
    }
  }
}

// Answers on a lane come in order: those to rows first.
absl::Status ClientSession::ClearLane(Clock::time_point deadline) {
  if (connection_->lane.empty()) return absl::OkStatus();
  if (channel_ == nullptr && first_connection_) {
    if (auto s = Reconnect(deadline); !s.ok()) return s;
  }
  return PumpAll(deadline);
}

absl::Status ClientSession::CallMerges(std::span<const OutgoingPtr> merges,
                                       Clock::time_point deadline,
                                       std::vector<MergeAnswer>* answers) {
  std::vector<OutgoingPtr> open;
  std::vector<MergeAnswer*> answers_of_open;
  for (size_t i = 0; i < merges.size(); ++i) {
    if (!IsRetryable((*answers)[i].status())) continue;
    open.push_back(merges[i]);
    answers_of_open.push_back(&(*answers)[i]);
    outbox_.Stamp(merges[i].get());
  }
  auto sent = SendMerges(open, deadline);
  if (absl::IsDeadlineExceeded(sent.status())) {
    GiveUp(open);
    return TimedOut();
  }
  absl::Status result = sent.status();
  for (size_t i = 0; i < open.size(); ++i) {
    MergeAnswer answer =
        sent.ok() ? std::move((*sent)[i]) : MergeAnswer(sent.status());
    const absl::Status noted = Note(open[i], answer);
    if (!failed_.ok()) return failed_;
    if (result.ok()) result = noted;
    *answers_of_open[i] = std::move(answer);
  }
  return result;
}

// Over the lane, if it is there and nothing else is on it.
template <typename Request, typename Response>
absl::Status ClientSession::CallMoments(
    LaneMethod method,
    grpc::Status (v1::NormalizerService::Stub::*grpc_method)(
        grpc::ClientContext*, const Request&, Response*),
    const Request& request, Clock::time_point deadline, Response* response) {
  if (!uses_lane()) {
    grpc::ClientContext context;
    context.set_deadline(ToSystemTime(deadline));
    return FromGrpc(
        ((*connection_->stub).*grpc_method)(&context, request, response));
  }
  const absl::Status status = lane_->Call(method, request, response, deadline);
  // An answer that comes too late would be taken for that of the next request.
  if (absl::IsDeadlineExceeded(status)) channel_.reset();
  return status;
}

absl::StatusOr<std::vector<ClientSession::MergeAnswer>>
ClientSession::SendMerges(std::span<const OutgoingPtr> merges,
                          Clock::time_point deadline) {
  std::vector<MergeAnswer> answers;
  if (merges.size() == 1) {
    v1::MergeMomentsResponse response;
    const absl::Status status =
        CallMoments(LaneMethod::kMergeMoments, &Stub::MergeMoments,
                    merges.front()->merge(), deadline, &response);
    if (!status.ok()) return status;
    answers.emplace_back(std::move(response));
    return answers;
  }
  const BorrowedMerges request(merges);
  v1::ExchangeMomentsResponse response;
  const absl::Status status =
      CallMoments(LaneMethod::kExchangeMoments, &Stub::ExchangeMoments,
                  request.message(), deadline, &response);
  if (!status.ok()) return status;
  if (static_cast<size_t>(response.merges_size()) != merges.size()) {
    return absl::InternalError("the server did not answer every merge");
  }
  for (auto& merge : *response.mutable_merges()) {
    if (merge.status().code() == 0) {
      answers.emplace_back(std::move(merge));
    } else {
      answers.emplace_back(FromRpcStatus(merge.status()));
    }
  }
  return answers;
}

absl::Status ClientSession::Note(const OutgoingPtr& merge,
                                 const MergeAnswer& answer) {
  if (answer.ok()) {
    backoff_ = std::chrono::milliseconds(0);
    outbox_.Accepted(merge, UpdateAnswer(*answer));
    return absl::OkStatus();
  }
  const absl::Status& status = answer.status();
  if (IsRetryable(status)) return status;
  if (EndsSession(status)) return Fail(status);
  outbox_.Refused(merge);
  if (IsLoss(*merge, status)) return Fail(UpdateLost(*merge, status));
  return absl::OkStatus();
}

absl::StatusOr<std::string> ClientSession::Barrier() {
  const auto deadline = Deadline();
  while (true) {
    if (auto s = PumpAll(deadline); !s.ok()) return s;
    const auto barrier = CallBarrier(deadline);
    if (barrier.ok() && outbox_.empty()) return barrier->token();
    if (!barrier.ok() && !IsRetryable(barrier.status())) {
      return barrier.status();
    }
    // The server is away, or another one than the one that answered: ask what
    // it has, and send the rest again.
    if (auto s = ReconnectAnew(deadline); !s.ok()) return s;
  }
}

absl::StatusOr<v1::BarrierResponse> ClientSession::CallBarrier(
    Clock::time_point deadline) {
  grpc::ClientContext context;
  context.set_deadline(ToSystemTime(deadline));
  v1::BarrierResponse response;
  const absl::Status status = FromGrpc(
      connection_->stub->Barrier(&context, outbox_.MakeBarrier(), &response));
  if (EndsSession(status)) return Fail(status);
  if (!status.ok()) return status;
  outbox_.BarrierDone(response);
  return response;
}

absl::Status ClientSession::Close() {
  if (auto s = Barrier().status(); !s.ok()) return s;
  v1::CloseSessionRequest request;
  request.set_session(outbox_.session());
  request.set_epoch(outbox_.epoch());
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

// Before an update.

absl::Status ClientSession::CheckSize(size_t bytes,
                                      absl::string_view what) const {
  const uint64_t limit = connection_->max_message_bytes;
  if (limit == 0 || bytes <= limit) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat("input: a request of ", bytes, " bytes, want at most ",
                   limit, "; send fewer ", what,
                   " at a time, or raise the server's --max_message_bytes"));
}

absl::Status ClientSession::Prepare(std::span<const OutgoingPtr> updates,
                                    Clock::time_point deadline) {
  if (auto s = WaitForRoom(updates, deadline); !s.ok()) return s;
  for (const OutgoingPtr& update : updates) {
    if (auto s = LearnGeneration(update->name(), deadline); !s.ok()) return s;
  }
  return absl::OkStatus();
}

// An update names the generation it was made in. Where the normalizer doesn't
// exist yet (--auto_create), the first update goes without, and the second one
// waits for its answer.
absl::Status ClientSession::LearnGeneration(const std::string& name,
                                            Clock::time_point deadline) {
  if (outbox_.KnowsGeneration(name)) return absl::OkStatus();
  if (outbox_.HasUpdates(name)) {
    auto s = Pump(deadline, [&] {
      return outbox_.KnowsGeneration(name) || outbox_.on_the_way() == 0;
    });
    if (!s.ok() || outbox_.KnowsGeneration(name)) return s;
  }
  v1::GetNormalizerRequest request;
  request.set_name(name);
  v1::Normalizer normalizer;
  const auto status =
      CallWithRetry(*connection_, deadline, [&](grpc::ClientContext* context) {
        return connection_->stub->GetNormalizer(context, request, &normalizer);
      });
  if (absl::IsNotFound(status)) return absl::OkStatus();
  if (status.ok()) outbox_.LearnGeneration(name, normalizer.generation());
  return status;
}

absl::Status ClientSession::WaitForRoom(std::span<const OutgoingPtr> updates,
                                        Clock::time_point deadline) {
  const auto room = [&] { return outbox_.HasRoom(updates); };
  while (!room()) {
    auto s =
        Pump(deadline, [&] { return room() || outbox_.on_the_way() == 0; });
    if (!s.ok()) return s;
    if (room()) break;
    // Everything is answered; the disk is what is waited for.
    const auto barrier = CallBarrier(deadline);
    if (barrier.ok() && room()) break;
    if (!barrier.ok() && !IsRetryable(barrier.status())) {
      return barrier.status();
    }
    if (s = ReconnectAnew(deadline); !s.ok()) return s;
  }
  return absl::OkStatus();
}

// The wire.

template <typename Done>
absl::Status ClientSession::Pump(Clock::time_point deadline, Done done) {
  while (!done()) {
    if (!failed_.ok()) return failed_;
    if (channel_ == nullptr) {
      if (auto s = Reconnect(deadline); !s.ok()) return s;
    }
    if (outbox_.HasNext() && channel_->can_write()) {
      channel_->Write(outbox_.TakeNext()->mutable_normalize());
    }
    absl::Status status;
    switch (channel_->Wait(deadline)) {
      case SessionChannel::Event::kProgress:
        break;
      case SessionChannel::Event::kAnswer:
        status = HandleAnswer(channel_->answer());
        break;
      case SessionChannel::Event::kBroken:
        status = HandleBroken();
        break;
      case SessionChannel::Event::kTimeout:
        return TimedOut();
    }
    if (!status.ok()) return status;
  }
  return failed_;
}

absl::Status ClientSession::PumpAll(Clock::time_point deadline) {
  return Pump(deadline, [&] { return outbox_.on_the_way() == 0; });
}

absl::Status ClientSession::HandleAnswer(
    const v1::NormalizeResponse& response) {
  const OutgoingPtr request = outbox_.oldest_unanswered();
  if (request == nullptr) {
    return Fail(absl::InternalError("the server answered what was not asked"));
  }
  if (!response.has_status() || response.status().code() == 0) {
    backoff_ = std::chrono::milliseconds(0);
    outbox_.Accepted(request, UpdateAnswer(response));
    Deliver(*request, response);
    return absl::OkStatus();
  }
  absl::Status status = FromRpcStatus(response.status());
  if (EndsSession(status)) return Fail(std::move(status));
  if (IsRetryable(status)) {
    // Counted or not, it can't tell: ask again.
    channel_.reset();
    return absl::OkStatus();
  }
  outbox_.Refused(request);
  if (IsLoss(*request, status)) return Fail(UpdateLost(*request, status));
  Deliver(*request, std::move(status));
  return absl::OkStatus();
}

void ClientSession::Deliver(const OutgoingRequest& request,
                            absl::StatusOr<v1::NormalizeResponse> answer) {
  if (!request.discard) answers_.push_back(std::move(answer));
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
    OpenChannel();
    return absl::OkStatus();
  }
  if (deadline == SessionChannel::kNoWait) return TimedOut();
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

absl::Status ClientSession::ReconnectAnew(Clock::time_point deadline) {
  channel_.reset();
  first_connection_ = false;
  return Reconnect(deadline);
}

absl::Status ClientSession::TryResume(Clock::time_point deadline) {
  v1::ResumeSessionRequest request;
  request.set_session(outbox_.session());
  v1::ResumeSessionResponse resumed;
  grpc::ClientContext context;
  context.set_deadline(ToSystemTime(deadline));
  if (auto s = FromGrpc(
          connection_->stub->ResumeSession(&context, request, &resumed));
      !s.ok()) {
    return s;
  }
  ++reconnects_;
  server_ = {resumed.history_id(), resumed.incarnation()};
  const auto merges = outbox_.Resume(resumed);
  if (!merges.ok()) return merges.status();
  for (const OutgoingPtr& merge : *merges) {
    std::vector<MergeAnswer> answer(1, absl::UnavailableError("not sent yet"));
    const auto status = CallMerges({&merge, 1}, deadline, &answer);
    if (IsRetryable(status) || !failed_.ok()) return status;
  }
  OpenChannel();
  return absl::OkStatus();
}

// Over the lane if that is to be had, else over gRPC.
void ClientSession::OpenChannel() {
  lane_ = nullptr;
  channel_.reset();
  if (!connection_->lane.empty()) {
    auto lane = LaneChannel::Connect(connection_->lane, server_);
    if (lane.ok()) {
      lane_ = lane->get();
      channel_ = *std::move(lane);
      return;
    }
  }
  channel_ = std::make_unique<NormalizeChannel>(connection_->stub.get());
}

absl::Status ClientSession::Fail(absl::Status status) {
  failed_ = status;
  channel_.reset();
  return status;
}

}  // namespace streamnorm
