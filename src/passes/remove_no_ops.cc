// Removes what gives back its operand, and joins what moves the same elements twice.
//
// One sweep in order of execution: when a node is looked at, its operands are already as simple as
// they get. Strides are no part of a value, so contiguous(), clone() and the like are nothing here.
#include <algorithm>

#include "base/checked.h"
#include "ops/traits.h"
#include "passes/passes.h"
#include "passes/rewrite.h"

namespace sconce {
namespace {

const ValueRef* operand(const Node& node, size_t i = 0) {
  return node.arguments.size() > i ? std::get_if<ValueRef>(&node.arguments[i]) : nullptr;
}

// Every value of `from` has an exact counterpart in `to`.
bool converts_exactly(DType from, DType to) {
  switch (from) {
    case DType::b8: return true;
    case DType::u8:
      return to == DType::i16 || to == DType::i32 || to == DType::i64 || is_floating(to);
    case DType::i8:
      return to == DType::i16 || to == DType::i32 || to == DType::i64 || is_floating(to);
    case DType::i16:
      return to == DType::i32 || to == DType::i64 || to == DType::f32 || to == DType::f64;
    case DType::i32: return to == DType::i64 || to == DType::f64;
    case DType::f16:
    case DType::bf16: return to == DType::f32 || to == DType::f64;
    case DType::f32: return to == DType::f64;
    default: return false;
  }
}

// The same elements in the same order: sizes differ by ones only.
bool same_without_ones(const std::vector<SymInt>& a, const std::vector<SymInt>& b) {
  auto squeezed = [](const std::vector<SymInt>& sizes) {
    std::vector<SymInt> kept;
    for (const SymInt& size : sizes)
      if (size != SymInt(1)) kept.push_back(size);
    return kept;
  };
  return squeezed(a) == squeezed(b);
}

std::vector<IntItem> known_items(const std::vector<SymInt>& sizes) {
  std::vector<IntItem> items;
  for (const SymInt& size : sizes) items.push_back({size.value});
  return items;
}

class Simplifier {
 public:
  Simplifier(Program& program, Graph& graph)
      : program_(program), graph_(graph), replacements_(graph) {}

  void run() {
    for (NodeId id : graph_.order) {
      Node& node = graph_.nodes[size_t(id)];
      replacements_.apply(node);
      const Op* op = is_operator(node) ? find_op(node.op) : nullptr;
      if (!op || node.results.size() != 1 || !graph_.type(node.results[0]).is_tensor()) continue;
      if (node.op == "aten::cat") {
        join_parts(node);
        continue;
      }
      if (is_pointwise(*op)) drop_expands(node);
      const ValueRef* x = operand(node);
      if (!x || !graph_.type(x->id).is_tensor()) continue;
      if (const ValueRef* from = node.op == "aten::copy" ? operand(node, 1) : nullptr;
          from && type(from->id) == type(node.results[0])) {
        replace(node, from->id);  // what was there before is gone
      } else if (gives_operand(node, *op)) {
        replace(node, x->id);
      } else if (std::vector<int64_t> dims = permutation(graph_, node); !dims.empty()) {
        simplify_permute(node, dims);
      } else {
        join_casts(node) || join_slices(node) || join_views(node, *op) || become_view(node);
      }
    }
    replacements_.apply(graph_);
    drop_removed(graph_);
  }

 private:
  const TensorType& type(ValueId id) const { return graph_.type(id).tensor; }
  void replace(Node& node, ValueId by) {
    replacements_.add(node.results[0], by);
    node.removed = true;
  }
  bool is_number(const Argument& argument, double value) const {
    return known_number(program_, graph_, argument) == value;
  }
  // The node that computes operand 0; null when that is no node.
  const Node* inner(const Node& node) const {
    const ValueRef* x = operand(node);
    return x && graph_.is_node(x->id) ? &graph_.producer(x->id) : nullptr;
  }

  // Arithmetic that changes nothing: x * 1, x / 1, x ** 1, and x + 0 and x - 0 of integers (-0.0 +
  // 0 is not -0.0).
  bool is_neutral(const Node& node, DType dtype) const {
    if (node.arguments.size() < 2) return false;
    std::string_view op = node.op;
    if (op == "aten::mul.Scalar" || op == "aten::mul.Tensor" || op == "aten::div.Scalar" ||
        op == "aten::div.Tensor" || op == "aten::pow.Tensor_Scalar")
      return is_number(node.arguments[1], 1);
    if (op == "aten::add.Scalar" || op == "aten::add.Tensor" || op == "aten::sub.Scalar" ||
        op == "aten::sub.Tensor")
      return is_number(node.arguments[1], 0) && is_integral(dtype);
    return false;
  }

  bool gives_operand(const Node& node, const Op& op) const {
    const TensorType &from = type(operand(node)->id), &to = type(node.results[0]);
    if (!(from == to)) return false;
    if (keeps_element_order(op) || is_neutral(node, from.dtype)) return true;
    std::string_view name = node.op;
    if (name == "aten::dropout" || name == "aten::feature_dropout" ||
        name == "aten::alpha_dropout" || name == "aten::feature_alpha_dropout") {
      auto* train = std::get_if<bool>(&node.arguments[2]);
      return (train && !*train) || is_number(node.arguments[1], 0);
    }
    // Of all slices only the whole has the operand's size; zeros added nowhere are none.
    return name == "aten::slice.Tensor" || name == "aten::slice_copy.Tensor" ||
           name == "aten::narrow" || name == "aten::expand" || name == "aten::expand_copy" ||
           name == "aten::broadcast_to" || name == "aten::expand_as" || name == "aten::type_as" ||
           name == "aten::repeat" || (name == "aten::constant_pad_nd" && pads_nothing(node));
  }
  static bool pads_nothing(const Node& node) {
    auto* pads = std::get_if<std::vector<IntItem>>(&node.arguments[1]);
    return pads && std::all_of(pads->begin(), pads->end(),
                               [](const IntItem& p) { return p.is_known() && p.known == 0; });
  }

  void simplify_permute(Node& node, std::vector<int64_t> dims) {
    ValueId base = operand(node)->id;
    if (const Node* before = inner(node)) {
      std::vector<int64_t> first = permutation(graph_, *before);
      if (!first.empty()) {
        for (int64_t& dim : dims) dim = first[size_t(dim)];
        base = operand(*before)->id;
        std::vector<IntItem> items;
        for (int64_t dim : dims) items.push_back({dim});
        node.op = "aten::permute";
        node.arguments = {ValueRef{base}, std::move(items)};
      }
    }
    if (is_identity(dims)) {
      replace(node, base);
      return;
    }
    // Moving dimensions of size 1 past others moves no element.
    std::vector<int64_t> moved;
    for (int64_t dim : dims)
      if (type(base).sizes[size_t(dim)] != SymInt(1)) moved.push_back(dim);
    if (std::is_sorted(moved.begin(), moved.end()) && is_static(type(node.results[0]))) {
      node.op = "aten::view";
      node.arguments = {ValueRef{base}, known_items(type(node.results[0]).sizes)};
    }
  }

  // A conversion of an exact conversion is one conversion.
  bool join_casts(Node& node) {
    if (node.op != "aten::_to_copy") return false;
    const Node* before = inner(node);
    const ValueRef* x = before ? operand(*before) : nullptr;
    if (!x || before->op != "aten::_to_copy" ||
        !converts_exactly(type(x->id).dtype, type(operand(node)->id).dtype))
      return false;
    if (type(x->id) == type(node.results[0]))
      replace(node, x->id);
    else
      node.arguments[0] = *x;
    return true;
  }

  // Slices of a slice along the same dimension, with known ends.
  struct Slice {
    int64_t dim, start, step, count;
  };
  std::optional<Slice> slice_of(const Node& node) const {
    if (node.op != "aten::slice.Tensor" && node.op != "aten::slice_copy.Tensor")
      return std::nullopt;
    const ValueRef* x = operand(node);
    auto *dim = std::get_if<int64_t>(&node.arguments[1]),
         *step = std::get_if<int64_t>(&node.arguments[4]);
    auto* start = std::get_if<int64_t>(&node.arguments[2]);
    if (!x || !dim || !step || (!start && !std::holds_alternative<None>(node.arguments[2])))
      return std::nullopt;
    const auto& sizes = type(x->id).sizes;
    int64_t d = *dim < 0 ? *dim + int64_t(sizes.size()) : *dim;
    if (d < 0 || d >= int64_t(sizes.size())) return std::nullopt;
    const SymInt &total = sizes[size_t(d)], &count = type(node.results[0]).sizes[size_t(d)];
    if (!total.is_known() || !count.is_known()) return std::nullopt;
    int64_t first = start ? *start : 0;
    if (first < 0) first += total.value;
    return Slice{d, std::clamp<int64_t>(first, 0, total.value), *step, count.value};
  }
  bool join_slices(Node& node) {
    auto outer = slice_of(node);
    const Node* before = outer ? inner(node) : nullptr;
    auto first = before ? slice_of(*before) : std::nullopt;
    if (!first || first->dim != outer->dim || outer->count == 0) return false;
    int64_t step = 0, end = 0;
    if (!checked_multiply(first->step, outer->step, &step) ||
        !checked_multiply(outer->count - 1, step, &end))
      return false;
    int64_t start = first->start + outer->start * first->step;
    node.arguments = {*operand(*before), outer->dim, start, start + end + 1, step};
    return true;
  }

  // A view of a view: the outer one decides the sizes.
  bool join_views(Node& node, const Op& op) {
    const TensorType& to = type(node.results[0]);
    if (!keeps_element_order(op) || type(operand(node)->id).dtype != to.dtype) return false;
    const Node* before = inner(node);
    const ValueRef* x = before ? operand(*before) : nullptr;
    const Op* inner_op = before ? find_op(before->op) : nullptr;
    if (!x || !inner_op || !keeps_element_order(*inner_op) || !graph_.type(x->id).is_tensor())
      return false;
    const TensorType& base = type(x->id);
    if (base.dtype != to.dtype || !base.dim_order.empty() || !to.dim_order.empty()) return false;
    if (base == to) {
      replace(node, x->id);
    } else if (node.op == "aten::view" || node.op == "aten::view_copy" ||
               node.op == "aten::reshape") {
      node.arguments[0] = *x;
    } else if (is_static(to)) {
      node.op = "aten::view";
      node.arguments = {*x, known_items(to.sizes)};
    } else {
      return false;
    }
    return true;
  }

  // Operators that copy, but here only rename: expand that adds dimensions of size 1, select from a
  // dimension of size 1.
  bool become_view(Node& node) {
    std::string_view op = node.op;
    if (op != "aten::expand" && op != "aten::expand_copy" && op != "aten::broadcast_to" &&
        op != "aten::select.int" && op != "aten::select_copy.int" && op != "aten::repeat")
      return false;
    const TensorType &from = type(operand(node)->id), &to = type(node.results[0]);
    if (from.dtype != to.dtype || !is_static(to) || !same_without_ones(from.sizes, to.sizes))
      return false;
    Argument base = *operand(node);
    node.arguments = {base, known_items(to.sizes)};
    node.op = "aten::view";
    return true;
  }

  // Pointwise operators broadcast by themselves.
  void drop_expands(Node& node) {
    const std::vector<SymInt> wanted = type(node.results[0]).sizes;
    // What masked_fill fills keeps its sizes.
    for (size_t i = node.op.starts_with("aten::masked_fill.") ? 1 : 0; i < node.arguments.size();
         i++) {
      const ValueRef* x = operand(node, i);
      if (!x || !graph_.is_node(x->id)) continue;
      const Node& before = graph_.producer(x->id);
      if (before.op != "aten::expand" && before.op != "aten::expand_copy" &&
          before.op != "aten::broadcast_to")
        continue;
      const ValueRef* base = operand(before);
      if (!base) continue;
      Argument kept = node.arguments[i];
      node.arguments[i] = *base;
      if (broadcast_sizes(node) != wanted || changes_promotion(before, *base))
        node.arguments[i] = kept;
    }
  }
  // A 0-dim tensor ranks below others in type promotion.
  bool changes_promotion(const Node& expand, ValueRef base) const {
    return type(base.id).sizes.empty() && !type(expand.results[0]).sizes.empty();
  }
  // nullopt when sizes do not broadcast, as far as is known.
  std::optional<std::vector<SymInt>> broadcast_sizes(const Node& node) const {
    std::vector<SymInt> sizes;
    bool fits = true;
    for (const Argument& argument : node.arguments) {
      auto* ref = std::get_if<ValueRef>(&argument);
      if (!ref || !graph_.type(ref->id).is_tensor()) continue;
      const std::vector<SymInt>& more = type(ref->id).sizes;
      if (more.size() > sizes.size())
        sizes.insert(sizes.begin(), more.size() - sizes.size(), SymInt(1));
      size_t skip = sizes.size() - more.size();
      for (size_t d = 0; d < more.size(); d++) {
        SymInt& size = sizes[skip + d];
        if (size == SymInt(1))
          size = more[d];
        else
          fits &= more[d] == size || more[d] == SymInt(1);
      }
    }
    if (!fits) return std::nullopt;
    return sizes;
  }

  // cat of one tensor; parts without elements are dropped.
  void join_parts(Node& node) {
    auto* parts = std::get_if<std::vector<ValueRef>>(&node.arguments[0]);
    if (!parts || parts->empty()) return;
    const TensorType& to = type(node.results[0]);
    std::vector<ValueRef> kept;
    for (const ValueRef& part : *parts) {
      const auto& sizes = type(part.id).sizes;
      bool empty = std::find(sizes.begin(), sizes.end(), SymInt(0)) != sizes.end();
      if (!empty) kept.push_back(part);
    }
    // The types of the parts decide the type of the result, also those of empty parts.
    if (std::none_of(kept.begin(), kept.end(),
                     [&](const ValueRef& part) { return type(part.id).dtype == to.dtype; }))
      return;
    if (kept.size() == 1 && type(kept[0].id) == to)
      replace(node, kept[0].id);
    else if (!kept.empty() && kept.size() < parts->size())
      node.arguments[0] = std::move(kept);
  }

  Program& program_;
  Graph& graph_;
  Replacements replacements_;
};

}  // namespace

Result<void> remove_no_ops(Program& program, Graph& graph, const PassContext&) {
  Simplifier(program, graph).run();
  return {};
}

}  // namespace sconce
