# `cmake --install build/release --prefix DIR`: the programs, the C library and
# what find_package(streamnorm) gives (docs/cpp.md). Components: `programs`, and
# `development`.

include(GNUInstallDirs)
include(CMakePackageConfigHelpers)

install(TARGETS streamnorm-server streamnorm RUNTIME COMPONENT programs)
install(FILES deploy/systemd/streamnorm.service
  DESTINATION lib/systemd/system COMPONENT programs)

# C++: headers as the sources include them, below a folder of their own.
set(header_dir ${CMAKE_INSTALL_INCLUDEDIR}/streamnorm)
foreach(folder client lane stats)
  install(DIRECTORY ${folder} DESTINATION ${header_dir} COMPONENT development
    FILES_MATCHING PATTERN "*.h"
    PATTERN "*-inl.h" EXCLUDE
    PATTERN client/c EXCLUDE
    PATTERN client/cli EXCLUDE
    PATTERN client/examples EXCLUDE
    PATTERN client/python EXCLUDE)
endforeach()
install(DIRECTORY ${PROJECT_BINARY_DIR}/proto/generated/
  DESTINATION ${header_dir} COMPONENT development
  FILES_MATCHING PATTERN "*.h")
install(
  TARGETS streamnorm_client streamnorm_lane streamnorm_stats streamnorm_proto
          streamnorm_options
  EXPORT streamnorm
  ARCHIVE COMPONENT development
  INCLUDES DESTINATION ${header_dir})

set(package_dir ${CMAKE_INSTALL_LIBDIR}/cmake/streamnorm)
install(EXPORT streamnorm NAMESPACE streamnorm:: DESTINATION ${package_dir}
  COMPONENT development)
configure_package_config_file(cmake/streamnormConfig.cmake.in
  ${PROJECT_BINARY_DIR}/streamnormConfig.cmake
  INSTALL_DESTINATION ${package_dir})
write_basic_package_version_file(
  ${PROJECT_BINARY_DIR}/streamnormConfigVersion.cmake
  COMPATIBILITY SameMinorVersion)
install(FILES ${PROJECT_BINARY_DIR}/streamnormConfig.cmake
              ${PROJECT_BINARY_DIR}/streamnormConfigVersion.cmake
  DESTINATION ${package_dir} COMPONENT development)

# C: <streamnorm.h> and -lstreamnorm.
install(TARGETS streamnorm_c
  LIBRARY COMPONENT programs NAMELINK_COMPONENT development)
install(FILES client/c/streamnorm.h DESTINATION ${CMAKE_INSTALL_INCLUDEDIR}
  COMPONENT development)
configure_file(cmake/streamnorm.pc.in streamnorm.pc @ONLY)
install(FILES ${PROJECT_BINARY_DIR}/streamnorm.pc
  DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig COMPONENT development)
