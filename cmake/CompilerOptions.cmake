# What every target of this project is compiled with. The interface target
# `streamnorm_options` is linked PRIVATE by each of them; generated code gets
# none of the warnings.

set(CMAKE_CXX_STANDARD 20)
set(CMAKE_CXX_STANDARD_REQUIRED ON)
set(CMAKE_CXX_EXTENSIONS OFF)
set(CMAKE_POSITION_INDEPENDENT_CODE ON)
set(CMAKE_EXPORT_COMPILE_COMMANDS ON)

set(STREAMNORM_SANITIZER "" CACHE STRING
    "Sanitizers to build with: empty, `address,undefined` or `thread`")

# The error bound of docs/numerics.md assumes IEEE arithmetic as written.
if(CMAKE_CXX_FLAGS MATCHES "-ffast-math|-Ofast|-funsafe-math")
  message(FATAL_ERROR "CMAKE_CXX_FLAGS: ${CMAKE_CXX_FLAGS}, want no fast-math: "
                      "the statistics rely on IEEE arithmetic (docs/numerics.md)")
endif()

# -ffp-contract=off: the compiler may not fuse a multiply and an add, so the
# scalar, AVX2 and AVX-512 paths round alike and give identical statistics.
add_compile_options(-ffp-contract=off -fstack-protector-strong
                    $<$<CONFIG:Release>:-fcf-protection>)
add_compile_definitions($<$<CONFIG:Release>:_FORTIFY_SOURCE=2>
                        _GLIBCXX_ASSERTIONS)
add_link_options(-Wl,-z,relro,-z,now)
set(CMAKE_CXX_FLAGS_RELEASE "-O3 -g1")  # assertions stay on, traces readable

if(STREAMNORM_SANITIZER)
  add_compile_options(-fsanitize=${STREAMNORM_SANITIZER}
                      -fno-sanitize-recover=all -fno-omit-frame-pointer)
  add_link_options(-fsanitize=${STREAMNORM_SANITIZER})
endif()

add_library(streamnorm_options INTERFACE)
target_compile_options(streamnorm_options INTERFACE
  -Wall -Wextra -Wpedantic -Wshadow -Wconversion -Werror
  $<$<CXX_COMPILER_ID:Clang>:-Wthread-safety>)
target_include_directories(streamnorm_options
  INTERFACE $<BUILD_INTERFACE:${PROJECT_SOURCE_DIR}>)
