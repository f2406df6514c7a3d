// Any bytes as a bundle end in an error with a text, or show what lies inside the file.
#include <cstdint>

#include "../hostile/run_bundle.h"

using namespace sconce;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  run_bundle({data, size}, nullptr);
  return 0;
}
