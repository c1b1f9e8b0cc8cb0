#include "server/normalize_message.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <utility>

#include "google/protobuf/wire_format_lite.h"
#include "lane/protobuf_wire.h"
#include "lane/tensor_message.h"

namespace streamnorm {
namespace {

using google::protobuf::internal::WireFormatLite;

constexpr uint32_t kInputTag =
    LengthTag(v1::NormalizeRequest::kInputFieldNumber);
constexpr uint32_t kDataTag = LengthTag(v1::Tensor::kDataFieldNumber);

// Walks over pieces. Every function but position() is false, or 0, at the end.
class Cursor {
 public:
  explicit Cursor(const std::vector<absl::string_view>& pieces)
      : pieces_(pieces) {}

  uint64_t position() const { return position_; }

  // Tags and sizes have at most 32 bits, and so 5 bytes.
  bool ReadVarint32(uint64_t* value) {
    return ReadVarint(5, value) && *value <= 0xffffffff;
  }
  bool ReadVarint64(uint64_t* value) { return ReadVarint(10, value); }

  // Hands the next `size` bytes to `take`, piece by piece.
  template <typename Take>
  bool Read(uint64_t size, Take take) {
    while (size > 0) {
      const absl::string_view left = Left();
      if (left.empty()) return false;
      const auto part = left.substr(0, std::min<uint64_t>(size, left.size()));
      take(part);
      Advance(part.size());
      size -= part.size();
    }
    return true;
  }

  // What is left of this piece; empty only at the very end.
  absl::string_view Left() {
    while (piece_ < pieces_.size() && offset_ == pieces_[piece_].size()) {
      ++piece_;
      offset_ = 0;
    }
    if (piece_ == pieces_.size()) return {};
    return pieces_[piece_].substr(offset_);
  }

 private:
  bool ReadVarint(int most_bytes, uint64_t* value) {
    *value = 0;
    for (int i = 0; i < most_bytes; ++i) {
      uint8_t byte = 0;
      if (!ReadByte(&byte)) return false;
      if (i == 9 && byte > 1) return false;  // more than 64 bits
      *value |= static_cast<uint64_t>(byte & 0x7f) << (7 * i);
      if (byte < 0x80) return true;
    }
    return false;
  }

  bool ReadByte(uint8_t* byte) {
    const absl::string_view left = Left();
    if (left.empty()) return false;
    *byte = static_cast<uint8_t>(left[0]);
    Advance(1);
    return true;
  }

  void Advance(size_t size) {
    offset_ += size;
    position_ += size;
  }

  const std::vector<absl::string_view>& pieces_;
  size_t piece_ = 0;
  size_t offset_ = 0;
  uint64_t position_ = 0;
};

// Copies the rest of a field to `to`, tag included. False where libprotobuf is
// to look at it: groups, and what is no field.
bool CopyField(uint64_t tag, Cursor* cursor, std::string* to) {
  const auto append = [to](absl::string_view part) {
    to->append(part.data(), part.size());
  };
  AppendVarint(tag, to);
  uint64_t value = 0;
  switch (WireFormatLite::GetTagWireType(static_cast<uint32_t>(tag))) {
    case WireFormatLite::WIRETYPE_VARINT:
      if (!cursor->ReadVarint64(&value)) return false;
      AppendVarint(value, to);
      return true;
    case WireFormatLite::WIRETYPE_FIXED64:
      return cursor->Read(8, append);
    case WireFormatLite::WIRETYPE_FIXED32:
      return cursor->Read(4, append);
    case WireFormatLite::WIRETYPE_LENGTH_DELIMITED:
      if (!cursor->ReadVarint32(&value)) return false;
      AppendVarint(value, to);
      return cursor->Read(value, append);
    default:
      return false;
  }
}

bool IsTag(uint64_t tag) { return tag >= 8; }  // field 0 is none

}  // namespace

absl::Status ReceivedNormalize::Parse(const grpc::ByteBuffer& message) {
  Clear();
  if (!message.Dump(&slices_).ok()) slices_.clear();
  for (const grpc::Slice& slice : slices_) {
    message_.emplace_back(reinterpret_cast<const char*>(slice.begin()),
                          slice.size());
  }
  return ParseMessage();
}

absl::Status ReceivedNormalize::Parse(absl::string_view message) {
  Clear();
  message_.push_back(message);
  return ParseMessage();
}

absl::Status ReceivedNormalize::ParseMessage() {
  if (!CutData()) return ParseWhole();
  return request_.ParseFromString(head_) ? absl::OkStatus() : ParseWhole();
}

void ReceivedNormalize::Clear() {
  message_.clear();
  slices_.clear();
  request_.Clear();
  head_.clear();
  input_.clear();
  pieces_.clear();
  data_bytes_ = 0;
}

// Splits the message in head_ and the data's pieces_. False if it is not as
// simple as any client of the .proto makes it: one input with one data.
bool ReceivedNormalize::CutData() {
  Cursor cursor(message_);
  bool has_input = false;
  while (!cursor.Left().empty()) {
    uint64_t tag = 0;
    if (!cursor.ReadVarint32(&tag) || !IsTag(tag)) return false;
    if (tag != kInputTag) {
      if (!CopyField(tag, &cursor, &head_)) return false;
      continue;
    }
    uint64_t size = 0;
    if (std::exchange(has_input, true) || !cursor.ReadVarint32(&size)) {
      return false;
    }
    const uint64_t end = cursor.position() + size;
    bool has_data = false;
    while (cursor.position() < end) {
      if (!cursor.ReadVarint32(&tag) || !IsTag(tag)) return false;
      if (tag != kDataTag) {
        if (!CopyField(tag, &cursor, &input_)) return false;
        continue;
      }
      if (std::exchange(has_data, true) || !cursor.ReadVarint32(&data_bytes_) ||
          !cursor.Read(data_bytes_, [this](absl::string_view piece) {
            pieces_.push_back(piece);
          })) {
        return false;
      }
    }
    if (cursor.position() != end) return false;
    AppendVarint(kInputTag, &head_);
    AppendVarint(input_.size(), &head_);
    head_ += input_;
  }
  return true;
}

absl::Status ReceivedNormalize::ParseWhole() {
  std::string whole;
  for (const absl::string_view piece : message_) {
    whole.append(piece.data(), piece.size());
  }
  pieces_.clear();
  data_bytes_ = 0;
  if (!request_.ParseFromString(whole)) {
    request_.Clear();
    return absl::InvalidArgumentError(
        "the message is no streamnorm.v1.NormalizeRequest");
  }
  const std::string& data = request_.input().data();
  if (!data.empty()) pieces_.push_back(data);
  data_bytes_ = data.size();
  return absl::OkStatus();
}

absl::string_view ReceivedNormalize::data() const {
  return pieces_.size() == 1 ? pieces_.front() : absl::string_view();
}

void ReceivedNormalize::CopyData(uint8_t* to) const {
  for (const absl::string_view piece : pieces_) {
    std::memcpy(to, piece.data(), piece.size());
    to += piece.size();
  }
}

grpc::ByteBuffer SerializeWithData(v1::NormalizeResponse* response,
                                   grpc::Slice data) {
  std::string head;
  AppendUpToData(response, data.size(), &head);
  const std::array<grpc::Slice, 2> slices = {grpc::Slice(head),
                                             std::move(data)};
  return {slices.data(), slices.size()};
}

}  // namespace streamnorm
