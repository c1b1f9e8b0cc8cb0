#ifndef STREAMNORM_SERVER_LIMITS_H_
#define STREAMNORM_SERVER_LIMITS_H_

#include <cstdint>

namespace streamnorm {

// Each is set by the server flag of its name; the defaults and their reasons.
struct Limits {
  // 8,192 rows of 1,024 FP32 features are 32 MiB.
  uint64_t max_message_bytes = uint64_t{64} << 20;

  // 2^20 features of state are 48 MiB, about as much as a message carries.
  uint64_t max_features = uint64_t{1} << 20;

  // A million small normalizers take about 1 GiB.
  uint64_t max_normalizers = uint64_t{1} << 20;

  // 48 bytes each, those of snapshots too: 3 GiB of state at most.
  uint64_t max_total_features = uint64_t{1} << 26;

  // Feature names, labels and priors: names of 16 bytes for a third of the
  // features above. As much as a million small normalizers take.
  uint64_t max_total_definition_bytes = uint64_t{1} << 30;

  // Of one normalizer: one for each epoch of a long job. Their memory is
  // bounded by max_total_features, of which each takes as many as its
  // normalizer.
  uint64_t max_snapshots = 100;

  // A few hundred bytes each, besides their ledgers: the processes of a large
  // cluster, each with one.
  uint64_t max_sessions = 10'000;

  // What is known of one session's updates of one normalizer takes up to
  // 8.5 KiB: 1.1 GiB at most, and 13 normalizers for each of 10,000 sessions.
  uint64_t max_ledgers = uint64_t{1} << 17;

  // A week: a job that stops on a Friday evening still resumes from its
  // checkpoint after the weekend and a holiday. 0 = sessions never expire.
  uint64_t session_idle_timeout_s = uint64_t{7} * 24 * 3600;

  // Each has a thread of its own: the processes of one large machine. Further
  // ones go through gRPC.
  uint64_t max_lane_connections = 256;
};

}  // namespace streamnorm

#endif  // STREAMNORM_SERVER_LIMITS_H_
