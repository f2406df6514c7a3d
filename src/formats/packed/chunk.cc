#include "formats/packed/chunk.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include <zstd.h>

#include "base/little_endian.h"
#include "formats/packed/huffman.h"

namespace sconce {

namespace {

// How a plane is stored; numbers are those of the file.
enum class PlaneMethod : uint8_t {
  raw = 0,       // its bytes
  constant = 1,  // one byte that fills it
  huffman = 2,
  zstd = 3,
};

constexpr size_t kWidthMax = 8;
// What is coded must be smaller by these shares, or is stored raw, which costs no time: a plane, a
// chunk, and what zstd does, being slower to unpack, against everything else.
constexpr double kPlaneGainMin = 0.03;
constexpr double kChunkGainMin = 0.01;
constexpr double kZstdGainMin = 0.05;
constexpr int kZstdLevel = 3;
constexpr size_t kSampleBytes = 8192;

// All widths share one shape of loop, which compilers turn into vector code: planes in, elements
// out, and back.
template <class T>
constexpr T lowest_to_top(T v) {
  return T(v >> 1 | v << (8 * sizeof(T) - 1));
}
template <class T>
constexpr T top_to_lowest(T v) {
  return T(v << 1 | v >> (8 * sizeof(T) - 1));
}

template <class T, bool sign>
__attribute__((always_inline)) inline void join(const uint8_t* const* planes, size_t count,
                                                uint8_t* __restrict out) {
  const uint8_t *p0 = planes[0], *p1 = planes[1];
  const uint8_t *p2 = nullptr, *p3 = nullptr, *p4 = nullptr, *p5 = nullptr, *p6 = nullptr,
                *p7 = nullptr;
  if constexpr (sizeof(T) >= 4) p2 = planes[2], p3 = planes[3];
  if constexpr (sizeof(T) >= 8) p4 = planes[4], p5 = planes[5], p6 = planes[6], p7 = planes[7];
  for (size_t i = 0; i < count; ++i) {
    T v = T(T(p0[i]) | T(p1[i]) << 8);
    if constexpr (sizeof(T) >= 4) v = T(v | T(p2[i]) << 16 | T(p3[i]) << 24);
    if constexpr (sizeof(T) >= 8)
      v = T(v | T(p4[i]) << 32 | T(p5[i]) << 40 | T(p6[i]) << 48 | T(p7[i]) << 56);
    if constexpr (sign) v = lowest_to_top(v);
    memcpy(out + i * sizeof(T), &v, sizeof(T));
  }
}

template <class T, bool sign>
__attribute__((always_inline)) inline void split(const uint8_t* in, size_t count,
                                                 uint8_t* const* planes) {
  for (size_t p = 0; p < sizeof(T); ++p) {
    uint8_t* __restrict plane = planes[p];
    for (size_t i = 0; i < count; ++i) {
      T v;
      memcpy(&v, in + i * sizeof(T), sizeof(T));
      if constexpr (sign) v = top_to_lowest(v);
      plane[i] = uint8_t(v >> (8 * p));
    }
  }
}

__attribute__((always_inline)) inline void join_any(ElementLayout layout,
                                                    const uint8_t* const* planes, size_t count,
                                                    uint8_t* out) {
  switch (layout.width * 2 + layout.sign_on_top) {
    case 4: return join<uint16_t, false>(planes, count, out);
    case 5: return join<uint16_t, true>(planes, count, out);
    case 8: return join<uint32_t, false>(planes, count, out);
    case 9: return join<uint32_t, true>(planes, count, out);
    case 16: return join<uint64_t, false>(planes, count, out);
    case 17: return join<uint64_t, true>(planes, count, out);
  }
  CHECK(false);
}

__attribute__((always_inline)) inline void split_any(ElementLayout layout, const uint8_t* in,
                                                     size_t count, uint8_t* const* planes) {
  switch (layout.width * 2 + layout.sign_on_top) {
    case 4: return split<uint16_t, false>(in, count, planes);
    case 5: return split<uint16_t, true>(in, count, planes);
    case 8: return split<uint32_t, false>(in, count, planes);
    case 9: return split<uint32_t, true>(in, count, planes);
    case 16: return split<uint64_t, false>(in, count, planes);
    case 17: return split<uint64_t, true>(in, count, planes);
  }
  CHECK(false);
}

#if defined(__x86_64__)
#define SCONCE_WIDE __attribute__((target("avx2")))
bool has_wide() {
  static const bool answer = __builtin_cpu_supports("avx2");
  return answer;
}
SCONCE_WIDE void join_wide(ElementLayout layout, const uint8_t* const* planes, size_t count,
                           uint8_t* out) {
  join_any(layout, planes, count, out);
}
SCONCE_WIDE void split_wide(ElementLayout layout, const uint8_t* in, size_t count,
                            uint8_t* const* planes) {
  split_any(layout, in, count, planes);
}
#endif

void join_planes(ElementLayout layout, const uint8_t* const* planes, size_t count, uint8_t* out) {
#if defined(__x86_64__)
  if (has_wide()) return join_wide(layout, planes, count, out);
#endif
  join_any(layout, planes, count, out);
}

void split_planes(ElementLayout layout, const uint8_t* in, size_t count, uint8_t* const* planes) {
#if defined(__x86_64__)
  if (has_wide()) return split_wide(layout, in, count, planes);
#endif
  split_any(layout, in, count, planes);
}

double entropy_bytes(const ByteCounts& counts, size_t total) {
  double bits = 0;
  for (uint32_t count : counts.of)
    if (count) bits += count * std::log2(double(total) / count);
  return bits / 8;
}

// Memory for all planes of a chunk. They begin 64 bytes apart from where they would else: at a
// distance of a power of two all would compete for the same places of the cache.
struct PlaneBuffer {
  std::unique_ptr<uint8_t[]> bytes{new uint8_t[kChunkBytes + 64 * kWidthMax]};
  void place(size_t width, size_t plane_bytes, uint8_t** planes) {
    for (size_t p = 0; p < width; ++p) planes[p] = bytes.get() + p * (plane_bytes + 64);
  }
};

bool layout_is_known(ElementLayout layout) {
  return layout.width == 1 || layout.width == 2 || layout.width == 4 || layout.width == 8;
}

}  // namespace

struct ChunkPacker::State {
  ZSTD_CCtx* zstd = ZSTD_createCCtx();
  PlaneBuffer buffer;
  std::vector<uint8_t> frame;
  ~State() { ZSTD_freeCCtx(zstd); }

  // Appends a zstd frame of `bytes` when it has fewer than `limit`; else leaves `out` as it was.
  bool append_zstd(Bytes bytes, double limit, std::vector<uint8_t>* out) {
    frame.resize(ZSTD_compressBound(bytes.size()));
    size_t size =
        ZSTD_compressCCtx(zstd, frame.data(), frame.size(), bytes.data(), bytes.size(), kZstdLevel);
    if (ZSTD_isError(size) || double(size) >= limit) return false;
    out->insert(out->end(), frame.begin(), frame.begin() + ptrdiff_t(size));
    return true;
  }

  // Whether zstd is likely to need less than `share` of the bytes, from a sample of them.
  bool zstd_promises(Bytes bytes, double share) {
    if (bytes.size() > 2 * kSampleBytes)
      bytes = bytes.subspan((bytes.size() - kSampleBytes) / 2, kSampleBytes);
    frame.resize(ZSTD_compressBound(bytes.size()));
    size_t size =
        ZSTD_compressCCtx(zstd, frame.data(), frame.size(), bytes.data(), bytes.size(), 1);
    return !ZSTD_isError(size) && double(size) < share * double(bytes.size());
  }

  PlaneMethod append_plane(Bytes plane, std::vector<uint8_t>* out) {
    double bytes = double(plane.size());
    ByteCounts counts = count_bytes(plane);
    if (counts.of[plane[0]] == plane.size()) {
      out->push_back(plane[0]);
      return PlaneMethod::constant;
    }
    double best = bytes * (1 - kPlaneGainMin);
    HuffmanCode code;
    bool huffman = false;
    if (entropy_bytes(counts, plane.size()) < best) {
      code = make_huffman_code(counts);
      huffman = double(code.encoded_bytes) < best;
      if (huffman) best = double(code.encoded_bytes);
    }
    best *= 1 - kZstdGainMin;
    if (zstd_promises(plane, best / bytes) && append_zstd(plane, best, out))
      return PlaneMethod::zstd;
    if (huffman) {
      huffman_encode(plane, code, out);
      return PlaneMethod::huffman;
    }
    out->insert(out->end(), plane.begin(), plane.end());
    return PlaneMethod::raw;
  }
};

ChunkPacker::ChunkPacker() : state_(new State) {}
ChunkPacker::~ChunkPacker() = default;
ChunkPacker::ChunkPacker(ChunkPacker&&) noexcept = default;

ChunkMethod ChunkPacker::pack(Bytes raw, ElementLayout layout, std::vector<uint8_t>* out) {
  CHECK(layout_is_known(layout) && raw.size() <= kChunkBytes && raw.size() % layout.width == 0);
  out->clear();
  if (raw.empty()) return ChunkMethod::raw;
  size_t width = layout.width, count = raw.size() / width;
  const uint8_t* planes[kWidthMax] = {raw.data()};
  if (width > 1) {
    uint8_t* to[kWidthMax];
    state_->buffer.place(width, count, to);
    split_planes(layout, raw.data(), count, to);
    std::copy(to, to + width, planes);
  }
  out->resize(4 * width);
  for (size_t p = 0; p < width; ++p) {
    size_t before = out->size();
    PlaneMethod method = state_->append_plane(Bytes(planes[p], count), out);
    store_little(out->data() + 4 * p, uint32_t(out->size() - before) | uint32_t(method) << 24);
  }
  double best = std::min(double(out->size()), double(raw.size()) * (1 - kChunkGainMin));
  if (state_->zstd_promises(raw, best * (1 - kZstdGainMin) / double(raw.size()))) {
    size_t before = out->size();
    if (state_->append_zstd(raw, best * (1 - kZstdGainMin), out)) {
      out->erase(out->begin(), out->begin() + ptrdiff_t(before));
      return ChunkMethod::zstd;
    }
  }
  if (double(out->size()) <= best) return ChunkMethod::planes;
  out->clear();
  return ChunkMethod::raw;
}

struct ChunkUnpacker::State {
  ZSTD_DCtx* zstd = nullptr;  // made when it is needed first: few weights are coded with it
  PlaneBuffer buffer;
  ~State() { ZSTD_freeDCtx(zstd); }

  // One frame that gives `out` and nothing more; memory beyond `out` is not needed for it.
  Result<void> unpack_zstd(Bytes packed, Span<uint8_t> out) {
    unsigned long long declared = ZSTD_getFrameContentSize(packed.data(), packed.size());
    if (declared != out.size())
      return error(Code::invalid_file, "zstd frame does not declare {} bytes", out.size());
    size_t frame = ZSTD_findFrameCompressedSize(packed.data(), packed.size());
    if (ZSTD_isError(frame) || frame != packed.size())
      return error(Code::invalid_file, "zstd: {} bytes are not one frame", packed.size());
    if (!zstd) zstd = ZSTD_createDCtx();
    CHECK(zstd);
    size_t size = ZSTD_decompressDCtx(zstd, out.data(), out.size(), packed.data(), packed.size());
    if (ZSTD_isError(size)) return error(Code::invalid_file, "zstd: {}", ZSTD_getErrorName(size));
    if (size != out.size())
      return error(Code::invalid_file, "zstd frame gives {} bytes of {}", size, out.size());
    return {};
  }

  // Fills `out` unless the plane can be used where it lies; the answer says where it is.
  Result<const uint8_t*> unpack_plane(uint32_t method, Bytes packed, Span<uint8_t> out) {
    switch (PlaneMethod(method)) {
      case PlaneMethod::raw:
        if (packed.size() != out.size())
          return error(Code::invalid_file, "{} bytes stored raw, {} wanted", packed.size(),
                       out.size());
        return packed.data();
      case PlaneMethod::constant:
        if (packed.size() != 1)
          return error(Code::invalid_file, "a constant of {} bytes", packed.size());
        memset(out.data(), packed[0], out.size());
        return out.data();
      case PlaneMethod::huffman: TRY_VOID(huffman_decode(packed, out)); return out.data();
      case PlaneMethod::zstd: TRY_VOID(unpack_zstd(packed, out)); return out.data();
    }
    return error(Code::unsupported, "method {} is none of 0 to 3", method);
  }

  Result<void> unpack_planes(Bytes packed, ElementLayout layout, Span<uint8_t> raw) {
    size_t width = layout.width, count = raw.size() / width;
    if (packed.size() < 4 * width)
      return error(Code::invalid_file, "{} bytes cannot describe {} planes", packed.size(), width);
    uint8_t* places[kWidthMax] = {raw.data()};
    if (width > 1) buffer.place(width, count, places);
    const uint8_t* planes[kWidthMax];
    Bytes rest = packed.subspan(4 * width);
    for (size_t p = 0; p < width; ++p) {
      uint32_t word = load_little<uint32_t>(packed.data() + 4 * p), bytes = word & 0xFF'FFFF;
      if (bytes > rest.size())
        return error(Code::invalid_file, "plane {}: {} bytes exceed the {} that are left", p, bytes,
                     rest.size());
      auto plane = unpack_plane(word >> 24, rest.first(bytes), {places[p], count});
      if (!plane.ok()) return std::move(plane.error()).with_context(fmt::format("plane {}", p));
      planes[p] = *plane;
      rest = rest.subspan(bytes);
    }
    if (!rest.empty())
      return error(Code::invalid_file, "{} bytes follow the last plane", rest.size());
    if (width > 1)
      join_planes(layout, planes, count, raw.data());
    else if (planes[0] != raw.data())
      memcpy(raw.data(), planes[0], count);
    return {};
  }
};

ChunkUnpacker::ChunkUnpacker() : state_(new State) {}
ChunkUnpacker::~ChunkUnpacker() = default;
ChunkUnpacker::ChunkUnpacker(ChunkUnpacker&&) noexcept = default;

Result<void> ChunkUnpacker::unpack(ChunkMethod method, Bytes packed, ElementLayout layout,
                                   Span<uint8_t> raw) {
  CHECK(layout_is_known(layout));
  if (raw.size() > kChunkBytes || raw.size() % layout.width != 0)
    return error(Code::invalid_file, "chunk of {} bytes for elements of {}", raw.size(),
                 int(layout.width));
  switch (method) {
    case ChunkMethod::raw:
      if (packed.size() != raw.size())
        return error(Code::invalid_file, "{} bytes stored raw, {} wanted", packed.size(),
                     raw.size());
      if (!raw.empty()) memcpy(raw.data(), packed.data(), raw.size());
      return {};
    case ChunkMethod::planes:
      if (raw.empty()) return error(Code::invalid_file, "an empty chunk is not packed");
      return state_->unpack_planes(packed, layout, raw);
    case ChunkMethod::zstd: return state_->unpack_zstd(packed, raw);
  }
  return error(Code::unsupported, "chunk method {} is none of 0 to 2", int(method));
}

}  // namespace sconce
