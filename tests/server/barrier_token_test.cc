#include "server/barrier_token.h"

#include <gtest/gtest.h>

namespace streamnorm {
namespace {

BarrierToken ExampleToken() {
  BarrierToken token;
  token.history_id.fill(7);
  token.session.bytes.fill(9);
  token.sequences = {{"layer3", 5}, {"z", ~uint64_t{0}}};
  return token;
}

TEST(BarrierTokenTest, ComesBackAsItWas) {
  const auto decoded = DecodeToken(EncodeToken(ExampleToken()));
  ASSERT_TRUE(decoded.ok()) << decoded.status();
  EXPECT_EQ(*decoded, ExampleToken());
}

TEST(BarrierTokenTest, ComesBackWithoutNormalizers) {
  BarrierToken token = ExampleToken();
  token.sequences.clear();
  const auto decoded = DecodeToken(EncodeToken(token));
  ASSERT_TRUE(decoded.ok()) << decoded.status();
  EXPECT_EQ(*decoded, token);
}

TEST(BarrierTokenTest, EveryTruncationIsRefused) {
  const std::string bytes = EncodeToken(ExampleToken());
  for (size_t size = 0; size < bytes.size(); ++size) {
    EXPECT_TRUE(
        absl::IsInvalidArgument(DecodeToken(bytes.substr(0, size)).status()))
        << size;
  }
}

TEST(BarrierTokenTest, EveryFlippedBitIsRefused) {
  const std::string bytes = EncodeToken(ExampleToken());
  for (size_t bit = 0; bit < bytes.size() * 8; ++bit) {
    std::string flipped = bytes;
    flipped[bit / 8] = static_cast<char>(flipped[bit / 8] ^ (1 << (bit % 8)));
    EXPECT_TRUE(absl::IsInvalidArgument(DecodeToken(flipped).status())) << bit;
  }
}

}  // namespace
}  // namespace streamnorm
