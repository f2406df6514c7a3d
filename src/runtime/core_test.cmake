# What the core promises to small targets, checked on what the compiler made.
#   cmake -DMODE=symbols -DNM=nm -DARCHIVES="a;b" -P core_test.cmake
#   cmake -DMODE=size -DCXX=g++ -DSOURCE_DIR=... -DWORK=... -P core_test.cmake
cmake_minimum_required(VERSION 3.25)

if(MODE STREQUAL "symbols")
  # Heap, exceptions, RTTI, static construction guards, threads, files: all named by undefined symbols.
  set(forbidden "^(malloc|calloc|realloc|free|aligned_alloc|posix_memalign|_Znw.*|_Zna.*|_Zdl.*|_Zda.*|__cxa_.*|_ZTI.*|_ZTS.*|__gxx_personality.*|_Unwind_.*|_ZSt.*throw.*|_ZNSt.*|__dynamic_cast|pthread_.*|fopen|open|mmap|exit|getenv)$")
  set(found "")
  foreach(archive IN LISTS ARCHIVES)
    execute_process(COMMAND ${NM} -u -P ${archive} OUTPUT_VARIABLE text RESULT_VARIABLE result)
    if(result)
      message(FATAL_ERROR "${NM} ${archive} failed")
    endif()
    string(REGEX REPLACE "\n" ";" lines "${text}")
    foreach(line IN LISTS lines)
      string(REGEX REPLACE " .*" "" symbol "${line}")
      if(symbol MATCHES "${forbidden}")
        list(APPEND found "${archive}: ${symbol}")
      endif()
    endforeach()
    # Type information that an object defines itself.
    execute_process(COMMAND ${NM} -P ${archive} OUTPUT_VARIABLE text)
    if(text MATCHES "(^|\n)_ZT[IS]")
      list(APPEND found "${archive}: type information")
    endif()
  endforeach()
  if(found)
    string(REPLACE ";" "\n  " found "${found}")
    message(FATAL_ERROR "the core uses what it promises not to:\n  ${found}")
  endif()
  message("no forbidden symbol")
else()
  # A program with the whole core and no kernel, stripped. Page padding and position independence
  # are the host's business, so both are off; link-time optimisation is what a size build uses.
  # Stock ExecuTorch 1.5.1's own figure is 44,160 bytes: texts and verification compiled out.
  set(sources base/status.cc formats/pte/verify.cc formats/pte/constraints.cc runtime/program.cc
              runtime/method.cc runtime/execute.cc ops/kernel.cc ops/prim/prim.cc
              runtime/size_program.cc)
  list(TRANSFORM sources PREPEND ${SOURCE_DIR}/src/)
  foreach(text IN ITEMS 1 0)
    set(out ${WORK}/core_size_${text})
    execute_process(
      COMMAND ${CXX} -std=c++20 -Os -flto -fno-exceptions -fno-rtti -ffunction-sections
              -fdata-sections -fvisibility=hidden -fno-asynchronous-unwind-tables -fno-pie
              -DSCONCE_TEXT=${text} -I${SOURCE_DIR}/src ${sources}
              -no-pie -Wl,--gc-sections -Wl,-z,noseparate-code -s -o ${out}
      RESULT_VARIABLE result)
    if(result)
      message(FATAL_ERROR "cannot build ${out}")
    endif()
    file(SIZE ${out} bytes_${text})
  endforeach()
  message("core with texts: ${bytes_1} bytes; without: ${bytes_0} bytes")
  if(bytes_1 GREATER_EQUAL 45000 OR bytes_0 GREATER_EQUAL 35000)
    message(FATAL_ERROR "the core grew: want < 45000 with texts, < 35000 without")
  endif()
endif()
