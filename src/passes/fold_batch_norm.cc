// Batch norm and per-channel multiplications and additions by constants after a convolution or
// linear go into its weights and bias; multiplications before it go into its weights.
//
// All that follows one convolution is collected first, in double, so new weights are rounded once.
// Additions before it stay: at padded borders they are not what a bias would add.
#include <algorithm>
#include <cmath>
#include <cstring>

#include "base/file.h"
#include "ops/def.h"
#include "ops/elementwise.h"
#include "passes/passes.h"
#include "passes/rewrite.h"

namespace sconce {
namespace {

// y = scale[c] * x + shift[c]; one entry stands for all channels.
struct Affine {
  std::vector<double> scale, shift;
  bool any = false;
};

class Folder {
 public:
  Folder(Program& program, Graph& graph) : program_(program), graph_(graph), replacements_(graph) {}

  void run() {
    uses_ = graph_.use_counts();
    find_users();
    for (NodeId id : graph_.order) {
      Node& node = graph_.nodes[size_t(id)];
      if (node.removed) continue;
      replacements_.apply(node);
      if (node.op == "aten::convolution" || node.op == "aten::linear") fold(id);
    }
    replacements_.apply(graph_);
    drop_removed(graph_);
  }

 private:
  struct Layer {
    NodeId id;
    bool linear = false, transposed = false;
    int64_t groups = 1, outputs = 0, inputs = 0;
    ValueId weight = kNoValue, bias = kNoValue;
  };

  void find_users() {
    user_.assign(graph_.values.size(), -1);
    for (NodeId id : graph_.order)
      Graph::for_each_use(graph_.nodes[size_t(id)],
                          [&](ValueId used) { user_[size_t(used)] = id; });
  }
  static ValueId value(const Node& node, size_t i) {
    auto* ref = i < node.arguments.size() ? std::get_if<ValueRef>(&node.arguments[i]) : nullptr;
    return ref ? ref->id : kNoValue;
  }
  const ConstantData* constant(ValueId id) const {
    if (id == kNoValue) return nullptr;
    const ValueInfo& info = graph_.values[size_t(id)];
    return info.origin == Origin::constant ? &program_.constants[size_t(info.index)] : nullptr;
  }
  // Elements of a floating constant; empty when it is none.
  std::vector<double> elements(ValueId id) const {
    const ConstantData* data = constant(id);
    if (!data || !is_floating(data->type.dtype)) return {};
    return load(*data);
  }
  static std::vector<double> load(const ConstantData& data) {
    size_t each = dtype_bytes(data.type.dtype), count = data.bytes.size() / each;
    std::vector<double> result(count);
    for (size_t i = 0; i < count; i += kBlockCount)
      load_elements<double>(&result[i], data.bytes.data() + i * each, 1,
                            int(std::min<size_t>(kBlockCount, count - i)), data.type.dtype);
    return result;
  }
  ValueId add_constant(const TensorType& type, std::shared_ptr<const std::vector<uint8_t>> bytes,
                       const std::string& name) {
    int32_t index = program_.add_constant(type, std::move(bytes), name);
    ValueId id = graph_.add_value(Type::of(type), name, Origin::constant, index);
    uses_.push_back(1);
    user_.push_back(-1);
    return id;
  }
  static std::shared_ptr<std::vector<uint8_t>> stored(const std::vector<double>& elements,
                                                      DType dtype) {
    size_t each = dtype_bytes(dtype);
    auto bytes = std::make_shared<std::vector<uint8_t>>(elements.size() * each);
    for (size_t i = 0; i < elements.size(); i += kBlockCount)
      store_elements<double>(bytes->data() + i * each, 1, &elements[i],
                             int(std::min<size_t>(kBlockCount, elements.size() - i)), dtype);
    return bytes;
  }
  // How many graphs' nodes use the constant: a second copy for one of them would make the file
  // grow.
  int constant_users(int32_t index) const {
    int users = 0;
    for (const Method& method : program_.methods) users += count_users(method.graph, index);
    return users;
  }
  static int count_users(const Graph& graph, int32_t index) {
    int users = 0;
    for (const auto& inner : graph.subgraphs) users += count_users(*inner, index);
    std::vector<bool> same(graph.values.size(), false);
    bool any = false;
    for (size_t v = 0; v < graph.values.size(); v++)
      if (graph.values[v].origin == Origin::constant && graph.values[v].index == index)
        same[v] = any = true;
    if (!any) return users;
    for (NodeId id : graph.order)
      Graph::for_each_use(graph.nodes[size_t(id)],
                          [&](ValueId used) { users += same[size_t(used)]; });
    for (ValueId id : graph.outputs) users += same[size_t(id)];
    return users;
  }

  std::optional<Layer> layer(NodeId id) const {
    const Node& node = graph_.nodes[size_t(id)];
    Layer l;
    l.id = id;
    l.linear = node.op == "aten::linear";
    l.weight = value(node, 1);
    l.bias = value(node, 2);
    const ConstantData* weight = constant(l.weight);
    if (!weight || !is_floating(weight->type.dtype) || uses_[size_t(l.weight)] != 1)
      return std::nullopt;
    if (l.bias != kNoValue && !constant(l.bias)) return std::nullopt;
    const TensorType& out = graph_.type(node.results[0]).tensor;
    const auto& sizes = weight->type.sizes;
    if (sizes.size() < 2 || out.dtype != weight->type.dtype) return std::nullopt;
    if (!l.linear) {
      auto* transposed = std::get_if<bool>(&node.arguments[6]);
      auto* groups = std::get_if<int64_t>(&node.arguments[8]);
      if (!transposed || !groups || *groups < 1 || out.sizes.size() != sizes.size())
        return std::nullopt;
      l.transposed = *transposed;
      l.groups = *groups;
    }
    l.outputs = l.transposed ? sizes[1].value * l.groups : sizes[0].value;
    l.inputs = l.transposed ? sizes[0].value : sizes[1].value * l.groups;
    if (l.outputs < 1 || l.inputs < 1) return std::nullopt;
    return l;
  }

  // Dimension of `type` that counts the channels of a layer's result or input.
  static size_t channel_dim(const Layer& l, const TensorType& type) {
    return l.linear ? type.sizes.size() - 1 : 1;
  }

  // One value per channel, or one for all; empty when `argument` is no constant of that form.
  std::vector<double> per_channel(const Argument& argument, const TensorType& type, size_t dim,
                                  int64_t channels) const {
    auto* ref = std::get_if<ValueRef>(&argument);
    if (auto number = known_number(program_, graph_, argument)) {
      if (ref && graph_.type(ref->id).tensor.sizes.size() > type.sizes.size()) return {};
      return {*number};
    }
    const ConstantData* data = ref ? constant(ref->id) : nullptr;
    if (!data || !is_floating(data->type.dtype)) return {};
    const auto& sizes = data->type.sizes;
    if (sizes.size() > type.sizes.size()) return {};
    size_t skipped = type.sizes.size() - sizes.size();
    for (size_t d = 0; d < sizes.size(); d++)
      if (sizes[d] != SymInt(d + skipped == dim ? channels : 1)) return {};
    if (dim < skipped) return {};
    return load(*data);
  }

  static void compose(Affine& affine, const std::vector<double>& scale,
                      const std::vector<double>& shift) {
    size_t count =
        std::max({affine.scale.size(), affine.shift.size(), scale.size(), shift.size(), size_t(1)});
    auto at = [](const std::vector<double>& v, size_t i, double none) {
      return v.empty() ? none : v[v.size() == 1 ? 0 : i];
    };
    std::vector<double> s(count), t(count);
    for (size_t i = 0; i < count; i++) {
      s[i] = at(affine.scale, i, 1) * at(scale, i, 1);
      t[i] = at(affine.shift, i, 0) * at(scale, i, 1) + at(shift, i, 0);
    }
    affine = {std::move(s), std::move(t), true};
  }

  // Takes `node`, which uses `x`, into `affine`. False when it is something else.
  bool take(const Layer& l, const Node& node, ValueId x, Affine& affine) const {
    if (node.results.empty()) return false;
    const TensorType& type = graph_.type(x).tensor;
    if (graph_.type(node.results[0]).tensor != type) return false;
    size_t dim = channel_dim(l, type);
    bool legit = node.op == "aten::_native_batch_norm_legit_no_training";
    if (legit || node.op == "aten::batch_norm") {
      if (value(node, 0) != x || (l.linear && type.sizes.size() != 2)) return false;
      if (legit && (uses_[size_t(node.results[1])] || uses_[size_t(node.results[2])])) return false;
      auto* training = legit ? nullptr : std::get_if<bool>(&node.arguments[5]);
      if (!legit && (!training || *training)) return false;
      auto eps = known_number(program_, graph_, node.arguments[legit ? 6 : 7]);
      auto mean = elements(value(node, 3)), variance = elements(value(node, 4));
      std::vector<double> weight(size_t(l.outputs), 1), bias(size_t(l.outputs), 0);
      if (value(node, 1) != kNoValue) weight = elements(value(node, 1));
      if (value(node, 2) != kNoValue) bias = elements(value(node, 2));
      size_t count = size_t(l.outputs);
      if (!eps || mean.size() != count || variance.size() != count || weight.size() != count ||
          bias.size() != count)
        return false;
      for (size_t c = 0; c < count; c++) {
        weight[c] /= std::sqrt(variance[c] + *eps);
        bias[c] -= mean[c] * weight[c];
      }
      compose(affine, weight, bias);
      return true;
    }
    bool multiplies = node.op == "aten::mul.Tensor" || node.op == "aten::mul.Scalar";
    bool divides = node.op == "aten::div.Tensor" || node.op == "aten::div.Scalar";
    bool adds = node.op == "aten::add.Tensor" || node.op == "aten::add.Scalar";
    bool subtracts = node.op == "aten::sub.Tensor" || node.op == "aten::sub.Scalar";
    if (!multiplies && !divides && !adds && !subtracts) return false;
    bool left = value(node, 0) == x;
    if (!left && (value(node, 1) != x || divides)) return false;
    std::vector<double> other = per_channel(node.arguments[left ? 1 : 0], type, dim, l.outputs);
    if (other.empty()) return false;
    if (multiplies) {
      compose(affine, other, {});
    } else if (divides) {
      for (double& v : other) v = 1 / v;
      compose(affine, other, {});
    } else {
      auto alpha = known_number(program_, graph_, node.arguments[2]);
      if (!alpha) return false;
      // x + a o, x - a o, o + a x, o - a x
      double sign = subtracts ? -*alpha : *alpha;
      if (left)
        for (double& v : other) v *= sign;
      compose(affine, left ? std::vector<double>() : std::vector<double>{sign}, other);
    }
    return true;
  }

  static double limit(DType dtype) {
    return dtype == DType::f16 ? 65504 : dtype == DType::f64 ? 1.7e308 : 3.4e38;
  }
  static bool finite(const std::vector<double>& values, DType dtype) {
    return std::all_of(values.begin(), values.end(),
                       [&](double v) { return std::fabs(v) <= limit(dtype); });
  }

  void fold(NodeId id) {
    auto l = layer(id);
    if (!l) return;
    // After: follow the only user as long as it is per channel.
    Affine after;
    ValueId last = graph_.nodes[size_t(id)].results[0];
    std::vector<NodeId> taken;
    while (uses_[size_t(last)] == 1 && user_[size_t(last)] >= 0) {
      Node& next = graph_.nodes[size_t(user_[size_t(last)])];
      if (next.removed || !is_operator(next) || !take(*l, next, last, after)) break;
      taken.push_back(user_[size_t(last)]);
      last = next.results[0];
    }
    // Before: a multiplication that only this layer sees.
    Node& node = graph_.nodes[size_t(id)];
    std::vector<double> before;
    NodeId scaled = -1;
    ValueId input = value(node, 0);
    if (graph_.is_node(input) && uses_[size_t(input)] == 1) {
      const Node& producer = graph_.producer(input);
      const TensorType& type = graph_.type(input).tensor;
      bool divides = producer.op == "aten::div.Tensor" || producer.op == "aten::div.Scalar";
      if (divides || producer.op == "aten::mul.Tensor" || producer.op == "aten::mul.Scalar") {
        size_t x = value(producer, 0) != kNoValue && !constant(value(producer, 0)) ? 0 : 1;
        ValueId base = value(producer, x);
        if (base != kNoValue && (x == 0 || !divides) && graph_.type(base).is_tensor() &&
            graph_.type(base).tensor == type)
          before = per_channel(producer.arguments[1 - x], type, channel_dim(*l, type), l->inputs);
        if (divides)
          for (double& v : before) v = 1 / v;
        if (!before.empty() && finite(before, type.dtype))
          scaled = graph_.values[size_t(input)].index;
        else
          before.clear();
      }
    }
    if (!after.any && before.empty()) return;
    if (constant_users(graph_.values[size_t(l->weight)].index) != 1) return;

    const TensorType weight_type = constant(l->weight)->type;
    auto weight = scaled_weight(*l, *constant(l->weight), after, before);
    if (!weight) return;
    std::vector<double> bias(size_t(l->outputs), 0);
    if (l->bias != kNoValue) bias = elements(l->bias);
    if (bias.size() != size_t(l->outputs)) return;
    bool shifted = false;
    if (after.any) {
      for (size_t c = 0; c < bias.size(); c++) {
        bias[c] = bias[c] * after.scale[after.scale.size() == 1 ? 0 : c] +
                  after.shift[after.shift.size() == 1 ? 0 : c];
        shifted |= bias[c] != 0;
      }
    }
    if (!finite(bias, weight_type.dtype)) return;

    std::string name = program_.constants[size_t(graph_.values[size_t(l->weight)].index)].name;
    release_pages(constant(l->weight)->bytes);
    ValueId new_weight = add_constant(weight_type, std::move(weight), name);
    graph_.nodes[size_t(id)].arguments[1] = ValueRef{new_weight};
    if (after.any && (l->bias != kNoValue || shifted)) {
      std::string bias_name =
          l->bias != kNoValue
              ? program_.constants[size_t(graph_.values[size_t(l->bias)].index)].name
              : name + "_bias";
      ValueId new_bias = add_constant({weight_type.dtype, {SymInt(l->outputs)}, {}},
                                      stored(bias, weight_type.dtype), bias_name);
      graph_.nodes[size_t(id)].arguments[2] = ValueRef{new_bias};
    }
    if (scaled >= 0) {
      Node& producer = graph_.nodes[size_t(scaled)];
      size_t x = value(producer, 0) != kNoValue && !constant(value(producer, 0)) ? 0 : 1;
      graph_.nodes[size_t(id)].arguments[0] = ValueRef{value(producer, x)};
      user_[size_t(value(producer, x))] = id;
      producer.removed = true;
    }
    for (NodeId gone : taken) graph_.nodes[size_t(gone)].removed = true;
    ValueId result = graph_.nodes[size_t(id)].results[0];
    if (last != result) {
      replacements_.add(last, result);
      uses_[size_t(result)] = uses_[size_t(last)];
      user_[size_t(result)] = user_[size_t(last)];
    }
  }

  // Weights are [out][in / groups][kernel], of transposed convolutions [in][out / groups][kernel].
  // Null when the result would not be finite.
  static std::shared_ptr<std::vector<uint8_t>> scaled_weight(const Layer& l,
                                                             const ConstantData& data,
                                                             const Affine& after,
                                                             const std::vector<double>& before) {
    auto at = [](const std::vector<double>& v, int64_t i) {
      return v.empty() ? 1.0 : v[v.size() == 1 ? 0 : size_t(i)];
    };
    DType dtype = data.type.dtype;
    int64_t rows = l.transposed ? l.inputs : l.outputs;
    int64_t columns = (l.transposed ? l.outputs : l.inputs) / l.groups;
    int64_t rows_per_group = rows / l.groups;
    int64_t inner = int64_t(data.bytes.size() / dtype_bytes(dtype)) / (rows * columns);
    const std::vector<double>& along_row = l.transposed ? after.scale : before;  // by column
    if (along_row.size() <= 1) {  // one factor for all of a row
      inner *= columns;
      columns = 1;
    }
    auto scaled = std::make_shared<std::vector<uint8_t>>(data.bytes.size());
    double largest = limit(dtype);
    size_t each = dtype_bytes(dtype), offset = 0;
    bool fits = true;
    for (int64_t r = 0; r < rows && fits; r++) {
      int64_t group = r / rows_per_group;
      for (int64_t c = 0; c < columns; c++) {
        int64_t other = group * columns + c;
        double factor =
            at(after.scale, l.transposed ? other : r) * at(before, l.transposed ? r : other);
        fits &= scale_elements(scaled->data() + offset, data.bytes.data() + offset, inner, dtype,
                               factor, largest);
        offset += size_t(inner) * each;
      }
    }
    return fits ? scaled : nullptr;
  }

  static bool scale_elements(uint8_t* to, const uint8_t* from, int64_t count, DType dtype,
                             double factor, double largest) {
    size_t each = dtype_bytes(dtype);
    double block[kBlockCount];
    bool fits = true;
    for (int64_t i = 0; i < count; i += kBlockCount) {
      int n = int(std::min<int64_t>(kBlockCount, count - i));
      if (dtype == DType::f32) {
        float plain[kBlockCount];
        memcpy(plain, from + size_t(i) * 4, size_t(n) * 4);
        for (int k = 0; k < n; k++) {
          double value = double(plain[k]) * factor;
          fits &= std::fabs(value) <= largest;
          plain[k] = float(value);
        }
        memcpy(to + size_t(i) * 4, plain, size_t(n) * 4);
        continue;
      }
      load_elements<double>(block, from + size_t(i) * each, 1, n, dtype);
      for (int k = 0; k < n; k++) {
        block[k] *= factor;
        fits &= std::fabs(block[k]) <= largest;
      }
      store_elements<double>(to + size_t(i) * each, 1, block, n, dtype);
    }
    return fits;
  }

  Program& program_;
  Graph& graph_;
  Replacements replacements_;
  std::vector<int32_t> uses_;
  std::vector<NodeId> user_;  // of values with one use: who
};

}  // namespace

Result<void> fold_batch_norm(Program& program, Graph& graph, const PassContext&) {
  Folder(program, graph).run();
  return {};
}

}  // namespace sconce
