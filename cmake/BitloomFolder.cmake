# One static library per folder: bitloom_folder(NAME DIR dir USES targets... PRIVATE targets...).
# Sources are every .cpp in dir (not below it), main.cpp left out; so a folder grows without
# touching CMake.

# -Wno-restrict: GCC 12 warns of std::string's own copies (its bug 105651). Warnings are errors with
# GCC alone, the compiler of every preset but `fuzz`: clang has others.
function(bitloom_compile_options target)
  target_compile_options(${target} PRIVATE -Wall -Wextra -Wpedantic -Wshadow -Wconversion
                         -Wno-sign-conversion -Wno-missing-field-initializers
                         $<$<CXX_COMPILER_ID:GNU>:-Wno-restrict> $<$<CXX_COMPILER_ID:GNU>:-Werror>
                         -ffp-contract=off)
  if(BITLOOM_ENABLE_ASSERTS)
    target_compile_definitions(${target} PUBLIC BITLOOM_ENABLE_ASSERTS)
  endif()
endfunction()

function(bitloom_folder name)
  cmake_parse_arguments(ARG "" "DIR" "USES;PRIVATE" ${ARGN})
  file(GLOB sources CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/${ARG_DIR}/*.cpp)
  list(FILTER sources EXCLUDE REGEX "/main\\.cpp$")
  if(NOT sources)
    message(FATAL_ERROR "folder ${ARG_DIR} holds no .cpp")
  endif()
  add_library(bitloom_${name} STATIC ${sources})
  target_include_directories(bitloom_${name}
    PUBLIC $<BUILD_INTERFACE:${CMAKE_SOURCE_DIR}/include> $<INSTALL_INTERFACE:include>
    PRIVATE ${CMAKE_SOURCE_DIR}/${ARG_DIR})
  target_link_libraries(bitloom_${name} PUBLIC ${ARG_USES} PRIVATE ${ARG_PRIVATE})
  target_compile_features(bitloom_${name} PUBLIC cxx_std_20)
  if(BITLOOM_ENABLE_ASSERTS)
    target_compile_definitions(bitloom_${name} PUBLIC BITLOOM_ENABLE_ASSERTS)
  endif()
  bitloom_compile_options(bitloom_${name})
  set_target_properties(bitloom_${name} PROPERTIES EXPORT_NAME ${name})
  set_property(GLOBAL APPEND PROPERTY BITLOOM_FOLDERS bitloom_${name})
endfunction()
