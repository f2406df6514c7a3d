// Layers: the nodes of a graph that hold weights which can become integers, and the nodes around
// them that can work on integers.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "ir/graph.h"
#include "quantize/scheme.h"

namespace sconce {

struct Layer {
  enum class Kind : uint8_t { linear, convolution, embedding };
  NodeId node = -1;
  Kind kind = Kind::linear;
  std::string name;  // of the weight, without ".weight"; unique
  std::string op;    // of the node, as the float model has it
  ValueId x = kNoValue, weight = kNoValue, bias = kNoValue, y = kNoValue;
  int64_t axis = 0;  // of the weight: output channels (embedding: rows)
  int64_t outputs = 0, columns = 0, groups = 1;
  int64_t window = 1;     // columns of one input channel, which lie together
  int channel_dim = -1;   // of x: input channels; -1 for an embedding
  Scheme scheme;          // what it becomes
  std::string why_float;  // not empty: it stays as it is
};

// Nodes with constant weights at the top of the graph, in order; those that cannot be quantised
// have their reason. `keep` holds patterns of names that stay float; one that fits no layer is an
// error.
Result<std::vector<Layer>> find_layers(const Program& program, const Graph& graph,
                                       const Scheme& scheme, const std::vector<std::string>& keep);
// * stands for any text, ? for a letter.
bool matches_pattern(std::string_view pattern, std::string_view text);

// Elements of an f32 constant, as [outputs][columns] whatever axis the outputs are.
std::vector<float> weight_rows(const Program& program, const Graph& graph, const Layer& layer);
// The same back in the order of the weight; works for integers too.
template <class T>
std::vector<T> in_weight_order(const Layer& layer, const std::vector<T>& rows);
// Elements of an f32 constant.
std::vector<float> floats_of(const Program& program, const Graph& graph, ValueId constant);
ValueId add_floats(Program& program, Graph& graph, const std::vector<float>& data,
                   const TensorType& type, const std::string& name);

template <class T>
std::vector<T> in_weight_order(const Layer& layer, const std::vector<T>& rows) {
  if (layer.axis == 0) return rows;
  // [inputs, outputs, window]
  std::vector<T> out(rows.size());
  size_t window = size_t(layer.window), inputs = size_t(layer.columns) / window,
         outputs = size_t(layer.outputs);
  for (size_t o = 0; o < outputs; o++)
    for (size_t i = 0; i < inputs; i++)
      for (size_t k = 0; k < window; k++)
        out[(i * outputs + o) * window + k] = rows[(o * inputs + i) * window + k];
  return out;
}

// Which values become integers by a fixed range, and which nodes compute with them.
struct IntegerRegion {
  std::vector<uint8_t> node;   // by NodeId: works on integers
  std::vector<uint8_t> value;  // by ValueId: quantised
  std::vector<uint8_t> made;  // by ValueId: what a node on integers gives, so all read it quantised
  std::vector<ValueId> range;  // by ValueId: the value whose range it takes
};
// Layers with fixed activations work on integers, and so does what stands between them as far as it
// is fed by integers and read by integers.
IntegerRegion find_integer_region(const Program& program, const Graph& graph,
                                  const std::vector<Layer>& layers);
// Linears which no integers feed and none follow get dynamic ranges, unless their scheme forbids
// it: a fixed range of their results would cost accuracy, and no work on integers comes of it.
void free_lone_linears(const Program& program, const Graph& graph, std::vector<Layer>& layers);

}  // namespace sconce
