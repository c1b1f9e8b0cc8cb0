# `./run deb`: Debian packages. streamnorm has the programs and the library for
# C, streamnorm-dev what other projects build with.

set(CPACK_GENERATOR DEB)
set(CPACK_PACKAGE_NAME streamnorm)
set(CPACK_PACKAGE_VENDOR StreamNorm)
set(CPACK_PACKAGE_CONTACT "StreamNorm <packages@streamnorm.invalid>")
set(CPACK_PACKAGING_INSTALL_PREFIX /usr)
set(CPACK_STRIP_FILES ON)
set(CPACK_PACKAGE_DIRECTORY ${PROJECT_BINARY_DIR}/packages)
set(CPACK_COMPONENTS_ALL programs development)
set(CPACK_DEB_COMPONENT_INSTALL ON)
set(CPACK_DEBIAN_FILE_NAME DEB-DEFAULT)
set(CPACK_DEBIAN_PACKAGE_HOMEPAGE https://streamnorm.invalid)

set(CPACK_DEBIAN_PROGRAMS_PACKAGE_NAME streamnorm)
set(CPACK_DEBIAN_PROGRAMS_PACKAGE_SECTION science)
set(CPACK_DEBIAN_PROGRAMS_PACKAGE_SHLIBDEPS ON)
set(CPACK_DEBIAN_PACKAGE_GENERATE_SHLIBS ON)
set(CPACK_DEBIAN_PROGRAMS_DESCRIPTION
"running mean and variance per feature for training jobs
A server that keeps running statistics of each feature, normalizes the rows of
training jobs with them and counts every row exactly once, over crashes and
restarts; with its command line program and its library for C.")
set(CPACK_DEBIAN_PROGRAMS_PACKAGE_CONTROL_EXTRA
  ${PROJECT_SOURCE_DIR}/deploy/debian/postinst
  ${PROJECT_SOURCE_DIR}/deploy/debian/prerm
  ${PROJECT_SOURCE_DIR}/deploy/debian/triggers)

set(CPACK_DEBIAN_DEVELOPMENT_PACKAGE_NAME streamnorm-dev)
set(CPACK_DEBIAN_DEVELOPMENT_PACKAGE_SECTION libdevel)
set(CPACK_DEBIAN_DEVELOPMENT_PACKAGE_DEPENDS
  "streamnorm (= ${PROJECT_VERSION}), libgrpc++-dev, libprotobuf-dev, libabsl-dev, libhwy-dev")
set(CPACK_DEBIAN_DEVELOPMENT_DESCRIPTION
"C++ and C clients of StreamNorm, to build with
Headers, the static C++ client library with its package for CMake, and what
pkg-config and the linker need for the library for C.")

# What Debian expects in each.
find_program(GZIP_PROGRAM gzip REQUIRED)
set(changelog ${PROJECT_BINARY_DIR}/changelog.gz)
execute_process(
  COMMAND ${GZIP_PROGRAM} -9nc ${PROJECT_SOURCE_DIR}/deploy/debian/changelog
  OUTPUT_FILE ${changelog} COMMAND_ERROR_IS_FATAL ANY)
install(FILES deploy/debian/copyright ${changelog}
  DESTINATION share/doc/streamnorm COMPONENT programs)
install(FILES deploy/debian/copyright ${changelog}
  DESTINATION share/doc/streamnorm-dev COMPONENT development)

include(CPack)
