// The real server backed up under load, and its store from an earlier day: who
// is ahead of it is told, nobody else.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <filesystem>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "client/streamnorm_client.h"
#include "tests/testing/server_under_test.h"
#include "tests/testing/temp_dir.h"

namespace streamnorm {
namespace {

using testing::HasSubstr;

constexpr int kExitDataLoss = 65;
constexpr int kExitUnavailable = 69;
constexpr int kExitNotADataDirectory = 78;

class BackupRestoreTest : public testing::Test {
 protected:
  BackupRestoreTest() : server_(Flags(dir_ / "data")) {
    client_ = *Client::Connect(server_.address());
    EXPECT_TRUE(client_->GetOrCreateNormalizer("n", 1).ok());
  }

  std::vector<std::string> Flags(
      const std::string& data_dir,
      const std::vector<std::string>& more = {}) const {
    std::vector<std::string> flags = {
        "--listen",         "unix:" + (dir_ / "socket"),
        "--data_dir",       data_dir,
        "--backup_dir",     dir_ / "backups",
        "--log_level=error"};
    flags.insert(flags.end(), more.begin(), more.end());
    return flags;
  }

  // Runs what ends by itself; its exit code.
  int ExitCodeOf(const std::vector<std::string>& flags) const {
    return ServerUnderTest(flags).Wait();
  }

  int Restore() const {
    return ExitCodeOf({"--restore_from", dir_ / "backups/monday", "--data_dir",
                       dir_ / "restored"});
  }

  int Verify(const std::string& data_dir) const {
    return ExitCodeOf({"--verify", "--data_dir", data_dir});
  }

  absl::StatusOr<v1::NormalizeResponse> Send(ClientSession* session) {
    const double row = 1;
    return session->Normalize("n", RowsOf(std::span(&row, 1), 1));
  }

  void SendDurably(ClientSession* session, int updates) {
    for (int i = 0; i < updates; ++i) ASSERT_TRUE(Send(session).ok());
    ASSERT_TRUE(session->Barrier().ok());
  }

  TempDir dir_;
  ServerUnderTest server_;
  std::unique_ptr<Client> client_;
};

TEST_F(BackupRestoreTest, ClientsAheadOfARestoredStoreAreToldWhatIsGone) {
  auto ahead = *client_->OpenSession("ahead");
  auto untouched = *client_->OpenSession("untouched");
  SendDurably(untouched.get(), 5);
  SendDurably(ahead.get(), 20);
  const std::string history = client_->GetServerInfo()->history_id();
  const auto backup = client_->CreateBackup("monday");
  ASSERT_TRUE(backup.ok()) << backup.status();
  EXPECT_EQ(backup->path(), dir_ / "backups/monday");
  EXPECT_EQ(backup->normalizers(), 1);
  EXPECT_EQ(backup->history_id(), history);
  SendDurably(ahead.get(), 30);
  EXPECT_EQ(Verify(dir_ / "data"), kExitUnavailable);
  server_.Kill();

  EXPECT_EQ(ExitCodeOf(Flags(backup->path())), kExitNotADataDirectory);
  ASSERT_EQ(Restore(), 0);
  EXPECT_EQ(Verify(dir_ / "restored"), 0);
  EXPECT_EQ(Restore(), kExitNotADataDirectory) << "it is filled now";
  const ServerUnderTest restored(Flags(dir_ / "restored"));
  ASSERT_FALSE(restored.address().empty());

  const auto lost = Send(ahead.get()).status();
  EXPECT_TRUE(absl::IsDataLoss(lost)) << lost;
  EXPECT_EQ(ErrorReason(lost), "HISTORY_LOST");
  EXPECT_THAT(std::string(lost.message()),
              HasSubstr("normalizers/n updates 21 to 50"));
  EXPECT_TRUE(Send(untouched.get()).ok()) << "nothing of it was lost";
  EXPECT_EQ(client_->GetNormalizer("n")->row_count(), 5 + 20 + 1);
  EXPECT_NE(client_->GetServerInfo()->history_id(), history);
}

TEST_F(BackupRestoreTest, BackupUnderLoadHasAllThatWasDurableBefore) {
  auto session = *client_->OpenSession("load");
  std::atomic<bool> stop{false};
  std::atomic<int64_t> durable{0};
  std::atomic<int64_t> sent{0};
  std::thread load([&] {
    while (!stop) {
      ++sent;
      const auto answer = Send(session.get());
      ASSERT_TRUE(answer.ok()) << answer.status();
      durable = static_cast<int64_t>(answer->durable_sequence());
    }
  });
  while (durable < 100) std::this_thread::yield();
  const int64_t at_least = durable;
  const auto backup = client_->CreateBackup("monday");
  const int64_t at_most = sent;
  const auto report = client_->VerifyStore();
  stop = true;
  load.join();
  ASSERT_TRUE(backup.ok()) << backup.status();
  ASSERT_TRUE(report.ok()) << report.status();
  EXPECT_EQ(report->damaged_count(), 0);
  server_.Kill();
  ASSERT_EQ(Restore(), 0);
  const ServerUnderTest restored(Flags(dir_ / "restored"));
  const int64_t rows = client_->GetNormalizer("n")->row_count();
  EXPECT_GE(rows, at_least);
  EXPECT_LE(rows, at_most);
}

TEST_F(BackupRestoreTest, DamagedBackupIsFoundAndNotRestored) {
  auto session = *client_->OpenSession("test");
  SendDurably(session.get(), 5);
  const std::string path = client_->CreateBackup("monday")->path();
  EXPECT_EQ(Verify(path), 0);
  for (const auto& entry : std::filesystem::directory_iterator(path + "/db")) {
    if (entry.path().extension() != ".sst") continue;
    std::filesystem::resize_file(entry.path(), entry.file_size() - 1);
  }
  EXPECT_EQ(Verify(path), kExitDataLoss);
  EXPECT_EQ(Restore(), kExitDataLoss);
  EXPECT_TRUE(!std::filesystem::exists(dir_ / "restored") ||
              std::filesystem::is_empty(dir_ / "restored"));
}

TEST_F(BackupRestoreTest, WhatIsNotThereIsNoStoreAndNoBackup) {
  EXPECT_EQ(Verify(dir_ / "none"), kExitNotADataDirectory);
  EXPECT_EQ(Restore(), kExitNotADataDirectory);
  EXPECT_FALSE(std::filesystem::exists(dir_ / "none"));
  EXPECT_FALSE(std::filesystem::exists(dir_ / "restored"));
}

}  // namespace
}  // namespace streamnorm
