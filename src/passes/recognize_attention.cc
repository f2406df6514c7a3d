// Attention written out: softmax(q k^T * scale + mask) v, with batched products in any of the forms
// that exporters give them, is aten::scaled_dot_product_attention.
//
// Between the two products may stand scales, masks (added, filled, chosen by where), views that
// split and join batch dimensions, and casts to f32. Rows where all is masked by -inf become 0, as
// torch's operator has it; written out they are NaN, unless a where makes them 0 too.
#include <cmath>
#include <cstring>

#include "ops/elementwise.h"
#include "ops/traits.h"
#include "passes/match.h"
#include "passes/rewrite.h"

namespace sconce {
namespace {

struct Mask {
  enum class Kind : uint8_t { add, keep, drop } kind;
  ValueId value;
  double fill = 0;  // of what is not kept
};

struct Scores {
  ValueId left = kNoValue, right = kNoValue;  // operands of the first product
  double scale = 1;
  std::vector<Mask> masks;
  std::vector<SymInt> batch;  // sizes before the last two, where the masks apply
};

// The same last two dimensions, so that only batch dimensions differ.
bool same_matrices(const TensorType& a, const TensorType& b) {
  size_t n = a.sizes.size(), k = b.sizes.size();
  return n >= 2 && k >= 2 && a.dtype == b.dtype && a.sizes[n - 1] == b.sizes[k - 1] &&
         a.sizes[n - 2] == b.sizes[k - 2];
}

// Goes back through views that change batch dimensions only.
ValueId before_views(Matcher& m, ValueId id, bool count_in) {
  for (;;) {
    if (id == kNoValue || !m.graph().is_node(id)) return id;
    const Node& node = m.graph().producer(id);
    const Op* op = find_op(node.op);
    ValueId x = Matcher::value(node, 0);
    if (!op || !keeps_element_order(*op) || x == kNoValue || !same_matrices(m.type(x), m.type(id)))
      return id;
    if (count_in) m.match(id, {node.op});
    id = x;
  }
}

// What multiplies the two: bmm, mm, or baddbmm, which adds a mask as well.
bool match_product(Matcher& m, ValueId id, Scores* scores) {
  const Node* node = m.match(id, {"aten::bmm", "aten::mm", "aten::baddbmm"});
  if (!node) return false;
  bool adds = node->op == "aten::baddbmm";
  std::vector<SymInt> batch = m.type(id).sizes;
  batch.resize(batch.size() - 2);
  if (scores->masks.empty()) scores->batch = batch;
  if (adds) {
    auto beta = m.number(*node, 3), alpha = m.number(*node, 4);
    if (!beta || !alpha || (*beta != 0 && *beta != 1)) return false;
    if (*beta == 1) {
      // A scale further on would be of the mask as well.
      if (scores->scale != 1 || Matcher::value(*node, 0) == kNoValue || scores->batch != batch)
        return false;
      scores->masks.push_back({Mask::Kind::add, Matcher::value(*node, 0)});
    }
    scores->scale *= *alpha;
  }
  scores->left = Matcher::value(*node, adds ? 1 : 0);
  scores->right = Matcher::value(*node, adds ? 2 : 1);
  return scores->left != kNoValue && scores->right != kNoValue;
}

bool match_scores(Matcher& m, ValueId id, Scores* scores, int depth);

// A mask at `id` over scores at `inner`.
bool match_masked(Matcher& m, ValueId id, ValueId inner, Mask mask, Scores* scores, int depth) {
  if (inner == kNoValue || mask.value == kNoValue || scores->scale != 1) return false;
  if (m.type(inner).sizes != m.type(id).sizes || m.type(inner).dtype != m.type(id).dtype)
    return false;
  if (mask.kind != Mask::Kind::add && !(mask.fill <= -1e4)) return false;
  std::vector<SymInt> batch = m.type(id).sizes;
  if (batch.size() < 2) return false;
  batch.resize(batch.size() - 2);
  if (!scores->masks.empty() && scores->batch != batch) return false;
  Scores saved = *scores;
  size_t before = m.mark();
  scores->batch = batch;
  scores->masks.push_back(mask);
  if (match_scores(m, inner, scores, depth + 1)) return true;
  *scores = saved;
  m.rewind(before);
  return false;
}

bool match_scores(Matcher& m, ValueId id, Scores* scores, int depth) {
  constexpr int kDepthMax = 12;
  if (id == kNoValue || depth > kDepthMax) return false;
  id = before_views(m, id, true);
  if (match_product(m, id, scores)) return true;
  const Node* node =
      m.match(id, {"aten::mul.Tensor", "aten::mul.Scalar", "aten::div.Tensor", "aten::div.Scalar",
                   "aten::add.Tensor", "aten::masked_fill.Scalar", "aten::masked_fill.Tensor",
                   "aten::where.self", "aten::_to_copy"});
  if (!node) return false;
  ValueId x = Matcher::value(*node, 0);
  if (node->op == "aten::_to_copy") {  // the operator computes in f32 anyway
    return x != kNoValue && m.type(id).dtype == DType::f32 && is_floating(m.type(x).dtype) &&
           m.type(x).dtype != DType::f64 && match_scores(m, x, scores, depth + 1);
  }
  if (node->op.starts_with("aten::mul.") || node->op.starts_with("aten::div.")) {
    bool divides = node->op.starts_with("aten::div.");
    auto factor = m.number(*node, 1);
    if (!factor && !divides) {
      factor = m.number(*node, 0);
      x = Matcher::value(*node, 1);
    }
    if (!factor || x == kNoValue || m.type(x).dtype != m.type(id).dtype) return false;
    double scale = divides ? 1 / *factor : *factor;
    if (!std::isfinite(scale)) return false;
    scores->scale *= scale;
    return match_scores(m, x, scores, depth + 1);
  }
  if (node->op == "aten::add.Tensor") {
    if (m.number(*node, 2) != 1.0) return false;
    ValueId y = Matcher::value(*node, 1);
    return match_masked(m, id, x, {Mask::Kind::add, y}, scores, depth) ||
           match_masked(m, id, y, {Mask::Kind::add, x}, scores, depth);
  }
  if (node->op == "aten::where.self") {
    ValueId a = Matcher::value(*node, 1), b = Matcher::value(*node, 2);
    if (auto fill = m.number(*node, 2))
      return match_masked(m, id, a, {Mask::Kind::keep, x, *fill}, scores, depth);
    if (auto fill = m.number(*node, 1))
      return match_masked(m, id, b, {Mask::Kind::drop, x, *fill}, scores, depth);
    return false;
  }
  auto fill = m.number(*node, 2);
  return fill &&
         match_masked(m, id, x, {Mask::Kind::drop, Matcher::value(*node, 1), *fill}, scores, depth);
}

// The constant mask keeps exactly what is not after the row's own position, for all batches.
bool is_causal(const Program& program, const Graph& graph, const Mask& mask) {
  const ValueInfo& info = graph.values[size_t(mask.value)];
  if (info.origin != Origin::constant) return false;
  const ConstantData& constant = program.constants[size_t(info.index)];
  size_t rank = constant.type.sizes.size();
  if (rank < 2 || constant.type.sizes[rank - 1] != constant.type.sizes[rank - 2]) return false;
  int64_t n = constant.type.sizes[rank - 1].value;
  uint64_t bytes = dtype_bytes(constant.type.dtype);
  uint64_t matrix = uint64_t(n) * uint64_t(n) * bytes;
  if (matrix == 0 || constant.bytes.size() % matrix != 0) return false;
  bool boolean = constant.type.dtype == DType::b8;
  if (boolean == (mask.kind == Mask::Kind::add) || (!boolean && !is_floating(constant.type.dtype)))
    return false;
  std::vector<double> row(static_cast<size_t>(n));
  uint64_t rows = constant.bytes.size() / (uint64_t(n) * bytes);
  for (uint64_t r = 0; r < rows; r++) {
    const uint8_t* from = constant.bytes.data() + r * uint64_t(n) * bytes;
    for (int64_t c = 0; c < n; c += kBlockCount)
      load_elements<double>(row.data() + c, from + uint64_t(c) * bytes, 1,
                            int(std::min<int64_t>(n - c, kBlockCount)), constant.type.dtype);
    for (int64_t c = 0; c < n; c++) {
      bool wanted = c <= int64_t(r % uint64_t(n));
      double value = row[size_t(c)];
      bool kept = mask.kind == Mask::Kind::keep   ? value != 0
                  : mask.kind == Mask::Kind::drop ? value == 0
                                                  : value == 0;
      if (mask.kind == Mask::Kind::add && !kept && !(value <= -1e4)) return false;
      if (kept != wanted) return false;
    }
  }
  return true;
}

// x, when `id` is x times a number, which goes to the factor; else kNoValue.
ValueId before_factor(const Matcher& m, const Node& node, ValueId id, double* factor) {
  bool divides = node.op == "aten::div.Tensor" || node.op == "aten::div.Scalar";
  if (!divides && node.op != "aten::mul.Tensor" && node.op != "aten::mul.Scalar") return kNoValue;
  auto number = m.number(node, 1);
  ValueId x = Matcher::value(node, 0);
  if (!number || x == kNoValue || m.type(x) != m.type(id)) return kNoValue;
  double scale = divides ? 1 / *number : *number;
  if (!std::isfinite(scale)) return kNoValue;
  *factor *= scale;
  return x;
}

// k of q k^T: `right` is a permute that swaps the last two dimensions, among others, perhaps times
// a number.
struct Key {
  ValueId base = kNoValue;
  std::vector<int64_t> dims;  // empty: base itself
  double factor = 1;
};

std::optional<Key> match_key(Matcher& m, ValueId right) {
  double factor = 1;
  if (!m.graph().is_node(right)) return std::nullopt;
  if (ValueId x = before_factor(m, m.graph().producer(right), right, &factor); x != kNoValue)
    right = before_views(m, x, false);
  if (!m.graph().is_node(right)) return std::nullopt;
  const Node& node = m.graph().producer(right);
  std::vector<int64_t> dims = permutation(m.graph(), node);
  if (dims.size() < 2) return std::nullopt;
  std::swap(dims[dims.size() - 1], dims[dims.size() - 2]);
  if (is_identity(dims)) dims.clear();
  return Key{Matcher::value(node, 0), std::move(dims), factor};
}

bool is_zeros(Matcher& m, const Node& where, size_t argument) {
  if (m.number(where, argument) == 0.0) return true;
  const Node* node = m.match(Matcher::value(where, argument),
                             {"aten::full_like", "aten::full", "aten::zeros", "aten::zeros_like"});
  return node && (!node->op.starts_with("aten::full") || m.number(*node, 1) == 0.0);
}

// The softmax in where(all of a row is -inf, 0, softmax(x)), as torch writes out attention that has
// a mask; kNoValue when it is something else.
ValueId before_hidden_rows(Matcher& m, ValueId id) {
  const Node* where = m.match(id, {"aten::where.self"});
  if (!where || !is_zeros(m, *where, 1)) return kNoValue;
  const Node zeroed = *where;
  ValueId softmax = Matcher::value(zeroed, 2);
  const Node* weights = m.match(softmax, {"aten::_softmax"});
  if (!weights) return kNoValue;
  ValueId x = Matcher::value(*weights, 0);
  // all(x == -inf), or not any(not x == -inf)
  OpNames negations = {"aten::logical_not", "aten::bitwise_not"};
  ValueId hidden = Matcher::value(zeroed, 0);
  const Node* outer = m.match(hidden, negations);
  const Node* over = outer ? m.match(Matcher::value(*outer, 0), {"aten::any.dim"})
                           : m.match(hidden, {"aten::all.dim"});
  if (!over) return kNoValue;
  auto* dim = std::get_if<int64_t>(&over->arguments[1]);
  auto* keep = std::get_if<bool>(&over->arguments[2]);
  int64_t last = int64_t(m.type(id).sizes.size()) - 1;
  if (!dim || (*dim != -1 && *dim != last) || !keep || !*keep) return kNoValue;
  ValueId each = Matcher::value(*over, 0);
  if (outer) {
    const Node* inner = m.match(each, negations);
    if (!inner) return kNoValue;
    each = Matcher::value(*inner, 0);
  }
  const Node* equal = m.match(each, {"aten::eq.Scalar", "aten::eq.Tensor"});
  bool same = equal && Matcher::value(*equal, 0) == x && m.number(*equal, 1) == -INFINITY;
  return same ? softmax : kNoValue;
}

class Attention {
 public:
  Attention(Matcher& m, NodeId root) : m_(m), root_(root), node_(m.node(root)) {}

  bool run() {
    if (node_.op != "aten::bmm" && node_.op != "aten::mm") return false;
    ValueId value = Matcher::value(node_, 1);
    ValueId weights = before_views(m_, Matcher::value(node_, 0), true);
    if (const Node* cast = m_.match(weights, {"aten::_to_copy"})) {
      weights = Matcher::value(*cast, 0);
      if (weights == kNoValue || m_.type(weights).dtype != DType::f32) return false;
      weights = before_views(m_, weights, true);
    }
    size_t before = m_.mark();
    if (ValueId inner = before_hidden_rows(m_, weights); inner != kNoValue)
      weights = inner;
    else
      m_.rewind(before);
    const Node* softmax = m_.match(weights, {"aten::_softmax"});
    if (!softmax || value == kNoValue) return false;
    int64_t rank = int64_t(m_.type(weights).sizes.size());
    auto* dim = std::get_if<int64_t>(&softmax->arguments[1]);
    if (!dim || (*dim != rank - 1 && *dim != -1)) return false;
    if (!match_scores(m_, Matcher::value(*softmax, 0), &scores_, 0)) return false;
    DType dtype = m_.type(node_.results[0]).dtype;
    ValueId query = before_views(m_, scores_.left, false),
            right = before_views(m_, scores_.right, false);
    auto key = match_key(m_, right);
    if (!key || m_.type(query).dtype != dtype || m_.type(key->base).dtype != dtype) return false;
    value = before_views(m_, value, false);
    if (!masks_fit(dtype)) return false;
    // Ask first: what is added below stays.
    std::vector<Argument> arguments = {ValueRef{query},
                                       ValueRef{key->base},
                                       ValueRef{value},
                                       None{},
                                       0.0,
                                       false,
                                       scores_.scale,
                                       false};
    if (!m_.target_has("aten::scaled_dot_product_attention", arguments)) return false;
    if (!m_.target_has("aten::view", {ValueRef{query}, std::vector<IntItem>()})) return false;
    if (!m_.closed_at(root_)) return false;

    double factor = key->factor;
    query = unscaled(query, &factor);
    ValueId k = unscaled(key->base, &factor);
    if (!key->dims.empty()) k = permuted(k, key->dims);
    arguments[0] = ValueRef{in_batches(query)};
    arguments[1] = ValueRef{in_batches(k)};
    arguments[2] = ValueRef{in_batches(value)};
    arguments[6] = scores_.scale * factor;
    if (scores_.masks.size() == 1 && is_causal(m_.program(), m_.graph(), scores_.masks[0]))
      arguments[5] = true;
    else if (!scores_.masks.empty())
      arguments[3] = ValueRef{joined_mask(dtype)};
    TensorType type{dtype, scores_.batch, {}};
    const TensorType result = m_.type(node_.results[0]);
    type.sizes.push_back(result.sizes[result.sizes.size() - 2]);
    type.sizes.push_back(result.sizes.back());
    if (type == result) return m_.replace(root_, "aten::scaled_dot_product_attention", arguments);
    ValueId attended =
        m_.add("aten::scaled_dot_product_attention", arguments, Type::of(type), node_);
    return m_.replace(root_, "aten::view", {ValueRef{attended}, m_.ints(result.sizes, node_)});
  }

 private:
  bool masks_fit(DType dtype) {
    for (const Mask& mask : scores_.masks) {
      if (!m_.graph().type(mask.value).is_tensor()) return false;
      DType have = m_.type(mask.value).dtype;
      if (have != (mask.kind == Mask::Kind::add ? dtype : DType::b8)) return false;
    }
    return true;
  }
  std::vector<SymInt> batched_sizes(ValueId id) {
    std::vector<SymInt> sizes = scores_.batch;
    const TensorType& type = m_.type(id);
    sizes.push_back(type.sizes[type.sizes.size() - 2]);
    sizes.push_back(type.sizes.back());
    return sizes;
  }
  ValueId in_batches(ValueId id) {
    std::vector<SymInt> sizes = batched_sizes(id);
    if (sizes == m_.type(id).sizes) return id;
    TensorType type{m_.type(id).dtype, sizes, {}};
    Argument items = m_.ints(sizes, node_);
    return m_.add("aten::view", {ValueRef{id}, items}, Type::of(type), node_);
  }
  ValueId permuted(ValueId base, const std::vector<int64_t>& dims) {
    TensorType type{m_.type(base).dtype, {}, {}};
    std::vector<IntItem> items;
    for (int64_t dim : dims) {
      type.sizes.push_back(m_.type(base).sizes[size_t(dim)]);
      items.push_back({dim});
    }
    return m_.add("aten::permute", {ValueRef{base}, items}, Type::of(type), node_);
  }
  // Without a factor that was multiplied in before views and permutes that nobody else uses.
  ValueId unscaled(ValueId id, double* factor) {
    NodeId last = -1;
    ValueId at = id;
    for (int depth = 0; depth < 8 && m_.graph().is_node(at); depth++) {
      NodeId producer = m_.graph().values[size_t(at)].index;
      const Node& node = m_.node(producer);
      // The first one is used by the product (or its view) that goes away.
      if (m_.uses(at) != 1) return id;
      if (ValueId x = before_factor(m_, node, at, factor); x != kNoValue) {
        if (last < 0) return x;
        m_.set_argument(last, 0, ValueRef{x});
        return id;
      }
      const Op* op = find_op(node.op);
      bool moves = op && (keeps_element_order(*op) || !permutation(m_.graph(), node).empty());
      ValueId x = Matcher::value(node, 0);
      if (!moves || x == kNoValue || m_.type(x).dtype != m_.type(at).dtype) return id;
      last = producer;
      at = x;
    }
    return id;
  }
  ValueId joined_mask(DType dtype) {
    if (scores_.masks.size() == 1 && scores_.masks[0].kind != Mask::Kind::add &&
        std::isinf(scores_.masks[0].fill)) {
      const Mask& mask = scores_.masks[0];
      if (mask.kind == Mask::Kind::keep) return mask.value;
      // not(not(keep)) is keep.
      if (m_.graph().is_node(mask.value)) {
        const Node& node = m_.graph().producer(mask.value);
        ValueId keep = Matcher::value(node, 0);
        if ((node.op == "aten::bitwise_not" || node.op == "aten::logical_not") &&
            m_.type(keep).dtype == DType::b8)
          return keep;
      }
      return m_.add("aten::logical_not", {ValueRef{mask.value}}, Type::of(m_.type(mask.value)),
                    node_);
    }
    ValueId joined = kNoValue;
    for (const Mask& mask : scores_.masks) {
      ValueId added = mask.value;
      if (mask.kind != Mask::Kind::add) {
        TensorType type = m_.type(mask.value);
        type.dtype = dtype;
        // masked_fill of zeros would need zeros: where takes numbers as constants of no dimension.
        ValueId zero = scalar(0, dtype), fill = scalar(mask.fill, dtype);
        bool keeps = mask.kind == Mask::Kind::keep;
        added = m_.add(
            "aten::where.self",
            {ValueRef{mask.value}, ValueRef{keeps ? zero : fill}, ValueRef{keeps ? fill : zero}},
            Type::of(type), node_);
      }
      if (joined == kNoValue) {
        joined = added;
        continue;
      }
      TensorType type{dtype, broadcast(m_.type(joined).sizes, m_.type(added).sizes), {}};
      joined = m_.add("aten::add.Tensor", {ValueRef{joined}, ValueRef{added}, int64_t{1}},
                      Type::of(type), node_);
    }
    return joined;
  }
  ValueId scalar(double value, DType dtype) {
    auto bytes = std::make_shared<std::vector<uint8_t>>(dtype_bytes(dtype));
    store_elements<double>(bytes->data(), 1, &value, 1, dtype);
    int32_t index = m_.program().add_constant({dtype, {}, {}}, bytes, "scalar");
    return m_.add_constant(index);
  }
  static std::vector<SymInt> broadcast(std::vector<SymInt> a, std::vector<SymInt> b) {
    if (a.size() < b.size()) std::swap(a, b);
    size_t skip = a.size() - b.size();
    for (size_t i = 0; i < b.size(); i++)
      if (a[skip + i] == SymInt(1)) a[skip + i] = b[i];
    return a;
  }

  Matcher& m_;
  NodeId root_;
  Node node_;
  Scores scores_;
};

// Heads of key or value repeated for the queries that share them: view(expand(unsqueeze(x))), from
// [.., h, s, e] over [.., h, n, s, e] to [.., h * n, s, e].
ValueId before_repeat(Matcher& m, ValueId id) {
  const Node* joined = m.match(id, {"aten::view", "aten::reshape"});
  if (!joined) return kNoValue;
  ValueId wide = Matcher::value(*joined, 0);
  const Node* spread = m.match(wide, {"aten::expand", "aten::expand_copy"});
  const Node* split =
      spread ? m.match(Matcher::value(*spread, 0), {"aten::unsqueeze", "aten::view"}) : nullptr;
  if (!split) return kNoValue;
  ValueId x = Matcher::value(*split, 0);
  std::vector<SymInt> sizes = m.type(x).sizes;
  const std::vector<SymInt>& all = m.type(wide).sizes;
  size_t rank = sizes.size();
  if (rank < 3 || all.size() != rank + 1 || m.type(id).sizes.size() != rank) return kNoValue;
  // The operands of the spread: [.., h, 1, s, e].
  std::vector<SymInt> one = sizes;
  one.insert(one.end() - 2, SymInt(1));
  if (m.type(Matcher::value(*spread, 0)).sizes != one) return kNoValue;
  one[rank - 2] = all[rank - 2];
  if (one != all) return kNoValue;
  sizes[rank - 3] = m.type(id).sizes[rank - 3];
  return sizes == m.type(id).sizes ? x : kNoValue;
}

// Repeated heads of both key and value are the operator's own business.
bool try_grouped(Matcher& m, NodeId root) {
  const Node node = m.node(root);
  if (node.op != "aten::scaled_dot_product_attention") return false;
  auto* grouped = std::get_if<bool>(&node.arguments[7]);
  if (!grouped || *grouped) return false;
  std::vector<Argument> arguments = node.arguments;
  for (size_t i = 1; i <= 2; i++) {
    ValueId x = before_repeat(m, Matcher::value(node, i));
    if (x == kNoValue) return false;
    arguments[i] = ValueRef{x};
  }
  ValueId key = std::get<ValueRef>(arguments[1]).id, value = std::get<ValueRef>(arguments[2]).id;
  size_t rank = m.type(key).sizes.size();
  if (m.type(value).sizes.size() != rank || m.type(Matcher::value(node, 0)).sizes.size() != rank)
    return false;
  if (m.type(key).sizes[rank - 3] != m.type(value).sizes[rank - 3]) return false;
  arguments[7] = true;
  m.rewind(0);  // nothing is computed twice when others use the repeated heads
  return m.replace(root, node.op, arguments);
}

}  // namespace

Result<void> recognize_attention(Program& program, Graph& graph, const PassContext& context) {
  Matcher matcher(program, graph, context);
  for_each_root(matcher, [](Matcher& m, NodeId root) { Attention(m, root).run(); });
  for_each_root(matcher, try_grouped);
  return {};
}

}  // namespace sconce
