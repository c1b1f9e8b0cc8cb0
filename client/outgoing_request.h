#ifndef STREAMNORM_CLIENT_OUTGOING_REQUEST_H_
#define STREAMNORM_CLIENT_OUTGOING_REQUEST_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <variant>

#include "streamnorm/v1/normalizer_service.pb.h"

namespace streamnorm {

// One request of a session on its way.
struct OutgoingRequest {
  explicit OutgoingRequest(v1::NormalizeRequest normalize);
  explicit OutgoingRequest(v1::MergeMomentsRequest merge);

  std::variant<v1::NormalizeRequest, v1::MergeMomentsRequest> request;
  size_t bytes = 0;
  bool counts = false;    // an update, with a sequence number
  bool answered = false;  // not refused
  bool discard = false;   // nobody waits for its answer

  bool IsMerge() const;
  const v1::NormalizeRequest& normalize() const;
  v1::NormalizeRequest* mutable_normalize();
  const v1::MergeMomentsRequest& merge() const;
  v1::MergeMomentsRequest* mutable_merge();

  const std::string& name() const;  // of the normalizer
  const v1::UpdateId& update_id() const;
  v1::UpdateId* mutable_update_id();
  uint64_t sequence() const { return update_id().sequence(); }

  // Tells the server what it should have with this update, or nothing.
  void Audit(uint64_t rows_before);
  void DropAudit();
};

using OutgoingPtr = std::shared_ptr<OutgoingRequest>;

}  // namespace streamnorm

#endif  // STREAMNORM_CLIENT_OUTGOING_REQUEST_H_
