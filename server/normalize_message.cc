#include "server/normalize_message.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <utility>

#include "google/protobuf/wire_format_lite.h"
#include "lane/protobuf_wire.h"

namespace streamnorm {
namespace {

using google::protobuf::internal::WireFormatLite;

bool IsAscii(absl::string_view text) {
  return std::all_of(text.begin(), text.end(),
                     [](char c) { return (c & 0x80) == 0; });
}

}  // namespace

// Walks over pieces, which are not empty. Every function but position() is
// false at the end.
class MessageCursor {
 public:
  explicit MessageCursor(const std::vector<absl::string_view>& pieces)
      : pieces_(pieces) {
    AtEnd();
  }

  size_t position() const {
    return before_ + static_cast<size_t>(at_ - begin_);
  }

  bool AtEnd() {
    while (at_ == end_) {
      if (next_ == pieces_.size()) return true;
      before_ += static_cast<size_t>(end_ - begin_);
      const absl::string_view piece = pieces_[next_++];
      begin_ = at_ = piece.data();
      end_ = begin_ + piece.size();
    }
    return false;
  }

  // Field 0 is none, and a group, which ends where its end says, is not for us.
  bool ReadTag(uint32_t* tag) {
    uint64_t value = 0;
    if (!ReadSize(&value) || value < 8) return false;
    *tag = static_cast<uint32_t>(value);
    return true;
  }

  // Tags and sizes have at most 32 bits, and so 5 bytes.
  bool ReadSize(uint64_t* value) {
    return ReadVarint(5, value) && *value <= 0xffffffff;
  }
  bool ReadVarint(uint64_t* value) { return ReadVarint(10, value); }

  bool ReadFixed64(uint64_t* value) {
    std::array<char, sizeof(*value)> bytes;
    char* to = bytes.data();
    if (!Read(bytes.size(), [&to](absl::string_view part) {
          to = std::copy(part.begin(), part.end(), to);
        })) {
      return false;
    }
    std::memcpy(value, bytes.data(), sizeof(*value));
    return true;
  }

  bool ReadString(std::string* value) {
    uint64_t size = 0;
    value->clear();
    return ReadSize(&size) && Read(size, [value](absl::string_view part) {
             value->append(part.data(), part.size());
           });
  }

  // Hands the next `size` bytes to `take`, piece by piece.
  template <typename Take>
  bool Read(uint64_t size, Take take) {
    while (size > 0) {
      if (AtEnd()) return false;
      const auto part = static_cast<size_t>(
          std::min(size, static_cast<uint64_t>(end_ - at_)));
      take(absl::string_view(at_, part));
      at_ += part;
      size -= part;
    }
    return true;
  }

  // The rest of a field that nobody knows.
  bool Skip(uint32_t tag) {
    uint64_t value = 0;
    const auto drop = [](absl::string_view) {};
    switch (WireFormatLite::GetTagWireType(tag)) {
      case WireFormatLite::WIRETYPE_VARINT:
        return ReadVarint(&value);
      case WireFormatLite::WIRETYPE_FIXED64:
        return Read(8, drop);
      case WireFormatLite::WIRETYPE_FIXED32:
        return Read(4, drop);
      case WireFormatLite::WIRETYPE_LENGTH_DELIMITED:
        return ReadSize(&value) && Read(value, drop);
      default:
        return false;
    }
  }

  // Calls `read_field(tag)` for each field of a message that is the rest of
  // this field.
  template <typename ReadField>
  bool ReadMessage(ReadField read_field) {
    uint64_t size = 0;
    if (!ReadSize(&size)) return false;
    const uint64_t end = position() + size;
    while (position() < end) {
      uint32_t tag = 0;
      if (!ReadTag(&tag) || !read_field(tag)) return false;
    }
    return position() == end;
  }

 private:
  bool ReadVarint(int most_bytes, uint64_t* value) {
    *value = 0;
    for (int i = 0; i < most_bytes; ++i) {
      if (AtEnd()) return false;
      const auto byte = static_cast<uint8_t>(*at_++);
      if (i == 9 && byte > 1) return false;  // more than 64 bits
      *value |= static_cast<uint64_t>(byte & 0x7f) << (7 * i);
      if (byte < 0x80) return true;
    }
    return false;
  }

  const std::vector<absl::string_view>& pieces_;
  size_t next_ = 0;
  size_t before_ = 0;  // bytes of the pieces before this one
  const char* begin_ = nullptr;
  const char* at_ = nullptr;
  const char* end_ = nullptr;
};

absl::Status ReceivedNormalize::Parse(const grpc::ByteBuffer& message) {
  Clear();
  if (!message.Dump(&slices_).ok()) slices_.clear();
  for (const grpc::Slice& slice : slices_) {
    if (slice.size() == 0) continue;
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
  MessageCursor cursor(message_);
  while (!cursor.AtEnd()) {
    uint32_t tag = 0;
    if (!cursor.ReadTag(&tag) || !ReadField(tag, &cursor)) return ParseWhole();
  }
  return absl::OkStatus();
}

void ReceivedNormalize::Clear() {
  message_.clear();
  slices_.clear();
  // (request_.Clear() would free them.)
  if (request_.has_update_id()) update_id_.reset(request_.release_update_id());
  if (request_.has_input()) input_.reset(request_.release_input());
  request_.Clear();
  pieces_.clear();
  data_bytes_ = 0;
}

v1::UpdateId* ReceivedNormalize::UpdateId() {
  if (!request_.has_update_id() && update_id_ != nullptr) {
    update_id_->Clear();
    request_.set_allocated_update_id(update_id_.release());
  }
  return request_.mutable_update_id();
}

v1::Tensor* ReceivedNormalize::Input() {
  if (!request_.has_input() && input_ != nullptr) {
    input_->Clear();
    request_.set_allocated_input(input_.release());
  }
  return request_.mutable_input();
}

// These three read the rest of a field: false if it is not as simple as any
// client of the .proto makes it. One of another type than ours is one that we
// don't know, as for libprotobuf.
bool ReceivedNormalize::ReadField(uint32_t tag, MessageCursor* cursor) {
  using Request = v1::NormalizeRequest;
  uint64_t value = 0;
  switch (tag) {
    case LengthTag(Request::kNameFieldNumber):
      return cursor->ReadString(request_.mutable_name()) &&
             IsAscii(request_.name());
    case VarintTag(Request::kModeFieldNumber):
      if (!cursor->ReadVarint(&value)) return false;
      request_.set_mode(static_cast<v1::Mode>(static_cast<int>(value)));
      return true;
    case LengthTag(Request::kUpdateIdFieldNumber): {
      v1::UpdateId* id = UpdateId();
      return cursor->ReadMessage(
          [&](uint32_t field) { return ReadUpdateIdField(field, cursor, id); });
    }
    case VarintTag(Request::kWaitDurableFieldNumber):
      if (!cursor->ReadVarint(&value)) return false;
      request_.set_wait_durable(value != 0);
      return true;
    case Fixed64Tag(Request::kSchemaHashFieldNumber):
      if (!cursor->ReadFixed64(&value)) return false;
      request_.set_schema_hash(value);
      return true;
    case VarintTag(Request::kFailIfFrozenFieldNumber):
      if (!cursor->ReadVarint(&value)) return false;
      request_.set_fail_if_frozen(value != 0);
      return true;
    case Fixed64Tag(Request::kRowsSentTotalFieldNumber):
      if (!cursor->ReadFixed64(&value)) return false;
      request_.set_rows_sent_total(value);
      return true;
    case LengthTag(Request::kInputFieldNumber): {
      v1::Tensor* input = Input();
      return cursor->ReadMessage(
          [&](uint32_t field) { return ReadInputField(field, cursor, input); });
    }
    default:
      return cursor->Skip(tag);
  }
}

bool ReceivedNormalize::ReadUpdateIdField(uint32_t tag, MessageCursor* cursor,
                                          v1::UpdateId* id) {
  uint64_t value = 0;
  switch (tag) {
    case LengthTag(v1::UpdateId::kSessionFieldNumber):
      return cursor->ReadString(id->mutable_session());
    case VarintTag(v1::UpdateId::kEpochFieldNumber):
      if (!cursor->ReadVarint(&value)) return false;
      id->set_epoch(value);
      return true;
    case VarintTag(v1::UpdateId::kSequenceFieldNumber):
      if (!cursor->ReadVarint(&value)) return false;
      id->set_sequence(value);
      return true;
    case VarintTag(v1::UpdateId::kGenerationFieldNumber):
      if (!cursor->ReadVarint(&value)) return false;
      id->set_generation(value);
      return true;
    default:
      return cursor->Skip(tag);
  }
}

bool ReceivedNormalize::ReadInputField(uint32_t tag, MessageCursor* cursor,
                                       v1::Tensor* input) {
  uint64_t value = 0;
  switch (tag) {
    case VarintTag(v1::Tensor::kDatatypeFieldNumber):
      if (!cursor->ReadVarint(&value)) return false;
      input->set_datatype(static_cast<v1::DataType>(static_cast<int>(value)));
      return true;
    case VarintTag(v1::Tensor::kShapeFieldNumber):
      if (!cursor->ReadVarint(&value)) return false;
      input->add_shape(static_cast<int64_t>(value));
      return true;
    case LengthTag(v1::Tensor::kShapeFieldNumber): {
      if (!cursor->ReadSize(&value)) return false;
      const uint64_t end = cursor->position() + value;
      while (cursor->position() < end) {
        if (!cursor->ReadVarint(&value)) return false;
        input->add_shape(static_cast<int64_t>(value));
      }
      return cursor->position() == end;
    }
    case LengthTag(v1::Tensor::kDataFieldNumber):
      // Where it comes again, the last one counts.
      pieces_.clear();
      return cursor->ReadSize(&data_bytes_) &&
             cursor->Read(data_bytes_, [this](absl::string_view piece) {
               pieces_.push_back(piece);
             });
    case LengthTag(v1::Tensor::kValuesFieldNumber):
    case Fixed64Tag(v1::Tensor::kValuesFieldNumber):
      return false;
    default:
      return cursor->Skip(tag);
  }
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

v1::NormalizeResponse* ReusedResponse::Reset(bool with_output) {
  // (response_.Clear() would free it.)
  if (response_.has_output()) output_.reset(response_.release_output());
  response_.Clear();
  if (with_output && output_ != nullptr) {
    output_->Clear();
    response_.set_allocated_output(output_.release());
  }
  return &response_;
}

}  // namespace streamnorm
