# Every dependency is a Debian 12 package (deploy/apt-packages.txt).

set(THREADS_PREFER_PTHREAD_FLAG ON)
find_package(Threads REQUIRED)
find_package(Protobuf REQUIRED)  # module mode, before gRPC's own config
find_package(gRPC CONFIG REQUIRED)
find_package(absl CONFIG REQUIRED)
find_package(RocksDB CONFIG REQUIRED)
find_package(hwy CONFIG REQUIRED)
find_package(spdlog CONFIG REQUIRED)
find_package(nlohmann_json CONFIG REQUIRED)
find_package(CLI11 CONFIG REQUIRED)
# Of it the core only; its other targets want packages that we don't.
find_library(PROMETHEUS_LIBRARY prometheus-cpp-core REQUIRED)
find_package(GTest CONFIG REQUIRED)
find_package(Python3 COMPONENTS Interpreter QUIET)

find_library(XXHASH_LIBRARY xxhash REQUIRED)
find_program(GRPC_CPP_PLUGIN grpc_cpp_plugin REQUIRED)

# google/rpc/status.proto and error_details.proto.
find_path(GOOGLEAPIS_PROTO_DIR google/rpc/status.proto
  PATHS /usr/share/gocode/src/github.com/gogo/googleapis REQUIRED)
