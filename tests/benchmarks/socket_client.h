#ifndef STREAMNORM_TESTS_BENCHMARKS_SOCKET_CLIENT_H_
#define STREAMNORM_TESTS_BENCHMARKS_SOCKET_CLIENT_H_

#include "client/cli/server_process.h"
#include "tests/benchmarks/measure.h"
#include "tests/benchmarks/sides.h"

namespace streamnorm {

// Sends the bytes of Normalize messages to a streamnorm-socket-echo, one after
// the other.
Side SocketEchoSide(const ServerProcess& echo, const Work& work);

}  // namespace streamnorm

#endif  // STREAMNORM_TESTS_BENCHMARKS_SOCKET_CLIENT_H_
