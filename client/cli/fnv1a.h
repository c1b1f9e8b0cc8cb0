#ifndef STREAMNORM_CLIENT_CLI_FNV1A_H_
#define STREAMNORM_CLIENT_CLI_FNV1A_H_

#include <cstdint>

#include "absl/strings/string_view.h"

namespace streamnorm {

// The 64-bit FNV-1a hash: finds damage and changes, not malice.
constexpr uint64_t Fnv1a(absl::string_view bytes) {
  uint64_t hash = 0xcbf29ce484222325;
  for (const char c : bytes) {
    hash = (hash ^ static_cast<uint8_t>(c)) * 0x100000001b3;
  }
  return hash;
}

}  // namespace streamnorm

#endif  // STREAMNORM_CLIENT_CLI_FNV1A_H_
