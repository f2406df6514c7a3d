// Recurrent layers (lstm, gru, plain rnn), whole: layers, directions and steps in one kernel; and
// their steps in one direction alone (cell.h).
//
// Per layer and direction the parameters are w_ih, w_hh, then b_ih, b_hh with biases, then w_hr for an
// lstm with projection. State and outputs between layers are kept in scratch in the compute type.
#include <cmath>
#include <cstring>

#include "ops/linear/gemm.h"
#include "ops/rnn/cell.h"

namespace sconce {
namespace {

// Arguments: input, hx (lstm: list of h and c), params, has_biases, num_layers, dropout, train,
// bidirectional, batch_first.
struct Sizes {
  int64_t steps, batch, features, hidden, out;  // out: hidden, or the size of the projection
  int64_t layers;
  int directions, params;  // params of one layer and direction
  bool biases, batch_first;
};

const Tensor* state_argument(const Args& args, Cell cell, int k) {
  return cell == Cell::lstm ? args.list_tensor(1, k) : &args.tensor(1);
}

Status check_sizes(const char* what, const char* name, int index, const Tensor& tensor, int rank,
                   int64_t a, int64_t b, int64_t c, Diagnostic* diagnostic) {
  int64_t wanted[3] = {a, b, c};
  bool fits = tensor.rank == rank;
  for (int i = 0; fits && i < rank; i++) fits = tensor.sizes[i] == wanted[i];
  if (fits) return kOk;
  return SCONCE_FAIL(Code::invalid_argument, diagnostic,
                     "%s: %s %d has rank %d and sizes [%d, %d], rank %d and [%lld, %lld] wanted", what,
                     name, index, tensor.rank, tensor.rank > 0 ? int(tensor.sizes[0]) : 0,
                     tensor.rank > 1 ? int(tensor.sizes[1]) : 0, rank, (long long)a,
                     (long long)(rank > 1 ? b : 0));
}

Status read_sizes(Cell cell, const Args& args, Sizes* sizes, Diagnostic* diagnostic) {
  const char* what = name_of(cell);
  Sizes& s = *sizes;
  const Tensor& x = args.tensor(0);
  if (cell == Cell::lstm && (args.list_count(1) != 2 || !args.list_tensor(1, 0) || !args.list_tensor(1, 1)))
    return SCONCE_FAIL(Code::invalid_argument, diagnostic, "lstm: %d states, 2 wanted",
                       args.list_count(1));
  SCONCE_TRY_STATUS(check_floating_dtype(what, x.dtype, diagnostic));
  const Tensor& h = *state_argument(args, cell, 0);
  if (x.rank != 3 || h.rank != 3)
    return SCONCE_FAIL(Code::invalid_argument, diagnostic,
                       "%s: input of rank %d, state of rank %d; 3 wanted", what, x.rank, h.rank);
  s.biases = args.boolean(3);
  s.layers = args.integer(4);
  s.directions = args.boolean(7) ? 2 : 1;
  s.batch_first = args.boolean(8);
  if (args.floating(5) != 0 && args.boolean(6))
    return SCONCE_FAIL(Code::unsupported, diagnostic, "%s: dropout; export the model in eval mode",
                       what);
  int count = args.list_count(2);
  if (s.layers < 1 || s.layers > count)
    return SCONCE_FAIL(Code::invalid_argument, diagnostic, "%s: %lld layers, %d parameters", what,
                       (long long)s.layers, count);
  s.params = int(count / (s.layers * s.directions));
  int least = s.biases ? 4 : 2;
  bool projected = s.params == least + 1 && cell == Cell::lstm;
  if (s.params * s.layers * s.directions != count || (s.params != least && !projected))
    return SCONCE_FAIL(Code::invalid_argument, diagnostic,
                       "%s: %d parameters for %lld layers in %d directions, %lld wanted", what, count,
                       (long long)s.layers, s.directions,
                       (long long)(least * s.layers * s.directions));
  s.steps = x.sizes[s.batch_first ? 1 : 0];
  s.batch = x.sizes[s.batch_first ? 0 : 1];
  s.features = x.sizes[2];
  for (int i = 0; i < count; i++) {
    if (!args.list_tensor(2, i))
      return SCONCE_FAIL(Code::invalid_argument, diagnostic, "%s: parameter %d is absent", what, i);
    SCONCE_TRY_STATUS(check_same_dtype(what, *args.list_tensor(2, i), x, diagnostic));
  }
  const Tensor& first = *args.list_tensor(2, 1);  // w_hh of the first layer
  if (first.rank != 2)
    return SCONCE_FAIL(Code::invalid_argument, diagnostic, "%s: parameter 1 has rank %d, 2 wanted",
                       what, first.rank);
  s.hidden = first.sizes[0] / gates_of(cell);
  s.out = first.sizes[1];
  int64_t gates = s.hidden * gates_of(cell);
  for (int64_t layer = 0; layer < s.layers; layer++)
    for (int d = 0; d < s.directions; d++) {
      int at = int(layer * s.directions + d) * s.params;
      int64_t in = layer == 0 ? s.features : s.out * s.directions;
      auto param = [&](int i) -> const Tensor& { return *args.list_tensor(2, at + i); };
      SCONCE_TRY_STATUS(check_sizes(what, "parameter", at, param(0), 2, gates, in, 0, diagnostic));
      SCONCE_TRY_STATUS(
          check_sizes(what, "parameter", at + 1, param(1), 2, gates, s.out, 0, diagnostic));
      for (int i = 2; i < least; i++)
        SCONCE_TRY_STATUS(
            check_sizes(what, "parameter", at + i, param(i), 1, gates, 0, 0, diagnostic));
      if (projected)
        SCONCE_TRY_STATUS(check_sizes(what, "parameter", at + least, param(least), 2, s.out, s.hidden,
                                      0, diagnostic));
    }
  if (!projected && s.out != s.hidden)
    return SCONCE_FAIL(Code::invalid_argument, diagnostic,
                       "%s: recurrent weight is [%d, %d], [%lld, %lld] wanted", what,
                       int(first.sizes[0]), int(first.sizes[1]), (long long)gates,
                       (long long)s.hidden);
  for (int k = 0; k < (cell == Cell::lstm ? 2 : 1); k++) {
    const Tensor& state = *state_argument(args, cell, k);
    SCONCE_TRY_STATUS(check_same_dtype(what, state, x, diagnostic));
    SCONCE_TRY_STATUS(check_sizes(what, "state", k, state, 3, s.layers * s.directions, s.batch,
                                  k == 0 ? s.out : s.hidden, diagnostic));
  }
  return kOk;
}

template <Cell cell>
Status shape(const Args& args, Span<OutMeta> outs, Diagnostic* diagnostic) {
  Sizes s;
  SCONCE_TRY_STATUS(read_sizes(cell, args, &s, diagnostic));
  set_like(outs[0], args.tensor(0));
  outs[0].sizes[2] = s.out * s.directions;
  set_like(outs[1], *state_argument(args, cell, 0));
  if (cell == Cell::lstm) set_like(outs[2], *args.list_tensor(1, 1));
  return kOk;
}

// Scratch, in elements of the compute type.
struct Layout {
  uint64_t gates, recurrent, h, full, c, between[2], total;
  uint64_t gemm_bytes;
};
Layout layout_of(Cell cell, const Sizes& s, Compute compute) {
  Layout l{};
  uint64_t batch = uint64_t(s.batch), gates = batch * uint64_t(s.hidden) * uint64_t(gates_of(cell));
  uint64_t between = s.layers > 1 ? uint64_t(s.steps) * batch * uint64_t(s.out * s.directions) : 0;
  uint64_t at = 0;
  auto take = [&](uint64_t count) { uint64_t start = at; at += align_up(count, 4); return start; };
  l.gates = take(gates);
  l.recurrent = take(gates);
  l.h = take(batch * uint64_t(s.out));
  l.full = take(batch * uint64_t(s.hidden));
  l.c = take(batch * uint64_t(s.hidden));
  l.between[0] = take(between);
  l.between[1] = take(s.layers > 2 ? between : 0);
  l.total = at;
  int64_t in = s.features > s.out * s.directions ? s.features : s.out * s.directions;
  int64_t depth = in > s.hidden ? in : s.hidden, width = s.hidden * gates_of(cell);
  l.gemm_bytes = align_up(gemm_scratch_bytes(compute, s.batch, width > s.out ? width : s.out, depth), 16);
  return l;
}

uint64_t bytes_of(Cell cell, const Sizes& s, DType dtype) {
  Compute compute = compute_of(dtype);
  Layout layout = layout_of(cell, s, compute);
  return layout.gemm_bytes + layout.total * compute_bytes(compute);
}

template <Cell cell>
uint64_t scratch_bytes(const Args& args) {
  Sizes s;
  bool known = read_sizes(cell, args, &s, nullptr).ok();
  return known ? bytes_of(cell, s, args.tensor(0).dtype) : 0;
}

template <class T>
T sigmoid(T x) { return T(1) / (T(1) + std::exp(-x)); }

// gates: x's part with biases; recurrent: h's part (gru: with its bias). Writes the new h, c.
template <Cell cell, class T>
void step_cell(const T* gates, const T* recurrent, T* h, T* c, int64_t hidden) {
  for (int64_t i = 0; i < hidden; i++) {
    if constexpr (cell == Cell::lstm) {
      T in = sigmoid(gates[i] + recurrent[i]);
      T forget = sigmoid(gates[hidden + i] + recurrent[hidden + i]);
      T value = std::tanh(gates[2 * hidden + i] + recurrent[2 * hidden + i]);
      T out = sigmoid(gates[3 * hidden + i] + recurrent[3 * hidden + i]);
      c[i] = forget * c[i] + in * value;
      h[i] = out * std::tanh(c[i]);
    } else if constexpr (cell == Cell::gru) {
      T reset = sigmoid(gates[i] + recurrent[i]);
      T keep = sigmoid(gates[hidden + i] + recurrent[hidden + i]);
      T value = std::tanh(gates[2 * hidden + i] + reset * recurrent[2 * hidden + i]);
      h[i] = (h[i] - value) * keep + value;
    } else {
      T x = gates[i] + recurrent[i];
      h[i] = cell == Cell::tanh ? std::tanh(x) : x < T(0) ? T(0) : x;
    }
  }
}

template <class T>
void load_row(T* to, const Tensor& tensor, int64_t offset, int64_t stride, int64_t count) {
  for (int64_t done = 0; done < count; done += kBlockCount)
    load_elements<T>(to + done,
                     tensor.as<char>() + (offset + done * stride) * int64_t(dtype_bytes(tensor.dtype)),
                     stride, int(count - done < kBlockCount ? count - done : kBlockCount),
                     tensor.dtype);
}
template <class T>
void store_row(const Tensor& tensor, int64_t offset, int64_t stride, const T* from, int64_t count) {
  for (int64_t done = 0; done < count; done += kBlockCount)
    store_elements<T>(tensor.as<char>() + (offset + done * stride) * int64_t(dtype_bytes(tensor.dtype)),
                      stride, from + done,
                      int(count - done < kBlockCount ? count - done : kBlockCount), tensor.dtype);
}

// y[batch, n] = x . w^T + bias, y contiguous in the compute type.
void multiply(Compute compute, const Matrix& x, int64_t batch, int64_t depth, const Tensor& weight,
              const Tensor* bias, void* y, uint8_t* scratch) {
  Strides ws = strides_of(weight);
  Gemm g;
  g.m = batch;
  g.n = weight.sizes[0];
  g.k = depth;
  g.a = x;
  g.b = {weight.data, weight.dtype, ws[1], ws[0]};
  if (bias) g.added = {bias->data, bias->dtype, 0, 1};
  g.out = y;
  g.out_dtype = dtype_of(compute);
  g.out_row_stride = g.n;
  g.out_column_stride = 1;
  gemm(g, compute, scratch);
}

// What steps work on: the memory of a layer in one direction, and its weights.
template <class T>
struct Steps {
  T *gates, *recurrent, *state, *full, *c, *memory;
  uint8_t* scratch;  // of products
  const Tensor *w_hh, *b_hh, *w_hr;  // the last two may be null
};
template <class T>
Steps<T> steps_in(const Layout& layout, uint8_t* scratch) {
  T* memory = reinterpret_cast<T*>(scratch + layout.gemm_bytes);
  return {memory + layout.gates, memory + layout.recurrent, memory + layout.h, memory + layout.full,
          memory + layout.c, memory, scratch, nullptr, nullptr, nullptr};
}

// The states of a layer and direction, from `h` and `c` at this index of their first dimension.
template <Cell cell, class T>
void load_states(const Steps<T>& steps, const Sizes& s, const Tensor& h, const Tensor* c, int64_t at) {
  for (int64_t b = 0; b < s.batch; b++) {
    Strides hs = strides_of(h);
    load_row(steps.state + b * s.out, h, at * hs[0] + b * hs[1], hs[2], s.out);
    if (cell != Cell::lstm) continue;
    Strides cs = strides_of(*c);
    load_row(steps.c + b * s.hidden, *c, at * cs[0] + b * cs[1], cs[2], s.hidden);
  }
}
template <Cell cell, class T>
void store_states(const Steps<T>& steps, const Sizes& s, const Args& args, int64_t at) {
  for (int64_t b = 0; b < s.batch; b++) {
    Strides hs = strides_of(args.out(1));
    store_row(args.out(1), at * hs[0] + b * hs[1], hs[2], steps.state + b * s.out, s.out);
    if (cell != Cell::lstm) continue;
    Strides cs = strides_of(args.out(2));
    store_row(args.out(2), at * cs[0] + b * cs[1], cs[2], steps.c + b * s.hidden, s.hidden);
  }
}

// load(step) fills the gates with x's part, store(step) takes the state away.
template <Cell cell, class T, class Load, class Store>
void run_steps(const Steps<T>& steps, const Sizes& s, bool reverse, Load load, Store store) {
  constexpr Compute compute = sizeof(T) == 4 ? Compute::f32 : Compute::f64;
  constexpr int count = gates_of(cell);
  for (int64_t i = 0; i < s.steps; i++) {
    int64_t step = reverse ? s.steps - 1 - i : i;
    load(step);
    multiply(compute, {steps.state, dtype_of(compute), s.out, 1}, s.batch, s.out, *steps.w_hh,
             steps.b_hh, steps.recurrent, steps.scratch);
    for (int64_t b = 0; b < s.batch; b++)
      step_cell<cell>(steps.gates + b * s.hidden * count, steps.recurrent + b * s.hidden * count,
                      (steps.w_hr ? steps.full : steps.state) + b * s.hidden,
                      steps.c + b * s.hidden, s.hidden);
    if (steps.w_hr)
      multiply(compute, {steps.full, dtype_of(compute), s.hidden, 1}, s.batch, s.hidden,
               *steps.w_hr, nullptr, steps.state, steps.scratch);
    store(step);
  }
}

template <Cell cell, class T>
void run_typed(const Args& args, const Sizes& s, uint8_t* scratch) {
  constexpr Compute compute = sizeof(T) == 4 ? Compute::f32 : Compute::f64;
  Layout layout = layout_of(cell, s, compute);
  Steps<T> steps = steps_in<T>(layout, scratch);
  const Tensor& x = args.tensor(0);
  Tensor& out = args.out(0);
  Strides xs = strides_of(x), os = strides_of(out);
  int step_dim = s.batch_first ? 1 : 0, batch_dim = 1 - step_dim;
  int64_t width = s.out * s.directions;
  bool projected = s.params % 2 == 1;
  for (int64_t layer = 0; layer < s.layers; layer++) {
    bool first = layer == 0, last = layer == s.layers - 1;
    const T* previous = steps.memory + layout.between[(layer + 1) % 2];
    T* between = steps.memory + layout.between[layer % 2];
    for (int d = 0; d < s.directions; d++) {
      int64_t at = layer * s.directions + d;
      auto param = [&](int i) { return args.list_tensor(2, int(at) * s.params + i); };
      steps.w_hh = param(1);
      steps.b_hh = s.biases ? param(3) : nullptr;
      steps.w_hr = projected ? param(s.params - 1) : nullptr;
      load_states<cell>(steps, s, *state_argument(args, cell, 0),
                        cell == Cell::lstm ? state_argument(args, cell, 1) : nullptr, at);
      auto load = [&](int64_t step) {
        Matrix input;
        if (first)
          input = {x.as<char>() + step * xs[step_dim] * int64_t(dtype_bytes(x.dtype)), x.dtype,
                   xs[batch_dim], xs[2]};
        else input = {previous + step * s.batch * width, dtype_of(compute), width, 1};
        multiply(compute, input, s.batch, first ? s.features : width, *param(0),
                 s.biases ? param(2) : nullptr, steps.gates, scratch);
      };
      auto store = [&](int64_t step) {
        for (int64_t b = 0; b < s.batch; b++) {
          if (last)
            store_row(out, step * os[step_dim] + b * os[batch_dim] + d * s.out * os[2], os[2],
                      steps.state + b * s.out, s.out);
          else
            memcpy(between + (step * s.batch + b) * width + d * s.out, steps.state + b * s.out,
                   sizeof(T) * size_t(s.out));
        }
      };
      run_steps<cell>(steps, s, d == 1, load, store);
      store_states<cell>(steps, s, args, at);
    }
  }
}

template <Cell cell>
Status run(const Args& args, KernelContext& context) {
  Sizes s;
  SCONCE_TRY_STATUS(read_sizes(cell, args, &s, context.diagnostic));
  DType dtype = args.tensor(0).dtype;
  for (int k = 0; k < args.out_count(); k++)
    SCONCE_TRY_STATUS(check_out_dtype(args.out(k), dtype, context.diagnostic));
  if (dtype == DType::f64) run_typed<cell, double>(args, s, context.scratch.data());
  else run_typed<cell, float>(args, s, context.scratch.data());
  return kOk;
}

// --- a layer in one direction (cell.h)

Status read_layer_sizes(Cell cell, const Args& args, Sizes* sizes, Diagnostic* diagnostic) {
  const char* what = name_of(cell);
  const LayerArguments at = layer_arguments(cell);
  Sizes& s = *sizes;
  const Tensor &gates = args.tensor(0), &w_hh = args.tensor(at.w_hh);
  SCONCE_TRY_STATUS(check_floating_dtype(what, gates.dtype, diagnostic));
  if (gates.rank != 3 || w_hh.rank != 2)
    return SCONCE_FAIL(Code::invalid_argument, diagnostic,
                       "%s: gates of rank %d, recurrent weight of rank %d; 3 and 2 wanted", what,
                       gates.rank, w_hh.rank);
  s = {};
  s.layers = s.directions = 1;
  s.batch_first = args.boolean(at.batch_first);
  s.steps = gates.sizes[s.batch_first ? 1 : 0];
  s.batch = gates.sizes[s.batch_first ? 0 : 1];
  s.hidden = w_hh.sizes[0] / gates_of(cell);
  s.out = w_hh.sizes[1];
  const int64_t rows = s.hidden * gates_of(cell);
  const Tensor* extra = at.extra < 0 ? nullptr : args.find_tensor(at.extra);
  const bool projected = cell == Cell::lstm && extra;
  SCONCE_TRY_STATUS(check_sizes(what, "recurrent weight", 0, w_hh, 2, rows,
                                projected ? s.out : s.hidden, 0, diagnostic));
  SCONCE_TRY_STATUS(check_sizes(what, "gates", 0, gates, 3, s.batch_first ? s.batch : s.steps,
                                s.batch_first ? s.steps : s.batch, rows, diagnostic));
  if (projected)
    SCONCE_TRY_STATUS(
        check_sizes(what, "projection", 0, *extra, 2, s.out, s.hidden, 0, diagnostic));
  else if (extra)
    SCONCE_TRY_STATUS(check_sizes(what, "bias", 0, *extra, 1, rows, 0, 0, diagnostic));
  for (int k = 0; k < states_of(cell); k++)
    SCONCE_TRY_STATUS(check_sizes(what, "state", k, args.tensor(1 + k), 3, 1, s.batch,
                                  k == 0 ? s.out : s.hidden, diagnostic));
  for (int i = 1; i <= at.w_hh; i++)
    SCONCE_TRY_STATUS(check_same_dtype(what, args.tensor(i), gates, diagnostic));
  if (extra) SCONCE_TRY_STATUS(check_same_dtype(what, *extra, gates, diagnostic));
  return kOk;
}

template <Cell cell>
Status layer_shape(const Args& args, Span<OutMeta> outs, Diagnostic* diagnostic) {
  Sizes s;
  SCONCE_TRY_STATUS(read_layer_sizes(cell, args, &s, diagnostic));
  set_like(outs[0], args.tensor(0));
  outs[0].sizes[2] = s.out;
  for (int k = 0; k < states_of(cell); k++) set_like(outs[size_t(1 + k)], args.tensor(1 + k));
  return kOk;
}

template <Cell cell>
uint64_t layer_scratch_bytes(const Args& args) {
  Sizes s;
  bool known = read_layer_sizes(cell, args, &s, nullptr).ok();
  return known ? bytes_of(cell, s, args.tensor(0).dtype) : 0;
}

template <Cell cell, class T>
void run_layer_typed(const Args& args, const Sizes& s, uint8_t* scratch) {
  constexpr LayerArguments at = layer_arguments(cell);
  constexpr Compute compute = sizeof(T) == 4 ? Compute::f32 : Compute::f64;
  Steps<T> steps = steps_in<T>(layout_of(cell, s, compute), scratch);
  steps.w_hh = &args.tensor(at.w_hh);
  const Tensor* extra = at.extra < 0 ? nullptr : args.find_tensor(at.extra);
  (cell == Cell::lstm ? steps.w_hr : steps.b_hh) = extra;
  load_states<cell>(steps, s, args.tensor(1), cell == Cell::lstm ? &args.tensor(2) : nullptr, 0);
  const Tensor& gates = args.tensor(0);
  Tensor& out = args.out(0);
  Strides gs = strides_of(gates), os = strides_of(out);
  const int step_dim = s.batch_first ? 1 : 0, batch_dim = 1 - step_dim;
  const int64_t width = s.hidden * gates_of(cell);
  auto load = [&](int64_t step) {
    for (int64_t b = 0; b < s.batch; b++)
      load_row(steps.gates + b * width, gates, step * gs[step_dim] + b * gs[batch_dim], gs[2],
               width);
  };
  auto store = [&](int64_t step) {
    for (int64_t b = 0; b < s.batch; b++)
      store_row(out, step * os[step_dim] + b * os[batch_dim], os[2], steps.state + b * s.out,
                s.out);
  };
  run_steps<cell>(steps, s, args.boolean(at.reverse), load, store);
  store_states<cell>(steps, s, args, 0);
}

template <Cell cell>
Status run_layer(const Args& args, KernelContext& context) {
  Sizes s;
  SCONCE_TRY_STATUS(read_layer_sizes(cell, args, &s, context.diagnostic));
  DType dtype = args.tensor(0).dtype;
  for (int k = 0; k < args.out_count(); k++)
    SCONCE_TRY_STATUS(check_out_dtype(args.out(k), dtype, context.diagnostic));
  if (dtype == DType::f64) run_layer_typed<cell, double>(args, s, context.scratch.data());
  else run_layer_typed<cell, float>(args, s, context.scratch.data());
  return kOk;
}

}  // namespace

KERNEL(lstm_steps) = {"rnn::lstm.out", "ttttTbb>ttt", layer_shape<Cell::lstm>,
                      run_layer<Cell::lstm>, layer_scratch_bytes<Cell::lstm>};
KERNEL(gru_steps) = {"rnn::gru.out", "tttTbb>tt", layer_shape<Cell::gru>, run_layer<Cell::gru>,
                     layer_scratch_bytes<Cell::gru>};
KERNEL(rnn_tanh_steps) = {"rnn::tanh.out", "tttbb>tt", layer_shape<Cell::tanh>,
                          run_layer<Cell::tanh>, layer_scratch_bytes<Cell::tanh>};
KERNEL(rnn_relu_steps) = {"rnn::relu.out", "tttbb>tt", layer_shape<Cell::relu>,
                          run_layer<Cell::relu>, layer_scratch_bytes<Cell::relu>};
KERNEL(lstm) = {"sconce::lstm.out", "tvvbifbbb>ttt", shape<Cell::lstm>, run<Cell::lstm>,
                scratch_bytes<Cell::lstm>};
KERNEL(gru) = {"sconce::gru.out", "ttvbifbbb>tt", shape<Cell::gru>, run<Cell::gru>,
               scratch_bytes<Cell::gru>};
KERNEL(rnn_tanh) = {"sconce::rnn_tanh.out", "ttvbifbbb>tt", shape<Cell::tanh>, run<Cell::tanh>,
                    scratch_bytes<Cell::tanh>};
KERNEL(rnn_relu) = {"sconce::rnn_relu.out", "ttvbifbbb>tt", shape<Cell::relu>, run<Cell::relu>,
                    scratch_bytes<Cell::relu>};

}  // namespace sconce
