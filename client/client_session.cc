#include "client/client_session.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "client/loss_error.h"
#include "client/normalize_channel.h"
#include "client/streamnorm_client.h"

namespace streamnorm {
namespace {

absl::Status TimedOut() {
  return absl::DeadlineExceededError(
      "not answered in time; what was sent stays in the session's buffer and "
      "is delivered by the next call: don't send it again");
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
  const uint64_t limit = connection_->max_message_bytes;
  if (limit != 0 && outgoing->bytes > limit) {
    return absl::InvalidArgumentError(absl::StrCat(
        "input: a request of ", outgoing->bytes, " bytes, want at most ", limit,
        "; send fewer rows at a time, or raise the server's "
        "--max_message_bytes"));
  }
  const size_t most = std::max<size_t>(1, connection_->options.max_in_flight);
  auto status = Pump(deadline, [&] { return outbox_.on_the_way() < most; });
  if (status.ok() && outgoing->counts) status = Prepare(*outgoing, deadline);
  if (!status.ok()) return status;
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

absl::StatusOr<v1::MergeMomentsResponse> ClientSession::MergeMoments(
    v1::MergeMomentsRequest request) {
  const auto deadline = Deadline();
  const auto merge = std::make_shared<OutgoingRequest>(std::move(request));
  if (!failed_.ok()) return failed_;
  if (auto s = Prepare(*merge, deadline); !s.ok()) return s;
  outbox_.Add(merge);
  while (true) {
    auto response = CallMerge(merge, deadline);
    if (response.ok() || !IsRetryable(response.status())) return response;
    if (auto s = ReconnectAnew(deadline); !s.ok()) {
      merge->discard = true;
      return s;
    }
  }
}

absl::StatusOr<v1::MergeMomentsResponse> ClientSession::CallMerge(
    const OutgoingPtr& merge, Clock::time_point deadline) {
  outbox_.Stamp(merge.get());
  grpc::ClientContext context;
  context.set_deadline(ToSystemTime(deadline));
  v1::MergeMomentsResponse response;
  const absl::Status status = FromGrpc(
      connection_->stub->MergeMoments(&context, merge->merge(), &response));
  if (status.ok()) {
    backoff_ = std::chrono::milliseconds(0);
    outbox_.Accepted(merge, UpdateAnswer(response));
    return response;
  }
  if (absl::IsDeadlineExceeded(status)) {
    merge->discard = true;
    return TimedOut();
  }
  if (IsRetryable(status)) return status;
  if (EndsSession(status)) return Fail(status);
  outbox_.Refused(merge);
  if (IsLoss(*merge, status)) return Fail(UpdateLost(*merge, status));
  return status;
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

absl::Status ClientSession::Prepare(const OutgoingRequest& update,
                                    Clock::time_point deadline) {
  if (auto s = WaitForRoom(update, deadline); !s.ok()) return s;
  return LearnGeneration(update.name(), deadline);
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

absl::Status ClientSession::WaitForRoom(const OutgoingRequest& update,
                                        Clock::time_point deadline) {
  const auto room = [&] {
    return outbox_.HasRoom(update.name(), update.bytes);
  };
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
    const auto response = CallMerge(merge, deadline);
    if (!response.ok() && (IsRetryable(response.status()) || !failed_.ok())) {
      return response.status();
    }
  }
  OpenChannel();
  return absl::OkStatus();
}

// Over the lane if that is to be had, else over gRPC.
void ClientSession::OpenChannel() {
  lane_ = nullptr;
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
