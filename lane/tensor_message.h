#ifndef STREAMNORM_LANE_TENSOR_MESSAGE_H_
#define STREAMNORM_LANE_TENSOR_MESSAGE_H_

#include <cstddef>
#include <string>

#include "streamnorm/v1/normalizer_service.pb.h"

namespace streamnorm {

// Append the bytes of a message up to those of its tensor's data, which is the
// last field of the last field: so that a large one is sent from where it lies.
// `data_bytes` of it are to follow; what the message holds of it is not looked
// at, and a response's unknown fields may be left out. The message is as before
// when they return.
void AppendUpToData(v1::NormalizeRequest* request, size_t data_bytes,
                    std::string* to);
void AppendUpToData(v1::NormalizeResponse* response, size_t data_bytes,
                    std::string* to);

}  // namespace streamnorm

#endif  // STREAMNORM_LANE_TENSOR_MESSAGE_H_
