// tile_kernels_hash SET: runs every kernel of a set on made-up blocks and prints a hash of each
// result. Two sets, or two machines, that print the same compute the same bits. No file, no heap,
// no other library, so that it runs under an emulator. It asks no processor whether it can.
#include <stdio.h>
#include <string.h>

#include <initializer_list>

#include "tile/kernels/table.h"

namespace sconce::tile {
namespace {

constexpr const char* kNames[] = {
#define SCONCE_ROW(name, family, needs) #name,
    SCONCE_ISAS(SCONCE_ROW)
#undef SCONCE_ROW
};

uint64_t state = 1;
uint32_t next() {  // Knuth's MMIX generator
  state = state * 6364136223846793005u + 1442695040888963407u;
  return uint32_t(state >> 32);
}
float uniform() { return float(int32_t(next())) * 0x1p-30f; }

uint64_t hash_bytes(const void* data, size_t bytes, uint64_t hash = 14695981039346656037u) {
  for (size_t i = 0; i < bytes; i++)
    hash = (hash ^ static_cast<const uint8_t*>(data)[i]) * 1099511628211u;
  return hash;
}
uint64_t hash_floats(const float* data, size_t count) {
  uint64_t hash = 14695981039346656037u;
  for (size_t i = 0; i < count; i++) {
    uint32_t bits = 0x7fc00000;  // all NaN are one
    if (data[i] == data[i]) memcpy(&bits, &data[i], 4);
    hash = hash_bytes(&bits, 4, hash);
  }
  return hash;
}
void say(const char* what, int index, uint64_t hash) {
  printf("%s %d %016llx\n", what, index, static_cast<unsigned long long>(hash));
}

constexpr int64_t kCount = 5003;
float a[kCount], b[kCount], c[kCount], out[kCount];
uint8_t bytes[kCount * 8];

void fill() {
  for (int64_t i = 0; i < kCount; i++) {
    uint32_t bits = next();
    memcpy(&a[i], &bits, 4);
    b[i] = uniform();
    c[i] = uniform() * 30;
  }
}

// Dots of one row and one panel: what any tile must agree with is the business of the unit tests.
void dot(const DotF32Kernels& kernels, const char* name, const void* weights) {
  for (int rows = 1; rows <= kDotRowsMax; rows++)
    for (int panels = 1; panels <= kDotPanelsMax; panels++) {
      static const float* pointers[2 * kDotRowsMax];
      for (int i = 0; i < 2 * rows; i++) pointers[i] = c + i * 31;
      DotF32 d = {};
      d.rows = pointers;
      d.b = weights;
      d.panel_stride = 62 * 16;
      d.segments = 2;
      d.length = 31;
      d.c = out;
      d.c_stride = 64;
      d.columns = panels * 16 - 3;
      d.init = DotInit::bias;
      d.bias = c;
      d.lo = -100;
      d.hi = 100;
      memset(out, 0, sizeof out);
      // Sets differ in which tiles they have: row by row gives the same.
      if (DotF32Kernel kernel = kernels.kernel[rows - 1][panels - 1]) {
        kernel(d);
      } else {
        for (int r = 0; r < rows; r++)
          for (int p = 0; p < panels; p++) {
            const float* own[2] = {pointers[r], pointers[rows + r]};
            DotF32 one = d;
            one.rows = own;
            one.b =
                static_cast<const uint8_t*>(weights) + p * d.panel_stride * (weights == b ? 4 : 2);
            one.c = out + r * 64 + p * 16;
            one.bias = c + p * 16;
            one.columns = p == panels - 1 ? 13 : 16;
            kernels.kernel[0][0](one);
          }
      }
      say(name, rows * 10 + panels, hash_floats(out, kCount));
    }
}

// One row and one panel, which every set has; wider tiles are the unit tests' business.
void integers(const KernelTable& table) {
  static int8_t packed[64 * 64];
  static int32_t zero = 7;
  const int8_t* data = reinterpret_cast<const int8_t*>(a);
  table.pack_i8({2, 61, 13, data, 13, 1, packed, 2112});
  say("pack i8", 0, hash_bytes(packed, sizeof packed));
  for (int finish = 0; finish < 4; finish++)
    for (bool a_signed : {false, true}) {
      const int8_t* rows[2] = {data + 2000, data + 3000};
      float scale = 1e-4f, row_scale = 1.5f;
      DotI8 d = {};
      d.rows = rows;
      d.segment_rows = 1;
      d.a_signed = a_signed;
      d.b = packed;
      d.panel_stride = 2112;
      d.segments = 2;
      d.length = 61;
      d.columns = 13;
      d.zero = &zero;
      d.finish = DotI8Finish(finish);
      d.scale = &scale;
      d.row_scale = &row_scale;
      d.bias_f32 = c;
      d.lo = -50;
      d.hi = 50;
      d.to = {9, finish == int(DotI8Finish::u8) ? 0 : -128, 127};
      const AgainI8 again = {data + 4000, 16, 3, 0.5f, 0.25f, 1, {1, -120, 100}};
      if (finish == int(DotI8Finish::i8) && !a_signed) d.again = &again;
      memset(out, 0, sizeof out);
      d.c = out;
      table.dot_i8.kernel[0][0](d);
      say("dot i8", finish * 2 + a_signed, hash_bytes(out, 64));
    }
  const int8_t* taps[7 * 9];
  for (int i = 0; i < 7 * 9; i++) taps[i] = data + i * 43;
  const TapsI8Block t = {taps, 9, 7, 37, reinterpret_cast<int8_t*>(out), 40};
  const float ratio = 1e-3f;
  memset(out, 0, sizeof out);
  const WindowRow<int8_t> lines[5] = {
      {data, 0, 9}, {data + 900, 1, 5}, {data + 70, 0, 0}, {data + 1800, 2, 99}, {data + 7, 0, 7}};
  for (int64_t down : {3, 5}) {
    int8_t* line = reinterpret_cast<int8_t*>(out);
    table.depthwise_i8({lines,
                        &line,
                        40,
                        data + 4000,
                        37,
                        down,
                        3,
                        1,
                        1,
                        1,
                        7,
                        37,
                        data + 5000,
                        37,
                        reinterpret_cast<const int32_t*>(data),
                        &ratio,
                        0,
                        {2, -100, 90},
                        nullptr});
    say("depthwise i8", int(down), hash_bytes(out, sizeof out));
  }
  table.max_pool_i8(t);
  say("max pool i8", 0, hash_bytes(out, sizeof out));
  const int8_t* row = data + 500;
  int32_t group_sums[2] = {11, -5};
  DotI4 d = {};
  d.rows = &row;
  d.k = 128;
  d.group = 64;
  d.b = reinterpret_cast<const uint8_t*>(a);
  d.panel_stride = 1024;
  d.scales = c;
  d.group_sums = group_sums;
  d.zero = &zero;
  d.weight_sums = c;
  d.bias = b;
  d.lo = -1e9f;
  d.hi = 1e9f;
  d.c = out;
  d.columns = 15;
  table.dot_i4.kernel[0][0](d);
  say("dot i4", 0, hash_floats(out, 15));
}

void blocks(const KernelTable& table) {
  static const float* taps[7 * 9];
  for (int i = 0; i < 7 * 9; i++) taps[i] = c + i * 43;
  const TapsBlock t = {taps, 9, 7, 37, out, 40};
  memset(out, 0, sizeof out);
  const WindowRow<float> rows[6] = {{a, 0, 9},         {a + 900, 1, 5}, {a + 70, 0, 0},
                                    {a + 1800, 2, 99}, {a + 7, 0, 15},  {a + 300, 1, 14}};
  float* const lines[2] = {out, out + 300};
  for (int64_t across : {1, 3, 4, 5})
    for (int64_t step : {1, 2}) {
      memset(out, 0, sizeof out);
      table.depthwise({{rows, lines, 40, c, 37, 3, across, step, 1, 2, 7, 37, b, 37}, c, -20, 20});
      say("depthwise", int(across * 2 + step), hash_floats(out, kCount));
    }
  static const StripStep steps[] = {{StripOp::load, 0, 0, 0},       {StripOp::sub, 1, 0, 0},
                                    {StripOp::fma_number, 2, 0, 3}, {StripOp::store, 3, 0, 0},
                                    {StripOp::fma, 0, 3, 0},        {StripOp::max_to, 1, 0, 0},
                                    {StripOp::fma_of, 2, 1, 0},     {StripOp::min, 0, 0, 0},
                                    {StripOp::relu, 0, 0, 0},       {StripOp::store, 4, 0, 0}};
  for (int64_t n : {3, 37, 64}) {
    float* slots[] = {const_cast<float*>(a), const_cast<float*>(b), const_cast<float*>(c), out,
                      out + 100};
    memset(out, 0, sizeof out);
    table.strip({steps, 10, slots, n});
    say("strip", int(n), hash_floats(out, kCount));
    for (int kind = 0; kind < int(TransformKind::count); kind++) {
      const Transform& t = kTransforms[kind];
      uint16_t operands[12];
      float* at[12];
      for (int k = 0; k < 12; k++) {
        operands[k] = uint16_t(k < t.inputs ? k : 6 + k - t.inputs);
        at[k] = (k < 6 ? a : out) + 64 * k;
      }
      const StripStep step = {StripOp::transform, 0, uint16_t(kind), 0};
      memset(out, 0, sizeof out);
      table.strip({&step, 1, at, n, operands});
      say("transform", kind * 100 + int(n), hash_floats(out, kCount));
    }
  }
  memset(out, 0, sizeof out);
  table.max_pool({t, nullptr});
  say("max pool", 0, hash_floats(out, kCount));
  table.average_pool({t, b});
  say("average pool", 0, hash_floats(out, kCount));
  table.blend({t, b});
  say("blend", 0, hash_floats(out, kCount));
  table.transpose_32({37, 53, c, 60, out, 40});
  say("transpose", 32, hash_floats(out, kCount));
  table.transpose_16({37, 53, c, 60, out, 40});
  say("transpose", 16, hash_bytes(out, sizeof out));
  table.transpose_8({37, 53, c, 60, out, 40});
  say("transpose", 8, hash_bytes(out, sizeof out));
  table.pack_f32({29, 37, c, 1, 50, out, 29 * 16});
  say("pack", 0, hash_floats(out, kCount));
  table.pack_f32({29, 37, c, 50, 1, out, 29 * 16});
  say("pack", 1, hash_floats(out, kCount));
  const int64_t index[3] = {5, 0, 2};
  table.gather({3, 40, index, c, 44, out, 48});
  say("gather", 0, hash_floats(out, kCount));
}

void run(const KernelTable& table) {
  fill();
  for (int k = 0; k < int(UnaryKernel::count); k++) {
    table.unary[k]({1, kCount, a, 0, 1, out, 0});
    say("unary of any bits", k, hash_floats(out, kCount));
    table.unary[k]({1, kCount, c, 0, 1, out, 0});
    say("unary", k, hash_floats(out, kCount));
  }
  for (int k = 0; k < int(BinaryKernel::count); k++) {
    table.binary[k]({1, kCount, a, 0, 1, c, 0, 1, out, 0});
    say("binary of any bits", k, hash_floats(out, kCount));
    table.binary[k]({1, kCount, b, 0, 1, c, 0, 1, out, 0});
    say("binary", k, hash_floats(out, kCount));
  }
  for (int k = 0; k < int(CompareKernel::count); k++) {
    table.compare[k]({1, kCount, a, 0, 1, c, 0, 1, bytes, 0});
    say("compare", k, hash_bytes(bytes, kCount));
  }
  table.fma({1, kCount, b, 0, 1, c, 0, 1, b, 0, 0, out, 0});
  say("fma", 0, hash_floats(out, kCount));
  table.select({1, kCount, bytes, 0, 1, a, 0, 1, b, 0, 1, out, 0});
  say("select", 0, hash_floats(out, kCount));
  table.clamp({1, kCount, a, 0, 1, -1, 2, out, 0});
  say("clamp", 0, hash_floats(out, kCount));
  for (Element to : {Element::f16, Element::bf16, Element::i32, Element::i64, Element::i16,
                     Element::i8, Element::u8, Element::b8}) {
    memset(bytes, 0, sizeof bytes);
    table.convert[int(Element::f32)][int(to)]({1, kCount, c, 0, bytes, 0});
    say("convert", int(to), hash_bytes(bytes, sizeof bytes));
    table.convert[int(to)][int(Element::f32)]({1, kCount, bytes, 0, out, 0});
    say("convert back", int(to), hash_floats(out, kCount));
  }
  table.quantize_i8({1, kCount, c, 0, b, 0, 3, -128, 127, -5, bytes, 0});
  say("quantize", 0, hash_bytes(bytes, kCount));
  table.dequantize_i8({1, kCount, bytes, 0, b, 1, 3, out, 0});
  say("dequantize", 0, hash_floats(out, kCount));
  for (int k = 0; k < int(ReduceKernel::count); k++) {
    float lanes[3 * kPanel], result[3], center[3] = {1, 30, 2};
    for (float& lane : lanes) lane = identity_of(ReduceKernel(k));
    const float* x = k == int(ReduceKernel::prod) ? b : c;
    table.reduce[k]({3, 1001, x, 1001, center, 1, out, 1001, lanes});
    table.combine[k](3, lanes, result, 1);
    say("reduce", k, hash_floats(result, 3));
  }
  fill();
  dot(table.dot_f32, "dot f32", b);
  table.convert[int(Element::f32)][int(Element::f16)]({1, kCount, b, 0, bytes, 0});
  dot(table.dot_f16, "dot f16", bytes);
  table.convert[int(Element::f32)][int(Element::bf16)]({1, kCount, b, 0, bytes, 0});
  dot(table.dot_bf16, "dot bf16", bytes);
  integers(table);
  blocks(table);
}

}  // namespace
}  // namespace sconce::tile

int main(int argc, char** argv) {
  using namespace sconce;
  for (int i = 0; argc == 2 && i < int(sizeof tile::kNames / sizeof *tile::kNames); i++)
    if (!strcmp(argv[1], tile::kNames[i])) {
      tile::run(tile::kernels_for(Isa(i)));
      return 0;
    }
  fprintf(stderr, "usage: tile_kernels_hash SET\n");
  return 2;
}
