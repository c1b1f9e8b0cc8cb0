#ifndef STREAMNORM_CLIENT_OUTBOX_H_
#define STREAMNORM_CLIENT_OUTBOX_H_

#include <cstddef>
#include <cstdint>
#include <deque>
#include <map>
#include <set>
#include <span>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "client/client_options.h"
#include "client/outgoing_request.h"
#include "client/rows_audit.h"
#include "streamnorm/v1/normalizer_service.pb.h"

namespace streamnorm {

// What an answer says of an update; `Response` is that of Normalize or of
// MergeMoments.
struct UpdateAnswer {
  template <typename Response>
  explicit UpdateAnswer(const Response& response)
      : generation(response.generation()),
        counted_rows(response.counted_rows()),
        durable_sequence(response.durable_sequence()),
        duplicate(response.duplicate()) {}

  uint64_t generation;
  uint64_t counted_rows;
  uint64_t durable_sequence;
  bool duplicate;
};

// The client's half of the protocol of docs/durability.md: numbers the updates
// of a session, keeps each until it is on the server's disk, and knows what is
// to be sent, and sent again.
//
// It does no I/O, never waits and has no clock: its holder carries the requests
// and says what became of them. ClientSession does so over gRPC, the simulation
// (tests/server/simulation_test.cc) over a network that fails by a seed.
//
// Normalize requests go through its queue, TakeNext to Accepted or Refused. A
// MergeMoments is a call of its own that its holder makes, or an entry of one
// (ExchangeMoments).
//
// Not thread safe.
class Outbox {
 public:
  Outbox(const v1::OpenSessionResponse& opened, const ClientOptions& options);

  // Goes on from the token of a Barrier.
  Outbox(const v1::ResumeSessionResponse& resumed,
         const ClientOptions& options);

  const std::string& session() const { return session_; }
  uint64_t epoch() const { return epoch_; }

  // The generation that the next update of `name` is born in. Not known: the
  // normalizer doesn't exist yet (--auto_create), or nobody asked. Then only
  // its first update can be added, and its answer tells.
  bool KnowsGeneration(const std::string& name) const;
  bool HasUpdates(const std::string& name) const;
  void LearnGeneration(const std::string& name, uint64_t generation);

  // Whether an update of `name` of `bytes` may be added, or all of `updates`.
  // There is room once all that was added is durable or skipped.
  bool HasRoom(const std::string& name, size_t bytes) const;
  bool HasRoom(std::span<const OutgoingPtr> updates) const;

  // Takes a request over; an update gets its number and is kept.
  void Add(const OutgoingPtr& request);

  // Normalize requests on the way: to be sent, or sent and not answered.
  size_t on_the_way() const { return to_send_.size() + awaiting_.size(); }
  bool HasNext() const { return !to_send_.empty(); }

  // The next one, as it is to go out. REQUIRES: HasNext().
  OutgoingPtr TakeNext();

  // The one that was sent first of those without an answer; null if none.
  OutgoingPtr oldest_unanswered() const;

  // To be called before each time an update is sent: names the epoch.
  void Stamp(OutgoingRequest* request) const;

  // The answer to `request` came: it was counted, or consumed.
  void Accepted(const OutgoingPtr& request, const UpdateAnswer& answer);

  // It was refused: not counted. No other update gets its number, so that a
  // restarted job gives its steps the same numbers as before, and the next
  // Barrier skips it, perhaps unheard.
  void Refused(const OutgoingPtr& request);

  // REQUIRES: on_the_way() == 0, for both. After BarrierDone the token is good
  // if nothing is kept; else another server than the one that answered has lost
  // something.
  v1::BarrierRequest MakeBarrier() const;
  void BarrierDone(const v1::BarrierResponse& response);

  // The session was taken over after a broken connection. What the server does
  // not have, and what was not answered, is in the queue again, in its old
  // order. Returns the MergeMoments that nobody is calling and are to be called
  // again. DATA_LOSS naming the range if the server lost what it had promised.
  absl::StatusOr<std::vector<OutgoingPtr>> Resume(
      const v1::ResumeSessionResponse& resumed);

  // Updates that are kept.
  size_t size() const { return kept_.size(); }
  bool empty() const { return kept_.empty(); }

  // Updates of `name` up to this one were told to be on disk.
  uint64_t durable_sequence(const std::string& name) const;

  // Updates sent again because the server had lost them.
  uint64_t replayed_updates() const { return replayed_updates_; }

 private:
  // Numbering of one normalizer.
  struct Track {
    uint64_t next_sequence = 1;
    std::set<uint64_t> refused;  // to be skipped
    uint64_t generation = 0;     // 0 = not known
    uint64_t durable_sequence = 0;
    RowsAudit audit;
  };

  bool InWindow(const std::string& name, size_t updates) const;
  bool InBuffer(size_t updates, size_t bytes) const;
  void Number(OutgoingRequest* update);
  void Release(const std::string& name, uint64_t durable_sequence);
  absl::Status CheckNothingLost(const v1::ResumeSessionResponse& resumed) const;
  std::vector<OutgoingPtr> QueueMissing(
      const v1::ResumeSessionResponse& resumed);

  const ClientOptions options_;
  std::string session_;
  uint64_t epoch_ = 0;
  std::string history_id_;

  std::map<std::string, Track> tracks_;  // by name
  std::deque<OutgoingPtr> kept_;         // updates, oldest first
  size_t kept_bytes_ = 0;

  std::deque<OutgoingPtr> to_send_;
  std::deque<OutgoingPtr> awaiting_;  // sent, oldest first
  uint64_t replayed_updates_ = 0;
};

}  // namespace streamnorm

#endif  // STREAMNORM_CLIENT_OUTBOX_H_
