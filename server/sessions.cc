#include "server/sessions.h"

#include <algorithm>
#include <cassert>
#include <limits>
#include <random>
#include <utility>

#include "absl/strings/str_cat.h"
#include "server/clock.h"
#include "server/errors.h"

namespace streamnorm {
namespace {

SessionId RandomSessionId() {
  SessionId id;
  std::random_device random;  // getrandom(2): not to be guessed
  for (uint8_t& byte : id.bytes) byte = static_cast<uint8_t>(random());
  return id;
}

// No epoch of a client is ever this.
constexpr uint64_t kFenced = std::numeric_limits<uint64_t>::max();

absl::Status UnknownSession() {
  return MakeError(Reason::kSessionUnknown,
                   "session: not known to this store (it was closed, or "
                   "belongs to another store); open a new one with "
                   "OpenSession");
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

Session::Session(const SessionRecord& record)
    : id_(record.id),
      client_(record.client),
      create_time_us_(record.create_time_us),
      epoch_(record.epoch) {}

absl::StatusOr<SessionRecord> Session::RaiseEpoch() {
  MutexLock lock(&mu_);  // against AddNormalizer
  if (epoch() == kFenced) return UnknownSession();
  epoch_.fetch_add(1, std::memory_order_acq_rel);
  return ToRecord();
}

void Session::Fence() {
  MutexLock lock(&mu_);
  epoch_.store(kFenced, std::memory_order_release);
}

bool Session::AddNormalizer(const std::string& normalizer_id, uint64_t epoch) {
  MutexLock lock(&mu_);
  if (epoch != epoch_.load(std::memory_order_relaxed)) return false;
  normalizers_.insert(normalizer_id);
  return true;
}

std::vector<std::string> Session::normalizers() const {
  MutexLock lock(&mu_);
  return {normalizers_.begin(), normalizers_.end()};
}

SessionRecord Session::ToRecord() const {
  return {id_, epoch(), client_, create_time_us_};
}

std::shared_ptr<Session> SessionTable::Restore(const SessionRecord& record) {
  auto session = std::make_shared<Session>(record);
  WriterLock lock(&mu_);
  sessions_[record.id] = session;
  return session;
}

absl::StatusOr<std::shared_ptr<Session>> SessionTable::Open(
    const std::string& client) {
  auto session = std::make_shared<Session>(
      SessionRecord{RandomSessionId(), 1, client, NowMicros()});
  WriterLock lock(&mu_);
  if (sessions_.size() >= max_sessions_) {
    return LimitExceeded("sessions", absl::StrCat(sessions_.size() + 1),
                         absl::StrCat("at most ", max_sessions_),
                         "--max_sessions");
  }
  sessions_[session->id()] = session;
  return session;
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

void SessionTable::Remove(const SessionId& id) {
  WriterLock lock(&mu_);
  sessions_.erase(id);
}

size_t SessionTable::size() const {
  ReaderLock lock(&mu_);
  return sessions_.size();
}

}  // namespace streamnorm
