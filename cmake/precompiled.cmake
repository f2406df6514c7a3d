# Headers of others that nearly every file reads, parsed once for each kind of target (SCONCE_PRECOMPILED). The release
# build does without, and `check` does for layers, which tells whether files include what they use.
set(SCONCE_COMMON_HEADERS
    <fmt/format.h> <fmt/ranges.h> <algorithm> <array> <atomic> <cmath> <cstdint> <cstring> <functional> <limits> <map>
    <memory> <mutex> <numeric> <optional> <set> <string> <string_view> <thread> <tuple> <unordered_map> <utility>
    <variant> <vector>)

# One file without content for each kind: layers are compiled with -fPIC, programs as CMake does it with -fPIE.
function(sconce_precompile KIND)
  cmake_parse_arguments(P "" "" "HEADERS;OPTIONS;LINKS" ${ARGN})
  set(target sconce_precompiled_${KIND})
  set(empty ${PROJECT_BINARY_DIR}/${target}.cc)
  file(CONFIGURE OUTPUT ${empty} CONTENT "")
  add_library(${target} OBJECT ${empty})
  target_link_libraries(${target} PRIVATE sconce_flags fmt::fmt ${P_LINKS})
  target_precompile_headers(${target} PRIVATE ${SCONCE_COMMON_HEADERS} ${P_HEADERS})
  if(P_OPTIONS)
    set_target_properties(${target} PROPERTIES POSITION_INDEPENDENT_CODE OFF)
    target_compile_options(${target} PRIVATE ${P_OPTIONS})
  endif()
endfunction()

set(kinds)
if(SCONCE_PRECOMPILED STREQUAL PROGRAMS)
  set(kinds program test)
elseif(SCONCE_PRECOMPILED)
  set(kinds layer program test)
endif()
if("layer" IN_LIST kinds)
  sconce_precompile(layer)
endif()
if("program" IN_LIST kinds)
  sconce_precompile(program OPTIONS -fPIE)
endif()
if("test" IN_LIST kinds AND SCONCE_TESTS)
  sconce_precompile(test OPTIONS -fPIE ${SCONCE_TEST_OPTIONS} HEADERS <gtest/gtest.h> LINKS GTest::gtest)
endif()
set(SCONCE_PRECOMPILED_KINDS ${kinds})

# sconce_precompiled(TARGET layer|program|test)
function(sconce_precompiled TARGET KIND)
  if(KIND IN_LIST SCONCE_PRECOMPILED_KINDS)
    target_precompile_headers(${TARGET} REUSE_FROM sconce_precompiled_${KIND})
  endif()
endfunction()
