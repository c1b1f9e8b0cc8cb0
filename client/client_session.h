#ifndef STREAMNORM_CLIENT_CLIENT_SESSION_H_
#define STREAMNORM_CLIENT_CLIENT_SESSION_H_

#include <chrono>
#include <cstdint>
#include <deque>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "client/client_options.h"
#include "client/connection.h"
#include "client/lane_channel.h"
#include "client/outbox.h"
#include "client/outgoing_request.h"
#include "client/session_channel.h"
#include "stats/tensor_view.h"
#include "streamnorm/v1/normalizer_service.grpc.pb.h"

namespace streamnorm {

// A series of updates that each count exactly once.
//
// Every update gets a sequence number and is kept until the server says that it
// is on disk. When the connection breaks or the server restarts, the session
// reconnects, asks what was counted and sends again exactly what is missing.
//
// What was counted and what is to be sent again is the business of its Outbox;
// this class carries it: the stream, the waiting, the retries.
//
// Normalize is one update at a time. Submit and Receive keep many on the wire:
// submit ahead, receive the answers in the order of submission.
//
// Errors: an update the server refuses (INVALID_ARGUMENT, ...) is not counted
// and the session goes on. DEADLINE_EXCEEDED means not answered in time: the
// update stays in the buffer and is delivered by a later call; don't send its
// rows again. After DATA_LOSS (the server lost what it had promised, and the
// message names the range; or it has other rows of this session than it told,
// ROWS_MISMATCH; or it refuses to take an answered update again,
// UPDATE_LOST) and ABORTED/EPOCH_FENCED (someone else resumed this
// session) every call fails with that error: open a new session.
//
// Not thread safe. Outlives its Client if need be.
class ClientSession {
 public:
  using Clock = std::chrono::steady_clock;

  // Doesn't wait for the disk; the session stays open on the server, so that
  // what is missing could still be resumed. Call Close to end it.
  ~ClientSession();

  // Counts `rows` in normalizer `id` and answers them normalized. With
  // NORMALIZE_ONLY nothing is counted.
  absl::StatusOr<v1::NormalizeResponse> Normalize(
      absl::string_view id, const TensorView& rows,
      v1::Mode mode = v1::UPDATE_THEN_NORMALIZE);

  // Sends `request`, whose update_id the session fills in. May wait for room.
  absl::Status Submit(v1::NormalizeRequest request);

  // The answer to the oldest submitted request without one.
  // REQUIRES: in_flight() > 0.
  absl::StatusOr<v1::NormalizeResponse> Receive();

  // Submitted requests whose answers were not received.
  size_t in_flight() const { return answers_due_; }

  // Counts rows by their moments; fills in the update_id. Not to be mixed with
  // requests in flight to the same normalizer.
  using MergeAnswer = absl::StatusOr<v1::MergeMomentsResponse>;
  MergeAnswer MergeMoments(v1::MergeMomentsRequest request);

  // Likewise for several normalizers, or several times the same, in one round
  // trip: all layers of a model, say. The answers have the order of the
  // requests, at most 1,024. One that is refused is an error in its place, and
  // the others count. An error of all of them: none counted if it is
  // INVALID_ARGUMENT or RESOURCE_EXHAUSTED, else as of an update.
  absl::StatusOr<std::vector<MergeAnswer>> ExchangeMoments(
      std::vector<v1::MergeMomentsRequest> requests);

  // Waits until everything that was answered is on the server's disk. The
  // token resumes the session from here: store it in the job's checkpoint.
  // REQUIRES: in_flight() == 0.
  absl::StatusOr<std::string> Barrier();

  // Barrier, then ends the session. REQUIRES: in_flight() == 0.
  absl::Status Close();

  // Updates kept for a replay.
  size_t buffered_updates() const { return outbox_.size(); }

  // Updates that were sent again because the server had lost them.
  uint64_t replayed_updates() const { return outbox_.replayed_updates(); }
  uint64_t reconnects() const { return reconnects_; }

  // Requests go over the lane (docs/lane.md) and not over gRPC. False before
  // the first one.
  bool uses_lane() const { return channel_ != nullptr && lane_ != nullptr; }

 private:
  friend class Client;

  ClientSession(std::shared_ptr<ClientConnection> connection,
                const v1::OpenSessionResponse& opened);
  ClientSession(std::shared_ptr<ClientConnection> connection,
                const v1::ResumeSessionResponse& resumed);

  Clock::time_point Deadline() const;

  // What Outbox needs before it can take updates.
  absl::Status CheckSize(size_t bytes, absl::string_view what) const;
  absl::Status Prepare(std::span<const OutgoingPtr> updates,
                       Clock::time_point deadline);
  absl::Status WaitForRoom(std::span<const OutgoingPtr> updates,
                           Clock::time_point deadline);
  absl::Status LearnGeneration(const std::string& name,
                               Clock::time_point deadline);

  // Moves requests and answers until `done` or the deadline; reconnects.
  template <typename Done>
  absl::Status Pump(Clock::time_point deadline, Done done);
  absl::Status PumpAll(Clock::time_point deadline);
  absl::Status HandleAnswer(const v1::NormalizeResponse& response);
  absl::Status HandleBroken();
  void Deliver(const OutgoingRequest& request,
               absl::StatusOr<v1::NormalizeResponse> answer);

  void OpenChannel();
  absl::Status Reconnect(Clock::time_point deadline);
  absl::Status TryResume(Clock::time_point deadline);
  absl::Status ReconnectAnew(Clock::time_point deadline);

  // Merges that are called until all are answered or refused.
  absl::StatusOr<std::vector<MergeAnswer>> Merge(
      std::span<const OutgoingPtr> merges);

  // Calls those whose answer is not known yet, which is UNAVAILABLE, and fills
  // it in. Not OK: an error of all of them, or one of those is still to be
  // called again.
  absl::Status CallMerges(std::span<const OutgoingPtr> merges,
                          Clock::time_point deadline,
                          std::vector<MergeAnswer>* answers);

  // Puts merges on the wire, and nothing else does. All are refused if the
  // result is an error.
  absl::Status ClearLane(Clock::time_point deadline);
  template <typename Request, typename Response>
  absl::Status CallMoments(
      LaneMethod method,
      grpc::Status (v1::NormalizerService::Stub::*grpc_method)(
          grpc::ClientContext*, const Request&, Response*),
      const Request& request, Clock::time_point deadline, Response* response);
  absl::StatusOr<std::vector<MergeAnswer>> SendMerges(
      std::span<const OutgoingPtr> merges, Clock::time_point deadline);

  // Notes what became of a merge; returns the error that ends the session, or
  // that makes it necessary to call again.
  absl::Status Note(const OutgoingPtr& merge, const MergeAnswer& answer);
  absl::StatusOr<v1::BarrierResponse> CallBarrier(Clock::time_point deadline);
  absl::Status Fail(absl::Status status);

  const std::shared_ptr<ClientConnection> connection_;
  ServerIdentity server_;
  Outbox outbox_;
  absl::Status failed_;  // not OK: for good

  std::deque<absl::StatusOr<v1::NormalizeResponse>> answers_;
  size_t answers_due_ = 0;
  OutgoingPtr last_submitted_;

  std::unique_ptr<SessionChannel> channel_;  // null: to be connected
  LaneChannel* lane_ = nullptr;              // channel_, where it is a lane
  bool first_connection_ = true;
  std::chrono::milliseconds backoff_{0};
  uint64_t reconnects_ = 0;
};

}  // namespace streamnorm

#endif  // STREAMNORM_CLIENT_CLIENT_SESSION_H_
