#include "ops/build.h"
#include "ops/prim/prim.h"
#include "passes/pipeline.h"
#include "passes/rewrite.h"

namespace sconce {
namespace {

constexpr int kDepthMax = 16;  // decompositions of decompositions

struct Missing {
  std::string op, source;
};

// Rewrites nodes that the target lacks. One sweep builds a new order; what a decomposition adds is
// looked at again at once.
class Legalizer {
 public:
  Legalizer(Program& program, Graph& graph, const PassContext& context)
      : program_(program), graph_(graph), context_(context), replacements_(graph) {}

  Result<void> run() {
    // The target is asked while the graph is whole: it may look at the other users of an operand.
    std::vector<NodeId> order = graph_.order;
    asked_.assign(graph_.nodes.size(), kUnknown);
    for (NodeId id : order) {
      const Node& node = graph_.nodes[size_t(id)];
      const Op* op = is_operator(node) ? find_op(node.op) : nullptr;
      if (op) asked_[size_t(id)] = context_.has_node(*op, program_, graph_, node) ? kHas : kLacks;
    }
    graph_.order.clear();
    for (NodeId id : order) TRY_VOID(place(id, 0));
    replacements_.apply(graph_);
    if (missing_.empty()) return {};
    std::string text = fmt::format("{} operators are not there on this target:", missing_.size());
    for (const Missing& m : missing_) {
      text += "\n  " + m.op;
      if (!m.source.empty()) text += "  at " + m.source;
    }
    return Error{Code::unsupported, text};
  }

 private:
  // Appends the node, or what it is made of, to the order.
  Result<void> place(NodeId id, int depth) {
    replacements_.apply(graph_.nodes[size_t(id)]);
    const Node node = graph_.nodes[size_t(id)];
    if (!is_operator(node) || find_prim(node.op.data(), node.op.size())) {
      graph_.order.push_back(id);
      return {};
    }
    const Op* op = find_op(node.op);
    if (!op) return error(Code::internal, "operator {} is not defined", node.op);
    bool has = size_t(id) < asked_.size() ? asked_[size_t(id)] == kHas
                                          : context_.has_node(*op, program_, graph_, node);
    if (has) {
      graph_.order.push_back(id);
      return {};
    }
    if (!op->def->decompose || depth == kDepthMax) return mark_missing(id, node);
    // The parts are taken out again, so that each can be looked at in turn.
    size_t placed = graph_.order.size();
    Build build(program_, graph_);
    build.source = node.source;
    auto results = op->def->decompose(build, node);
    std::vector<NodeId> parts(graph_.order.begin() + int64_t(placed), graph_.order.end());
    graph_.order.resize(placed);
    if (!build.status().ok())
      return Error(build.status().error())
          .with_context(node.source.empty() ? node.op : node.op + " at " + node.source);
    if (!results) return mark_missing(id, node);
    for (size_t r = 0; r < node.results.size() && r < results->size(); r++) {
      ValueId from = node.results[r], to = (*results)[r];
      const Type& wanted = graph_.type(from);
      ValueInfo& info = graph_.values[size_t(to)];
      if (wanted.is_tensor()) {
        if (info.type.tensor.dtype != wanted.tensor.dtype ||
            info.type.tensor.sizes.size() != wanted.tensor.sizes.size())
          return error(Code::internal, "{}: decomposed into {} of rank {}, {} of rank {} is wanted",
                       node.op, dtype_name(info.type.tensor.dtype), info.type.tensor.sizes.size(),
                       dtype_name(wanted.tensor.dtype), wanted.tensor.sizes.size());
        if (info.origin == Origin::node) info.type.tensor.sizes = wanted.tensor.sizes;
      }
      replacements_.add(from, to);
    }
    graph_.nodes[size_t(id)].removed = true;
    for (NodeId part : parts) TRY_VOID(place(part, depth + 1));
    return {};
  }

  Result<void> mark_missing(NodeId id, const Node& node) {
    graph_.order.push_back(id);
    for (const Missing& m : missing_)
      if (m.op == node.op) return {};
    missing_.push_back({node.op, node.source});
    return {};
  }

  Program& program_;
  Graph& graph_;
  const PassContext& context_;
  Replacements replacements_;
  std::vector<Missing> missing_;
  enum Asked : uint8_t { kUnknown, kHas, kLacks };
  std::vector<uint8_t> asked_;  // by NodeId, for the nodes that were there from the start
};

}  // namespace

Result<void> legalize(Program& program, Graph& graph, const PassContext& context) {
  return Legalizer(program, graph, context).run();
}

}  // namespace sconce
