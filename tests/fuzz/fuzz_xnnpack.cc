// Any bytes as an XNNPACK payload end in an error with a text or in a sound run.
#include <cstdint>

#include "../hostile/run_payload.h"

using namespace sconce;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  run_payload({data, size}, 1024, 1 << 14, nullptr);
  return 0;
}
