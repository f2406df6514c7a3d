// Speed of the block kernels beside the most the processor can do, measured in the same run.
//
// Each shape is run many times, in turn with a probe of independent multiply-adds, in the thread's
// own time: on a shared machine anything else measures the neighbours.
#include <time.h>
#include <CLI/CLI.hpp>
#include <algorithm>
#include <array>

#include <cmath>
#include <cstdio>
#include <cstring>
#include <random>
#include <string>
#include <vector>

#include "platform/cpu.h"
#include "tile/kernels/blocking.h"
#include "tile/kernels/table.h"

namespace sconce::tile {
namespace {

// Seconds of this thread: what the system gave to others meanwhile does not count.
double now() {
  timespec t;
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
  return double(t.tv_sec) + 1e-9 * double(t.tv_nsec);
}

struct Options {
  std::string isa, only;
  double seconds = 0.3;  // for each shape
  int rows = 0, panels = 0, k_block = 0, n_block = 0;
  bool json = false;
  std::vector<int64_t> shape;
};

struct Row {
  std::string isa, shape, note;
  double value = 0, peak = 0;  // in `unit` per second
  const char* unit = "GFLOP";
};

// 64-byte aligned, so that what is measured is not the allocator.
template <class T>
struct Aligned {
  std::vector<uint8_t> bytes;
  T* data;
  explicit Aligned(size_t count) : bytes(count * sizeof(T) + 64) {
    data = reinterpret_cast<T*>((reinterpret_cast<uintptr_t>(bytes.data()) + 63) & ~uintptr_t(63));
  }
};

struct Problem {
  int64_t m, n, k;
  Aligned<float> a, b, c, bias;
  Problem(int64_t m, int64_t n, int64_t k)
      : m(m),
        n(n),
        k(k),
        a(size_t(m * k)),
        b(size_t((n + 15) / 16 * 16 * k)),
        c(size_t(m * n)),
        bias(size_t(n)) {
    std::mt19937 random(1);
    std::uniform_real_distribution<float> uniform(-1, 1);
    for (int64_t i = 0; i < m * k; i++) a.data[i] = uniform(random);
    for (int64_t i = 0; i < (n + 15) / 16 * 16 * k; i++) b.data[i] = uniform(random);
  }
};

void multiply(const KernelTable& table, Problem& p, const DotBlocking& blocking) {
  const DotTile tile = blocking.tile;
  const int64_t panels = pieces(p.n, kPanel), k_blocks = pieces(p.k, blocking.k);
  const int64_t tiles = pieces(p.m, tile.rows), groups = pieces(panels, tile.panels);
  const float* rows[kDotRowsMax];
  DotF32 d = {};
  d.rows = rows;
  d.panel_stride = p.k * 16;
  d.segments = 1;
  d.c_stride = p.n;
  d.bias = p.bias.data;
  d.lo = -INFINITY;
  d.hi = INFINITY;
  const int64_t n_blocks = pieces(panels, blocking.panels);
  for (int64_t nb = 0; nb < n_blocks; nb++)
    for (int64_t kb = 0; kb < k_blocks; kb++) {
      int64_t k0 = piece_start(p.k, k_blocks, kb), k1 = piece_start(p.k, k_blocks, kb + 1);
      d.length = k1 - k0;
      d.init = kb ? DotInit::c : DotInit::zero;
      int64_t last = piece_start(groups, n_blocks, nb + 1);
      for (int64_t g = piece_start(groups, n_blocks, nb); g < last; g++)
        for (int64_t i = 0; i < tiles; i++) {
          int64_t m0 = piece_start(p.m, tiles, i), m1 = piece_start(p.m, tiles, i + 1);
          int64_t p0 = piece_start(panels, groups, g), p1 = piece_start(panels, groups, g + 1);
          for (int64_t m = m0; m < m1; m++) rows[m - m0] = p.a.data + m * p.k + k0;
          d.b = p.b.data + p0 * d.panel_stride + k0 * 16;
          d.c = p.c.data + m0 * p.n + p0 * 16;
          d.columns = int32_t(std::min(p.n - p0 * 16, (p1 - p0) * 16));
          table.dot_f32.kernel[m1 - m0 - 1][p1 - p0 - 1](d);
        }
    }
}

// Runs `work` and the probe in turn for the time given; the seconds that a fifth of the runs of
// each stayed below. Not the least: where a hypervisor takes time away, the system's account of a
// thread's time now and then comes out too short.
template <class Work, class Probe>
void measure(const Options& options, const Work& work, const Probe& probe, double* work_seconds,
             double* probe_seconds) {
  std::vector<double> works, probes;
  work();
  double end = now() + options.seconds;
  for (int round = 0; round < 10 || now() < end; round++) {
    double t0 = now();
    probe();
    double t1 = now();
    work();
    double t2 = now();
    probes.push_back(t1 - t0);
    works.push_back(t2 - t1);
  }
  auto fifth = [](std::vector<double>& times) {
    std::nth_element(times.begin(), times.begin() + long(times.size() / 5), times.end());
    return times[times.size() / 5];
  };
  *work_seconds = fifth(works);
  *probe_seconds = fifth(probes);
}

std::vector<Row> bench_dot_f32(const KernelTable& table, const Options& options) {
  std::vector<Row> rows;
  std::vector<std::array<int64_t, 3>> shapes = {{512, 512, 512}, {3136, 144, 24}, {196, 576, 96},
                                                {49, 1280, 320}, {3136, 256, 64}, {196, 256, 2304},
                                                {197, 2304, 768}};
  if (!options.shape.empty()) shapes = {{options.shape[0], options.shape[1], options.shape[2]}};
  for (auto& [m, n, k] : shapes) {
    std::string name =
        "dot_f32 " + std::to_string(m) + "x" + std::to_string(n) + "x" + std::to_string(k);
    if (name.find(options.only) == std::string::npos) continue;
    Problem problem(m, n, k);
    float sink[16] = {1, 0};
    double seconds, probe_seconds;
    DotBlocking blocking = choose_blocking(table.dot_f32, m, n, k);
    if (options.rows) blocking.tile = {uint8_t(options.rows), uint8_t(options.panels)};
    if (options.k_block) blocking.k = options.k_block;
    if (options.n_block) blocking.panels = options.n_block;
    int64_t probe_flops = 0;
    measure(
        options, [&] { multiply(table, problem, blocking); },
        [&] { probe_flops = table.peak_f32(20000, sink); }, &seconds, &probe_seconds);
    rows.push_back(
        {isa_name(table.isa), name,
         std::to_string(blocking.tile.rows) + "x" + std::to_string(blocking.tile.panels * 16) +
             ", " + std::to_string(blocking.k) + " steps at a time",
         2e-9 * double(m * n * k) / seconds, 1e-9 * double(probe_flops) / probe_seconds});
  }
  return rows;
}

bool wanted(const Options& options, const std::string& name) {
  return options.shape.empty() && name.find(options.only) != std::string::npos;
}

std::string shape_name(const char* kernel, int64_t m, int64_t n, int64_t k) {
  return std::string(kernel) + " " + std::to_string(m) + "x" + std::to_string(n) + "x" +
         std::to_string(k);
}

// Calls one(first row, rows, first panel, panels, columns) for each tile.
template <class One>
void for_tiles(DotTile tile, int64_t m, int64_t n, const One& one) {
  const int64_t panels = pieces(n, kPanel), tiles = pieces(m, tile.rows);
  const int64_t groups = pieces(panels, tile.panels);
  for (int64_t g = 0; g < groups; g++)
    for (int64_t i = 0; i < tiles; i++) {
      int64_t m0 = piece_start(m, tiles, i), m1 = piece_start(m, tiles, i + 1);
      int64_t p0 = piece_start(panels, groups, g), p1 = piece_start(panels, groups, g + 1);
      one(m0, m1 - m0, p0, p1 - p0, int32_t(std::min(n - p0 * 16, (p1 - p0) * 16)));
    }
}

// How a model's layers use it: unsigned rows to numbers, as linears with dynamic ranges do, and
// signed ones to bytes, as convolutions do, also with a sum of others.
enum class I8Case : uint8_t { numbers, bytes, added_bytes };

std::vector<Row> bench_dot_i8(const KernelTable& table, const Options& options) {
  std::vector<Row> rows;
  struct Shape {
    int64_t m, n, k;
    I8Case is;
  };
  const Shape shapes[] = {{512, 512, 512, I8Case::numbers}, {196, 256, 2304, I8Case::numbers},
                          {49, 1280, 320, I8Case::numbers}, {197, 2304, 768, I8Case::numbers},
                          {196, 256, 2304, I8Case::bytes},  {196, 256, 1024, I8Case::bytes},
                          {196, 1024, 256, I8Case::bytes},  {196, 1024, 256, I8Case::added_bytes},
                          {784, 512, 128, I8Case::bytes},   {784, 512, 128, I8Case::added_bytes},
                          {3136, 96, 16, I8Case::bytes},    {3136, 64, 64, I8Case::bytes},
                          {196, 256, 64, I8Case::bytes},    {196, 256, 64, I8Case::added_bytes}};
  for (auto& [m, n, k, is] : shapes) {
    std::string name = shape_name("dot_i8", m, n, k);
    if (!wanted(options, name)) continue;
    const int64_t panel_stride = (pieces(k, 4) + 1) * 64;
    Aligned<uint8_t> a(size_t(m * k)), b(size_t(pieces(n, 16) * panel_stride));
    Aligned<float> c(size_t(m * n));
    Aligned<int8_t> x(size_t(m * n));
    std::vector<float> scale(size_t(n), 1e-4f);
    const int8_t* pointers[kDotRowsMax];
    DotTile tile = table.dot_i8.tiles[0];
    if (options.rows) tile = {uint8_t(options.rows), uint8_t(options.panels)};
    AgainI8 again = {nullptr, n, 3, 0.5f, 0.5f, 1, {-128, -128, 127}};
    DotI8 d = {};
    d.rows = pointers;
    d.segment_rows = kDotRowsMax;
    d.a_signed = is != I8Case::numbers;
    d.panel_stride = panel_stride;
    d.segments = 1;
    d.length = k;
    d.finish = is == I8Case::numbers ? DotI8Finish::f32 : DotI8Finish::i8;
    d.scale_step = 1;
    d.lo = 0;
    d.hi = INFINITY;
    d.to = {-128, -128, 127};
    if (is == I8Case::added_bytes) d.again = &again;
    d.c_stride = n;
    const int32_t zero = -5;
    if (d.a_signed) d.zero = &zero;
    auto work = [&] {
      for_tiles(tile, m, n, [&](int64_t m0, int64_t r, int64_t p0, int64_t p, int32_t columns) {
        for (int64_t i = 0; i < r; i++)
          pointers[i] = reinterpret_cast<const int8_t*>(a.data) + (m0 + i) * k;
        d.b = reinterpret_cast<const int8_t*>(b.data) + p0 * panel_stride;
        d.scale = scale.data() + p0 * 16;
        const int64_t at = m0 * n + p0 * 16;
        again.x = x.data + at;
        d.c = is == I8Case::numbers ? (void*)(c.data + at) : (int8_t*)c.data + at;
        d.columns = columns;
        table.dot_i8.kernel[r - 1][p - 1](d);
      });
    };
    float sink[16] = {1, 1};
    int64_t operations = 0;
    double seconds, probe_seconds;
    measure(
        options, work, [&] { operations = table.peak_i8(20000, sink); }, &seconds, &probe_seconds);
    rows.push_back({isa_name(table.isa), name,
                    std::to_string(tile.rows) + "x" + std::to_string(tile.panels * 16) +
                        (is == I8Case::numbers ? ", to f32 with scales and relu"
                         : is == I8Case::bytes ? ", signed, to bytes"
                                               : ", signed, to bytes of a sum"),
                    2e-9 * double(m * n * k) / seconds, 1e-9 * double(operations) / probe_seconds,
                    "GOP"});
  }
  return rows;
}

std::vector<Row> bench_dot_i4(const KernelTable& table, const Options& options) {
  std::vector<Row> rows;
  const int64_t shapes[][3] = {{512, 512, 512}, {1, 2048, 2048}};
  for (auto& [m, n, k] : shapes)
    for (int64_t group : {32, 128}) {
      std::string name = shape_name("dot_i4", m, n, k) + " g" + std::to_string(group);
      if (!wanted(options, name)) continue;
      const int64_t panel_stride = k * 8, panels = pieces(n, 16), groups = k / group;
      Aligned<int8_t> a(size_t(m * k));
      Aligned<uint8_t> b(size_t(panels * panel_stride));
      Aligned<float> scales(size_t(panels * groups * 16)), c(size_t(m * n));
      std::vector<int32_t> sums(size_t(m * groups));
      const int8_t* pointers[kDotRowsMax];
      DotTile tile = table.dot_i4.tiles[0];
      if (m == 1)
        for (int p = 1; p <= kDotPanelsMax; p++)
          if (table.dot_i4.kernel[0][p - 1]) tile = {1, uint8_t(p)};
      if (options.rows && m > 1) tile = {uint8_t(options.rows), uint8_t(options.panels)};
      DotI4 d = {};
      d.rows = pointers;
      d.k = k;
      d.group = group;
      d.panel_stride = panel_stride;
      d.scales_panel = groups * 16;
      d.group_sums_row = groups;
      d.lo = -INFINITY;
      d.hi = INFINITY;
      d.c_stride = n;
      auto work = [&] {
        for_tiles(tile, m, n, [&](int64_t m0, int64_t r, int64_t p0, int64_t p, int32_t columns) {
          for (int64_t i = 0; i < r; i++) pointers[i] = a.data + (m0 + i) * k;
          d.b = b.data + p0 * panel_stride;
          d.scales = scales.data + p0 * groups * 16;
          d.group_sums = sums.data() + m0 * groups;
          d.c = c.data + m0 * n + p0 * 16;
          d.columns = columns;
          table.dot_i4.kernel[r - 1][p - 1](d);
        });
      };
      float sink[16] = {1, 1};
      int64_t operations = 0;
      double seconds, probe_seconds;
      measure(
          options, work, [&] { operations = table.peak_i8(20000, sink); }, &seconds,
          &probe_seconds);
      char note[80];
      snprintf(note, sizeof note, "%dx%d, weights and scales at %.1f GB/s", tile.rows,
               tile.panels * 16,
               1e-9 * (double(panels * panel_stride) + 4. * double(panels * groups * 16)) *
                   double(pieces(m, tile.rows)) / seconds);
      rows.push_back({isa_name(table.isa), name, note, 2e-9 * double(m * n * k) / seconds,
                      1e-9 * double(operations) / probe_seconds, "GOP"});
    }
  return rows;
}

// One row against weights of 16 MB: bound by memory, so beside plain reading of as much.
std::vector<Row> bench_gemv(const KernelTable& table, const Options& options) {
  const std::string name = "gemv_f32 1x2048x2048";
  if (!wanted(options, name)) return {};
  Problem problem(1, 2048, 2048);
  DotBlocking blocking = choose_blocking(table.dot_f32, 1, 2048, 2048);
  Aligned<uint8_t> other(2048 * 2048 * 4);  // zeros
  volatile bool found = false;
  auto read = [&] { found = memchr(other.data, 1, 2048 * 2048 * 4) != nullptr; };
  double seconds, probe_seconds;
  measure(
      options, [&] { multiply(table, problem, blocking); }, read, &seconds, &probe_seconds);
  const double bytes = 4e-9 * 2048 * 2048;
  return {{isa_name(table.isa), name, "beside reading the weights", bytes / seconds,
           bytes / probe_seconds, "GB"}};
}

// Functions over a block that fits the nearest cache, beside negation of it.
std::vector<Row> bench_functions(const KernelTable& table, const Options& options) {
  constexpr const char* kNames[] = {
#define SCONCE_ROW(name, meaning) #name,
      SCONCE_UNARY_KERNELS(SCONCE_ROW)
#undef SCONCE_ROW
  };
  std::vector<Row> rows;
  Aligned<float> x(2048), y(2048);
  for (int i = 0; i < 2048; i++) x.data[i] = float(i % 200) * 0.05f - 5;
  auto run = [&](UnaryKernel kernel) {
    for (int i = 0; i < 20; i++) table.unary[int(kernel)]({1, 2048, x.data, 0, 1, y.data, 0});
  };
  Options brief = options;
  brief.seconds = options.seconds / 5;
  for (int k = 0; k < int(UnaryKernel::count); k++) {
    std::string name = std::string("function ") + kNames[k];
    if (!wanted(options, name)) continue;
    double seconds, probe_seconds;
    measure(
        brief, [&] { run(UnaryKernel(k)); }, [&] { run(UnaryKernel::neg); }, &seconds,
        &probe_seconds);
    rows.push_back({isa_name(table.isa), name, "beside neg", 20 * 2048e-9 / seconds,
                    20 * 2048e-9 / probe_seconds, "Gelement"});
  }
  return rows;
}

// A convolution by depth as in MobileNetV2, and transposed packing as in attention.
std::vector<Row> bench_blocks(const KernelTable& table, const Options& options) {
  std::vector<Row> rows;
  float sink[16] = {1, 0};
  int64_t operations = 0;
  double seconds, probe_seconds;
  struct Depthwise {
    int64_t size, channels, window, step;  // of the result
  };
  for (const Depthwise& d : {Depthwise{112, 32, 3, 1},
                             {56, 96, 3, 2},
                             {56, 144, 3, 1},
                             {28, 192, 3, 1},
                             {14, 384, 3, 1},
                             {7, 960, 3, 1},
                             {28, 240, 5, 1}}) {
    std::string name = fmt::format("depthwise {0}x{0} {1}x{1}x{2}{3}", d.window, d.size, d.channels,
                                   d.step == 2 ? ", stride 2" : "");
    if (!wanted(options, name)) continue;
    const int64_t from = (d.size - 1) * d.step + d.window, channels = d.channels;
    Aligned<float> x(size_t(from * from * channels)), out(size_t(d.size * d.size * channels));
    Aligned<float> weights(size_t(d.window * d.window * channels)), bias(size_t{960});
    std::vector<WindowRow<float>> windows;
    std::vector<float*> lines;
    for (int64_t y = 0; y < d.size; y++) {
      for (int64_t r = 0; r < d.window; r++)
        windows.push_back({x.data + (y * d.step + r) * from * channels, 0, from});
      lines.push_back(out.data + y * d.size * channels);
    }
    auto work = [&] {
      table.depthwise({{windows.data(), lines.data(), channels, nullptr, channels, d.window,
                        d.window, d.step, 1, d.size, d.size, channels, weights.data, channels},
                       bias.data,
                       0,
                       6});
    };
    measure(
        options, work, [&] { operations = table.peak_f32(20000, sink); }, &seconds, &probe_seconds);
    rows.push_back({isa_name(table.isa), name, "bias and clamp",
                    2e-9 * double(d.window * d.window * d.size * d.size * channels) / seconds,
                    1e-9 * double(operations) / probe_seconds});
  }
  if (std::string name = "pack transposed 512x64"; wanted(options, name)) {
    Aligned<float> x(512 * 64), out(512 * 64);
    measure(
        options,
        [&] {
          table.pack_f32({64, 512, x.data, 1, 64, out.data, 64 * 16});
        },
        [&] { memcpy(out.data, x.data, 512 * 64 * 4); }, &seconds, &probe_seconds);
    const double bytes = 512 * 64 * 4e-9;
    rows.push_back(
        {isa_name(table.isa), name, "beside memcpy", bytes / seconds, bytes / probe_seconds, "GB"});
  }
  return rows;
}

void print(const std::vector<Row>& rows, bool json) {
  if (json) printf("[\n");
  for (size_t i = 0; i < rows.size(); i++) {
    const Row& r = rows[i];
    if (json)
      printf(
          "  {\"isa\": \"%s\", \"shape\": \"%s\", \"note\": \"%s\", \"unit\": \"%s/s\", "
          "\"value\": %.4g, \"peak\": %.4g, \"share\": %.3f}%s\n",
          r.isa.c_str(), r.shape.c_str(), r.note.c_str(), r.unit, r.value, r.peak, r.value / r.peak,
          i + 1 < rows.size() ? "," : "");
    else
      printf("%-12s %-28s %8.1f of %8.1f %8s/s  %5.1f %%  %s\n", r.isa.c_str(), r.shape.c_str(),
             r.value, r.peak, r.unit, 100 * r.value / r.peak, r.note.c_str());
  }
  if (json) printf("]\n");
}

int run(int argc, char** argv) {
  Options options;
  CLI::App app("Speed of the block kernels beside the peak of this processor, one thread");
  app.add_option("--isa", options.isa, "instruction set (default: all that run here but plain)");
  app.add_option("--only", options.only, "only shapes whose name contains this");
  app.add_option("--seconds", options.seconds, "time for each shape");
  app.add_option("--rows", options.rows, "rows of the tile")
      ->needs(app.add_option("--panels", options.panels, "panels of the tile"));
  app.add_option("--k-block", options.k_block, "K at a time");
  app.add_option("--n-block", options.n_block, "panels at a time");
  app.add_option("--shape", options.shape, "M N K of a dot instead of the list")->expected(3);
  app.add_flag("--json", options.json, "rows as JSON");
  CLI11_PARSE(app, argc, argv);

  std::vector<Isa> isas = runnable_isas();
  if (!options.isa.empty()) {
    auto isa = choose_isa(options.isa.c_str());
    if (!isa.ok()) {
      fprintf(stderr, "%s\n", isa.error().text.c_str());
      return 2;
    }
    isas = {*isa};
  }
  if (!options.json) printf("%s, one thread\n", processor_name().c_str());
  std::vector<Row> rows;
  for (Isa isa : isas) {
    const KernelTable& table = kernels_for(isa);
    if (options.isa.empty() && (isa == Isa::plain || table.isa != isa)) continue;
    for (auto bench :
         {bench_dot_f32, bench_dot_i8, bench_dot_i4, bench_gemv, bench_blocks, bench_functions})
      for (Row& row : bench(table, options)) {
        if (!options.json) print({row}, false);
        rows.push_back(std::move(row));
      }
  }
  if (options.json) print(rows, true);
  return 0;
}

}  // namespace
}  // namespace sconce::tile

int main(int argc, char** argv) { return sconce::tile::run(argc, argv); }
