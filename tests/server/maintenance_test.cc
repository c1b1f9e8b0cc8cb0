// Backups and verifications whose watchers can hold them up: who
// is told what, and when the next one may begin.

#include "server/maintenance.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <future>
#include <memory>
#include <string>
#include <thread>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "google/rpc/error_details.pb.h"
#include "storage/rocksdb_store.h"
#include "tests/testing/temp_dir.h"

namespace streamnorm {
namespace {

using testing::HasSubstr;

std::string ReasonOf(const absl::Status& status) {
  const auto payload =
      status.GetPayload("type.googleapis.com/google.rpc.ErrorInfo");
  google::rpc::ErrorInfo info;
  if (payload) info.ParseFromString(std::string(*payload));
  return info.reason();
}

// One call, whose work waits at its first word until it may go on.
class Call {
 public:
  explicit Call(absl::Status answer = absl::OkStatus())
      : answer_(std::move(answer)) {}

  template <typename Response>
  Watcher<Response> watcher() {
    return {[this](const Response& response) { return OnAnswer(response); },
            [this](const absl::Status& status) { ended_.set_value(status); }};
  }

  void WaitUntilBegun() { begun_.get_future().wait(); }
  void GoOn() { go_on_.set_value(); }
  absl::Status End() { return ended_.get_future().get(); }
  bool has_result() const { return has_result_; }

 private:
  template <typename Response>
  absl::Status OnAnswer(const Response& response) {
    has_result_ = !response.has_progress();
    if (!first_) return absl::OkStatus();
    first_ = false;
    begun_.set_value();
    go_on_.get_future().wait();
    return answer_;
  }

  const absl::Status answer_;
  bool first_ = true;
  bool has_result_ = false;
  std::promise<void> begun_;
  std::promise<void> go_on_;
  std::promise<absl::Status> ended_;
};

class MaintenanceTest : public testing::Test {
 protected:
  void BackUp(const std::string& id, Call* call) {
    v1::CreateBackupRequest request;
    request.set_backup_id(id);
    maintenance_.CreateBackup(request,
                              call->watcher<v1::CreateBackupResponse>());
  }

  void Verify(Call* call) {
    maintenance_.VerifyStore({}, call->watcher<v1::VerifyStoreResponse>());
  }

  // One that nothing holds up.
  absl::Status BackUpAtOnce(const std::string& id) {
    Call call;
    call.GoOn();
    BackUp(id, &call);
    return call.End();
  }

  const TempDir dir_;
  const std::unique_ptr<StatisticsStore> store_ =
      OpenRocksdbStore({.data_dir = dir_ / "data"}).value();
  Maintenance maintenance_{{.backup_dir = dir_.path()}, store_.get()};
};

TEST_F(MaintenanceTest, TheResultComesBeforeTheEnd) {
  Call call;
  call.GoOn();
  BackUp("one", &call);
  EXPECT_EQ(call.End(), absl::OkStatus());
  EXPECT_TRUE(call.has_result());
}

TEST_F(MaintenanceTest, OneRunsAtATimeAndTheNextWhenItsEndWasTold) {
  for (int i = 0; i < 20; ++i) {
    Call first;
    Verify(&first);
    first.WaitUntilBegun();
    const absl::Status second = BackUpAtOnce("refused");
    EXPECT_TRUE(absl::IsAborted(second)) << second;
    EXPECT_EQ(ReasonOf(second), "MAINTENANCE_RUNNING");
    first.GoOn();
    EXPECT_EQ(first.End(), absl::OkStatus());
    EXPECT_EQ(BackUpAtOnce(absl::StrCat("b", i)), absl::OkStatus());
  }
}

TEST_F(MaintenanceTest, AnUpdateIsCommittedWhileOneRuns) {
  Call call;
  BackUp("one", &call);
  call.WaitUntilBegun();
  CommitBatch batch;
  batch.next_generation = 7;
  EXPECT_TRUE(store_->Write(batch).ok());
  EXPECT_TRUE(store_->Sync().ok());
  call.GoOn();
  EXPECT_EQ(call.End(), absl::OkStatus());
}

TEST_F(MaintenanceTest, CallerThatIsGoneEndsTheWork) {
  Call gone(absl::CancelledError("gone"));
  BackUp("one", &gone);
  gone.WaitUntilBegun();
  gone.GoOn();
  EXPECT_EQ(gone.End(), absl::CancelledError("gone"));
  EXPECT_FALSE(gone.has_result());
  EXPECT_EQ(BackUpAtOnce("one"), absl::OkStatus()) << "the name is free";
}

TEST_F(MaintenanceTest, StopWaitsForTheEndAndRefusesTheNext) {
  Call call;
  BackUp("one", &call);
  call.WaitUntilBegun();
  std::thread stop([this] { maintenance_.Stop(); });
  call.GoOn();
  stop.join();
  const absl::Status ended = call.End();
  EXPECT_TRUE(ended.ok() || ReasonOf(ended) == "SHUTTING_DOWN") << ended;
  EXPECT_EQ(ReasonOf(BackUpAtOnce("two")), "SHUTTING_DOWN");
}

TEST_F(MaintenanceTest, TakenNameHasAReason) {
  EXPECT_EQ(BackUpAtOnce("one"), absl::OkStatus());
  const absl::Status status = BackUpAtOnce("one");
  EXPECT_EQ(ReasonOf(status), "BACKUP_EXISTS");
  EXPECT_THAT(std::string(status.message()), HasSubstr(dir_ / "one"));
}

}  // namespace
}  // namespace streamnorm
