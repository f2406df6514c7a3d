// Kernels of your own, written in C++ and traced once into the tile language. Host only.
//
//   Result<Kernel> softmax = define("softmax", [](Trace& t) {
//     Extent M = t.dim("M"), N = t.dim("N");
//     In x = t.input("x", DType::f32, {M, N});
//     Out y = t.output("y", DType::f32, {M, N});
//     Axis m = t.parallel("m", M), n = t.span("n", N);
//     Tile e = exp(x(m, n) - reduce_max(x(m, n), {n}));
//     y(m, n) = e / sum(e, {n});
//   });
//
// The function runs once and computes nothing: it notes what it is told. A Tile stands for a value
// at every index of its axes, so broadcasts and transpositions need no operators. What a kernel
// means, what its results are bit for bit, and why it cannot touch foreign memory: docs/tile.md.
// How to write one that is fast: docs/write_kernels.md.
//
// define() gives a Kernel (tile/ir.h); print() and parse_kernel() make it text and back, and
// write_kernels() and read_kernels() a file of them. Runner runs one fast, interpret() to the
// letter; check_kernel() compares the two on every instruction set of this machine; tune_kernel()
// looks for the tile sizes that are fastest here.
//
// Ownership: Kernels and Runners own what they need; arrays are borrowed for the call. Threads: the
// objects of a Trace are for the function that it was given to; a Runner is for one thread at a
// time. Errors come back from define() and the functions below, never from building: the first
// mistake in a trace is reported with the kernel's name.
#pragma once

#include <array>
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "base/result.h"
#include "tile/build.h"
#include "tile/interpret.h"
#include "tile/tune.h"
#include "tile/vm.h"

namespace sconce::kernels {

using tile::BufferView;
using tile::Extent;
using tile::interpret;
using tile::Kernel;
using tile::known;
using tile::parse_kernel;
using tile::print;
using tile::Schedule;
using tile::verify;

class Trace;

// A value with an element at every index of its axes, in f32, i32, i64 or b8. Loads widen f16 and
// bf16 to f32 and small integers to i32; stores round to nearest even, or saturate.
struct Tile {
  Trace* trace = nullptr;
  tile::ValueId id = tile::kNone;
  DType dtype = DType::f32;
};

// A named index of the kernel's loops.
struct Axis {
  Trace* trace = nullptr;
  tile::AxisId id = 0;
  Tile index() const;   // where it is, as i64
  Tile extent() const;  // how far it runs, as i64
};

// An index along a dimension of an array: axes times numbers, a number, and at most one computed
// Tile of integers: `2 * oy + ky - 1`, `rows(m)`.
struct Position {
  tile::Index index;
  Position(int number) : index(tile::at(number)) {}
  Position(int64_t number) : index(tile::at(number)) {}
  Position(const Axis& axis) : index(tile::along(axis.id)) {}
  Position(const Tile& computed) : index({{}, 0, computed.id}) {}
  explicit Position(tile::Index i) : index(std::move(i)) {}
};
inline Position operator+(const Position& a, const Position& b) {
  return Position(a.index + b.index);
}
inline Position operator-(Position a, int64_t number) {
  a.index.offset -= number;
  return a;
}
inline Position operator*(int64_t factor, const Axis& axis) {
  return Position(tile::along(axis.id, factor));
}
inline Position operator*(const Axis& axis, int64_t factor) { return factor * axis; }

// An array that the kernel reads. Outside of it lies `outside`, so that edges need no care; strict
// makes reading there an error of the run, for indices that come from data.
class In {
 public:
  template <class... P>
  Tile operator()(const P&... positions) const {
    return load({Position(positions)...}, false);
  }
  template <class... P>
  Tile strict(const P&... positions) const {
    return load({Position(positions)...}, true);
  }
  In outside(double number) const;

 private:
  friend class Trace;
  Tile load(std::vector<Position> positions, bool strict) const;
  Trace* trace_ = nullptr;
  int32_t buffer_ = 0;
  DType dtype_ = DType::f32;
  double outside_ = 0;
};

// An array that the kernel writes: y(m, n) = value. Outside of it nothing happens. No two indices
// of the parallel axes may write to one place.
class Out {
 public:
  class Place {
   public:
    void operator=(const Tile& value) const;

   private:
    friend class Out;
    Trace* trace_ = nullptr;
    int32_t buffer_ = 0;
    std::vector<tile::Index> index_;
  };
  template <class... P>
  Place operator()(const P&... positions) const {
    return place({Position(positions)...});
  }

 private:
  friend class Trace;
  Place place(std::vector<Position> positions) const;
  Trace* trace_ = nullptr;
  int32_t buffer_ = 0;
};

class Trace {
 public:
  explicit Trace(const std::string& name) : build_(name) {}
  Trace(const Trace&) = delete;
  Trace& operator=(const Trace&) = delete;

  // A size that the arrays of a call bind. A number does as well: known(3).
  Extent dim(const std::string& name) { return build_.dim(name); }

  // Arrays of a call, in the order in which they are named here.
  In input(const std::string& name, DType dtype, std::vector<Extent> sizes);
  // Weights packed for dot (pack_weights): dims [lead..., contracted..., columns].
  In weights(const std::string& name, DType dtype, std::vector<Extent> sizes, int lead = 0);
  Out output(const std::string& name, DType dtype, std::vector<Extent> sizes);

  // The kernel is what an operator of a model computes ("mylib::swiglu"): by argument of the operator
  // the name of the array that it is; outputs are its results. For `sconce compile --kernels`.
  void stands_for(std::string op, std::vector<std::string> arguments);

  // Iterations of a parallel axis are independent: they are cut into tiles, which threads share.
  Axis parallel(const std::string& name, Extent extent);
  // One index at a time: tiles have no dimension for it. For batches and heads.
  Axis each(const std::string& name, Extent extent);
  // Always whole inside a tile: what is reduced or contracted.
  Axis span(const std::string& name, Extent extent);
  // A loop that carries values, `block` indices a step. The block is part of the result.
  Axis serial(const std::string& name, Extent extent, int64_t block);
  // One index a step; backward: from the last one to the first.
  Axis serial_each(const std::string& name, Extent extent, bool backward = false);

  // A number at every index of the axes: what a loop starts from.
  Tile filled(double number, const std::vector<Axis>& axes = {}, DType dtype = DType::f32);

  // auto [a, b] = t.loop(j, std::array{a0, b0}, [&](Tile a, Tile b) { return std::array{...}; });
  template <size_t N, class Step>
  std::array<Tile, N> loop(const Axis& axis, const std::array<Tile, N>& initial, Step step) {
    std::vector<tile::ValueId> ids;
    for (const Tile& tile : initial) ids.push_back(tile.id);
    std::array<Tile, N> carried = tiles(build_.begin_loop(axis.id, ids), initial);
    std::array<Tile, N> next = std::apply(step, carried);
    for (size_t i = 0; i < N; i++) ids[i] = next[i].id;
    return tiles(build_.end_loop(axis.id, ids), initial);
  }

  tile::Builder& builder() { return build_; }
  Result<Kernel> finish();

 private:
  template <size_t N>
  std::array<Tile, N> tiles(const std::vector<tile::ValueId>& ids,
                            const std::array<Tile, N>& like) {
    std::array<Tile, N> out;
    for (size_t i = 0; i < N; i++) out[i] = {this, ids[i], like[i].dtype};
    return out;
  }
  Axis named(tile::AxisId id, const std::string& name);
  tile::Builder build_;
  std::vector<std::string> buffer_names_, axis_names_;
  tile::KernelOperator stands_for_;
};

Result<Kernel> define(const std::string& name, const std::function<void(Trace&)>& trace);

// --- what tiles are made of
// One f32 in, one out; names are those of docs/tile.md.
#define SCONCE_TILE_FUNCTION(name) Tile name(const Tile& x);
SCONCE_TILE_UNARY(SCONCE_TILE_FUNCTION)
#undef SCONCE_TILE_FUNCTION

// Of two; a number stands for a tile of the other's type. Comparisons give b8.
Tile binary(tile::Binary function, const Tile& x, const Tile& y);
Tile binary(tile::Binary function, const Tile& x, double y);
Tile binary(tile::Binary function, double x, const Tile& y);
#define SCONCE_TILE_OPERATOR(symbol, function)                \
  inline Tile operator symbol(const Tile& x, const Tile& y) { \
    return binary(tile::Binary::function, x, y);              \
  }                                                           \
  inline Tile operator symbol(const Tile& x, double y) {      \
    return binary(tile::Binary::function, x, y);              \
  }                                                           \
  inline Tile operator symbol(double x, const Tile& y) {      \
    return binary(tile::Binary::function, x, y);              \
  }
SCONCE_TILE_OPERATOR(+, add)
SCONCE_TILE_OPERATOR(-, sub)
SCONCE_TILE_OPERATOR(*, mul)
SCONCE_TILE_OPERATOR(/, div)
SCONCE_TILE_OPERATOR(==, eq)
SCONCE_TILE_OPERATOR(!=, ne)
SCONCE_TILE_OPERATOR(<, lt)
SCONCE_TILE_OPERATOR(<=, le)
SCONCE_TILE_OPERATOR(>, gt)
SCONCE_TILE_OPERATOR(>=, ge)
SCONCE_TILE_OPERATOR(&, bit_and)
SCONCE_TILE_OPERATOR(|, bit_or)
SCONCE_TILE_OPERATOR(^, bit_xor)
#undef SCONCE_TILE_OPERATOR
inline Tile operator-(const Tile& x) { return neg(x); }
inline Tile max(const Tile& x, const Tile& y) { return binary(tile::Binary::max, x, y); }
inline Tile max(const Tile& x, double y) { return binary(tile::Binary::max, x, y); }
inline Tile min(const Tile& x, const Tile& y) { return binary(tile::Binary::min, x, y); }
inline Tile min(const Tile& x, double y) { return binary(tile::Binary::min, x, y); }
inline Tile pow(const Tile& x, double y) { return binary(tile::Binary::pow, x, y); }
Tile fma(const Tile& x, const Tile& y, const Tile& z);  // x * y + z, rounded once
Tile select(const Tile& condition, const Tile& yes, const Tile& no);
Tile select(const Tile& condition, const Tile& yes, double no);
Tile cast(const Tile& x, DType dtype);

// Over axes, the first one outermost. sum has 16 partial sums, added as a tree; sum_in_order one.
Tile sum(const Tile& x, const std::vector<Axis>& over);
Tile sum_in_order(const Tile& x, const std::vector<Axis>& over);
Tile product(const Tile& x, const std::vector<Axis>& over);
Tile reduce_max(const Tile& x, const std::vector<Axis>& over);
Tile reduce_min(const Tile& x, const std::vector<Axis>& over);
// The sum of a * b over axes, added in order onto `initial` by fused multiply-adds.
Tile dot(const Tile& a, const Tile& b, const std::vector<Axis>& over);
Tile dot(const Tile& a, const Tile& b, const std::vector<Axis>& over, const Tile& initial);
// x with the span `to` in place of the span `from`, of the same extent: so what a step of a loop gave
// over one axis is contracted over another in the next.
Tile rename(const Tile& x, const Axis& from, const Axis& to);

// --- running

// A dense array, row-major. Elements are of the dtype that the kernel's buffer has.
BufferView dense(void* data, std::vector<int64_t> sizes, DType dtype = DType::f32);
// Weights [lead..., contracted..., columns] of f32 as weights() wants them. The view of the result
// is packed(data, sizes).
std::vector<float> pack_weights(Span<const float> weights, const std::vector<int64_t>& sizes,
                                int lead = 0);
BufferView packed(std::vector<float>& data, const std::vector<int64_t>& sizes);

// Runs a kernel on this machine. A plan is made when arrays of new sizes come, and kept.
class Runner {
 public:
  // threads: as in ThreadPool. The instruction set is the best here, or what SCONCE_ISA names.
  static Result<Runner> make(Kernel kernel, int threads = 1, Schedule schedule = {});
  Runner(Runner&&) noexcept;
  Runner& operator=(Runner&&) noexcept;
  ~Runner();

  // Arrays in the order in which the kernel names them.
  Result<void> run(const std::vector<BufferView>& arrays);
  const Kernel& kernel() const;

 private:
  struct State;
  explicit Runner(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

// Sizes of the kernel's dims, by name.
using DimSizes = std::vector<std::pair<std::string, int64_t>>;

// Arrays of the sizes that `dims` give, with random contents: f32 from -1 to 1, integers from 0 to
// 3. Errors name the dim that is missing.
struct RandomArrays {
  std::vector<std::vector<uint8_t>> bytes;
  std::vector<BufferView> views;
};
Result<RandomArrays> random_arrays(const Kernel& kernel, const DimSizes& dims, uint32_t seed = 1);

struct KernelCheck {
  std::vector<std::string> ran;  // what was compared: "avx512, 2 threads, tiles of 16"
};
// Runs random arrays on every instruction set of this machine, several tile sizes and numbers of
// threads; all must give the interpreter's bits. (SSE2 has no fused multiply-add: left out.)
Result<KernelCheck> check_kernel(const Kernel& kernel, const DimSizes& dims, uint32_t seed = 1);

// Tries tile sizes for about `seconds`; the default stays when nothing is faster by more than noise.
using Tuned = tile::TunedSchedule;
Result<Tuned> tune_kernel(const Kernel& kernel, const DimSizes& dims, int threads = 1,
                          double seconds = 2);

// A file of kernels: their texts, one after the other; "version 2" before them when some stand for
// operators.
std::string print(Span<const Kernel> kernels);
Result<std::vector<Kernel>> parse_kernels(std::string_view text);

}  // namespace sconce::kernels
