#ifndef STREAMNORM_SERVER_LANE_CONNECTION_H_
#define STREAMNORM_SERVER_LANE_CONNECTION_H_

#include <cstddef>
#include <cstdint>
#include <deque>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "lane/frame.h"
#include "lane/frame_reader.h"
#include "lane/unix_socket.h"
#include "server/handler.h"
#include "server/lane_exchange.h"
#include "server/metrics.h"
#include "server/mutex.h"

namespace streamnorm {

// The requests of all lanes: those of docs/lane.md, and what is none of them.
struct LaneMetrics {
  RpcMetrics normalize{"Normalize"};
  RpcMetrics merge_moments{"MergeMoments"};
  RpcMetrics exchange_moments{"ExchangeMoments"};
  RpcMetrics other{"other"};

  RpcMetrics* Of(LaneMethod method);
};

// One client of the lane, served by one thread: reads a request, does it and
// answers, without handing it to another thread in between. Answers leave in
// the order of the requests; one that waits for the disk holds up those after
// it, but not their updates. A client that doesn't read its answers is not read
// from.
//
// Run is for its thread; the rest is safe for concurrent use.
class LaneConnection {
 public:
  // `handler` and `metrics` outlive it.
  LaneConnection(UniqueFd fd, const LaneHello& hello,
                 uint64_t max_message_bytes, Handler* handler,
                 LaneMetrics* metrics);

  // Serves the client until one of the two ends.
  void Run();

  // Lets Run answer what was received, and return.
  void Drain();

  // Lets Run return as soon as what it waits for is on disk.
  void Cut();

 private:
  struct Entry {
    LaneExchange exchange;
    size_t bytes = 0;  // of request and answer
    RpcMetrics* rpc = nullptr;
    RpcMetrics::Clock::time_point begun;
    bool answered = false;
    absl::Status status;
  };

  absl::Status Greet();
  bool MayRead() const { return !over_ && !IsFull(); }
  bool IsFull() const;
  void HandleReceived();
  void HandleFrame(const FrameReader::Frame& frame);
  void RefuseFrame(const absl::Status& status);
  void Answer(Entry* entry, absl::Status status);
  bool IsAnswered(const Entry& entry);
  void SendAnswered();
  void Send(Entry* entry);
  void Flush();
  void WaitForMore();
  void WaitForAnswerOrMore();
  void Receive(bool block);
  std::unique_ptr<Entry> NewEntry(RpcMetrics* rpc);
  void Recycle(std::unique_ptr<Entry> entry);

  const UniqueFd fd_;
  const UniqueFd wake_;  // an eventfd: an answer that was waited for is there
  const LaneHello hello_;
  Handler* const handler_;
  LaneMetrics* const metrics_;

  FrameReader reader_;
  std::deque<std::unique_ptr<Entry>> pending_;  // unanswered, and all after it
  size_t pending_bytes_ = 0;
  std::vector<std::unique_ptr<Entry>> spare_;
  std::string out_;      // answers that leave together
  bool over_ = false;    // no more is read
  bool broken_ = false;  // no more is sent

  Mutex mu_;  // of Entry::answered and Entry::status
  bool waiting_ ABSL_GUARDED_BY(mu_) = false;
};

}  // namespace streamnorm

#endif  // STREAMNORM_SERVER_LANE_CONNECTION_H_
