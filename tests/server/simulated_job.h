#ifndef STREAMNORM_TESTS_SERVER_SIMULATED_JOB_H_
#define STREAMNORM_TESTS_SERVER_SIMULATED_JOB_H_

#include <cstdint>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "client/outbox.h"
#include "tests/server/simulated_server.h"

namespace streamnorm {

inline constexpr int kSimNormalizers = 2;
std::string SimNormalizerName(int normalizer);

// One update that a job makes, and makes again when it is restarted. Its values
// add up to a power of two that no other update has, so that a sum tells which
// updates are in it.
struct SimStep {
  int normalizer = 0;
  bool merge = false;  // by MergeMoments, or with others by ExchangeMoments
  bool bad = false;    // is to be refused
  uint64_t rows = 0;
  double sum = 0;
  std::set<uint64_t> born;  // generations, one for each time it was made
};

// A training job: makes its steps, takes checkpoints, dies and goes on from the
// last one, and closes its session. All it knows of the protocol is the
// client's Outbox; what ClientSession does over gRPC it does over a SimNetwork.
class SimJob {
 public:
  SimJob(int number, SimNetwork* network, SimRandom* random);

  // Does one thing. With `faults` it may lose patience, or die.
  void Act(bool faults);
  bool done() const { return phase_ == Phase::kDone; }

  const std::vector<SimStep>& steps() const { return steps_; }

  // Empty before it is open.
  const std::string& session() const { return session_; }

  // Its session may have ended: nothing is known of its ledgers any more.
  bool closing() const { return phase_ >= Phase::kClosing; }

  // The update up to which it was told that all are on disk, or up to which it
  // keeps none, by normalizer.
  uint64_t promised(int normalizer) const;

 private:
  enum class Phase { kOpening, kRestarting, kWorking, kClosing, kDone };
  struct Checkpoint {
    std::string token;
    size_t position = 0;
  };
  // What was made since the last restart; gone = no longer kept.
  struct Made {
    std::weak_ptr<OutgoingRequest> update;
    int normalizer = 0;
    uint64_t sequence = 0;
    bool refused = false;
  };

  void Open();
  void Opened(const absl::Status& status,
              const v1::OpenSessionResponse& response);
  void Work(bool faults);
  void MakeStep();
  std::vector<OutgoingPtr> MakeRequests() const;
  OutgoingPtr MakeRequest(const SimStep& step) const;
  void LearnGeneration(const std::string& name);
  void Described(const absl::Status& status, const v1::Normalizer& normalizer);
  bool Idle() const { return outbox_->on_the_way() == 0; }
  void GiveUpMerges();

  // An answer is heard once, and not over an older connection.
  template <typename H, typename Request, typename Response>
  void Call(void (H::*method)(const Request&, Response*, typename H::Done),
            Request request,
            void (SimJob::*answered)(const absl::Status&, const Response&));
  void Send(const OutgoingPtr& request);
  void SendMerges(const std::vector<OutgoingPtr>& merges);
  void Answered(const OutgoingPtr& request, const absl::Status& status,
                const UpdateAnswer& answer);

  void Barrier();
  void BarrierAnswered(const absl::Status& status,
                       const v1::BarrierResponse& response);
  void CheckToken(const std::string& token) const;
  void Close();
  void Closed(const absl::Status& status, const google::protobuf::Empty&);

  void HangUp();
  void Reconnect();
  void Resumed(const absl::Status& status,
               const v1::ResumeSessionResponse& response);
  void Restart();
  void Restarted(const absl::Status& status,
                 const v1::ResumeSessionResponse& response);

  SimNetwork* const network_;
  SimRandom* const random_;
  ClientOptions options_;
  std::vector<SimStep> steps_;

  Phase phase_ = Phase::kOpening;
  size_t position_ = 0;  // steps before it are made
  std::optional<Checkpoint> checkpoint_;

  std::string session_;
  std::optional<Outbox> outbox_;  // none while it is opening or restarting
  std::vector<Made> made_;
  uint64_t connection_ = 0;
  bool resuming_ = false;
  bool at_barrier_ = false;
  std::vector<OutgoingPtr> merges_;  // that are waited for
  std::vector<OutgoingPtr> sent_;    // over this connection, not answered
};

}  // namespace streamnorm

#endif  // STREAMNORM_TESTS_SERVER_SIMULATED_JOB_H_
