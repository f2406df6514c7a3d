// Reductions: along rows, over rows, over windows of a buffer.
#include <algorithm>
#include <cmath>
#include <cstring>

#include "tile/functions.h"
#include "tile/vm/integers.h"
#include "tile/vm/run_taps.h"

namespace sconce::tile {

namespace {

constexpr ReduceKernel kKernels[] = {ReduceKernel::sum, ReduceKernel::prod, ReduceKernel::min,
                                     ReduceKernel::max};  // by Reduce
constexpr int64_t kRowsAtOnce = 16;                       // of which a reduction keeps its lanes
int64_t step_along(const Ref& r, AxisId a) { return a == kNone ? 0 : r.stride[a]; }
constexpr Binary kFunctions[] = {Binary::add, Binary::mul, Binary::min, Binary::max};

}  // namespace

// Calls f(axes, at, along, rows) for up to kRowsAtOnce rows along the last of some axes.
template <class F>
void Worker::each_rows(const std::vector<AxisId>& axes, F f) {
  AxisId along = p_.innermost(axes);
  int64_t all = along == kNone ? 1 : length_[along];
  Span<const AxisId> outer(axes.data(), axes.empty() ? 0 : axes.size() - 1);
  each(outer, [&](const int64_t* outer_at) {
    int64_t at[kAxesMax];
    memcpy(at, outer_at, sizeof(at));
    for (int64_t row = 0; row < all; row += kRowsAtOnce) {
      if (along != kNone) at[along] = row;
      f(Span<const AxisId>(axes.data(), axes.size()), static_cast<const int64_t*>(at), along,
        std::min(kRowsAtOnce, all - row));
    }
  });
}

void Worker::reduce(const Instruction& i, size_t n) {
  ValueId v = i.results[0], x = i.operands[0];
  settle(v);
  const ValuePlan& out = plan_of(v);
  if (plan_of(x).home == Home::folded) {
    const Instruction& window = k_.body[size_t(plan_of(x).producer)];
    if (out.dtype == DType::i32) return reduce_window_of_bytes(i, n, window);
    if (out.dtype == DType::f32) return reduce_window(i, n, window);
  }
  if (out.dtype != DType::f32) return reduce_integers(i);
  if (!reduce_rows(i) && !reduce_across_rows(i) && !reduce_gathered(i) && !reduce_in_order(i))
    reduce_plain(i);
}

// The maximum over a window of bytes.
void Worker::reduce_window_of_bytes(const Instruction& i, size_t n, const Instruction& window) {
  const std::vector<AxisId>& out = plan_of(i.results[0]).axes;
  auto* outside = reinterpret_cast<int8_t*>(scratch_ + p_.outside_offset);
  memset(outside, -128, size_t(length_[out.back()]));
  each_row_of_taps<TapsI8Block>(
      n, window, i.axes, out, ref(i.results[0]), outside,
      [&](const TapsI8Block& block, const int64_t*) { table_.max_pool_i8(block); });
}

// Over a window; what lies outside the buffer changes nothing.
void Worker::reduce_window(const Instruction& i, size_t n, const Instruction& window) {
  const std::vector<AxisId>& out = plan_of(i.results[0]).axes;
  const Ref& to = ref(i.results[0]);
  const float identity = identity_of(kKernels[i.function]);
  auto f = Reduce(i.function);
  if (f == Reduce::max || f == Reduce::sum) {
    auto* outside = reinterpret_cast<float*>(scratch_ + p_.outside_offset);
    std::fill_n(outside, out.empty() ? 0 : length_[out.back()], identity);
    std::fill_n(outside + p_.zeros, out.size() < 2 ? 1 : length_[out.end()[-2]], 1.f);
    PoolBlock call;
    call.divisor = outside + p_.zeros;
    if (each_row_of_taps<TapsBlock>(
            n, window, i.axes, out, to, outside, [&](const TapsBlock& block, const int64_t*) {
              call.taps = block;
              (f == Reduce::max ? table_.max_pool : table_.average_pool)(call);
            }))
      return;
  }
  fill(out, to, identity);
  Ref from = buffer_ref(window);
  each_tap(window, i.axes, out, [&](const int64_t* tap) {
    Ref part = from, part_to = to;
    for (AxisId a : i.axes) part.data += tap[a] * from.stride[a] * 4;
    for (AxisId a : out) {
      part.data += begin_[a] * from.stride[a] * 4;
      part_to.data += begin_[a] * to.stride[a] * 4;
    }
    accumulate(out, kFunctions[i.function], part_to, part);
  });
}

// Rows along the innermost axis, taken in pieces; pieces must be whole lanes but for the last.
// False when that is not how the operand lies.
bool Worker::reduce_rows(const Instruction& i) {
  const ValuePlan& out = plan_of(i.results[0]);
  const Ref &to = ref(i.results[0]), &from = ref(i.operands[0]);
  AxisId inner = p_.innermost(plan_of(i.operands[0]).axes);
  if (i.axes.empty() || i.axes.back() != inner || from.stride[inner] != 1 ||
      (!i.lanes && (Reduce(i.function) == Reduce::sum || Reduce(i.function) == Reduce::prod)))
    return false;
  bool whole = i.axes.size() == 1 || !i.lanes || length_[inner] % 16 == 0;
  int64_t run = length_[inner];
  size_t joined = i.axes.size() - 1;
  while (joined > 0 && from.stride[i.axes[joined - 1]] == run) {
    run *= length_[i.axes[joined - 1]];
    joined--;
  }
  if (joined > 0 && !whole && run % 16 != 0) return false;
  const ReduceKernel kernel = kKernels[i.function];
  Span<const AxisId> outer(i.axes.data(), joined);
  each_rows(out.axes, [&](Span<const AxisId> axes, const int64_t* at, AxisId along, int64_t rows) {
    float lanes[kRowsAtOnce * 16];
    std::fill_n(lanes, rows * 16, identity_of(kernel));
    const float* row = floats(from) + offset_at(from, axes, at);
    each(outer, [&](const int64_t* piece) {
      table_.reduce[int(kernel)]({rows, run, row + offset_at(from, outer, piece),
                                  step_along(from, along), nullptr, 0, nullptr, 0, lanes});
    });
    table_.combine[int(kernel)](rows, lanes, floats(to) + offset_at(to, axes, at),
                                step_along(to, along));
  });
  return true;
}

// By lanes, of elements that lie in any other way: those of a row are brought together first.
bool Worker::reduce_gathered(const Instruction& i) {
  if (!i.lanes || i.axes.empty()) return false;
  constexpr int64_t kTogether = 512;  // a multiple of the lanes
  const Ref &to = ref(i.results[0]), &from = ref(i.operands[0]);
  const ReduceKernel kernel = kKernels[i.function];
  const std::vector<AxisId>& out = plan_of(i.results[0]).axes;
  const AxisId inner = i.axes.back();
  const int64_t step = from.stride[inner], length = length_[inner];
  const Span<const AxisId> outer(i.axes.data(), i.axes.size() - 1);
  each(out, [&](const int64_t* at) {
    float lanes[16], together[kTogether];
    std::fill_n(lanes, 16, identity_of(kernel));
    int64_t count = 0;
    auto reduce_them = [&] {
      table_.reduce[int(kernel)]({1, count, together, 0, nullptr, 0, nullptr, 0, lanes});
      count = 0;
    };
    const float* row = floats(from) + offset_at(from, out, at);
    each(outer, [&](const int64_t* piece) {
      const float* x = row + offset_at(from, outer, piece);
      for (int64_t k = 0; k < length;) {
        const int64_t n = std::min(length - k, kTogether - count);
        for (int64_t j = 0; j < n; j++) together[count + j] = x[(k + j) * step];
        k += n;
        count += n;
        if (count == kTogether) reduce_them();
      }
    });
    reduce_them();
    table_.combine[int(kernel)](1, lanes, floats(to) + offset_at(to, out, at), 1);
  });
  return true;
}

// e^(x - center) along rows, and its sums.
void Worker::exp_and_sum(const Instruction& i, const PowersPlan& plan) {
  ValueId v = i.results[0];
  settle(v);
  settle(plan.sums);
  const Ref &x = ref(plan.x), &center = ref(plan.center), &to = ref(v), &sums = ref(plan.sums);
  int64_t length = length_[plan_of(v).axes.back()];
  each_rows(plan_of(plan.sums).axes,
            [&](Span<const AxisId> axes, const int64_t* at, AxisId along, int64_t rows) {
              float lanes[kRowsAtOnce * 16];
              std::fill_n(lanes, rows * 16, identity_of(ReduceKernel::exp_sum));
              table_.reduce[int(ReduceKernel::exp_sum)](
                  {rows, length, floats(x) + offset_at(x, axes, at), step_along(x, along),
                   floats(center) + offset_at(center, axes, at), step_along(center, along),
                   floats(to) + offset_at(to, axes, at), step_along(to, along), lanes});
              table_.combine[int(ReduceKernel::exp_sum)](
                  rows, lanes, floats(sums) + offset_at(sums, axes, at), step_along(sums, along));
            });
}

// Over other axes than the innermost one: whole rows at a time. False when it is among them.
bool Worker::reduce_across_rows(const Instruction& i) {
  const std::vector<AxisId>& out = plan_of(i.results[0]).axes;
  const Ref &to = ref(i.results[0]), &from = ref(i.operands[0]);
  AxisId inner = p_.innermost(plan_of(i.operands[0]).axes);
  bool along = std::find(i.axes.begin(), i.axes.end(), inner) != i.axes.end();
  if (along || i.lanes) return false;
  fill(out, to, identity_of(kKernels[i.function]));
  each(i.axes, [&](const int64_t* at) {
    Ref part = from;
    part.data += offset_at(from, i.axes, at) * 4;
    accumulate(out, kFunctions[i.function], to, part);
  });
  return true;
}

// Sums and products of numbers along rows, in order: eight rows at a time, since each element waits
// for the one before it. False for others.
bool Worker::reduce_in_order(const Instruction& i) {
  const ValuePlan &out = plan_of(i.results[0]), &in = plan_of(i.operands[0]);
  const auto f = Reduce(i.function);
  if (in.dtype != DType::f32 || i.lanes || i.axes.empty() ||
      (f != Reduce::sum && f != Reduce::prod))
    return false;
  constexpr int64_t kTogether = 8;
  const Ref &to = ref(i.results[0]), &from = ref(i.operands[0]);
  const AxisId inner = i.axes.back();
  const int64_t step = from.stride[inner], length = length_[inner];
  const Span<const AxisId> outer(i.axes.data(), i.axes.size() - 1);
  each_rows(out.axes, [&](Span<const AxisId> axes, const int64_t* at, AxisId along, int64_t rows) {
    const float* first = floats(from) + offset_at(from, axes, at);
    float* results = floats(to) + offset_at(to, axes, at);
    const int64_t from_row = step_along(from, along), to_row = step_along(to, along);
    for (int64_t row = 0; row < rows; row += kTogether) {
      const int64_t count = std::min(kTogether, rows - row);
      float sums[kTogether];
      std::fill_n(sums, kTogether, identity_of(kKernels[i.function]));
      auto add_piece = [&](auto add, auto known) {
        each(outer, [&](const int64_t* piece) {
          const float* x = first + row * from_row + offset_at(from, outer, piece);
          for (int64_t k = 0; k < length; k++)
            for (int64_t r = 0; r < (known ? kTogether : count); r++)
              sums[r] = add(sums[r], x[r * from_row + k * step]);
        });
      };
      auto add_all = [&](auto add) {
        count == kTogether ? add_piece(add, std::true_type()) : add_piece(add, std::false_type());
      };
      if (f == Reduce::sum)
        add_all([](float sum, float x) { return sum + x; });
      else
        add_all([](float product, float x) { return product * x; });
      for (int64_t r = 0; r < count; r++) results[(row + r) * to_row] = sums[r];
    }
  });
  return true;
}

// Integers: whole rows, or by lanes along rows, in any order, since that changes nothing.
void Worker::reduce_integers(const Instruction& i) {
  constexpr int64_t kPiece = 256;
  int64_t sums[kPiece], x[kPiece];
  const ValuePlan &out = plan_of(i.results[0]), &in = plan_of(i.operands[0]);
  const Ref &to = ref(i.results[0]), &from = ref(i.operands[0]);
  const auto f = Reduce(i.function);
  const bool is_i32 = in.dtype == DType::i32;
  const int64_t none = f == Reduce::sum    ? 0
                       : f == Reduce::prod ? 1
                       : f == Reduce::max  ? (is_i32 ? INT32_MIN : INT64_MIN)
                                           : (is_i32 ? INT32_MAX : INT64_MAX);
  auto add = [&](int64_t n, const int64_t* more) {
    apply_integers(kFunctions[i.function], n, sums, more, in.dtype);
  };
  const AxisId inner = p_.innermost(in.axes);
  if (std::find(i.axes.begin(), i.axes.end(), inner) == i.axes.end()) {
    const Ref* refs[] = {&to, &from};
    return blocks(
        out.axes, refs,
        [&](const int64_t* o, const int64_t* row, const int64_t* step, int64_t rows, int64_t n) {
          for (int64_t r = 0; r < rows; r++)
            for (int64_t first = 0; first < n; first += kPiece) {
              const int64_t count = std::min(kPiece, n - first);
              const int64_t place = o[1] + r * row[1] + first * step[1];
              std::fill_n(sums, count, none);
              each(i.axes, [&](const int64_t* at) {
                read_integers(from, in.held, place + offset_at(from, i.axes, at), step[1], count,
                              x);
                add(count, x);
              });
              write_integers(to, out.held, o[0] + r * row[0] + first * step[0], step[0], count,
                             sums);
            }
        });
  }
  const Span<const AxisId> outer(i.axes.data(), i.axes.size() - 1);
  const AxisId along = i.axes.back();
  each(out.axes, [&](const int64_t* at) {
    const int64_t base = offset_at(from, out.axes, at);
    std::fill_n(sums, kPiece, none);
    each(outer, [&](const int64_t* piece) {
      const int64_t place = base + offset_at(from, outer, piece), step = from.stride[along];
      for (int64_t k = 0; k < length_[along]; k += kPiece) {
        const int64_t count = std::min(kPiece, length_[along] - k);
        read_integers(from, in.held, place + k * step, step, count, x);
        add(count, x);
      }
    });
    for (int64_t half = kPiece / 2; half > 0; half /= 2) add(half, sums + half);
    write_integers(to, out.held, offset_at(to, out.axes, at), 1, 1, sums);
  });
}

// Numbers, element by element.
void Worker::reduce_plain(const Instruction& i) {
  const ValuePlan& out = plan_of(i.results[0]);
  const Ref &to = ref(i.results[0]), &from = ref(i.operands[0]);
  const float none = identity_of(kKernels[i.function]);
  each(out.axes, [&](const int64_t* at) {
    const int64_t base = offset_at(from, out.axes, at);
    int64_t k = 0;
    float lanes[16];
    std::fill_n(lanes, 16, none);
    each(i.axes, [&](const int64_t* inner) {
      float& lane = lanes[i.lanes ? k++ % 16 : 0];
      lane =
          apply(kFunctions[i.function], lane, floats(from)[base + offset_at(from, i.axes, inner)]);
    });
    if (i.lanes)
      for (int half = 8; half > 0; half /= 2)
        for (int l = 0; l < half; l++) lanes[l] += lanes[l + half];
    floats(to)[offset_at(to, out.axes, at)] = lanes[0];
  });
}

void Worker::fill(const std::vector<AxisId>& axes, const Ref& out, float x) {
  const Ref* refs[] = {&out};
  blocks(axes, refs,
         [&](const int64_t* o, const int64_t* row, const int64_t* step, int64_t rows, int64_t n) {
           for (int64_t r = 0; r < rows; r++)
             for (int64_t c = 0; c < n; c++) floats(out)[o[0] + r * row[0] + c * step[0]] = x;
         });
}

// to = f(to, x)
void Worker::accumulate(const std::vector<AxisId>& axes, Binary f, const Ref& to, const Ref& x) {
  const Ref* refs[] = {&to, &x};
  unit_blocks(
      axes, refs,
      [&](const int64_t* o, const int64_t* row, const int64_t* step, int64_t rows, int64_t n) {
        table_.binary[int(f)]({rows, n, floats(to) + o[0], row[0], 1, floats(x) + o[1], row[1],
                               step[1], floats(to) + o[0], row[0]});
      });
}

}  // namespace sconce::tile
