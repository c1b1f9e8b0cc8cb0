#ifndef STREAMNORM_LANE_PROTOBUF_WIRE_H_
#define STREAMNORM_LANE_PROTOBUF_WIRE_H_

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>

#include "google/protobuf/io/coded_stream.h"
#include "google/protobuf/wire_format_lite.h"

namespace streamnorm {

// The tag of a field that is a message, a string or bytes,
constexpr uint32_t LengthTag(int field) {
  using google::protobuf::internal::WireFormatLite;
  return WireFormatLite::MakeTag(field,
                                 WireFormatLite::WIRETYPE_LENGTH_DELIMITED);
}

// an integer, enum or bool,
constexpr uint32_t VarintTag(int field) {
  using google::protobuf::internal::WireFormatLite;
  return WireFormatLite::MakeTag(field, WireFormatLite::WIRETYPE_VARINT);
}

// or a fixed64 or double.
constexpr uint32_t Fixed64Tag(int field) {
  using google::protobuf::internal::WireFormatLite;
  return WireFormatLite::MakeTag(field, WireFormatLite::WIRETYPE_FIXED64);
}

inline void AppendVarint(uint64_t value, std::string* bytes) {
  std::array<uint8_t, 10> buffer;
  const uint8_t* end =
      google::protobuf::io::CodedOutputStream::WriteVarint64ToArray(
          value, buffer.data());
  bytes->append(reinterpret_cast<const char*>(buffer.data()),
                static_cast<size_t>(end - buffer.data()));
}

}  // namespace streamnorm

#endif  // STREAMNORM_LANE_PROTOBUF_WIRE_H_
