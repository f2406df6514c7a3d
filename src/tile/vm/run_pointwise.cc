// Pointwise instructions: a block kernel where memory lies as it wants it, else by element.
#include <cmath>

#include "tile/functions.h"
#include "tile/vm/worker.h"

namespace sconce::tile {

// Pointwise instructions whose block kernels do not fit: element by element.
void Worker::plain_pointwise(const Instruction& i) {
  ValueId v = i.results[0];
  const ValuePlan& out = plan_of(v);
  const Ref& to = ref(v);
  auto f = [&](size_t k, const int64_t* at) {
    return floats(
        ref(i.operands[k]))[offset_at(ref(i.operands[k]), plan_of(i.operands[k]).axes, at)];
  };
  auto n = [&](size_t k, const int64_t* at) {
    const ValuePlan& x = plan_of(i.operands[k]);
    return read_integer(ref(i.operands[k]), x.held, offset_at(ref(i.operands[k]), x.axes, at));
  };
  bool from_float = plan_of(i.operands[0]).dtype == DType::f32;
  each(out.axes, [&](const int64_t* at) {
    int64_t place = offset_at(to, out.axes, at);
    if (out.dtype == DType::f32) {
      float x = 0;
      switch (i.op) {
        case Op::unary: x = apply(Unary(i.function), f(0, at)); break;
        case Op::binary: x = apply(Binary(i.function), f(0, at), f(1, at)); break;
        case Op::fma: x = std::fma(f(0, at), f(1, at), f(2, at)); break;
        case Op::select: x = n(0, at) ? f(1, at) : f(2, at); break;
        default: x = from_float ? f(0, at) : float(n(0, at));
      }
      floats(to)[place] = x;
      return;
    }
    int64_t x = 0;
    auto function = Binary(i.function);
    switch (i.op) {
      case Op::unary: x = apply_integer(Unary(i.function), n(0, at), out.dtype); break;
      case Op::binary:
        if (function >= Binary::eq && function <= Binary::ge)
          x = from_float ? compare(function, f(0, at), f(1, at))
                         : compare(function, n(0, at), n(1, at));
        else
          x = apply_integer(function, n(0, at), n(1, at), out.dtype);
        break;
      case Op::select: x = n(0, at) ? n(1, at) : n(2, at); break;
      default:
        x = from_float               ? float_to_integer(f(0, at), out.dtype)
            : out.dtype == DType::b8 ? n(0, at) != 0
                                     : n(0, at);
    }
    write_integer(to, out.held, place, x);
  });
}

// Numbers become bytes where these are stored.
void Worker::round_to_bytes(const Instruction& i, const RoundingPlan& plan) {
  settle(i.results[0]);
  const Ref &to = ref(i.results[0]), &x = ref(plan.x);
  QuantizeBlock call = {};
  call.scale = &plan.scale;
  call.zero_point = plan.zero;
  call.low = plan.low;
  call.high = plan.high;
  call.none = plan.none;
  const Ref* refs[] = {&to, &x};
  const std::vector<AxisId>& axes = plan_of(i.results[0]).axes;
  if (steps_fit(axes, to, true) && steps_fit(axes, x, true))
    return blocks(
        axes, refs,
        [&](const int64_t* o, const int64_t* row, const int64_t*, int64_t rows, int64_t n) {
          call.x = floats(x) + o[1];
          call.out = to.data + o[0];
          call.x_row = row[1];
          call.out_row = row[0];
          call.rows = rows;
          call.n = n;
          table_.quantize_i8(call);
        });
  // In another order: along the numbers, a piece at a time, from where bytes go apart.
  constexpr int64_t kPiece = 512;
  uint8_t piece[kPiece];
  call.rows = 1;
  call.out = piece;
  const std::vector<AxisId>& order = plan_of(plan.x).axes;
  const AxisId run = p_.innermost(order);
  const Span<const AxisId> outer(order.data(), order.empty() ? 0 : order.size() - 1);
  const int64_t count = run == kNone ? 1 : length_[run], step = run == kNone ? 0 : x.stride[run];
  const int64_t to_step = run == kNone ? 0 : to.stride[run];
  each(outer, [&](const int64_t* at) {
    const float* from = floats(x) + offset_at(x, outer, at);
    uint8_t* out = to.data + offset_at(to, outer, at);
    for (int64_t first = 0; first < count; first += call.n) {
      call.x = from + first * step;
      call.n = step == 1 ? std::min(kPiece, count - first) : 1;
      table_.quantize_i8(call);
      const int64_t n = call.n;
      for (int64_t k = 0; k < n; k++, out += to_step) *out = piece[k];
    }
  });
}

// Comparisons of whole numbers, such as of indices: out = f(x, y).
bool Worker::compare_indices(const Instruction& i) {
  const ValuePlan& out = plan_of(i.results[0]);
  auto function = Binary(i.function);
  if (i.op != Op::binary || function < Binary::eq || function > Binary::ge) return false;
  for (ValueId v : i.operands)
    if (plan_of(v).held != DType::i64) return false;
  const Ref* refs[] = {&ref(i.results[0]), &ref(i.operands[0]), &ref(i.operands[1])};
  auto each_pair = [&](auto holds) {
    blocks(out.axes, refs,
           [&](const int64_t* o, const int64_t* row, const int64_t* step, int64_t rows, int64_t n) {
             for (int64_t r = 0; r < rows; r++) {
               uint8_t* to = refs[0]->data + o[0] + r * row[0];
               auto* x = reinterpret_cast<const int64_t*>(refs[1]->data) + o[1] + r * row[1];
               auto* y = reinterpret_cast<const int64_t*>(refs[2]->data) + o[2] + r * row[2];
               for (int64_t c = 0; c < n; c++)
                 to[c * step[0]] = holds(x[c * step[1]], y[c * step[2]]);
             }
           });
  };
  switch (function) {
    case Binary::eq: each_pair([](int64_t x, int64_t y) { return x == y; }); break;
    case Binary::ne: each_pair([](int64_t x, int64_t y) { return x != y; }); break;
    case Binary::lt: each_pair([](int64_t x, int64_t y) { return x < y; }); break;
    case Binary::le: each_pair([](int64_t x, int64_t y) { return x <= y; }); break;
    case Binary::gt: each_pair([](int64_t x, int64_t y) { return x > y; }); break;
    default: each_pair([](int64_t x, int64_t y) { return x >= y; });
  }
  return true;
}

void Worker::pointwise(const Instruction& i) {
  ValueId v = i.results[0];
  settle(v);
  const ValuePlan& out = plan_of(v);
  const Ref& to = ref(v);
  bool fits = steps_fit(out.axes, to, true);
  for (ValueId x : i.operands) fits &= steps_fit(out.axes, ref(x), false);
  DType from = plan_of(i.operands[0]).dtype;
  bool f32 = out.dtype == DType::f32;
  bool converts = i.op == Op::cast && from != out.dtype && (f32 || from == DType::f32) &&
                  from != DType::b8 && out.dtype != DType::b8;
  if (converts &&
      convert(out.axes, to, out.held, ref(i.operands[0]), plan_of(i.operands[0]).held)) {
  } else if (fits && f32 && i.op == Op::unary) {
    const Ref* refs[] = {&to, &ref(i.operands[0])};
    UnaryKernelFn kernel = table_.unary[i.function];
    blocks(out.axes, refs,
           [&](const int64_t* o, const int64_t* row, const int64_t* step, int64_t rows, int64_t n) {
             kernel({rows, n, floats(*refs[1]) + o[1], row[1], step[1], floats(to) + o[0], row[0]});
           });
  } else if (fits && f32 && i.op == Op::binary) {
    const Ref* refs[] = {&to, &ref(i.operands[0]), &ref(i.operands[1])};
    BinaryKernelFn kernel = table_.binary[i.function];
    blocks(out.axes, refs,
           [&](const int64_t* o, const int64_t* row, const int64_t* step, int64_t rows, int64_t n) {
             kernel({rows, n, floats(*refs[1]) + o[1], row[1], step[1], floats(*refs[2]) + o[2],
                     row[2], step[2], floats(to) + o[0], row[0]});
           });
  } else if (fits && from == DType::f32 && i.op == Op::binary && out.dtype == DType::b8) {
    const Ref* refs[] = {&to, &ref(i.operands[0]), &ref(i.operands[1])};
    CompareKernelFn kernel = table_.compare[i.function - int(Binary::eq)];
    blocks(out.axes, refs,
           [&](const int64_t* o, const int64_t* row, const int64_t* step, int64_t rows, int64_t n) {
             kernel({rows, n, floats(*refs[1]) + o[1], row[1], step[1], floats(*refs[2]) + o[2],
                     row[2], step[2], to.data + o[0], row[0]});
           });
  } else if (fits && i.op == Op::fma) {
    const Ref* refs[] = {&to, &ref(i.operands[0]), &ref(i.operands[1]), &ref(i.operands[2])};
    blocks(out.axes, refs,
           [&](const int64_t* o, const int64_t* row, const int64_t* step, int64_t rows, int64_t n) {
             table_.fma({rows, n, floats(*refs[1]) + o[1], row[1], step[1], floats(*refs[2]) + o[2],
                         row[2], step[2], floats(*refs[3]) + o[3], row[3], step[3],
                         floats(to) + o[0], row[0]});
           });
  } else if (fits && f32 && i.op == Op::select) {
    const Ref* refs[] = {&to, &ref(i.operands[0]), &ref(i.operands[1]), &ref(i.operands[2])};
    blocks(out.axes, refs,
           [&](const int64_t* o, const int64_t* row, const int64_t* step, int64_t rows, int64_t n) {
             table_.select({rows, n, refs[1]->data + o[1], row[1], step[1], floats(*refs[2]) + o[2],
                            row[2], step[2], floats(*refs[3]) + o[3], row[3], step[3],
                            floats(to) + o[0], row[0]});
           });
  } else if (!compare_indices(i)) {
    plain_pointwise(i);
  }
}

}  // namespace sconce::tile
