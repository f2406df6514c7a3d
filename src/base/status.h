// Status: what freestanding code returns when the world (a file, a model, a caller) is wrong.
//
// A code always travels; the text goes to a Diagnostic that the caller owns, so that no heap is
// needed. Build with SCONCE_TEXT=0 to drop every text (small targets) and keep the codes.
#pragma once

#include <cstdarg>
#include <cstddef>
#include <cstdint>

#ifndef SCONCE_TEXT
#define SCONCE_TEXT 1
#endif

namespace sconce {

// Stable numbers: they are the exit codes of the command line and the return codes of the C API.
enum class Code : uint8_t {
  ok = 0,
  invalid_argument = 3,  // what the caller passed does not fit (shape, dtype, count)
  invalid_file = 4,      // bytes from outside break their format
  unsupported = 5,       // well formed, but not something we can do
  not_found = 6,         // a name (method, file, operator, tensor) does not exist
  too_large = 7,         // a limit was met: arena, rank, count
  io = 8,                // the operating system refused
  internal = 9,          // we are wrong
};

// Text of the first thing that went wrong. Fixed size: lives on a stack or in static memory.
struct Diagnostic {
#if SCONCE_TEXT
  char text[400] = {0};
#endif
};

struct [[nodiscard]] Status {
  Code code = Code::ok;
  constexpr bool ok() const { return code == Code::ok; }
};

inline constexpr Status kOk{};

#if SCONCE_TEXT
// Formats with a printf subset: %s %d (int) %lld (long long) %u %llu %zu %c. `diagnostic` may be
// null.
__attribute__((format(printf, 3, 4))) Status fail(Code code, Diagnostic* diagnostic,
                                                  const char* format, ...);
// Puts "context: " before the text that is there.
__attribute__((format(printf, 2, 3))) void add_context(Diagnostic* diagnostic, const char* format,
                                                       ...);
#define SCONCE_FAIL(code, diagnostic, ...) ::sconce::fail(code, diagnostic, __VA_ARGS__)
#define SCONCE_CONTEXT(diagnostic, ...) ::sconce::add_context(diagnostic, __VA_ARGS__)
#else
#define SCONCE_FAIL(code, diagnostic, ...) (::sconce::Status{code})
#define SCONCE_CONTEXT(diagnostic, ...) ((void)0)
#endif

// Passes a failed Status up.
#define SCONCE_TRY_STATUS(expression)                                         \
  do {                                                                        \
    if (::sconce::Status sconce_status_ = (expression); !sconce_status_.ok()) \
      return sconce_status_;                                                  \
  } while (0)

// "We are wrong": stops the program. Never for input from outside.
[[noreturn]] void check_failed(const char* condition, const char* file, int line);
#define CHECK(condition) \
  ((condition) ? (void)0 : ::sconce::check_failed(#condition, __FILE__, __LINE__))

}  // namespace sconce
