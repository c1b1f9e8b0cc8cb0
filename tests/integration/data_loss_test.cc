// A disk that lost or changed what was promised: refused at the start, named to
// those who are concerned, and nobody else.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <functional>
#include <memory>
#include <vector>

#include "client/streamnorm_client.h"
#include "storage/key_codec.h"
#include "tests/testing/server_under_test.h"
#include "tests/testing/tamper.h"
#include "tests/testing/temp_dir.h"

namespace streamnorm {
namespace {

using testing::HasSubstr;

constexpr int kExitDataLoss = 65;

class DataLossTest : public testing::Test {
 protected:
  DataLossTest() : server_(Flags()) {
    client_ = *Client::Connect(server_.address());
    EXPECT_TRUE(client_->GetOrCreateNormalizer("n", 1).ok());
  }

  std::vector<std::string> Flags() const {
    return {"--listen", "unix:" + (dir_ / "socket"), "--data_dir",
            dir_ / "data", "--log_level=error"};
  }

  absl::StatusOr<v1::NormalizeResponse> Send(ClientSession* session,
                                             const std::string& id = "n") {
    const double row = 1;
    return session->Normalize(id, RowsOf(std::span(&row, 1), 1));
  }

  void SendDurably(ClientSession* session, int updates) {
    for (int i = 0; i < updates; ++i) ASSERT_TRUE(Send(session).ok());
    ASSERT_TRUE(session->Barrier().ok());
  }

  TempDir dir_;
  ServerUnderTest server_;
  std::unique_ptr<Client> client_;
};

TEST_F(DataLossTest, AnAnsweredUpdateThatIsRefusedWhenSentAgainIsNamed) {
  ASSERT_TRUE(client_->GetOrCreateNormalizer("m", 1).ok());
  auto session = *client_->OpenSession("unlucky");
  SendDurably(session.get(), 1);
  server_.Kill();
  auto slow = Flags();
  slow.emplace_back("--commit_interval_ms=60000");
  server_.Restart(slow, {});
  ASSERT_TRUE(Send(session.get(), "m").ok());
  server_.Kill();  // before a commit
  auto full = Flags();
  full.emplace_back("--max_ledgers=1");  // that of "n"
  server_.Restart(full, {});

  const auto lost = session->Barrier().status();
  EXPECT_TRUE(absl::IsDataLoss(lost)) << lost;
  EXPECT_EQ(ErrorReason(lost), "UPDATE_LOST");
  EXPECT_THAT(std::string(lost.message()),
              HasSubstr("normalizers/m update 1 was answered"));
  EXPECT_EQ(ErrorReason(Send(session.get()).status()), "UPDATE_LOST");
}

TEST_F(DataLossTest, AnOlderDiskIsRefusedAndItsClientsAreToldWhatIsGone) {
  auto ahead = *client_->OpenSession("ahead");
  auto untouched = *client_->OpenSession("untouched");
  SendDurably(untouched.get(), 5);
  SendDurably(ahead.get(), 20);
  server_.Kill();
  std::filesystem::copy(dir_ / "data/db", dir_ / "older",
                        std::filesystem::copy_options::recursive);
  server_.Restart();
  SendDurably(ahead.get(), 30);
  server_.Kill();
  std::filesystem::remove_all(dir_ / "data/db");
  std::filesystem::rename(dir_ / "older", dir_ / "data/db");

  server_.Restart();
  EXPECT_EQ(server_.Wait(), kExitDataLoss);
  auto flags = Flags();
  flags.emplace_back("--accept_data_loss");
  const ServerUnderTest accepting(flags);
  ASSERT_FALSE(accepting.address().empty());

  const auto lost = Send(ahead.get()).status();
  EXPECT_TRUE(absl::IsDataLoss(lost)) << lost;
  EXPECT_EQ(ErrorReason(lost), "HISTORY_LOST");
  EXPECT_THAT(std::string(lost.message()),
              HasSubstr("normalizers/n updates 21 to 50"));
  EXPECT_EQ(Send(ahead.get()).status(), lost) << "it stays so";
  EXPECT_TRUE(Send(untouched.get()).ok()) << "nothing of it was lost";
  EXPECT_TRUE(untouched->Close().ok());
  auto again = *client_->OpenSession("again");
  EXPECT_TRUE(Send(again.get()).ok());
  EXPECT_EQ(client_->GetNormalizer("n")->row_count(), 5 + 20 + 1 + 1);
}

TEST_F(DataLossTest, ADamagedNormalizerIsRefusedAloneUntilItIsDeleted) {
  ASSERT_TRUE(client_->GetOrCreateNormalizer("damaged", 1).ok());
  auto session = *client_->OpenSession("test");
  SendDurably(session.get(), 3);
  ASSERT_TRUE(Send(session.get(), "damaged").ok());
  ASSERT_TRUE(session->Barrier().ok());
  EXPECT_EQ(server_.Terminate(), 0);
  FlipBitUnder(dir_ / "data/db", StateKey("damaged"));
  server_.Restart();

  const auto expect_quarantined = [](const absl::Status& status) {
    EXPECT_TRUE(absl::IsDataLoss(status)) << status;
    EXPECT_EQ(ErrorReason(status), "NORMALIZER_QUARANTINED");
    EXPECT_THAT(std::string(status.message()),
                HasSubstr("normalizers/damaged"));
  };
  const double row = 1;
  expect_quarantined(client_->GetNormalizer("damaged").status());
  expect_quarantined(
      client_->NormalizeOnly("damaged", RowsOf(std::span(&row, 1), 1))
          .status());
  expect_quarantined(client_->ResetStatistics("damaged").status());
  expect_quarantined(client_->FreezeNormalizer("damaged").status());
  expect_quarantined(client_->GetOrCreateNormalizer("damaged", 1).status());
  expect_quarantined(Send(session.get(), "damaged").status());
  EXPECT_THAT(client_->GetServerInfo()->quarantined(),
              testing::ElementsAre("normalizers/damaged"));

  ASSERT_TRUE(Send(session.get()).ok()) << "the other one serves";
  EXPECT_EQ(client_->GetNormalizer("n")->row_count(), 4);
  ASSERT_TRUE(client_->DeleteNormalizer("damaged").ok());
  ASSERT_TRUE(client_->GetOrCreateNormalizer("damaged", 2).ok());
  EXPECT_EQ(client_->GetServerInfo()->quarantined_size(), 0);
  EXPECT_EQ(server_.Terminate(), 0);
  server_.Restart();
  EXPECT_EQ(client_->GetNormalizer("damaged")->features(), 2);
}

}  // namespace
}  // namespace streamnorm
