#ifndef STREAMNORM_TESTS_BATTERY_RAW_CLIENT_H_
#define STREAMNORM_TESTS_BATTERY_RAW_CLIENT_H_

#include <atomic>
#include <chrono>
#include <cstdint>
#include <map>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "streamnorm/v1/normalizer_service.grpc.pb.h"
#include "tests/battery/integer_rows.h"

namespace streamnorm {

// A client of its own making, that shares nothing with the client library but
// the API: one call at a time, some twice, some out of order, some waiting for
// the disk. Checks every answer against what docs/durability.md promises, and
// forgets an update as soon as it is told that it is on disk, so that a promise
// that is not kept can't be mended. Not thread safe.
class RawClient {
 public:
  // Opens a session; the normalizers exist. Complains and does nothing more
  // once `abandoned`.
  RawClient(const std::string& address, uint64_t seed,
            const std::vector<std::string>& names,
            const std::atomic<bool>* abandoned);

  // One update, and whatever it takes to get it answered.
  void Step();

  // Returns when all is on disk.
  void Finish();

  // All it sent, each update once.
  const SumsByName& sent() const { return sent_; }
  uint64_t answered() const { return answered_; }
  uint64_t resent() const { return resent_; }
  uint64_t repeated() const { return repeated_; }

  // Promises that were not kept; empty = none.
  const std::vector<std::string>& complaints() const { return complaints_; }

 private:
  struct Update {
    v1::NormalizeRequest request;
    uint64_t answered_by = 0;  // incarnation
  };
  struct Track {
    uint64_t generation = 0;
    uint64_t next_sequence = 1;
    uint64_t durable_sequence = 0;  // told
    std::map<uint64_t, Update> kept;
  };

  template <typename Request, typename Response>
  grpc::Status Call(grpc::Status (v1::NormalizerService::Stub::*method)(
                        grpc::ClientContext*, const Request&, Response*),
                    const Request& request, Response* response,
                    std::chrono::milliseconds timeout);

  template <typename Request, typename Response>
  void CallUntilAnswered(grpc::Status (v1::NormalizerService::Stub::*method)(
                             grpc::ClientContext*, const Request&, Response*),
                         const Request& request, Response* response);

  uint64_t Make(const std::string& name);
  bool Send(const std::string& name, uint64_t sequence);
  void SendUntilAnswered(const std::string& name, uint64_t sequence);
  void Recover();
  bool TryResume();
  void CheckProgress(const std::string& name, Track* track,
                     const v1::SessionProgress* progress,
                     std::vector<std::pair<std::string, uint64_t>>* missing);
  void ToldDurable(const std::string& name, uint64_t sequence);
  void Complain(const std::string& what);
  bool Chance(unsigned percent) { return random_() % 100 < percent; }

  std::unique_ptr<v1::NormalizerService::Stub> stub_;
  std::mt19937_64 random_;
  const std::atomic<bool>* const abandoned_;
  std::string session_, history_id_;
  uint64_t epoch_ = 0;
  std::map<std::string, Track> tracks_;
  std::vector<std::string> names_;
  SumsByName sent_;
  uint64_t answered_ = 0, resent_ = 0, repeated_ = 0;
  std::vector<std::string> complaints_;
};

}  // namespace streamnorm

#endif  // STREAMNORM_TESTS_BATTERY_RAW_CLIENT_H_
