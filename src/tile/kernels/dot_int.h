// The integer dot kernels over any unit that adds four products of bytes into 32 bits.
//
// A unit takes one unsigned and one signed operand (kUnsigned), or two signed ones. Where A has the
// other sign its top bit is flipped, which moves its zero point by 128; the sums of B's columns
// take that out again. All is exact in 32 bits.
#pragma once

#include "tile/kernels/convert.h"
#include "tile/kernels/dot_f32.h"

namespace sconce::tile {
namespace {

// Any set: the low and high byte of each 16-bit half, widened, by multiply-add of 16-bit pairs.
// Unlike the byte multiply-add of SSSE3, nothing saturates.
#if SCONCE_SIMD_X86
struct WideningUnit {
  static constexpr bool kUnsigned = true;
  struct Pair {
    I even, odd;
  };
#if defined(__AVX512BW__)
  static SCONCE_INLINE I madd(I a, I b) { return (I)_mm512_madd_epi16((__m512i)a, (__m512i)b); }
#elif defined(__AVX2__)
  static SCONCE_INLINE I madd(I a, I b) { return (I)_mm256_madd_epi16((__m256i)a, (__m256i)b); }
#else
  static SCONCE_INLINE I madd(I a, I b) { return (I)_mm_madd_epi16((__m128i)a, (__m128i)b); }
#endif
  typedef int16_t Half __attribute__((vector_size(4 * Simd::kLanes)));
  typedef uint16_t UnsignedHalf __attribute__((vector_size(4 * Simd::kLanes)));
  static SCONCE_INLINE Pair left(I bytes) {
    return {Simd::iand(bytes, Simd::seti(0x00ff00ff)), (I)((UnsignedHalf)bytes >> 8)};
  }
  static SCONCE_INLINE Pair right(I bytes) {
    return {(I)((Half)((UnsignedHalf)bytes << 8) >> 8), (I)((Half)bytes >> 8)};
  }
  static SCONCE_INLINE I dot(I acc, Pair a, Pair b) {
    return Simd::iadd(acc, Simd::iadd(madd(a.even, b.even), madd(a.odd, b.odd)));
  }
};
// vpdpbusd. Assembly: around the intrinsics GCC 12 moves accumulators from register to register.
// The assembler needs no flag, so that the unit stands in the file of the set without it.
struct VnniUnit {
  static constexpr bool kUnsigned = true;
  static SCONCE_INLINE I left(I bytes) { return bytes; }
  static SCONCE_INLINE I right(I bytes) { return bytes; }
  static SCONCE_INLINE I dot(I acc, I a, I b) {
#if defined(__AVX512F__)
    __asm__("vpdpbusd %2, %1, %0" : "+v"(acc) : "v"(a), "v"(b));
#else
    __asm__("%{vex%} vpdpbusd %2, %1, %0" : "+x"(acc) : "x"(a), "x"(b));
#endif
    return acc;
  }
};
#elif SCONCE_SIMD_NEON
// For the assembler alone; the compiler's own choice of instructions stays that of the flags.
__asm__(".arch armv8.2-a+dotprod+i8mm");
struct SignedUnit {
  static constexpr bool kUnsigned = false;
  static SCONCE_INLINE I left(I bytes) { return bytes; }
  static SCONCE_INLINE I right(I bytes) { return bytes; }
};
struct WideningUnit : SignedUnit {
  static SCONCE_INLINE I dot(I acc, I a, I b) {
    int8x16_t x = (int8x16_t)a, y = (int8x16_t)b;
    int32x4_t low = vpaddlq_s16(vmull_s8(vget_low_s8(x), vget_low_s8(y)));
    int32x4_t high = vpaddlq_s16(vmull_high_s8(x, y));
    return Simd::iadd(acc, (I)vpaddq_s32(low, high));
  }
};
struct DotprodUnit : SignedUnit {
  static SCONCE_INLINE I dot(I acc, I a, I b) {
    __asm__("sdot %0.4s, %1.16b, %2.16b" : "+w"(acc) : "w"(a), "w"(b));
    return acc;
  }
};
// i8mm has the dot of mixed signs, so that u8 activations need no flip.
struct MixedUnit {
  static constexpr bool kUnsigned = true;
  static SCONCE_INLINE I left(I bytes) { return bytes; }
  static SCONCE_INLINE I right(I bytes) { return bytes; }
  static SCONCE_INLINE I dot(I acc, I a, I b) {
    __asm__("usdot %0.4s, %1.16b, %2.16b" : "+w"(acc) : "w"(a), "w"(b));
    return acc;
  }
};
#endif
struct PlainUnit {
  static constexpr bool kUnsigned = true;
  static SCONCE_INLINE I left(I bytes) { return bytes; }
  static SCONCE_INLINE I right(I bytes) { return bytes; }
  static SCONCE_INLINE int32_t dot(int32_t acc, int32_t a, int32_t b) {
    for (int i = 0; i < 32; i += 8)
      acc = int32_t(uint32_t(acc) + uint32_t(uint8_t(a >> i) * int8_t(b >> i)));
    return acc;
  }
};

SCONCE_INLINE int32_t four_bytes(const void* p) {
  int32_t x;
  __builtin_memcpy(&x, p, 4);
  return x;
}
// `count` bytes at p, 1 to 3 of them; zeros above.
SCONCE_INLINE int32_t few_bytes(const int8_t* p, int count) {
  uint32_t x = 0;
  for (int i = 0; i < count; i++) x |= uint32_t(uint8_t(p[i])) << 8 * i;
  return int32_t(x);
}
// Four bytes in every element, with the top bits flipped that are set in `flip`, which is 0 unless
// kFlip.
template <bool kFlip>
SCONCE_INLINE I spread_four_bytes(const void* p, I flip) {
#if defined(__AVX512F__)
  // Assembly: GCC 12 goes through a general register, which takes the place of a multiplication.
  I x;
  if (kFlip)
    __asm__("vpxord %1%{1to16%}, %2, %0" : "=v"(x) : "m"(*(const int32_t(*)[1])p), "v"(flip));
  else
    __asm__("vpbroadcastd %1, %0" : "=v"(x) : "m"(*(const int32_t(*)[1])p));
  return x;
#elif defined(__AVX2__)
  I x;
  __asm__("vpbroadcastd %1, %0" : "=x"(x) : "m"(*(const int32_t(*)[1])p));
  return kFlip ? Simd::ixor(x, flip) : x;
#else
  I x = Simd::seti(four_bytes(p));
  return kFlip ? Simd::ixor(x, flip) : x;
#endif
}
SCONCE_INLINE I load_bytes(const void* p) {
  I x;
  __builtin_memcpy(&x, p, sizeof x);
  return x;
}

// What becomes of sums after they are bytes once: nothing, bytes of another scale, or bytes of a
// sum with others.
enum class Then : uint8_t { nothing, scaled, added };

// Vectors of sums to bytes, as LimitI8 and AgainI8 say.
template <Then kThen>
struct Rounding8 {
  F low, high, last_low, last_high;
  // 2^23 + 128 and a byte, added as integers: the bits of their sum as a number.
  static constexpr int32_t kByteOfNumber = 0x4b000080;
  F own_ratio, ratio, factor, other_zero;
  I zero, least;  // in halves and in bytes of the elements
  SCONCE_INLINE Rounding8(const LimitI8& to, const AgainI8* again) {
    const LimitI8& last = kThen == Then::nothing ? to : again->to;
    low = Simd::set(float(to.low - to.zero));
    high = Simd::set(float(to.high - to.zero));
    last_low = Simd::set(float(last.low - last.zero));
    last_high = Simd::set(float(last.high - last.zero));
    zero = Simd::seti(int32_t(uint32_t(last.zero & 0xffff) * 0x10001u));
    least = Simd::seti(int32_t(uint32_t(last.low & 0xff) * 0x1010101u));
    if (kThen == Then::nothing) return;
    own_ratio = Simd::set(again->own_ratio);
    ratio = Simd::set(again->x_ratio);
    factor = Simd::set(again->factor);
    other_zero = Simd::set(8388608 + 128 + float(again->x_zero));
  }
  // Whole numbers for bytes(); `other`: what is added.
  SCONCE_INLINE I whole(I total, F scale, I other) const {
    F x = Simd::mul(Simd::to_f(total), scale);
    if (kThen != Then::nothing)
      x = Simd::mul(Simd::rint(Simd::at_most(Simd::at_least(low, x), high)), own_ratio);
    if (kThen == Then::scaled) x = Simd::mul(x, factor);
    if (kThen == Then::added)
      x = Simd::add(x, Simd::mul(Simd::sub(Simd::as_f(Simd::iadd(other, Simd::seti(kByteOfNumber))),
                                           other_zero),
                                 ratio));
    // Where what is no number becomes the least integer, bytes() sees to the lower end.
    if (!Simd::kNanToLeast) x = Simd::at_least(last_low, x);
    return Simd::to_i(Simd::at_most(x, last_high));
  }
  // Of four vectors, in the order of pack_bytes().
  SCONCE_INLINE I bytes(const I (&x)[4]) const {
    return Simd::max_bytes(Simd::pack_bytes(x[0], x[1], x[2], x[3], zero), least);
  }
};

// Sums of `rows` rows and P panels, total(row, vector), become bytes: four vectors at a time, of
// several rows where a row has fewer. kRows: of so many, with all columns; 0: of any.
template <int P, Then kThen, int kRows, class Total>
SCONCE_INLINE void finish_bytes(const DotI8& d, int rows, Total total) {
  constexpr int W = Simd::kLanes, V = P * kPerPanel, kRest = V % 4;
  const int columns = kRows ? P * kPanel : d.columns;
  const int64_t c_stride = d.c_stride;
  const int8_t* const added = kThen == Then::added ? d.again->x : nullptr;
  const int64_t added_row = kThen == Then::added ? d.again->x_row : 0;
  // Bytes of the other sign are those of a zero point 128 lower, with the top bit flipped.
  LimitI8 to = d.to;
  I flip = Simd::seti(0);
  if (d.finish == DotI8Finish::u8) {
    to = {to.zero - 128, to.low - 128, to.high - 128};
    flip = Simd::seti(int32_t(0x80808080u));
  }
  const Rounding8<kThen> rounding(to, d.again);
  F scale[V];
#pragma GCC unroll 16
  for (int v = 0; v < V; v++) {
    const int n = columns - v * W;
    scale[v] = n <= 0 ? Simd::set(0) : any_step(d.scale, d.scale_step, v * W, n < W ? n : W);
  }
  auto whole = [&](int r, int v) SCONCE_LAMBDA {
    I other = Simd::seti(0);
    if (kThen == Then::added) {
      const int n = columns - v * W;
      if (n > 0) other = widen_n(added + r * added_row + v * W, n < W ? n : W);
    }
    return rounding.whole(total(r, v), scale[v], other);
  };
  auto bytes_of = [&](const I(&x)[4])
                      SCONCE_LAMBDA { return Simd::ixor(Simd::in_order(rounding.bytes(x)), flip); };
  uint8_t* const c = (uint8_t*)d.c;
  auto finish_row = [&](int r) SCONCE_LAMBDA {
#pragma GCC unroll 4
    for (int v = 0; v + 4 <= V; v += 4) {
      if (v * W >= columns) break;
      const I x[4] = {whole(r, v), whole(r, v + 1), whole(r, v + 2), whole(r, v + 3)};
      const int n = columns - v * W;
      Simd::template store_part<0, 1>(c + r * c_stride + v * W, bytes_of(x), n < 4 * W ? n : 4 * W);
    }
  };
#pragma GCC unroll 16
  for (int r = 0; r < kRows; r++) finish_row(r);
  if (!kRows)
    for (int r = 0; r < rows; r++) finish_row(r);
  if constexpr (kRest > 0) {
    constexpr int kFirst = V - kRest, kWidth = kRest * W, kAtOnce = 4 / kRest;
    const int n = columns - kFirst * W < kWidth ? columns - kFirst * W : kWidth;
    for (int r = 0; r < rows; r += kAtOnce) {
      I x[4];
#pragma GCC unroll 4
      for (int s = 0; s < 4; s++)
        x[s] = s / kRest < kAtOnce && r + s / kRest < rows
                   ? whole(r + s / kRest, kFirst + s % kRest)
                   : x[0];
      const I bytes = bytes_of(x);
      uint8_t* const to_row = c + r * c_stride + kFirst * W;
      // Three vectors of a row are the beginning of one part.
      Simd::template store_part<0, kAtOnce>(to_row, bytes, n);
      if constexpr (kAtOnce > 1)
        if (r + 1 < rows) Simd::template store_part<1, kAtOnce>(to_row + c_stride, bytes, n);
      if constexpr (kAtOnce > 2) {
        if (r + 2 < rows) Simd::template store_part<2, kAtOnce>(to_row + 2 * c_stride, bytes, n);
        if (r + 3 < rows) Simd::template store_part<3, kAtOnce>(to_row + 3 * c_stride, bytes, n);
      }
    }
  }
}
template <int P>
__attribute__((noinline)) void finish_as_bytes(const DotI8& d, int rows, const int32_t* totals) {
  auto total = [&](int r, int v) SCONCE_LAMBDA {
    return Simd::load_i32(totals + r * P * kPanel + v * Simd::kLanes);
  };
  if (!d.again)
    finish_bytes<P, Then::nothing, 0>(d, rows, total);
  else if (d.again->x)
    finish_bytes<P, Then::added, 0>(d, rows, total);
  else
    finish_bytes<P, Then::scaled, 0>(d, rows, total);
}

// Sums stay sums, or become numbers.
__attribute__((noinline)) void finish_as_numbers(const DotI8& d, int rows, int panels,
                                                 const int32_t* totals) {
  constexpr int W = Simd::kLanes;
  const F lo = Simd::set(d.lo), hi = Simd::set(d.hi);
  for (int column = 0; column < d.columns; column += W) {
    const int n = d.columns - column < W ? d.columns - column : W;
    const int32_t* own = totals + column;
    const int64_t row = panels * kPanel;
    if (d.finish == DotI8Finish::i32) {
      for (int r = 0; r < rows; r++)
        Simd::store_i32_n((int32_t*)d.c + r * d.c_stride + column, Simd::load_i32(own + r * row),
                          n);
      continue;
    }
    const F scale = any_step(d.scale + column * d.scale_step, d.scale_step, 0, n);
    const F bias = d.bias_f32 ? Simd::load_n(d.bias_f32 + column, n) : Simd::set(0);
    for (int r = 0; r < rows; r++) {
      F x = Simd::to_f(Simd::load_i32(own + r * row));
      if (d.row_scale) x = Simd::mul(x, Simd::set(d.row_scale[r]));
      x = Simd::mul(x, scale);
      if (d.bias_f32) x = Simd::add(x, bias);
      put((float*)d.c + r * d.c_stride + column, Simd::at_most(Simd::at_least(x, lo), hi), n);
    }
  }
}

// From sums of products to C. Few functions for all tiles, so the sums come through memory: they
// are in the nearest cache, and what is done to them waits for nothing of the next tile.
template <int P>
SCONCE_INLINE void finish_i8(const DotI8& d, int rows, const int32_t* totals) {
  if (d.finish == DotI8Finish::i8 || d.finish == DotI8Finish::u8)
    finish_as_bytes<P>(d, rows, totals);
  else
    finish_as_numbers(d, rows, P, totals);
}

__attribute__((noinline)) void finish_i4(const DotI4& d, int rows, int panels,
                                         const float* results) {
  constexpr int W = Simd::kLanes;
  for (int r = 0; r < rows; r++, results += panels * kPanel)
    for (int column = 0; column < d.columns; column += W) {
      const int n = d.columns - column < W ? d.columns - column : W;
      F x = Simd::load(results + column);
      if (d.zero)
        x = Simd::fnma(Simd::set(float(d.zero[r])), Simd::load_n(d.weight_sums + column, n), x);
      if (d.row_scale) x = Simd::mul(Simd::set(d.row_scale[r]), x);
      if (d.bias) x = Simd::add(x, Simd::load_n(d.bias + column, n));
      x = Simd::at_most(Simd::at_least(x, Simd::set(d.lo)), Simd::set(d.hi));
      Simd::store_n(d.c + r * d.c_stride + column, x, n);
    }
}

template <int R, int P, class Unit, bool kFlip>
void dot_i8_flipped(const DotI8& d) {
  constexpr int W = Simd::kLanes, V = P * kPerPanel;
  // What is added to every element of A.
  constexpr int32_t kMoved = !kFlip ? 0 : Unit::kUnsigned ? 128 : -128;
  const int8_t* const* rows = d.rows;
  const int8_t* b = d.b;
  const int64_t whole = d.length / 4;
  const int rest = int(d.length % 4);
  const int64_t panel_stride = d.panel_stride;
  const int8_t* sums = b + d.segments * (whole + (rest != 0)) * kPanel * 4;
  const I flip = Simd::seti(kFlip ? int32_t(0x80808080u) : 0);
  // One zero point of all rows is taken with that; of those by row each row takes its own.
  const bool zero_by_row = d.zero && d.zero_step != 0;
  const auto zero_of_all =
      int32_t(uint32_t(kMoved) + uint32_t(d.zero && !zero_by_row ? *d.zero : 0));
  auto sum_of = [&](int v) SCONCE_LAMBDA {
    return load_bytes(sums + v / kPerPanel * d.panel_stride + v % kPerPanel * W * 4);
  };
  I start[V];
#pragma GCC unroll 64
  for (int v = 0; v < V; v++) {
    const int column = v / kPerPanel * kPanel + v % kPerPanel * W;
    start[v] = Simd::seti(0);
    if (d.bias && column < d.columns)
      start[v] = column + W <= d.columns ? Simd::load_i32(d.bias + column)
                                         : Simd::load_i32_n(d.bias + column, d.columns - column);
  }
  if (zero_of_all != 0)
#pragma GCC unroll 64
    for (int v = 0; v < V; v++)
      start[v] = Simd::isub(start[v], Simd::imul(sum_of(v), Simd::seti(zero_of_all)));
  I acc[R][V];
#pragma GCC unroll 16
  for (int r = 0; r < R; r++)
#pragma GCC unroll 64
    for (int v = 0; v < V; v++) acc[r][v] = start[v];
  if (zero_by_row)
#pragma GCC unroll 16
    for (int r = 0; r < R; r++) {
      const I zero = Simd::seti(d.zero[r * d.zero_step]);
#pragma GCC unroll 64
      for (int v = 0; v < V; v++) acc[r][v] = Simd::isub(acc[r][v], Simd::imul(sum_of(v), zero));
    }
  if (d.row_bias)
#pragma GCC unroll 16
    for (int r = 0; r < R; r++)
#pragma GCC unroll 64
      for (int v = 0; v < V; v++) acc[r][v] = Simd::iadd(acc[r][v], Simd::seti(d.row_bias[r]));
  const char* next = (const char*)(d.next ? d.next : d.b);
  const int64_t next_step = d.next ? d.next_step : 0;
  // The next four steps, which move b on.
  auto step = [&](int later, auto element) SCONCE_LAMBDA {
    if constexpr (R > 1 && P == kDotI8Tiles[0].panels) __builtin_prefetch(next, 0, 2);
    next += next_step;
    // One register for all panels: the compiler would take one for each, more than there are.
    __asm__("" : "+r"(b));
    decltype(Unit::right(I{})) row[V];
#pragma GCC unroll 64
    for (int v = 0; v < V; v++) {
      I four = load_bytes(b + v / kPerPanel * panel_stride + v % kPerPanel * W * 4);
      if (later) four = (I)((Simd::U)four << later);
      row[v] = Unit::right(four);
    }
#pragma GCC unroll 16
    for (int r = 0; r < R; r++) {
      auto a = Unit::left(element(r));
#pragma GCC unroll 64
      for (int v = 0; v < V; v++) acc[r][v] = Unit::dot(acc[r][v], a, row[v]);
    }
    b += kPanel * 4;
  };
  for (int64_t s = 0; s < d.segments; s++) {
    const int8_t* a[R];
#pragma GCC unroll 16
    for (int r = 0; r < R; r++) a[r] = rows[r];
    rows += d.segment_rows;
    for (int64_t k = 0; k < 4 * whole; k += 4)
      step(0, [&](int r) SCONCE_LAMBDA { return spread_four_bytes<kFlip>(a[r] + k, flip); });
    // Of the last four bytes those that were taken already meet zeros.
    if (rest && whole)
      step(32 - 8 * rest, [&](int r) SCONCE_LAMBDA {
        return spread_four_bytes<kFlip>(a[r] + d.length - 4, flip);
      });
    else if (rest)
      step(0, [&](int r)
                  SCONCE_LAMBDA { return Simd::ixor(Simd::seti(few_bytes(a[r], rest)), flip); });
  }

  // The largest tile's are bytes soonest where they are, which matters where sums are short.
  if constexpr (V % 4 == 0 && R == kDotRows[P - 1] && Simd::kRegisters >= 32) {
    if (d.finish == DotI8Finish::i8 && d.columns == P * kPanel && (!d.again || d.again->x)) {
      auto total = [&](int r, int v) SCONCE_LAMBDA { return acc[r][v]; };
      if (d.again)
        finish_bytes<P, Then::added, R>(d, R, total);
      else
        finish_bytes<P, Then::nothing, R>(d, R, total);
      return;
    }
  }
  int32_t totals[R * P * kPanel];
#pragma GCC unroll 16
  for (int r = 0; r < R; r++)
#pragma GCC unroll 64
    for (int v = 0; v < V; v++) Simd::store_i32(totals + r * P * kPanel + v * W, acc[r][v]);
  finish_i8<P>(d, R, totals);
}

template <int R, int P, class Unit>
void dot_i8(const DotI8& d) {
  if (d.a_signed == Unit::kUnsigned)
    dot_i8_flipped<R, P, Unit, true>(d);
  else
    dot_i8_flipped<R, P, Unit, false>(d);
}

template <int R, int P, class Unit>
void dot_i4(const DotI4& d) {
  constexpr int W = Simd::kLanes, V = P * kPerPanel;
  F acc[R][V];
#pragma GCC unroll 16
  for (int r = 0; r < R; r++)
#pragma GCC unroll 64
    for (int v = 0; v < V; v++) acc[r][v] = Simd::set(0);
  const int64_t groups = d.k / d.group, steps = d.group / 8;
  const I nibble = Simd::seti(0x0f0f0f0f);
  for (int64_t g = 0; g < groups; g++) {
    I part[R][V];
#pragma GCC unroll 16
    for (int r = 0; r < R; r++) {
      // Nibbles are q + 8.
      I start = Simd::seti(-8 * d.group_sums[r * d.group_sums_row + g]);
#pragma GCC unroll 64
      for (int v = 0; v < V; v++) part[r][v] = start;
    }
    for (int64_t s = g * steps; s < (g + 1) * steps; s++) {
      decltype(Unit::left(I{})) low[V], high[V];
#pragma GCC unroll 64
      for (int v = 0; v < V; v++) {
        I bytes =
            load_bytes(d.b + v / kPerPanel * d.panel_stride + (s * kPanel + v % kPerPanel * W) * 4);
        low[v] = Unit::left(Simd::iand(bytes, nibble));
        high[v] = Unit::left(Simd::iand(Simd::template shr<4>(bytes), nibble));
      }
#pragma GCC unroll 16
      for (int r = 0; r < R; r++) {
        auto a = Unit::right(Simd::seti(four_bytes(d.rows[r] + s * 8)));
        auto b = Unit::right(Simd::seti(four_bytes(d.rows[r] + s * 8 + 4)));
#pragma GCC unroll 64
        for (int v = 0; v < V; v++)
          part[r][v] = Unit::dot(Unit::dot(part[r][v], low[v], a), high[v], b);
      }
    }
#pragma GCC unroll 64
    for (int v = 0; v < V; v++) {
      F scale =
          Simd::load(d.scales + v / kPerPanel * d.scales_panel + g * kPanel + v % kPerPanel * W);
#pragma GCC unroll 16
      for (int r = 0; r < R; r++) acc[r][v] = Simd::fma(Simd::to_f(part[r][v]), scale, acc[r][v]);
    }
  }
  float results[R * P * kPanel];
#pragma GCC unroll 16
  for (int r = 0; r < R; r++)
#pragma GCC unroll 64
    for (int v = 0; v < V; v++) Simd::store(results + r * P * kPanel + v * W, acc[r][v]);
  finish_i4(d, R, P, results);
}

// Step j of those that lie together in 32 bits, as numbers.
template <bool kHalves>
SCONCE_INLINE F widened_step(I bytes, int j) {
  if (!kHalves) return Simd::to_f((bytes << (24 - 8 * j)) >> 24);
  return Simd::to_f(((bytes >> (j % 4 * 8 + j / 4 * 4)) & 15) - 8);
}

template <int R, int P, bool kHalves>
void dot_weights(const DotWeights& d) {
  constexpr int W = Simd::kLanes, V = P * kPerPanel, kSteps = kHalves ? 8 : 4;
  F acc[R][V];
#pragma GCC unroll 16
  for (int r = 0; r < R; r++)
#pragma GCC unroll 64
    for (int v = 0; v < V; v++) acc[r][v] = Simd::set(0);
  const float* a[R];
#pragma GCC unroll 16
  for (int r = 0; r < R; r++) a[r] = d.rows[r];
  const uint8_t* b = d.b;
  for (int64_t g = 0, k = 0; k < d.k; g++) {
    F part[R][V];
#pragma GCC unroll 16
    for (int r = 0; r < R; r++)
#pragma GCC unroll 64
      for (int v = 0; v < V; v++) part[r][v] = Simd::set(0);
    auto step = [&](const I(&bytes)[V], int j, int64_t at) SCONCE_LAMBDA {
      F weight[V];
#pragma GCC unroll 64
      for (int v = 0; v < V; v++) weight[v] = widened_step<kHalves>(bytes[v], j);
#pragma GCC unroll 16
      for (int r = 0; r < R; r++) {
        F x = Simd::set(a[r][at]);
#pragma GCC unroll 64
        for (int v = 0; v < V; v++) part[r][v] = Simd::fma(x, weight[v], part[r][v]);
      }
    };
    auto load = [&](I(&bytes)[V]) SCONCE_LAMBDA {
#pragma GCC unroll 64
      for (int v = 0; v < V; v++)
        bytes[v] = load_bytes(b + v / kPerPanel * d.panel_stride + v % kPerPanel * W * 4);
      b += kPanel * 4;
    };
    const int64_t end = k + d.group;
    I bytes[V];
    for (; k + kSteps <= end; k += kSteps) {
      load(bytes);
#pragma GCC unroll 8
      for (int j = 0; j < kSteps; j++) step(bytes, j, k + j);
    }
    if (k < end) {
      load(bytes);
      for (int j = 0; k < end; j++, k++) step(bytes, j, k);
    }
#pragma GCC unroll 64
    for (int v = 0; v < V; v++) {
      F scale =
          Simd::load(d.scales + v / kPerPanel * d.scales_panel + g * kPanel + v % kPerPanel * W);
#pragma GCC unroll 16
      for (int r = 0; r < R; r++) acc[r][v] = Simd::fma(part[r][v], scale, acc[r][v]);
    }
  }
  const F lo = Simd::set(d.lo), hi = Simd::set(d.hi);
#pragma GCC unroll 64
  for (int v = 0; v < V; v++) {
    const int column = v / kPerPanel * kPanel + v % kPerPanel * W;
    const int n = d.columns - column < W ? d.columns - column : W;
    if (n <= 0) continue;
    const F bias = d.bias ? Simd::load_n(d.bias + column, n) : Simd::set(0);
#pragma GCC unroll 16
    for (int r = 0; r < R; r++) {
      F x = d.bias ? Simd::add(acc[r][v], bias) : acc[r][v];
      Simd::store_n(d.c + r * d.c_stride + column, Simd::at_most(Simd::at_least(x, lo), hi), n);
    }
  }
}

template <class Unit, int P, int R>
constexpr void fill_dot_i8(DotI8Kernels& kernels) {
  if constexpr (R > 0) {
    kernels.kernel[R - 1][P - 1] = dot_i8<R, P, Unit>;
    fill_dot_i8<Unit, P, R - 1>(kernels);
  }
}
template <class Unit, int P, int R>
constexpr void fill_dot_i4(DotI4Kernels& kernels) {
  if constexpr (R > 0) {
    kernels.kernel[R - 1][P - 1] = dot_i4<R, P, Unit>;
    fill_dot_i4<Unit, P, R - 1>(kernels);
  }
}
constexpr int at_most(int a, int b) { return a < b ? a : b; }
template <bool kHalves, int P, int R>
constexpr void fill_dot_weights(DotWeightsKernels& kernels) {
  if constexpr (R > 0) {
    kernels.kernel[R - 1][P - 1] = dot_weights<R, P, kHalves>;
    fill_dot_weights<kHalves, P, R - 1>(kernels);
  }
}
// Two sets of accumulators.
template <bool kHalves>
constexpr void fill_dot_weights(DotWeightsKernels& kernels) {
  fill_dot_weights<kHalves, 1, at_most(8, kDotRows[0])>(kernels);
  fill_dot_weights<kHalves, 2, at_most(4, kDotRows[1])>(kernels);
  fill_dot_weights<kHalves, 3, at_most(1, kDotRows[2])>(kernels);
  fill_dot_weights<kHalves, 4, at_most(1, kDotRows[3])>(kernels);
  kernels.tiles[kernels.tile_count++] = {uint8_t(at_most(8, kDotRows[0])), 1};
}
template <class Unit>
constexpr void fill_dot_int(KernelTable& table) {
  DotI8Kernels& i8 = table.dot_i8;
  fill_dot_i8<Unit, 1, kDotRows[0]>(i8);
  fill_dot_i8<Unit, 2, at_most(8, kDotRows[1])>(i8);
  fill_dot_i8<Unit, 3, kDotRows[2]>(i8);
  fill_dot_i8<Unit, 4, kDotRows[3]>(i8);
  for (const DotTile& tile : kDotI8Tiles) i8.tiles[i8.tile_count++] = tile;
  // Two sets of accumulators.
  DotI4Kernels& i4 = table.dot_i4;
  fill_dot_i4<Unit, 1, at_most(8, kDotRows[0])>(i4);
  fill_dot_i4<Unit, 2, at_most(4, kDotRows[1])>(i4);
  fill_dot_i4<Unit, 3, at_most(1, kDotRows[2])>(i4);
  fill_dot_i4<Unit, 4, at_most(1, kDotRows[3])>(i4);
  i4.tiles[i4.tile_count++] = {uint8_t(at_most(8, kDotRows[0])), 1};
  fill_dot_weights<false>(table.dot_weights_i8);
  fill_dot_weights<true>(table.dot_weights_i4);
}

}  // namespace
}  // namespace sconce::tile
