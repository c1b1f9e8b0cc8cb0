#ifndef STREAMNORM_TESTS_BATTERY_LOAD_H_
#define STREAMNORM_TESTS_BATTERY_LOAD_H_

#include <atomic>
#include <chrono>
#include <cstdint>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "client/streamnorm_client.h"
#include "tests/battery/integer_rows.h"
#include "tests/battery/raw_client.h"

namespace streamnorm {

// Clients that work on a few normalizers until they are stopped, whatever
// happens to the server: half of them raw, half with the client library and
// many updates on the wire. Knows exactly what must have been counted.
class Load {
 public:
  struct Options {
    int raw_clients = 2;
    int sessions = 2;
    uint64_t seed = 0;
  };

  // Makes the normalizers and starts. The server is there.
  Load(const std::string& address, const Options& options);

  // Gives up what was not finished: the server may be gone for good.
  ~Load();

  // Answers so far.
  uint64_t answered() const { return answered_; }

  // True once a client saw a promise broken: no need to go on.
  bool complained() const { return complained_; }

  // Waits until `more` further answers came; false if they took too long.
  bool WaitForAnswers(uint64_t more, std::chrono::milliseconds patience) const;

  // Lets the clients finish (the server must be there) and holds what was
  // counted against what was sent. Reports every difference to gtest.
  void FinishAndCheck();

  uint64_t resent() const { return resent_; }
  uint64_t repeated() const { return repeated_; }
  uint64_t rows() const { return rows_; }

 private:
  struct Result {
    SumsByName sent;
    uint64_t resent = 0, repeated = 0;
    std::vector<std::string> complaints;
  };

  void RunRaw(uint64_t seed, Result* result);
  void RunSession(uint64_t seed, Result* result);
  void Check(const SumsByName& sent) const;

  const std::string address_;
  const Options options_;
  std::vector<std::string> ids_;
  std::unique_ptr<Client> client_;
  std::atomic<bool> stop_{false}, abandoned_{false}, complained_{false};
  std::atomic<uint64_t> answered_{0};
  std::vector<Result> results_;
  std::vector<std::thread> threads_;
  uint64_t resent_ = 0, repeated_ = 0, rows_ = 0;
};

}  // namespace streamnorm

#endif  // STREAMNORM_TESTS_BATTERY_LOAD_H_
