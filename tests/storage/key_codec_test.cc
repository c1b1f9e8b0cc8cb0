#include "storage/key_codec.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "tests/storage/record_builders.h"

namespace streamnorm {
namespace {

using testing::StartsWith;

const std::string kLongestId = "a" + std::string(127, '-');

TEST(KeyCodecTest, KeysHaveTheDocumentedBytes) {
  const std::string session(16, '\x07');
  EXPECT_EQ(DefinitionKey("ab"),
            "C\x02"
            "ab");
  EXPECT_EQ(StateKey("ab"),
            "S\x02"
            "ab");
  EXPECT_EQ(LedgerPrefix("ab"),
            "L\x02"
            "ab");
  EXPECT_EQ(LedgerKey("ab", SessionNamed(7)),
            "L\x02"
            "ab" +
                session);
  EXPECT_EQ(SessionKey(SessionNamed(7)), "E" + session);
  EXPECT_EQ(SnapshotKey("ab", "cd"),
            "P\x02"
            "abcd");
}

TEST(KeyCodecTest, EveryKeyIsParsedBack) {
  for (const std::string& id : {std::string("a"), kLongestId}) {
    const absl::StatusOr<ParsedKey> definition = ParseKey(DefinitionKey(id));
    ASSERT_TRUE(definition.ok());
    EXPECT_EQ(definition->kind, KeyKind::kDefinition);
    EXPECT_EQ(definition->normalizer_id, id);
    const absl::StatusOr<ParsedKey> state = ParseKey(StateKey(id));
    ASSERT_TRUE(state.ok());
    EXPECT_EQ(state->kind, KeyKind::kState);
    EXPECT_EQ(state->normalizer_id, id);
    const absl::StatusOr<ParsedKey> ledger =
        ParseKey(LedgerKey(id, SessionNamed(0)));
    ASSERT_TRUE(ledger.ok());
    EXPECT_EQ(ledger->kind, KeyKind::kLedger);
    EXPECT_EQ(ledger->normalizer_id, id);
    EXPECT_EQ(ledger->session, SessionNamed(0));
    for (const std::string& name : {std::string("b"), kLongestId}) {
      const auto snapshot = ParseKey(SnapshotKey(id, name));
      ASSERT_TRUE(snapshot.ok());
      EXPECT_EQ(snapshot->kind, KeyKind::kSnapshot);
      EXPECT_EQ(snapshot->normalizer_id, id);
      EXPECT_EQ(snapshot->snapshot_id, name);
    }
  }
  const absl::StatusOr<ParsedKey> session =
      ParseKey(SessionKey(SessionNamed(255)));
  ASSERT_TRUE(session.ok());
  EXPECT_EQ(session->kind, KeyKind::kSession);
  EXPECT_EQ(session->session, SessionNamed(255));
}

TEST(KeyCodecTest, MetaKeysAreParsedAsSuch) {
  for (const std::string_view key :
       {kFormatKey, kHistoryKey, kIncarnationKey, kNextGenerationKey}) {
    const absl::StatusOr<ParsedKey> parsed = ParseKey(key);
    ASSERT_TRUE(parsed.ok()) << key;
    EXPECT_EQ(parsed->kind, KeyKind::kMeta);
  }
}

TEST(KeyCodecTest, NoPrefixOfAKeyIsAKey) {
  for (const std::string& key :
       {DefinitionKey("abc"), StateKey("abc"),
        LedgerKey("abc", SessionNamed(1)), SessionKey(SessionNamed(1)),
        std::string(kFormatKey)}) {
    for (size_t size = 0; size < key.size(); ++size) {
      EXPECT_TRUE(absl::IsDataLoss(ParseKey(key.substr(0, size)).status()))
          << key << " cut to " << size;
    }
  }
}

TEST(KeyCodecTest, TrailingBytesAreNoKey) {
  for (const std::string& key :
       {DefinitionKey("abc"), StateKey("abc"),
        LedgerKey("abc", SessionNamed(1)), SessionKey(SessionNamed(1)),
        std::string(kFormatKey)}) {
    EXPECT_TRUE(absl::IsDataLoss(ParseKey(key + "x").status())) << key;
  }
}

TEST(KeyCodecTest, UnknownKindIsNoKey) {
  for (const char* key : {"", "X",
                          "c\x01"
                          "a",
                          "Mother"}) {
    EXPECT_TRUE(absl::IsDataLoss(ParseKey(key).status())) << key;
  }
}

TEST(KeyCodecTest, IdThatNoNormalizerCanHaveIsNoKey) {
  const std::string empty_id("C\0", 2);
  for (const std::string& key : {empty_id,
                                 std::string("C\x01"
                                             "A"),
                                 std::string("C\x02"
                                             "a/"),
                                 "C\x81" + std::string(129, 'a')}) {
    EXPECT_TRUE(absl::IsDataLoss(ParseKey(key).status()));
  }
}

TEST(KeyCodecTest, LedgerPrefixFitsNoOtherNormalizer) {
  const std::vector<std::string> ids = {"a", "aa", "a.", "ab", "b", kLongestId};
  for (const std::string& id : ids) {
    for (const std::string& other : ids) {
      const bool fits =
          LedgerKey(other, SessionNamed(1)).starts_with(LedgerPrefix(id));
      EXPECT_EQ(fits, id == other) << id << " and " << other;
    }
  }
}

TEST(KeyCodecTest, IdsFollowTheGrammar) {
  for (const std::string& id :
       {std::string("a"), std::string("layer3.q-proj_0"), kLongestId}) {
    EXPECT_TRUE(IsNormalizerId(id)) << id;
  }
  for (const std::string& id :
       {std::string(), std::string("A"), std::string("1a"), std::string("a b"),
        std::string("a/b"), std::string("\xc3\xa4"), kLongestId + "a"}) {
    EXPECT_FALSE(IsNormalizerId(id)) << id;
  }
}

TEST(KeyCodecDeathTest, KeyOfAnImpossibleIdIsAProgrammerMistake) {
  EXPECT_DEATH(StateKey("../etc"), "IsNormalizerId");
}

}  // namespace
}  // namespace streamnorm
