#include "base/status.h"

#if SCONCE_TEXT
#include <cstdio>
#include <cstring>
#endif
#include <cstdlib>

namespace sconce {

#if SCONCE_TEXT
Status fail(Code code, Diagnostic* diagnostic, const char* format, ...) {
  if (diagnostic) {
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(diagnostic->text, sizeof(diagnostic->text), format, arguments);
    va_end(arguments);
  }
  return Status{code};
}

void add_context(Diagnostic* diagnostic, const char* format, ...) {
  if (!diagnostic) return;
  char before[sizeof(diagnostic->text)];
  va_list arguments;
  va_start(arguments, format);
  int written = vsnprintf(before, sizeof(before), format, arguments);
  va_end(arguments);
  if (written < 0) return;
  size_t used = strlen(before);
  if (used + 2 < sizeof(before)) {
    before[used++] = ':';
    before[used++] = ' ';
    size_t room = sizeof(before) - used - 1, size = strnlen(diagnostic->text, room);
    memcpy(before + used, diagnostic->text, size);
    used += size;
  }
  before[used] = 0;
  memcpy(diagnostic->text, before, used + 1);
}
#endif

[[noreturn]] void check_failed([[maybe_unused]] const char* condition,
                               [[maybe_unused]] const char* file, [[maybe_unused]] int line) {
#if SCONCE_TEXT
  fprintf(stderr, "sconce: internal error: %s:%d: CHECK(%s)\n", file, line, condition);
#endif
  abort();
}

}  // namespace sconce
