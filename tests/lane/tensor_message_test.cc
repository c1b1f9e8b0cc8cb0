#include "lane/tensor_message.h"

#include <gtest/gtest.h>

#include <random>
#include <string>

namespace streamnorm {
namespace {

using Field = google::protobuf::FieldDescriptor;
using Random = std::mt19937_64;

// Small and large numbers, as their varints have other sizes.
uint64_t RandomNumber(Random* random) {
  return (*random)() >> ((*random)() % 64);
}

// Half of the fields but status and output, whatever the .proto has.
void SetSomeFields(Random* random, google::protobuf::Message* message) {
  const auto* reflection = message->GetReflection();
  for (int i = 0; i < message->GetDescriptor()->field_count(); ++i) {
    const Field* field = message->GetDescriptor()->field(i);
    if (field->is_repeated() || (*random)() % 2 == 0) continue;
    switch (field->cpp_type()) {
      case Field::CPPTYPE_UINT64:
        reflection->SetUInt64(message, field, RandomNumber(random));
        break;
      case Field::CPPTYPE_BOOL:
        reflection->SetBool(message, field, true);
        break;
      case Field::CPPTYPE_ENUM:
        reflection->SetEnumValue(message, field, 2);
        break;
      case Field::CPPTYPE_STRING:
        reflection->SetString(message, field,
                              std::string((*random)() % 40, 'h'));
        break;
      case Field::CPPTYPE_MESSAGE:
        break;
      default:
        FAIL() << "teach this test " << field->full_name();
    }
  }
}

void AddDimensions(Random* random, v1::Tensor* tensor) {
  for (auto dimensions = (*random)() % 7; dimensions > 0; --dimensions) {
    tensor->add_shape(static_cast<int64_t>(RandomNumber(random)));
  }
}

// `message` with `data` is what libprotobuf writes; and it is left as it was.
template <typename Message>
void ExpectAsLibprotobuf(v1::Tensor* (Message::*tensor)(), Message* message) {
  const std::string before = message->SerializeAsString();
  for (const size_t size : {0, 1, 127, 128, 20'000}) {
    const std::string data(size, 'z');
    std::string got = "head";
    AppendUpToData(message, size, &got);
    EXPECT_EQ(message->SerializeAsString(), before);
    (message->*tensor)()->set_data(data);
    const std::string want = message->SerializeAsString();
    (message->*tensor)()->clear_data();
    if (size > 0) {
      EXPECT_EQ(got + data, "head" + want) << message->ShortDebugString();
      continue;
    }
    // Empty data has a tag here, which means the same.
    Message parsed;
    ASSERT_TRUE(parsed.ParseFromString(got.substr(4)));
    EXPECT_EQ(parsed.SerializeAsString(), want);
  }
}

TEST(TensorMessageTest, AResponseIsWhatLibprotobufWrites) {
  Random random(1);
  for (int i = 0; i < 2000 && !testing::Test::HasFailure(); ++i) {
    v1::NormalizeResponse response;
    SetSomeFields(&random, &response);
    SetSomeFields(&random, response.mutable_output());
    response.mutable_output()->clear_data();
    AddDimensions(&random, response.mutable_output());
    if (random() % 8 == 0) response.mutable_status()->set_message("an error");
    ExpectAsLibprotobuf(&v1::NormalizeResponse::mutable_output, &response);
  }
}

TEST(TensorMessageTest, ARequestIsWhatLibprotobufWrites) {
  Random random(2);
  for (int i = 0; i < 500 && !testing::Test::HasFailure(); ++i) {
    v1::NormalizeRequest request;
    SetSomeFields(&random, &request);
    request.mutable_update_id()->set_sequence(RandomNumber(&random));
    SetSomeFields(&random, request.mutable_input());
    request.mutable_input()->clear_data();
    AddDimensions(&random, request.mutable_input());
    ExpectAsLibprotobuf(&v1::NormalizeRequest::mutable_input, &request);
  }
}

}  // namespace
}  // namespace streamnorm
