// Recurrent layers: whole kernels; or products of all steps at once and, for each layer and direction,
// what loops over the steps, which is unrolled where a target lacks it; and single cells.
#include "ops/linear/decompose.h"
#include "ops/rnn/cell.h"

namespace sconce {
namespace {

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

// The operator of a layer in one direction (cell.h).
constexpr const char* layer_operator(Cell cell) {
  return cell == Cell::lstm   ? "rnn::lstm"
         : cell == Cell::gru  ? "rnn::gru"
         : cell == Cell::tanh ? "rnn::tanh"
                              : "rnn::relu";
}

// Several tensors one after the other along a dimension; no node for one.
ValueId joined(Build& build, const std::vector<ValueId>& ids, int64_t dim) {
  if (ids.size() == 1) return ids[0];
  std::vector<ValueRef> refs;
  for (ValueId id : ids) refs.push_back({id});
  return build.call1("aten::cat", {refs, dim});
}

// input, hx, params, has_biases, num_layers, dropout, train, bidirectional, batch_first.
template <Cell cell>
Results layers_and_directions(Build& build, const Node& node) {
  ValueId x = value(node, 0);
  std::vector<ValueId> states = list_values(node, 1), params = list_values(node, 2);
  bool biases = number(node, 3).value_or(0) != 0, batch_first = number(node, 8).value_or(0) != 0;
  int directions = number(node, 7).value_or(0) != 0 ? 2 : 1;
  int64_t layers = int64_t(number(node, 4).value_or(0));
  if (number(node, 5).value_or(0) != 0 && number(node, 6).value_or(0) != 0) return std::nullopt;
  size_t least = biases ? 4 : 2, each = params.size() / size_t(std::max<int64_t>(layers, 1) * directions);
  if (layers < 1 || each < least || int(states.size()) != states_of(cell) || build.rank(x) != 3)
    return std::nullopt;
  std::vector<std::vector<ValueId>> last(size_t(states_of(cell)));  // by state: of layers, directions
  for (int64_t layer = 0; layer < layers; layer++) {
    std::vector<ValueId> sides;
    for (int d = 0; d < directions; d++) {
      int64_t at = layer * directions + d;
      const ValueId* p = &params[size_t(at) * each];
      Weights w{p[0], p[1]};
      if (biases) w.b_ih = p[2], w.b_hh = p[3];
      if (each > least) w.w_hr = p[least];
      std::vector<Argument> arguments{
          Build::v(affine(build, x, w.w_ih, input_bias(build, cell, w)))};
      for (ValueId state : states)
        arguments.push_back(
            Build::v(layers * directions == 1 ? state : slice(build, state, 0, at, at + 1)));
      arguments.push_back(Build::v(w.w_hh));
      if (cell == Cell::lstm) arguments.push_back(optional_argument(w.w_hr));
      if (cell == Cell::gru) arguments.push_back(optional_argument(w.b_hh));
      arguments.push_back(d == 1);
      arguments.push_back(batch_first);
      std::vector<ValueId> results = build.call(layer_operator(cell), arguments);
      sides.push_back(results[0]);
      for (size_t k = 0; k < last.size(); k++) last[k].push_back(results[k + 1]);
    }
    x = joined(build, sides, 2);
  }
  std::vector<ValueId> results{x};
  for (const std::vector<ValueId>& states_of_layers : last)
    results.push_back(joined(build, states_of_layers, 0));
  return results;
}

// A layer in one direction, step by step.
template <Cell cell>
Results unroll(Build& build, const Node& node) {
  constexpr LayerArguments at = layer_arguments(cell);
  ValueId gates = value(node, 0), w_hh = value(node, at.w_hh);
  int64_t time = number(node, at.batch_first).value_or(0) != 0 ? 1 : 0;
  bool reverse = number(node, at.reverse).value_or(0) != 0;
  SymInt steps = build.size(gates, int(time)), gate_rows = build.size(w_hh, 0);
  constexpr int64_t kStepsMax = 4096;  // a longer sequence would make an unusable program
  if (!steps.is_known() || steps.value < 1 || steps.value > kStepsMax || !gate_rows.is_known())
    return std::nullopt;
  Weights w{kNoValue, w_hh};
  if (at.extra >= 0) (cell == Cell::lstm ? w.w_hr : w.b_hh) = optional_value(node, at.extra);
  State state;
  state.h = squeeze(build, value(node, 1), 0);
  if (cell == Cell::lstm) state.c = squeeze(build, value(node, 2), 0);
  std::vector<ValueRef> outputs;
  outputs.resize(size_t(steps.value));
  for (int64_t i = 0; i < steps.value; i++) {
    int64_t t = reverse ? steps.value - 1 - i : i;
    ValueId of_step = build.call1("aten::select.int", {Build::v(gates), time, t});
    state = step(build, cell, of_step, state, w, gate_rows.value / gates_of(cell));
    outputs[size_t(t)] = {state.h};
  }
  std::vector<ValueId> results{build.call1("aten::stack", {outputs, time}),
                               unsqueeze(build, state.h, 0)};
  if (cell == Cell::lstm) results.push_back(unsqueeze(build, state.c, 0));
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
            .out = "sconce::lstm.out", .decompose = layers_and_directions<Cell::lstm>};
OP(gru) = {.schema = "aten::gru.input(Tensor input, Tensor hx, Tensor[] params, bool has_biases, int num_layers, float dropout, bool train, bool bidirectional, bool batch_first) -> (Tensor, Tensor)",
           .out = "sconce::gru.out", .decompose = layers_and_directions<Cell::gru>};
OP(rnn_tanh) = {.schema = "aten::rnn_tanh.input(Tensor input, Tensor hx, Tensor[] params, bool has_biases, int num_layers, float dropout, bool train, bool bidirectional, bool batch_first) -> (Tensor, Tensor)",
                .out = "sconce::rnn_tanh.out", .decompose = layers_and_directions<Cell::tanh>};
OP(rnn_relu) = {.schema = "aten::rnn_relu.input(Tensor input, Tensor hx, Tensor[] params, bool has_biases, int num_layers, float dropout, bool train, bool bidirectional, bool batch_first) -> (Tensor, Tensor)",
                .out = "sconce::rnn_relu.out", .decompose = layers_and_directions<Cell::relu>};
// Layers in one direction: cell.h.
OP(lstm_steps) = {.schema = "rnn::lstm(Tensor gates, Tensor h, Tensor c, Tensor w_hh, Tensor? w_hr, bool reverse, bool batch_first) -> (Tensor, Tensor, Tensor)",
                  .out = "rnn::lstm.out", .decompose = unroll<Cell::lstm>};
OP(gru_steps) = {.schema = "rnn::gru(Tensor gates, Tensor h, Tensor w_hh, Tensor? b_hh, bool reverse, bool batch_first) -> (Tensor, Tensor)",
                 .out = "rnn::gru.out", .decompose = unroll<Cell::gru>};
OP(rnn_tanh_steps) = {.schema = "rnn::tanh(Tensor gates, Tensor h, Tensor w_hh, bool reverse, bool batch_first) -> (Tensor, Tensor)",
                      .out = "rnn::tanh.out", .decompose = unroll<Cell::tanh>};
OP(rnn_relu_steps) = {.schema = "rnn::relu(Tensor gates, Tensor h, Tensor w_hh, bool reverse, bool batch_first) -> (Tensor, Tensor)",
                      .out = "rnn::relu.out", .decompose = unroll<Cell::relu>};
OP(lstm_cell) = {.schema = "aten::lstm_cell(Tensor input, Tensor[] hx, Tensor w_ih, Tensor w_hh, Tensor? b_ih=None, Tensor? b_hh=None) -> (Tensor, Tensor)",
                 .decompose = single_cell<Cell::lstm>};
OP(gru_cell) = {.schema = "aten::gru_cell(Tensor input, Tensor hx, Tensor w_ih, Tensor w_hh, Tensor? b_ih=None, Tensor? b_hh=None) -> Tensor",
                .decompose = single_cell<Cell::gru>};
OP(rnn_tanh_cell) = {.schema = "aten::rnn_tanh_cell(Tensor input, Tensor hx, Tensor w_ih, Tensor w_hh, Tensor? b_ih=None, Tensor? b_hh=None) -> Tensor",
                     .decompose = single_cell<Cell::tanh>};
OP(rnn_relu_cell) = {.schema = "aten::rnn_relu_cell(Tensor input, Tensor hx, Tensor w_ih, Tensor w_hh, Tensor? b_ih=None, Tensor? b_hh=None) -> Tensor",
                     .decompose = single_cell<Cell::relu>};

}  // namespace sconce
