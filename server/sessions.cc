#include "server/sessions.h"

#include <algorithm>
#include <cassert>
#include <random>
#include <utility>

#include "absl/strings/str_cat.h"
#include "server/errors.h"

namespace streamnorm {
namespace {

SessionId RandomSessionId() {
  SessionId id;
  std::random_device random;  // getrandom(2): not to be guessed
  for (uint8_t& byte : id.bytes) byte = static_cast<uint8_t>(random());
  return id;
}

absl::Status UnknownSession() {
  return MakeError(Reason::kSessionUnknown,
                   "session: not known to this store (it was closed, expired "
                   "after --session_idle_timeout_s without use, or belongs to "
                   "another store); open a new one with OpenSession");
}

absl::Status TooManyLedgers(uint64_t limit) {
  return LimitExceeded(
      "ledgers of all sessions (one per session and normalizer it updates)",
      absl::StrCat(limit + 1),
      absl::StrCat("at most ", limit,
                   "; close sessions that ended, or use one session per "
                   "process"),
      "--max_ledgers");
}

}  // namespace

Ledger::Ledger(const LedgerRecord& record)
    : applied_sequence_(record.applied_sequence),
      window_(record.window),
      rows_(record.rows),
      durable_sequence_(record.applied_sequence) {}

Ledger::Verdict Ledger::Check(uint64_t sequence) const {
  if (sequence <= applied_sequence_) return Verdict::kCounted;
  const uint64_t ahead = sequence - applied_sequence_ - 1;
  if (ahead >= kSequenceWindow) return Verdict::kOutOfWindow;
  return window_.test(ahead) ? Verdict::kCounted : Verdict::kNew;
}

bool Ledger::Conflicts(uint64_t sequence, uint64_t epoch,
                       uint32_t fingerprint) const {
  if (fingerprints_.empty() || epoch != fingerprint_epoch_) return false;
  if (sequence + kSequenceWindow <= applied_sequence_) return false;
  const uint32_t known = fingerprints_[sequence % fingerprints_.size()];
  return known != 0 && known != fingerprint;
}

void Ledger::Count(uint64_t sequence, uint64_t epoch, uint32_t fingerprint,
                   uint64_t rows) {
  assert(Check(sequence) == Verdict::kNew);
  // Sequences applied - 1023 .. applied + 1024 are in use: twice the window.
  fingerprints_.resize(2 * kSequenceWindow);
  if (fingerprint_epoch_ != epoch) {
    std::fill(fingerprints_.begin(), fingerprints_.end(), 0);
    fingerprint_epoch_ = epoch;
  }
  fingerprints_[sequence % fingerprints_.size()] = fingerprint;
  rows_ += rows;
  window_.set(sequence - applied_sequence_ - 1);
  while (window_.test(0)) {
    window_ >>= 1;
    ++applied_sequence_;
  }
}

LedgerRecord Ledger::ToRecord(const std::string& normalizer_id,
                              const SessionId& session) const {
  return {normalizer_id, session, applied_sequence_, window_, rows_};
}

void Ledger::PublishDurable(uint64_t sequence) {
  durable_sequence_ = std::max(durable_sequence_, sequence);
}

Session::Session(const SessionRecord& record,
                 std::shared_ptr<SessionEnvironment> environment)
    : environment_(std::move(environment)),
      id_(record.id),
      client_(record.client),
      create_time_us_(record.create_time_us),
      epoch_(record.epoch) {
  Touch();
}

std::shared_ptr<Session> Session::Copy() const {
  return std::make_shared<Session>(ToRecord(), environment_);
}

absl::Status Session::Use(uint64_t epoch) {
  if (auto s = CheckEpoch(epoch); !s.ok()) return s;
  Touch();
  return absl::OkStatus();
}

absl::Status Session::CheckEpoch(uint64_t epoch) const {
  const uint64_t current = epoch_.load(std::memory_order_acquire);
  if (current == kEndedEpoch) return UnknownSession();
  if (current != epoch) return EpochFenced(epoch, current);
  return absl::OkStatus();
}

void Session::Touch() {
  last_use_.store(environment_->now().time_since_epoch().count(),
                  std::memory_order_relaxed);
}

absl::StatusOr<SessionRecord> Session::RaiseEpoch(CommitQueue* queue) {
  // Against AddLedger, and so that no record enters the queue once the session
  // ended: it would come back with the next start, its ledgers would not.
  MutexLock lock(&mu_);
  if (epoch_.load() == kEndedEpoch) return UnknownSession();
  epoch_.fetch_add(1, std::memory_order_acq_rel);
  Touch();
  SessionRecord record = ToRecord();
  queue->AddSession(record);
  return record;
}

absl::Status Session::End(uint64_t epoch, CommitQueue* queue) {
  MutexLock lock(&mu_);
  if (auto s = CheckEpoch(epoch); !s.ok()) return s;
  EndLocked(queue);
  return absl::OkStatus();
}

bool Session::EndIfIdle(std::chrono::seconds timeout, CommitQueue* queue) {
  MutexLock lock(&mu_);
  if (epoch_.load() == kEndedEpoch || !IdleFor(timeout)) return false;
  EndLocked(queue);
  return true;
}

void Session::EndLocked(CommitQueue* queue) {
  epoch_.store(kEndedEpoch, std::memory_order_release);
  queue->AddSession(ToRecord());
}

bool Session::IdleFor(std::chrono::seconds timeout) const {
  using std::chrono::steady_clock;
  const steady_clock::time_point last_use(
      steady_clock::duration(last_use_.load(std::memory_order_relaxed)));
  return environment_->now() - last_use >= timeout;
}

absl::Status Session::AddLedger(const std::string& normalizer_id,
                                uint64_t epoch) {
  MutexLock lock(&mu_);
  if (auto s = CheckEpoch(epoch); !s.ok()) return s;
  if (normalizers_.contains(normalizer_id)) return absl::OkStatus();
  if (!environment_->ledgers.TryTake(1)) {
    return TooManyLedgers(environment_->ledgers.limit());
  }
  normalizers_.insert(normalizer_id);
  return absl::OkStatus();
}

void Session::RestoreLedger(const std::string& normalizer_id) {
  MutexLock lock(&mu_);
  if (!normalizers_.insert(normalizer_id).second) return;
  environment_->ledgers.TakeAnyway(1);
}

void Session::RemoveLedger(const std::string& normalizer_id) {
  MutexLock lock(&mu_);
  if (normalizers_.erase(normalizer_id) == 0) return;
  environment_->ledgers.Release(1);
}

std::vector<std::string> Session::normalizers() const {
  MutexLock lock(&mu_);
  return {normalizers_.begin(), normalizers_.end()};
}

SessionRecord Session::ToRecord() const {
  return {id_, epoch_.load(std::memory_order_acquire), client_,
          create_time_us_};
}

SessionTable::SessionTable(const Options& options)
    : max_sessions_(options.max_sessions),
      environment_(
          new SessionEnvironment{options.now, Quota(options.max_ledgers)}) {}

void SessionTable::Restore(const SessionRecord& record) {
  auto session = std::make_shared<Session>(record, environment_);
  WriterLock lock(&mu_);
  sessions_[record.id] = std::move(session);
}

absl::StatusOr<SessionRecord> SessionTable::Open(const std::string& client,
                                                 CommitQueue* queue) {
  const SessionRecord record{RandomSessionId(), 1, client, NowMicros()};
  auto session = std::make_shared<Session>(record, environment_);
  WriterLock lock(&mu_);
  if (sessions_.size() >= max_sessions_) {
    return LimitExceeded("sessions", absl::StrCat(sessions_.size() + 1),
                         absl::StrCat("at most ", max_sessions_),
                         "--max_sessions");
  }
  sessions_[record.id] = std::move(session);
  queue->AddSession(record);
  return record;
}

absl::StatusOr<std::shared_ptr<Session>> SessionTable::Find(
    const SessionId& id) const {
  ReaderLock lock(&mu_);
  const auto it = sessions_.find(id);
  if (it == sessions_.end()) {
    return UnknownSession();
  }
  return it->second;
}

std::vector<std::shared_ptr<Session>> SessionTable::Idle(
    std::chrono::seconds timeout, size_t at_most) const {
  std::vector<std::shared_ptr<Session>> idle;
  ReaderLock lock(&mu_);
  for (const auto& [id, session] : sessions_) {
    if (idle.size() == at_most) break;
    if (session->IdleFor(timeout)) idle.push_back(session);
  }
  return idle;
}

void SessionTable::Remove(const SessionId& id) {
  WriterLock lock(&mu_);
  sessions_.erase(id);
}

size_t SessionTable::size() const {
  ReaderLock lock(&mu_);
  return sessions_.size();
}

}  // namespace streamnorm
