// Any bytes: the tools' reader and the runtime end in an error with a text or in a sound run.
#include <cstdint>

#include "../hostile/run_untrusted.h"
#include "formats/pte/pte.h"

using namespace sconce;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  AlignedMemory copy = make_aligned(size, 0xcd);
  if (size) memcpy(copy.get(), data, size);
  auto program = read_pte({copy.get(), size});
  if (!program.ok() && program.error().text.empty()) __builtin_trap();
  if (program.ok()) {
    // What was read is either written again, and then reads again, or refused with a text.
    auto written = write_pte(*program);
    if (!written.ok() && written.error().text.empty()) __builtin_trap();
    if (written.ok()) {
      auto bytes = written->joined();
      AlignedMemory again = make_aligned(bytes.size(), 0xcd);
      memcpy(again.get(), bytes.data(), bytes.size());
      if (auto second = read_pte({again.get(), bytes.size()}); !second.ok()) __builtin_trap();
    }
  }
  (void)run_untrusted({data, size}, all_kernels(), 1 << 18);
  return 0;
}
