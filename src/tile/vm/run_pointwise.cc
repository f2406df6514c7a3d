// Pointwise instructions: a block kernel where memory lies as it wants it, else by element.
#include <algorithm>

#include "tile/functions.h"
#include "tile/vm/integers.h"
#include "tile/vm/worker.h"

namespace sconce::tile {

namespace {

constexpr int64_t kPiece = 256;
// Some elements of a row: of f32, or of any integer type.
struct Piece {
  alignas(64) union {
    float numbers[kPiece];
    int64_t whole[kPiece];
  };
};

}  // namespace

// Pointwise instructions whose block kernels do not fit, of integers or in any order: pieces of
// rows, brought together first.
void Worker::plain_pointwise(const Instruction& i) {
  const ValuePlan& out = plan_of(i.results[0]);
  const Ref& to = ref(i.results[0]);
  const Ref* refs[] = {&to, &to, &to, &to};
  for (size_t k = 0; k < i.operands.size(); k++) refs[k + 1] = &ref(i.operands[k]);
  auto is_float = [&](size_t k) { return plan_of(i.operands[k]).dtype == DType::f32; };
  Piece piece[3], result;
  uint8_t flags[kPiece];
  auto flags_of = [&](const int64_t* whole, int64_t n) {
    for (int64_t k = 0; k < n; k++) flags[k] = whole[k] != 0;
    return flags;
  };
  const float *a = piece[0].numbers, *b = piece[1].numbers, *c = piece[2].numbers;
  auto make_numbers = [&](int64_t n) {
    float* y = result.numbers;
    switch (i.op) {
      case Op::unary: return table_.unary[i.function]({1, n, a, 0, 1, y, 0});
      case Op::binary: return table_.binary[i.function]({1, n, a, 0, 1, b, 0, 1, y, 0});
      case Op::fma: return table_.fma({1, n, a, 0, 1, b, 0, 1, c, 0, 1, y, 0});
      case Op::select:
        return table_.select({1, n, flags_of(piece[0].whole, n), 0, 1, b, 0, 1, c, 0, 1, y, 0});
      default:
        for (int64_t k = 0; k < n; k++) y[k] = is_float(0) ? a[k] : float(piece[0].whole[k]);
    }
  };
  auto make_integers = [&](int64_t n) {
    const int64_t *x = piece[0].whole, *y = piece[1].whole, *z = piece[2].whole;
    int64_t* made = result.whole;
    const auto function = Binary(i.function);
    if (!is_float(0)) std::copy_n(x, n, made);
    switch (i.op) {
      case Op::unary: return apply_integers(Unary(i.function), n, made, out.dtype);
      case Op::binary:
        if (!is_float(0)) return apply_integers(function, n, made, y, out.dtype);
        table_.compare[int(function) - int(Binary::eq)]({1, n, a, 0, 1, b, 0, 1, flags, 0});
        return (void)std::copy_n(flags, n, made);
      case Op::select:
        for (int64_t k = 0; k < n; k++) made[k] = x[k] ? y[k] : z[k];
        return;
      default:  // write_integers() makes what is not 0 of a b8 1
        for (int64_t k = 0; k < n && is_float(0); k++) made[k] = float_to_integer(a[k], out.dtype);
    }
  };
  blocks(out.axes, refs,
         [&](const int64_t* o, const int64_t* row, const int64_t* step, int64_t rows, int64_t n) {
           for (int64_t r = 0; r < rows; r++)
             for (int64_t first = 0; first < n; first += kPiece) {
               const int64_t count = std::min(kPiece, n - first);
               auto place = [&](size_t k) { return o[k] + r * row[k] + first * step[k]; };
               for (size_t k = 0; k < i.operands.size(); k++) {
                 const Ref& from = *refs[k + 1];
                 if (!is_float(k))
                   read_integers(from, plan_of(i.operands[k]).held, place(k + 1), step[k + 1],
                                 count, piece[k].whole);
                 else
                   for (int64_t x = 0; x < count; x++)
                     piece[k].numbers[x] = floats(from)[place(k + 1) + x * step[k + 1]];
               }
               if (out.dtype != DType::f32) {
                 make_integers(count);
                 write_integers(to, out.held, place(0), step[0], count, result.whole);
                 continue;
               }
               make_numbers(count);
               for (int64_t x = 0; x < count; x++)
                 floats(to)[place(0) + x * step[0]] = result.numbers[x];
             }
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
