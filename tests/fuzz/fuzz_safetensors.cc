// What is read must be written again, and read again with the same contents.
#include <algorithm>
#include <cstdint>

#include "formats/safetensors/safetensors.h"

using namespace sconce;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  auto file = read_safetensors({data, size});
  if (!file.ok()) {
    if (file.error().text.empty()) __builtin_trap();
    return 0;
  }
  auto again = encode_safetensors(file->tensors, file->metadata);
  if (!again.ok()) __builtin_trap();
  auto second = read_safetensors(*again);
  if (!second.ok() || second->tensors.size() != file->tensors.size() ||
      second->metadata != file->metadata)
    __builtin_trap();
  for (size_t i = 0; i < file->tensors.size(); i++) {
    const TensorEntry &a = file->tensors[i], &b = second->tensors[i];
    if (a.name != b.name || a.dtype != b.dtype || a.sizes != b.sizes ||
        !std::equal(a.bytes.begin(), a.bytes.end(), b.bytes.begin(), b.bytes.end()))
      __builtin_trap();
  }
  return 0;
}
