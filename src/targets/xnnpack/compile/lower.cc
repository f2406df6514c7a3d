#include "targets/xnnpack/compile/lower.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <map>
#include <unordered_map>
#include <unordered_set>

#include "targets/content_name.h"
#include "tensor/half.h"

namespace sconce {
namespace {

using Dims = std::vector<int64_t>;
using Kind = XnnNodeKind;

constexpr uint32_t kTransposeB = 1, kKeepDims = 0x40, kAlignCorners = 8;
constexpr uint32_t kConstantAlignment = 16;

int64_t product(const Dims& dims) {
  int64_t count = 1;
  for (int64_t d : dims) count *= d;
  return count;
}

Dims to_image(const Dims& d) { return {d[0], d[2], d[3], d[1]}; }

// --- arguments of nodes
// ---------------------------------------------------------------------------

std::optional<ValueId> value_argument(const Node& node, size_t i) {
  if (i >= node.arguments.size()) return std::nullopt;
  auto* ref = std::get_if<ValueRef>(&node.arguments[i]);
  return ref && ref->id != kNoValue ? std::optional(ref->id) : std::nullopt;
}

bool is_none(const Node& node, size_t i) {
  return i >= node.arguments.size() || std::holds_alternative<None>(node.arguments[i]);
}

std::optional<double> number_argument(const Node& node, size_t i) {
  if (i >= node.arguments.size()) return std::nullopt;
  if (auto* x = std::get_if<double>(&node.arguments[i])) return *x;
  if (auto* x = std::get_if<int64_t>(&node.arguments[i])) return double(*x);
  if (auto* x = std::get_if<bool>(&node.arguments[i])) return double(*x);
  return std::nullopt;
}

std::optional<int64_t> int_argument(const Node& node, size_t i) {
  if (i >= node.arguments.size()) return std::nullopt;
  auto* x = std::get_if<int64_t>(&node.arguments[i]);
  return x ? std::optional(*x) : std::nullopt;
}

bool bool_argument(const Node& node, size_t i) { return number_argument(node, i).value_or(0) != 0; }

// A list of known integers; an integer alone stands for `count` times itself.
std::optional<Dims> ints_argument(const Node& node, size_t i, size_t count) {
  if (i >= node.arguments.size()) return std::nullopt;
  if (auto* one = std::get_if<int64_t>(&node.arguments[i])) return Dims(count, *one);
  auto* items = std::get_if<std::vector<IntItem>>(&node.arguments[i]);
  if (!items) return std::nullopt;
  Dims list;
  for (const IntItem& item : *items) {
    if (!item.is_known()) return std::nullopt;
    list.push_back(item.known);
  }
  if (list.size() == 1 && count > 1) list.assign(count, list[0]);
  return list;
}

// --- lowering
// -------------------------------------------------------------------------------------

class Lowering;
using Rule = bool (*)(Lowering& l, const Node& node);
struct XnnScale {
  float scale;
  int32_t zero;
  bool operator==(const XnnScale&) const = default;
};
Rule find_rule(const std::string& op);

// Where an operator on integers has its operands, each before its scale and zero point, and the
// scale and zero point of its result.
struct Int8Arguments {
  const char* op;
  std::vector<size_t> operands;
  size_t result;
};
const Int8Arguments* find_int8(const std::string& op) {
  static const auto* rows = new std::vector<Int8Arguments>{
      {"int8::linear", {0}, 6}, {"int8::convolution", {0}, 12}, {"int8::add", {0, 3}, 6},
      {"int8::sub", {0, 3}, 6}, {"int8::mul", {0, 3}, 6},       {"int8::mean", {0}, 5},
      {"int8::clamp", {0}, 5}};
  for (const Int8Arguments& row : *rows)
    if (op == row.op) return &row;
  return nullptr;
}

class Lowering {
 public:
  // A trial says whether a rule takes a node; it makes no bytes.
  Lowering(const Program& program, const Graph& graph, bool trial)
      : program(program), graph(graph), trial(trial) {
    region.graph.version = "0";
    region.graph.constants.push_back({"", true, {}});
  }

  Result<XnnRegion> run(Span<const NodeId> nodes) {
    find_uses(nodes);
    find_scales();
    // Inputs first: their external ids come before those of outputs.
    for (size_t i = 0; i < region.inputs.size(); i++) {
      ValueId input = region.inputs[i];
      uint32_t v = add_value(own_dims(input));
      XnnValue& value = region.graph.values[v];
      value.flags = kXnnExternalInput;
      value.external_id = uint32_t(i);
      region.graph.inputs.push_back(value.id);
      set(input, v, is_image(input));
    }
    for (NodeId id : nodes) {
      const Node& node = graph.nodes[size_t(id)];
      Rule rule = find_rule(node.op);
      if (!rule || !rule(*this, node))
        return error(Code::internal, "{}: was taken for XNNPACK, and cannot be", node.op);
    }
    for (ValueId output : region.outputs) mark_output(output);
    region.graph.external_count = uint32_t(region.inputs.size() + region.outputs.size());
    return std::move(region);
  }

  // --- what rules ask ---

  bool is_f32(ValueId id) const {
    const Type& type = graph.type(id);
    return type.is_tensor() && type.tensor.dtype == DType::f32 && has_xnn_shape(id);
  }
  bool has_xnn_shape(ValueId id) const {
    const Type& type = graph.type(id);
    if (!is_static(type.tensor) || type.tensor.sizes.size() > size_t(kXnnRankMax)) return false;
    // XNNPACK has no empty tensors, and counts dimensions as they lie.
    for (const SymInt& size : type.tensor.sizes)
      if (size.value < 1) return false;
    return type.tensor.dim_order.empty() || is_image(id) || is_in_order(id);
  }
  // Integers of 8 bits that stand for numbers: here values carry scale and zero point.
  bool is_i8(ValueId id) const {
    const Type& type = graph.type(id);
    if (!type.is_tensor() || type.tensor.dtype != DType::i8) return false;
    return has_xnn_shape(id);
  }
  bool is_i32(ValueId id) const {
    const Type& type = graph.type(id);
    return type.is_tensor() && type.tensor.dtype == DType::i32 && has_xnn_shape(id);
  }
  bool is_constant(ValueId id) const { return graph.values[size_t(id)].origin == Origin::constant; }
  Dims dims(ValueId id) const {
    Dims all;
    for (const SymInt& size : graph.type(id).tensor.sizes) all.push_back(size.value);
    return all;
  }
  const float* floats(ValueId id) const {
    return reinterpret_cast<const float*>(
        program.constants[size_t(graph.values[size_t(id)].index)].bytes.data());
  }
  // Better as an image than with the dimensions in order.
  bool prefers_image(ValueId id) const {
    auto found = forms_.find(id);
    return found != forms_.end() && found->second.image != kNone && found->second.plain == kNone;
  }

  // --- values and nodes ---

  // The value with its dimensions in order, or as an image (N, H, W, C).
  uint32_t plain(ValueId id) {
    Form& form = form_of(id);
    if (form.plain != kNone) return form.plain;
    Dims d = dims(id);
    // Where the image is a point, or has one channel, nothing moves.
    if (d[1] == 1 || (d[2] == 1 && d[3] == 1))
      form.plain = reshaped(form.image, d);
    else
      form.plain = transposed(form.image, {0, 3, 1, 2});
    return form.plain;
  }
  uint32_t image(ValueId id) {
    Form& form = form_of(id);
    if (form.image != kNone) return form.image;
    Dims d = dims(id);
    if (d[1] == 1 || (d[2] == 1 && d[3] == 1))
      form.image = reshaped(form.plain, to_image(d));
    else
      form.image = transposed(form.plain, {0, 2, 3, 1});
    return form.image;
  }
  void set(ValueId id, uint32_t value, bool as_image = false) {
    if (graph.type(id).tensor.dtype == DType::i8) set_scale(value, scale_of(id));
    (as_image ? forms_[id].image : forms_[id].plain) = value;
  }
  // A convolution's input whose padding waits for it.
  struct Padding {
    ValueId of;
    Dims before, after;  // of the two inner dimensions
  };
  void set_padded(ValueId id, Padding padding) { paddings_[id] = std::move(padding); }
  const Padding* find_padding(ValueId id) const {
    auto found = paddings_.find(id);
    return found == paddings_.end() ? nullptr : &found->second;
  }
  int uses_of(ValueId id) const { return trial ? 1 : uses_[size_t(id)]; }
  // By anything, in the region or not.
  bool is_used(ValueId id) const {
    bool used = false;
    auto see = [&](ValueId other) { used |= other == id; };
    for (NodeId node : graph.order) Graph::for_each_use(graph.nodes[size_t(node)], see);
    for (ValueId output : graph.outputs) see(output);
    for (const WriteBack& write : graph.write_backs) see(write.value);
    return used;
  }
  const Node* user_of(ValueId id) const { return trial ? nullptr : users_[size_t(id)]; }

  uint32_t add_value(const Dims& d) {
    XnnValue value;
    value.id = uint32_t(region.graph.values.size());
    for (int64_t size : d) value.dims.push_back(uint32_t(size));
    region.graph.values.push_back(std::move(value));
    return uint32_t(region.graph.values.size() - 1);
  }
  Dims dims_of(uint32_t value) const {
    const auto& d = region.graph.values[value].dims;
    return Dims(d.begin(), d.end());
  }
  // The result has the type of the first operand.
  XnnNode& add(Kind kind, std::vector<uint32_t> inputs, const Dims& out) {
    uint32_t to = add_value(out);
    const XnnValue& like = region.graph.values[inputs[0]];
    if (like.dtype == XnnDType::qint8 && !like.constant) {
      region.graph.values[to].dtype = like.dtype;
      region.graph.values[to].quantization = like.quantization;
    }
    XnnNode& node = region.graph.nodes.emplace_back();
    node.kind = kind;
    node.inputs = std::move(inputs);
    node.outputs = {to};
    node.debug_handle = uint32_t(region.graph.nodes.size());
    return node;
  }
  uint32_t reshaped(uint32_t from, const Dims& to) {
    if (dims_of(from) == to) return from;
    XnnNode& node = add(Kind::reshape, {from}, to);
    node.first.assign(to.begin(), to.end());
    return node.outputs[0];
  }
  uint32_t transposed(uint32_t from, const std::vector<uint32_t>& order) {
    Dims in = dims_of(from), out;
    for (uint32_t d : order) out.push_back(in[d]);
    XnnNode& node = add(Kind::transpose, {from}, out);
    node.first = order;
    return node.outputs[0];
  }
  uint32_t binary(Kind kind, uint32_t a, uint32_t b) {
    Dims x = dims_of(a), y = dims_of(b);
    if (x.size() < y.size()) std::swap(x, y);
    for (size_t i = 1; i <= y.size(); i++)
      x[x.size() - i] = std::max(x[x.size() - i], y[y.size() - i]);
    return add(kind, {a, b}, x).outputs[0];
  }
  uint32_t unary(Kind kind, uint32_t a) { return add(kind, {a}, dims_of(a)).outputs[0]; }

  // --- integers ---

  static constexpr XnnScale kNoScale = {1, 0};
  void set_scale(uint32_t value, XnnScale scale) {
    XnnValue& v = region.graph.values[value];
    v.dtype = XnnDType::qint8;
    v.quantization.kind = XnnQuantization::Kind::per_tensor;
    v.quantization.scale = scale.scale;
    v.quantization.zero_point = scale.zero;
  }
  XnnScale scale_of(ValueId id) const {
    auto found = scales_.find(id);
    return found == scales_.end() ? kNoScale : found->second;
  }
  // True when nothing else makes or reads these integers by another scale.
  bool agrees(ValueId id, XnnScale scale) {
    if (trial && scales_.empty()) {
      if (graph.is_node(id))
        if (auto made = made_scale(graph.producer(id))) return *made == scale;
      find_scales();
    }
    return scale_of(id) == scale;
  }
  // The value as numbers of another type: f32, or integers of a scale.
  uint32_t converted(uint32_t from, std::optional<XnnScale> to) {
    uint32_t made = add(Kind::convert, {from}, dims_of(from)).outputs[0];
    if (to) {
      set_scale(made, *to);
    } else {
      region.graph.values[made].dtype = XnnDType::f32;
      region.graph.values[made].quantization = {};
    }
    return made;
  }
  // Rows quantised by their own range.
  uint32_t dynamic(uint32_t from) {
    uint32_t made = add(Kind::convert, {from}, dims_of(from)).outputs[0];
    XnnValue& value = region.graph.values[made];
    value.dtype = XnnDType::qdint8;
    value.quantization.kind = XnnQuantization::Kind::per_token;
    value.quantization.inner_dims = 1;
    return made;
  }
  // Bytes under a name of their own; what number the payload knows them by.
  uint32_t named(Bytes bytes, std::shared_ptr<const std::vector<uint8_t>> owned) {
    if (trial) return 0;
    std::string key = content_name(bytes);
    auto [known, is_new] = constants_.try_emplace(key, uint32_t(region.graph.constants.size()));
    if (is_new) {
      region.graph.constants.push_back({key, true, bytes});
      region.constants.push_back({key, bytes, std::move(owned), kConstantAlignment});
    }
    return known->second;
  }
  uint32_t named(std::vector<uint8_t> bytes) {
    auto owned = std::make_shared<const std::vector<uint8_t>>(std::move(bytes));
    return named(*owned, owned);
  }
  template <class T>
  static std::vector<uint8_t> bytes_of(const std::vector<T>& numbers) {
    std::vector<uint8_t> bytes(numbers.size() * sizeof(T));
    if (!bytes.empty()) memcpy(bytes.data(), numbers.data(), bytes.size());
    return bytes;
  }
  // A constant that XNNPACK packs, with a scale for all or one for each place along `channel_dim`.
  uint32_t integers(XnnDType one, XnnDType each, uint32_t constant, const Dims& d,
                    const std::vector<float>& scales, int32_t channel_dim) {
    uint32_t made = add_value(d);
    XnnValue& value = region.graph.values[made];
    value.constant = constant;
    value.dtype = scales.size() == 1 ? one : each;
    if (scales.size() == 1) {
      value.quantization.kind = XnnQuantization::Kind::per_tensor;
      value.quantization.scale = scales[0];
    } else {
      value.quantization.kind = XnnQuantization::Kind::per_channel;
      value.quantization.channel_dim = channel_dim;
      value.quantization.scale_count = uint32_t(scales.size());
      if (!trial) value.quantization.scale_constant = named(bytes_of(scales));
    }
    return made;
  }
  std::vector<float> scales_of(ValueId id) const {
    return std::vector<float>(floats(id), floats(id) + product(dims(id)));
  }
  const int8_t* bytes_at(ValueId id) const {
    return reinterpret_cast<const int8_t*>(
        program.constants[size_t(graph.values[size_t(id)].index)].bytes.data());
  }
  const ConstantData& data_of(ValueId id) const {
    return program.constants[size_t(graph.values[size_t(id)].index)];
  }

  // A constant of f32; equal bytes of equal sizes are one value. But for filters and biases:
  // XNNPACK packs them, and stock then lets their bytes go, so that no other node may read the same
  // value.
  enum class Use { read, packed };
  uint32_t constant(Bytes bytes, std::shared_ptr<const std::vector<uint8_t>> owned, Dims d,
                    Use use = Use::read) {
    if (d.empty()) d = {1};
    if (trial) return add_value(d);
    uint32_t constant = named(bytes, std::move(owned));
    auto& same = constant_values_[{constant, use}];
    for (uint32_t v : same)
      if (dims_of(v) == d) return v;
    uint32_t value = add_value(d);
    region.graph.values[value].constant = constant;
    same.push_back(value);
    return value;
  }
  uint32_t constant(const std::vector<float>& numbers, Dims d, Use use = Use::read) {
    auto bytes = std::make_shared<std::vector<uint8_t>>(numbers.size() * 4);
    if (!numbers.empty()) memcpy(bytes->data(), numbers.data(), bytes->size());
    return constant(*bytes, bytes, std::move(d), use);
  }
  uint32_t number(double x) { return constant(std::vector<float>{float(x)}, {1}); }
  uint32_t constant_of(ValueId id, Dims d, Use use = Use::read) {
    const ConstantData& data = program.constants[size_t(graph.values[size_t(id)].index)];
    return constant(data.bytes, data.owned, std::move(d), use);
  }
  // A filter with its dimensions in another order.
  uint32_t reordered(ValueId id, const std::vector<size_t>& order) {
    Dims from = dims(id), to;
    for (size_t d : order) to.push_back(from[d]);
    if (trial) return add_value(to);
    return constant(turned(floats(id), from, order), to, Use::packed);
  }
  // The elements of a tensor of rank 4 with its dimensions in another order.
  template <class T>
  static std::vector<T> turned(const T* data, const Dims& from, const std::vector<size_t>& order) {
    Dims strides(4, 1);
    for (size_t i = 3; i-- > 0;) strides[i] = strides[i + 1] * from[i + 1];
    std::vector<T> numbers;
    numbers.reserve(size_t(product(from)));
    for (int64_t a = 0; a < from[order[0]]; a++)
      for (int64_t b = 0; b < from[order[1]]; b++)
        for (int64_t c = 0; c < from[order[2]]; c++)
          for (int64_t d = 0; d < from[order[3]]; d++)
            numbers.push_back(data[a * strides[order[0]] + b * strides[order[1]] +
                                   c * strides[order[2]] + d * strides[order[3]]]);
    return numbers;
  }
  // Limits of a result: in the node that makes it, when nobody else sees that node's result.
  uint32_t limited(ValueId of, uint32_t value, float min, float max) {
    XnnNode* last = nullptr;
    for (size_t i = region.graph.nodes.size(); i-- > 0 && !last;)
      if (region.graph.nodes[i].outputs[0] == value) last = &region.graph.nodes[i];
    if (last && uses_of(of) == 1 && takes_limits(last->kind)) {
      last->min = last->limited ? std::clamp(last->min, min, max) : min;
      last->max = last->limited ? std::clamp(last->max, min, max) : max;
      last->limited = true;
      return value;
    }
    XnnNode& node = add(Kind::clamp, {value}, dims_of(value));
    node.limited = true, node.min = min, node.max = max;
    return node.outputs[0];
  }

  const Program& program;
  const Graph& graph;
  const bool trial;
  XnnRegion region;

 private:
  static constexpr uint32_t kNone = kXnnNoValue;
  struct Form {
    uint32_t plain = kNone, image = kNone;
  };

  static bool takes_limits(Kind kind) {
    switch (kind) {
      case Kind::fully_connected:
      case Kind::conv2d:
      case Kind::depthwise_conv2d:
      case Kind::conv_transpose2d:
      case Kind::add:
      case Kind::subtract:
      case Kind::multiply:
      case Kind::divide:
      case Kind::clamp: return true;
      default: return false;
    }
  }
  bool is_in_order(ValueId id) const {
    const auto& order = graph.type(id).tensor.dim_order;
    for (size_t i = 0; i < order.size(); i++)
      if (order[i] != i) return false;
    return true;
  }
  bool is_image(ValueId id) const {
    return graph.type(id).tensor.dim_order == std::vector<uint8_t>{0, 2, 3, 1};
  }
  Dims own_dims(ValueId id) const {
    Dims d = dims(id);
    if (d.empty()) return {1};
    return is_image(id) ? to_image(d) : d;
  }
  Form& form_of(ValueId id) {
    Form& form = forms_[id];
    if (form.plain != kNone || form.image != kNone) return form;
    if (const Padding* padding = find_padding(id)) {
      bool as_image = prefers_image(padding->of);
      uint32_t from = as_image ? image(padding->of) : plain(padding->of);
      size_t first = as_image ? 1 : 2;
      XnnNode& node = add(Kind::pad, {from}, as_image ? to_image(dims(id)) : dims(id));
      node.first.assign(4, 0), node.second.assign(4, 0);
      for (size_t d = 0; d < 2; d++) {
        node.first[first + d] = uint32_t(padding->before[d]);
        node.second[first + d] = uint32_t(padding->after[d]);
      }
      set(id, node.outputs[0], as_image);
    } else if (is_constant(id)) {
      form.plain = constant_of(id, dims(id));
    } else {
      CHECK(trial);  // operands of a region are inputs or results
      form.plain = add_value(own_dims(id));
    }
    return forms_[id];
  }

  void find_uses(Span<const NodeId> nodes) {
    std::vector<bool> here(graph.values.size()), seen(graph.values.size()),
        taken(graph.nodes.size()), outside(graph.values.size());
    uses_.assign(graph.values.size(), 0);
    users_.assign(graph.values.size(), nullptr);
    for (NodeId id : nodes) {
      taken[size_t(id)] = true;
      const Node& node = graph.nodes[size_t(id)];
      Graph::for_each_use(node, [&](ValueId used) {
        uses_[size_t(used)]++;
        users_[size_t(used)] = &node;
        if (here[size_t(used)] || seen[size_t(used)] || is_constant(used)) return;
        seen[size_t(used)] = true;
        region.inputs.push_back(used);
      });
      for (ValueId result : node.results) here[size_t(result)] = true;
    }
    auto use = [&](ValueId used) {
      if (!here[size_t(used)]) return;
      uses_[size_t(used)]++;
      outside[size_t(used)] = true;
    };
    for (NodeId id : graph.order)
      if (!taken[size_t(id)]) Graph::for_each_use(graph.nodes[size_t(id)], use);
    for (ValueId id : graph.outputs) use(id);
    for (const WriteBack& write : graph.write_backs) use(write.value);
    for (NodeId id : nodes)
      for (ValueId result : graph.nodes[size_t(id)].results)
        if (outside[size_t(result)]) region.outputs.push_back(result);
  }

  // The scale of a result, where the node says it.
  static std::optional<XnnScale> made_scale(const Node& node) {
    const Int8Arguments* at = find_int8(node.op);
    size_t i = at ? at->result : 1;
    if (!at && node.op != "quantized_decomposed::quantize_per_tensor") return std::nullopt;
    auto scale = number_argument(node, i), zero = number_argument(node, i + 1);
    if (!scale || !zero) return std::nullopt;
    return XnnScale{float(*scale), int32_t(*zero)};
  }
  // Scales of integers: who makes or reads them says so; what only moves them keeps them.
  void find_scales() {
    auto note = [&](ValueId id, const Node& node, size_t at) {
      auto scale = number_argument(node, at), zero = number_argument(node, at + 1);
      if (scale && zero) scales_.try_emplace(id, XnnScale{float(*scale), int32_t(*zero)});
    };
    auto is_move = [&](const Node& node) {
      return !node.results.empty() && !node.op.starts_with("int8::") &&
             graph.type(node.results[0]).tensor.dtype == DType::i8 && find_rule(node.op);
    };
    auto operands = [&](const Node& node) {
      std::vector<ValueId> all;
      Graph::for_each_use(node, [&](ValueId id) {
        if (graph.type(id).is_tensor() && graph.type(id).tensor.dtype == DType::i8)
          all.push_back(id);
      });
      return all;
    };
    for (NodeId id : graph.order) {
      const Node& node = graph.nodes[size_t(id)];
      if (auto made = made_scale(node)) scales_.try_emplace(node.results[0], *made);
      if (node.op == "quantized_decomposed::dequantize_per_tensor")
        if (auto x = value_argument(node, 0)) note(*x, node, 1);
      if (const Int8Arguments* at = find_int8(node.op)) {
        for (size_t i : at->operands)
          if (auto x = i < node.arguments.size() ? value_argument(node, i) : std::nullopt)
            note(*x, node, i + 1);
      }
    }
    for (int pass = 0; pass < 2; pass++) {
      auto order = graph.order;
      if (pass == 0) std::reverse(order.begin(), order.end());
      for (NodeId id : order) {
        const Node& node = graph.nodes[size_t(id)];
        if (!is_move(node)) continue;
        std::vector<ValueId> all = operands(node);
        all.push_back(node.results[0]);
        const XnnScale* known = nullptr;
        for (ValueId v : all)
          if (auto found = scales_.find(v); found != scales_.end()) known = &found->second;
        if (!known) continue;
        XnnScale scale = *known;
        for (ValueId v : all) scales_.try_emplace(v, scale);
      }
    }
  }

  void mark_output(ValueId id) {
    uint32_t v = is_image(id) ? image(id) : plain(id);
    XnnValue* value = &region.graph.values[v];
    if (value->flags || value->constant) {  // taken, or not computed
      v = unary(Kind::copy, v);
      value = &region.graph.values[v];
    }
    value->flags = kXnnExternalOutput;
    value->external_id = uint32_t(region.inputs.size() + region.graph.outputs.size());
    region.graph.outputs.push_back(value->id);
  }

  std::map<ValueId, Form> forms_;
  std::map<ValueId, XnnScale> scales_;
  std::map<ValueId, Padding> paddings_;
  std::unordered_map<std::string, uint32_t> constants_;
  std::map<std::pair<uint32_t, Use>, std::vector<uint32_t>> constant_values_;
  std::vector<int> uses_;
  std::vector<const Node*> users_;
};

// --- rules
// ----------------------------------------------------------------------------------------

template <Kind kind>
bool unary_rule(Lowering& l, const Node& node) {
  auto x = value_argument(node, 0);
  if (!x || l.dims(*x).empty()) return false;
  bool as_image = l.prefers_image(*x);
  l.set(node.results[0], l.unary(kind, as_image ? l.image(*x) : l.plain(*x)), as_image);
  return true;
}

bool gelu_rule(Lowering& l, const Node& node) {
  auto* how = std::get_if<std::string>(&node.arguments[1]);
  return how && *how == "none" && unary_rule<Kind::gelu>(l, node);
}

template <Kind kind>
bool sloped_rule(Lowering& l, const Node& node) {
  auto slope = number_argument(node, 1);
  if (!slope || !unary_rule<kind>(l, node)) return false;
  l.region.graph.nodes.back().number = float(*slope);
  return true;
}

bool pow_rule(Lowering& l, const Node& node) {
  return number_argument(node, 1) == 2.0 && unary_rule<Kind::square>(l, node);
}

bool limits_rule(Lowering& l, const Node& node, std::optional<double> min,
                 std::optional<double> max) {
  auto x = value_argument(node, 0);
  if (!x || l.dims(*x).empty() || (min && std::isnan(*min)) || (max && std::isnan(*max)))
    return false;
  float low = min ? float(*min) : -INFINITY, high = max ? float(*max) : INFINITY;
  if (!(low <= high)) return false;
  bool as_image = l.prefers_image(*x);
  uint32_t v = as_image ? l.image(*x) : l.plain(*x);
  l.set(node.results[0], l.limited(*x, v, low, high), as_image);
  return true;
}
bool relu_rule(Lowering& l, const Node& node) { return limits_rule(l, node, 0, std::nullopt); }
bool clamp_rule(Lowering& l, const Node& node) {
  for (size_t i : {1, 2})
    if (!is_none(node, i) && !number_argument(node, i)) return false;
  return limits_rule(l, node, number_argument(node, 1), number_argument(node, 2));
}

template <Kind kind>
bool binary_rule(Lowering& l, const Node& node) {
  bool scaled = kind == Kind::add || kind == Kind::subtract;
  if (scaled && node.arguments.size() > 2 && number_argument(node, 2) != 1.0) return false;
  auto a = value_argument(node, 0), b = value_argument(node, 1);
  if (!a || l.dims(node.results[0]).empty()) return false;
  if (!b) {
    auto x = number_argument(node, 1);
    if (!x) return false;
    bool as_image = l.prefers_image(*a);
    l.set(node.results[0], l.binary(kind, as_image ? l.image(*a) : l.plain(*a), l.number(*x)),
          as_image);
    return true;
  }
  // As images when one is, and the other can be: it is one, or a number for all.
  auto fits = [&](ValueId v) {
    return (l.dims(v).size() == 4 && !l.is_constant(v)) || product(l.dims(v)) == 1;
  };
  bool as_image = (l.prefers_image(*a) || l.prefers_image(*b)) && fits(*a) && fits(*b) &&
                  l.dims(node.results[0]).size() == 4;
  auto form = [&](ValueId v) {
    if (!as_image) return l.plain(v);
    if (l.dims(v).size() == 4 && !l.is_constant(v)) return l.image(v);
    return l.is_constant(v) ? l.constant_of(v, {1}) : l.plain(v);
  };
  uint32_t x = form(*a), y = form(*b);
  l.set(node.results[0], l.binary(kind, x, y), as_image);
  return true;
}

uint32_t linear(Lowering& l, uint32_t x, uint32_t weight, uint32_t bias, int64_t outputs,
                uint32_t flags) {
  Dims out = l.dims_of(x);
  out.back() = outputs;
  XnnNode& node = l.add(Kind::fully_connected, {x, weight, bias}, out);
  node.flags = flags;
  return node.outputs[0];
}

bool linear_rule(Lowering& l, const Node& node) {
  auto x = value_argument(node, 0), w = value_argument(node, 1), b = value_argument(node, 2);
  if (!x || !w || !l.is_constant(*w) || l.dims(*x).empty() || l.dims(*w).size() != 2) return false;
  if (b && (!l.is_constant(*b) || l.dims(*b).size() != 1)) return false;
  if (l.is_constant(*x)) return false;
  uint32_t bias = b ? l.constant_of(*b, l.dims(*b), Lowering::Use::packed) : kXnnNoValue;
  l.set(node.results[0],
        linear(l, l.plain(*x), l.constant_of(*w, l.dims(*w), Lowering::Use::packed), bias,
               l.dims(*w)[0], 0));
  return true;
}

bool matmul(Lowering& l, ValueId result, ValueId a, ValueId b) {
  Dims x = l.dims(a), y = l.dims(b);
  if (x.size() < 2 || y.size() < 2) return false;
  if (l.is_constant(a)) return false;
  if (y.size() == 2 && l.is_constant(b)) {
    l.set(result, linear(l, l.plain(a), l.constant_of(b, y, Lowering::Use::packed), kXnnNoValue,
                         y[1], kTransposeB));
    return true;
  }
  if (x.size() != y.size()) return false;
  uint32_t left = l.plain(a), right = l.plain(b);
  l.set(result, l.add(Kind::batch_matmul, {left, right}, l.dims(result)).outputs[0]);
  return true;
}
bool matmul_rule(Lowering& l, const Node& node) {
  auto a = value_argument(node, 0), b = value_argument(node, 1);
  return a && b && matmul(l, node.results[0], *a, *b);
}

bool addmm_rule(Lowering& l, const Node& node) {
  auto bias = value_argument(node, 0), a = value_argument(node, 1), b = value_argument(node, 2);
  if (!bias || !a || !b || number_argument(node, 3) != 1.0 || number_argument(node, 4) != 1.0)
    return false;
  Dims y = l.dims(*b);
  if (!l.is_constant(*b) || !l.is_constant(*bias) || l.is_constant(*a) ||
      l.dims(*bias) != Dims{y[1]})
    return false;
  uint32_t x = l.plain(*a);
  l.set(node.results[0],
        linear(l, x, l.constant_of(*b, y, Lowering::Use::packed),
               l.constant_of(*bias, l.dims(*bias), Lowering::Use::packed), y[1], kTransposeB));
  return true;
}

bool convolution_rule(Lowering& l, const Node& node) {
  auto x = value_argument(node, 0), w = value_argument(node, 1), b = value_argument(node, 2);
  if (!x || !w || !l.is_constant(*w) || (b && !l.is_constant(*b)) || l.is_constant(*x))
    return false;
  Dims in = l.dims(*x), filter = l.dims(*w), out = l.dims(node.results[0]);
  auto groups = int_argument(node, 8);
  bool is_transposed = bool_argument(node, 6);
  if (in.size() != 4 || filter.size() != 4 || !groups) return false;
  auto stride = ints_argument(node, 3, 2), padding = ints_argument(node, 4, 2);
  auto dilation = ints_argument(node, 5, 2), adjustment = ints_argument(node, 7, 2);
  if (!stride || !padding || !dilation || !adjustment) return false;
  if (is_transposed && *groups != 1) return false;
  XnnWindow window;
  int64_t top = (*padding)[0], left = (*padding)[1], bottom = top, right = left;
  ValueId from = *x;
  if (const Lowering::Padding* waiting = l.find_padding(*x); waiting && !is_transposed) {
    from = waiting->of;
    top += waiting->before[0], left += waiting->before[1];
    bottom += waiting->after[0], right += waiting->after[1];
  }
  if (top < 0 || left < 0 || bottom < 0 || right < 0) return false;
  window.padding_top = uint32_t(top), window.padding_left = uint32_t(left);
  window.padding_bottom = uint32_t(bottom), window.padding_right = uint32_t(right);
  for (size_t d = 0; d < 2; d++) {
    window.kernel[d] = uint32_t(filter[2 + d]);
    window.stride[d] = uint32_t((*stride)[d]);
    window.dilation[d] = uint32_t((*dilation)[d]);
    if (is_transposed) window.adjustment[d] = uint32_t((*adjustment)[d]);
  }
  int64_t inputs = in[1], outputs = out[1];
  window.groups = uint32_t(*groups);
  window.group_inputs = uint32_t(inputs / *groups);
  window.group_outputs = uint32_t(outputs / *groups);
  bool depthwise = !is_transposed && *groups == inputs && *groups > 1;
  Kind kind = is_transposed ? Kind::conv_transpose2d
              : depthwise   ? Kind::depthwise_conv2d
                            : Kind::conv2d;
  // To [outputs, height, width, inputs]; depthwise: [1, height, width, outputs].
  uint32_t weight = depthwise       ? l.reordered(*w, {1, 2, 3, 0})
                    : is_transposed ? l.reordered(*w, {1, 2, 3, 0})
                                    : l.reordered(*w, {0, 2, 3, 1});
  uint32_t bias = b ? l.constant_of(*b, l.dims(*b), Lowering::Use::packed) : kXnnNoValue;
  uint32_t source = l.image(from);
  XnnNode& made = l.add(kind, {source, weight, bias}, to_image(out));
  made.window = window;
  l.set(node.results[0], made.outputs[0], true);
  return true;
}

bool pad_rule(Lowering& l, const Node& node) {
  auto x = value_argument(node, 0);
  auto amounts = ints_argument(node, 1, 0);
  auto value = number_argument(node, 2);
  if (!x || !amounts || !value || amounts->size() % 2) return false;
  Dims in = l.dims(*x);
  std::vector<uint32_t> before(in.size(), 0), after(in.size(), 0);
  for (size_t i = 0; i < amounts->size() / 2; i++) {
    int64_t low = (*amounts)[2 * i], high = (*amounts)[2 * i + 1];
    if (low < 0 || high < 0 || i >= in.size()) return false;
    before[in.size() - 1 - i] = uint32_t(low), after[in.size() - 1 - i] = uint32_t(high);
  }
  ValueId result = node.results[0];
  const Node* user = l.user_of(result);
  if (*value == 0 && in.size() == 4 && amounts->size() <= 4 && l.uses_of(result) == 1 && user &&
      user->op == "aten::convolution") {
    l.set_padded(result, {*x, {before[2], before[3]}, {after[2], after[3]}});
    return true;
  }
  uint32_t from = l.plain(*x);
  XnnNode& made = l.add(Kind::pad, {from}, l.dims(result));
  made.first = before, made.second = after, made.number = float(*value);
  l.set(result, made.outputs[0]);
  return true;
}

bool pool_rule(Lowering& l, const Node& node) {
  bool average = node.op == "aten::avg_pool2d";
  auto x = value_argument(node, 0);
  if (!x || l.dims(*x).size() != 4) return false;
  auto kernel = ints_argument(node, 1, 2), stride = ints_argument(node, 2, 2);
  auto padding = ints_argument(node, 3, 2);
  auto dilation = average ? std::optional(Dims{1, 1}) : ints_argument(node, 4, 2);
  if (!kernel || !stride || !padding || !dilation) return false;
  if (stride->empty()) stride = kernel;
  bool padded = (*padding)[0] || (*padding)[1];
  if (bool_argument(node, average ? 4 : 5)) return false;  // ceil_mode
  if (average && ((padded && bool_argument(node, 5)) || !is_none(node, 6))) return false;
  if ((*kernel)[0] * (*kernel)[1] == 1) return false;  // XNNPACK refuses windows of one
  if (!average && l.is_used(node.results[1])) return false;
  uint32_t from = l.image(*x);
  XnnNode& made =
      l.add(average ? Kind::avg_pool : Kind::max_pool, {from}, to_image(l.dims(node.results[0])));
  made.window.padding_top = made.window.padding_bottom = uint32_t((*padding)[0]);
  made.window.padding_left = made.window.padding_right = uint32_t((*padding)[1]);
  for (size_t d = 0; d < 2; d++) {
    made.window.kernel[d] = uint32_t((*kernel)[d]);
    made.window.stride[d] = uint32_t((*stride)[d]);
    made.window.dilation[d] = uint32_t((*dilation)[d]);
  }
  l.set(node.results[0], made.outputs[0], true);
  return true;
}

bool adaptive_pool_rule(Lowering& l, const Node& node) {
  auto x = value_argument(node, 0);
  auto size = ints_argument(node, 1, 2);
  if (!x || l.dims(*x).size() != 4 || !size || *size != Dims{1, 1}) return false;
  Dims in = l.dims(*x);
  uint32_t from = l.image(*x);
  XnnNode& made = l.add(Kind::global_avg_pool, {from}, {in[0], 1, 1, in[1]});
  made.flags = kKeepDims;
  l.set(node.results[0], made.outputs[0], true);
  return true;
}

bool mean_rule(Lowering& l, const Node& node) {
  auto x = value_argument(node, 0);
  auto over = ints_argument(node, 1, 1);
  if (!x || !over || l.dims(*x).size() != 4 || !is_none(node, 3)) return false;
  Dims wanted = *over, in = l.dims(*x);
  for (int64_t& d : wanted) d = d < 0 ? d + 4 : d;
  std::sort(wanted.begin(), wanted.end());
  if (wanted != Dims{2, 3}) return false;
  bool keep = bool_argument(node, 2);
  uint32_t from = l.image(*x);
  XnnNode& made =
      l.add(Kind::global_avg_pool, {from}, keep ? Dims{in[0], 1, 1, in[1]} : Dims{in[0], in[1]});
  if (keep) made.flags = kKeepDims;
  l.set(node.results[0], made.outputs[0], keep);
  return true;
}

bool softmax_rule(Lowering& l, const Node& node) {
  auto x = value_argument(node, 0);
  auto dim = int_argument(node, 1);
  if (!x || !dim || bool_argument(node, 2)) return false;
  int64_t rank = int64_t(l.dims(*x).size());
  if (rank < 1 || (*dim != -1 && *dim != rank - 1)) return false;
  l.set(node.results[0], l.unary(Kind::softmax, l.plain(*x)));
  return true;
}

// The mean over rows of `width` numbers of a value [rows, width, 1, 1].
uint32_t row_mean(Lowering& l, uint32_t x) {
  XnnNode& node = l.add(Kind::global_avg_pool, {x}, {l.dims_of(x)[0], 1, 1, 1});
  node.flags = kKeepDims;
  return node.outputs[0];
}

bool layer_norm_rule(Lowering& l, const Node& node) {
  bool native = node.op == "aten::native_layer_norm";
  auto x = value_argument(node, 0);
  auto over = ints_argument(node, 1, 1);
  auto w = value_argument(node, 2), b = value_argument(node, 3);
  auto eps = number_argument(node, 4);
  if (!x || !over || !eps || l.is_constant(*x)) return false;
  if (native && (l.is_used(node.results[1]) || l.is_used(node.results[2]))) return false;
  for (auto part : {w, b})
    if (part && !l.is_constant(*part)) return false;
  Dims d = l.dims(*x);
  int64_t width = product(*over), rows = product(d) / width;
  uint32_t flat = l.reshaped(l.plain(*x), {rows, width, 1, 1});
  uint32_t centred = l.binary(Kind::subtract, flat, row_mean(l, flat));
  uint32_t variance = row_mean(l, l.unary(Kind::square, centred));
  uint32_t factor = l.unary(Kind::rsqrt, l.binary(Kind::add, variance, l.number(*eps)));
  uint32_t y = l.reshaped(l.binary(Kind::multiply, centred, factor), {rows, width});
  if (w) y = l.binary(Kind::multiply, y, l.constant_of(*w, {width}));
  if (b) y = l.binary(Kind::add, y, l.constant_of(*b, {width}));
  l.set(node.results[0], l.reshaped(y, d));
  return true;
}

bool attention_rule(Lowering& l, const Node& node) {
  auto q = value_argument(node, 0), k = value_argument(node, 1), v = value_argument(node, 2);
  auto mask = value_argument(node, 3);
  if (!q || !k || !v || number_argument(node, 4) != 0.0 || bool_argument(node, 7)) return false;
  Dims qd = l.dims(*q), kd = l.dims(*k), vd = l.dims(*v);
  size_t rank = qd.size();
  if (rank < 3 || kd.size() != rank || vd.size() != rank) return false;
  if (!is_none(node, 6) && !number_argument(node, 6)) return false;
  double scale = number_argument(node, 6).value_or(1 / std::sqrt(double(qd.back())));
  bool causal = bool_argument(node, 5);
  if (causal && mask) return false;
  Dims scores_dims = l.dims(node.results[0]);
  int64_t queries = qd[rank - 2], keys = kd[rank - 2];
  scores_dims[rank - 1] = keys;
  uint32_t scaled = l.binary(Kind::multiply, l.plain(*q), l.number(scale));
  uint32_t key = l.plain(*k);
  XnnNode& product = l.add(Kind::batch_matmul, {scaled, key}, scores_dims);
  product.flags = kTransposeB;
  uint32_t scores = product.outputs[0];
  if (mask) scores = l.binary(Kind::add, scores, l.plain(*mask));
  if (causal) {
    // Far below any score, and still finite.
    std::vector<float> lower(l.trial ? 0 : size_t(queries * keys), 0);
    for (int64_t i = 0; i < queries && !l.trial; i++)
      for (int64_t j = i + 1; j < keys; j++) lower[size_t(i * keys + j)] = -1e30f;
    scores = l.binary(Kind::add, scores, l.constant(lower, {queries, keys}));
  }
  uint32_t weights = l.unary(Kind::softmax, scores);
  uint32_t value = l.plain(*v);
  l.set(node.results[0],
        l.add(Kind::batch_matmul, {weights, value}, l.dims(node.results[0])).outputs[0]);
  return true;
}

bool reshape_rule(Lowering& l, const Node& node) {
  auto x = value_argument(node, 0);
  if (!x || l.is_constant(*x)) return false;
  Dims to = l.dims(node.results[0]);
  if (to.empty() || l.dims(*x).empty()) return false;
  l.set(node.results[0], l.reshaped(l.plain(*x), to));
  return true;
}

bool permute_rule(Lowering& l, const Node& node) {
  auto x = value_argument(node, 0);
  if (!x || l.is_constant(*x)) return false;
  int64_t rank = int64_t(l.dims(*x).size());
  std::vector<uint32_t> order;
  for (int64_t i = 0; i < rank; i++) order.push_back(uint32_t(i));
  if (node.op == "aten::permute") {
    auto dims = ints_argument(node, 1, 0);
    if (!dims || int64_t(dims->size()) != rank) return false;
    for (size_t i = 0; i < order.size(); i++)
      order[i] = uint32_t((*dims)[i] < 0 ? (*dims)[i] + rank : (*dims)[i]);
  } else {
    int64_t a = 0, b = 1;
    if (node.op == "aten::transpose.int") {
      auto first = int_argument(node, 1), second = int_argument(node, 2);
      if (!first || !second) return false;
      a = *first < 0 ? *first + rank : *first, b = *second < 0 ? *second + rank : *second;
    }
    if (rank < 2 || a >= rank || b >= rank) return false;
    std::swap(order[size_t(a)], order[size_t(b)]);
  }
  l.set(node.results[0], l.transposed(l.plain(*x), order));
  return true;
}

bool cat_rule(Lowering& l, const Node& node) {
  auto* list = std::get_if<std::vector<ValueRef>>(&node.arguments[0]);
  auto dim = int_argument(node, 1);
  if (!list || !dim || list->size() < 2) return false;
  Dims out = l.dims(node.results[0]);
  int64_t rank = int64_t(out.size()), axis = *dim < 0 ? *dim + rank : *dim;
  bool as_image = false;
  for (ValueRef ref : *list) {
    if (ref.id == kNoValue || int64_t(l.dims(ref.id).size()) != rank) return false;
    as_image |= l.prefers_image(ref.id);
  }
  constexpr int64_t kImageAxis[4] = {0, 3, 1, 2};
  if (as_image) axis = kImageAxis[axis];
  std::vector<uint32_t> parts;
  for (ValueRef ref : *list) parts.push_back(as_image ? l.image(ref.id) : l.plain(ref.id));
  constexpr Kind kKinds[] = {Kind::concatenate2, Kind::concatenate3, Kind::concatenate4,
                             Kind::concatenate5};
  while (parts.size() > 1) {
    size_t count = std::min<size_t>(parts.size(), 5);
    Dims d = l.dims_of(parts[0]);
    for (size_t i = 1; i < count; i++) d[size_t(axis)] += l.dims_of(parts[i])[size_t(axis)];
    XnnNode& made = l.add(kKinds[count - 2], {parts.begin(), parts.begin() + long(count)}, d);
    made.axis = uint32_t(axis);
    uint32_t joined = made.outputs[0];
    parts.erase(parts.begin(), parts.begin() + long(count));
    parts.insert(parts.begin(), joined);
  }
  l.set(node.results[0], parts[0], as_image);
  return true;
}

bool slice_rule(Lowering& l, const Node& node) {
  bool select = node.op == "aten::select.int";
  auto x = value_argument(node, 0);
  auto dim = int_argument(node, 1);
  if (!x || !dim || l.is_constant(*x)) return false;
  Dims in = l.dims(*x), out = l.dims(node.results[0]);
  int64_t rank = int64_t(in.size()), axis = *dim < 0 ? *dim + rank : *dim;
  if (axis < 0 || axis >= rank || out.empty()) return false;
  int64_t size = in[size_t(axis)];
  std::optional<int64_t> start =
      is_none(node, 2) ? std::optional<int64_t>(0) : int_argument(node, 2);
  if (!start || (!select && int_argument(node, 4) != 1)) return false;
  int64_t from = std::clamp<int64_t>(*start < 0 ? *start + size : *start, 0, size);
  Dims part = in;
  part[size_t(axis)] = select ? 1 : out[size_t(axis)];
  uint32_t whole = l.plain(*x);
  XnnNode& made = l.add(Kind::slice, {whole}, part);
  made.first.assign(in.size(), 0);
  made.first[size_t(axis)] = uint32_t(from);
  made.second.assign(part.begin(), part.end());
  l.set(node.results[0], l.reshaped(made.outputs[0], out));
  return true;
}

bool resize_rule(Lowering& l, const Node& node) {
  auto x = value_argument(node, 0);
  if (!x || l.dims(*x).size() != 4) return false;
  // With a scale of its own the positions are not those of the sizes alone.
  if (node.op == "aten::upsample_bilinear2d") {
    if (!is_none(node, 3) || !is_none(node, 4)) return false;
  } else if (!is_none(node, 3)) {
    return false;
  }
  Dims out = l.dims(node.results[0]);
  uint32_t from = l.image(*x);
  XnnNode& made = l.add(Kind::resize_bilinear, {from}, to_image(out));
  made.first = {uint32_t(out[2]), uint32_t(out[3])};
  if (bool_argument(node, 2)) made.flags = kAlignCorners;
  l.set(node.results[0], made.outputs[0], true);
  return true;
}

// --- rules for integers -------------------------------------------------------------------------

// XNNPACK takes ratios of scales in [2^low, 2^high).
bool is_ratio(double ratio, int low, int high) {
  return ratio >= std::ldexp(1.0, low) && ratio < std::ldexp(1.0, high);
}

bool is_known_i8(const Lowering& l, std::optional<ValueId> x) { return x && l.is_i8(*x); }
// Operand `i`, which its scale and zero point follow, are integers that everybody reads so.
bool is_operand(Lowering& l, const Node& node, size_t i) {
  auto x = value_argument(node, i);
  auto scale = number_argument(node, i + 1), zero = number_argument(node, i + 2);
  return is_known_i8(l, x) && !l.is_constant(*x) && scale && zero && is_ratio(*scale, -100, 100) &&
         *zero >= -128 && *zero <= 127 && l.agrees(*x, {float(*scale), int32_t(*zero)});
}

bool quantize_rule(Lowering& l, const Node& node) {
  auto x = value_argument(node, 0);
  auto scale = number_argument(node, 1), zero = number_argument(node, 2);
  if (!x || !scale || !zero || l.is_constant(*x) || number_argument(node, 3) != -128.0 ||
      number_argument(node, 4) != 127.0 || !is_ratio(*scale, -100, 100) || *zero < -128 ||
      *zero > 127 || l.dims(*x).empty())
    return false;
  bool as_image = l.prefers_image(*x);
  uint32_t from = as_image ? l.image(*x) : l.plain(*x);
  l.set(node.results[0], l.converted(from, XnnScale{float(*scale), int32_t(*zero)}), as_image);
  return true;
}

bool dequantize_rule(Lowering& l, const Node& node) {
  auto x = value_argument(node, 0);
  if (!is_operand(l, node, 0) || l.dims(*x).empty()) return false;
  bool as_image = l.prefers_image(*x);
  uint32_t from = as_image ? l.image(*x) : l.plain(*x);
  l.set(node.results[0], l.converted(from, std::nullopt), as_image);
  return true;
}

// A result of integers from `min` to `max`, whose scale and zero point stand before them at `at`.
bool finish_int8(Lowering& l, const Node& node, size_t at, XnnNode& made, bool as_image) {
  auto scale = number_argument(node, at), zero = number_argument(node, at + 1);
  auto min = number_argument(node, at + 2), max = number_argument(node, at + 3);
  if (!scale || !zero || !min || !max || !is_ratio(*scale, -100, 100) || *zero < -128 ||
      *zero > 127)
    return false;
  if (*min > -128 || *max < 127) {
    made.limited = true;
    made.min = *min > -128 ? float((*min - *zero) * *scale) : -INFINITY;
    made.max = *max < 127 ? float((*max - *zero) * *scale) : INFINITY;
  }
  uint32_t value = made.outputs[0];
  l.set(node.results[0], value, as_image);
  l.set_scale(value, {float(*scale), int32_t(*zero)});
  return true;
}

// What products of integers have in common: their operands, and a scale for each output.
struct Int8Product {
  ValueId x, w;
  std::optional<ValueId> bias;
  std::vector<float> weight_scales, bias_scales;
};

// `scale_argument`: which argument is the scale of the result.
std::optional<Int8Product> int8_product(Lowering& l, const Node& node, size_t scale_argument) {
  auto x = value_argument(node, 0), w = value_argument(node, 3), scales = value_argument(node, 4),
       bias = value_argument(node, 5);
  auto x_scale = number_argument(node, 1), scale = number_argument(node, scale_argument);
  if (!is_operand(l, node, 0) || !is_known_i8(l, w) || !scales || !x_scale || !scale ||
      l.is_constant(*x) || !l.is_constant(*w) || !l.is_constant(*scales) ||
      (bias && !l.is_constant(*bias)))
    return std::nullopt;
  Int8Product p{*x, *w, bias, l.scales_of(*scales), {}};
  for (float weight : p.weight_scales) {
    if (!is_ratio(weight * *x_scale / *scale, -32, 8)) return std::nullopt;
    p.bias_scales.push_back(weight * float(*x_scale));
  }
  return p;
}

uint32_t integer_bias(Lowering& l, const Int8Product& p) {
  if (!p.bias) return kXnnNoValue;
  const ConstantData& data = l.data_of(*p.bias);
  return l.integers(XnnDType::qint32, XnnDType::qcint32, l.named(data.bytes, data.owned),
                    l.dims(*p.bias), p.bias_scales, 0);
}

bool int8_linear_rule(Lowering& l, const Node& node) {
  auto p = int8_product(l, node, 6);
  if (!p) return false;
  const ConstantData& data = l.data_of(p->w);
  uint32_t filter = l.integers(XnnDType::qint8, XnnDType::qcint8, l.named(data.bytes, data.owned),
                               l.dims(p->w), p->weight_scales, 0);
  uint32_t b = integer_bias(l, *p);
  uint32_t from = l.plain(p->x);
  Dims out = l.dims_of(from);
  out.back() = l.dims(p->w)[0];
  return finish_int8(l, node, 6, l.add(Kind::fully_connected, {from, filter, b}, out), false);
}

bool int8_convolution_rule(Lowering& l, const Node& node) {
  auto p = int8_product(l, node, 12);
  if (!p) return false;
  Dims in = l.dims(p->x), filter_dims = l.dims(p->w);
  if (in.size() != 4 || filter_dims.size() != 4) return false;
  auto groups = int_argument(node, 11);
  auto stride = ints_argument(node, 6, 2), padding = ints_argument(node, 7, 2);
  auto dilation = ints_argument(node, 8, 2), adjustment = ints_argument(node, 10, 2);
  bool is_transposed = bool_argument(node, 9);
  if (!groups || !stride || !padding || !dilation || !adjustment || *groups < 1 ||
      (is_transposed && *groups != 1))
    return false;
  int64_t outputs = is_transposed ? filter_dims[1] * *groups : filter_dims[0];
  XnnWindow window;
  if ((*padding)[0] < 0 || (*padding)[1] < 0) return false;
  window.padding_top = window.padding_bottom = uint32_t((*padding)[0]);
  window.padding_left = window.padding_right = uint32_t((*padding)[1]);
  for (size_t d = 0; d < 2; d++) {
    window.kernel[d] = uint32_t(filter_dims[2 + d]);
    window.stride[d] = uint32_t((*stride)[d]);
    window.dilation[d] = uint32_t((*dilation)[d]);
    if (is_transposed) window.adjustment[d] = uint32_t((*adjustment)[d]);
  }
  window.groups = uint32_t(*groups);
  window.group_inputs = uint32_t(in[1] / *groups);
  window.group_outputs = uint32_t(outputs / *groups);
  bool depthwise = !is_transposed && *groups == in[1] && *groups > 1;
  std::vector<size_t> order = depthwise || is_transposed ? std::vector<size_t>{1, 2, 3, 0}
                                                         : std::vector<size_t>{0, 2, 3, 1};
  Dims turned;
  for (size_t d : order) turned.push_back(filter_dims[d]);
  uint32_t bytes =
      l.trial ? 0
              : l.named(Lowering::bytes_of(Lowering::turned(l.bytes_at(p->w), filter_dims, order)));
  uint32_t filter = l.integers(XnnDType::qint8, XnnDType::qcint8, bytes, turned, p->weight_scales,
                               depthwise ? 3 : 0);
  uint32_t b = integer_bias(l, *p);
  uint32_t from = l.image(p->x);
  if (node.results.empty()) return true;
  XnnNode& made = l.add(is_transposed ? Kind::conv_transpose2d
                        : depthwise   ? Kind::depthwise_conv2d
                                      : Kind::conv2d,
                        {from, filter, b}, to_image(l.dims(node.results[0])));
  made.window = window;
  return finish_int8(l, node, 12, made, true);
}

template <Kind kind>
bool int8_binary_rule(Lowering& l, const Node& node) {
  auto a = value_argument(node, 0), b = value_argument(node, 3);
  auto a_scale = number_argument(node, 1), b_scale = number_argument(node, 4),
       scale = number_argument(node, 6);
  if (!is_operand(l, node, 0) || !is_operand(l, node, 3) || !a_scale || !b_scale || !scale ||
      l.is_constant(*a) || l.is_constant(*b) || l.dims(*a).empty() || l.dims(*b).empty())
    return false;
  if (kind == Kind::multiply
          ? !is_ratio(*a_scale * *b_scale / *scale, -16, 8)
          : !is_ratio(*a_scale / *scale, -10, 8) || !is_ratio(*b_scale / *scale, -10, 8))
    return false;
  bool as_image = (l.prefers_image(*a) || l.prefers_image(*b)) && l.dims(*a).size() == 4 &&
                  l.dims(*b).size() == 4;
  uint32_t x = as_image ? l.image(*a) : l.plain(*a), y = as_image ? l.image(*b) : l.plain(*b);
  uint32_t value = l.binary(kind, x, y);
  for (XnnNode& made : l.region.graph.nodes)
    if (made.outputs[0] == value) return finish_int8(l, node, 6, made, as_image);
  return false;
}

bool int8_mean_rule(Lowering& l, const Node& node) {
  auto x = value_argument(node, 0);
  auto over = ints_argument(node, 3, 1);
  auto x_scale = number_argument(node, 1), scale = number_argument(node, 5);
  if (!is_operand(l, node, 0) || !over || !x_scale || !scale || l.is_constant(*x) ||
      !is_ratio(*x_scale / *scale, -8, 8))
    return false;
  Dims in = l.dims(*x), wanted = *over;
  if (in.size() != 4) return false;
  for (int64_t& d : wanted) d = d < 0 ? d + 4 : d;
  std::sort(wanted.begin(), wanted.end());
  if (wanted != Dims{2, 3}) return false;
  bool keep = bool_argument(node, 4);
  uint32_t from = l.image(*x);
  XnnNode& made =
      l.add(Kind::global_avg_pool, {from}, keep ? Dims{in[0], 1, 1, in[1]} : Dims{in[0], in[1]});
  if (keep) made.flags = kKeepDims;
  return finish_int8(l, node, 5, made, keep);
}

// Limits are the node's own; without them it is a change of scale.
bool int8_clamp_rule(Lowering& l, const Node& node) {
  auto x = value_argument(node, 0);
  auto x_scale = number_argument(node, 1), scale = number_argument(node, 5),
       zero = number_argument(node, 6);
  if (!is_operand(l, node, 0) || !x_scale || !scale || !zero || !is_ratio(*scale, -100, 100) ||
      *zero < -128 || *zero > 127 || !is_ratio(*x_scale / *scale, -8, 7) || l.dims(*x).empty())
    return false;
  bool as_image = l.prefers_image(*x);
  uint32_t from = as_image ? l.image(*x) : l.plain(*x);
  XnnScale to{float(*scale), int32_t(*zero)};
  if (is_none(node, 3) && is_none(node, 4)) {
    if (node.results.empty()) return true;
    l.set(node.results[0], l.converted(from, to), as_image);
    return true;
  }
  if (node.results.empty()) return true;
  XnnNode& made = l.add(Kind::clamp, {from}, l.dims_of(from));
  made.limited = true;
  made.min = float(number_argument(node, 3).value_or(-INFINITY));
  made.max = float(number_argument(node, 4).value_or(INFINITY));
  uint32_t value = made.outputs[0];
  l.set(node.results[0], value, as_image);
  l.set_scale(value, to);
  return true;
}

// Two weights of 4 bits in a byte, 8 added to each, the first in the lower half.
std::vector<uint8_t> packed_nibbles(const int8_t* weights, int64_t rows, int64_t columns) {
  std::vector<uint8_t> bytes(size_t(rows * ((columns + 1) / 2)), 0);
  for (int64_t r = 0; r < rows; r++)
    for (int64_t c = 0; c < columns; c++)
      bytes[size_t(r * ((columns + 1) / 2) + c / 2)] |=
          uint8_t((weights[r * columns + c] + 8) << (c % 2 ? 4 : 0));
  return bytes;
}

bool int8_numbers_linear_rule(Lowering& l, const Node& node) {
  auto x = value_argument(node, 0), w = value_argument(node, 1), scales = value_argument(node, 2),
       bias = value_argument(node, 3);
  auto bits = int_argument(node, 4);
  if (!x || !is_known_i8(l, w) || !scales || !bits || l.is_constant(*x) || !l.is_constant(*w) ||
      !l.is_constant(*scales) || (bias && !l.is_constant(*bias)) || l.dims(*x).size() < 2)
    return false;
  Dims filter_dims = l.dims(*w), scale_dims = l.dims(*scales);
  bool grouped = scale_dims.size() == 2;
  int64_t outputs = filter_dims[0], inputs = filter_dims[1];
  int64_t group = grouped ? inputs / scale_dims[1] : 0;
  bool dynamic = node.op == "int8::dynamic_linear";
  if (grouped && dynamic && (*bits != 4 || group % 32 != 0)) return false;
  std::vector<float> weights = l.scales_of(*scales);
  // XNNPACK has one scale an output here.
  if (!grouped) weights.resize(size_t(outputs), weights[0]);
  uint32_t filter;
  if (!dynamic) {  // XNNPACK wants such weights as numbers
    std::vector<float> numbers(l.trial ? 0 : size_t(outputs * inputs));
    for (size_t i = 0; i < numbers.size(); i++)
      numbers[i] =
          float(l.bytes_at(*w)[i]) * weights[grouped ? i / size_t(group) : i / size_t(inputs)];
    filter = l.constant(numbers, filter_dims, Lowering::Use::packed);
  } else if (grouped) {
    filter = l.add_value(filter_dims);
    XnnValue& value = l.region.graph.values[filter];
    value.dtype = XnnDType::qbint4;
    value.quantization.kind = XnnQuantization::Kind::per_channel_group;
    value.quantization.group_size = int32_t(group);
    value.quantization.scale_count = uint32_t(weights.size());
    if (!l.trial) {
      std::vector<uint16_t> halves;
      for (float scale : weights) halves.push_back(to_bf16(scale).bits);
      value.quantization.scale_constant = l.named(Lowering::bytes_of(halves));
      value.constant = l.named(packed_nibbles(l.bytes_at(*w), outputs, inputs));
    }
  } else {
    const ConstantData& data = l.data_of(*w);
    uint32_t constant = l.trial      ? 0
                        : *bits == 4 ? l.named(packed_nibbles(l.bytes_at(*w), outputs, inputs))
                                     : l.named(data.bytes, data.owned);
    XnnDType dtype = *bits == 4 ? XnnDType::qcint4 : XnnDType::qcint8;
    filter = l.integers(dtype, dtype, constant, filter_dims, weights, 0);
    if (weights.size() == 1) {  // one output: still a scale an output
      XnnQuantization& q = l.region.graph.values[filter].quantization;
      q = {};
      q.kind = XnnQuantization::Kind::per_channel;
      q.scale_count = 1;
      if (!l.trial) q.scale_constant = l.named(Lowering::bytes_of(weights));
    }
  }
  uint32_t b = bias ? l.constant_of(*bias, l.dims(*bias), Lowering::Use::packed) : kXnnNoValue;
  uint32_t from = l.plain(*x);
  if (dynamic) from = l.dynamic(from);
  if (node.results.empty()) return true;
  uint32_t value = linear(l, from, filter, b, outputs, 0);
  l.set(node.results[0], value);
  return true;
}

struct Row {
  const char* op;
  Rule rule;
  bool moves = false;  // takes integers of 8 bits, too
};
constexpr Row kRules[] = {
    {"aten::abs", unary_rule<Kind::abs>},
    {"aten::add.Scalar", binary_rule<Kind::add>},
    {"aten::add.Tensor", binary_rule<Kind::add>},
    {"aten::_adaptive_avg_pool2d", adaptive_pool_rule},
    {"aten::adaptive_avg_pool2d", adaptive_pool_rule},
    {"aten::addmm", addmm_rule},
    {"aten::avg_pool2d", pool_rule},
    {"aten::bmm", matmul_rule},
    {"aten::cat", cat_rule, true},
    {"aten::ceil", unary_rule<Kind::ceil>},
    {"aten::clamp", clamp_rule},
    {"aten::constant_pad_nd", pad_rule},
    {"aten::convolution", convolution_rule},
    {"aten::cos", unary_rule<Kind::cos>},
    {"aten::div.Scalar", binary_rule<Kind::divide>},
    {"aten::div.Tensor", binary_rule<Kind::divide>},
    {"aten::exp", unary_rule<Kind::exp>},
    {"aten::floor", unary_rule<Kind::floor>},
    {"aten::gelu", gelu_rule},
    {"aten::hardswish", unary_rule<Kind::hardswish>},
    {"aten::hardtanh", clamp_rule},
    {"aten::layer_norm", layer_norm_rule},
    {"aten::leaky_relu", sloped_rule<Kind::leaky_relu>},
    {"aten::linear", linear_rule},
    {"aten::log", unary_rule<Kind::log>},
    {"aten::matmul", matmul_rule},
    {"aten::max_pool2d_with_indices", pool_rule, true},
    {"aten::maximum", binary_rule<Kind::maximum>},
    {"aten::mean.dim", mean_rule},
    {"aten::minimum", binary_rule<Kind::minimum>},
    {"aten::mm", matmul_rule},
    {"aten::mul.Scalar", binary_rule<Kind::multiply>},
    {"aten::mul.Tensor", binary_rule<Kind::multiply>},
    {"aten::native_layer_norm", layer_norm_rule},
    {"aten::neg", unary_rule<Kind::negate>},
    {"aten::permute", permute_rule, true},
    {"aten::pow.Tensor_Scalar", pow_rule},
    {"aten::relu", relu_rule},
    {"aten::reshape", reshape_rule, true},
    {"aten::rsqrt", unary_rule<Kind::rsqrt>},
    {"aten::scaled_dot_product_attention", attention_rule},
    {"aten::select.int", slice_rule, true},
    {"aten::sigmoid", unary_rule<Kind::sigmoid>},
    {"aten::sin", unary_rule<Kind::sin>},
    {"aten::slice.Tensor", slice_rule, true},
    {"aten::_softmax", softmax_rule},
    {"aten::sqrt", unary_rule<Kind::sqrt>},
    {"aten::square", unary_rule<Kind::square>},
    {"aten::squeeze", reshape_rule, true},
    {"aten::squeeze.dim", reshape_rule, true},
    {"aten::squeeze.dims", reshape_rule, true},
    {"aten::sub.Scalar", binary_rule<Kind::subtract>},
    {"aten::sub.Tensor", binary_rule<Kind::subtract>},
    {"aten::t", permute_rule, true},
    {"aten::tanh", unary_rule<Kind::tanh>},
    {"aten::transpose.int", permute_rule, true},
    {"aten::unsqueeze", reshape_rule, true},
    {"aten::upsample_bilinear2d", resize_rule},
    {"aten::upsample_bilinear2d.vec", resize_rule},
    {"aten::view", reshape_rule, true},
    {"int8::add", int8_binary_rule<Kind::add>, true},
    {"int8::clamp", int8_clamp_rule, true},
    {"int8::convolution", int8_convolution_rule, true},
    {"int8::dynamic_linear", int8_numbers_linear_rule, true},
    {"int8::linear", int8_linear_rule, true},
    {"int8::mean", int8_mean_rule, true},
    {"int8::mul", int8_binary_rule<Kind::multiply>, true},
    {"int8::sub", int8_binary_rule<Kind::subtract>, true},
    {"int8::weight_linear", int8_numbers_linear_rule, true},
    {"quantized_decomposed::dequantize_per_tensor", dequantize_rule, true},
    {"quantized_decomposed::quantize_per_tensor", quantize_rule, true},
};

const Row* find_row(const std::string& op) {
  static const auto* rows = [] {
    auto* made = new std::unordered_map<std::string, const Row*>;
    for (const Row& row : kRules) made->emplace(row.op, &row);
    return made;
  }();
  auto found = rows->find(op);
  return found == rows->end() ? nullptr : found->second;
}
Rule find_rule(const std::string& op) {
  const Row* row = find_row(op);
  return row ? row->rule : nullptr;
}

// A mask of booleans becomes numbers before lowering (partition.cc).
bool is_mask(const Node& node, ValueId id) {
  return node.op == "aten::scaled_dot_product_attention" && value_argument(node, 3) == id;
}

bool is_integer_bias(const Node& node, ValueId id) {
  return (node.op == "int8::linear" || node.op == "int8::convolution") &&
         value_argument(node, 5) == id;
}

}  // namespace

bool xnn_can_lower(const Program& program, const Graph& graph, const Node& node) {
  const Row* row = find_row(node.op);
  if (!row) return false;
  Lowering trial(program, graph, true);
  bool fits = true;
  Graph::for_each_use(node, [&](ValueId id) {
    bool mask = is_mask(node, id) && graph.type(id).is_tensor() &&
                graph.type(id).tensor.dtype == DType::b8 && is_static(graph.type(id).tensor);
    bool integers =
        row->moves && (trial.is_i8(id) || (is_integer_bias(node, id) && trial.is_i32(id)));
    fits &= mask || integers || trial.is_f32(id);
  });
  // Passes ask for nodes that they may make; what a rule refuses after all is decomposed later.
  if (node.results.empty()) return fits;
  for (size_t i = 0; fits && i < node.results.size(); i++) {
    const Type& type = graph.type(node.results[i]);
    fits &= i > 0 || trial.is_f32(node.results[i]) || (row->moves && trial.is_i8(node.results[i]));
    if (!type.is_tensor() && type.kind != Type::Kind::none) fits = false;
  }
  return fits && row->rule(trial, node);
}

Result<XnnRegion> xnn_lower(const Program& program, const Graph& graph, Span<const NodeId> nodes) {
  return Lowering(program, graph, false).run(nodes);
}

}  // namespace sconce
