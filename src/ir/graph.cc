#include "ir/graph.h"

#include <cstring>

#include "base/checked.h"

namespace sconce {

ValueId Graph::add_value(Type type, std::string name_hint, Origin origin, int32_t index,
                         int32_t result) {
  ValueId id = ValueId(values.size());
  if (name_hint.empty()) name_hint = std::to_string(id);
  // Names are unique: a number follows when the hint is taken.
  if (!names_.insert(name_hint).second) {
    std::string base = name_hint + "_";
    for (int64_t k = id;; k++) {
      name_hint = base + std::to_string(k);
      if (names_.insert(name_hint).second) break;
    }
  }
  values.push_back({std::move(type), std::move(name_hint), origin, index, result});
  return id;
}

ValueId Graph::add_input(Type type, std::string name_hint) {
  ValueId id = add_value(std::move(type), std::move(name_hint), Origin::input, int32_t(inputs.size()));
  inputs.push_back(id);
  return id;
}

NodeId Graph::add_node(std::string op, std::vector<Argument> arguments, std::vector<Type> types,
                       std::string source, std::string name_hint) {
  NodeId id = NodeId(nodes.size());
  Node node;
  node.op = std::move(op);
  node.arguments = std::move(arguments);
  node.source = std::move(source);
  for (size_t r = 0; r < types.size(); r++)
    node.results.push_back(add_value(std::move(types[r]), name_hint, Origin::node, id, int32_t(r)));
  nodes.push_back(std::move(node));
  order.push_back(id);
  return id;
}

void Graph::replace_all_uses(ValueId from, ValueId to) {
  for (NodeId id : order)
    for_each_use(nodes[size_t(id)], [&](ValueId& used) { if (used == from) used = to; });
  for (ValueId& id : outputs) if (id == from) id = to;
  for (WriteBack& write : write_backs) if (write.value == from) write.value = to;
}

std::vector<int32_t> Graph::use_counts() const {
  std::vector<int32_t> counts(values.size(), 0);
  for (NodeId id : order) for_each_use(nodes[size_t(id)], [&](ValueId used) { counts[size_t(used)]++; });
  for (ValueId id : outputs) counts[size_t(id)]++;
  for (const WriteBack& write : write_backs) counts[size_t(write.value)]++;
  return counts;
}

void Graph::remove_node(NodeId id) {
  nodes[size_t(id)].removed = true;
  std::erase(order, id);
}

int32_t Program::add_constant(TensorType type, std::shared_ptr<const std::vector<uint8_t>> bytes, std::string name) {
  Bytes view(*bytes);
  for (size_t i = 0; i < constants.size(); i++) {
    const ConstantData& c = constants[i];
    if (c.bytes.size() == view.size() && c.type == type && view.size() <= 4096 && (view.empty() || memcmp(c.bytes.data(), view.data(), view.size()) == 0))
      return int32_t(i);
  }
  constants.push_back({std::move(type), view, std::move(name), {}, std::move(bytes)});
  return int32_t(constants.size()) - 1;
}

std::optional<std::vector<int64_t>> sizes_max(const TensorType& type, const SymbolTable& symbols) {
  std::vector<int64_t> sizes;
  for (const SymInt& size : type.sizes) {
    int64_t max = size.is_known() ? size.value : symbols.bounds(size).max;
    if (max >= (int64_t{1} << 40)) return std::nullopt;
    sizes.push_back(max < 0 ? 0 : max);
  }
  return sizes;
}

std::optional<uint64_t> bytes_max(const TensorType& type, const SymbolTable& symbols) {
  auto sizes = sizes_max(type, symbols);
  if (!sizes) return std::nullopt;
  uint64_t bytes = dtype_bytes(type.dtype);
  for (int64_t size : *sizes) if (!checked_multiply(bytes, uint64_t(size), &bytes)) return std::nullopt;
  return bytes;
}

bool is_static(const TensorType& type) {
  for (const SymInt& size : type.sizes) if (!size.is_known()) return false;
  return true;
}

}  // namespace sconce
