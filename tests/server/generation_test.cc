// A generation that a crash may take back is told to nobody who makes updates:
// they would be stamped with it, and be refused, or count after a later reset
// that got the same one.

#include <gtest/gtest.h>

#include <memory>
#include <string>

#include "tests/server/simulated_server.h"

namespace streamnorm {
namespace {

class GenerationTest : public testing::Test {
 protected:
  // A call's answer, if there is one by now.
  template <typename Response>
  struct Answer {
    Response response;
    absl::Status status;
    bool came = false;
  };

  template <typename H, typename Request, typename Response>
  std::shared_ptr<Answer<Response>> Call(void (H::*method)(const Request&,
                                                           Response*,
                                                           typename H::Done),
                                         const Request& request) {
    auto answer = std::make_shared<Answer<Response>>();
    (life_.Get<H>().*method)(request, &answer->response,
                             [answer](const absl::Status& status) {
                               answer->status = status;
                               answer->came = true;
                             });
    return answer;
  }

  auto Create() {
    v1::CreateNormalizerRequest request;
    request.set_normalizer_id("n");
    request.mutable_normalizer()->set_features(1);
    return Call(&Handler::CreateNormalizer, request);
  }

  auto Reset() {
    v1::ResetStatisticsRequest request;
    request.set_name("normalizers/n");
    return Call(&Handler::ResetStatistics, request);
  }

  auto Get() {
    v1::GetNormalizerRequest request;
    request.set_name("normalizers/n");
    return Call(&Handler::GetNormalizer, request);
  }

  std::string OpenSession() {
    const auto opened =
        Call(&SessionHandler::OpenSession, v1::OpenSessionRequest());
    life_.Commit();
    return opened->response.session();
  }

  auto Update(const std::string& session, uint64_t sequence,
              uint64_t generation) {
    v1::NormalizeRequest request;
    request.set_name("normalizers/n");
    request.set_mode(v1::UPDATE_ONLY);
    request.mutable_input()->add_shape(1);
    request.mutable_input()->add_values(1);
    auto* id = request.mutable_update_id();
    id->set_session(session);
    id->set_epoch(1);
    id->set_sequence(sequence);
    id->set_generation(generation);
    return Call(&Handler::Normalize, request);
  }

  LossyStore store_;
  Life life_{&store_};
};

TEST_F(GenerationTest, ACreationIsNotSeenBeforeItIsOnDisk) {
  const auto created = Create();
  const auto seen = Get();
  EXPECT_FALSE(created->came);
  EXPECT_FALSE(seen->came);
  life_.Commit();
  EXPECT_TRUE(created->came);
  EXPECT_TRUE(seen->came);
  EXPECT_EQ(seen->response.generation(), created->response.generation());
  EXPECT_TRUE(Get()->came) << "from now on it is";
}

TEST_F(GenerationTest, AnUpdateAfterAResetIsAnsweredWhenTheResetIsOnDisk) {
  Create();
  const std::string session = OpenSession();
  const auto before = Update(session, 1, 1);
  ASSERT_TRUE(before->came) << "it does not wait for the disk";
  const auto reset = Reset();
  const auto after = Update(session, 2, 1);
  EXPECT_FALSE(after->came);
  life_.Commit();
  ASSERT_TRUE(after->came);
  EXPECT_TRUE(after->status.ok()) << after->status;
  EXPECT_EQ(after->response.generation(), reset->response.generation());
  EXPECT_EQ(after->response.counted_rows(), 0) << "made before the reset";
  EXPECT_TRUE(Update(session, 3, after->response.generation())->came);
}

TEST_F(GenerationTest, WithoutACountingUpdateNothingWaits) {
  Create();
  life_.Commit();
  Reset();
  v1::NormalizeRequest request;
  request.set_name("normalizers/n");
  request.set_mode(v1::NORMALIZE_ONLY);
  request.mutable_input()->add_shape(1);
  request.mutable_input()->add_values(1);
  EXPECT_TRUE(Call(&Handler::Normalize, request)->came);
}

}  // namespace
}  // namespace streamnorm
