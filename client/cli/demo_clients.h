#ifndef STREAMNORM_CLIENT_CLI_DEMO_CLIENTS_H_
#define STREAMNORM_CLIENT_CLI_DEMO_CLIENTS_H_

#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <functional>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "absl/status/status.h"
#include "client/cli/demo_rows.h"
#include "client/streamnorm_client.h"

namespace streamnorm {

// Training jobs at work: threads that each have a connection and a session of
// their own and send their share of the rows, two at a time, in an order that
// mixes the streams. Safe for concurrent use.
class DemoClients {
 public:
  static constexpr size_t kRowsPerBatch = 2;

  // They begin at once. `streams` outlives this; their row counts are even.
  DemoClients(const std::string& address, size_t clients,
              const std::vector<DemoRows>* streams);

  // Stops them and waits.
  ~DemoClients();
  DemoClients(const DemoClients&) = delete;
  DemoClients& operator=(const DemoClients&) = delete;

  // Waits until so many rows are answered. CANCELLED once `stop()`, or what
  // went wrong in a client.
  absl::Status WaitForAnswers(uint64_t rows, const std::function<bool()>& stop);

  // Waits for the end of all, everything on disk.
  absl::Status WaitForEnd(const std::function<bool()>& stop);

  uint64_t total_rows() const { return kRowsPerBatch * batches_.size(); }

  struct Totals {
    uint64_t rows_answered = 0;
    uint64_t updates_sent_again = 0;
    uint64_t reconnects = 0;

    // Between two answers to whomever.
    std::chrono::steady_clock::duration longest_silence{};
  };
  Totals totals();

 private:
  struct Batch {
    const DemoRows* stream;
    size_t first_row;
  };

  void Run(size_t client);
  absl::Status SendShare(size_t client);
  absl::Status Send(ClientSession* session, const Batch& batch);
  absl::Status ReceiveDownTo(ClientSession* session, size_t in_flight);
  template <typename Call>
  absl::Status Patiently(Call call);
  void CountAnswer();
  bool stopped();

  const std::string address_;
  const size_t clients_;
  std::vector<Batch> batches_;

  std::mutex mutex_;  // guards what follows
  std::condition_variable changed_;
  bool stop_ = false;
  size_t running_ = 0;
  absl::Status failure_;  // the first one
  Totals totals_;
  std::chrono::steady_clock::time_point last_answer_{};

  std::vector<std::thread> threads_;
};

}  // namespace streamnorm

#endif  // STREAMNORM_CLIENT_CLI_DEMO_CLIENTS_H_
