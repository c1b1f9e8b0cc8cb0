#include "server/normalize_message.h"

#include <google/protobuf/util/message_differencer.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <random>
#include <string>
#include <vector>

namespace streamnorm {
namespace {

using google::protobuf::util::MessageDifferencer;
using Random = std::mt19937;

// `bytes` in pieces as the network might bring them.
grpc::ByteBuffer InPieces(const std::string& bytes, Random* random) {
  std::vector<grpc::Slice> slices;
  for (size_t at = 0; at < bytes.size();) {
    const size_t longest = (*random)() % 3 == 0 ? 3 : bytes.size();
    const size_t size = std::min(bytes.size() - at, 1 + (*random)() % longest);
    slices.emplace_back(bytes.data() + at, size);
    at += size;
  }
  return {slices.data(), slices.size()};
}

std::string DataOf(const ReceivedNormalize& received) {
  std::string data(received.data_bytes(), '\0');
  received.CopyData(reinterpret_cast<uint8_t*>(data.data()));
  return data;
}

// What libprotobuf makes of `bytes` is what we make of them.
void ExpectAsLibprotobuf(const std::string& bytes, Random* random,
                         ReceivedNormalize* received) {
  v1::NormalizeRequest want;
  const bool valid = want.ParseFromString(bytes);
  const absl::Status status = received->Parse(InPieces(bytes, random));
  ASSERT_EQ(status.ok(), valid) << status;
  if (!valid) return;
  want.DiscardUnknownFields();
  EXPECT_EQ(DataOf(*received), want.input().data());
  if (received->data().data() != nullptr) {
    EXPECT_EQ(received->data(), want.input().data());
  }
  v1::NormalizeRequest got = received->request();
  got.DiscardUnknownFields();
  if (got.has_input()) got.mutable_input()->clear_data();
  if (want.has_input()) want.mutable_input()->clear_data();
  EXPECT_TRUE(MessageDifferencer::Equals(got, want))
      << got.ShortDebugString() << "\nwant " << want.ShortDebugString();
}

// Something else than nothing.
void SetField(const google::protobuf::FieldDescriptor* field,
              google::protobuf::Message* message) {
  using Field = google::protobuf::FieldDescriptor;
  const auto* reflection = message->GetReflection();
  switch (field->cpp_type()) {
    case Field::CPPTYPE_STRING:
      return reflection->SetString(message, field, "text");
    case Field::CPPTYPE_BOOL:
      return reflection->SetBool(message, field, true);
    case Field::CPPTYPE_ENUM:
      return reflection->SetEnumValue(message, field, 1);
    case Field::CPPTYPE_UINT64:
      return reflection->SetUInt64(message, field, 300);
    case Field::CPPTYPE_MESSAGE: {
      auto* inner = reflection->MutableMessage(message, field);
      for (int i = 0; i < inner->GetDescriptor()->field_count(); ++i) {
        if (!inner->GetDescriptor()->field(i)->is_repeated()) {
          SetField(inner->GetDescriptor()->field(i), inner);
        }
      }
      return;
    }
    default:
      FAIL() << "teach this test " << field->full_name();
  }
}

std::string RandomBytes(size_t size, Random* random) {
  std::string bytes(size, '\0');
  for (char& byte : bytes) byte = static_cast<char>((*random)());
  return bytes;
}

v1::NormalizeRequest RandomRequest(Random* random) {
  const auto maybe = [random] { return (*random)() % 2 == 0; };
  v1::NormalizeRequest request;
  if (maybe()) request.set_name("normalizers/layer");
  if (maybe()) request.set_mode(v1::NORMALIZE_ONLY);
  if (maybe()) {
    request.mutable_update_id()->set_session(RandomBytes(16, random));
    request.mutable_update_id()->set_sequence((*random)());
    if (maybe()) request.mutable_update_id()->set_epoch((*random)());
    if (maybe()) request.mutable_update_id()->set_generation((*random)());
  }
  if (maybe()) request.set_schema_hash((*random)());
  if (maybe()) request.set_wait_durable(true);
  if (maybe()) request.set_fail_if_frozen(true);
  if (maybe()) request.set_rows_sent_total((*random)());
  if (!maybe()) return request;
  v1::Tensor* input = request.mutable_input();
  if (maybe()) input->set_datatype(v1::FP32);
  if (maybe()) input->add_shape((*random)() % 1000);
  if (maybe()) input->add_values(0.5);
  if (maybe()) input->set_data(RandomBytes((*random)() % 400, random));
  return request;
}

// A field that no version of the message has.
std::string UnknownField(Random* random) {
  switch ((*random)() % 4) {
    case 0:
      return std::string("\xc8\x06", 2) + "\x05";  // 105, varint
    case 1:
      return std::string("\xc9\x06", 2) + RandomBytes(8, random);
    case 2:
      return std::string("\xca\x06\x03", 3) + RandomBytes(3, random);
    default:
      return std::string("\xcb\x06\xcc\x06", 4);  // an empty group
  }
}

constexpr int kRandomMessages = 20'000;

TEST(NormalizeMessageTest, AnyMessageIsReadAsLibprotobufReadsIt) {
  Random random(1);
  ReceivedNormalize received;
  for (int i = 0; i < kRandomMessages && !HasFailure(); ++i) {
    // Fields in pieces, repeated, in any order, with others between.
    std::string bytes;
    for (auto parts = random() % 4; parts > 0; --parts) {
      bytes += RandomRequest(&random).SerializeAsString();
      if (random() % 4 == 0) bytes += UnknownField(&random);
    }
    ExpectAsLibprotobuf(bytes, &random, &received);
  }
}

TEST(NormalizeMessageTest, ABrokenMessageIsRefusedWhereLibprotobufRefusesIt) {
  Random random(2);
  ReceivedNormalize received;
  for (int i = 0; i < kRandomMessages && !HasFailure(); ++i) {
    std::string bytes = RandomRequest(&random).SerializeAsString();
    if (bytes.empty()) continue;
    for (auto flips = random() % 3; flips > 0; --flips) {
      bytes[random() % bytes.size()] ^= static_cast<char>(1 << (random() % 8));
    }
    if (random() % 2 == 0) bytes.resize(random() % bytes.size());
    ExpectAsLibprotobuf(bytes, &random, &received);
  }
}

TEST(NormalizeMessageTest, NoiseIsReadAsLibprotobufReadsIt) {
  Random random(3);
  ReceivedNormalize received;
  for (int i = 0; i < kRandomMessages && !HasFailure(); ++i) {
    ExpectAsLibprotobuf(RandomBytes(random() % 24, &random), &random,
                        &received);
  }
}

TEST(NormalizeMessageTest, AnOrdinaryRequestIsNotCopied) {
  v1::NormalizeRequest request;
  request.set_name("normalizers/layer");
  request.mutable_input()->set_data(std::string(100'000, 'x'));
  const grpc::Slice slice(request.SerializeAsString());
  ReceivedNormalize received;
  ASSERT_TRUE(received.Parse(grpc::ByteBuffer(&slice, 1)).ok());
  const auto* begin = reinterpret_cast<const char*>(slice.begin());
  EXPECT_GE(received.data().data(), begin);
  EXPECT_LT(received.data().data(), begin + slice.size());
  EXPECT_TRUE(received.request().input().data().empty());
}

TEST(NormalizeMessageTest, NoFieldOfARequestIsForgotten) {
  // Each of them alone, whatever the .proto has.
  Random random(4);
  ReceivedNormalize received;
  for (int i = 0; i < v1::NormalizeRequest::descriptor()->field_count(); ++i) {
    v1::NormalizeRequest request;
    SetField(v1::NormalizeRequest::descriptor()->field(i), &request);
    ExpectAsLibprotobuf(request.SerializeAsString(), &random, &received);
  }
}

TEST(NormalizeMessageTest, AMessageLeavesNothingToTheNext) {
  Random random(5);
  v1::NormalizeRequest full;
  full.set_name("normalizers/layer");
  full.mutable_update_id()->set_sequence(7);
  full.mutable_input()->add_shape(3);
  full.mutable_input()->set_data("abc");
  v1::NormalizeRequest little;
  little.mutable_update_id();
  ReceivedNormalize received;
  for (const auto& request : {full, little, full, v1::NormalizeRequest()}) {
    ExpectAsLibprotobuf(request.SerializeAsString(), &random, &received);
  }
}

TEST(NormalizeMessageTest, AReusedResponseIsEmpty) {
  ReusedResponse reused;
  reused.Reset(true)->mutable_output()->add_shape(3);
  reused.get()->set_revision(7);
  EXPECT_FALSE(reused.Reset(false)->has_output());
  EXPECT_EQ(reused.get()->ByteSizeLong(), 0);
  EXPECT_EQ(reused.Reset(true)->output().ByteSizeLong(), 0);
}

}  // namespace
}  // namespace streamnorm
