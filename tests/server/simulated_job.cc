#include "tests/server/simulated_job.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>

#include "absl/strings/str_cat.h"
#include "client/connection.h"
#include "client/streamnorm_client.h"
#include "server/barrier_token.h"

namespace streamnorm {
namespace {

constexpr int kSteps = 8;        // of a job, at most
constexpr int kBitsPerJob = 16;  // of the sums

bool OneIn(unsigned n, SimRandom* random) { return (*random)() % n == 0; }

std::string Bytes(double value) {
  return {reinterpret_cast<const char*>(&value), sizeof(value)};
}

v1::NormalizeRequest NormalizeRequestOf(const SimStep& step) {
  v1::NormalizeRequest request;
  request.set_name(SimNormalizerName(step.normalizer));
  request.set_mode(v1::UPDATE_ONLY);
  auto* input = request.mutable_input();
  input->add_shape(static_cast<int64_t>(step.rows));
  input->add_shape(1);
  input->add_values(step.sum);
  while (input->values_size() < input->shape(0)) input->add_values(0);
  return request;
}

// REQUIRES: step.rows is a power of two, for an exact mean.
v1::MergeMomentsRequest MergeRequestOf(const SimStep& step) {
  v1::MergeMomentsRequest request;
  request.set_name(SimNormalizerName(step.normalizer));
  request.set_count(step.rows);
  request.set_mean(Bytes(step.sum / static_cast<double>(step.rows)));
  request.set_m2(Bytes(0));
  return request;
}

bool IsBad(const OutgoingRequest& update) {
  if (!update.IsMerge()) {
    return std::isinf(update.normalize().input().values(0));
  }
  return update.merge().mean() ==
         Bytes(std::numeric_limits<double>::infinity());
}

}  // namespace

std::string SimNormalizerName(int normalizer) {
  return absl::StrCat("normalizers/n", normalizer);
}

SimJob::SimJob(int number, SimNetwork* network, SimRandom* random)
    : network_(network), random_(random) {
  options_.max_buffered_updates = 1 + (*random)() % 6;
  options_.max_in_flight = 1 + (*random)() % 4;
  steps_.resize(2 + (*random)() % (kSteps - 1));
  for (size_t i = 0; i < steps_.size(); ++i) {
    SimStep& step = steps_[i];
    step.normalizer = static_cast<int>((*random)() % kSimNormalizers);
    // One by one, or some in a row, of the same normalizer or not.
    step.merge = OneIn(i > 0 && steps_[i - 1].merge ? 2 : 4, random);
    step.bad = OneIn(6, random);
    step.rows = uint64_t{1} << (*random)() % 3;
    step.sum = std::ldexp(1, number * kBitsPerJob + static_cast<int>(i));
    if (step.bad) step.sum = std::numeric_limits<double>::infinity();
  }
}

uint64_t SimJob::promised(int normalizer) const {
  if (!outbox_) return 0;
  uint64_t promised = outbox_->durable_sequence(SimNormalizerName(normalizer));
  for (const Made& made : made_) {
    if (made.normalizer != normalizer || made.refused) continue;
    if (made.update.expired()) promised = std::max(promised, made.sequence);
  }
  return promised;
}

// A job that waits does not know for what: it may always lose patience.
void SimJob::Act(bool faults) {
  if (faults && checkpoint_ && !closing() && OneIn(60, random_)) {
    return Restart();
  }
  const bool impatient = OneIn(30, random_);
  switch (phase_) {
    case Phase::kOpening:
      return Open();
    case Phase::kRestarting:
      if (impatient) Restart();
      return;
    case Phase::kWorking:
    case Phase::kClosing:
      if (impatient) return Reconnect();
      if (!resuming_) Work(faults);
      return;
    case Phase::kDone:
      return;
  }
}

void SimJob::Open() {
  if (!OneIn(16, random_)) return;
  Call(&SessionHandler::OpenSession, v1::OpenSessionRequest(), &SimJob::Opened);
}

void SimJob::Work(bool faults) {
  if (at_barrier_) return;
  if (phase_ == Phase::kClosing) return Close();
  // A MergeMoments is waited for, also one that is sent again.
  if (std::any_of(sent_.begin(), sent_.end(),
                  [](const auto& request) { return request->IsMerge(); })) {
    if (!merges_.empty() && faults && OneIn(20, random_)) GiveUpMerges();
    return;
  }
  if (outbox_->HasNext()) return Send(outbox_->TakeNext());
  const bool finished = position_ == steps_.size();
  if (Idle() && (finished || OneIn(8, random_))) return Barrier();
  if (!finished) MakeStep();
}

// They were not answered in time, and may count or not.
void SimJob::GiveUpMerges() {
  for (const OutgoingPtr& merge : merges_) {
    merge->discard = true;
    std::erase(sent_, merge);
  }
  merges_.clear();
}

void SimJob::MakeStep() {
  if (outbox_->on_the_way() >= options_.max_in_flight) return;
  if (steps_[position_].merge && !Idle()) return;
  const std::vector<OutgoingPtr> requests = MakeRequests();
  if (!outbox_->HasRoom(requests)) {
    if (Idle()) Barrier();
    return;
  }
  for (const OutgoingPtr& request : requests) {
    const std::string& name = request->name();
    if (!outbox_->KnowsGeneration(name)) return LearnGeneration(name);
  }
  for (const OutgoingPtr& request : requests) {
    SimStep& step = steps_[position_++];
    outbox_->Add(request);
    step.born.insert(request->update_id().generation());
    made_.push_back({request, step.normalizer, request->sequence()});
    if (step.merge) merges_.push_back(request);
  }
  if (!merges_.empty()) SendMerges(merges_);
}

// That of the next step, or those of several that are merges.
std::vector<OutgoingPtr> SimJob::MakeRequests() const {
  std::vector<OutgoingPtr> requests;
  size_t next = position_;
  do {
    requests.push_back(MakeRequest(steps_[next++]));
  } while (steps_[position_].merge && next < steps_.size() &&
           steps_[next].merge && !OneIn(3, random_));
  return requests;
}

OutgoingPtr SimJob::MakeRequest(const SimStep& step) const {
  if (step.merge) {
    auto request = MergeRequestOf(step);
    request.set_wait_durable(OneIn(5, random_));
    return std::make_shared<OutgoingRequest>(std::move(request));
  }
  auto request = NormalizeRequestOf(step);
  request.set_wait_durable(OneIn(5, random_));
  return std::make_shared<OutgoingRequest>(std::move(request));
}

void SimJob::LearnGeneration(const std::string& name) {
  if (!OneIn(4, random_)) return;
  v1::GetNormalizerRequest request;
  request.set_name(name);
  Call(&Handler::GetNormalizer, request, &SimJob::Described);
}

void SimJob::Described(const absl::Status& status,
                       const v1::Normalizer& normalizer) {
  ASSERT_TRUE(status.ok()) << status;
  outbox_->LearnGeneration(normalizer.name(), normalizer.generation());
}

// The wire.

template <typename H, typename Request, typename Response>
void SimJob::Call(void (H::*method)(const Request&, Response*,
                                    typename H::Done),
                  Request request,
                  void (SimJob::*answered)(const absl::Status&,
                                           const Response&)) {
  network_->Call(method, std::move(request),
                 [this, answered, connection = connection_,
                  heard = std::make_shared<bool>()](const absl::Status& status,
                                                    const Response& response) {
                   if (connection != connection_) return;
                   if (std::exchange(*heard, true)) return;
                   (this->*answered)(status, response);
                 });
}

void SimJob::Send(const OutgoingPtr& request) {
  outbox_->Stamp(request.get());
  sent_.push_back(request);
  const auto answered = [this, connection = connection_,
                         weak = std::weak_ptr(request)](
                            const absl::Status& status, const auto& response) {
    const OutgoingPtr answers = weak.lock();
    const bool waits =
        connection == connection_ && std::erase(sent_, answers) != 0;
    if (waits) Answered(answers, status, UpdateAnswer(response));
  };
  if (request->IsMerge()) {
    network_->Call(&Handler::MergeMoments, request->merge(), answered);
  } else {
    network_->Call(&Handler::Normalize, request->normalize(), answered);
  }
}

void SimJob::SendMerges(const std::vector<OutgoingPtr>& merges) {
  if (merges.size() == 1) return Send(merges.front());
  v1::ExchangeMomentsRequest request;
  std::vector<std::weak_ptr<OutgoingRequest>> weak;
  for (const OutgoingPtr& merge : merges) {
    outbox_->Stamp(merge.get());
    *request.add_merges() = merge->merge();
    sent_.push_back(merge);
    weak.push_back(merge);
  }
  network_->Call(
      &Handler::ExchangeMoments, std::move(request),
      [this, connection = connection_, weak](
          const absl::Status& status,
          const v1::ExchangeMomentsResponse& response) {
        ASSERT_TRUE(status.ok()) << status;
        ASSERT_EQ(static_cast<size_t>(response.merges_size()), weak.size());
        for (size_t i = 0; i < weak.size(); ++i) {
          const OutgoingPtr answers = weak[i].lock();
          // The answer of one may end the connection that the next came over.
          const bool waits =
              connection == connection_ && std::erase(sent_, answers) != 0;
          const auto& merge = response.merges(static_cast<int>(i));
          if (!waits) continue;
          Answered(answers, FromRpcStatus(merge.status()), UpdateAnswer(merge));
        }
      });
}

void SimJob::Answered(const OutgoingPtr& request, const absl::Status& status,
                      const UpdateAnswer& answer) {
  // Its own ResumeSession came twice. (A ClientSession would take that for
  // someone else; gRPC repeats nothing.)
  if (ErrorReason(status) == "EPOCH_FENCED") return Reconnect();
  std::erase(merges_, request);
  if (status.ok()) return outbox_->Accepted(request, answer);
  EXPECT_TRUE(IsBad(*request)) << status;
  for (Made& made : made_) made.refused |= made.update.lock() == request;
  outbox_->Refused(request);
}

// Barrier and the end.

void SimJob::Barrier() {
  at_barrier_ = true;
  Call(&SessionHandler::Barrier, outbox_->MakeBarrier(),
       &SimJob::BarrierAnswered);
}

void SimJob::BarrierAnswered(const absl::Status& status,
                             const v1::BarrierResponse& response) {
  at_barrier_ = false;
  if (ErrorReason(status) == "EPOCH_FENCED") return Reconnect();
  ASSERT_TRUE(status.ok()) << status;
  for (const auto& progress : response.progress()) {
    EXPECT_LE(progress.durable_sequence(), progress.applied_sequence())
        << "told durable, and not in the token";
  }
  outbox_->BarrierDone(response);
  if (!outbox_->empty()) return Reconnect();
  CheckToken(response.token());
  checkpoint_ = {response.token(), position_};
  if (position_ == steps_.size()) phase_ = Phase::kClosing;
}

// A job that is restarted from it numbers its steps as in its first life.
void SimJob::CheckToken(const std::string& token) const {
  const auto decoded = DecodeToken(token);
  ASSERT_TRUE(decoded.ok()) << decoded.status();
  for (int n = 0; n < kSimNormalizers; ++n) {
    const auto at = decoded->sequences.find(absl::StrCat("n", n));
    const uint64_t sequence = at == decoded->sequences.end() ? 0 : at->second;
    const auto made = static_cast<uint64_t>(std::count_if(
        steps_.begin(), steps_.begin() + static_cast<ptrdiff_t>(position_),
        [&](const SimStep& step) { return step.normalizer == n; }));
    EXPECT_GE(sequence, made) << "the token is behind: a step would be lost";
    EXPECT_LE(sequence, made) << "the token is ahead: steps counted twice";
  }
}

void SimJob::Close() {
  if (!OneIn(8, random_)) return;
  v1::CloseSessionRequest request;
  request.set_session(outbox_->session());
  request.set_epoch(outbox_->epoch());
  Call(&SessionHandler::CloseSession, request, &SimJob::Closed);
}

void SimJob::Closed(const absl::Status& status,
                    const google::protobuf::Empty&) {
  if (ErrorReason(status) == "EPOCH_FENCED") return Reconnect();
  // Unknown: an earlier try did it.
  EXPECT_TRUE(status.ok() || ErrorReason(status) == "SESSION_UNKNOWN")
      << status;
  phase_ = Phase::kDone;
}

// Connections.

void SimJob::Opened(const absl::Status& status,
                    const v1::OpenSessionResponse& response) {
  ASSERT_TRUE(status.ok()) << status;
  if (phase_ != Phase::kOpening) return;  // an earlier one came
  phase_ = Phase::kWorking;
  session_ = response.session();
  outbox_.emplace(response, options_);
}

void SimJob::HangUp() {
  ++connection_;
  at_barrier_ = false;
  sent_.clear();
}

void SimJob::Reconnect() {
  HangUp();
  resuming_ = true;
  v1::ResumeSessionRequest request;
  request.set_session(session_);
  Call(&SessionHandler::ResumeSession, request, &SimJob::Resumed);
}

void SimJob::Resumed(const absl::Status& status,
                     const v1::ResumeSessionResponse& response) {
  resuming_ = false;
  if (closing() && ErrorReason(status) == "SESSION_UNKNOWN") {
    phase_ = Phase::kDone;
    return;
  }
  ASSERT_TRUE(status.ok()) << status;
  const auto merges = outbox_->Resume(response);
  ASSERT_TRUE(merges.ok()) << merges.status();
  for (const OutgoingPtr& merge : *merges) Send(merge);
  if (!merges_.empty()) SendMerges(merges_);
}

void SimJob::Restart() {
  HangUp();
  phase_ = Phase::kRestarting;
  resuming_ = false;
  outbox_.reset();
  merges_.clear();
  made_.clear();
  position_ = checkpoint_->position;
  v1::ResumeSessionRequest request;
  request.set_token(checkpoint_->token);
  Call(&SessionHandler::ResumeSession, request, &SimJob::Restarted);
}

void SimJob::Restarted(const absl::Status& status,
                       const v1::ResumeSessionResponse& response) {
  ASSERT_TRUE(status.ok()) << status;
  phase_ = Phase::kWorking;
  outbox_.emplace(response, options_);
}

}  // namespace streamnorm
