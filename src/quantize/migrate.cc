#include "quantize/migrate.h"

#include <algorithm>
#include <cmath>

#include "passes/rewrite.h"

namespace sconce {
namespace {

struct Users {
  explicit Users(const Graph& graph) : of(graph.values.size()), leaf(graph.values.size(), 0) {
    for (NodeId id : graph.order)
      Graph::for_each_use(graph.nodes[size_t(id)],
                          [&](ValueId used) { of[size_t(used)].push_back(id); });
    for (ValueId id : graph.outputs) leaf[size_t(id)] = 1;
    for (const WriteBack& write : graph.write_backs) leaf[size_t(write.value)] = 1;
  }
  std::vector<std::vector<NodeId>> of;
  std::vector<uint8_t> leaf;
  // The one node that reads a value; -1 when there are others, or it leaves the graph.
  NodeId only(ValueId id) const {
    return leaf[size_t(id)] || of[size_t(id)].size() != 1 ? -1 : of[size_t(id)][0];
  }
};

// New contents for a constant that one node reads.
void set_floats(Program& program, Graph& graph, NodeId node, size_t argument,
                const std::vector<float>& data) {
  ValueId old = std::get<ValueRef>(graph.nodes[size_t(node)].arguments[argument]).id;
  TensorType type = graph.type(old).tensor;
  std::string name = program.constants[size_t(graph.values[size_t(old)].index)].name;
  ValueId made = add_floats(program, graph, data, type, name);
  graph.nodes[size_t(node)].arguments[argument] = ValueRef{made};
}

ValueId value_at(const Node& node, size_t i) {
  auto* ref = i < node.arguments.size() ? std::get_if<ValueRef>(&node.arguments[i]) : nullptr;
  return ref ? ref->id : kNoValue;
}

bool is_floats(const Graph& graph, ValueId id) {
  return id != kNoValue && graph.values[size_t(id)].origin == Origin::constant &&
         graph.type(id).tensor.dtype == DType::f32;
}

int layer_at(const std::vector<Layer>& layers, NodeId id) {
  for (size_t i = 0; i < layers.size(); i++)
    if (layers[i].node == id) return int(i);
  return -1;
}

// The layer with the values that its node reads now.
Layer current(const Graph& graph, Layer layer) {
  const Node& node = graph.nodes[size_t(layer.node)];
  layer.weight = value_at(node, 1);
  layer.bias = value_at(node, 2);
  return layer;
}

bool is_plain_convolution(const Layer& layer) {
  return layer.kind == Layer::Kind::convolution && layer.axis == 0 && layer.why_float.empty();
}

// Calls f(index in rows, input channel) for every weight of a convolution.
template <class F>
void for_each_weight(const Layer& layer, F f) {
  int64_t inputs = layer.columns / layer.window, outputs = layer.outputs / layer.groups;
  for (int64_t o = 0; o < layer.outputs; o++)
    for (int64_t i = 0; i < inputs; i++)
      for (int64_t k = 0; k < layer.window; k++)
        f(size_t((o * inputs + i) * layer.window + k), o / outputs * inputs + i);
}

bool equalize(Program& program, Graph& graph, const Layer& first, const Layer& second) {
  std::vector<float> before = floats_of(program, graph, first.weight),
                     after = floats_of(program, graph, second.weight);
  if (second.columns / second.window * second.groups != first.outputs) return false;
  std::vector<float> bias;
  if (first.bias != kNoValue) bias = floats_of(program, graph, first.bias);
  std::vector<double> wide(size_t(first.outputs)), read(size_t(first.outputs));
  for (int64_t o = 0; o < first.outputs; o++)
    for (int64_t c = 0; c < first.columns; c++)
      wide[size_t(o)] =
          std::max(wide[size_t(o)], double(std::fabs(before[size_t(o * first.columns + c)])));
  for_each_weight(second, [&](size_t i, int64_t c) {
    read[size_t(c)] = std::max(read[size_t(c)], double(std::fabs(after[i])));
  });
  std::vector<float> scale(size_t(first.outputs), 1);
  for (size_t c = 0; c < scale.size(); c++)
    if (wide[c] > 1e-12 && read[c] > 1e-12)
      scale[c] = float(std::clamp(std::sqrt(wide[c] / read[c]), 1e-2, 1e2));
  for (int64_t o = 0; o < first.outputs; o++)
    for (int64_t c = 0; c < first.columns; c++)
      before[size_t(o * first.columns + c)] /= scale[size_t(o)];
  for (size_t c = 0; c < bias.size(); c++) bias[c] /= scale[c];
  for_each_weight(second, [&](size_t i, int64_t c) { after[i] *= scale[size_t(c)]; });
  set_floats(program, graph, first.node, 1, before);
  if (!bias.empty()) set_floats(program, graph, first.node, 2, bias);
  set_floats(program, graph, second.node, 1, after);
  return true;
}

struct Norm {
  NodeId node = -1;
  size_t weight = 0, bias = 0;  // arguments; bias 0: there is none
  std::vector<int> layers;
};

std::vector<Norm> find_norms(const Graph& graph, const std::vector<Layer>& layers) {
  Users users(graph);
  std::vector<Norm> norms;
  for (NodeId id : graph.order) {
    const Node& node = graph.nodes[size_t(id)];
    Norm norm;
    norm.node = id;
    norm.weight = 2;
    if (node.op == "aten::layer_norm")
      norm.bias = value_at(node, 3) == kNoValue ? 0 : 3;
    else if (node.op != "aten::rms_norm")
      continue;
    auto* normalized = std::get_if<std::vector<IntItem>>(&node.arguments[1]);
    if (!normalized || normalized->size() != 1 || !is_floats(graph, value_at(node, norm.weight)) ||
        (norm.bias && !is_floats(graph, value_at(node, norm.bias))))
      continue;
    ValueId result = node.results[0];
    if (users.leaf[size_t(result)] || users.of[size_t(result)].empty()) continue;
    bool fits = true;
    for (NodeId user : users.of[size_t(result)]) {
      int at = layer_at(layers, user);
      fits &= at >= 0 && layers[size_t(at)].kind == Layer::Kind::linear &&
              layers[size_t(at)].why_float.empty() && layers[size_t(at)].x == result &&
              layers[size_t(at)].scheme.activations != Activations::numbers;
      norm.layers.push_back(at);
    }
    if (fits) norms.push_back(std::move(norm));
  }
  return norms;
}

}  // namespace

int equalize_layers(Program& program, Graph& graph, const std::vector<Layer>& layers) {
  Users users(graph);
  std::vector<std::pair<int, int>> pairs;
  for (size_t i = 0; i < layers.size(); i++) {
    if (!is_plain_convolution(layers[i])) continue;
    NodeId next = users.only(layers[i].y);
    if (next >= 0 && graph.nodes[size_t(next)].op == "aten::relu")
      next = users.only(graph.nodes[size_t(next)].results[0]);
    int at = next < 0 ? -1 : layer_at(layers, next);
    if (at < 0 || !is_plain_convolution(layers[size_t(at)])) continue;
    // Constants that several nodes read stay.
    if (users.only(layers[i].weight) < 0 || users.only(layers[size_t(at)].weight) < 0 ||
        (layers[i].bias != kNoValue && users.only(layers[i].bias) < 0))
      continue;
    pairs.push_back({int(i), at});
  }
  std::vector<uint8_t> done(pairs.size(), 0);
  constexpr int kRounds = 4;  // chains settle: what a layer gives on changes what it gets
  for (int round = 0; round < kRounds; round++)
    for (size_t p = 0; p < pairs.size(); p++)
      if (equalize(program, graph, current(graph, layers[size_t(pairs[p].first)]),
                   current(graph, layers[size_t(pairs[p].second)])))
        done[p] = 1;
  return int(std::count(done.begin(), done.end(), 1));
}

bool can_smooth(const Program&, const Graph& graph, const std::vector<Layer>& layers) {
  return !find_norms(graph, layers).empty();
}

int smooth_layers(Program& program, Graph& graph, const std::vector<Layer>& layers, double share,
                  const InputMax& input_max) {
  int count = 0;
  for (const Norm& norm : find_norms(graph, layers)) {
    const std::vector<double>* inputs = input_max(layers[size_t(norm.layers[0])]);
    if (!inputs) continue;
    size_t columns = inputs->size();
    std::vector<double> weights(columns, 0);
    bool fits = true;
    for (int at : norm.layers) {
      Layer layer = current(graph, layers[size_t(at)]);
      fits &= size_t(layer.columns) == columns;
      if (!fits) break;
      std::vector<float> w = floats_of(program, graph, layer.weight);
      for (size_t i = 0; i < w.size(); i++)
        weights[i % columns] = std::max(weights[i % columns], double(std::fabs(w[i])));
    }
    if (!fits) continue;
    std::vector<float> scale(columns, 1);
    for (size_t c = 0; c < columns; c++)
      if ((*inputs)[c] > 1e-9 && weights[c] > 1e-9)
        scale[c] = float(
            std::clamp(std::pow((*inputs)[c], share) / std::pow(weights[c], 1 - share), 1e-3, 1e3));
    for (int at : norm.layers) {
      Layer layer = current(graph, layers[size_t(at)]);
      std::vector<float> w = floats_of(program, graph, layer.weight);
      for (size_t i = 0; i < w.size(); i++) w[i] *= scale[i % columns];
      set_floats(program, graph, layer.node, 1, w);
    }
    for (size_t argument : {norm.weight, norm.bias}) {
      if (!argument) continue;
      std::vector<float> data =
          floats_of(program, graph, value_at(graph.nodes[size_t(norm.node)], argument));
      for (size_t c = 0; c < data.size(); c++) data[c] /= scale[c];
      set_floats(program, graph, norm.node, argument, data);
    }
    count++;
  }
  return count;
}

}  // namespace sconce
