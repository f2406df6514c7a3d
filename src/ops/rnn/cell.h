// Cells of recurrent layers, and how a layer in one direction is an operator of its own.
//
// rnn::lstm(gates, h, c, w_hh, w_hr?, reverse, batch_first) -> (out, h, c)
// rnn::gru(gates, h, w_hh, b_hh?, reverse, batch_first) -> (out, h)
// rnn::tanh, rnn::relu(gates, h, w_hh, reverse, batch_first) -> (out, h)
//
// `gates` is x's part with its bias, [steps, batch, gates * hidden]; states are [1, batch, units].
// The bias of the recurrent part is in the gates too, but for gru, which needs it apart. No
// exported program holds these operators: definitions of whole layers make them (rnn.def.cc).
#pragma once

#include <cstdint>

namespace sconce {

enum class Cell : uint8_t { tanh, relu, gru, lstm };

constexpr int gates_of(Cell cell) { return cell == Cell::lstm ? 4 : cell == Cell::gru ? 3 : 1; }
constexpr int states_of(Cell cell) { return cell == Cell::lstm ? 2 : 1; }
constexpr const char* name_of(Cell cell) {
  return cell == Cell::lstm   ? "lstm"
         : cell == Cell::gru  ? "gru"
         : cell == Cell::tanh ? "rnn_tanh"
                              : "rnn_relu";
}

// Positions of the arguments of a layer in one direction; h follows the gates.
struct LayerArguments {
  int w_hh, extra, reverse, batch_first;  // extra: w_hr of an lstm, b_hh of a gru, or -1
};
constexpr LayerArguments layer_arguments(Cell cell) {
  const int w_hh = 1 + states_of(cell);
  if (cell == Cell::tanh || cell == Cell::relu) return {w_hh, -1, w_hh + 1, w_hh + 2};
  return {w_hh, w_hh + 1, w_hh + 2, w_hh + 3};
}

}  // namespace sconce
