// The audit of a session's rows: silent whatever happens to an honest server,
// and heard when the server's count is wrong.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <memory>
#include <vector>

#include "client/streamnorm_client.h"
#include "storage/rocksdb_store.h"
#include "tests/testing/server_under_test.h"
#include "tests/testing/temp_dir.h"

namespace streamnorm {
namespace {

using testing::HasSubstr;

class RowsMismatchTest : public testing::Test {
 protected:
  RowsMismatchTest()
      : server_({"--listen", "unix:" + (dir_ / "socket"), "--data_dir",
                 dir_ / "data", "--log_level=error"}) {
    client_ = *Client::Connect(server_.address());
    EXPECT_TRUE(client_->GetOrCreateNormalizer("n", 1).ok());
    session_ = *client_->OpenSession("test");
  }

  absl::Status Send(size_t rows = 2) {
    const std::vector<double> values(rows, 3);
    return session_->Normalize("n", RowsOf(std::span(values), 1)).status();
  }

  // Moves rows between the session and nobody, so that every sum is right and
  // only the client can know.
  void MakeTheCountWrong() {
    ASSERT_EQ(server_.Terminate(), 0);
    {
      RocksdbStoreOptions options;
      options.data_dir = dir_ / "data";
      const auto store = OpenRocksdbStore(options);
      ASSERT_TRUE(store.ok()) << store.status();
      auto contents = *(*store)->Load();
      CommitBatch batch;
      batch.states.push_back(contents.normalizers[0].state);
      batch.ledgers.push_back(contents.normalizers[0].ledgers.at(0));
      --batch.ledgers[0].rows;
      ++batch.states[0].base_rows;
      ASSERT_TRUE((*store)->Write(batch).ok());
      ASSERT_TRUE((*store)->Sync().ok());
    }
    server_.Restart();
  }

  static void ExpectMismatch(const absl::Status& status) {
    EXPECT_TRUE(absl::IsDataLoss(status)) << status;
    EXPECT_EQ(ErrorReason(status), "ROWS_MISMATCH");
  }

  TempDir dir_;
  ServerUnderTest server_;
  std::unique_ptr<Client> client_;
  std::unique_ptr<ClientSession> session_;
};

TEST_F(RowsMismatchTest, AWrongCountIsHeardByTheNextUpdates) {
  for (int i = 0; i < 5; ++i) ASSERT_TRUE(Send().ok());
  ASSERT_TRUE(session_->Barrier().ok());
  MakeTheCountWrong();
  // The first one finds the connection broken, is sent again and not audited.
  absl::Status status;
  for (int i = 0; i < 3 && status.ok(); ++i) status = Send();
  ExpectMismatch(status);
  EXPECT_THAT(std::string(status.message()), HasSubstr("normalizers/n"));
  EXPECT_LE(client_->GetNormalizer("n")->row_count(), 10 + 2 + 2);
  ExpectMismatch(Send());
  ExpectMismatch(session_->Barrier().status());
}

TEST_F(RowsMismatchTest, AWrongCountIsHeardByABarrierOfAPipelineToo) {
  for (int i = 0; i < 5; ++i) ASSERT_TRUE(Send().ok());
  ASSERT_TRUE(session_->Barrier().ok());
  MakeTheCountWrong();
  const std::vector<double> values(2, 3);
  const auto request = MakeNormalizeRequest("n", RowsOf(std::span(values), 1),
                                            v1::UPDATE_THEN_NORMALIZE);
  for (int i = 0; i < 20; ++i) ASSERT_TRUE(session_->Submit(request).ok());
  for (int i = 0; i < 20; ++i) ASSERT_TRUE(session_->Receive().ok());
  ExpectMismatch(session_->Barrier().status());
}

TEST_F(RowsMismatchTest, KillsFreezesResetsAndRefusalsAreNoMismatch) {
  for (int i = 0; i < 60; ++i) {
    ASSERT_TRUE(Send(1 + static_cast<size_t>(i) % 4).ok());
    switch (i % 12) {
      case 1:
        server_.Kill();
        server_.Restart();
        break;
      case 3:
        ASSERT_TRUE(client_->FreezeNormalizer("n").ok());
        break;
      case 5:
        ASSERT_TRUE(client_->UnfreezeNormalizer("n").ok());
        break;
      case 7:
        ASSERT_TRUE(client_->ResetStatistics("n").ok());
        break;
      case 8: {
        const double infinity = HUGE_VAL;
        EXPECT_TRUE(absl::IsInvalidArgument(
            session_->Normalize("n", RowsOf(std::span(&infinity, 1), 1))
                .status()));
        break;
      }
      case 10: {
        const auto token = session_->Barrier();
        ASSERT_TRUE(token.ok()) << token.status();
        break;
      }
      default:
        break;
    }
  }
  EXPECT_TRUE(session_->Close().ok());
}

}  // namespace
}  // namespace streamnorm
