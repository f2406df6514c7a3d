#include "targets/xnnpack/compile/lowering.h"

#include <algorithm>
#include <cstring>

#include "targets/content_name.h"

namespace sconce::xnn_compile {

int64_t product(const Dims& dims) {
  int64_t count = 1;
  for (int64_t d : dims) count *= d;
  return count;
}

// --- arguments of nodes -------------------------------------------------------------------------

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

// --- scales of integers -------------------------------------------------------------------------

namespace {

constexpr uint32_t kConstantAlignment = 16;

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

}  // namespace

// --- the region ---------------------------------------------------------------------------------

Result<XnnRegion> Lowering::run(Span<const NodeId> nodes) {
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
    const Row* row = find_row(node.op);
    if (!row || !row->rule(*this, node))
      return error(Code::internal, "{}: was taken for XNNPACK, and cannot be", node.op);
  }
  for (ValueId output : region.outputs) mark_output(output);
  region.graph.external_count = uint32_t(region.inputs.size() + region.outputs.size());
  return std::move(region);
}

bool Lowering::has_xnn_shape(ValueId id) const {
  const Type& type = graph.type(id);
  if (!is_static(type.tensor) || type.tensor.sizes.size() > size_t(kXnnRankMax)) return false;
  // XNNPACK has no empty tensors, and counts dimensions as they lie.
  for (const SymInt& size : type.tensor.sizes)
    if (size.value < 1) return false;
  return type.tensor.dim_order.empty() || is_image(id) || is_in_order(id);
}

// Where an image is a point, or has one channel, nothing moves between the two forms.
static bool stays(const Dims& image) { return image[3] == 1 || (image[1] == 1 && image[2] == 1); }

uint32_t Lowering::plain(ValueId id) {
  Form& form = form_of(id);
  if (form.plain != kNone) return form.plain;
  Dims d = dims(id);
  if (stays(to_image(d)))
    form.plain = reshaped(form.image, d);
  else
    form.plain = reshaped(transposed(form.image, {0, 3, 1, 2}), d);
  return form.plain;
}
uint32_t Lowering::image(ValueId id) {
  Form& form = form_of(id);
  if (form.image != kNone) return form.image;
  Dims d = dims(id), image = to_image(d);
  if (stays(image))
    form.image = reshaped(form.plain, image);
  else
    form.image =
        transposed(reshaped(form.plain, {image[0], image[3], image[1], image[2]}), {0, 2, 3, 1});
  return form.image;
}

bool Lowering::is_used(ValueId id) const {
  bool used = false;
  auto see = [&](ValueId other) { used |= other == id; };
  for (NodeId node : graph.order) Graph::for_each_use(graph.nodes[size_t(node)], see);
  for (ValueId output : graph.outputs) see(output);
  for (const WriteBack& write : graph.write_backs) see(write.value);
  return used;
}

XnnNode& Lowering::add(Kind kind, std::vector<uint32_t> inputs, const Dims& out) {
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

uint32_t Lowering::transposed(uint32_t from, const std::vector<uint32_t>& order) {
  Dims in = dims_of(from), out;
  for (uint32_t d : order) out.push_back(in[d]);
  XnnNode& node = add(Kind::transpose, {from}, out);
  node.first = order;
  return node.outputs[0];
}

uint32_t Lowering::binary(Kind kind, uint32_t a, uint32_t b) {
  Dims x = dims_of(a), y = dims_of(b);
  if (x.size() < y.size()) std::swap(x, y);
  for (size_t i = 1; i <= y.size(); i++)
    x[x.size() - i] = std::max(x[x.size() - i], y[y.size() - i]);
  return add(kind, {a, b}, x).outputs[0];
}

bool Lowering::agrees(ValueId id, XnnScale scale) {
  if (trial && scales_.empty()) {
    if (graph.is_node(id))
      if (auto made = made_scale(graph.producer(id))) return *made == scale;
    find_scales();
  }
  return scale_of(id) == scale;
}

uint32_t Lowering::linear(uint32_t x, uint32_t weight, uint32_t bias, int64_t outputs,
                          uint32_t flags) {
  Dims out = dims_of(x);
  out.back() = outputs;
  XnnNode& node = add(Kind::fully_connected, {x, weight, bias}, out);
  node.flags = flags;
  return node.outputs[0];
}

XnnNode& Lowering::mean_of_image(uint32_t image, bool keep_dims) {
  Dims in = dims_of(image);
  XnnNode& node = add(Kind::global_avg_pool, {image},
                      keep_dims ? Dims{in[0], 1, 1, in[3]} : Dims{in[0], in[3]});
  if (keep_dims) node.flags = kKeepDims;
  return node;
}

uint32_t Lowering::converted(uint32_t from, std::optional<XnnScale> to) {
  uint32_t made = add(Kind::convert, {from}, dims_of(from)).outputs[0];
  if (to) {
    set_scale(made, *to);
  } else {
    region.graph.values[made].dtype = XnnDType::f32;
    region.graph.values[made].quantization = {};
  }
  return made;
}

uint32_t Lowering::dynamic(uint32_t from, uint32_t inner_dims) {
  uint32_t made = add(Kind::convert, {from}, dims_of(from)).outputs[0];
  XnnValue& value = region.graph.values[made];
  value.dtype = XnnDType::qdint8;
  value.quantization.kind = XnnQuantization::Kind::per_token;
  value.quantization.inner_dims = inner_dims;
  return made;
}

uint32_t Lowering::named(Bytes bytes, std::shared_ptr<const std::vector<uint8_t>> owned) {
  if (trial) return 0;
  std::string key = content_name(bytes);
  auto [known, is_new] = constants_.try_emplace(key, uint32_t(region.graph.constants.size()));
  if (is_new) {
    region.graph.constants.push_back({key, true, bytes});
    region.constants.push_back({key, bytes, std::move(owned), kConstantAlignment});
  }
  return known->second;
}

uint32_t Lowering::integers(XnnDType one, XnnDType each, uint32_t constant, const Dims& d,
                            const std::vector<float>& scales, int32_t channel_dim) {
  uint32_t made = add_value(d);
  XnnValue& value = region.graph.values[made];
  value.constant = constant;
  bool whole = scales.size() == 1 && one != each;
  value.dtype = whole ? one : each;
  if (whole) {
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

uint32_t Lowering::constant(Bytes bytes, std::shared_ptr<const std::vector<uint8_t>> owned, Dims d,
                            Use use) {
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

uint32_t Lowering::constant(const std::vector<float>& numbers, Dims d, Use use) {
  auto bytes = std::make_shared<std::vector<uint8_t>>(numbers.size() * 4);
  if (!numbers.empty()) memcpy(bytes->data(), numbers.data(), bytes->size());
  return constant(*bytes, bytes, std::move(d), use);
}

uint32_t Lowering::reordered(ValueId id, const Dims& from, const std::vector<size_t>& order) {
  Dims to;
  for (size_t d : order) to.push_back(from[d]);
  if (trial) return add_value(to);
  return constant(turned(floats(id), from, order), to, Use::packed);
}

uint32_t Lowering::limited(ValueId of, uint32_t value, float min, float max) {
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

bool Lowering::takes_limits(Kind kind) {
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

bool Lowering::is_in_order(ValueId id) const {
  const auto& order = graph.type(id).tensor.dim_order;
  for (size_t i = 0; i < order.size(); i++)
    if (order[i] != i) return false;
  return true;
}

Lowering::Form& Lowering::form_of(ValueId id) {
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

void Lowering::find_uses(Span<const NodeId> nodes) {
  std::vector<bool> here(graph.values.size()), seen(graph.values.size()), taken(graph.nodes.size()),
      outside(graph.values.size());
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

std::optional<XnnScale> Lowering::made_scale(const Node& node) {
  const Int8Arguments* at = find_int8(node.op);
  size_t i = at ? at->result : 1;
  if (!at && node.op != "quantized_decomposed::quantize_per_tensor") return std::nullopt;
  auto scale = number_argument(node, i), zero = number_argument(node, i + 1);
  if (!scale || !zero) return std::nullopt;
  return XnnScale{float(*scale), int32_t(*zero)};
}

void Lowering::find_scales() {
  auto note = [&](ValueId id, const Node& node, size_t at) {
    auto scale = number_argument(node, at), zero = number_argument(node, at + 1);
    if (scale && zero) scales_.try_emplace(id, XnnScale{float(*scale), int32_t(*zero)});
  };
  auto is_move = [&](const Node& node) {
    return !node.results.empty() && !node.op.starts_with("int8::") &&
           graph.type(node.results[0]).tensor.dtype == DType::i8 && find_row(node.op);
  };
  auto operands = [&](const Node& node) {
    std::vector<ValueId> all;
    Graph::for_each_use(node, [&](ValueId id) {
      if (graph.type(id).is_tensor() && graph.type(id).tensor.dtype == DType::i8) all.push_back(id);
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

void Lowering::mark_output(ValueId id) {
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

}  // namespace sconce::xnn_compile
