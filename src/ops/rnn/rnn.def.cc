// Recurrent layers: whole kernels, or unrolled over a known number of steps; and single cells.
#include "ops/linear/decompose.h"

namespace sconce {
namespace {

enum class Cell : uint8_t { tanh, relu, gru, lstm };
constexpr int gates_of(Cell cell) { return cell == Cell::lstm ? 4 : cell == Cell::gru ? 3 : 1; }

ValueId unary(Build& build, const char* op, ValueId x) { return build.call1(op, {Build::v(x)}); }
ValueId sigmoid(Build& build, ValueId x) { return unary(build, "aten::sigmoid", x); }
ValueId tanh(Build& build, ValueId x) { return unary(build, "aten::tanh", x); }
ValueId slice(Build& build, ValueId x, int64_t dim, int64_t begin, int64_t end) {
  return build.call1("aten::slice.Tensor", {Build::v(x), dim, begin, end, int64_t{1}});
}

struct State { ValueId h = kNoValue, c = kNoValue; };
struct Weights { ValueId w_ih, w_hh, b_ih = kNoValue, b_hh = kNoValue, w_hr = kNoValue; };

ValueId affine(Build& build, ValueId x, ValueId weight, ValueId bias) {
  return build.call1("aten::linear", {Build::v(x), Build::v(weight), optional_argument(bias)});
}

// One step; `gates` is x's part with its bias, [batch, gates * hidden]. For all but gru the bias of
// the recurrent part is in there too.
State step(Build& build, Cell cell, ValueId gates, State state, const Weights& w, int64_t hidden) {
  ValueId recurrent = affine(build, state.h, w.w_hh, cell == Cell::gru ? w.b_hh : kNoValue);
  auto part = [&](ValueId all, int64_t k) {
    return slice(build, all, 1, k * hidden, (k + 1) * hidden);
  };
  State next;
  if (cell == Cell::lstm) {
    ValueId all = build.add(gates, recurrent);
    ValueId in = sigmoid(build, part(all, 0)), forget = sigmoid(build, part(all, 1));
    ValueId candidate = tanh(build, part(all, 2)), out = sigmoid(build, part(all, 3));
    next.c = build.add(build.mul(forget, state.c), build.mul(in, candidate));
    next.h = build.mul(out, tanh(build, next.c));
    if (w.w_hr != kNoValue) next.h = affine(build, next.h, w.w_hr, kNoValue);
  } else if (cell == Cell::gru) {
    ValueId reset = sigmoid(build, build.add(part(gates, 0), part(recurrent, 0)));
    ValueId keep = sigmoid(build, build.add(part(gates, 1), part(recurrent, 1)));
    ValueId candidate =
        tanh(build, build.add(part(gates, 2), build.mul(reset, part(recurrent, 2))));
    next.h = build.add(build.mul(build.sub(state.h, candidate), keep), candidate);
  } else {
    ValueId all = build.add(gates, recurrent);
    next.h = cell == Cell::tanh ? tanh(build, all) : unary(build, "aten::relu", all);
  }
  return next;
}

// Bias of the x part: both biases, but for gru, which needs the recurrent one apart.
ValueId input_bias(Build& build, Cell cell, const Weights& w) {
  if (w.b_ih == kNoValue || w.b_hh == kNoValue || cell == Cell::gru) return w.b_ih;
  return build.add(w.b_ih, w.b_hh);
}

std::vector<ValueId> list_values(const Node& node, int i) {
  std::vector<ValueId> ids;
  if (auto* refs = std::get_if<std::vector<ValueRef>>(&node.arguments[size_t(i)]))
    for (ValueRef ref : *refs) ids.push_back(ref.id);
  else if (auto* ref = std::get_if<ValueRef>(&node.arguments[size_t(i)])) ids.push_back(ref->id);
  return ids;
}

// input, hx, params, has_biases, num_layers, dropout, train, bidirectional, batch_first.
template <Cell cell>
Results unroll(Build& build, const Node& node) {
  ValueId x = value(node, 0);
  std::vector<ValueId> states = list_values(node, 1), params = list_values(node, 2);
  bool biases = number(node, 3).value_or(0) != 0, batch_first = number(node, 8).value_or(0) != 0;
  int directions = number(node, 7).value_or(0) != 0 ? 2 : 1;
  int64_t layers = int64_t(number(node, 4).value_or(0));
  if (number(node, 5).value_or(0) != 0 && number(node, 6).value_or(0) != 0) return std::nullopt;
  if (layers < 1 || params.empty() || states.empty() || build.rank(x) != 3) return std::nullopt;
  SymInt steps_size = build.size(x, batch_first ? 1 : 0);
  SymInt gate_rows = build.size(params[0], 0);
  constexpr int64_t kStepsMax = 4096;  // a longer sequence would make an unusable program
  if (!steps_size.is_known() || steps_size.value < 1 || steps_size.value > kStepsMax ||
      !gate_rows.is_known())
    return std::nullopt;
  int64_t steps = steps_size.value, hidden = gate_rows.value / gates_of(cell);
  size_t each = params.size() / size_t(layers * directions);
  size_t least = biases ? 4 : 2;
  int64_t time = batch_first ? 1 : 0;
  std::vector<ValueId> last_h, last_c;
  for (int64_t layer = 0; layer < layers; layer++) {
    std::vector<ValueId> sides;
    for (int d = 0; d < directions; d++) {
      int64_t at = layer * directions + d;
      const ValueId* p = &params[size_t(at) * each];
      Weights w{p[0], p[1]};
      if (biases) w.b_ih = p[2], w.b_hh = p[3];
      if (each > least) w.w_hr = p[least];
      State state;
      state.h = build.call1("aten::select.int", {Build::v(states[0]), int64_t{0}, at});
      if (cell == Cell::lstm)
        state.c = build.call1("aten::select.int", {Build::v(states[1]), int64_t{0}, at});
      ValueId all = affine(build, x, w.w_ih, input_bias(build, cell, w));
      std::vector<ValueId> outputs;
      outputs.resize(size_t(steps));
      for (int64_t i = 0; i < steps; i++) {
        int64_t t = d == 0 ? i : steps - 1 - i;
        ValueId gates = build.call1("aten::select.int", {Build::v(all), time, t});
        state = step(build, cell, gates, state, w, hidden);
        outputs[size_t(t)] = state.h;
      }
      std::vector<ValueRef> refs;
      for (ValueId id : outputs) refs.push_back({id});
      sides.push_back(build.call1("aten::stack", {refs, time}));
      last_h.push_back(state.h);
      last_c.push_back(state.c);
    }
    x = directions == 1 ? sides[0]
                        : build.call1("aten::cat", {std::vector<ValueRef>{{sides[0]}, {sides[1]}},
                                                    int64_t{2}});
  }
  auto stack = [&](const std::vector<ValueId>& ids) {
    std::vector<ValueRef> refs;
    for (ValueId id : ids) refs.push_back({id});
    return build.call1("aten::stack", {refs, int64_t{0}});
  };
  std::vector<ValueId> results{x, stack(last_h)};
  if (cell == Cell::lstm) results.push_back(stack(last_c));
  return results;
}

// input, hx, w_ih, w_hh, b_ih, b_hh.
template <Cell cell>
Results single_cell(Build& build, const Node& node) {
  std::vector<ValueId> states = list_values(node, 1);
  if (states.size() != (cell == Cell::lstm ? 2u : 1u)) return std::nullopt;
  Weights w{value(node, 2), value(node, 3), optional_value(node, 4), optional_value(node, 5)};
  SymInt rows = build.size(w.w_ih, 0);
  if (!rows.is_known()) return std::nullopt;
  State state{states[0], states.size() > 1 ? states[1] : kNoValue};
  ValueId gates = affine(build, value(node, 0), w.w_ih, input_bias(build, cell, w));
  state = step(build, cell, gates, state, w, rows.value / gates_of(cell));
  if (cell == Cell::lstm) return std::vector<ValueId>{state.h, state.c};
  return one(state.h);
}

}  // namespace

OP(lstm) = {.schema = "aten::lstm.input(Tensor input, Tensor[] hx, Tensor[] params, bool has_biases, int num_layers, float dropout, bool train, bool bidirectional, bool batch_first) -> (Tensor, Tensor, Tensor)",
            .out = "sconce::lstm.out", .decompose = unroll<Cell::lstm>};
OP(gru) = {.schema = "aten::gru.input(Tensor input, Tensor hx, Tensor[] params, bool has_biases, int num_layers, float dropout, bool train, bool bidirectional, bool batch_first) -> (Tensor, Tensor)",
           .out = "sconce::gru.out", .decompose = unroll<Cell::gru>};
OP(rnn_tanh) = {.schema = "aten::rnn_tanh.input(Tensor input, Tensor hx, Tensor[] params, bool has_biases, int num_layers, float dropout, bool train, bool bidirectional, bool batch_first) -> (Tensor, Tensor)",
                .out = "sconce::rnn_tanh.out", .decompose = unroll<Cell::tanh>};
OP(rnn_relu) = {.schema = "aten::rnn_relu.input(Tensor input, Tensor hx, Tensor[] params, bool has_biases, int num_layers, float dropout, bool train, bool bidirectional, bool batch_first) -> (Tensor, Tensor)",
                .out = "sconce::rnn_relu.out", .decompose = unroll<Cell::relu>};
OP(lstm_cell) = {.schema = "aten::lstm_cell(Tensor input, Tensor[] hx, Tensor w_ih, Tensor w_hh, Tensor? b_ih=None, Tensor? b_hh=None) -> (Tensor, Tensor)",
                 .decompose = single_cell<Cell::lstm>};
OP(gru_cell) = {.schema = "aten::gru_cell(Tensor input, Tensor hx, Tensor w_ih, Tensor w_hh, Tensor? b_ih=None, Tensor? b_hh=None) -> Tensor",
                .decompose = single_cell<Cell::gru>};
OP(rnn_tanh_cell) = {.schema = "aten::rnn_tanh_cell(Tensor input, Tensor hx, Tensor w_ih, Tensor w_hh, Tensor? b_ih=None, Tensor? b_hh=None) -> Tensor",
                     .decompose = single_cell<Cell::tanh>};
OP(rnn_relu_cell) = {.schema = "aten::rnn_relu_cell(Tensor input, Tensor hx, Tensor w_ih, Tensor w_hh, Tensor? b_ih=None, Tensor? b_hh=None) -> Tensor",
                     .decompose = single_cell<Cell::relu>};

}  // namespace sconce
