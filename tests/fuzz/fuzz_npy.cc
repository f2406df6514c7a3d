// What is read must be written again, and read again with the same contents.
#include <algorithm>
#include <cstdint>

#include "formats/npy/npy.h"

using namespace sconce;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  auto array = read_npy({data, size});
  if (!array.ok()) {
    if (array.error().text.empty()) __builtin_trap();
    return 0;
  }
  auto again = encode_npy(array->dtype, array->sizes, array->bytes);
  if (!again.ok()) __builtin_trap();
  auto second = read_npy(*again);
  if (!second.ok() || second->dtype != array->dtype || second->sizes != array->sizes ||
      !std::equal(array->bytes.begin(), array->bytes.end(), second->bytes.begin(),
                  second->bytes.end()))
    __builtin_trap();
  return 0;
}
