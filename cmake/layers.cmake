# sconce_layer(NAME [FREESTANDING] [SOURCES a.cc ...] [USES layer ...] [LINKS target ...] [TESTS a_test.cc ...])
#
# A layer is one folder of src/. It may include the headers of the layers in USES and of theirs;
# tests/layers.py reads the same arrows from src/README.md and the #include lines.
# FREESTANDING: no exceptions, no RTTI, no heap: the part that runs on small targets.

add_library(sconce_flags INTERFACE)
target_compile_features(sconce_flags INTERFACE cxx_std_20)
target_compile_options(sconce_flags INTERFACE -Wall -Wextra -Wno-missing-field-initializers
                                              -fvisibility=hidden)
target_include_directories(sconce_flags INTERFACE ${PROJECT_SOURCE_DIR}/src
                                                  ${PROJECT_SOURCE_DIR}/include
                                                  ${PROJECT_BINARY_DIR}/src)
if(SCONCE_SANITIZE)
  # Left out is what a null pointer and an object's bounds are to the undefined behaviour sanitizer: the
  # address sanitizer finds where they are used, and the checks take a quarter of the compiler's time.
  target_compile_options(sconce_flags INTERFACE -fsanitize=address,undefined
                         -fno-sanitize=null,object-size,vptr,nonnull-attribute,returns-nonnull-attribute
                         -fno-sanitize-recover=undefined -fno-omit-frame-pointer)
  target_link_options(sconce_flags INTERFACE -fsanitize=address,undefined)
endif()
set(CMAKE_POSITION_INDEPENDENT_CODE ON)
set(CMAKE_EXPORT_COMPILE_COMMANDS ON)
if(SCONCE_TIDY)
  set(CMAKE_CXX_CLANG_TIDY clang-tidy)
endif()

function(sconce_layer NAME)
  cmake_parse_arguments(L "FREESTANDING" "" "SOURCES;USES;LINKS;TESTS" ${ARGN})
  set(target sconce_${NAME})
  if(L_SOURCES)
    add_library(${target} STATIC ${L_SOURCES})
    set(scope PUBLIC)
    if(L_FREESTANDING)
      target_compile_options(${target} PRIVATE -fno-exceptions -fno-rtti
                             -ffunction-sections -fdata-sections)
    else()
      sconce_precompiled(${target} layer)
    endif()
  else()
    add_library(${target} INTERFACE)
    set(scope INTERFACE)
  endif()
  target_link_libraries(${target} ${scope} sconce_flags ${L_LINKS})
  foreach(used IN LISTS L_USES)
    target_link_libraries(${target} ${scope} sconce_${used})
  endforeach()
  if(L_TESTS AND SCONCE_TESTS)
    sconce_test(${NAME}_test SOURCES ${L_TESTS} USES ${NAME})
  endif()
endfunction()

# What tests do themselves need not be fast: they are compiled quickly beside optimised layers.
set(SCONCE_TEST_OPTIONS)
if(CMAKE_BUILD_TYPE STREQUAL Release)
  set(SCONCE_TEST_OPTIONS -O1)
endif()

# sconce_test(NAME SOURCES ... [USES layer ...] [LINKS target ...]): one GoogleTest program; ctest lists each test.
function(sconce_test NAME)
  cmake_parse_arguments(T "" "" "SOURCES;USES;LINKS" ${ARGN})
  add_executable(${NAME} ${T_SOURCES})
  sconce_precompiled(${NAME} test)
  foreach(used IN LISTS T_USES)
    target_link_libraries(${NAME} PRIVATE sconce_${used})
  endforeach()
  target_link_libraries(${NAME} PRIVATE sconce_flags GTest::gtest_main ${T_LINKS})
  target_compile_options(${NAME} PRIVATE ${SCONCE_TEST_OPTIONS})
  target_compile_definitions(${NAME} PRIVATE SCONCE_SOURCE_DIR="${PROJECT_SOURCE_DIR}")
  gtest_discover_tests(${NAME} DISCOVERY_MODE PRE_TEST)
endfunction()
