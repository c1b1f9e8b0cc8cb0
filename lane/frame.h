#ifndef STREAMNORM_LANE_FRAME_H_
#define STREAMNORM_LANE_FRAME_H_

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>

// The bytes of the lane (docs/lane.md): the data path for clients on the
// server's own machine, over a unix socket and without gRPC.
namespace streamnorm {

// A client begins with these 8 bytes; the last two are the version.
inline constexpr std::array<char, 8> kLaneMagic = {'S', 'N', 'L', 'A',
                                                   'N', 'E', '0', '1'};

// The server's answer to them: the same, then who it is. A client that wanted
// another store's socket finds out.
struct LaneHello {
  std::array<char, 8> magic;
  std::array<uint8_t, 16> history_id;
  uint64_t incarnation;
};
inline constexpr size_t kLaneHelloBytes = 32;

// What is asked for, and in the answer what was.
enum class LaneMethod : uint8_t {
  kNormalize = 1,        // NormalizeRequest -> NormalizeResponse
  kMergeMoments = 2,     // MergeMomentsRequest -> MergeMomentsResponse
  kExchangeMoments = 3,  // ExchangeMomentsRequest -> ExchangeMomentsResponse
};

// Of an answer: the message is a google.rpc.Status.
inline constexpr uint8_t kLaneError = 1;

// Before each message: its size, the method, flags, two bytes of zeros.
struct FrameHeader {
  uint32_t bytes = 0;
  uint8_t method = 0;
  uint8_t flags = 0;
};
inline constexpr size_t kFrameHeaderBytes = 8;

inline void EncodeFrameHeader(const FrameHeader& header, uint8_t* to) {
  for (size_t i = 0; i < 4; ++i) {
    to[i] = static_cast<uint8_t>(header.bytes >> (8 * i));
  }
  to[4] = header.method;
  to[5] = header.flags;
  to[6] = to[7] = 0;
}

inline FrameHeader DecodeFrameHeader(const uint8_t* from) {
  FrameHeader header;
  for (size_t i = 0; i < 4; ++i) {
    header.bytes |= static_cast<uint32_t>(from[i]) << (8 * i);
  }
  header.method = from[4];
  header.flags = from[5];
  return header;
}

inline void EncodeLaneHello(const LaneHello& hello, uint8_t* to) {
  std::memcpy(to, hello.magic.data(), 8);
  std::memcpy(to + 8, hello.history_id.data(), 16);
  for (size_t i = 0; i < 8; ++i) {
    to[24 + i] = static_cast<uint8_t>(hello.incarnation >> (8 * i));
  }
}

inline LaneHello DecodeLaneHello(const uint8_t* from) {
  LaneHello hello{};
  std::memcpy(hello.magic.data(), from, 8);
  std::memcpy(hello.history_id.data(), from + 8, 16);
  for (size_t i = 0; i < 8; ++i) {
    hello.incarnation |= static_cast<uint64_t>(from[24 + i]) << (8 * i);
  }
  return hello;
}

}  // namespace streamnorm

#endif  // STREAMNORM_LANE_FRAME_H_
