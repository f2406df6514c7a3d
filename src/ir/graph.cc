#include "ir/graph.h"

#include <algorithm>
#include <cstring>

#include "base/checked.h"

namespace sconce {

namespace {
constexpr size_t kSmallConstantBytesMax = 4096;
}

ValueId Graph::add_value(Type type, std::string name_hint, Origin origin, int32_t index,
                         int32_t result) {
  if (used_names.size() != values.size()) {
    used_names.clear();
    for (const ValueInfo& value : values) used_names.insert(value.name);
  }
  ValueId id = ValueId(values.size());
  std::string name = name_hint.empty() ? std::to_string(id) : name_hint;
  if (!used_names.insert(name).second) {
    std::string stem = name + "_";
    int32_t& count = name_counts[name];
    do name = stem + std::to_string(++count);
    while (!used_names.insert(name).second);
  }
  values.push_back({std::move(type), std::move(name), origin, index, result});
  return id;
}

ValueId Graph::add_input(Type type, std::string name_hint) {
  ValueId id =
      add_value(std::move(type), std::move(name_hint), Origin::input, int32_t(inputs.size()));
  inputs.push_back(id);
  return id;
}

NodeId Graph::add_node(std::string op, std::vector<Argument> arguments, std::vector<Type> types,
                       std::string source, std::string name_hint) {
  NodeId id = NodeId(nodes.size());
  nodes.push_back({std::move(op), std::move(arguments), {}, std::move(source), false});
  order.push_back(id);
  for (size_t i = 0; i < types.size(); i++) {
    ValueId value = add_value(std::move(types[i]), name_hint, Origin::node, id, int32_t(i));
    nodes.back().results.push_back(value);
  }
  return id;
}

void Graph::replace_all_uses(ValueId from, ValueId to) {
  auto replace = [&](ValueId& id) {
    if (id == from) id = to;
  };
  for (Node& node : nodes)
    if (!node.removed) for_each_use(node, replace);
  for (ValueId& id : outputs) replace(id);
  for (WriteBack& write_back : write_backs) replace(write_back.value);
}

void Graph::replace_all_uses(Span<const ValueId> to) {
  std::vector<ValueId> last(to.begin(), to.end());
  auto next = [&](ValueId id) {
    return id >= 0 && size_t(id) < last.size() && last[size_t(id)] != kNoValue ? last[size_t(id)]
                                                                               : id;
  };
  std::vector<ValueId> path;
  for (size_t start = 0; start < last.size(); start++) {
    ValueId id = ValueId(start);
    path.clear();
    while (next(id) != id) {
      CHECK(path.size() <= last.size());  // a cycle has no end
      path.push_back(id);
      id = next(id);
    }
    for (ValueId passed : path) last[size_t(passed)] = id;
  }
  auto replace = [&](ValueId& id) { id = next(id); };
  for (Node& node : nodes)
    if (!node.removed) for_each_use(node, replace);
  for (ValueId& id : outputs) replace(id);
  for (WriteBack& write_back : write_backs) replace(write_back.value);
}

std::vector<int32_t> Graph::use_counts() const {
  std::vector<int32_t> counts(values.size());
  for (const Node& node : nodes)
    if (!node.removed) for_each_use(node, [&](ValueId id) { counts[size_t(id)]++; });
  for (ValueId id : outputs) counts[size_t(id)]++;
  for (const WriteBack& write_back : write_backs) counts[size_t(write_back.value)]++;
  return counts;
}

void Graph::remove_node(NodeId id) {
  nodes[size_t(id)].removed = true;
  // Passes that remove one by one mostly walk backwards.
  auto found = std::find(order.rbegin(), order.rend(), id);
  if (found != order.rend()) order.erase(std::next(found).base());
}

void Graph::remove_nodes(Span<const NodeId> ids) {
  if (ids.empty()) return;
  for (NodeId id : ids) nodes[size_t(id)].removed = true;
  std::erase_if(order, [&](NodeId id) { return nodes[size_t(id)].removed; });
}

void Graph::compact() {
  std::vector<int32_t> counts = use_counts();
  std::vector<NodeId> new_node(nodes.size(), -1);
  std::vector<Node> kept_nodes;
  kept_nodes.reserve(order.size());
  for (NodeId& id : order) {
    new_node[size_t(id)] = NodeId(kept_nodes.size());
    kept_nodes.push_back(std::move(nodes[size_t(id)]));
    id = NodeId(kept_nodes.size()) - 1;
  }
  nodes = std::move(kept_nodes);

  // A buffer that is written and never read has its value still.
  auto is_written = [&](const ValueInfo& value) {
    return value.origin == Origin::buffer &&
           std::any_of(write_backs.begin(), write_backs.end(), [&](const WriteBack& write) {
             return write.target == WriteBack::Target::buffer && write.index == value.index;
           });
  };
  std::vector<ValueId> new_value(values.size(), kNoValue);
  std::vector<ValueInfo> kept_values;
  for (size_t i = 0; i < values.size(); i++) {
    ValueInfo& value = values[i];
    if (value.origin == Origin::node) {
      value.index = new_node[size_t(value.index)];
      if (value.index < 0) continue;
    } else if (value.origin != Origin::input && counts[i] == 0 && !is_written(value)) {
      continue;
    }
    new_value[i] = ValueId(kept_values.size());
    kept_values.push_back(std::move(value));
  }
  values = std::move(kept_values);
  used_names.clear();
  name_counts.clear();
  for (const ValueInfo& value : values) used_names.insert(value.name);

  std::vector<int> new_subgraph(subgraphs.size(), -1);
  std::vector<std::unique_ptr<Graph>> kept_subgraphs;
  auto renumber = [&](ValueId& id) { id = new_value[size_t(id)]; };
  for (Node& node : nodes) {
    for_each_use(node, renumber);
    for (ValueId& id : node.results) renumber(id);
    for (Argument& argument : node.arguments) {
      auto* ref = std::get_if<GraphRef>(&argument);
      if (!ref) continue;
      int& to = new_subgraph[size_t(ref->index)];
      if (to < 0) {
        to = int(kept_subgraphs.size());
        kept_subgraphs.push_back(std::move(subgraphs[size_t(ref->index)]));
        kept_subgraphs.back()->compact();
      }
      ref->index = to;
    }
  }
  subgraphs = std::move(kept_subgraphs);
  for (ValueId& id : inputs) renumber(id);
  for (ValueId& id : outputs) renumber(id);
  for (WriteBack& write_back : write_backs) renumber(write_back.value);
}

UserIndex::UserIndex(Graph& graph) : graph_(graph) {
  grow();
  for (NodeId id : graph.order) add(id);
  for (ValueId id : graph.outputs) output_counts_[size_t(id)]++;
  for (const WriteBack& write_back : graph.write_backs) output_counts_[size_t(write_back.value)]++;
}

void UserIndex::grow() {
  if (users_.size() < graph_.values.size()) {
    users_.resize(graph_.values.size());
    output_counts_.resize(graph_.values.size());
  }
}

Span<const NodeId> UserIndex::users(ValueId id) const {
  if (size_t(id) >= users_.size()) return {};
  return users_[size_t(id)];
}

bool UserIndex::is_output(ValueId id) const {
  return size_t(id) < output_counts_.size() && output_counts_[size_t(id)] > 0;
}

void UserIndex::add(NodeId id) {
  grow();
  Graph::for_each_use(std::as_const(graph_.nodes[size_t(id)]), [&](ValueId used) {
    std::vector<NodeId>& users = users_[size_t(used)];
    // Uses of one node come together, so the last entry tells of a second use.
    if (users.empty() || users.back() != id) users.push_back(id);
  });
}

void UserIndex::remove(NodeId id) {
  Graph::for_each_use(std::as_const(graph_.nodes[size_t(id)]), [&](ValueId used) {
    if (size_t(used) < users_.size()) std::erase(users_[size_t(used)], id);
  });
}

void UserIndex::replace_all_uses(ValueId from, ValueId to) {
  if (from == to) return;
  grow();
  std::vector<NodeId> moved = std::move(users_[size_t(from)]);
  users_[size_t(from)].clear();
  std::vector<NodeId>& users = users_[size_t(to)];
  for (NodeId id : moved) {
    bool listed = false;  // it uses both
    Graph::for_each_use(graph_.nodes[size_t(id)], [&](ValueId& used) {
      if (used == to) listed = true;
    });
    Graph::for_each_use(graph_.nodes[size_t(id)], [&](ValueId& used) {
      if (used == from) used = to;
    });
    if (!listed) users.push_back(id);
  }
  if (output_counts_[size_t(from)] > 0) {
    for (ValueId& id : graph_.outputs)
      if (id == from) id = to;
    for (WriteBack& write_back : graph_.write_backs)
      if (write_back.value == from) write_back.value = to;
    output_counts_[size_t(to)] += output_counts_[size_t(from)];
    output_counts_[size_t(from)] = 0;
  }
}

namespace {

// Of what add_constant compares: content when that is little, else the name stands for it.
uint64_t constant_hash(const TensorType& type, Bytes bytes, const std::string& name) {
  uint64_t hash = 0xcbf29ce484222325;
  auto mix = [&](uint64_t byte) { hash = (hash ^ byte) * 0x100000001b3; };
  mix(uint64_t(type.dtype));
  mix(bytes.size());
  if (bytes.size() <= kSmallConstantBytesMax) {
    for (uint8_t byte : bytes) mix(byte);
  } else {
    for (char c : name) mix(uint8_t(c));
  }
  return hash;
}

}  // namespace

int32_t Program::add_constant(TensorType type, std::shared_ptr<const std::vector<uint8_t>> bytes,
                              std::string name) {
  if (constants_indexed > constants.size()) {
    constants_by_hash.clear();
    constants_indexed = 0;
  }
  for (; constants_indexed < constants.size(); constants_indexed++) {
    const ConstantData& data = constants[constants_indexed];
    constants_by_hash.emplace(constant_hash(data.type, data.bytes, data.name),
                              int32_t(constants_indexed));
  }
  Bytes view(bytes->data(), bytes->size());
  auto [first, last] = constants_by_hash.equal_range(constant_hash(type, view, name));
  for (; first != last; ++first) {
    if (size_t(first->second) >= constants.size()) continue;
    const ConstantData& data = constants[size_t(first->second)];
    if (data.type == type && data.bytes.size() == view.size() &&
        (view.size() <= kSmallConstantBytesMax || data.name == name) &&
        (view.empty() || std::memcmp(data.bytes.data(), view.data(), view.size()) == 0))
      return first->second;
  }
  ConstantData data;
  data.type = std::move(type);
  data.bytes = view;
  data.name = std::move(name);
  data.owned = std::move(bytes);
  constants.push_back(std::move(data));
  return int32_t(constants.size()) - 1;
}

std::optional<std::vector<int64_t>> sizes_max(const TensorType& type, const SymbolTable& symbols) {
  std::vector<int64_t> sizes;
  for (const SymInt& size : type.sizes) {
    int64_t max = symbols.bounds(size).max;
    if (max > INT32_MAX) return std::nullopt;
    sizes.push_back(std::max<int64_t>(max, 0));
  }
  return sizes;
}

std::optional<uint64_t> bytes_max(const TensorType& type, const SymbolTable& symbols) {
  auto sizes = sizes_max(type, symbols);
  if (!sizes) return std::nullopt;
  if (std::find(sizes->begin(), sizes->end(), 0) != sizes->end()) return 0;
  uint64_t bytes = dtype_bytes(type.dtype);
  for (int64_t size : *sizes)
    if (!checked_multiply(bytes, uint64_t(size), &bytes)) return std::nullopt;
  return bytes;
}

bool is_static(const TensorType& type) {
  return std::all_of(type.sizes.begin(), type.sizes.end(),
                     [](const SymInt& size) { return size.is_known(); });
}

static Graph copy(const Graph& graph) {
  Graph made;
  made.name = graph.name;
  made.values = graph.values;
  made.nodes = graph.nodes;
  made.order = graph.order;
  made.inputs = graph.inputs;
  made.outputs = graph.outputs;
  made.write_backs = graph.write_backs;
  for (const auto& inner : graph.subgraphs)
    made.subgraphs.push_back(std::make_unique<Graph>(copy(*inner)));
  return made;
}

std::unique_ptr<Program> copy(const Program& program) {
  auto made = std::make_unique<Program>();
  made->symbols = program.symbols;
  made->constants = program.constants;
  made->buffers = program.buffers;
  made->own_kernels = program.own_kernels;
  for (const Method& method : program.methods) {
    Method same;
    same.name = method.name;
    same.graph = copy(method.graph);
    same.fixed_inputs = method.fixed_inputs;
    same.in_spec = method.in_spec;
    same.out_spec = method.out_spec;
    same.input_names = method.input_names;
    made->methods.push_back(std::move(same));
  }
  made->delegates = program.delegates;
  made->named_data = program.named_data;
  made->keep_alive = program.keep_alive;
  return made;
}

}  // namespace sconce
