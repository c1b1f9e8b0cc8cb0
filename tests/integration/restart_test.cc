// What a restart finds: everything, and revisions go on.

#include <gtest/gtest.h>

#include <limits>
#include <vector>

#include "client/streamnorm_client.h"
#include "grpcpp/create_channel.h"
#include "tests/testing/server_under_test.h"
#include "tests/testing/temp_dir.h"

namespace streamnorm {
namespace {

class RestartTest : public testing::Test {
 protected:
  RestartTest()
      : server_({"--listen", "unix:" + (dir_ / "socket"), "--data_dir",
                 dir_ / "data", "--log_level=warning"}) {
    client_ = *Client::Connect(server_.address());
    EXPECT_TRUE(client_->GetOrCreateNormalizer("n", 2).ok());
  }

  static std::vector<double> Row(double x) { return {x, -x}; }

  absl::StatusOr<v1::NormalizeResponse> Send(ClientSession* session, double x) {
    row_ = Row(x);
    return session->Normalize("n", RowsOf(std::span<const double>(row_), 2));
  }

  v1::Normalizer Get() { return *client_->GetNormalizer("n"); }

  TempDir dir_;
  ServerUnderTest server_;
  std::unique_ptr<Client> client_;
  std::vector<double> row_;
};

TEST_F(RestartTest, AStopAndAStartLoseNothingAndRevisionsGoOn) {
  auto session = *client_->OpenSession("test");
  for (int i = 1; i <= 10; ++i) ASSERT_TRUE(Send(session.get(), i).ok());
  const v1::Normalizer before = Get();
  EXPECT_EQ(server_.Terminate(), 0);
  server_.Restart();
  const v1::Normalizer after = Get();
  EXPECT_EQ(after.SerializeAsString(), before.SerializeAsString());
  ASSERT_TRUE(Send(session.get(), 11).ok());
  EXPECT_EQ(Get().row_count(), 11);
  EXPECT_EQ(Get().revision(), before.revision() + 1);
  EXPECT_EQ(session->replayed_updates(), 0) << "all of it was committed";
}

TEST_F(RestartTest, AnUpdateWithoutASessionIsOnDiskWhenAnswered) {
  auto stub = v1::NormalizerService::NewStub(grpc::CreateChannel(
      server_.address(), grpc::InsecureChannelCredentials()));
  for (int i = 1; i <= 20; ++i) {
    row_ = Row(i);
    grpc::ClientContext context;
    v1::NormalizeResponse response;
    ASSERT_TRUE(
        stub->Normalize(&context,
                        MakeNormalizeRequest(
                            "n", RowsOf(std::span<const double>(row_), 2),
                            v1::UPDATE_ONLY),
                        &response)
            .ok());
  }
  server_.Kill();
  server_.Restart();
  EXPECT_EQ(Get().row_count(), 20);
}

TEST_F(RestartTest, AResetIsOnDiskWhenAnsweredAndReplaysDoNotUndoIt) {
  auto session = *client_->OpenSession("test");
  for (int i = 1; i <= 10; ++i) ASSERT_TRUE(Send(session.get(), i).ok());
  ASSERT_TRUE(client_->ResetStatistics("n").ok());
  server_.Kill();
  server_.Restart();
  EXPECT_EQ(Get().row_count(), 0);
  ASSERT_TRUE(session->Barrier().ok());
  EXPECT_EQ(Get().row_count(), 0) << "born before the reset";
  // The first update after it may still name the old generation.
  ASSERT_TRUE(Send(session.get(), 1).ok());
  ASSERT_TRUE(Send(session.get(), 2).ok());
  EXPECT_GE(Get().row_count(), 1);
}

TEST_F(RestartTest, UpdatesOnTheirWayDuringAResetNeverCountAfterIt) {
  auto session = *client_->OpenSession("test");
  for (int i = 1; i <= 10; ++i) ASSERT_TRUE(Send(session.get(), i).ok());
  ASSERT_TRUE(session->Barrier().ok());
  server_.Kill();
  for (int i = 1; i <= 5; ++i) {
    row_ = Row(i);
    ASSERT_TRUE(
        session
            ->Submit(MakeNormalizeRequest(
                "n", RowsOf(std::span<const double>(row_), 2), v1::UPDATE_ONLY))
            .ok());
  }
  server_.Restart();
  ASSERT_TRUE(client_->ResetStatistics("n").ok());
  while (session->in_flight() > 0) {
    const auto answer = session->Receive();
    ASSERT_TRUE(answer.ok()) << answer.status();
    EXPECT_EQ(answer->counted_rows(), 0) << "made before the reset";
  }
  ASSERT_TRUE(session->Barrier().ok());
  EXPECT_EQ(Get().row_count(), 0) << "made before the reset";
  ASSERT_TRUE(Send(session.get(), 1).ok());
  EXPECT_EQ(Get().row_count(), 1);
}

TEST_F(RestartTest, AJobRestartedFromItsTokenCountsItsStepsOnce) {
  auto session = *client_->OpenSession("test");
  for (int i = 1; i <= 10; ++i) ASSERT_TRUE(Send(session.get(), i).ok());
  const auto token = session->Barrier();
  ASSERT_TRUE(token.ok()) << token.status();
  for (int i = 11; i <= 15; ++i) ASSERT_TRUE(Send(session.get(), i).ok());
  session.reset();  // the job dies
  auto resumed = client_->ResumeSession(*token);
  ASSERT_TRUE(resumed.ok()) << resumed.status();
  for (int i = 11; i <= 20; ++i) {
    ASSERT_TRUE(Send(resumed->get(), i).ok());
  }
  EXPECT_EQ(Get().row_count(), 20);
  ASSERT_TRUE((*resumed)->Close().ok());
}

TEST_F(RestartTest, AJobRestartedAgainBeforeItCaughtUpCountsItsStepsOnce) {
  auto session = *client_->OpenSession("test");
  auto token = session->Barrier();
  ASSERT_TRUE(token.ok()) << token.status();
  for (int i = 1; i <= 10; ++i) ASSERT_TRUE(Send(session.get(), i).ok());
  session = *client_->ResumeSession(*token);
  for (int i = 1; i <= 3; ++i) ASSERT_TRUE(Send(session.get(), i).ok());
  token = session->Barrier();  // the server has 10 of it, the job made 3
  ASSERT_TRUE(token.ok()) << token.status();
  session = *client_->ResumeSession(*token);
  for (int i = 4; i <= 12; ++i) ASSERT_TRUE(Send(session.get(), i).ok());
  EXPECT_EQ(Get().row_count(), 12);
}

TEST_F(RestartTest, ARestartedJobNumbersItsStepsAsBeforeThoughSomeAreRefused) {
  auto session = *client_->OpenSession("test");
  const auto token = session->Barrier();
  ASSERT_TRUE(token.ok()) << token.status();
  for (int life = 0; life < 2; ++life) {
    for (int i = 1; i <= 10; ++i) {
      const double x = i % 3 == 0 ? std::numeric_limits<double>::infinity() : i;
      EXPECT_EQ(Send(session.get(), x).ok(), i % 3 != 0);
    }
    if (life == 0) session = *client_->ResumeSession(*token);
  }
  ASSERT_TRUE(session->Close().ok());
  EXPECT_EQ(Get().row_count(), 7);
}

TEST_F(RestartTest, ASecondHolderOfASessionFencesTheFirst) {
  auto first = *client_->OpenSession("test");
  ASSERT_TRUE(Send(first.get(), 1).ok());
  const auto token = first->Barrier();
  auto second = client_->ResumeSession(*token);
  ASSERT_TRUE(second.ok());
  EXPECT_EQ(ErrorReason(Send(first.get(), 2).status()), "EPOCH_FENCED");
  EXPECT_EQ(ErrorReason(Send(first.get(), 3).status()), "EPOCH_FENCED");
  ASSERT_TRUE(Send(second->get(), 2).ok());
  EXPECT_EQ(Get().row_count(), 2);
}

TEST_F(RestartTest, RefusedUpdatesInTheMiddleOfAPipelineLeaveNoHole) {
  auto session = *client_->OpenSession("test");
  const double infinity = std::numeric_limits<double>::infinity();
  int refused = 0;
  for (int i = 1; i <= 3000; ++i) {
    row_ = Row(i % 7 == 0 ? infinity : i);
    ASSERT_TRUE(
        session
            ->Submit(MakeNormalizeRequest(
                "n", RowsOf(std::span<const double>(row_), 2), v1::UPDATE_ONLY))
            .ok());
    if (session->in_flight() < 32) continue;
    if (!session->Receive().ok()) ++refused;
  }
  while (session->in_flight() > 0) {
    if (!session->Receive().ok()) ++refused;
  }
  EXPECT_EQ(refused, 3000 / 7);
  ASSERT_TRUE(session->Barrier().ok());
  EXPECT_EQ(session->buffered_updates(), 0);
  EXPECT_EQ(Get().row_count(), uint64_t(3000 - 3000 / 7));
}

TEST_F(RestartTest, MergedMomentsSurviveAKillExactlyOnce) {
  auto session = *client_->OpenSession("test");
  v1::MergeMomentsRequest request;
  request.set_name("normalizers/n");
  request.set_count(10);
  const std::vector<double> mean = {1, 2}, m2 = {3, 4};
  request.set_mean(mean.data(), 16);
  request.set_m2(m2.data(), 16);
  for (int i = 0; i < 50; ++i) {
    if (i == 25) {
      server_.Kill();
      server_.Restart();
    }
    const auto merged = session->MergeMoments(request);
    ASSERT_TRUE(merged.ok()) << merged.status();
  }
  ASSERT_TRUE(session->Close().ok());
  EXPECT_EQ(Get().row_count(), 500);
}

TEST_F(RestartTest, DeletionWhileASessionHoldsUpdatesDoesNotBlockIt) {
  auto session = *client_->OpenSession("test");
  ASSERT_TRUE(Send(session.get(), 1).ok());
  ASSERT_TRUE(client_->DeleteNormalizer("n").ok());
  EXPECT_TRUE(absl::IsNotFound(Send(session.get(), 2).status()));
  EXPECT_TRUE(session->Close().ok());
}

TEST_F(RestartTest, AutoCreateWorksThroughASession) {
  TempDir dir;
  ServerUnderTest server({"--listen", "unix:" + (dir / "socket"),
                          "--store=memory", "--auto_create",
                          "--log_level=warning"});
  auto client = *Client::Connect(server.address());
  auto session = *client->OpenSession("test");
  for (int i = 1; i <= 5; ++i) {
    const std::vector<double> row = Row(i);
    ASSERT_TRUE(session
                    ->Submit(MakeNormalizeRequest(
                        "new", RowsOf(std::span<const double>(row), 2),
                        v1::UPDATE_THEN_NORMALIZE))
                    .ok());
  }
  while (session->in_flight() > 0) {
    const auto answer = session->Receive();
    EXPECT_TRUE(answer.ok()) << answer.status();
  }
  EXPECT_EQ(client->GetNormalizer("new")->row_count(), 5);
}

}  // namespace
}  // namespace streamnorm
