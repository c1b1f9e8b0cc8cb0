#ifndef STREAMNORM_SERVER_SNAPSHOT_HANDLER_H_
#define STREAMNORM_SERVER_SNAPSHOT_HANDLER_H_

#include <cstdint>
#include <functional>

#include "absl/status/status.h"
#include "google/protobuf/empty.pb.h"
#include "server/commit_queue.h"
#include "server/committer.h"
#include "server/registry.h"
#include "streamnorm/v1/snapshot.pb.h"

namespace streamnorm {

// What the RPCs of snapshots do, without gRPC: create, get, list, delete. (What
// is answered with the statistics of one is Handler's.)
//
// Safe for concurrent use; `done`, request and response as in Handler.
class SnapshotHandler {
 public:
  using Done = std::function<void(absl::Status)>;

  // All pointers outlive it.
  SnapshotHandler(uint64_t max_message_bytes, Registry* registry,
                  CommitQueue* queue, const Committer* committer);

  void CreateSnapshot(const v1::CreateSnapshotRequest& request,
                      v1::Snapshot* response, Done done);
  void GetSnapshot(const v1::GetSnapshotRequest& request,
                   v1::Snapshot* response, Done done);
  void ListSnapshots(const v1::ListSnapshotsRequest& request,
                     v1::ListSnapshotsResponse* response, Done done);
  void DeleteSnapshot(const v1::DeleteSnapshotRequest& request,
                      google::protobuf::Empty* response, Done done);

 private:
  // Each does one RPC up to the point where only the disk is missing.
  absl::Status DoCreate(const v1::CreateSnapshotRequest& request,
                        v1::Snapshot* response);
  absl::Status DoGet(const v1::GetSnapshotRequest& request,
                     v1::Snapshot* response) const;
  absl::Status DoList(const v1::ListSnapshotsRequest& request,
                      v1::ListSnapshotsResponse* response) const;
  absl::Status DoDelete(const v1::DeleteSnapshotRequest& request);

  const uint64_t max_message_bytes_;
  Registry* const registry_;
  CommitQueue* const queue_;
  const Committer* const committer_;
};

}  // namespace streamnorm

#endif  // STREAMNORM_SERVER_SNAPSHOT_HANDLER_H_
