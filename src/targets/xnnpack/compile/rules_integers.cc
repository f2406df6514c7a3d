// Rules for operators on integers that stand for numbers (ops/integer).
#include <algorithm>
#include <cmath>

#include "targets/xnnpack/compile/convolution.h"
#include "tensor/half.h"

namespace sconce::xnn_compile {
namespace {

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

// A convolution's filter of integers, in XNNPACK's order.
uint32_t integer_filter(Lowering& l, ValueId weight, const XnnConvolution& c, XnnDType one,
                        const std::vector<float>& scales) {
  uint32_t bytes =
      l.trial
          ? 0
          : l.named(Lowering::bytes_of(Lowering::turned(l.bytes_at(weight), c.filter, c.order)));
  return l.integers(one, XnnDType::qcint8, bytes, c.ordered_filter(), scales, c.channel_dim);
}

bool int8_convolution_rule(Lowering& l, const Node& node) {
  auto p = int8_product(l, node, 12);
  auto c = p ? read_convolution(l, node, p->x, p->w, 6) : std::nullopt;
  if (!c) return false;
  uint32_t filter = integer_filter(l, p->w, *c, XnnDType::qint8, p->weight_scales);
  uint32_t b = integer_bias(l, *p);
  uint32_t from = l.image(p->x);
  if (node.results.empty()) return true;
  XnnNode& made = l.add(c->kind, {from, filter, b}, to_image(l.dims(node.results[0])));
  made.window = c->window;
  return finish_int8(l, node, 12, made, true);
}

// Images quantised by their own range: XNNPACK has it for images proper, not for rows and not by
// depth. One channel counts as depth, as it does for stock's exporter, so that the range is then
// that of all images, which is what the graph says.
bool int8_dynamic_convolution_rule(Lowering& l, const Node& node) {
  auto x = value_argument(node, 0), w = value_argument(node, 1), scales = value_argument(node, 2),
       bias = value_argument(node, 3);
  if (!x || !is_known_i8(l, w) || !scales || l.is_constant(*x) || !l.is_constant(*w) ||
      !l.is_constant(*scales) || (bias && !l.is_constant(*bias)) || l.dims(*x).size() != 4)
    return false;
  auto c = read_convolution(l, node, *x, *w, 4);
  if (!c || c->window.group_inputs == 1) return false;
  std::vector<float> each = l.scales_of(*scales);
  each.resize(size_t(c->ordered_filter()[0]), each[0]);  // XNNPACK has one scale an output here
  uint32_t filter = integer_filter(l, *w, *c, XnnDType::qcint8, each);
  uint32_t b = bias ? l.constant_of(*bias, l.dims(*bias), Lowering::Use::packed) : kXnnNoValue;
  uint32_t from = l.dynamic(l.image(*x), 3);
  if (node.results.empty()) return true;
  XnnNode& made = l.add(c->kind, {from, filter, b}, to_image(l.dims(node.results[0])));
  made.window = c->window;
  l.set(node.results[0], made.outputs[0], true);
  return true;
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
  bool as_image =
      (l.prefers_image(*a) || l.prefers_image(*b)) && l.dims(*a).size() == l.dims(*b).size();
  uint32_t x = as_image ? l.image(*a) : l.plain(*a), y = as_image ? l.image(*b) : l.plain(*b);
  uint32_t value = l.binary(kind, x, y);
  for (XnnNode& made : l.region.graph.nodes)
    if (made.outputs[0] == value) return finish_int8(l, node, 6, made, as_image);
  return false;
}

bool int8_mean_rule(Lowering& l, const Node& node) {
  auto x = value_argument(node, 0);
  auto x_scale = number_argument(node, 1), scale = number_argument(node, 5);
  if (!is_operand(l, node, 0) || !x_scale || !scale || l.is_constant(*x) ||
      !is_ratio(*x_scale / *scale, -8, 8) || !is_over_image(l.dims(*x), ints_argument(node, 3, 1)))
    return false;
  bool keep = bool_argument(node, 4);
  uint32_t from = l.image(*x);
  return finish_int8(l, node, 5, l.mean_of_image(from, keep), keep);
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
  }
  uint32_t b = bias ? l.constant_of(*bias, l.dims(*bias), Lowering::Use::packed) : kXnnNoValue;
  uint32_t from = l.plain(*x);
  if (dynamic) from = l.dynamic(from);
  if (node.results.empty()) return true;
  uint32_t value = l.linear(from, filter, b, outputs, 0);
  l.set(node.results[0], value);
  return true;
}

constexpr Row kRules[] = {
    {"int8::add", int8_binary_rule<Kind::add>, true},
    {"int8::clamp", int8_clamp_rule, true},
    {"int8::convolution", int8_convolution_rule, true},
    {"int8::dynamic_convolution", int8_dynamic_convolution_rule, true},
    {"int8::dynamic_linear", int8_numbers_linear_rule, true},
    {"int8::linear", int8_linear_rule, true},
    {"int8::mean", int8_mean_rule, true},
    {"int8::mul", int8_binary_rule<Kind::multiply>, true},
    {"int8::sub", int8_binary_rule<Kind::subtract>, true},
    {"int8::weight_linear", int8_numbers_linear_rule, true},
    {"quantized_decomposed::dequantize_per_tensor", dequantize_rule, true},
    {"quantized_decomposed::quantize_per_tensor", quantize_rule, true},
};

}  // namespace

Span<const Row> integer_rules() { return kRules; }

}  // namespace sconce::xnn_compile
