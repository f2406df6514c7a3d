#include "quantize/layers.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <set>

#include "passes/rewrite.h"

namespace sconce {
namespace {

ValueId value_at(const Node& node, size_t i) {
  auto* ref = i < node.arguments.size() ? std::get_if<ValueRef>(&node.arguments[i]) : nullptr;
  return ref ? ref->id : kNoValue;
}

std::optional<Layer> layer_of(const Graph& graph, NodeId id) {
  const Node& node = graph.nodes[size_t(id)];
  Layer layer;
  layer.node = id;
  layer.op = node.op;
  if (node.op == "aten::embedding") {
    layer.kind = Layer::Kind::embedding;
    layer.weight = value_at(node, 0);
  } else if (node.op == "aten::linear" || node.op == "aten::convolution" ||
             node.op == "aten::conv1d" || node.op == "aten::conv2d") {
    layer.kind = node.op == "aten::linear" ? Layer::Kind::linear : Layer::Kind::convolution;
    layer.x = value_at(node, 0);
    layer.weight = value_at(node, 1);
    layer.bias = value_at(node, 2);
  } else {
    return std::nullopt;
  }
  layer.y = node.results[0];
  if (layer.weight == kNoValue || graph.values[size_t(layer.weight)].origin != Origin::constant)
    return std::nullopt;
  return layer;
}

// Fills what follows from the weight; the reason why it must stay float.
std::string describe(const Program& program, const Graph& graph, Layer& layer) {
  const Node& node = graph.nodes[size_t(layer.node)];
  const TensorType& weight = graph.type(layer.weight).tensor;
  if (weight.dtype != DType::f32)
    return fmt::format("its weights are {}; f32, f16 and bf16 can be quantised",
                       dtype_name(weight.dtype));
  size_t rank = weight.sizes.size();
  if (rank < 2) return fmt::format("its weights have rank {}", rank);
  if (layer.kind == Layer::Kind::convolution) {
    layer.channel_dim = 1;
    bool whole = node.op == "aten::convolution";
    auto groups = known_number(program, graph, node.arguments[whole ? 8 : 6]);
    auto* transposed = whole ? std::get_if<bool>(&node.arguments[6]) : nullptr;
    if (!groups || *groups < 1 || (whole && !transposed)) return "its arguments are not fixed";
    layer.groups = int64_t(*groups);
    layer.axis = transposed && *transposed ? 1 : 0;
    if (layer.axis == 1 && layer.groups > 1) return "it is a transposed convolution in groups";
  } else if (layer.kind == Layer::Kind::linear) {
    if (rank != 2) return fmt::format("its weights have rank {}", rank);
    layer.channel_dim = int(graph.type(layer.x).tensor.sizes.size()) - 1;
    if (layer.channel_dim < 0) return "its input has rank 0";
  } else if (rank != 2) {
    return fmt::format("its weights have rank {}", rank);
  }
  int64_t count = 1;
  for (const SymInt& size : weight.sizes) count *= size.value;
  if (count == 0) return "its weights are empty";
  layer.outputs = weight.sizes[size_t(layer.axis)].value;
  layer.columns = count / layer.outputs;
  layer.window = count / (weight.sizes[0].value * weight.sizes[1].value);
  if (graph.type(layer.y).tensor.dtype != DType::f32)
    return fmt::format("its result is {}", dtype_name(graph.type(layer.y).tensor.dtype));
  if (layer.bias != kNoValue && (graph.values[size_t(layer.bias)].origin != Origin::constant ||
                                 graph.type(layer.bias).tensor.dtype != DType::f32))
    return "its bias is computed";
  if (layer.kind != Layer::Kind::embedding &&
      graph.values[size_t(layer.x)].origin == Origin::constant)
    return "its input is constant";
  return "";
}

// What a layer becomes when the scheme does not fit it as it stands.
Scheme fitted(const Layer& layer, Scheme scheme) {
  if (layer.kind == Layer::Kind::embedding) scheme.activations = Activations::numbers;
  if (layer.kind == Layer::Kind::convolution) {
    if (scheme.activations == Activations::dynamic) scheme.activations = Activations::numbers;
    scheme.group = 0;
  }
  if (layer.kind != Layer::Kind::convolution && scheme.bits == 4) {
    // Two columns to a byte, groups of the same size.
    if (layer.columns % 2 != 0 || (scheme.group && layer.columns % scheme.group != 0)) {
      scheme.bits = 8;
      scheme.group = 0;
    }
  }
  return scheme;
}

}  // namespace

bool matches_pattern(std::string_view pattern, std::string_view text) {
  size_t p = 0, t = 0, star = std::string_view::npos, from = 0;
  while (t < text.size()) {
    if (p < pattern.size() && pattern[p] == '*') {
      star = p++;
      from = t;
    } else if (p < pattern.size() && (pattern[p] == '?' || pattern[p] == text[t])) {
      p++, t++;
    } else if (star != std::string_view::npos) {
      p = star + 1;
      t = ++from;
    } else {
      return false;
    }
  }
  while (p < pattern.size() && pattern[p] == '*') p++;
  return p == pattern.size();
}

Result<std::vector<Layer>> find_layers(const Program& program, const Graph& graph,
                                       const Scheme& scheme, const std::vector<std::string>& keep) {
  std::vector<Layer> layers;
  std::set<std::string> names;
  std::vector<uint8_t> used(keep.size(), 0);
  for (NodeId id : graph.order) {
    auto layer = layer_of(graph, id);
    if (!layer) continue;
    const ValueInfo& weight = graph.values[size_t(layer->weight)];
    std::string name = program.constants[size_t(weight.index)].name;
    if (name.ends_with(".weight")) name.resize(name.size() - 7);
    if (name.empty()) name = weight.name;
    layer->name = name;
    for (int n = 2; !names.insert(layer->name).second; n++)
      layer->name = fmt::format("{}#{}", name, n);
    layer->why_float = describe(program, graph, *layer);
    layer->scheme = fitted(*layer, scheme);
    for (size_t k = 0; k < keep.size(); k++)
      if (matches_pattern(keep[k], layer->name) || matches_pattern(keep[k], layer->op)) {
        used[k] = 1;
        if (layer->why_float.empty()) layer->why_float = fmt::format("kept by \"{}\"", keep[k]);
      }
    layers.push_back(std::move(*layer));
  }
  for (size_t k = 0; k < keep.size(); k++)
    if (!used[k]) {
      std::string some;
      for (size_t i = 0; i < layers.size() && i < 4; i++)
        some += (i ? ", \"" : "\"") + layers[i].name + "\"";
      return error(Code::invalid_argument, "no layer fits \"{}\"; there are {} layers{}{}", keep[k],
                   layers.size(), some.empty() ? "" : ", such as ", some);
    }
  return layers;
}

std::vector<float> floats_of(const Program& program, const Graph& graph, ValueId constant) {
  const ConstantData& data = program.constants[size_t(graph.values[size_t(constant)].index)];
  CHECK(data.type.dtype == DType::f32);
  std::vector<float> out(data.bytes.size() / 4);
  if (!out.empty()) memcpy(out.data(), data.bytes.data(), out.size() * 4);
  return out;
}

ValueId add_floats(Program& program, Graph& graph, const std::vector<float>& data,
                   const TensorType& type, const std::string& name) {
  auto bytes = std::make_shared<std::vector<uint8_t>>(data.size() * 4);
  if (!data.empty()) memcpy(bytes->data(), data.data(), bytes->size());
  int32_t index = program.add_constant(type, std::move(bytes), name);
  return graph.add_value(Type::of(type), name, Origin::constant, index);
}

std::vector<float> weight_rows(const Program& program, const Graph& graph, const Layer& layer) {
  std::vector<float> data = floats_of(program, graph, layer.weight);
  if (layer.axis == 0) return data;
  // [inputs, outputs, window...] to [outputs][inputs, window...].
  int64_t inputs = layer.columns / layer.window;
  size_t window = size_t(layer.window);
  std::vector<float> rows(data.size());
  for (size_t i = 0; i < size_t(inputs); i++)
    for (size_t o = 0; o < size_t(layer.outputs); o++)
      memcpy(&rows[(o * size_t(inputs) + i) * window],
             &data[(i * size_t(layer.outputs) + o) * window], window * 4);
  return rows;
}

// --- what works on integers ----------------------------------------------------------------------

namespace {

bool limits(const std::string& op) {
  return op == "aten::relu" || op == "aten::relu6" || op == "aten::hardtanh" || op == "aten::clamp";
}

class Finder {
 public:
  Finder(const Program& program, const Graph& graph, const std::vector<Layer>& layers)
      : program_(program), graph_(graph), layers_(layers) {}

  IntegerRegion run() {
    size_t values = graph_.values.size();
    users_.resize(values);
    leaves_.assign(values, 0);
    for (NodeId id : graph_.order)
      Graph::for_each_use(node(id), [&](ValueId used) { users_[size_t(used)].push_back(id); });
    for (ValueId id : graph_.outputs) leaves_[size_t(id)] = 1;
    for (const WriteBack& write : graph_.write_backs) leaves_[size_t(write.value)] = 1;
    region_.node.assign(graph_.nodes.size(), 0);
    region_.value.assign(values, 0);
    region_.made.assign(values, 0);
    for (const Layer& layer : layers_)
      if (layer.why_float.empty() && layer.scheme.activations == Activations::fixed)
        region_.node[size_t(layer.node)] = 2;
    for (NodeId id : graph_.order)
      if (!region_.node[size_t(id)] && may_join(node(id))) region_.node[size_t(id)] = 1;
    for (bool changed = true; changed;) {
      changed = false;
      mark_made();
      for (NodeId id : graph_.order) {
        if (region_.node[size_t(id)] != 1 || (is_fed(node(id)) && is_read(end(id)))) continue;
        region_.node[size_t(id)] = 0;
        changed = true;
      }
    }
    choose_values();
    share_ranges();
    return region_;
  }

  // After run(): nothing on integers stands before the layer or after it.
  bool is_lone(const Layer& layer) const {
    return !region_.made[size_t(layer.x)] && !is_read(end(layer.node));
  }

 private:
  const Node& node(NodeId id) const { return graph_.nodes[size_t(id)]; }
  bool is_f32(ValueId id) const {
    return graph_.type(id).is_tensor() && graph_.type(id).tensor.dtype == DType::f32;
  }
  // Operands that are integers when the node works on integers.
  std::vector<ValueId> operands(NodeId id) const {
    std::vector<ValueId> result;
    if (region_.node[size_t(id)] == 2) return {value_at(node(id), 0)};
    Graph::for_each_use(node(id), [&](ValueId used) {
      if (graph_.type(used).is_tensor()) result.push_back(used);
    });
    return result;
  }
  bool may_join(const Node& n) const {
    if (n.results.empty() || !is_f32(n.results[0]) || !is_static(graph_.type(n.results[0]).tensor))
      return false;
    auto number = [&](size_t i) { return known_number(program_, graph_, n.arguments[i]); };
    if (n.op == "aten::add.Tensor" || n.op == "aten::sub.Tensor") return number(2) == 1.0;
    if (n.op == "aten::max_pool2d_with_indices") return users_[size_t(n.results[1])].empty();
    if (n.op == "aten::adaptive_avg_pool2d" || n.op == "aten::_adaptive_avg_pool2d") {
      auto* sizes = std::get_if<std::vector<IntItem>>(&n.arguments[1]);
      return sizes && std::all_of(sizes->begin(), sizes->end(),
                                  [](const IntItem& i) { return i.is_known() && i.known == 1; });
    }
    if (n.op == "aten::mean.dim") return std::holds_alternative<None>(n.arguments[3]);
    if (limits(n.op)) return true;
    return n.op == "aten::mul.Tensor" || n.op == "aten::cat" || only_moves(n.op);
  }
  // The value that is quantised after a node: its result, or that of the limit which alone reads
  // it.
  ValueId end(NodeId id) const {
    const Node& n = node(id);
    ValueId result = n.results[0];
    const auto& users = users_[size_t(result)];
    if (only_moves(n.op) || limits(n.op) || n.op == "aten::cat" || leaves_[size_t(result)] ||
        users.size() != 1 || !limits(node(users[0]).op))
      return result;
    return node(users[0]).results[0];
  }
  void mark_made() {
    std::fill(region_.made.begin(), region_.made.end(), 0);
    for (NodeId id : graph_.order)
      if (region_.node[size_t(id)]) region_.made[size_t(end(id))] = 1;
  }
  bool is_fed(const Node& n) const {
    NodeId id = graph_.values[size_t(n.results[0])].index;
    std::vector<ValueId> from = operands(id);
    // A limit that ends another node is part of that one.
    if (limits(n.op) && !from.empty() && graph_.is_node(from[0])) {
      NodeId before = graph_.values[size_t(from[0])].index;
      if (region_.node[size_t(before)] && end(before) == n.results[0]) return false;
    }
    return !from.empty() && std::all_of(from.begin(), from.end(),
                                        [&](ValueId v) { return region_.made[size_t(v)] != 0; });
  }
  bool is_read(ValueId id) const {
    for (NodeId user : users_[size_t(id)]) {
      if (!region_.node[size_t(user)]) continue;
      std::vector<ValueId> read = operands(user);
      if (std::find(read.begin(), read.end(), id) != read.end()) return true;
    }
    return false;
  }
  void choose_values() {
    for (NodeId id : graph_.order) {
      if (!region_.node[size_t(id)]) continue;
      for (ValueId v : operands(id)) region_.value[size_t(v)] = 1;
      region_.value[size_t(end(id))] = 1;
    }
  }
  // What moves elements keeps the range of its operand; parts of a cat take that of the whole.
  void share_ranges() {
    region_.range.resize(graph_.values.size());
    for (size_t v = 0; v < region_.range.size(); v++) region_.range[v] = ValueId(v);
    auto root = [&](ValueId v) {
      while (region_.range[size_t(v)] != v) v = region_.range[size_t(v)];
      return v;
    };
    for (NodeId id : graph_.order) {
      if (!region_.node[size_t(id)]) continue;
      const Node& n = node(id);
      if (n.op == "aten::cat") {
        for (ValueId part : operands(id))
          if (ValueId from = root(part), to = root(n.results[0]); from != to)
            region_.range[size_t(from)] = to;
      } else if (only_moves(n.op) || n.op == "aten::max_pool2d_with_indices") {
        ValueId from = root(operands(id)[0]), to = root(end(id));
        if (from != to) region_.range[size_t(to)] = from;
      }
    }
    for (size_t v = 0; v < region_.range.size(); v++) region_.range[v] = root(ValueId(v));
  }

  const Program& program_;
  const Graph& graph_;
  const std::vector<Layer>& layers_;
  IntegerRegion region_;
  std::vector<std::vector<NodeId>> users_;
  std::vector<uint8_t> leaves_;  // outputs and new state
};

}  // namespace

IntegerRegion find_integer_region(const Program& program, const Graph& graph,
                                  const std::vector<Layer>& layers) {
  return Finder(program, graph, layers).run();
}

void free_lone_linears(const Program& program, const Graph& graph, std::vector<Layer>& layers) {
  for (bool changed = true; changed;) {
    changed = false;
    Finder finder(program, graph, layers);
    finder.run();
    for (Layer& layer : layers) {
      if (!layer.why_float.empty() || layer.kind != Layer::Kind::linear ||
          layer.scheme.activations != Activations::fixed || layer.scheme.everywhere ||
          !finder.is_lone(layer))
        continue;
      layer.scheme.activations = Activations::dynamic;
      changed = true;
    }
  }
}

}  // namespace sconce
