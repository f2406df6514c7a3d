#include "formats/packed/huffman.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cstring>
#include <numeric>

#include "base/little_endian.h"

namespace sconce {

namespace {

static_assert(std::endian::native == std::endian::little, "entries of the table are stored whole");

constexpr size_t kTableSize = size_t(1) << kHuffmanBitsMax;
constexpr int kSymbolsMax = 6;  // in one entry of the table

// The bits that its symbols take in byte 0 of an entry, where a shift finds them; their count in
// byte 1; symbols in bytes 2 to 7.
using Entry = uint64_t;
constexpr int kSymbolsShift = 16;
constexpr Entry kSymbolsMask = ~Entry(0) << kSymbolsShift;
constexpr Entry entry_of(uint8_t symbol, int bits) {
  return Entry(symbol) << kSymbolsShift | Entry(1) << 8 | Entry(bits);
}

uint64_t load_big_endian(const uint8_t* from) {
  uint64_t value;
  memcpy(&value, from, 8);
  return __builtin_bswap64(value);
}

// Bytes that occur, in the order of their codes: by length, then by value.
struct CodeOrder {
  uint8_t symbol[256];
  int count = 0;
};
CodeOrder order_of(const uint8_t (&bits)[256]) {
  CodeOrder order;
  int start[kHuffmanBitsMax + 2] = {};
  for (int s = 0; s < 256; ++s)
    if (bits[s]) ++start[bits[s] + 1];
  for (int b = 1; b < kHuffmanBitsMax + 2; ++b) start[b] += start[b - 1];
  order.count = start[kHuffmanBitsMax + 1];
  for (int s = 0; s < 256; ++s)
    if (bits[s]) order.symbol[start[bits[s]]++] = uint8_t(s);
  return order;
}

// Coded plane: smallest and largest byte, their lengths in nibbles, sizes of all streams but the
// last, the streams.
struct Layout {
  uint8_t bits[256] = {};
  Bytes stream[kHuffmanStreams];
};

Result<Layout> read_layout(Bytes coded) {
  Layout layout;
  if (coded.size() < 2) return error(Code::invalid_file, "Huffman table is cut off");
  size_t first = coded[0], last = coded[1];
  if (first >= last)
    return error(Code::invalid_file, "Huffman table: bytes {} to {} are not two or more", first,
                 last);
  size_t nibbles = last - first + 1, table_bytes = (nibbles + 1) / 2;
  size_t streams_at = 2 + table_bytes + 4 * (kHuffmanStreams - 1);
  if (coded.size() < streams_at)
    return error(Code::invalid_file, "Huffman table is cut off: {} bytes of {}", coded.size(),
                 streams_at);
  uint32_t filled = 0;
  for (size_t i = 0; i < 2 * table_bytes; ++i) {
    uint8_t bits = i % 2 ? coded[2 + i / 2] >> 4 : coded[2 + i / 2] & 15;
    if (bits > kHuffmanBitsMax || (i >= nibbles && bits != 0))
      return error(Code::invalid_file, "Huffman table: code of {} bits, at most {}", bits,
                   i >= nibbles ? 0 : kHuffmanBitsMax);
    if (i >= nibbles || bits == 0) continue;
    layout.bits[first + i] = bits;
    filled += uint32_t(kTableSize) >> bits;
  }
  if (filled != kTableSize || !layout.bits[first] || !layout.bits[last])
    return error(Code::invalid_file, "Huffman table: codes fill {} of {}", filled, kTableSize);
  Bytes rest = coded.subspan(streams_at);
  for (size_t s = 0; s < kHuffmanStreams; ++s) {
    size_t bytes = rest.size();
    if (s + 1 < kHuffmanStreams) {
      bytes = load_little<uint32_t>(coded.data() + 2 + table_bytes + 4 * s);
      if (bytes > rest.size())
        return error(Code::invalid_file, "Huffman stream {}: {} bytes exceed the {} that are left",
                     s, bytes, rest.size());
    }
    layout.stream[s] = rest.first(bytes);
    rest = rest.subspan(bytes);
  }
  return layout;
}

// The table for windows of 11 bits, built from those for all shorter windows: an entry is a symbol
// followed by the entry of what is left of the window. Codes in order stand in the table in order,
// so every block is one pass over a smaller table.
struct Tables {
  std::array<Entry, 2 * kTableSize> entries;
  Entry* window(int bits) { return entries.data() + (size_t(1) << bits); }
};

__attribute__((always_inline)) inline void prepend(const Entry* rest, size_t count, Entry symbol,
                                                   Entry* out) {
  for (size_t i = 0; i < count; ++i)
    out[i] = ((rest[i] & kSymbolsMask) << 8) + (rest[i] & ~kSymbolsMask) + symbol;
}

__attribute__((always_inline)) inline void build_tables(const uint8_t (&bits)[256],
                                                        Tables* tables) {
  CodeOrder order = order_of(bits);
  int symbols_max[kHuffmanBitsMax + 1] = {};
  for (int b = 0; b <= kHuffmanBitsMax; ++b) {
    Entry* out = tables->window(b);
    Entry* end = out + (size_t(1) << b);
    for (int i = 0; i < order.count; ++i) {
      uint8_t symbol = order.symbol[i];
      int left = b - bits[symbol];
      if (left < 0) break;
      int use = left;  // of the bits left, so that six symbols are enough
      while (symbols_max[use] >= kSymbolsMax) --use;
      const Entry* rest = tables->window(use);
      Entry first = entry_of(symbol, bits[symbol]);
      size_t count = size_t(1) << left;
      if (use == left)
        prepend(rest, count, first, out);
      else
        for (size_t j = 0; j < count; ++j) prepend(rest + (j >> (left - use)), 1, first, out + j);
      symbols_max[b] = std::max(symbols_max[b], symbols_max[use] + 1);
      out += count;
    }
    std::fill(out, end, Entry(0));
  }
}

// Where a stream stands: `bits` holds what follows `in`, with the lowest bit set as a mark: as many
// zeros as follow it have been taken.
struct Cursor {
  const uint8_t* in;
  const uint8_t* in_end;
  uint8_t* out;
  uint8_t* out_end;
};

constexpr int kLookUps = 5;  // 5 * 11 bits are always there after a refill: 63 - 7 = 56

// How often a cursor can be refilled and looked up without a look at its ends.
ptrdiff_t rounds_left(const Cursor& cursor, const uint8_t* in, const uint8_t* out) {
  ptrdiff_t by_input = (cursor.in_end - in - 8) / 7;
  ptrdiff_t by_output = (cursor.out_end - out - 8) / (kLookUps * kSymbolsMax);
  return std::min(by_input, by_output);
}

__attribute__((always_inline)) inline uint64_t refill(const uint8_t* in, uint32_t bit) {
  return (load_big_endian(in) | 1) << bit;
}

__attribute__((always_inline)) inline void look_up(const Entry* table, uint64_t& bits,
                                                   uint8_t*& out) {
  Entry entry = table[bits >> (64 - kHuffmanBitsMax)];
  Entry symbols = entry >> kSymbolsShift;
  memcpy(out, &symbols, 8);
  bits <<= entry & 63;
  out += uint8_t(entry >> 8);
}

__attribute__((always_inline)) inline void advance(uint64_t bits, const uint8_t*& in,
                                                   uint32_t& bit) {
  uint32_t taken = uint32_t(std::countr_zero(bits));
  in += taken >> 3;
  bit = taken & 7;
}

// Decodes all streams side by side for as long as none needs a look at its ends.
__attribute__((always_inline)) inline void decode_inside(const Entry* table,
                                                         Cursor (&cursors)[kHuffmanStreams],
                                                         uint32_t (&bit_of)[kHuffmanStreams]) {
  static_assert(kHuffmanStreams == 4);
  const uint8_t *in0 = cursors[0].in, *in1 = cursors[1].in, *in2 = cursors[2].in,
                *in3 = cursors[3].in;
  uint8_t *out0 = cursors[0].out, *out1 = cursors[1].out, *out2 = cursors[2].out,
          *out3 = cursors[3].out;
  uint32_t bit0 = 0, bit1 = 0, bit2 = 0, bit3 = 0;
  for (;;) {
    ptrdiff_t rounds =
        std::min(std::min(rounds_left(cursors[0], in0, out0), rounds_left(cursors[1], in1, out1)),
                 std::min(rounds_left(cursors[2], in2, out2), rounds_left(cursors[3], in3, out3)));
    if (rounds <= 0) break;
    for (ptrdiff_t round = 0; round < rounds; ++round) {
      uint64_t bits0 = refill(in0, bit0);
      uint64_t bits1 = refill(in1, bit1);
      uint64_t bits2 = refill(in2, bit2);
      uint64_t bits3 = refill(in3, bit3);
#pragma GCC unroll 5
      for (int i = 0; i < kLookUps; ++i) {
        look_up(table, bits0, out0);
        look_up(table, bits1, out1);
        look_up(table, bits2, out2);
        look_up(table, bits3, out3);
      }
      advance(bits0, in0, bit0);
      advance(bits1, in1, bit1);
      advance(bits2, in2, bit2);
      advance(bits3, in3, bit3);
    }
  }
  cursors[0].in = in0, cursors[1].in = in1, cursors[2].in = in2, cursors[3].in = in3;
  cursors[0].out = out0, cursors[1].out = out1, cursors[2].out = out2, cursors[3].out = out3;
  bit_of[0] = bit0, bit_of[1] = bit1, bit_of[2] = bit2, bit_of[3] = bit3;
}

// The same for one stream: streams get along at different speeds, and those that are behind when
// the first is done have up to a tenth of their symbols left.
__attribute__((always_inline)) inline void decode_alone(const Entry* table, Cursor& cursor,
                                                        uint32_t& bit) {
  for (ptrdiff_t rounds; (rounds = rounds_left(cursor, cursor.in, cursor.out)) > 0;)
    for (ptrdiff_t round = 0; round < rounds; ++round) {
      uint64_t bits = refill(cursor.in, bit);
      for (int i = 0; i < kLookUps; ++i) look_up(table, bits, cursor.out);
      advance(bits, cursor.in, bit);
    }
}

__attribute__((always_inline)) inline void build_and_decode(const uint8_t (&bits)[256],
                                                            Tables* tables,
                                                            Cursor (&cursors)[kHuffmanStreams],
                                                            uint32_t (&bit_of)[kHuffmanStreams]) {
  build_tables(bits, tables);
  const Entry* table = tables->window(kHuffmanBitsMax);
  decode_inside(table, cursors, bit_of);
  for (size_t s = 0; s < kHuffmanStreams; ++s) decode_alone(table, cursors[s], bit_of[s]);
}

void decode_plain(const uint8_t (&bits)[256], Tables* tables, Cursor (&cursors)[kHuffmanStreams],
                  uint32_t (&bit_of)[kHuffmanStreams]) {
  build_and_decode(bits, tables, cursors, bit_of);
}
#if defined(__x86_64__)
__attribute__((target("avx2,bmi,bmi2"))) void decode_bmi2(const uint8_t (&bits)[256],
                                                          Tables* tables,
                                                          Cursor (&cursors)[kHuffmanStreams],
                                                          uint32_t (&bit_of)[kHuffmanStreams]) {
  build_and_decode(bits, tables, cursors, bit_of);
}
#endif

// The rest of one stream, symbol by symbol, and all that must hold at its end.
Result<void> decode_rest(const Entry* table, const uint8_t (&lengths)[256], size_t stream,
                         const Cursor& cursor, uint32_t bit) {
  size_t bytes = size_t(cursor.in_end - cursor.in);
  size_t position = bit;
  auto window = [&](size_t at) {  // eight bytes from `at`, zeros behind the end
    uint8_t near[8] = {};
    if (at < bytes) memcpy(near, cursor.in + at, std::min<size_t>(8, bytes - at));
    return load_big_endian(near);
  };
  for (uint8_t* out = cursor.out; out < cursor.out_end; ++out) {
    uint64_t bits = window(position / 8) << (position % 8);
    uint8_t symbol = uint8_t(table[bits >> (64 - kHuffmanBitsMax)] >> kSymbolsShift);
    position += lengths[symbol];
    if (position > 8 * bytes)
      return error(Code::invalid_file, "Huffman stream {} ends {} symbols early", stream,
                   cursor.out_end - out);
    *out = symbol;
  }
  if ((position + 7) / 8 != bytes)
    return error(Code::invalid_file, "Huffman stream {}: {} bytes follow its last symbol", stream,
                 bytes - (position + 7) / 8);
  if (position % 8 && uint8_t(cursor.in[bytes - 1] << (position % 8)) != 0)
    return error(Code::invalid_file, "Huffman stream {}: padding is not zero", stream);
  return {};
}

size_t stream_symbols(size_t plane_bytes) {
  return (plane_bytes + kHuffmanStreams - 1) / kHuffmanStreams;
}

}  // namespace

Result<void> huffman_decode(Bytes coded, Span<uint8_t> plane) {
  TRY(Layout layout, read_layout(coded));
  Tables tables;
  Cursor cursors[kHuffmanStreams];
  uint32_t bit_of[kHuffmanStreams] = {};
  size_t each = stream_symbols(plane.size());
  for (size_t s = 0; s < kHuffmanStreams; ++s) {
    size_t begin = std::min(plane.size(), s * each), end = std::min(plane.size(), begin + each);
    Bytes in = layout.stream[s];
    cursors[s] = {in.data(), in.data() + in.size(), plane.data() + begin, plane.data() + end};
  }
#if defined(__x86_64__)
  static const bool bmi2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("bmi") &&
                           __builtin_cpu_supports("bmi2");
  if (bmi2)
    decode_bmi2(layout.bits, &tables, cursors, bit_of);
  else
#endif
    decode_plain(layout.bits, &tables, cursors, bit_of);
  for (size_t s = 0; s < kHuffmanStreams; ++s)
    TRY_VOID(decode_rest(tables.window(kHuffmanBitsMax), layout.bits, s, cursors[s], bit_of[s]));
  return {};
}

ByteCounts count_bytes(Bytes plane) {
  // Four tables: equal neighbours would wait for each other in one.
  uint32_t part[4][256] = {};
  size_t i = 0;
  for (; i + 4 <= plane.size(); i += 4)
    for (size_t j = 0; j < 4; ++j) ++part[j][plane[i + j]];
  for (; i < plane.size(); ++i) ++part[0][plane[i]];
  ByteCounts counts;
  for (int s = 0; s < 256; ++s) counts.of[s] = part[0][s] + part[1][s] + part[2][s] + part[3][s];
  return counts;
}

// Package-merge: at each of 11 levels the packages of the level below, two by two, join the leaves
// in order of weight; a leaf's length is the number of levels at which it is among those taken.
HuffmanCode make_huffman_code(const ByteCounts& counts) {
  HuffmanCode code;
  int leaf[256];
  int leaves = 0;
  for (int s = 0; s < 256; ++s)
    if (counts.of[s]) leaf[leaves++] = s;
  CHECK(leaves >= 2);
  code.first = uint8_t(leaf[0]);
  code.last = uint8_t(leaf[leaves - 1]);
  std::stable_sort(leaf, leaf + leaves, [&](int a, int b) { return counts.of[a] < counts.of[b]; });
  std::vector<uint64_t> level, below;
  std::vector<bool> is_leaf[kHuffmanBitsMax];
  for (auto& flags : is_leaf) {
    level.clear();
    int next = 0;
    for (size_t package = 0; next < leaves || package + 1 < below.size();) {
      bool has_package = package + 1 < below.size();
      uint64_t pair = has_package ? below[package] + below[package + 1] : 0;
      bool take_leaf = next < leaves && (!has_package || counts.of[leaf[next]] <= pair);
      level.push_back(take_leaf ? counts.of[leaf[next++]] : pair);
      flags.push_back(take_leaf);
      if (!take_leaf) package += 2;
    }
    std::swap(level, below);
  }
  size_t taken = 2 * size_t(leaves) - 2;
  for (int b = kHuffmanBitsMax; b-- > 0 && taken > 0;) {
    size_t leaves_taken =
        size_t(std::count(is_leaf[b].begin(), is_leaf[b].begin() + ptrdiff_t(taken), true));
    for (size_t i = 0; i < leaves_taken; ++i) ++code.bits[leaf[i]];
    taken = 2 * (taken - leaves_taken);
  }
  uint64_t bits = 0;
  for (int i = 0; i < leaves; ++i) bits += uint64_t(counts.of[leaf[i]]) * code.bits[leaf[i]];
  code.encoded_bytes =
      2 + (size_t(code.last - code.first) + 2) / 2 + 4 * (kHuffmanStreams - 1) + (bits + 7) / 8;
  return code;
}

void huffman_encode(Bytes plane, const HuffmanCode& code, std::vector<uint8_t>* out) {
  struct Word {
    uint16_t code;
    uint8_t bits;
  } words[256] = {};
  CodeOrder order = order_of(code.bits);
  uint32_t next = 0;  // as 11 bits, from the top
  for (int i = 0; i < order.count; ++i) {
    uint8_t symbol = order.symbol[i], bits = code.bits[symbol];
    words[symbol] = {uint16_t(next >> (kHuffmanBitsMax - bits)), bits};
    next += uint32_t(kTableSize) >> bits;
  }
  out->push_back(code.first);
  out->push_back(code.last);
  for (int s = code.first; s <= code.last; s += 2)
    out->push_back(uint8_t(code.bits[s] | (s < code.last ? code.bits[s + 1] << 4 : 0)));
  size_t sizes_at = out->size();
  size_t start = sizes_at + 4 * (kHuffmanStreams - 1);
  out->resize(start + plane.size() * kHuffmanBitsMax / 8 + 8 * (kHuffmanStreams + 1));
  uint8_t* to = out->data() + start;
  size_t each = stream_symbols(plane.size());
  for (size_t s = 0; s < kHuffmanStreams; ++s) {
    size_t begin = std::min(plane.size(), s * each), end = std::min(plane.size(), begin + each);
    uint8_t* stream = to;
    uint64_t bits = 0;  // from the top
    int filled = 0;
    for (size_t i = begin; i < end; ++i) {
      Word word = words[plane[i]];
      filled += word.bits;
      bits |= uint64_t(word.code) << (64 - filled);
      if (filled >= 64 - kHuffmanBitsMax) {  // at most 63
        uint64_t swapped = __builtin_bswap64(bits);
        memcpy(to, &swapped, 8);
        to += filled / 8;
        bits <<= filled & ~7;
        filled &= 7;
      }
    }
    uint64_t swapped = __builtin_bswap64(bits);
    memcpy(to, &swapped, 8);
    to += (filled + 7) / 8;
    if (s + 1 < kHuffmanStreams) {
      store_little(out->data() + sizes_at + 4 * s, uint32_t(to - stream));
    }
  }
  out->resize(size_t(to - out->data()));
}

}  // namespace sconce
