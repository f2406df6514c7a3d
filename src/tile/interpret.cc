#include "tile/interpret.h"

#include <cmath>
#include <cstring>

#include "tensor/half.h"
#include "tile/functions.h"

namespace sconce::tile {
namespace {

// A value while it runs: parallel axes are at one point, so only span and serial axes have a size.
struct Tile {
  DType dtype = DType::f32;
  std::vector<AxisId> axes;
  std::vector<int64_t> sizes;
  std::vector<float> f;    // f32
  std::vector<int64_t> i;  // i32, i64, b8
  int64_t count() const {
    int64_t n = 1;
    for (int64_t size : sizes) n *= size;
    return n;
  }
};

int64_t saturate(int64_t x, int64_t low, int64_t high) {
  return x < low ? low : x > high ? high : x;
}
int64_t wrap(int64_t x, DType dtype) { return dtype == DType::i32 ? int32_t(uint32_t(x)) : x; }

class Interpreter {
 public:
  Interpreter(const Kernel& kernel, Span<const BufferView> buffers, Span<const int64_t> dims,
              const InterpretLimits& limits)
      : kernel_(kernel), buffers_(buffers), dims_(dims), limits_(limits) {}

  Result<void> run() {
    std::vector<AxisId> grid;
    for (size_t a = 0; a < kernel_.axes.size(); a++) {
      const Axis& axis = kernel_.axes[a];
      extent_.push_back(size_of(axis.extent, dims_));
      if (axis.kind != AxisKind::parallel) continue;
      if (extent_[a] == 0) return {};
      grid.push_back(AxisId(a));
    }
    first_.assign(kernel_.axes.size(), 0);
    length_.assign(kernel_.axes.size(), 1);
    for (size_t a = 0; a < kernel_.axes.size(); a++)
      if (kernel_.axes[a].kind == AxisKind::span) length_[a] = extent_[a];
    tiles_.resize(kernel_.values.size());
    while (true) {
      TRY_VOID(spend(0));
      TRY_VOID(run_body(0, kernel_.body.size()));
      size_t g = grid.size();
      while (g > 0 && ++first_[size_t(grid[g - 1])] == extent_[size_t(grid[g - 1])])
        first_[size_t(grid[--g])] = 0;
      if (g == 0) return {};
    }
  }

 private:
  bool has_size(AxisId id) const {
    const Axis& axis = kernel_.axes[size_t(id)];
    return axis.kind != AxisKind::parallel && !axis.each;
  }

  Result<void> shape(Tile& tile, const ValueType& type) {
    tile.dtype = type.dtype;
    tile.axes.clear();
    tile.sizes.clear();
    int64_t count = 1;
    bool overflow = false;
    for (AxisId a = 0; size_t(a) < kernel_.axes.size(); a++)
      if (type.axes >> a & 1 && has_size(a)) {
        tile.axes.push_back(a);
        tile.sizes.push_back(length_[size_t(a)]);
        overflow |= __builtin_mul_overflow(count, length_[size_t(a)], &count);
      }
    if (overflow || uint64_t(count) > limits_.bytes_max / 8)
      return error(Code::too_large, "kernel {}: a value of more than {} bytes", kernel_.name,
                   limits_.bytes_max);
    TRY_VOID(spend(uint64_t(count)));
    if (type.dtype == DType::f32)
      tile.f.assign(size_t(count), 0);
    else
      tile.i.assign(size_t(count), 0);
    return {};
  }

  // On top of the one that everything costs.
  Result<void> spend(uint64_t steps) {
    steps_ += steps + 1;
    if (steps_ > limits_.steps_max)
      return error(Code::too_large, "kernel {}: more than {} steps", kernel_.name,
                   limits_.steps_max);
    return {};
  }

  // Calls f(element) for every coordinate of the axes, the last one fastest; at_ holds them.
  template <class F>
  Result<void> each(Span<const AxisId> axes, F f) {
    for (AxisId a : axes) {
      if (length_[size_t(a)] == 0) return {};
      at_[a] = 0;
    }
    for (int64_t element = 0;; element++) {
      TRY_VOID(f(element));
      size_t d = axes.size();
      while (d > 0 && ++at_[axes[d - 1]] == length_[size_t(axes[d - 1])]) at_[axes[--d]] = 0;
      if (d == 0) return {};
    }
  }

  // Element of a tile at the coordinates in at_.
  size_t element(const Tile& tile) const {
    int64_t index = 0;
    for (size_t d = 0; d < tile.axes.size(); d++) index = index * tile.sizes[d] + at_[tile.axes[d]];
    return size_t(index);
  }

  // Place in a buffer, false when outside.
  // `step`: the contracted index of a packed element.
  bool place(const Instruction& i, const void** data, int64_t* step, int64_t* outside_dim,
             int64_t* outside) const {
    const Buffer& buffer = kernel_.buffers[size_t(i.buffer)];
    const BufferView& view = buffers_[size_t(i.buffer)];
    int64_t offset = 0;
    PackedIndex packed;
    for (size_t d = 0; d < i.index.size(); d++) {
      const Index& index = i.index[d];
      int64_t position = index.offset;
      for (const Term& term : index.terms)
        position +=
            term.factor * (first_[size_t(term.axis)] + (has_size(term.axis) ? at_[term.axis] : 0));
      if (index.value != kNone) {
        const Tile& value = tiles_[size_t(index.value)];
        position += value.i[element(value)];
      }
      if (position < 0 || position >= view.sizes[d]) {
        *outside_dim = int64_t(d);
        *outside = position;
        return false;
      }
      if (buffer.is_packed())
        packed.tell(buffer, d, view.sizes[d], position);
      else
        offset += position * view.strides[d];
    }
    offset = buffer.is_packed()
                 ? panel_shape(buffer, {view.sizes.data(), view.sizes.size()})->offset(packed)
                 : offset * int64_t(dtype_bytes(buffer.dtype));
    *step = packed.k;
    *data = static_cast<const uint8_t*>(view.data) + offset;
    return true;
  }

  Error outside(const Instruction& i, int64_t dim, int64_t position) const {
    return error(Code::invalid_argument, "kernel {}: index {} into dimension {} of {}, of size {}",
                 kernel_.name, position, dim, kernel_.buffers[size_t(i.buffer)].name,
                 buffers_[size_t(i.buffer)].sizes[size_t(dim)]);
  }

  Result<void> load(const Instruction& i, Tile& out) {
    const Buffer& buffer = kernel_.buffers[size_t(i.buffer)];
    return each(out.axes, [&](int64_t e) -> Result<void> {
      const void* data = nullptr;
      int64_t step = 0, dim = 0, position = 0;
      if (!place(i, &data, &step, &dim, &position)) {
        if (i.strict) return outside(i, dim, position);
        if (out.dtype == DType::f32)
          out.f[size_t(e)] = float(i.number);
        else
          out.i[size_t(e)] = int64_t(i.number);
        return {};
      }
      auto read = [&](auto value) {
        memcpy(&value, data, sizeof(value));
        return value;
      };
      switch (buffer.dtype) {
        case DType::f32: out.f[size_t(e)] = read(float()); break;
        case DType::f16: out.f[size_t(e)] = to_float(read(f16_t())); break;
        case DType::bf16: out.f[size_t(e)] = to_float(read(bf16_t())); break;
        case DType::i8:
          out.i[size_t(e)] = buffer.layout == Layout::nibbles
                                 ? PanelShape::half(read(uint8_t()), step)
                                 : read(int8_t());
          break;
        case DType::u8:
        case DType::b8: out.i[size_t(e)] = read(uint8_t()); break;
        case DType::i16: out.i[size_t(e)] = read(int16_t()); break;
        case DType::i32: out.i[size_t(e)] = read(int32_t()); break;
        default: out.i[size_t(e)] = read(int64_t());
      }
      return {};
    });
  }

  Result<void> store(const Instruction& i) {
    const Buffer& buffer = kernel_.buffers[size_t(i.buffer)];
    const Tile& value = tiles_[size_t(i.operands[0])];
    AxisSet axes = 0;
    for (const Index& index : i.index)
      for (const Term& term : index.terms)
        if (has_size(term.axis)) axes |= AxisSet(1) << term.axis;
    std::vector<AxisId> over;
    for (AxisId a = 0; size_t(a) < kernel_.axes.size(); a++)
      if (axes >> a & 1) over.push_back(a);
    return each(over, [&](int64_t) -> Result<void> {
      const void* place_at = nullptr;
      int64_t step = 0, dim = 0, position = 0;
      if (!place(i, &place_at, &step, &dim, &position))
        return i.strict ? outside(i, dim, position) : Result<void>();
      void* data = const_cast<void*>(place_at);
      size_t e = element(value);
      auto write = [&](auto element) { memcpy(data, &element, sizeof(element)); };
      switch (buffer.dtype) {
        case DType::f32: write(value.f[e]); break;
        case DType::f16: write(to_f16(value.f[e])); break;
        case DType::bf16: write(to_bf16(value.f[e])); break;
        case DType::i8: write(int8_t(saturate(value.i[e], -128, 127))); break;
        case DType::u8: write(uint8_t(saturate(value.i[e], 0, 255))); break;
        case DType::b8: write(uint8_t(value.i[e] != 0)); break;
        case DType::i16: write(int16_t(saturate(value.i[e], INT16_MIN, INT16_MAX))); break;
        case DType::i32: write(int32_t(value.i[e])); break;
        default: write(value.i[e]);
      }
      return spend(1);
    });
  }

  Result<void> reduce(const Instruction& i, Tile& out) {
    const Tile& x = tiles_[size_t(i.operands[0])];
    auto f = Reduce(i.function);
    return each(out.axes, [&](int64_t e) -> Result<void> {
      double identity = f == Reduce::sum    ? 0
                        : f == Reduce::prod ? 1
                        : f == Reduce::max  ? -INFINITY
                                            : INFINITY;
      float lanes[16];
      for (float& lane : lanes) lane = float(identity);
      int64_t whole = f == Reduce::max   ? (out.dtype == DType::i32 ? INT32_MIN : INT64_MIN)
                      : f == Reduce::min ? (out.dtype == DType::i32 ? INT32_MAX : INT64_MAX)
                                         : int64_t(identity);
      TRY_VOID(each(i.axes, [&](int64_t k) -> Result<void> {
        size_t at = element(x);
        if (out.dtype == DType::f32) {
          float& lane = lanes[i.lanes ? k % 16 : 0];
          lane = f == Reduce::sum ? lane + x.f[at]
                 : f == Reduce::prod
                     ? lane * x.f[at]
                     : apply(f == Reduce::max ? Binary::max : Binary::min, lane, x.f[at]);
        } else if (f == Reduce::sum) {
          whole = wrap(int64_t(uint64_t(whole) + uint64_t(x.i[at])), out.dtype);
        } else if (f == Reduce::prod) {
          whole = wrap(int64_t(uint64_t(whole) * uint64_t(x.i[at])), out.dtype);
        } else {
          whole = f == Reduce::max ? std::max(whole, x.i[at]) : std::min(whole, x.i[at]);
        }
        return spend(1);
      }));
      if (i.lanes)
        for (int half = 8; half > 0; half /= 2)
          for (int l = 0; l < half; l++) lanes[l] += lanes[l + half];
      if (out.dtype == DType::f32)
        out.f[size_t(e)] = lanes[0];
      else
        out.i[size_t(e)] = whole;
      return {};
    });
  }

  Result<void> dot(const Instruction& i, Tile& out) {
    const Tile &c = tiles_[size_t(i.operands[0])], &a = tiles_[size_t(i.operands[1])],
               &b = tiles_[size_t(i.operands[2])];
    return each(out.axes, [&](int64_t e) -> Result<void> {
      if (out.dtype == DType::f32) {
        float sum = c.f[element(c)];
        TRY_VOID(each(i.axes, [&](int64_t) -> Result<void> {
          sum = std::fma(a.f[element(a)], b.f[element(b)], sum);
          return spend(1);
        }));
        out.f[size_t(e)] = sum;
      } else {
        uint32_t sum = uint32_t(c.i[element(c)]);
        TRY_VOID(each(i.axes, [&](int64_t) -> Result<void> {
          sum += uint32_t(a.i[element(a)]) * uint32_t(b.i[element(b)]);
          return spend(1);
        }));
        out.i[size_t(e)] = int32_t(sum);
      }
      return {};
    });
  }

  // Elementwise: f(element of out, elements of the operands).
  template <class F>
  Result<void> pointwise(const Instruction& i, Tile& out, F f) {
    const Tile* x[3] = {};
    for (size_t k = 0; k < i.operands.size(); k++) x[k] = &tiles_[size_t(i.operands[k])];
    return each(out.axes, [&](int64_t e) -> Result<void> {
      size_t at[3] = {};
      for (size_t k = 0; k < i.operands.size(); k++) at[k] = element(*x[k]);
      f(size_t(e), x, at);
      return {};
    });
  }

  Result<void> compute(const Instruction& i, Tile& out) {
    bool floating = out.dtype == DType::f32;
    switch (i.op) {
      case Op::constant:
        if (floating)
          std::fill(out.f.begin(), out.f.end(), float(i.number));
        else
          std::fill(out.i.begin(), out.i.end(),
                    out.dtype == DType::b8 ? i.number != 0 : wrap(int64_t(i.number), out.dtype));
        return {};
      case Op::extent: out.i[0] = extent_[size_t(i.axes[0])]; return {};
      case Op::iota:
        return each(out.axes, [&](int64_t e) -> Result<void> {
          out.i[size_t(e)] = first_[size_t(i.axes[0])] + e;
          return {};
        });
      case Op::load: return load(i, out);
      case Op::unary:
        return pointwise(i, out, [&](size_t e, const Tile* const* x, const size_t* at) {
          auto f = Unary(i.function);
          if (floating)
            out.f[e] = apply(f, x[0]->f[at[0]]);
          else
            out.i[e] = apply_integer(f, x[0]->i[at[0]], out.dtype);
        });
      case Op::binary:
        return pointwise(i, out, [&](size_t e, const Tile* const* x, const size_t* at) {
          auto f = Binary(i.function);
          bool of_floats = x[0]->dtype == DType::f32;
          if (f >= Binary::eq && f <= Binary::ge)
            out.i[e] = of_floats ? compare(f, x[0]->f[at[0]], x[1]->f[at[1]])
                                 : compare(f, x[0]->i[at[0]], x[1]->i[at[1]]);
          else if (of_floats)
            out.f[e] = apply(f, x[0]->f[at[0]], x[1]->f[at[1]]);
          else
            out.i[e] = apply_integer(f, x[0]->i[at[0]], x[1]->i[at[1]], out.dtype);
        });
      case Op::fma:
        return pointwise(i, out, [&](size_t e, const Tile* const* x, const size_t* at) {
          out.f[e] = std::fma(x[0]->f[at[0]], x[1]->f[at[1]], x[2]->f[at[2]]);
        });
      case Op::select:
        return pointwise(i, out, [&](size_t e, const Tile* const* x, const size_t* at) {
          int k = x[0]->i[at[0]] ? 1 : 2;
          if (floating)
            out.f[e] = x[k]->f[at[k]];
          else
            out.i[e] = x[k]->i[at[k]];
        });
      case Op::cast:
        return pointwise(i, out, [&](size_t e, const Tile* const* x, const size_t* at) {
          bool from_float = x[0]->dtype == DType::f32;
          if (floating)
            out.f[e] = from_float ? x[0]->f[at[0]] : float(x[0]->i[at[0]]);
          else if (from_float)
            out.i[e] = float_to_integer(x[0]->f[at[0]], out.dtype);
          else
            out.i[e] =
                out.dtype == DType::b8 ? x[0]->i[at[0]] != 0 : wrap(x[0]->i[at[0]], out.dtype);
        });
      case Op::reduce: return reduce(i, out);
      case Op::dot: return dot(i, out);
      case Op::rename: {
        const Tile& x = tiles_[size_t(i.operands[0])];
        return each(out.axes, [&](int64_t e) -> Result<void> {
          at_[i.axes[0]] = at_[i.axes[1]];
          if (floating)
            out.f[size_t(e)] = x.f[element(x)];
          else
            out.i[size_t(e)] = x.i[element(x)];
          return {};
        });
      }
      default: return {};
    }
  }

  Result<void> run_body(size_t from, size_t to) {
    for (size_t n = from; n < to; n++) {
      const Instruction& i = kernel_.body[n];
      if (i.op == Op::store) {
        TRY_VOID(store(i));
      } else if (i.op == Op::serial) {
        size_t end = n;
        for (int depth = 0;; end++) {
          depth += kernel_.body[end].op == Op::serial;
          if (kernel_.body[end].op == Op::yield && --depth == 0) break;
        }
        TRY_VOID(run_loop(i, kernel_.body[end], n + 1, end));
        n = end;
      } else {
        Tile& out = tiles_[size_t(i.results[0])];
        TRY_VOID(shape(out, kernel_.values[size_t(i.results[0])]));
        TRY_VOID(compute(i, out));
      }
    }
    return {};
  }

  // Copies values onto carried ones, which may have more axes.
  Result<void> carry(const std::vector<ValueId>& from, const std::vector<ValueId>& to) {
    std::vector<Tile> next(from.size());
    for (size_t k = 0; k < from.size(); k++) {
      TRY_VOID(shape(next[k], kernel_.values[size_t(to[k])]));
      const Tile& x = tiles_[size_t(from[k])];
      TRY_VOID(each(next[k].axes, [&](int64_t e) -> Result<void> {
        if (x.dtype == DType::f32)
          next[k].f[size_t(e)] = x.f[element(x)];
        else
          next[k].i[size_t(e)] = x.i[element(x)];
        return {};
      }));
    }
    for (size_t k = 0; k < to.size(); k++) tiles_[size_t(to[k])] = std::move(next[k]);
    return {};
  }

  Result<void> run_loop(const Instruction& loop, const Instruction& yield, size_t from, size_t to) {
    size_t a = size_t(loop.axes[0]);
    TRY_VOID(carry(loop.operands, loop.results));
    const Axis& axis = kernel_.axes[a];
    const int64_t step = axis.step(extent_[a]);
    for (int64_t n = 0; n * step < extent_[a]; n++) {
      first_[a] = axis.begin(n, extent_[a]);
      length_[a] = std::min(step, extent_[a] - first_[a]);
      TRY_VOID(spend(0));
      TRY_VOID(run_body(from, to));
      TRY_VOID(carry(yield.operands, loop.results));
    }
    first_[a] = 0;
    length_[a] = 1;
    return carry(loop.results, yield.results);
  }

  const Kernel& kernel_;
  Span<const BufferView> buffers_;
  Span<const int64_t> dims_;
  InterpretLimits limits_;
  uint64_t steps_ = 0;
  std::vector<int64_t> extent_, first_,
      length_;                 // by axis: whole, where this tile begins, its length
  int64_t at_[kAxesMax] = {};  // by axis: within this tile
  std::vector<Tile> tiles_;
};

}  // namespace

Result<void> interpret(const Kernel& kernel, Span<const BufferView> buffers,
                       const InterpretLimits& limits) {
  TRY(std::vector<int64_t> dims, bind(kernel, buffers));
  return Interpreter(kernel, buffers, dims, limits).run();
}

Result<void> interpret(const Program& program, Span<const void* const> inputs,
                       Span<void* const> outputs,
                       const std::function<Bytes(const std::string&)>& constant,
                       const InterpretLimits& limits) {
  if (inputs.size() != program.inputs.size() || outputs.size() != program.outputs.size())
    return error(Code::invalid_argument, "{} inputs and {} outputs; {} and {} are wanted",
                 inputs.size(), outputs.size(), program.inputs.size(), program.outputs.size());
  std::vector<uint8_t> arena(program.arena_bytes);
  std::vector<uint8_t*> data;
  for (const Storage& storage : program.storages) {
    const void* at = nullptr;
    switch (storage.kind) {
      case Storage::Kind::input: at = inputs[storage.index]; break;
      case Storage::Kind::output: at = outputs[storage.index]; break;
      case Storage::Kind::temporary: at = arena.data() + storage.offset; break;
      case Storage::Kind::constant: {
        Bytes bytes = constant(storage.name);
        if (bytes.size() != storage.bytes)
          return error(Code::invalid_file, "constant {}: {} bytes; {} are wanted", storage.name,
                       bytes.size(), storage.bytes);
        at = bytes.data();
      }
    }
    data.push_back(static_cast<uint8_t*>(const_cast<void*>(at)));
  }
  for (const Storage& storage : program.storages) {
    if (storage.kind != Storage::Kind::output) continue;
    int32_t updated = program.outputs[storage.index].updates;
    if (updated != kNone && outputs[storage.index] != inputs[size_t(updated)])
      memcpy(outputs[storage.index], inputs[size_t(updated)], storage.bytes);
  }
  for (size_t i = 0; i < program.steps.size(); i++) {
    const Step& step = program.steps[i];
    std::vector<BufferView> views;
    for (const Operand& operand : step.operands)
      views.push_back({data[operand.storage] + operand.offset, operand.sizes, operand.strides,
                       int64_t(program.storages[operand.storage].bytes - operand.offset)});
    Result<void> done = interpret(program.kernels[step.kernel], views, limits);
    if (!done.ok()) return std::move(done.error()).with_context(fmt::format("step {}", i));
  }
  return {};
}

}  // namespace sconce::tile
