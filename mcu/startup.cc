// Start of a Cortex-M image: vectors, RAM, floating point unit, then main(). No C library start-up.
#include <cstdint>
#include <cstring>

#include "semihost.h"

int main();

extern "C" {
extern uint8_t __data_load[], __data_start[], __data_end[], __bss_start[], __bss_end[];
extern uint32_t __stack_top[];
extern void (*__init_array_start[])();
extern void (*__init_array_end[])();

[[noreturn]] void reset_handler() {
  memcpy(__data_start, __data_load, size_t(__data_end - __data_start));
  memset(__bss_start, 0, size_t(__bss_end - __bss_start));
  // CPACR: full access to coprocessors 10 and 11, the FPU.
  *reinterpret_cast<volatile uint32_t*>(0xE000ED88) |= 0xF << 20;
  asm volatile("dsb\nisb");
  for (auto* init = __init_array_start; init != __init_array_end; init++) (*init)();
  semihost_exit(main());
}

[[noreturn]] void fault_handler() {
  semihost_write("fault\n");
  semihost_exit(99);
}

// abort() of the C library ends here.
[[noreturn]] void _exit(int code) { semihost_exit(code); }
int _kill(int, int) { return -1; }
int _getpid() { return 1; }
void* _sbrk(int) { return reinterpret_cast<void*>(-1); }  // no heap
}

__attribute__((section(".vectors"), used)) static const void* const kVectors[16] = {
    __stack_top, reinterpret_cast<const void*>(reset_handler),
#define FAULT reinterpret_cast<const void*>(fault_handler)
    FAULT,       FAULT,
    FAULT,       FAULT,
    FAULT,       nullptr,
    nullptr,     nullptr,
    nullptr,     FAULT,
    FAULT,       nullptr,
    FAULT,       FAULT,
};
