// A packed chunk from anyone: refused with words, or unpacked; what was unpacked packs again.
//
// Input: method, layout, bytes of the chunk before packing (3, little endian), the packed chunk.
#include <cstdint>
#include <vector>

#include "formats/packed/chunk.h"

using namespace sconce;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  constexpr ElementLayout kLayouts[] = {{1, false}, {2, false}, {2, true}, {4, false},
                                        {4, true},  {8, false}, {8, true}};
  if (size < 5) return 0;
  ElementLayout layout = kLayouts[data[1] % std::size(kLayouts)];
  size_t bytes = (data[2] | data[3] << 8 | data[4] << 16) % (kChunkBytes + 1);
  static ChunkPacker packer;
  static ChunkUnpacker unpacker;
  std::vector<uint8_t> raw(bytes);
  auto done = unpacker.unpack(ChunkMethod(data[0]), {data + 5, size - 5}, layout, raw);
  if (!done.ok()) {
    if (done.error().text.empty()) __builtin_trap();
    return 0;
  }
  std::vector<uint8_t> packed, again(bytes);
  ChunkMethod method = packer.pack(raw, layout, &packed);
  if (method == ChunkMethod::raw) packed = raw;
  if (!unpacker.unpack(method, packed, layout, again).ok() || again != raw) __builtin_trap();
  return 0;
}
