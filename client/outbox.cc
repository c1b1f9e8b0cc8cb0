#include "client/outbox.h"

#include <algorithm>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "client/counted.h"
#include "client/loss_error.h"

namespace streamnorm {
namespace {

// How far beyond the last sequence up to which all are counted the server takes
// a number (normalizer_service.proto, UpdateId.sequence).
constexpr uint64_t kSequenceWindow = 1024;

// The server lost what it had promised. `lost` names it.
absl::Status HistoryLost(const std::string& lost) {
  return LossError(
      "HISTORY_LOST",
      absl::StrCat(
          "the server lost what it had on disk and this client no longer has: ",
          lost, "; open a new session, and send these rows again if you can"));
}

}  // namespace

Outbox::Outbox(const v1::OpenSessionResponse& opened,
               const ClientOptions& options)
    : options_(options),
      session_(opened.session()),
      epoch_(opened.epoch()),
      history_id_(opened.history_id()) {}

Outbox::Outbox(const v1::ResumeSessionResponse& resumed,
               const ClientOptions& options)
    : options_(options),
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

// Numbering.

bool Outbox::KnowsGeneration(const std::string& name) const {
  const auto it = tracks_.find(name);
  return it != tracks_.end() && it->second.generation != 0;
}

bool Outbox::HasUpdates(const std::string& name) const {
  const auto it = tracks_.find(name);
  return it != tracks_.end() && it->second.next_sequence > 1;
}

void Outbox::LearnGeneration(const std::string& name, uint64_t generation) {
  Track& track = tracks_[name];
  track.generation = std::max(track.generation, generation);
}

uint64_t Outbox::durable_sequence(const std::string& name) const {
  const auto it = tracks_.find(name);
  return it == tracks_.end() ? 0 : it->second.durable_sequence;
}

bool Outbox::HasRoom(const std::string& name, size_t bytes) const {
  return InWindow(name, 1) && InBuffer(1, bytes);
}

bool Outbox::HasRoom(std::span<const OutgoingPtr> updates) const {
  std::map<std::string, size_t> updates_of;
  size_t bytes = 0;
  for (const OutgoingPtr& update : updates) {
    ++updates_of[update->name()];
    bytes += update->bytes;
  }
  return InBuffer(updates.size(), bytes) &&
         std::all_of(
             updates_of.begin(), updates_of.end(),
             [this](const auto& of) { return InWindow(of.first, of.second); });
}

bool Outbox::InBuffer(size_t updates, size_t bytes) const {
  return kept_.empty() ||
         (kept_.size() + updates <= options_.max_buffered_updates &&
          kept_bytes_ + bytes <= options_.max_buffered_bytes);
}

// Also after a crash that took all that is kept.
bool Outbox::InWindow(const std::string& name, size_t updates) const {
  const auto it = tracks_.find(name);
  if (it == tracks_.end()) return updates <= kSequenceWindow;
  const Track& track = it->second;
  const uint64_t last = track.next_sequence + updates - 1;
  if (last <= track.durable_sequence + kSequenceWindow) return true;
  uint64_t lowest = track.next_sequence;
  if (!track.refused.empty()) lowest = *track.refused.begin();
  const auto oldest = std::find_if(
      kept_.begin(), kept_.end(),
      [&](const OutgoingPtr& update) { return update->name() == name; });
  if (oldest != kept_.end()) lowest = std::min(lowest, (*oldest)->sequence());
  return last < lowest + kSequenceWindow;
}

void Outbox::Add(const OutgoingPtr& request) {
  if (request->counts) {
    Number(request.get());
    kept_.push_back(request);
    kept_bytes_ += request->bytes;
    tracks_[request->name()].audit.Sent(request->sequence());
  }
  if (!request->IsMerge()) to_send_.push_back(request);
}

void Outbox::Number(OutgoingRequest* update) {
  Track& track = tracks_[update->name()];
  update->DropAudit();  // whatever the caller put there
  const auto rows = track.audit.Rows(track.generation);
  // It would not be looked at behind a number that is open.
  if (rows && track.refused.empty()) update->Audit(*rows);
  v1::UpdateId* id = update->mutable_update_id();
  id->set_session(session_);
  id->set_epoch(epoch_);
  id->set_sequence(track.next_sequence++);
#ifdef STREAMNORM_PLANT_NUMBER_GIVEN_AGAIN
  if (!track.refused.empty()) {
    id->set_sequence(*track.refused.begin());
    track.refused.erase(track.refused.begin());
    --track.next_sequence;
  }
#endif
  id->set_generation(track.generation);
}

// On the way.

OutgoingPtr Outbox::TakeNext() {
  OutgoingPtr request = std::move(to_send_.front());
  to_send_.pop_front();
  Stamp(request.get());
  awaiting_.push_back(request);
  return request;
}

OutgoingPtr Outbox::oldest_unanswered() const {
  return awaiting_.empty() ? nullptr : awaiting_.front();
}

void Outbox::Stamp(OutgoingRequest* request) const {
  if (request->counts) request->mutable_update_id()->set_epoch(epoch_);
}

void Outbox::Accepted(const OutgoingPtr& request, const UpdateAnswer& answer) {
  std::erase(awaiting_, request);
  request->answered = true;
  if (!request->counts) return;
  Track& track = tracks_[request->name()];
  track.generation = std::max(track.generation, answer.generation);
#ifdef STREAMNORM_PLANT_RELEASED_ON_ANSWER
  Release(request->name(), request->sequence());
#endif
  track.audit.Answered(request->sequence(), answer.generation,
                       answer.counted_rows, answer.duplicate);
  // Looking through all that is kept pays only when the disk moved on.
  if (answer.durable_sequence > track.durable_sequence ||
      request->sequence() <= track.durable_sequence) {
    Release(request->name(), answer.durable_sequence);
  }
}

void Outbox::Refused(const OutgoingPtr& request) {
  std::erase(awaiting_, request);
  if (!request->counts) return;
  Track& track = tracks_[request->name()];
  track.audit.Refused(request->sequence());
  if (track.generation != 0) {
    track.refused.insert(request->sequence());
  } else {
    // Of a normalizer that doesn't exist: only number 1 goes without one.
    track.next_sequence = 1;
  }
  if (std::erase(kept_, request) != 0) kept_bytes_ -= request->bytes;
}

void Outbox::Release(const std::string& name, uint64_t durable_sequence) {
  Track& track = tracks_[name];
  track.durable_sequence = std::max(track.durable_sequence, durable_sequence);
  std::erase_if(kept_, [&](const OutgoingPtr& update) {
    const bool release = update->answered &&
                         update->sequence() <= track.durable_sequence &&
                         update->name() == name;
    if (release) kept_bytes_ -= update->bytes;
    if (release) track.audit.Released(update->sequence());
    return release;
  });
}

// Barrier.

v1::BarrierRequest Outbox::MakeBarrier() const {
  v1::BarrierRequest request;
  request.set_session(session_);
  request.set_epoch(epoch_);
  for (const auto& [name, track] : tracks_) {
    if (track.refused.empty()) continue;
    auto* skipped = request.add_skipped();
    skipped->set_name(name);
    skipped->mutable_sequences()->Assign(track.refused.begin(),
                                         track.refused.end());
  }
  for (const auto& [name, track] : tracks_) {
    auto* used = request.add_used();
    used->set_name(name);
    used->set_sequence(track.next_sequence - 1);
    const auto rows = track.audit.Rows(track.generation);
    if (!rows) continue;
    auto* sent = request.add_sent();
    sent->set_name(name);
    sent->set_generation(track.generation);
    sent->set_sequence(track.next_sequence - 1);
    sent->set_rows(*rows);
  }
  return request;
}

void Outbox::BarrierDone(const v1::BarrierResponse& response) {
  for (auto& [name, track] : tracks_) track.refused.clear();
  for (const auto& progress : response.progress()) {
    Release(progress.name(), progress.durable_sequence());
    Track& track = tracks_[progress.name()];
    track.audit.GoOnFrom(progress, track.next_sequence - 1);
  }
}

// After a broken connection.

absl::StatusOr<std::vector<OutgoingPtr>> Outbox::Resume(
    const v1::ResumeSessionResponse& resumed) {
  if (auto s = CheckNothingLost(resumed); !s.ok()) return s;
  epoch_ = resumed.epoch();
  history_id_ = resumed.history_id();
  for (const auto& progress : resumed.progress()) {
    Release(progress.name(), progress.durable_sequence());
  }
#ifdef STREAMNORM_PLANT_STAMPED_AGAIN
  for (const auto& progress : resumed.progress()) {
    for (const OutgoingPtr& update : kept_) {
      if (update->name() != progress.name()) continue;
      update->mutable_update_id()->set_generation(progress.generation());
    }
  }
#endif
  return QueueMissing(resumed);
}

absl::Status Outbox::CheckNothingLost(
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

std::vector<OutgoingPtr> Outbox::QueueMissing(
    const v1::ResumeSessionResponse& resumed) {
  std::deque<OutgoingPtr> queue;
  std::vector<OutgoingPtr> merges;
  for (const OutgoingPtr& update : kept_) {
    const bool missing =
        !CountedOf(resumed, update->name()).Has(update->sequence());
    if (missing) tracks_[update->name()].audit.SentAgain(update->sequence());
    update->DropAudit();
    const bool abandoned = update->answered || update->discard;
    if (update->IsMerge()) {
      if (missing && abandoned) merges.push_back(update);
      if (!missing && update->discard) update->answered = true;
    } else if (missing && update->answered) {
      update->discard = true;
      queue.push_back(update);
    }
  }
  replayed_updates_ += queue.size() + merges.size();
  // What was on its way for a second time is in `queue` if it has to be.
  const auto answered = [](const OutgoingPtr& r) { return r->answered; };
  std::erase_if(awaiting_, answered);
  std::erase_if(to_send_, answered);
  // Answers come in order, so what was answered is older than what was not.
  queue.insert(queue.end(), awaiting_.begin(), awaiting_.end());
  queue.insert(queue.end(), to_send_.begin(), to_send_.end());
  to_send_ = std::move(queue);
  awaiting_.clear();
  return merges;
}

}  // namespace streamnorm
