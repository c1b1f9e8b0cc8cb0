#ifndef STREAMNORM_TESTS_BATTERY_CHURN_H_
#define STREAMNORM_TESTS_BATTERY_CHURN_H_

#include <atomic>
#include <cstdint>
#include <map>
#include <memory>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "client/streamnorm_client.h"

namespace streamnorm {

// A client that makes normalizers, resets and deletes them, and opens and
// closes sessions, again and again until it is stopped, whatever happens to the
// server. Nobody else touches these normalizers, so after every step it knows
// how many rows there must be.
class Churn {
 public:
  // Starts. The server is there.
  Churn(const std::string& address, uint64_t seed);
  ~Churn();
  Churn(const Churn&) = delete;
  Churn& operator=(const Churn&) = delete;

  // Sessions opened, used and closed so far.
  uint64_t rounds() const { return rounds_; }

  // True once a promise was broken: no need to go on.
  bool complained() const { return complained_; }

  // The server must be there. Reports every broken promise to gtest.
  void FinishAndCheck();

 private:
  void Run();
  absl::Status Round();
  absl::Status Update(ClientSession* session, const std::string& id);
  absl::Status ResetOrDelete(const std::string& id);
  absl::Status Check(const std::string& id);

  const std::string address_;
  std::mt19937_64 random_;
  std::unique_ptr<Client> client_;
  std::map<std::string, uint64_t> rows_;  // of each that exists
  std::atomic<bool> stop_{false}, complained_{false};
  std::atomic<uint64_t> rounds_{0};
  std::vector<std::string> complaints_;  // the thread's, until it is joined
  std::thread thread_;
};

}  // namespace streamnorm

#endif  // STREAMNORM_TESTS_BATTERY_CHURN_H_
