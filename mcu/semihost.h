// Semihosting: text out and the end of the run, through the debugger or QEMU.
#pragma once

#include <cstdint>

inline int32_t semihost_call(uint32_t operation, const void* argument) {
  register uint32_t r0 asm("r0") = operation;
  register const void* r1 asm("r1") = argument;
  asm volatile("bkpt 0xAB" : "+r"(r0) : "r"(r1) : "memory");
  return int32_t(r0);
}

inline void semihost_write(const char* text) { semihost_call(0x04, text); }  // SYS_WRITE0

[[noreturn]] inline void semihost_exit(int code) {
  const uint32_t arguments[2] = {0x20026, uint32_t(code)};  // ADP_Stopped_ApplicationExit
  semihost_call(0x20, arguments);                           // SYS_EXIT_EXTENDED
  for (;;) {
  }
}
