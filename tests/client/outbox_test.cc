// The client's half of the protocol, against answers made by hand.

#include "client/outbox.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <memory>
#include <span>
#include <string>
#include <vector>

#include "client/streamnorm_client.h"

namespace streamnorm {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

constexpr char kName[] = "normalizers/n";
constexpr char kOther[] = "normalizers/other";
constexpr uint64_t kGeneration = 5;

v1::OpenSessionResponse Opened() {
  v1::OpenSessionResponse opened;
  opened.set_session("0123456789abcdef");
  opened.set_epoch(1);
  opened.set_history_id("history");
  return opened;
}

v1::SessionProgress Progress(uint64_t applied, uint64_t durable,
                             const std::string& window = "") {
  v1::SessionProgress progress;
  progress.set_name(kName);
  progress.set_applied_sequence(applied);
  progress.set_durable_sequence(durable);
  progress.set_generation(kGeneration);
  progress.set_window(window);
  return progress;
}

v1::ResumeSessionResponse ResumedWith(const v1::SessionProgress& progress,
                                      const std::string& history = "history") {
  v1::ResumeSessionResponse resumed;
  resumed.set_session(Opened().session());
  resumed.set_epoch(2);
  resumed.set_history_id(history);
  *resumed.add_progress() = progress;
  return resumed;
}

v1::BarrierResponse BarrierWith(const v1::SessionProgress& progress) {
  v1::BarrierResponse response;
  *response.add_progress() = progress;
  return response;
}

UpdateAnswer Counted(uint64_t durable, uint64_t rows = 1,
                     uint64_t generation = kGeneration) {
  v1::NormalizeResponse response;
  response.set_generation(generation);
  response.set_counted_rows(rows);
  response.set_durable_sequence(durable);
  return UpdateAnswer(response);
}

class OutboxTest : public testing::Test {
 protected:
  OutboxTest() : outbox_(Opened(), {}) {
    outbox_.LearnGeneration(kName, kGeneration);
  }

  OutgoingPtr Add(const std::string& name = kName) {
    v1::NormalizeRequest request;
    request.set_name(name);
    request.mutable_input()->add_shape(1);
    auto update = std::make_shared<OutgoingRequest>(std::move(request));
    outbox_.Add(update);
    return update;
  }

  OutgoingPtr AddMerge() {
    v1::MergeMomentsRequest request;
    request.set_name(kName);
    auto merge = std::make_shared<OutgoingRequest>(std::move(request));
    outbox_.Add(merge);
    return merge;
  }

  OutgoingPtr Send() {
    Add();
    return outbox_.TakeNext();
  }

  OutgoingPtr SendAndAccept(uint64_t durable = 0) {
    OutgoingPtr update = Send();
    outbox_.Accepted(update, Counted(durable));
    return update;
  }

  std::vector<uint64_t> SequencesToSend() {
    std::vector<uint64_t> sequences;
    while (outbox_.HasNext()) {
      sequences.push_back(outbox_.TakeNext()->sequence());
    }
    return sequences;
  }

  std::vector<uint64_t> Skipped() const {
    const auto barrier = outbox_.MakeBarrier();
    if (barrier.skipped_size() == 0) return {};
    return {barrier.skipped(0).sequences().begin(),
            barrier.skipped(0).sequences().end()};
  }

  Outbox outbox_;
};

TEST_F(OutboxTest, EachNormalizerHasItsOwnNumbers) {
  outbox_.LearnGeneration(kOther, 7);
  EXPECT_EQ(Add()->sequence(), 1);
  EXPECT_EQ(Add()->sequence(), 2);
  const OutgoingPtr other = Add(kOther);
  EXPECT_EQ(other->sequence(), 1);
  EXPECT_EQ(other->update_id().generation(), 7);
  EXPECT_EQ(other->update_id().session(), Opened().session());
}

TEST_F(OutboxTest, ARequestThatDoesNotCountIsSentAndNotKept) {
  v1::NormalizeRequest request;
  request.set_name(kName);
  request.set_mode(v1::NORMALIZE_ONLY);
  outbox_.Add(std::make_shared<OutgoingRequest>(request));
  EXPECT_TRUE(outbox_.empty());
  const OutgoingPtr sent = outbox_.TakeNext();
  EXPECT_FALSE(sent->normalize().has_update_id());
  outbox_.Accepted(sent, Counted(0));
  EXPECT_EQ(outbox_.on_the_way(), 0);
}

TEST_F(OutboxTest, AnUpdateIsKeptUntilTheWatermarkReachesIt) {
  SendAndAccept();
  SendAndAccept();
  EXPECT_EQ(outbox_.size(), 2) << "answered is not on disk";
  SendAndAccept(/*durable=*/1);
  EXPECT_EQ(outbox_.size(), 2);
  EXPECT_EQ(outbox_.durable_sequence(kName), 1);
  SendAndAccept(/*durable=*/4);
  EXPECT_TRUE(outbox_.empty());
}

TEST_F(OutboxTest, AnUpdateWithoutAnAnswerIsKeptAlthoughItIsOnDisk) {
  const OutgoingPtr first = Send();
  const OutgoingPtr second = Send();
  outbox_.Accepted(second, Counted(/*durable=*/2));
  EXPECT_EQ(outbox_.size(), 1);
  outbox_.Accepted(first, Counted(/*durable=*/2));
  EXPECT_TRUE(outbox_.empty());
}

TEST_F(OutboxTest, ARefusedNumberIsNeverGivenAgainAndSkippedAtTheBarrier) {
  SendAndAccept();
  const OutgoingPtr refused = Send();
  outbox_.Refused(refused);
  EXPECT_EQ(outbox_.size(), 1) << "what was refused is not kept";
  EXPECT_EQ(SendAndAccept()->sequence(), 3);
  EXPECT_THAT(Skipped(), ElementsAre(2));
  EXPECT_THAT(Skipped(), ElementsAre(2)) << "its answer may be lost";
  outbox_.BarrierDone(BarrierWith(Progress(3, 3)));
  EXPECT_THAT(Skipped(), IsEmpty());
  EXPECT_TRUE(outbox_.empty());
}

TEST_F(OutboxTest, TheFirstUpdateOfAMissingNormalizerMayBeTriedAgain) {
  const OutgoingPtr refused = Add(kOther);
  EXPECT_EQ(refused->update_id().generation(), 0);
  outbox_.Refused(outbox_.TakeNext());
  EXPECT_EQ(Add(kOther)->sequence(), 1) << "no other goes without generation";
}

TEST_F(OutboxTest, NumbersStayWithinTheServersWindowBehindARefusedOne) {
  outbox_.Refused(Send());
  for (int i = 2; i <= 1024; ++i) {
    ASSERT_TRUE(outbox_.HasRoom(kName, 1));
    outbox_.Refused(Send());
  }
  EXPECT_FALSE(outbox_.HasRoom(kName, 1));
  EXPECT_TRUE(outbox_.HasRoom(kOther, 1));
  outbox_.BarrierDone(BarrierWith(Progress(1024, 1024)));
  EXPECT_TRUE(outbox_.HasRoom(kName, 1));
}

TEST_F(OutboxTest, UpdatesOfOneMessageHaveRoomTogetherOrNotAtAll) {
  v1::MergeMomentsRequest request;
  request.set_name(kName);
  const std::vector<OutgoingPtr> merges(
      3, std::make_shared<OutgoingRequest>(std::move(request)));
  outbox_.Refused(Send());
  for (int i = 2; i <= 1021; ++i) outbox_.Refused(Send());
  EXPECT_TRUE(outbox_.HasRoom(merges)) << "up to number 1024";
  outbox_.Refused(Send());
  EXPECT_FALSE(outbox_.HasRoom(merges)) << "the last would be 1025";
  EXPECT_TRUE(outbox_.HasRoom(std::span(merges).first(2)));
}

TEST_F(OutboxTest, ThereIsRoomAgainThoughTheNormalizerIsGone) {
  for (int i = 1; i <= 1024; ++i) outbox_.Refused(Send());
  EXPECT_FALSE(outbox_.HasRoom(kName, 1));
  outbox_.BarrierDone(v1::BarrierResponse());
  EXPECT_TRUE(outbox_.HasRoom(kName, 1));
}

TEST(OutboxLimitsTest, AFullBufferHasNoRoomAndAnEmptyOneAlways) {
  ClientOptions options;
  options.max_buffered_updates = 2;
  options.max_buffered_bytes = 100;
  Outbox outbox(Opened(), options);
  EXPECT_TRUE(outbox.HasRoom(kName, 1000));
  v1::MergeMomentsRequest merge;
  merge.set_name(kName);
  merge.set_mean(std::string(50, 0));
  outbox.Add(std::make_shared<OutgoingRequest>(merge));
  EXPECT_TRUE(outbox.HasRoom(kName, 20));
  EXPECT_FALSE(outbox.HasRoom(kName, 100)) << "too many bytes";
  const auto other =
      std::make_shared<OutgoingRequest>(v1::MergeMomentsRequest());
  const std::vector<OutgoingPtr> two(2, other);
  EXPECT_TRUE(outbox.HasRoom(std::span(two).first(1)));
  EXPECT_FALSE(outbox.HasRoom(two)) << "the second would be too many";
  outbox.Add(other);
  EXPECT_FALSE(outbox.HasRoom(kName, 1)) << "too many updates";
}

TEST_F(OutboxTest, ExactlyWhatIsMissingIsSentAgainInItsOldOrder) {
  for (int i = 1; i <= 5; ++i) SendAndAccept();
  Send();  // 6 is not answered
  Add();   // 7 not even sent
  // The server has 1, 2 and 4, of which 1 is on disk.
  const auto merges =
      outbox_.Resume(ResumedWith(Progress(2, 1, std::string(1, 2))));
  ASSERT_TRUE(merges.ok()) << merges.status();
  EXPECT_EQ(outbox_.size(), 6);
  EXPECT_EQ(outbox_.replayed_updates(), 2);
  EXPECT_THAT(SequencesToSend(), ElementsAre(3, 5, 6, 7));
}

TEST_F(OutboxTest, AReplayKeepsItsGenerationAndNamesTheNewEpoch) {
  SendAndAccept();
  auto progress = Progress(0, 0);
  progress.set_generation(kGeneration + 1);
  ASSERT_TRUE(outbox_.Resume(ResumedWith(progress)).ok());
  const OutgoingPtr again = outbox_.TakeNext();
  EXPECT_EQ(again->update_id().generation(), kGeneration);
  EXPECT_EQ(again->update_id().epoch(), 2);
  EXPECT_TRUE(again->discard) << "its answer was given before";
}

TEST_F(OutboxTest, AConnectionThatBreaksTwiceSendsAReplayOnce) {
  SendAndAccept();
  Send();
  ASSERT_TRUE(outbox_.Resume(ResumedWith(Progress(0, 0))).ok());
  outbox_.TakeNext();
  ASSERT_TRUE(outbox_.Resume(ResumedWith(Progress(0, 0))).ok());
  EXPECT_THAT(SequencesToSend(), ElementsAre(1, 2));
}

TEST_F(OutboxTest, AMergeThatNobodyCallsIsHandedBackToBeCalledAgain) {
  const OutgoingPtr waited_for = AddMerge();
  const OutgoingPtr given_up = AddMerge();
  given_up->discard = true;
  const auto merges = outbox_.Resume(ResumedWith(Progress(0, 0)));
  ASSERT_TRUE(merges.ok()) << merges.status();
  EXPECT_THAT(*merges, ElementsAre(given_up));
  ASSERT_TRUE(outbox_.Resume(ResumedWith(Progress(2, 0))).ok());
  EXPECT_TRUE(given_up->answered) << "the server has it";
  EXPECT_FALSE(waited_for->answered) << "its caller asks itself";
}

TEST_F(OutboxTest, LostHistoryIsNamedWithItsRange) {
  for (int i = 1; i <= 5; ++i) SendAndAccept(/*durable=*/5);
  const auto status =
      outbox_.Resume(ResumedWith(Progress(2, 2), "another")).status();
  EXPECT_TRUE(absl::IsDataLoss(status)) << status;
  EXPECT_EQ(ErrorReason(status), "HISTORY_LOST");
  EXPECT_THAT(std::string(status.message()),
              HasSubstr("normalizers/n updates 3 to 5"));
}

TEST_F(OutboxTest, ADeletedNormalizerIsNoLossWithinAHistory) {
  SendAndAccept(/*durable=*/1);
  v1::ResumeSessionResponse resumed;
  resumed.set_history_id("history");
  EXPECT_TRUE(outbox_.Resume(resumed).ok());
  resumed.set_history_id("another");
  EXPECT_EQ(ErrorReason(outbox_.Resume(resumed).status()), "HISTORY_LOST");
}

TEST_F(OutboxTest, AnUpdateTellsTheRowsOfAllAnsweredBeforeIt) {
  SendAndAccept();
  const OutgoingPtr audited = Send();
  EXPECT_EQ(audited->normalize().rows_sent_total(), 2);
  EXPECT_EQ(Send()->normalize().rows_sent_total(), 0) << "one is on its way";
  ASSERT_TRUE(outbox_.Resume(ResumedWith(Progress(1, 0))).ok());
  EXPECT_EQ(audited->normalize().rows_sent_total(), 0) << "sent again";
}

TEST_F(OutboxTest, ABarrierTellsTheRowsOfAllThatWasAnswered) {
  SendAndAccept();
  SendAndAccept();
  const auto barrier = outbox_.MakeBarrier();
  ASSERT_EQ(barrier.sent_size(), 1);
  EXPECT_EQ(barrier.sent(0).name(), kName);
  EXPECT_EQ(barrier.sent(0).generation(), kGeneration);
  EXPECT_EQ(barrier.sent(0).sequence(), 2);
  EXPECT_EQ(barrier.sent(0).rows(), 2);
}

TEST(OutboxOfATokenTest, TheNextNumberIsTheOneAfterTheToken) {
  auto progress = Progress(/*applied=*/9, /*durable=*/8);
  progress.set_token_sequence(4);
  Outbox outbox(ResumedWith(progress), {});
  EXPECT_TRUE(outbox.KnowsGeneration(kName));
  // A Barrier at once: its token must not be ahead of the job.
  ASSERT_EQ(outbox.MakeBarrier().used_size(), 1);
  EXPECT_EQ(outbox.MakeBarrier().used(0).name(), kName);
  EXPECT_EQ(outbox.MakeBarrier().used(0).sequence(), 4);
  EXPECT_EQ(outbox.MakeBarrier().sent_size(), 0) << "the server has more";
  v1::MergeMomentsRequest merge;
  merge.set_name(kName);
  const auto update = std::make_shared<OutgoingRequest>(merge);
  outbox.Add(update);
  EXPECT_EQ(update->sequence(), 5);
  EXPECT_EQ(update->update_id().generation(), kGeneration);
}

}  // namespace
}  // namespace streamnorm
