#include "server/rpc_status.h"

#include <gtest/gtest.h>

#include "google/rpc/error_details.pb.h"
#include "server/errors.h"
#include "server/wire.h"

namespace streamnorm {
namespace {

TEST(RpcStatusTest, EveryCodeKeepsItsNumber) {
  for (int code = 0; code <= 16; ++code) {
    const absl::Status status(static_cast<absl::StatusCode>(code), "text");
    EXPECT_EQ(ToGrpcStatus(status).error_code(), code);
    EXPECT_EQ(ToRpcStatus(status).code(), code);
  }
}

TEST(RpcStatusTest, CarriesReasonDomainAndFieldPath) {
  const grpc::Status status =
      ToGrpcStatus(InvalidField("input.shape[1]", "31", "32"));
  EXPECT_EQ(status.error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_EQ(status.error_message(), "input.shape[1]: 31, want 32");
  google::rpc::Status proto;
  ASSERT_TRUE(proto.ParseFromString(status.error_details()));
  google::rpc::ErrorInfo info;
  google::rpc::BadRequest bad_request;
  for (const auto& detail : proto.details()) {
    detail.UnpackTo(&info);
    detail.UnpackTo(&bad_request);
  }
  EXPECT_EQ(info.reason(), "INVALID_ARGUMENT");
  EXPECT_EQ(info.domain(), "streamnorm");
  ASSERT_EQ(bad_request.field_violations_size(), 1);
  EXPECT_EQ(bad_request.field_violations(0).field(), "input.shape[1]");
}

TEST(RpcStatusTest, APartsErrorNamesThePathThatLeadsToIt) {
  const absl::Status within =
      Within("merges[3]", InvalidField("mean", "8 bytes", "16"));
  EXPECT_EQ(within.message(), "merges[3].mean: 8 bytes, want 16");
  const google::rpc::Status proto = ToRpcStatus(within);
  google::rpc::BadRequest bad_request;
  for (const auto& detail : proto.details()) {
    detail.UnpackTo(&bad_request);
  }
  ASSERT_EQ(bad_request.field_violations_size(), 1);
  EXPECT_EQ(bad_request.field_violations(0).field(), "merges[3].mean");
  EXPECT_EQ(bad_request.field_violations(0).description(), within.message());
}

TEST(RpcStatusTest, APartsErrorThatIsNoBadFieldKeepsItsReason) {
  const absl::Status within = Within("merges[0]", EpochFenced(1, 2));
  EXPECT_EQ(within.message().find("merges[0]: update_id.epoch: 1, want 2"), 0);
  EXPECT_TRUE(absl::IsAborted(within));
  google::rpc::ErrorInfo info;
  ASSERT_EQ(ToRpcStatus(within).details_size(), 1);
  ASSERT_TRUE(ToRpcStatus(within).details(0).UnpackTo(&info));
  EXPECT_EQ(info.reason(), "EPOCH_FENCED");
}

TEST(RpcStatusTest, EveryReasonHasANameOfItsOwn) {
  std::set<std::string> names;
  constexpr int kReasons = static_cast<int>(Reason::kShuttingDown) + 1;
  for (int i = 0; i < kReasons; ++i) {
    const auto reason = static_cast<Reason>(i);
    EXPECT_FALSE(MakeError(reason, "").ok());
    names.insert(ReasonName(reason));
  }
  EXPECT_EQ(names.size(), kReasons);
}

TEST(QuotedTest, EscapesAndCutsWhatCameFromOutside) {
  EXPECT_EQ(Quoted("a\n\x01"), "\"a\\n\\x01\"");
  EXPECT_EQ(Quoted(std::string(500, 'x')).size(), 205);
}

}  // namespace
}  // namespace streamnorm
