#include "client/rows_audit.h"

namespace streamnorm {

void RowsAudit::Sent(uint64_t sequence) {
  kept_[sequence] = std::nullopt;
  ++unanswered_;
}

void RowsAudit::Answered(uint64_t sequence, uint64_t generation,
                         uint64_t counted_rows, bool duplicate) {
  if (generation > generation_) {
    // Nothing that was sent before this answer names the new generation, so
    // nothing of it counts there; but for a first update, which names none.
    if (generation_ != 0) certain_ = true;
    generation_ = generation;
    rows_ = 0;
  }
  const auto it = kept_.find(sequence);
  if (duplicate || it == kept_.end() || it->second) return;
  it->second = Answer{generation, counted_rows};
  --unanswered_;
  if (generation == generation_) rows_ += counted_rows;
}

void RowsAudit::SentAgain(uint64_t sequence) {
  const auto it = kept_.find(sequence);
  if (it == kept_.end() || !it->second) return;
  Subtract(*it->second);
  it->second.reset();
  ++unanswered_;
}

void RowsAudit::Refused(uint64_t sequence) {
  SentAgain(sequence);
  unanswered_ -= kept_.erase(sequence);
}

void RowsAudit::Released(uint64_t sequence) {
  const auto it = kept_.find(sequence);
  if (it == kept_.end()) return;
  if (!it->second) {
    certain_ = false;
    --unanswered_;
  }
  kept_.erase(it);
}

void RowsAudit::GoOnFrom(const v1::SessionProgress& progress,
                         uint64_t last_sequence) {
  certain_ = kept_.empty() && progress.applied_sequence() == last_sequence &&
             progress.window().empty();
  generation_ = progress.generation();
  rows_ = progress.rows();
}

std::optional<uint64_t> RowsAudit::Rows(uint64_t generation) const {
  const bool known = certain_ && unanswered_ == 0 && generation != 0 &&
                     generation == generation_;
  return known ? std::optional<uint64_t>(rows_) : std::nullopt;
}

void RowsAudit::Subtract(const Answer& answer) {
  if (answer.generation == generation_) rows_ -= answer.rows;
}

}  // namespace streamnorm
