// A Barrier waits for the disk, and updates may come meanwhile: what it answers
// then is still of one moment, so that no job keeps a token that lacks what it
// was told to be on disk.

#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <utility>

#include "client/outbox.h"
#include "client/streamnorm_client.h"
#include "server/barrier_token.h"
#include "tests/server/simulated_server.h"

namespace streamnorm {
namespace {

constexpr char kName[] = "normalizers/n";

class BarrierTest : public testing::Test {
 protected:
  template <typename Response>
  struct Answer {
    Response response;
    absl::Status status = absl::UnknownError("no answer");
  };

  // A call's answer, once there is one.
  template <typename H, typename Request, typename Response>
  std::shared_ptr<Answer<Response>> Call(void (H::*method)(const Request&,
                                                           Response*,
                                                           typename H::Done),
                                         const Request& request) {
    auto answer = std::make_shared<Answer<Response>>();
    (life_->Get<H>().*method)(
        request, &answer->response,
        [answer](const absl::Status& status) { answer->status = status; });
    return answer;
  }

  // Likewise of what waits for the disk.
  template <typename H, typename Request, typename Response>
  Response Commit(void (H::*method)(const Request&, Response*,
                                    typename H::Done),
                  const Request& request) {
    const auto answer = Call(method, request);
    life_->Commit();
    EXPECT_TRUE(answer->status.ok()) << answer->status;
    return answer->response;
  }

  void SetUp() override {
    v1::CreateNormalizerRequest create;
    create.set_normalizer_id("n");
    create.mutable_normalizer()->set_features(1);
    generation_ = Commit(&Handler::CreateNormalizer, create).generation();
  }

  void Crash() {
    SimRandom random;
    store_.LosePower(&random);
    life_.reset();
    life_ = std::make_unique<Life>(&store_);
  }

  // The next update of one row, as it goes out.
  OutgoingPtr Send(Outbox* outbox) const {
    v1::NormalizeRequest request;
    request.set_name(kName);
    request.set_mode(v1::UPDATE_ONLY);
    request.mutable_input()->add_shape(1);
    request.mutable_input()->add_values(1);
    outbox->LearnGeneration(kName, generation_);
    outbox->Add(std::make_shared<OutgoingRequest>(std::move(request)));
    return outbox->TakeNext();
  }

  // It arrives, perhaps again; its answer.
  UpdateAnswer Deliver(const OutgoingPtr& update) {
    const auto answer = Call(&Handler::Normalize, update->normalize());
    EXPECT_TRUE(answer->status.ok()) << answer->status;
    return UpdateAnswer(answer->response);
  }

  uint64_t Rows() {
    v1::GetStatisticsRequest request;
    request.set_name(kName);
    return Commit(&Handler::GetStatistics, request).row_count();
  }

  LossyStore store_;
  std::unique_ptr<Life> life_ = std::make_unique<Life>(&store_);
  uint64_t generation_ = 0;
};

TEST_F(BarrierTest, WhatItCallsDurableIsInItsToken) {
  Outbox outbox(Commit(&SessionHandler::OpenSession, v1::OpenSessionRequest()),
                {});
  Deliver(Send(&outbox));
  const OutgoingPtr overtaken = Send(&outbox);
  const auto barrier = Call(&SessionHandler::Barrier, outbox.MakeBarrier());
  Deliver(overtaken);
  life_->Commit();
  ASSERT_TRUE(barrier->status.ok()) << barrier->status;
  const auto token = DecodeToken(barrier->response.token());
  ASSERT_TRUE(token.ok()) << token.status();
  EXPECT_EQ(token->sequences.at("n"), 1);
  EXPECT_EQ(barrier->response.progress(0).applied_sequence(), 1);
  EXPECT_EQ(barrier->response.progress(0).durable_sequence(), 1);
  EXPECT_EQ(Deliver(overtaken).durable_sequence, 2) << "it is on disk, too";
}

// The simulation's seed 186,772.
TEST_F(BarrierTest, AnUpdateThatComesAgainAfterACrashIsInTheTokenOrNotDurable) {
  Outbox outbox(Commit(&SessionHandler::OpenSession, v1::OpenSessionRequest()),
                {});
  const OutgoingPtr first = Send(&outbox);
  outbox.Accepted(first, Deliver(first));
  outbox.BarrierDone(Commit(&SessionHandler::Barrier, outbox.MakeBarrier()));
  ASSERT_TRUE(outbox.empty());

  // The answered update is lost, but another copy of it is on the wire, and the
  // Barrier overtakes that.
  const OutgoingPtr second = Send(&outbox);
  outbox.Accepted(second, Deliver(second));
  Crash();
  const auto waiting = Call(&SessionHandler::Barrier, outbox.MakeBarrier());
  Deliver(second);
  life_->Commit();
  ASSERT_TRUE(waiting->status.ok()) << waiting->status;
  outbox.BarrierDone(waiting->response);
  std::string token = waiting->response.token();

  // As every client does that keeps something after a Barrier.
  if (!outbox.empty()) {
    v1::ResumeSessionRequest resume;
    resume.set_session(outbox.session());
    ASSERT_TRUE(
        outbox.Resume(Commit(&SessionHandler::ResumeSession, resume)).ok());
    EXPECT_FALSE(outbox.HasNext()) << "the server has it";
    const auto barrier = Commit(&SessionHandler::Barrier, outbox.MakeBarrier());
    outbox.BarrierDone(barrier);
    ASSERT_TRUE(outbox.empty());
    token = barrier.token();
  }

  v1::ResumeSessionRequest restart;
  restart.set_token(token);
  Outbox restarted(Commit(&SessionHandler::ResumeSession, restart), {});
  const OutgoingPtr third = Send(&restarted);
  EXPECT_EQ(third->sequence(), 3);
  const UpdateAnswer answer = Deliver(third);
  EXPECT_FALSE(answer.duplicate) << "lost";
  EXPECT_EQ(answer.counted_rows, 1);
  EXPECT_EQ(Rows(), 3);
}

}  // namespace
}  // namespace streamnorm
