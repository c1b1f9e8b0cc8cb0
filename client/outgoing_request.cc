#include "client/outgoing_request.h"

#include <utility>

namespace streamnorm {
namespace {

uint64_t RowsOfRequest(const v1::NormalizeRequest& request) {
  const auto& shape = request.input().shape();
  return shape.size() == 1 ? 1 : static_cast<uint64_t>(shape[0]);
}

uint64_t RowsOfRequest(const v1::MergeMomentsRequest& request) {
  return request.count();
}

}  // namespace

OutgoingRequest::OutgoingRequest(v1::NormalizeRequest normalize)
    : request(std::move(normalize)),
      bytes(this->normalize().ByteSizeLong()),
      counts(this->normalize().mode() != v1::NORMALIZE_ONLY) {}

OutgoingRequest::OutgoingRequest(v1::MergeMomentsRequest merge)
    : request(std::move(merge)),
      bytes(this->merge().ByteSizeLong()),
      counts(true) {}

bool OutgoingRequest::IsMerge() const {
  return std::holds_alternative<v1::MergeMomentsRequest>(request);
}

const v1::NormalizeRequest& OutgoingRequest::normalize() const {
  return std::get<v1::NormalizeRequest>(request);
}

v1::NormalizeRequest* OutgoingRequest::mutable_normalize() {
  return &std::get<v1::NormalizeRequest>(request);
}

const v1::MergeMomentsRequest& OutgoingRequest::merge() const {
  return std::get<v1::MergeMomentsRequest>(request);
}

v1::MergeMomentsRequest* OutgoingRequest::mutable_merge() {
  return &std::get<v1::MergeMomentsRequest>(request);
}

const std::string& OutgoingRequest::name() const {
  return std::visit(
      [](const auto& r) -> const std::string& { return r.name(); }, request);
}

const v1::UpdateId& OutgoingRequest::update_id() const {
  return std::visit(
      [](const auto& r) -> const v1::UpdateId& { return r.update_id(); },
      request);
}

v1::UpdateId* OutgoingRequest::mutable_update_id() {
  return std::visit([](auto& r) { return r.mutable_update_id(); }, request);
}

void OutgoingRequest::Audit(uint64_t rows_before) {
  std::visit(
      [&](auto& r) { r.set_rows_sent_total(rows_before + RowsOfRequest(r)); },
      request);
}

void OutgoingRequest::DropAudit() {
  std::visit([](auto& r) { r.clear_rows_sent_total(); }, request);
}

}  // namespace streamnorm
