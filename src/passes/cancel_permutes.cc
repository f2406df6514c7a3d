// Permutes that meet their inverse, or each other, across pointwise operators.
//
// From each permute a region of pointwise operators is grown that compute on permuted tensors, and
// of cat, slice and padding, whose dimensions are renamed. Their operands may come from equal
// permutes and from constants. When computing in the original order takes fewer permutes, the
// region is turned: permutes before it go away, inverse ones after it too, and what else leaves it
// gets a permute of its own. Which order of dimensions a convolution likes is not asked here; that
// is for the target to know.
#include <algorithm>
#include <unordered_map>
#include <unordered_set>

#include "ops/traits.h"
#include "passes/passes.h"
#include "passes/rewrite.h"

namespace sconce {
namespace {

constexpr size_t kRegionMax = 256;  // nodes

std::vector<int64_t> inverse(const std::vector<int64_t>& dims) {
  std::vector<int64_t> back(dims.size());
  for (size_t i = 0; i < dims.size(); i++) back[size_t(dims[i])] = int64_t(i);
  return back;
}
// Sizes of permute(x, dims).
std::vector<SymInt> permuted(const std::vector<SymInt>& sizes, const std::vector<int64_t>& dims) {
  std::vector<SymInt> result;
  for (int64_t dim : dims) result.push_back(sizes[size_t(dim)]);
  return result;
}
std::vector<IntItem> items_of(const std::vector<int64_t>& dims) {
  std::vector<IntItem> items;
  for (int64_t dim : dims) items.push_back({dim});
  return items;
}

// An operator that does the same whatever order its dimensions stand in, once they are renamed:
// permuted dimension d becomes dims[d]. False when the node is another, or a dimension is not
// known.
bool rename_dimensions(Node& node, const std::vector<int64_t>& dims) {
  int64_t rank = int64_t(dims.size());
  if (node.op == "aten::cat" || node.op == "aten::slice.Tensor") {
    auto* dim = node.arguments.size() > 1 ? std::get_if<int64_t>(&node.arguments[1]) : nullptr;
    if (!dim || *dim < -rank || *dim >= rank) return false;
    node.arguments[1] = dims[size_t(*dim < 0 ? *dim + rank : *dim)];
    return true;
  }
  if (node.op != "aten::constant_pad_nd") return false;
  auto* pads = std::get_if<std::vector<IntItem>>(&node.arguments[1]);
  if (!pads || pads->size() % 2 != 0 || int64_t(pads->size()) > 2 * rank) return false;
  std::vector<IntItem> renamed(size_t(2 * rank), IntItem{0});
  for (size_t k = 0; k < pads->size(); k++) {  // the last dimension stands first
    int64_t dim = dims[size_t(rank - 1) - k / 2];
    renamed[size_t(2 * (rank - 1 - dim)) + k % 2] = (*pads)[k];
  }
  while (renamed.size() > 2 && renamed.back() == IntItem{0} &&
         renamed[renamed.size() - 2] == IntItem{0})
    renamed.resize(renamed.size() - 2);
  node.arguments[1] = std::move(renamed);
  return true;
}

class Canceller {
 public:
  explicit Canceller(Graph& graph) : graph_(graph) {}

  void run() {
    find_users();
    for (NodeId id : std::vector<NodeId>(graph_.order)) {
      if (graph_.nodes[size_t(id)].removed || tried_.count(id)) continue;
      dims_ = permutation(graph_, graph_.nodes[size_t(id)]);
      if (dims_.empty() || is_identity(dims_)) continue;
      grow(id);
      if (gain() > 0) turn();
    }
    if (after_.empty()) {
      drop_removed(graph_);
      return;
    }
    std::vector<NodeId> order;
    for (NodeId id : graph_.order) {
      if (auto before = before_.find(id); before != before_.end())
        order.insert(order.end(), before->second.begin(), before->second.end());
      order.push_back(id);
      if (auto after = after_.find(id); after != after_.end())
        order.insert(order.end(), after->second.begin(), after->second.end());
    }
    graph_.order = std::move(order);
    drop_removed(graph_);
  }

 private:
  static constexpr NodeId kOutside = -1;  // an output or write-back
  const std::vector<SymInt>& sizes(ValueId id) const { return graph_.type(id).tensor.sizes; }

  void find_users() {
    users_.assign(graph_.values.size(), {});
    for (NodeId id : graph_.order)
      Graph::for_each_use(graph_.nodes[size_t(id)], [&](ValueId used) {
        if (users_[size_t(used)].empty() || users_[size_t(used)].back() != id)
          users_[size_t(used)].push_back(id);
      });
    for (ValueId id : graph_.outputs) users_[size_t(id)].push_back(kOutside);
    for (const WriteBack& write : graph_.write_backs)
      users_[size_t(write.value)].push_back(kOutside);
  }

  // A node may compute in the original order when all its tensors can be had in it.
  bool may_turn(const Node& node) {
    if (!is_operator(node) || node.results.size() != 1) return false;
    const Op* op = find_op(node.op);
    if (!op || !graph_.type(node.results[0]).is_tensor()) return false;
    if (Node probe = node; !is_pointwise(*op) && !rename_dimensions(probe, dims_)) return false;
    if (sizes(node.results[0]).size() != dims_.size()) return false;
    if (node.op == "aten::_to_copy" && node.arguments.size() > 6 &&
        !std::holds_alternative<None>(node.arguments[6]))
      return false;
    bool fits = true;
    Graph::for_each_use(node, [&](ValueId used) {
      const Type& type = graph_.type(used);
      if (!type.is_tensor() || inside_.count(used)) return;
      bool one = std::all_of(type.tensor.sizes.begin(), type.tensor.sizes.end(),
                             [](const SymInt& s) { return s == SymInt(1); });
      if (one && type.tensor.sizes.size() <= dims_.size()) return;
      bool constant = graph_.values[size_t(used)].origin == Origin::constant &&
                      type.tensor.sizes.size() == dims_.size();
      fits &=
          constant || (graph_.is_node(used) && permutation(graph_, graph_.producer(used)) == dims_);
    });
    return fits;
  }

  void grow(NodeId start) {
    inside_.clear();
    region_.clear();
    inputs_.clear();
    std::vector<ValueId> work;
    auto enter = [&](NodeId permute) {
      ValueId result = graph_.nodes[size_t(permute)].results[0];
      inputs_.push_back(permute);
      tried_.insert(permute);
      inside_.insert(result);
      work.push_back(result);
    };
    enter(start);
    while (!work.empty() && region_.size() < kRegionMax) {
      ValueId value = work.back();
      work.pop_back();
      for (NodeId user : users_[size_t(value)]) {
        if (user == kOutside) continue;
        const Node& node = graph_.nodes[size_t(user)];
        if (node.removed || (!node.results.empty() && inside_.count(node.results[0])) ||
            !may_turn(node))
          continue;
        region_.push_back(user);
        inside_.insert(node.results[0]);
        work.push_back(node.results[0]);
        Graph::for_each_use(node, [&](ValueId used) {
          if (!inside_.count(used) && graph_.is_node(used) &&
              permutation(graph_, graph_.producer(used)) == dims_)
            enter(graph_.values[size_t(used)].index);
        });
      }
    }
  }

  bool in_region(NodeId user) const {
    if (user == kOutside) return false;
    const Node& node = graph_.nodes[size_t(user)];
    return !node.results.empty() && inside_.count(node.results[0]) &&
           permutation(graph_, node).empty();
  }
  // Users that see the value as it is now. Permutes can be joined with the one before them.
  bool leaves(NodeId user) const {
    if (in_region(user)) return false;
    return user == kOutside || permutation(graph_, graph_.nodes[size_t(user)]).empty();
  }
  bool cancels(NodeId user) const {
    if (user == kOutside || in_region(user)) return false;
    return permutation(graph_, graph_.nodes[size_t(user)]) == inverse(dims_);
  }

  // Permutes fewer than before.
  int gain() const {
    if (region_.empty()) return 0;
    int gain = 0;
    for (NodeId permute : inputs_) {
      ValueId result = graph_.nodes[size_t(permute)].results[0];
      const auto& users = users_[size_t(result)];
      gain += std::none_of(users.begin(), users.end(), [&](NodeId user) { return leaves(user); });
    }
    for (NodeId id : region_) {
      const auto& users = users_[size_t(graph_.nodes[size_t(id)].results[0])];
      for (NodeId user : users) gain += cancels(user);
      gain -= std::any_of(users.begin(), users.end(), [&](NodeId user) { return leaves(user); });
    }
    return gain;
  }

  ValueId add_permute(ValueId x, const std::vector<int64_t>& dims, const std::string& source,
                      std::vector<NodeId>& place) {
    TensorType type{graph_.type(x).tensor.dtype, permuted(sizes(x), dims), {}};
    NodeId id =
        graph_.add_node("aten::permute", {ValueRef{x}, items_of(dims)}, {Type::of(type)}, source);
    graph_.order.pop_back();
    place.push_back(id);
    return graph_.nodes[size_t(id)].results[0];
  }

  void turn() {
    std::vector<int64_t> back = inverse(dims_);
    std::unordered_map<ValueId, ValueId> original;  // of permuted inputs and constants
    for (NodeId permute : inputs_)
      original[graph_.nodes[size_t(permute)].results[0]] =
          std::get<ValueRef>(graph_.nodes[size_t(permute)].arguments[0]).id;
    for (NodeId id : region_) {
      std::vector<ValueId> used;
      Graph::for_each_use(graph_.nodes[size_t(id)], [&](ValueId value) { used.push_back(value); });
      for (ValueId value : used) {
        bool constant = graph_.values[size_t(value)].origin == Origin::constant;
        if (!constant || original.count(value) || sizes(value).size() != dims_.size()) continue;
        std::string source = graph_.nodes[size_t(id)].source;
        // Before the first node of all, as other nodes of the region may come earlier than this
        // one.
        original[value] = add_permute(value, back, source, before_[graph_.order.front()]);
      }
      Graph::for_each_use(graph_.nodes[size_t(id)], [&](ValueId& value) {
        if (auto found = original.find(value); found != original.end()) value = found->second;
      });
      (void)rename_dimensions(graph_.nodes[size_t(id)], dims_);
    }
    std::vector<std::pair<ValueId, ValueId>> gone;
    for (NodeId id : region_) {
      ValueId result = graph_.nodes[size_t(id)].results[0];
      TensorType& type = graph_.values[size_t(result)].type.tensor;
      type.sizes = permuted(type.sizes, back);
      ValueId turned = kNoValue;
      for (NodeId user : std::vector<NodeId>(users_[size_t(result)])) {
        if (in_region(user)) continue;
        if (leaves(user)) {
          if (turned == kNoValue)
            turned = add_permute(result, dims_, graph_.nodes[size_t(id)].source, after_[id]);
          if (user == kOutside) {
            for (ValueId& output : graph_.outputs)
              if (output == result) output = turned;
            for (WriteBack& write : graph_.write_backs)
              if (write.value == result) write.value = turned;
          } else {
            Graph::for_each_use(graph_.nodes[size_t(user)], [&](ValueId& value) {
              if (value == result) value = turned;
            });
          }
          continue;
        }
        Node& node = graph_.nodes[size_t(user)];
        std::vector<int64_t> both = permutation(graph_, node);
        for (int64_t& dim : both) dim = dims_[size_t(dim)];
        if (is_identity(both)) {
          gone.emplace_back(node.results[0], result);
          node.removed = true;
        } else {
          node.op = "aten::permute";
          node.arguments = {ValueRef{result}, items_of(both)};
        }
      }
    }
    for (auto [from, to] : gone) graph_.replace_all_uses(from, to);
    after_.try_emplace(-1);  // something was changed
    graph_.order.reserve(graph_.order.size());
    // Nodes that wait for their place use values too.
    find_users();
    for (auto* places : {&before_, &after_})
      for (auto& [at, ids] : *places)
        for (NodeId id : ids) {
          for (auto [from, to] : gone)
            Graph::for_each_use(graph_.nodes[size_t(id)], [&](ValueId& value) {
              if (value == from) value = to;
            });
          Graph::for_each_use(graph_.nodes[size_t(id)],
                              [&](ValueId used) { users_[size_t(used)].push_back(id); });
        }
  }

  Graph& graph_;
  std::vector<int64_t> dims_;
  std::vector<std::vector<NodeId>> users_;  // by ValueId
  std::unordered_set<NodeId> tried_;
  std::unordered_set<ValueId>
      inside_;  // values in permuted order that can be had in the original one
  std::vector<NodeId> region_, inputs_;
  std::unordered_map<NodeId, std::vector<NodeId>> before_, after_;  // new nodes beside old ones
};

}  // namespace

Result<void> cancel_permutes(Program&, Graph& graph, const PassContext&) {
  Canceller(graph).run();
  return {};
}

}  // namespace sconce
