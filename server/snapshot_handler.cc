#include "server/snapshot_handler.h"

#include <algorithm>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "server/errors.h"
#include "server/validation.h"
#include "server/wire.h"

namespace streamnorm {

SnapshotHandler::SnapshotHandler(uint64_t max_message_bytes, Registry* registry,
                                 CommitQueue* queue, const Committer* committer)
    : max_message_bytes_(max_message_bytes),
      registry_(registry),
      queue_(queue),
      committer_(committer) {}

void SnapshotHandler::CreateSnapshot(const v1::CreateSnapshotRequest& request,
                                     v1::Snapshot* response, Done done) {
  if (auto s = DoCreate(request, response); !s.ok()) return done(s);
  queue_->WhenDurable(std::move(done));
}

absl::Status SnapshotHandler::DoCreate(const v1::CreateSnapshotRequest& request,
                                       v1::Snapshot* response) {
  if (auto s = committer_->AcceptingUpdates(); !s.ok()) return s;
  const auto id = ParseName("parent", request.parent());
  if (!id.ok()) return id.status();
  if (auto s = CheckId("snapshot_id", request.snapshot_id()); !s.ok()) return s;
  const auto normalizer = registry_->Find(*id);
  if (!normalizer.ok()) return normalizer.status();
  const auto snapshot = registry_->CreateSnapshot(
      normalizer->get(), request.snapshot_id(), request.revision());
  if (!snapshot.ok()) return snapshot.status();
  ToProto(**snapshot, (*normalizer)->schema_hash(), response);
  return absl::OkStatus();
}

void SnapshotHandler::GetSnapshot(const v1::GetSnapshotRequest& request,
                                  v1::Snapshot* response, Done done) {
  done(DoGet(request, response));
}

absl::Status SnapshotHandler::DoGet(const v1::GetSnapshotRequest& request,
                                    v1::Snapshot* response) const {
  const auto name = ParseSnapshotName("name", request.name());
  if (!name.ok()) return name.status();
  const auto normalizer = registry_->Find(name->normalizer);
  if (!normalizer.ok()) return normalizer.status();
  const auto snapshot =
      (*normalizer)->FindSnapshot(name->snapshot, /*schema_hash=*/0);
  if (!snapshot.ok()) return snapshot.status();
  ToProto(**snapshot, (*normalizer)->schema_hash(), response);
  return absl::OkStatus();
}

void SnapshotHandler::ListSnapshots(const v1::ListSnapshotsRequest& request,
                                    v1::ListSnapshotsResponse* response,
                                    Done done) {
  done(DoList(request, response));
}

absl::Status SnapshotHandler::DoList(
    const v1::ListSnapshotsRequest& request,
    v1::ListSnapshotsResponse* response) const {
  constexpr int32_t kDefaultPage = 100;
  constexpr int32_t kLargestPage = 1000;
  const auto id = ParseName("parent", request.parent());
  if (!id.ok()) return id.status();
  if (request.page_size() < 0) {
    return InvalidField("page_size", absl::StrCat(request.page_size()),
                        "0 to 1000");
  }
  // The token is the name of the page's last snapshot.
  std::string after;
  if (!request.page_token().empty()) {
    auto last = ParseSnapshotName("page_token", request.page_token());
    if (!last.ok()) return last.status();
    after = std::move(last->snapshot);
  }
  const auto normalizer = registry_->Find(*id);
  if (!normalizer.ok()) return normalizer.status();
  const int32_t wanted =
      request.page_size() == 0 ? kDefaultPage : request.page_size();
  const auto size = static_cast<size_t>(std::min(wanted, kLargestPage));
  auto page = (*normalizer)->ListSnapshots(after, size + 1);
  bool more = page.size() > size;
  if (more) page.pop_back();
  // A prior may have a million numbers, as in ListNormalizers.
  size_t bytes = 0;
  for (const SharedSnapshot& snapshot : page) {
    v1::Snapshot described;
    ToProto(*snapshot, (*normalizer)->schema_hash(), &described);
    bytes += described.ByteSizeLong();
    if (bytes > max_message_bytes_ && response->snapshots_size() > 0) {
      more = true;
      break;
    }
    *response->add_snapshots() = std::move(described);
  }
  if (more) {
    response->set_next_page_token(response->snapshots().rbegin()->name());
  }
  return absl::OkStatus();
}

void SnapshotHandler::DeleteSnapshot(const v1::DeleteSnapshotRequest& request,
                                     google::protobuf::Empty*, Done done) {
  const absl::Status status = DoDelete(request);
  // That it is gone may not be on disk yet: an earlier try was just taken.
  const bool gone = absl::IsNotFound(status) && request.allow_missing();
  if (!status.ok() && !gone) return done(status);
  queue_->WhenDurable(std::move(done));
}

absl::Status SnapshotHandler::DoDelete(
    const v1::DeleteSnapshotRequest& request) {
  if (auto s = committer_->AcceptingUpdates(); !s.ok()) return s;
  const auto name = ParseSnapshotName("name", request.name());
  if (!name.ok()) return name.status();
  const auto normalizer = registry_->Find(name->normalizer);
  if (!normalizer.ok()) return normalizer.status();
  return registry_->DeleteSnapshot(normalizer->get(), name->snapshot);
}

}  // namespace streamnorm
