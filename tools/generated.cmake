# Bakes into bitloom_tools: version, git commit, the page of the report and the chart library.

find_file(BITLOOM_CHART_JS chart.min.js PATHS /usr/share/javascript/chart.js NO_DEFAULT_PATH)
if(NOT BITLOOM_CHART_JS)
  message(FATAL_ERROR "Chart.js is missing: tools/setup.sh installs it (Debian package libjs-chart.js), "
                      "or set BITLOOM_CHART_JS to a chart.min.js of version 3")
endif()

# The commit as of configuring; logs/HEAD changes with every commit and then configures again.
set(BITLOOM_COMMIT unknown)
find_package(Git QUIET)
if(GIT_FOUND)
  set(here ${CMAKE_CURRENT_LIST_DIR})
  execute_process(COMMAND ${GIT_EXECUTABLE} -C ${here} describe --always --dirty --abbrev=12 --exclude=*
                  OUTPUT_VARIABLE commit OUTPUT_STRIP_TRAILING_WHITESPACE ERROR_QUIET RESULT_VARIABLE failed)
  execute_process(COMMAND ${GIT_EXECUTABLE} -C ${here} rev-parse --git-path logs/HEAD
                  OUTPUT_VARIABLE head_log OUTPUT_STRIP_TRAILING_WHITESPACE ERROR_QUIET)
  if(NOT failed)
    set(BITLOOM_COMMIT ${commit})
    get_filename_component(head_log "${head_log}" ABSOLUTE BASE_DIR ${here})
    if(EXISTS "${head_log}")
      set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS "${head_log}")
    endif()
  endif()
endif()

# A file as a comma-separated list of bytes: no quoting to get wrong, no limit on literals.
function(bitloom_bytes_of file variable)
  set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS ${file})
  file(READ ${file} hex HEX)
  string(REGEX REPLACE "([0-9a-f][0-9a-f])" "0x\\1," bytes "${hex}")
  set(${variable} "${bytes}" PARENT_SCOPE)
endfunction()

bitloom_bytes_of(${BITLOOM_CHART_JS} BITLOOM_CHART_BYTES)
bitloom_bytes_of(${CMAKE_CURRENT_LIST_DIR}/report_page.html BITLOOM_PAGE_BYTES)
configure_file(${CMAKE_CURRENT_LIST_DIR}/embedded.cpp.in ${CMAKE_BINARY_DIR}/generated/embedded.cpp @ONLY)
target_sources(bitloom_tools PRIVATE ${CMAKE_BINARY_DIR}/generated/embedded.cpp)
