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
  blocks(plan_of(i.results[0]).axes, refs,
         [&](const int64_t* o, const int64_t* row, const int64_t* step, int64_t rows, int64_t n) {
           call.x = floats(x) + o[1];
           call.out = to.data + o[0];
           call.x_row = row[1];
           call.out_row = row[0];
           call.rows = rows;
           call.n = n;
           if (n == 1 || (step[0] == 1 && step[1] == 1)) return table_.quantize_i8(call);
           call.rows = call.n = 1;
           for (int64_t r = 0; r < rows; r++)
             for (int64_t c = 0; c < n; c++) {
               call.x = floats(x) + o[1] + r * row[1] + c * step[1];
               call.out = to.data + o[0] + r * row[0] + c * step[0];
               table_.quantize_i8(call);
             }
         });
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
  } else {
    plain_pointwise(i);
  }
}

}  // namespace sconce::tile
