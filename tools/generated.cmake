# Bakes into bitloom_tools: version, git commit, the page of the report.

# The commit is asked for in every build; the file changes, and the program is linked again, only
# where the answer does.
find_package(Git QUIET)
set(BITLOOM_COMMIT_CPP ${CMAKE_BINARY_DIR}/generated/build_commit.cpp)
add_custom_target(bitloom_commit
  COMMAND ${CMAKE_COMMAND} "-DGIT=${GIT_EXECUTABLE}" -DSOURCE=${CMAKE_CURRENT_LIST_DIR}
          -DOUT=${BITLOOM_COMMIT_CPP} -P ${CMAKE_CURRENT_LIST_DIR}/build_commit.cmake
  BYPRODUCTS ${BITLOOM_COMMIT_CPP}
  COMMENT "Asking git for the commit" VERBATIM)

# A file as a comma-separated list of bytes: no quoting to get wrong, no limit on literals.
function(bitloom_bytes_of file variable)
  set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS ${file})
  file(READ ${file} hex HEX)
  string(REGEX REPLACE "([0-9a-f][0-9a-f])" "0x\\1," bytes "${hex}")
  set(${variable} "${bytes}" PARENT_SCOPE)
endfunction()

bitloom_bytes_of(${CMAKE_CURRENT_LIST_DIR}/report_page.html BITLOOM_PAGE_BYTES)
configure_file(${CMAKE_CURRENT_LIST_DIR}/embedded.cpp.in ${CMAKE_BINARY_DIR}/generated/embedded.cpp @ONLY)
target_sources(bitloom_tools PRIVATE ${CMAKE_BINARY_DIR}/generated/embedded.cpp ${BITLOOM_COMMIT_CPP})
add_dependencies(bitloom_tools bitloom_commit)
