// One chunk of a tensor, packed without loss: split into planes of bytes, each coded if that gains.
//
// Weights are noise in their mantissas and order in their exponents. Elements are cut into bytes
// (their sign first moved to the lowest bit, so that exponents have planes to themselves) and each
// plane is stored in the smallest of four ways. What is no noise at all, such as indices or zeros,
// goes to zstd. A chunk is coded by itself: any can be read alone. Layout: docs/packed.md.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "base/result.h"
#include "base/span.h"

namespace sconce {

// Bytes of a chunk before packing; the last of a tensor may have fewer.
inline constexpr size_t kChunkBytes = size_t(256) << 10;

// How the elements of a tensor are cut into planes.
struct ElementLayout {
  uint8_t width = 1;         // bytes of an element: 1, 2, 4 or 8
  bool sign_on_top = false;  // floats whose highest bit is moved to the lowest before they are cut
};

// Numbers are those of the file.
enum class ChunkMethod : uint8_t {
  raw = 0,     // as it is
  planes = 1,  // plane by plane
  zstd = 2,    // one zstd frame
};
inline constexpr int kChunkMethods = 3;

// Packs chunks one after the other; keeps memory between them. One per thread.
class ChunkPacker {
 public:
  ChunkPacker();
  ~ChunkPacker();
  ChunkPacker(ChunkPacker&&) noexcept;

  // Replaces `out` by the packed form of `raw`, whole elements and at most kChunkBytes. With `raw`
  // as the answer `out` is empty: the chunk is stored as it is. Never larger than `raw`.
  ChunkMethod pack(Bytes raw, ElementLayout layout, std::vector<uint8_t>* out);

 private:
  struct State;
  std::unique_ptr<State> state_;
};

// Unpacks chunks one after the other; keeps memory between them. One per thread.
class ChunkUnpacker {
 public:
  ChunkUnpacker();
  ~ChunkUnpacker();
  ChunkUnpacker(ChunkUnpacker&&) noexcept;

  // Fills `raw`, all of it, or says what is wrong with `packed`; then the contents of `raw` mean
  // nothing. Packed chunks may come from anyone.
  Result<void> unpack(ChunkMethod method, Bytes packed, ElementLayout layout, Span<uint8_t> raw);

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace sconce
