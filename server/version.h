#ifndef STREAMNORM_SERVER_VERSION_H_
#define STREAMNORM_SERVER_VERSION_H_

namespace streamnorm {

// The project version of CMakeLists.txt.
inline constexpr char kVersion[] = STREAMNORM_VERSION;

}  // namespace streamnorm

#endif  // STREAMNORM_SERVER_VERSION_H_
