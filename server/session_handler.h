#ifndef STREAMNORM_SERVER_SESSION_HANDLER_H_
#define STREAMNORM_SERVER_SESSION_HANDLER_H_

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "google/protobuf/empty.pb.h"
#include "server/commit_queue.h"
#include "server/committer.h"
#include "server/registry.h"
#include "server/sessions.h"
#include "storage/records.h"
#include "streamnorm/v1/normalizer_service.pb.h"

namespace streamnorm {

// What the RPCs of a client's session do, without gRPC: open, take over after
// a restart, close, and the token that a job keeps in its checkpoint.
//
// Safe for concurrent use; `done`, request and response as in Handler.
class SessionHandler {
 public:
  using Done = std::function<void(absl::Status)>;

  // All pointers outlive it.
  SessionHandler(const HistoryId& history_id, uint64_t incarnation,
                 Registry* registry, SessionTable* sessions, CommitQueue* queue,
                 const Committer* committer);

  void OpenSession(const v1::OpenSessionRequest& request,
                   v1::OpenSessionResponse* response, Done done);
  void ResumeSession(const v1::ResumeSessionRequest& request,
                     v1::ResumeSessionResponse* response, Done done);
  void CloseSession(const v1::CloseSessionRequest& request,
                    google::protobuf::Empty* response, Done done);
  void Barrier(const v1::BarrierRequest& request, v1::BarrierResponse* response,
               Done done);

  // Ends up to `at_most` sessions that were not used for `timeout`, as
  // CloseSession does; returns how many. None while updates are refused.
  size_t ExpireIdleSessions(std::chrono::seconds timeout, size_t at_most);

 private:
  absl::StatusOr<std::shared_ptr<Session>> FindSession(
      const std::string& session, uint64_t epoch) const;

  // Each does one RPC up to the point where only the disk is missing.
  absl::Status DoResume(const v1::ResumeSessionRequest& request,
                        v1::ResumeSessionResponse* response);
  absl::StatusOr<std::shared_ptr<Session>> DoClose(
      const v1::CloseSessionRequest& request);

  absl::Status SkipSequences(const v1::BarrierRequest& request,
                             const std::shared_ptr<Session>& session) const;
  // How far a job that resumes with the token is to be taken to be.
  static uint64_t TokenSequence(const v1::BarrierRequest& request,
                                const std::string& name,
                                uint64_t applied_sequence);
  absl::Status CheckSentRows(const v1::BarrierRequest& request,
                             const SessionId& session) const;

  const HistoryId history_id_;
  const uint64_t incarnation_;
  Registry* const registry_;
  SessionTable* const sessions_;
  CommitQueue* const queue_;
  const Committer* const committer_;
};

}  // namespace streamnorm

#endif  // STREAMNORM_SERVER_SESSION_HANDLER_H_
