# What `cmake --install` lays out, in two components:
#   program  bin/bitloom, bin/bitloom-run (runs exported models alone), their oneDNN in lib/bitloom,
#            man page and shell completion
#   dev      headers, static libraries and the CMake package: find_package(bitloom), then
#            bitloom::runtime (runs exported models) or bitloom::bitloom (trains them too)
# The Debian package (`cpack`) is the component program alone.
set(CMAKE_INSTALL_LIBDIR lib CACHE PATH "Folder of libraries below the prefix")
include(GNUInstallDirs)
include(CMakePackageConfigHelpers)

# oneDNN travels along, in a folder of its own: Debian has none of version 3.
set(BITLOOM_PRIVATE_LIBDIR ${CMAKE_INSTALL_LIBDIR}/bitloom)
get_target_property(onednn_library DNNL::dnnl IMPORTED_LOCATION_RELEASE)
if(NOT onednn_library)
  get_target_property(onednn_library DNNL::dnnl LOCATION)
endif()
get_filename_component(onednn_library ${onednn_library} REALPATH)
get_filename_component(onednn_folder ${onednn_library} DIRECTORY)
install(FILES ${onednn_library} DESTINATION ${BITLOOM_PRIVATE_LIBDIR} RENAME libdnnl.so.3
        PERMISSIONS OWNER_READ OWNER_WRITE OWNER_EXECUTE GROUP_READ GROUP_EXECUTE WORLD_READ WORLD_EXECUTE
        COMPONENT program)
file(GLOB onednn_licences ${onednn_folder}/../share/doc/onednn/LICENSE ${onednn_folder}/../share/doc/onednn/THIRD-PARTY-PROGRAMS)
install(FILES ${onednn_licences} DESTINATION ${CMAKE_INSTALL_DATADIR}/doc/bitloom/onednn COMPONENT program)

# The libraries and what they are called from outside.
add_library(bitloom_runtime INTERFACE)
target_link_libraries(bitloom_runtime INTERFACE bitloom_backends)
set_target_properties(bitloom_runtime PROPERTIES EXPORT_NAME runtime)
add_library(bitloom::runtime ALIAS bitloom_runtime)
set(exported bitloom_runtime)
if(NOT BITLOOM_RUNTIME_ONLY)
  add_library(bitloom_all INTERFACE)
  target_link_libraries(bitloom_all INTERFACE bitloom_runtime bitloom_trainers)
  set_target_properties(bitloom_all PROPERTIES EXPORT_NAME bitloom)
  add_library(bitloom::bitloom ALIAS bitloom_all)
  list(APPEND exported bitloom_all)
endif()
get_property(folders GLOBAL PROPERTY BITLOOM_FOLDERS)
list(REMOVE_ITEM folders bitloom_tools) # the program's own
install(TARGETS ${folders} ${exported} EXPORT bitloom-targets
        ARCHIVE DESTINATION ${CMAKE_INSTALL_LIBDIR} COMPONENT dev)
install(DIRECTORY include/bitloom DESTINATION ${CMAKE_INSTALL_INCLUDEDIR} COMPONENT dev FILES_MATCHING PATTERN "*.h")

set(package_dir ${CMAKE_INSTALL_LIBDIR}/cmake/bitloom)
install(EXPORT bitloom-targets NAMESPACE bitloom:: DESTINATION ${package_dir} COMPONENT dev)
configure_package_config_file(${CMAKE_CURRENT_LIST_DIR}/bitloom-config.cmake.in
  ${CMAKE_BINARY_DIR}/package/bitloom-config.cmake INSTALL_DESTINATION ${package_dir}
  PATH_VARS BITLOOM_PRIVATE_LIBDIR NO_CHECK_REQUIRED_COMPONENTS_MACRO)
write_basic_package_version_file(${CMAKE_BINARY_DIR}/package/bitloom-config-version.cmake
  COMPATIBILITY SameMinorVersion)
install(FILES ${CMAKE_BINARY_DIR}/package/bitloom-config.cmake ${CMAKE_BINARY_DIR}/package/bitloom-config-version.cmake
        DESTINATION ${package_dir} COMPONENT dev)

file(RELATIVE_PATH to_private ${CMAKE_INSTALL_PREFIX}/${CMAKE_INSTALL_BINDIR}
     ${CMAKE_INSTALL_PREFIX}/${BITLOOM_PRIVATE_LIBDIR})
set_target_properties(bitloom-run PROPERTIES INSTALL_RPATH "$ORIGIN/${to_private}")
install(TARGETS bitloom-run RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR} COMPONENT program)
if(NOT BITLOOM_RUNTIME_ONLY)
  set_target_properties(bitloom PROPERTIES INSTALL_RPATH "$ORIGIN/${to_private}")
  install(TARGETS bitloom RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR} COMPONENT program)
  # The program prints its own man page and completion, from the declarations that parse its options.
  if(NOT CMAKE_CROSSCOMPILING)
    set(share ${CMAKE_BINARY_DIR}/generated/share)
    file(MAKE_DIRECTORY ${share})
    add_custom_command(OUTPUT ${share}/bitloom.1 ${share}/bitloom ${share}/_bitloom
      COMMAND bitloom help --man > ${share}/bitloom.1
      COMMAND bitloom completion bash > ${share}/bitloom
      COMMAND bitloom completion zsh > ${share}/_bitloom
      DEPENDS bitloom COMMENT "Writing man page and completion")
    add_custom_target(bitloom_share ALL DEPENDS ${share}/bitloom.1 ${share}/bitloom ${share}/_bitloom)
    install(FILES ${share}/bitloom.1 DESTINATION ${CMAKE_INSTALL_MANDIR}/man1 COMPONENT program)
    install(FILES ${share}/bitloom DESTINATION ${CMAKE_INSTALL_DATADIR}/bash-completion/completions COMPONENT program)
    install(FILES ${share}/_bitloom DESTINATION ${CMAKE_INSTALL_DATADIR}/zsh/vendor-completions COMPONENT program)
  endif()
  install(DIRECTORY trainers/configs DESTINATION ${CMAKE_INSTALL_DATADIR}/doc/bitloom COMPONENT program)
  install(FILES README.md CHANGELOG.md DESTINATION ${CMAKE_INSTALL_DATADIR}/doc/bitloom COMPONENT program)
  install(DIRECTORY docs/ DESTINATION ${CMAKE_INSTALL_DATADIR}/doc/bitloom/docs COMPONENT program
          FILES_MATCHING PATTERN "*.md")
endif()

set(CPACK_GENERATOR DEB)
set(CPACK_PACKAGE_NAME bitloom)
set(CPACK_PACKAGE_VENDOR bitloom)
set(CPACK_PACKAGE_CONTACT "bitloom developers <bitloom@localhost>")
set(CPACK_PACKAGE_DESCRIPTION_SUMMARY "Trains convolutional networks for few bits and runs them as integer models")
set(CPACK_PACKAGING_INSTALL_PREFIX /usr)
set(CPACK_STRIP_FILES ON)
set(CPACK_COMPONENTS_ALL program)
set(CPACK_DEB_COMPONENT_INSTALL ON)
set(CPACK_DEBIAN_PROGRAM_PACKAGE_NAME bitloom)
set(CPACK_DEBIAN_FILE_NAME DEB-DEFAULT)
set(CPACK_DEBIAN_PACKAGE_SECTION science)
set(CPACK_DEBIAN_PACKAGE_SHLIBDEPS ON)
set(CPACK_DEBIAN_PACKAGE_SHLIBDEPS_PRIVATE_DIRS ${onednn_folder})
include(CPack)
