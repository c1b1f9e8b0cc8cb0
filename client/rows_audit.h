#ifndef STREAMNORM_CLIENT_ROWS_AUDIT_H_
#define STREAMNORM_CLIENT_ROWS_AUDIT_H_

#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>

#include "streamnorm/v1/normalizer_service.pb.h"

namespace streamnorm {

// How many rows one normalizer should have of a session, by the answers the
// session got: what rows_sent_total is made of (normalizer_service.proto says
// when it may be told). Knows nothing rather than something wrong: an answer
// that was lost, or a duplicate's, leaves the sum in doubt until a Barrier.
// Not thread safe.
class RowsAudit {
 public:
  // An update got its number and is kept until it is durable; its answer came;
  // it is sent again, so its answer is void; it was refused and its number is
  // free; it is durable and no longer kept.
  void Sent(uint64_t sequence);
  void Answered(uint64_t sequence, uint64_t generation, uint64_t counted_rows,
                bool duplicate);
  void SentAgain(uint64_t sequence);
  void Refused(uint64_t sequence);
  void Released(uint64_t sequence);

  // Goes on from what the server has, `last_sequence` being the last one that
  // was ever used; in doubt if the server has others, or updates are kept.
  void GoOnFrom(const v1::SessionProgress& progress, uint64_t last_sequence);

  // The rows that all updates so far counted in `generation`, if that is known.
  std::optional<uint64_t> Rows(uint64_t generation) const;

  uint64_t generation() const { return generation_; }

 private:
  struct Answer {
    uint64_t generation = 0;
    uint64_t rows = 0;
  };

  void Subtract(const Answer& answer);

  std::map<uint64_t, std::optional<Answer>> kept_;  // by sequence
  size_t unanswered_ = 0;                           // of them
  uint64_t generation_ = 0;                         // 0 = no answer yet
  uint64_t rows_ = 0;                               // counted in it
  bool certain_ = true;
};

}  // namespace streamnorm

#endif  // STREAMNORM_CLIENT_ROWS_AUDIT_H_
