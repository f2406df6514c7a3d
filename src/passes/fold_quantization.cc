// Operators between dequantize and quantize become operators on integers (int8::): convolutions,
// linears, products of matrices, sums, products, means and limits; what only moves elements moves
// the integers. Convolutions, linears and products of matrices after dequantize alone become some
// that give numbers.
//
// The root of a pattern is the quantize_per_tensor of a result, or, for linears whose input is
// quantised by its own range on each call, the linear. A dequantize is cheap and may have other
// users, so it is looked through and not part of the pattern. Limits that stand before the quantize
// become limits of the integers, which is exact.
#include <algorithm>
#include <cmath>
#include <cstring>

#include "passes/match.h"
#include "passes/passes.h"
#include "passes/rewrite.h"

namespace sconce {
namespace {

struct Scale {
  double scale = 1;
  int64_t zero = 0;
  bool operator==(const Scale&) const = default;
};

// What a quantize or dequantize of i8 by one known scale says.
struct Affine {
  Scale scale;
  int64_t min = -128, max = 127;
};
std::optional<Affine> affine_of(const Matcher& m, const Node& node) {
  auto scale = m.number(node, 1), zero = m.number(node, 2), min = m.number(node, 3),
       max = m.number(node, 4), dtype = m.number(node, 5);
  if (!scale || !zero || !min || !max || dtype != double(DType::i8)) return std::nullopt;
  // What integers and XNNPACK can do; other numbers stay as they are.
  if (!(*scale > 1e-30 && *scale < 1e30) || !(*zero >= -128 && *zero <= 127) ||
      !(*min >= -128 && *min <= *max && *max <= 127))
    return std::nullopt;
  return Affine{{double(float(*scale)), int64_t(*zero)}, int64_t(*min), int64_t(*max)};
}

struct Quantized {
  ValueId value;
  Scale scale;
};
// The integers that a value of f32 was made from.
std::optional<Quantized> quantized(Matcher& m, ValueId id) {
  if (id == kNoValue || !m.graph().is_node(id) || m.type(id).dtype != DType::f32)
    return std::nullopt;
  const Node& node = m.graph().producer(id);
  if (node.op != "quantized_decomposed::dequantize_per_tensor") return std::nullopt;
  ValueId from = Matcher::value(node, 0);
  auto affine = affine_of(m, node);
  if (!affine || from == kNoValue || m.is_constant(from)) return std::nullopt;
  return Quantized{from, affine->scale};
}

std::optional<std::vector<double>> numbers(Matcher& m, ValueId id) {
  if (id == kNoValue || !m.is_constant(id)) return std::nullopt;
  const ConstantData& data = m.program().constants[size_t(m.graph().values[size_t(id)].index)];
  std::vector<double> out;
  auto read = [&](auto tag) {
    for (size_t i = 0; i + sizeof(tag) <= data.bytes.size(); i += sizeof(tag)) {
      decltype(tag) number;
      memcpy(&number, data.bytes.data() + i, sizeof(tag));
      out.push_back(double(number));
    }
  };
  switch (data.type.dtype) {
    case DType::f32: read(float{}); break;
    case DType::f64: read(double{}); break;
    case DType::i8: read(int8_t{}); break;
    case DType::i32: read(int32_t{}); break;
    case DType::i64: read(int64_t{}); break;
    default: return std::nullopt;
  }
  return out;
}

// Integers that are constant, with a scale for all, for each place along `axis`, or for groups of
// columns (then `groups` in a row); all zero points are 0.
struct Weight {
  ValueId value;
  std::vector<float> scales;
  int64_t axis = 0, groups = 0, bits = 8;
};

std::optional<Weight> weight_of(Matcher& m, ValueId id) {
  if (id == kNoValue || !m.graph().is_node(id) || m.type(id).dtype != DType::f32)
    return std::nullopt;
  const Node& node = m.graph().producer(id);
  Weight weight;
  weight.value = Matcher::value(node, 0);
  if (weight.value == kNoValue || !m.is_constant(weight.value) ||
      m.type(weight.value).dtype != DType::i8)
    return std::nullopt;
  const auto& sizes = m.type(weight.value).sizes;
  std::optional<std::vector<double>> scales, zeros;
  std::optional<double> min, max;
  if (node.op == "quantized_decomposed::dequantize_per_tensor") {
    auto affine = affine_of(m, node);
    if (!affine || affine->scale.zero != 0) return std::nullopt;
    weight.scales = {float(affine->scale.scale)};
    min = double(affine->min), max = double(affine->max);
  } else if (node.op == "quantized_decomposed::dequantize_per_channel") {
    auto axis = m.number(node, 3);
    int64_t rank = int64_t(sizes.size());
    if (!axis || *axis < -rank || *axis >= rank) return std::nullopt;
    weight.axis = int64_t(*axis) < 0 ? int64_t(*axis) + rank : int64_t(*axis);
    scales = numbers(m, Matcher::value(node, 1));
    zeros = numbers(m, Matcher::value(node, 2));
    if (!scales || int64_t(scales->size()) != sizes[size_t(weight.axis)].value) return std::nullopt;
    min = m.number(node, 4), max = m.number(node, 5);
  } else if (node.op == "quantized_decomposed::dequantize_per_channel_group" ||
             node.op == "torchao::dequantize_affine") {
    if (sizes.size() != 2) return std::nullopt;
    bool affine = node.op == "torchao::dequantize_affine";
    scales = numbers(m, Matcher::value(node, affine ? 2 : 1));
    ValueId zero = Matcher::value(node, affine ? 3 : 2);
    if (zero != kNoValue && !(zeros = numbers(m, zero))) return std::nullopt;
    min = m.number(node, affine ? 5 : 3), max = m.number(node, affine ? 6 : 4);
    if (affine) {
      auto* block = std::get_if<std::vector<IntItem>>(&node.arguments[1]);
      if (!block || block->size() != 2 || (*block)[0].known != 1 || !(*block)[1].is_known() ||
          (*block)[1].known < 1)
        return std::nullopt;
    }
    int64_t rows = sizes[0].value, columns = sizes[1].value;
    if (!scales || rows < 1 || scales->empty() || int64_t(scales->size()) % rows != 0)
      return std::nullopt;
    weight.groups = int64_t(scales->size()) / rows;
    if (columns % weight.groups != 0) return std::nullopt;
    if (weight.groups == 1) weight.groups = 0;
  } else {
    return std::nullopt;
  }
  for (double zero : zeros.value_or(std::vector<double>{}))
    if (zero != 0) return std::nullopt;
  if (scales)
    for (double scale : *scales) weight.scales.push_back(float(scale));
  for (float scale : weight.scales)
    if (!(scale > 1e-30f && scale < 1e30f)) return std::nullopt;
  if (min && max && *min >= -8 && *max <= 7) {
    auto elements = numbers(m, weight.value);
    if (!elements) return std::nullopt;
    weight.bits = 4;
    for (double q : *elements)
      if (q < -8 || q > 7) weight.bits = 8;
  }
  return weight;
}

ValueId add_constant(Matcher& m, DType dtype, const std::vector<int64_t>& sizes, const void* data,
                     size_t bytes, const char* name) {
  auto owned = std::make_shared<std::vector<uint8_t>>(bytes);
  if (bytes) memcpy(owned->data(), data, bytes);
  TensorType type;
  type.dtype = dtype;
  for (int64_t size : sizes) type.sizes.push_back(size);
  return m.add_constant(m.program().add_constant(type, std::move(owned), name));
}

ValueId scales_constant(Matcher& m, const Weight& weight) {
  std::vector<int64_t> sizes{int64_t(weight.scales.size())};
  if (weight.groups) sizes = {sizes[0] / weight.groups, weight.groups};
  return add_constant(m, DType::f32, sizes, weight.scales.data(), weight.scales.size() * 4,
                      "weight_scales");
}

// A bias as integers of the product's scale; none when a number does not fit.
std::optional<Argument> integer_bias(Matcher& m, ValueId bias, const Weight& weight, double x_scale,
                                     int64_t outputs) {
  if (bias == kNoValue) return Argument(None{});
  if (m.type(bias).dtype != DType::f32) return std::nullopt;
  auto given = numbers(m, bias);
  if (!given || int64_t(given->size()) != outputs) return std::nullopt;
  std::vector<int32_t> integers;
  for (size_t i = 0; i < given->size(); i++) {
    float scale = float(x_scale) * weight.scales[weight.scales.size() == 1 ? 0 : i];
    float number = std::rint(float((*given)[i]) * (1 / scale));
    if (!(std::fabs(number) < 2147483520.0f)) return std::nullopt;
    integers.push_back(int32_t(number));
  }
  return Argument(ValueRef{
      add_constant(m, DType::i32, {outputs}, integers.data(), integers.size() * 4, "bias")});
}

// A relu or clamp with known limits.
struct Limits {
  double low = -INFINITY, high = INFINITY;
};
const std::initializer_list<std::string_view> kLimits = {"aten::relu", "aten::relu6",
                                                         "aten::hardtanh", "aten::clamp"};
std::optional<Limits> limits_of(const Matcher& m, const Node& node) {
  Limits limits;
  if (node.op == "aten::relu") return Limits{0, INFINITY};
  if (node.op == "aten::relu6") return Limits{0, 6};
  for (size_t i : {1, 2}) {
    if (std::holds_alternative<None>(node.arguments[i])) continue;
    auto number = m.number(node, i);
    if (!number || std::isnan(*number)) return std::nullopt;
    (i == 1 ? limits.low : limits.high) = *number;
  }
  if (!(limits.low <= limits.high)) return std::nullopt;
  return limits;
}

// The integer that a limit comes to, as quantize rounds it.
int64_t quantized_limit(double limit, const Affine& to) {
  float q = std::rint(float(limit) * float(1 / to.scale.scale)) + float(to.scale.zero);
  return int64_t(std::clamp(q, float(to.min), float(to.max)));
}

void append(std::vector<Argument>& arguments, const Quantized& x) {
  arguments.insert(arguments.end(), {ValueRef{x.value}, x.scale.scale, x.scale.zero});
}
void append(std::vector<Argument>& arguments, const Affine& to) {
  arguments.insert(arguments.end(), {to.scale.scale, to.scale.zero, to.min, to.max});
}

// Integer list argument, repeated to `count`.
std::optional<Argument> spread(const Argument& argument, size_t count) {
  auto* items = std::get_if<std::vector<IntItem>>(&argument);
  std::vector<IntItem> list;
  if (items)
    list = *items;
  else if (auto* one = std::get_if<int64_t>(&argument))
    list = {IntItem{*one}};
  if (list.size() == 1) list.assign(count, list[0]);
  if (list.size() != count) return std::nullopt;
  for (const IntItem& item : list)
    if (!item.is_known()) return std::nullopt;
  return Argument(list);
}

// What a convolution of integers takes from one of numbers: weights of 8 bits with scales, and the
// arguments from the stride on.
struct Convolved {
  Weight weight;
  std::vector<Argument> how;
  int64_t outputs = 0;
  bool is_transposed = false;
};
std::optional<Convolved> convolved(Matcher& m, const Node& node) {
  bool whole = node.op == "aten::convolution";
  auto weight = weight_of(m, Matcher::value(node, 1));
  if (!weight || weight->groups) return std::nullopt;
  auto* transposed = whole ? std::get_if<bool>(&node.arguments[6]) : nullptr;
  bool is_transposed = transposed && *transposed;
  size_t spatial = m.type(weight->value).sizes.size() - 2;
  auto groups = m.number(node, whole ? 8 : 6);
  if (!groups || spatial < 1 || spatial > 3) return std::nullopt;
  if (is_transposed && *groups != 1 && weight->scales.size() > 1) return std::nullopt;
  if (weight->scales.size() > 1 && weight->axis != (is_transposed ? 1 : 0)) return std::nullopt;
  auto stride = spread(node.arguments[3], spatial), padding = spread(node.arguments[4], spatial),
       dilation = spread(node.arguments[5], spatial);
  std::optional<Argument> more = Argument(std::vector<IntItem>(spatial, IntItem{0}));
  if (whole) more = spread(node.arguments[7], spatial);
  if (!stride || !padding || !dilation || !more) return std::nullopt;
  int64_t outputs = m.type(node.results[0]).sizes[1].value;
  return Convolved{std::move(*weight),
                   {*stride, *padding, *dilation, is_transposed, *more, int64_t(*groups)},
                   outputs,
                   is_transposed};
}

// A bias of numbers, or none; nothing when it is neither.
std::optional<Argument> bias_of_numbers(Matcher& m, ValueId bias) {
  if (bias == kNoValue) return Argument(None{});
  if (!m.is_constant(bias) || m.type(bias).dtype != DType::f32) return std::nullopt;
  return Argument(ValueRef{bias});
}

// Products become integers as `to` says, to which their bias belongs; or numbers, without it.
std::optional<Argument> bias_of(Matcher& m, ValueId bias, const Weight& weight, double x_scale,
                                int64_t outputs, const Affine* to) {
  return to ? integer_bias(m, bias, weight, x_scale, outputs) : bias_of_numbers(m, bias);
}
void append_result(std::vector<Argument>& arguments, const Affine* to) {
  if (to)
    append(arguments, *to);
  else
    arguments.insert(arguments.end(), {None{}, int64_t(0), int64_t(-128), int64_t(127)});
}

bool fold_convolution(Matcher& m, NodeId root, const Node& node, const Affine* to) {
  auto x = quantized(m, Matcher::value(node, 0));
  auto c = x ? convolved(m, node) : std::nullopt;
  if (!c) return false;
  // Numbers by depth are faster than sums of few bytes.
  const int64_t groups = std::get<int64_t>(c->how.back());
  if (!to && groups > 1 && m.type(x->value).sizes[1] == SymInt(groups)) return false;
  auto bias = bias_of(m, Matcher::value(node, 2), c->weight, x->scale.scale, c->outputs, to);
  if (!bias) return false;
  std::vector<Argument> arguments;
  append(arguments, *x);
  arguments.insert(arguments.end(),
                   {ValueRef{c->weight.value}, ValueRef{scales_constant(m, c->weight)}, *bias});
  arguments.insert(arguments.end(), c->how.begin(), c->how.end());
  append_result(arguments, to);
  return m.replace(root, "int8::convolution", std::move(arguments));
}

bool fold_linear(Matcher& m, NodeId root, const Node& node, const Affine* to) {
  auto x = quantized(m, Matcher::value(node, 0));
  auto weight = weight_of(m, Matcher::value(node, 1));
  if (!x || !weight || weight->groups || m.type(weight->value).sizes.size() != 2) return false;
  if (weight->scales.size() > 1 && weight->axis != 0) return false;
  int64_t outputs = m.type(weight->value).sizes[0].value;
  auto bias = bias_of(m, Matcher::value(node, 2), *weight, x->scale.scale, outputs, to);
  if (!bias) return false;
  std::vector<Argument> arguments;
  append(arguments, *x);
  arguments.insert(arguments.end(),
                   {ValueRef{weight->value}, ValueRef{scales_constant(m, *weight)}, *bias});
  append_result(arguments, to);
  return m.replace(root, "int8::linear", std::move(arguments));
}

// The same for numbers that were moved since: then the integers move instead.
std::optional<Quantized> quantized_and_moved(Matcher& m, ValueId id) {
  if (auto x = quantized(m, id)) return x;
  if (id == kNoValue || !m.runs_moves_of_integers() || !m.graph().is_node(id)) return std::nullopt;
  const Node move = m.graph().producer(id);
  if (!only_moves(move.op)) return std::nullopt;
  auto x = quantized_and_moved(m, Matcher::value(move, 0));
  if (!x) return std::nullopt;
  std::vector<Argument> arguments = move.arguments;
  arguments[0] = ValueRef{x->value};
  Type type = m.graph().type(id);
  type.tensor.dtype = DType::i8;
  return Quantized{m.add(move.op, std::move(arguments), type, move), x->scale};
}

// Two quantised matrices, or batches of as many.
bool fold_matmul(Matcher& m, NodeId root, const Node& node, const Affine* to) {
  auto a = quantized_and_moved(m, Matcher::value(node, 0)),
       b = a ? quantized_and_moved(m, Matcher::value(node, 1)) : std::nullopt;
  if (!a || !b) return false;
  const auto &left = m.type(a->value).sizes, &right = m.type(b->value).sizes;
  if (left.size() < 2 || left.size() != right.size() ||
      !std::equal(left.begin(), left.end() - 2, right.begin()))
    return false;
  std::vector<Argument> arguments;
  append(arguments, *a);
  append(arguments, *b);
  append_result(arguments, to);
  return m.replace(root, "int8::matmul", std::move(arguments));
}

const std::initializer_list<std::string_view> kProducts = {
    "aten::conv1d", "aten::conv2d", "aten::convolution", "aten::linear",
    "aten::matmul", "aten::bmm",    "aten::mm"};
bool fold_product(Matcher& m, NodeId root, const Node& node, const Affine* to) {
  if (std::find(kProducts.begin(), kProducts.end(), node.op) == kProducts.end()) return false;
  return node.op == "aten::linear"           ? fold_linear(m, root, node, to)
         : node.op.starts_with("aten::conv") ? fold_convolution(m, root, node, to)
                                             : fold_matmul(m, root, node, to);
}

bool fold_binary(Matcher& m, NodeId root, const Node& node, const Affine& to) {
  bool product = node.op == "aten::mul.Tensor";
  if (!product && m.number(node, 2) != 1.0) return false;
  auto a = quantized(m, Matcher::value(node, 0)), b = quantized(m, Matcher::value(node, 1));
  if (!a || !b) return false;
  std::vector<Argument> arguments;
  append(arguments, *a);
  append(arguments, *b);
  append(arguments, to);
  const char* op = product                         ? "int8::mul"
                   : node.op == "aten::sub.Tensor" ? "int8::sub"
                                                   : "int8::add";
  return m.replace(root, op, std::move(arguments));
}

bool fold_mean(Matcher& m, NodeId root, const Node& node, const Affine& to) {
  auto x = quantized(m, Matcher::value(node, 0));
  if (!x) return false;
  Argument dims, keep = true;
  if (node.op == "aten::mean.dim") {
    if (!std::holds_alternative<None>(node.arguments[3])) return false;
    dims = node.arguments[1], keep = node.arguments[2];
  } else {
    auto size = spread(node.arguments[1], 2);
    if (!size) return false;
    for (const IntItem& item : std::get<std::vector<IntItem>>(*size))
      if (item.known != 1) return false;
    dims = std::vector<IntItem>{{-1}, {-2}};
  }
  std::vector<Argument> arguments;
  append(arguments, *x);
  arguments.insert(arguments.end(), {dims, keep});
  append(arguments, to);
  return m.replace(root, "int8::mean", std::move(arguments));
}

// The integers move, when their scale stays.
bool fold_move(Matcher& m, NodeId root, const Node& node, const Affine& to) {
  auto x = quantized(m, Matcher::value(node, 0));
  if (!x || x->scale != to.scale || to.min != -128 || to.max != 127) return false;
  std::vector<Argument> arguments = node.arguments;
  arguments[0] = ValueRef{x->value};
  return m.replace_anyway(root, node.op, std::move(arguments));
}

// The largest of integers is the integer of the largest number. The positions, which a pool also
// gives, may have no user.
bool fold_max_pool(Matcher& m, NodeId root, const Node& node, const Affine& to) {
  auto x = quantized(m, Matcher::value(node, 0));
  if (!x || x->scale != to.scale || m.uses(node.results[1]) != 0) return false;
  if (!m.closed_at(root)) return false;
  std::vector<Argument> arguments = node.arguments;
  arguments[0] = ValueRef{x->value};
  Type pooled = m.graph().type(node.results[0]), positions = m.graph().type(node.results[1]);
  pooled.tensor.dtype = DType::i8;
  if (!m.target_has(node.op, arguments)) return false;
  ValueId made = m.add(node.op, std::move(arguments), {pooled, positions}, node);
  if (to.min == -128 && to.max == 127)
    return m.replace_anyway(root, "aten::alias", {ValueRef{made}});
  return m.replace_anyway(root, "aten::clamp", {ValueRef{made}, to.min, to.max});
}

// What is put around an image becomes the integer that it is; the image gets the scale first.
bool fold_pad(Matcher& m, NodeId root, const Node& node, const Affine& to) {
  auto x = quantized(m, Matcher::value(node, 0));
  auto value = m.number(node, 2);
  auto* pads = std::get_if<std::vector<IntItem>>(&node.arguments[1]);
  if (!m.runs_moves_of_integers() || !x || !value || !std::isfinite(*value) || !pads ||
      to.min != -128 || to.max != 127 || !m.closed_at(root))
    return false;
  for (const IntItem& pad : *pads)
    if (!pad.is_known() || pad.known < 0) return false;
  ValueId inner = x->value;
  if (x->scale != to.scale) {
    std::vector<Argument> arguments;
    append(arguments, *x);
    arguments.insert(arguments.end(), {None{}, None{}, to.scale.scale, to.scale.zero});
    Type type = m.graph().type(x->value);
    if (!m.target_has("int8::clamp", arguments, {x->value})) return false;
    inner = m.add("int8::clamp", std::move(arguments), type, node);
  }
  return m.replace_anyway(root, node.op,
                          {ValueRef{inner}, node.arguments[1], quantized_limit(*value, to)});
}

bool fold_cat(Matcher& m, NodeId root, const Node& node, const Affine& to) {
  auto* parts = std::get_if<std::vector<ValueRef>>(&node.arguments[0]);
  if (!parts || to.min != -128 || to.max != 127) return false;
  std::vector<ValueRef> integers;
  for (const ValueRef& part : *parts) {
    auto x = quantized(m, part.id);
    if (!x || x->scale != to.scale) return false;
    integers.push_back({x->value});
  }
  std::vector<Argument> arguments = node.arguments;
  arguments[0] = integers;
  return m.replace_anyway(root, node.op, std::move(arguments));
}

// A limit of integers that nothing else reads becomes one of the operator that makes them.
bool fold_limit(Matcher& m, NodeId root, ValueId x, const Quantized& from, Limits limits,
                const Affine& to) {
  if (from.scale != to.scale || m.uses(x) != 1 || m.uses(from.value) != 1 ||
      !m.graph().is_node(from.value))
    return false;
  NodeId maker = m.graph().values[size_t(from.value)].index;
  const Node& node = m.node(maker);
  size_t last = node.arguments.size() - 1;  // ..., scale, zero, min, max
  if (!node.op.starts_with("int8::") || node.op == "int8::clamp" ||
      m.type(from.value).dtype != DType::i8)
    return false;
  auto min = m.number(node, last - 1), max = m.number(node, last);
  if (!min || !max) return false;
  auto limited = [&](double q) {
    if (std::isfinite(limits.low)) q = std::max(q, double(quantized_limit(limits.low, to)));
    if (std::isfinite(limits.high)) q = std::min(q, double(quantized_limit(limits.high, to)));
    return int64_t(q);
  };
  int64_t low = limited(*min), high = limited(*max);
  if (!m.replace_anyway(root, "aten::alias", {ValueRef{from.value}})) return false;
  m.set_argument(maker, last - 1, low);
  m.set_argument(maker, last, high);
  return true;
}

// A relu or clamp of its own, or a change of scale.
bool fold_clamp(Matcher& m, NodeId root, ValueId x, Limits limits, const Affine& to) {
  auto from = quantized(m, x);
  if (!from || to.min != -128 || to.max != 127) return false;
  if (fold_limit(m, root, x, *from, limits, to)) return true;
  std::vector<Argument> arguments;
  append(arguments, *from);
  auto limit = [](double number) {
    return std::isinf(number) ? Argument(None{}) : Argument(number);
  };
  arguments.insert(arguments.end(),
                   {limit(limits.low), limit(limits.high), to.scale.scale, to.scale.zero});
  return m.replace(root, "int8::clamp", std::move(arguments));
}

bool fold_quantize(Matcher& m, NodeId root) {
  const Node quantize = m.node(root);
  if (quantize.op != "quantized_decomposed::quantize_per_tensor") return false;
  auto to = affine_of(m, quantize);
  ValueId from = Matcher::value(quantize, 0);
  if (!to || from == kNoValue || m.type(from).dtype != DType::f32 || !is_static(m.type(from)))
    return false;
  if (fold_clamp(m, root, from, {}, *to)) return true;
  Affine limited = *to;
  ValueId at = from;
  if (const Node* limiter = m.match(from, kLimits)) {
    auto limits = limits_of(m, *limiter);
    if (!limits) return false;
    at = Matcher::value(*limiter, 0);
    if (fold_clamp(m, root, at, *limits, *to)) return true;
    if (std::isfinite(limits->low)) limited.min = quantized_limit(limits->low, *to);
    if (std::isfinite(limits->high)) limited.max = quantized_limit(limits->high, *to);
  }
  auto try_one = [&](OpNames ops, auto fold) {
    size_t mark = m.mark();
    const Node* found = m.match(at, ops);
    if (found && fold(m, root, Node(*found), limited)) return true;
    m.rewind(mark);
    return false;
  };
  auto product = [](Matcher& in, NodeId to_bytes, const Node& node, const Affine& by) {
    return fold_product(in, to_bytes, node, &by);
  };
  return try_one(kProducts, product) ||
         try_one({"aten::add.Tensor", "aten::sub.Tensor", "aten::mul.Tensor"}, fold_binary) ||
         try_one({"aten::mean.dim", "aten::adaptive_avg_pool2d", "aten::_adaptive_avg_pool2d"},
                 fold_mean) ||
         try_one({"aten::max_pool2d_with_indices"}, fold_max_pool) || try_one(kMoves, fold_move) ||
         try_one({"aten::cat"}, fold_cat) || try_one({"aten::constant_pad_nd"}, fold_pad);
}

// --- products whose input is quantised by its own range ------------------------------------------

// The numbers that a value is but for quantisation by their own range as i8, for each row or, as
// PT2E has it, for all at once: by rows, or by images, is what XNNPACK does, and never worse.
ValueId dynamically_quantized(Matcher& m, ValueId id) {
  if (id == kNoValue || !m.graph().is_node(id)) return kNoValue;
  const Node& back = m.graph().producer(id);
  bool blocks = back.op == "torchao::dequantize_affine";
  bool tokens = back.op == "quantized_decomposed::dequantize_per_token";
  if (!blocks && !tokens && back.op != "quantized_decomposed::dequantize_per_tensor.tensor")
    return kNoValue;
  ValueId q = Matcher::value(back, 0);
  if (q == kNoValue || !m.graph().is_node(q)) return kNoValue;
  const Node& forth = m.graph().producer(q);
  if (forth.op != (blocks   ? "torchao::quantize_affine"
                   : tokens ? "quantized_decomposed::quantize_per_token"
                            : "quantized_decomposed::quantize_per_tensor.tensor"))
    return kNoValue;
  size_t scale = blocks ? 2 : 1;
  ValueId x = Matcher::value(forth, 0), s = Matcher::value(back, scale),
          z = Matcher::value(back, scale + 1);
  if (x == kNoValue || s == kNoValue || !m.graph().is_node(s) ||
      s != Matcher::value(forth, scale) || z == kNoValue || z != Matcher::value(forth, scale + 1) ||
      m.type(x).dtype != DType::f32 || m.type(q).dtype != DType::i8)
    return kNoValue;
  const Node& choose = m.graph().producer(s);
  if (Matcher::value(choose, 0) != x || choose.results.size() != 2 || choose.results[1] != z)
    return kNoValue;
  auto full = [&](const Node& node, size_t min) {
    auto low = m.number(node, min), high = m.number(node, min + 1);
    return low.value_or(-128) == -128 && high.value_or(127) == 127;
  };
  if (blocks) {
    auto* mapping = std::get_if<std::string>(&choose.arguments[1]);
    auto* block = std::get_if<std::vector<IntItem>>(&choose.arguments[2]);
    auto* same = std::get_if<std::vector<IntItem>>(&forth.arguments[1]);
    if (choose.op != "torchao::choose_qparams_affine" || !mapping || *mapping != "ASYMMETRIC" ||
        !block || !same || *block != *same || !full(choose, 4) || !full(forth, 5))
      return kNoValue;
    const auto& sizes = m.type(x).sizes;
    for (size_t d = 0; d < sizes.size(); d++)
      if (!(*block)[d].is_known() ||
          SymInt((*block)[d].known) != (d + 1 < sizes.size() ? SymInt(1) : sizes[d]))
        return kNoValue;
    return x;
  }
  if (tokens)
    return choose.op == "quantized_decomposed::choose_qparams_per_token_asymmetric" &&
                   full(forth, 3)
               ? x
               : kNoValue;
  return choose.op == "quantized_decomposed::choose_qparams.tensor" && full(choose, 1) &&
                 full(forth, 3)
             ? x
             : kNoValue;
}

// A scale for each of the outputs, which weights count first, instead of one for all.
void spread_scale(const Matcher& m, Weight& weight) {
  if (weight.scales.size() != 1) return;
  weight.scales.resize(size_t(m.type(weight.value).sizes[0].value), weight.scales[0]);
  weight.axis = 0;
}

// Convolutions of numbers: quantised by their own range, or only their weights are integers.
bool fold_convolution_of_numbers(Matcher& m, NodeId root, const Node& node, bool dynamic) {
  if (node.op != "aten::conv1d" && node.op != "aten::conv2d" && node.op != "aten::convolution")
    return false;
  ValueId x = Matcher::value(node, 0);
  if (dynamic) {
    const ValueId rounded = x;
    x = dynamically_quantized(m, rounded);
    if (x == kNoValue || !is_static(m.type(x)) ||
        m.graph().producer(rounded).op != "quantized_decomposed::dequantize_per_tensor.tensor")
      return false;
  }
  if (x == kNoValue || m.is_constant(x) || m.type(x).dtype != DType::f32) return false;
  auto c = convolved(m, node);
  auto bias = bias_of_numbers(m, Matcher::value(node, 2));
  if (!c || !bias || m.type(x).sizes.size() != m.type(c->weight.value).sizes.size()) return false;
  if (!dynamic && !c->is_transposed) spread_scale(m, c->weight);
  std::vector<Argument> arguments{ValueRef{x}, ValueRef{c->weight.value},
                                  ValueRef{scales_constant(m, c->weight)}, *bias};
  arguments.insert(arguments.end(), c->how.begin(), c->how.end());
  return m.replace(root, dynamic ? "int8::dynamic_convolution" : "int8::weight_convolution",
                   std::move(arguments));
}

// Linears of numbers: quantised by their own range, or only their weights are integers.
bool fold_numbers(Matcher& m, NodeId root, bool dynamic) {
  const Node node = m.node(root);
  if (fold_convolution_of_numbers(m, root, node, dynamic)) return true;
  if (node.op != "aten::linear") return false;
  ValueId x = Matcher::value(node, 0);
  if (dynamic) x = dynamically_quantized(m, x);
  if (x == kNoValue || m.is_constant(x) || m.type(x).dtype != DType::f32) return false;
  auto weight = weight_of(m, Matcher::value(node, 1));
  if (!weight || m.type(weight->value).sizes.size() != 2) return false;
  if (weight->scales.size() > 1 && weight->axis != 0) return false;
  if (!dynamic) spread_scale(m, *weight);
  auto bias = bias_of_numbers(m, Matcher::value(node, 2));
  if (!bias) return false;
  return m.replace(root, dynamic ? "int8::dynamic_linear" : "int8::weight_linear",
                   {ValueRef{x}, ValueRef{weight->value}, ValueRef{scales_constant(m, *weight)},
                    *bias, weight->bits});
}

}  // namespace

Result<void> fold_quantization(Program& program, Graph& graph, const PassContext& context) {
  if (context.quantized == QuantizedGraphs::as_they_are) return {};
  Matcher matcher(program, graph, context);
  for_each_root(matcher, [](Matcher& m, NodeId id) {
    if (!fold_quantize(m, id)) fold_numbers(m, id, true);
  });
  // What is left makes numbers: of integers, or with nothing but weights of integers.
  Matcher again(program, graph, context);
  for_each_root(again, [](Matcher& m, NodeId id) {
    if (!fold_product(m, id, Node(m.node(id)), nullptr)) fold_numbers(m, id, false);
  });
  return {};
}

}  // namespace sconce
