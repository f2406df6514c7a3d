// The frame: the body of a kernel instruction by instruction, its serial loops, and copies.
#include "tile/vm/worker.h"

#include <cstring>
#include <new>
#include <utility>

namespace sconce::tile {

void Worker::settle(ValueId v) {
  const ValuePlan& value = plan_of(v);
  Ref& r = ref(v);
  switch (value.home) {
    case Home::constant:
      r = {};
      r.data = const_cast<uint8_t*>(p_.constants.data()) + 8 * v;
      break;
    case Home::scratch:
      r.data = scratch_ + value.offset;
      memcpy(r.stride, value.stride, sizeof(r.stride));
      break;
    case Home::buffer:
      if (value.store != kNone) r = buffer_ref(k_.body[size_t(value.store)]);
      break;
    case Home::alias:
    case Home::folded: break;
  }
}

// Where the tile of a load or store begins in its buffer. Steps may leave the buffer; the caller
// knows that they do not, or does not take those.
Ref Worker::buffer_ref(const Instruction& i) const {
  const BufferView& shape = p_.shapes[size_t(i.buffer)];
  Ref r;
  int64_t offset = 0;
  for (size_t d = 0; d < i.index.size(); d++) {
    offset += i.index[d].offset * shape.strides[d];
    for (const Term& term : i.index[d].terms) {
      int64_t step = term.factor * shape.strides[d];
      offset += step * first_[term.axis];
      if (has_dimension(term.axis)) r.stride[term.axis] += step;
    }
  }
  r.data =
      data_[size_t(i.buffer)] + offset * int64_t(dtype_bytes(k_.buffers[size_t(i.buffer)].dtype));
  return r;
}

bool Worker::is_inside(const Instruction& i) const {
  const BufferView& shape = p_.shapes[size_t(i.buffer)];
  for (size_t d = 0; d < i.index.size(); d++) {
    int64_t low = index_base(i.index[d]), high = low;
    for (const Term& term : i.index[d].terms) {
      if (!has_dimension(term.axis)) continue;
      int64_t reach = term.factor * (length_[term.axis] - 1);
      (reach < 0 ? low : high) += reach;
    }
    if (low < 0 || high >= shape.sizes[d]) return false;
  }
  return true;
}

// Block kernels take steps of 0 and 1; others are for the plain loops.
bool Worker::steps_fit(const std::vector<AxisId>& axes, const Ref& r, bool written) const {
  for (size_t d = axes.size(); d-- > 0;)
    if (length_[axes[d]] > 1) {
      int64_t step = r.stride[axes[d]];
      return step == 1 || (step == 0 && !written);
    }
  return true;
}

// out = x, element by element, of the same dtype.
void Worker::copy(Span<const AxisId> axes, const Ref& out, const Ref& x, size_t bytes) {
  if (out.data == x.data) return;
  const Ref* refs[] = {&out, &x};
  blocks(
      axes, refs,
      [&](const int64_t* offset, const int64_t* row, const int64_t* step, int64_t rows, int64_t n) {
        // One runs along memory by n, the other by rows: a transposition.
        const bool by_rows = step[0] == 1 && step[1] != 1 && row[1] == 1,
                   by_n = step[1] == 1 && step[0] != 1 && row[0] == 1;
        if ((bytes == 4 || bytes == 1) && rows > 1 && n > 1 && (by_rows || by_n)) {
          const uint8_t* from = x.data + offset[1] * int64_t(bytes);
          uint8_t* to = out.data + offset[0] * int64_t(bytes);
          auto transpose = bytes == 4 ? table_.transpose_32 : table_.transpose_8;
          if (by_rows)
            transpose({n, rows, from, step[1], to, row[0]});
          else
            transpose({rows, n, from, row[1], to, step[0]});
          return;
        }
        for (int64_t r = 0; r < rows; r++) {
          uint8_t* to = out.data + (offset[0] + r * row[0]) * int64_t(bytes);
          const uint8_t* from = x.data + (offset[1] + r * row[1]) * int64_t(bytes);
          if (step[0] == 1 && step[1] == 1) {
            memcpy(to, from, size_t(n) * bytes);
          } else if (bytes == 4) {
            auto* t = reinterpret_cast<uint32_t*>(to);
            auto* f = reinterpret_cast<const uint32_t*>(from);
            for (int64_t i = 0; i < n; i++) t[i * step[0]] = f[i * step[1]];
          } else {
            for (int64_t i = 0; i < n; i++)
              memcpy(to + i * step[0] * int64_t(bytes), from + i * step[1] * int64_t(bytes), bytes);
          }
        }
      });
}

Result<void> Worker::run_body(size_t from, size_t to) {
  for (size_t n = from; n < to; n++) {
    if (p_.skipped[n]) continue;
    if (p_.strips_at[n] != kNone) {
      run_strips(p_.strips[size_t(p_.strips_at[n])]);
      continue;
    }
    const Instruction& i = k_.body[n];
    switch (i.op) {
      case Op::constant: settle(i.results[0]); break;
      case Op::extent:
        settle(i.results[0]);
        *reinterpret_cast<int64_t*>(ref(i.results[0]).data) = p_.extent[size_t(i.axes[0])];
        break;
      case Op::iota: {
        settle(i.results[0]);
        const Ref& r = ref(i.results[0]);
        AxisId a = i.axes[0];
        int64_t count = has_dimension(a) ? length_[a] : 1;
        for (int64_t x = 0; x < count; x++)
          reinterpret_cast<int64_t*>(r.data)[x * (has_dimension(a) ? r.stride[a] : 0)] =
              first_[a] + x;
        break;
      }
      case Op::load: TRY_VOID(load(i)); break;
      case Op::store: TRY_VOID(store(i, n)); break;
      case Op::unary:
        if (p_.powers[n].sums != kNone)
          exp_and_sum(i, p_.powers[n]);
        else
          pointwise(i);
        break;
      case Op::binary:
      case Op::fma:
      case Op::select: pointwise(i); break;
      case Op::cast:
        if (p_.roundings[n].x != kNone)
          round_to_bytes(i, p_.roundings[n]);
        else
          pointwise(i);
        break;
      case Op::reduce: reduce(i, n); break;
      case Op::dot: TRY_VOID(dot(i, n)); break;
      case Op::serial:
        TRY_VOID(run_loop(n, size_t(p_.partner[n])));
        n = size_t(p_.partner[n]);
        break;
      case Op::yield: break;
      case Op::rename:
        if (plan_of(i.results[0]).home == Home::constant)
          settle(i.results[0]);
        else
          rename(i);
        break;
    }
  }
  return {};
}

// The same elements, with another axis in place of one.
void Worker::rename(const Instruction& i) {
  Ref& r = ref(i.results[0]);
  r = ref(i.operands[0]);
  r.stride[i.axes[1]] = std::exchange(r.stride[i.axes[0]], 0);
}

// Copies values onto carried ones.
void Worker::carry(const CarryPlan& plan, const std::vector<ValueId>& from,
                   const std::vector<ValueId>& to) {
  for (size_t k = 0; k < from.size(); k++) {
    if (plan.aside[k] == CarryPlan::kNotAside) continue;
    const ValuePlan& value = plan_of(from[k]);
    memcpy(scratch_ + plan.aside[k], ref(from[k]).data,
           size_t(value.count) * computed_bytes(value.dtype));
  }
  for (size_t k = 0; k < from.size(); k++) {
    Ref source = ref(from[k]);
    if (plan.aside[k] != CarryPlan::kNotAside) source.data = scratch_ + plan.aside[k];
    settle(to[k]);
    copy(plan_of(to[k]).axes, ref(to[k]), source, computed_bytes(plan_of(to[k]).dtype));
  }
}

Result<void> Worker::run_loop(size_t begin, size_t end) {
  const Instruction &loop = k_.body[begin], &yield = k_.body[end];
  size_t a = size_t(loop.axes[0]);
  carry(p_.carries[begin], loop.operands, loop.results);
  const int64_t extent = p_.extent[a], block = k_.axes[a].block;
  for (int64_t n = 0; n * block < extent; n++) {
    first_[a] = k_.axes[a].begin(n, extent);
    length_[a] = std::min(block, extent - first_[a]);
    TRY_VOID(run_body(begin + 1, end));
    carry(p_.carries[end], yield.operands, loop.results);
  }
  first_[a] = 0;
  length_[a] = 1;
  for (size_t k = 0; k < loop.results.size(); k++)
    refs_[size_t(yield.results[k])] = refs_[size_t(loop.results[k])];
  return {};
}

}  // namespace sconce::tile
