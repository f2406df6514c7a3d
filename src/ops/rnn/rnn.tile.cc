// The steps of a recurrent layer in one direction (cell.h) as a loop: what a step gives over units
// n is contracted over k with the recurrent weights in the next one.
#include "ops/rnn/cell.h"
#include "ops/tile.h"

namespace sconce {
namespace {

using tile::AxisId;
using tile::Unary;

// [steps, batch, units], the first two as the layer has them.
template <Cell cell>
std::optional<TileIndex> steps_and_units(TileLowering& l, const Node& node) {
  constexpr LayerArguments args = layer_arguments(cell);
  auto reverse = number_argument(node, args.reverse),
       batch_first = number_argument(node, args.batch_first);
  if (!reverse || !batch_first) return std::nullopt;
  const std::vector<SymInt>& sizes = l.shape(node.results[0]);
  const size_t time = *batch_first != 0 ? 1 : 0;
  AxisId t = l.build.serial_each(l.extent(sizes[time]), *reverse != 0);
  TileIndex at(3);
  at[time] = tile::along(t);
  at[1 - time] = l.parallel(sizes[1 - time]);
  at[2] = tile::along(l.span(sizes[2]));
  return at;
}

// What one step does.
template <Cell cell>
class Step {
 public:
  Step(TileLowering& l, const Node& node, const TileIndex& at) : l_(l), node_(node), at_(at) {}

  // The result of the step, and in l.loop what the next one begins with.
  std::optional<tile::ValueId> make() {
    const ValueId *gates = tensor_argument(node_, 0), *h = tensor_argument(node_, 1),
                  *w_hh = tensor_argument(node_, kArguments.w_hh);
    const ValueId* extra =
        kArguments.extra < 0 ? nullptr : tensor_argument(node_, kArguments.extra);
    if (!gates || !h || !w_hh || l_.type(*gates).dtype != DType::f32) return std::nullopt;
    out_ = l_.size(*w_hh, 1);
    hidden_ = l_.size(*w_hh, 0) / kGates;
    const ValueId* projection = cell == Cell::lstm ? extra : nullptr;
    const ValueId* bias = cell == Cell::gru ? extra : nullptr;
    if (l_.is_refused() || out_ < 1 || hidden_ < 1 || (!projection && hidden_ != out_))
      return std::nullopt;
    const size_t time = number_argument(node_, kArguments.batch_first) != 0 ? 1 : 0;
    const AxisId t = at_[time].terms[0].axis, out = at_[2].terms[0].axis;
    unit_ = projection ? l_.build.span(tile::known(hidden_)) : out;
    auto weights = l_.panels(*w_hh, {kGates, hidden_, out_}, {0, 2, 1}, 1);
    std::optional<int32_t> projected, bias_of_gates;
    if (projection) projected = l_.panels(*projection, {out_, hidden_}, {1, 0}, 0);
    if (bias) bias_of_gates = l_.weights(*bias, {kGates, hidden_}, {0, 1});
    if (!weights || (projection && !projected) || (bias && !bias_of_gates)) return std::nullopt;
    std::vector<tile::ValueId> initial;
    l_.loop = {t, {}, {}};
    for (int k = 0; k < states_of(cell); k++) {
      TileIndex place{tile::at(0), at_[1 - time], tile::along(k == 0 ? out : unit_)};
      const ValueId* state = tensor_argument(node_, size_t(1 + k));
      auto begin = state ? l_.at(*state, place) : std::nullopt;
      if (!begin) return std::nullopt;
      initial.push_back(*begin);
      l_.loop->results.push_back(std::move(place));
    }
    for (int gate = 0; gate < kGates; gate++)
      initial_sums_.push_back(
          bias ? l_.build.load(*bias_of_gates, {tile::at(gate), tile::along(unit_)})
               : l_.build.constant(0));
    std::vector<tile::ValueId> carried = l_.build.begin_loop(t, initial);
    k_ = l_.build.span(tile::known(out_));
    h_ = carried[0];
    rows_ = l_.build.rename(h_, out, k_);
    weights_ = *weights;
    gates_ = *gates;
    if (cell == Cell::lstm) return long_short_term(carried[1], projected, out);
    if (cell == Cell::gru) return gated();
    auto sum = add_x(0, recurrent(0));
    if (!sum) return std::nullopt;
    return carried_on({l_.build.unary(cell == Cell::tanh ? Unary::tanh : Unary::relu, *sum)});
  }

 private:
  static constexpr LayerArguments kArguments = layer_arguments(cell);
  static constexpr int kGates = gates_of(cell);

  // h's part of a gate, and with x's part.
  tile::ValueId recurrent(int gate) {
    tile::ValueId columns =
        l_.build.load(weights_, {tile::at(gate), tile::along(k_), tile::along(unit_)});
    return l_.build.dot(initial_sums_[size_t(gate)], rows_, columns, {k_});
  }
  std::optional<tile::ValueId> add_x(int gate, tile::ValueId sum) {
    TileIndex from = at_;
    from[2] = tile::along(unit_, 1, gate * hidden_);
    auto x = l_.at(gates_, from);
    if (!x) return std::nullopt;
    return l_.build.add(sum, *x);
  }
  std::optional<tile::ValueId> part(Unary function, int gate) {
    auto sum = add_x(gate, recurrent(gate));
    if (!sum) return std::nullopt;
    return l_.build.unary(function, *sum);
  }
  tile::ValueId carried_on(std::vector<tile::ValueId> next) {
    l_.loop->next = std::move(next);
    return l_.loop->next[0];
  }

  std::optional<tile::ValueId> long_short_term(tile::ValueId c, std::optional<int32_t> projected,
                                               AxisId out) {
    auto in = part(Unary::sigmoid, 0), forget = part(Unary::sigmoid, 1),
         candidate = part(Unary::tanh, 2), through = part(Unary::sigmoid, 3);
    if (!in || !forget || !candidate || !through) return std::nullopt;
    tile::ValueId next = l_.build.add(l_.build.mul(*forget, c), l_.build.mul(*in, *candidate));
    tile::ValueId h = l_.build.mul(*through, l_.build.unary(Unary::tanh, next));
    if (projected) {
      AxisId m = l_.build.span(tile::known(hidden_));
      tile::ValueId columns = l_.build.load(*projected, {tile::along(m), tile::along(out)});
      h = l_.build.dot(l_.build.constant(0), l_.build.rename(h, unit_, m), columns, {m});
    }
    return carried_on({h, next});
  }

  std::optional<tile::ValueId> gated() {
    auto reset = part(Unary::sigmoid, 0), keep = part(Unary::sigmoid, 1);
    if (!reset || !keep) return std::nullopt;
    auto sum = add_x(2, l_.build.mul(*reset, recurrent(2)));
    if (!sum) return std::nullopt;
    tile::ValueId candidate = l_.build.unary(Unary::tanh, *sum);
    tile::ValueId change = l_.build.mul(l_.build.sub(h_, candidate), *keep);
    return carried_on({l_.build.add(change, candidate)});
  }

  TileLowering& l_;
  const Node& node_;
  const TileIndex& at_;
  int64_t out_ = 0, hidden_ = 0;
  AxisId unit_ = 0, k_ = 0;
  tile::ValueId h_ = tile::kNone, rows_ = tile::kNone;
  std::vector<tile::ValueId> initial_sums_;  // by gate
  int32_t weights_ = 0;
  ValueId gates_ = kNoValue;
};

template <Cell cell>
std::optional<tile::ValueId> step(TileLowering& l, const Node& node, const TileIndex& at) {
  return Step<cell>(l, node, at).make();
}

}  // namespace

TILE(lstm_steps) = {.op = "rnn::lstm",
                    .lower = step<Cell::lstm>,
                    .axes = steps_and_units<Cell::lstm>,
                    .all_results = true};
TILE(gru_steps) = {.op = "rnn::gru",
                   .lower = step<Cell::gru>,
                   .axes = steps_and_units<Cell::gru>,
                   .all_results = true};
TILE(rnn_tanh_steps) = {.op = "rnn::tanh",
                        .lower = step<Cell::tanh>,
                        .axes = steps_and_units<Cell::tanh>,
                        .all_results = true};
TILE(rnn_relu_steps) = {.op = "rnn::relu",
                        .lower = step<Cell::relu>,
                        .axes = steps_and_units<Cell::relu>,
                        .all_results = true};

}  // namespace sconce
