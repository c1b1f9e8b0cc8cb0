#include "server/session_handler.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "server/barrier_token.h"
#include "server/errors.h"
#include "server/logging.h"
#include "server/validation.h"
#include "server/wire.h"
#include "storage/kill_point.h"

namespace streamnorm {
namespace {

// Clears away a session that is on disk as ended; its rows stay. In this order,
// and not before: wherever a crash cuts it off, no ledger is left without its
// session, and no session comes back without its ledgers.
void Forget(const Session& session, Registry* registry, CommitQueue* queue) {
  STREAMNORM_KILL_POINT("session_end.on_disk");
  for (const std::string& id : session.normalizers()) {
    const auto normalizer = registry->Find(id);
    if (normalizer.ok()) (*normalizer)->DropLedger(session.id());
    STREAMNORM_KILL_POINT("session_end.ledger_dropped");
  }
  // A damaged normalizer may have a ledger of it: then the record stays until
  // a start finds none damaged.
  if (registry->quarantined().empty()) queue->DeleteSession(session.id());
  STREAMNORM_KILL_POINT("session_end.forgotten");
}

void LogExpired(const Session& session, std::chrono::seconds timeout) {
  Log(LogLevel::kInfo, "session_expired",
      {{"session", HexOf(session.id().bytes)},
       {"client", session.client()},
       {"normalizers", session.normalizers().size()},
       {"idle_timeout_s", timeout.count()}});
}

}  // namespace

SessionHandler::SessionHandler(const HistoryId& history_id,
                               uint64_t incarnation, Registry* registry,
                               SessionTable* sessions, CommitQueue* queue,
                               const Committer* committer)
    : history_id_(history_id),
      incarnation_(incarnation),
      registry_(registry),
      sessions_(sessions),
      queue_(queue),
      committer_(committer) {}

void SessionHandler::OpenSession(const v1::OpenSessionRequest& request,
                                 v1::OpenSessionResponse* response, Done done) {
  constexpr size_t kMaxClientBytes = 256;
  if (auto s = committer_->AcceptingUpdates(); !s.ok()) return done(s);
  if (request.client().size() > kMaxClientBytes) {
    return done(InvalidField("client",
                             absl::StrCat(request.client().size(), " bytes"),
                             absl::StrCat("at most ", kMaxClientBytes)));
  }
  const auto record = sessions_->Open(request.client(), queue_);
  if (!record.ok()) return done(record.status());
  response->set_session(IdBytes(record->id.bytes));
  response->set_epoch(record->epoch);
  response->set_history_id(IdBytes(history_id_));
  response->set_incarnation(incarnation_);
  queue_->WhenDurable(std::move(done));
}

void SessionHandler::ResumeSession(const v1::ResumeSessionRequest& request,
                                   v1::ResumeSessionResponse* response,
                                   Done done) {
  if (auto s = DoResume(request, response); !s.ok()) return done(s);
  queue_->WhenDurable(std::move(done));
}

absl::Status SessionHandler::DoResume(const v1::ResumeSessionRequest& request,
                                      v1::ResumeSessionResponse* response) {
  if (auto s = committer_->AcceptingUpdates(); !s.ok()) return s;
  BarrierToken token;
  if (!request.token().empty() && !request.session().empty()) {
    return InvalidField("token", "set beside session", "one of the two");
  }
  if (!request.token().empty()) {
    auto decoded = DecodeToken(request.token());
    if (!decoded.ok()) return decoded.status();
    token = *std::move(decoded);
    if (token.history_id != history_id_) {
      return MakeError(Reason::kHistoryLost,
                       "token: of another history, this store was restored "
                       "or lost data since; start the job from a checkpoint "
                       "made with this store");
    }
  } else {
    const auto id = ParseSessionId("session", request.session());
    if (!id.ok()) return id.status();
    token.session = *id;
  }
  const auto session = sessions_->Find(token.session);
  if (!session.ok()) return session.status();
  // The old epoch ends here; then the ledgers are read. See Normalizer::Admit.
  const auto record = (*session)->RaiseEpoch(queue_);
  if (!record.ok()) return record.status();
  STREAMNORM_KILL_POINT("resume.epoch_raised");
  response->set_session(IdBytes(token.session.bytes));
  response->set_epoch(record->epoch);
  response->set_history_id(IdBytes(history_id_));
  response->set_incarnation(incarnation_);
  for (const std::string& id : (*session)->normalizers()) {
    const auto normalizer = registry_->Find(id);
    if (!normalizer.ok()) continue;  // deleted, or not served
    const auto progress = (*normalizer)->SessionProgress(token.session);
    if (!progress) continue;
    auto* proto = response->add_progress();
    ToProto(id, *progress, proto);
    const auto at = token.sequences.find(id);
    if (at == token.sequences.end()) continue;
    proto->set_token_sequence(at->second);
    if (progress->applied_sequence < at->second) {
      return MakeError(
          Reason::kHistoryLost,
          absl::StrCat("token: knows ", NormalizerName(id), " up to sequence ",
                       at->second, ", this store up to ",
                       progress->applied_sequence));
    }
  }
  return absl::OkStatus();
}

absl::StatusOr<std::shared_ptr<Session>> SessionHandler::FindSession(
    const std::string& session_bytes, uint64_t epoch) const {
  const auto id = ParseSessionId("session", session_bytes);
  if (!id.ok()) return id.status();
  auto session = sessions_->Find(*id);
  if (!session.ok()) return session;
  if (auto s = (*session)->Use(epoch); !s.ok()) return s;
  return session;
}

void SessionHandler::CloseSession(const v1::CloseSessionRequest& request,
                                  google::protobuf::Empty*, Done done) {
  const auto session = DoClose(request);
  if (!session.ok()) return done(session.status());
  queue_->WhenDurable([session = *session, registry = registry_, queue = queue_,
                       done = std::move(done)](absl::Status status) {
    if (!status.ok()) return done(std::move(status));
    Forget(*session, registry, queue);
    queue->WhenDurable(done);
  });
}

absl::StatusOr<std::shared_ptr<Session>> SessionHandler::DoClose(
    const v1::CloseSessionRequest& request) {
  if (auto s = committer_->AcceptingUpdates(); !s.ok()) return s;
  auto session = FindSession(request.session(), request.epoch());
  if (!session.ok()) return session;
  if (auto s = (*session)->End(request.epoch(), queue_); !s.ok()) return s;
  STREAMNORM_KILL_POINT("session_end.ended");
  sessions_->Remove((*session)->id());
  return session;
}

size_t SessionHandler::ExpireIdleSessions(std::chrono::seconds timeout,
                                          size_t at_most) {
  if (!committer_->AcceptingUpdates().ok()) return 0;
  std::vector<std::shared_ptr<Session>> expired;
  for (auto& session : sessions_->Idle(timeout, at_most)) {
    // Else used, or ended, meanwhile.
    if (session->EndIfIdle(timeout, queue_)) {
      sessions_->Remove(session->id());
      LogExpired(*session, timeout);
      expired.push_back(std::move(session));
    }
  }
  const size_t count = expired.size();
  if (count == 0) return 0;
  queue_->WhenDurable([expired = std::move(expired), registry = registry_,
                       queue = queue_](const absl::Status& status) {
    if (!status.ok()) return;
    for (const auto& session : expired) Forget(*session, registry, queue);
  });
  return count;
}

absl::Status SessionHandler::SkipSequences(
    const v1::BarrierRequest& request,
    const std::shared_ptr<Session>& session) const {
  for (int i = 0; i < request.skipped_size(); ++i) {
    const auto& skipped = request.skipped(i);
    // No session can have more that are free.
    if (skipped.sequences_size() > static_cast<int>(kSequenceWindow)) {
      return InvalidField(absl::StrCat("skipped[", i, "].sequences"),
                          absl::StrCat(skipped.sequences_size(), " numbers"),
                          absl::StrCat("at most ", kSequenceWindow));
    }
    const auto normalizer = FindNormalizer(*registry_, skipped.name());
    if (absl::IsNotFound(normalizer.status())) continue;  // deleted
    if (!normalizer.ok()) return normalizer.status();
    if (auto s = (*normalizer)
                     ->SkipSequences(session, request.epoch(),
                                     {skipped.sequences().begin(),
                                      skipped.sequences().end()});
        !s.ok()) {
      return s;
    }
  }
  return absl::OkStatus();
}

absl::Status SessionHandler::CheckSentRows(const v1::BarrierRequest& request,
                                           const SessionId& session) const {
  for (const auto& sent : request.sent()) {
    const auto normalizer = FindNormalizer(*registry_, sent.name());
    if (absl::IsNotFound(normalizer.status())) continue;  // deleted
    if (!normalizer.ok()) return normalizer.status();
    if (auto s = (*normalizer)
                     ->CheckSentRows(session, {sent.generation(),
                                               sent.sequence(), sent.rows()});
        !s.ok()) {
      return s;
    }
  }
  return absl::OkStatus();
}

uint64_t SessionHandler::TokenSequence(const v1::BarrierRequest& request,
                                       const std::string& name,
                                       uint64_t applied_sequence) {
#ifdef STREAMNORM_PLANT_TOKEN_IS_APPLIED
  return applied_sequence;
#endif
  for (const auto& used : request.used()) {
    if (used.name() == name) return std::min(applied_sequence, used.sequence());
  }
  return applied_sequence;
}

void SessionHandler::Barrier(const v1::BarrierRequest& request,
                             v1::BarrierResponse* response, Done done) {
  const auto session = FindSession(request.session(), request.epoch());
  if (!session.ok()) return done(session.status());
  if (auto s = SkipSequences(request, *session); !s.ok()) return done(s);
  if (auto s = CheckSentRows(request, (*session)->id()); !s.ok()) {
    return done(s);
  }
  BarrierToken token;
  token.history_id = history_id_;
  token.session = (*session)->id();
  for (const std::string& id : (*session)->normalizers()) {
    const auto normalizer = registry_->Find(id);
    if (!normalizer.ok()) continue;
    const auto progress = (*normalizer)->SessionProgress(token.session);
    if (!progress) continue;
    token.sequences[id] =
        TokenSequence(request, NormalizerName(id), progress->applied_sequence);
    ToProto(id, *progress, response->add_progress());
  }
  response->set_token(EncodeToken(token));
  queue_->WhenDurable([this, response, session_id = token.session,
                       done = std::move(done)](absl::Status status) {
    for (auto& progress : *response->mutable_progress()) {
      const auto normalizer = FindNormalizer(*registry_, progress.name());
      if (!normalizer.ok()) continue;
      uint64_t durable = (*normalizer)->DurableSequence(session_id);
#ifndef STREAMNORM_PLANT_DURABLE_BEYOND_TOKEN
      // An update that came meanwhile is on disk too, but not in the token. A
      // client that took this for its answer would keep a token without it.
      durable = std::min(durable, progress.applied_sequence());
#endif
      progress.set_durable_sequence(durable);
    }
    done(std::move(status));
  });
}

}  // namespace streamnorm
