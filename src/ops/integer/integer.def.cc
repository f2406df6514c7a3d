// Operators on 8-bit integers that stand for numbers: what fold_quantization makes of operators
// between dequantize and quantize. No exported program holds them.
#include "ops/shape/decompose.h"

namespace sconce {
namespace {

// --- rewritings for targets that compute with numbers --------------------------------------------

constexpr int64_t kI8 = int64_t(DType::i8);

// The numbers that operand `i` stands for; its scale and zero point follow it.
ValueId dequantized(Build& build, const Node& node, size_t i) {
  return build.call1("quantized_decomposed::dequantize_per_tensor",
                     {node.arguments[i], node.arguments[i + 1], node.arguments[i + 2],
                      int64_t(-128), int64_t(127), kI8, None{}});
}
// Weights with f32 scales: one, one for each place along `axis`, or groups in rows.
ValueId dequantized_weight(Build& build, ValueId weight, ValueId scales, int64_t axis) {
  if (build.rank(scales) == 1 && build.size(scales, 0) != SymInt(1))
    return build.call1("quantized_decomposed::dequantize_per_channel",
                       {Build::v(weight), Build::v(scales), None{}, axis, int64_t(-128),
                        int64_t(127), kI8, None{}});
  std::vector<SymInt> sizes = sizes_of(build, weight);
  ValueId numbers = build.cast(weight, DType::f32);
  if (build.rank(scales) == 1) return build.mul(numbers, scales);
  SymInt groups = build.size(scales, 1);
  numbers = build.view(numbers, {sizes[0], groups, SymInt(sizes[1].value / groups.value)});
  return build.view(build.mul(numbers, unsqueeze(build, scales, 2)), sizes);
}
// The bias of sums that become integers, by the result's scale at `to`, is one of integers.
Argument dequantized_bias(Build& build, const Node& node, size_t i, double x_scale, ValueId scales,
                          size_t to) {
  if (is_none(node, int(i)) || is_none(node, int(to))) return node.arguments[i];
  ValueId scale = build.mul(scales, x_scale);
  return Build::v(build.mul(build.cast(value(node, int(i)), DType::f32), scale));
}
// scale, zero, min, max at `i`; without a scale numbers stay numbers.
Results quantized(Build& build, ValueId x, const Node& node, size_t i) {
  if (is_none(node, int(i))) return std::vector<ValueId>{x};
  return build.call("quantized_decomposed::quantize_per_tensor",
                    {Build::v(x), node.arguments[i], node.arguments[i + 1], node.arguments[i + 2],
                     node.arguments[i + 3], kI8});
}

Results linear_of_numbers(Build& build, const Node& node) {
  auto x_scale = number(node, 1);
  if (!x_scale) return std::nullopt;
  ValueId scales = value(node, 4);
  ValueId y =
      build.call1("aten::linear", {Build::v(dequantized(build, node, 0)),
                                   Build::v(dequantized_weight(build, value(node, 3), scales, 0)),
                                   dequantized_bias(build, node, 5, *x_scale, scales, 6)});
  return quantized(build, y, node, 6);
}

Results convolution_of_numbers(Build& build, const Node& node) {
  auto x_scale = number(node, 1), transposed = number(node, 9);
  if (!x_scale || !transposed) return std::nullopt;
  ValueId scales = value(node, 4);
  ValueId y = build.call1(
      "aten::convolution",
      {Build::v(dequantized(build, node, 0)),
       Build::v(dequantized_weight(build, value(node, 3), scales, *transposed != 0 ? 1 : 0)),
       dequantized_bias(build, node, 5, *x_scale, scales, 12), node.arguments[6],
       node.arguments[7], node.arguments[8], node.arguments[9], node.arguments[10],
       node.arguments[11]});
  return quantized(build, y, node, 12);
}

Results matmul_of_numbers(Build& build, const Node& node) {
  ValueId y = build.call1("aten::matmul", {Build::v(dequantized(build, node, 0)),
                                           Build::v(dequantized(build, node, 3))});
  return quantized(build, y, node, 6);
}

template <Text op>
Results pair_of_numbers(Build& build, const Node& node) {
  ValueId y = build.call1(
      op.text, {Build::v(dequantized(build, node, 0)), Build::v(dequantized(build, node, 3))});
  return quantized(build, y, node, 6);
}

Results mean_of_numbers(Build& build, const Node& node) {
  ValueId y = build.call1("aten::mean.dim", {Build::v(dequantized(build, node, 0)),
                                             node.arguments[3], node.arguments[4], None{}});
  return quantized(build, y, node, 5);
}

Results clamp_of_numbers(Build& build, const Node& node) {
  ValueId x = dequantized(build, node, 0);
  if (!is_none(node, 3) || !is_none(node, 4))
    x = build.call1("aten::clamp", {Build::v(x), node.arguments[3], node.arguments[4]});
  return build.call(
      "quantized_decomposed::quantize_per_tensor",
      {Build::v(x), node.arguments[5], node.arguments[6], int64_t(-128), int64_t(127), kI8});
}

// Numbers, each row rounded to the 8-bit integers of its own range.
std::optional<ValueId> rounded_rows(Build& build, ValueId x) {
  std::vector<ValueId> how =
      build.call("quantized_decomposed::choose_qparams_per_token_asymmetric", {Build::v(x), kI8});
  if (how.size() != 2) return std::nullopt;
  ValueId q = build.call1(
      "quantized_decomposed::quantize_per_token",
      {Build::v(x), Build::v(how[0]), Build::v(how[1]), int64_t(-128), int64_t(127), kI8});
  return build.call1("quantized_decomposed::dequantize_per_token",
                     {Build::v(q), Build::v(how[0]), Build::v(how[1]), int64_t(-128),
                      int64_t(127), kI8, int64_t(DType::f32)});
}

Results dynamic_linear_of_numbers(Build& build, const Node& node) {
  auto x = rounded_rows(build, value(node, 0));
  if (!x) return std::nullopt;
  return build.call(
      "aten::linear",
      {Build::v(*x), Build::v(dequantized_weight(build, value(node, 1), value(node, 2), 0)),
       node.arguments[3]});
}

Results dynamic_convolution_of_numbers(Build& build, const Node& node) {
  ValueId x = value(node, 0);
  std::vector<SymInt> sizes = sizes_of(build, x);
  int64_t count = 1;
  for (size_t d = 1; d < sizes.size(); d++) {
    if (!sizes[d].is_known()) return std::nullopt;
    count *= sizes[d].value;
  }
  auto rows = rounded_rows(build, build.view(x, {sizes[0], SymInt(count)}));
  if (!rows) return std::nullopt;
  std::vector<Argument> arguments = node.arguments;
  arguments[0] = Build::v(build.view(*rows, sizes));
  return build.call("int8::weight_convolution", std::move(arguments));
}

Results weight_convolution_of_numbers(Build& build, const Node& node) {
  auto transposed = number(node, 7);
  if (!transposed) return std::nullopt;
  ValueId weight =
      dequantized_weight(build, value(node, 1), value(node, 2), *transposed != 0 ? 1 : 0);
  return build.call("aten::convolution",
                    {node.arguments[0], Build::v(weight), node.arguments[3], node.arguments[4],
                     node.arguments[5], node.arguments[6], node.arguments[7], node.arguments[8],
                     node.arguments[9]});
}

Results weight_linear_of_numbers(Build& build, const Node& node) {
  return build.call(
      "aten::linear",
      {node.arguments[0], Build::v(dequantized_weight(build, value(node, 1), value(node, 2), 0)),
       node.arguments[3]});
}

}  // namespace

// Results of products without a scale are numbers, and so is the bias then; else it is integers by
// the product of the scales of x and of the weight.
OP(int8_linear) = {
    .schema =
        "int8::linear(Tensor x, float x_scale, int x_zero, Tensor weight, Tensor "
        "weight_scales, Tensor? bias, float? scale, int zero, int min, int max) -> Tensor",
    .out = "int8::linear.out",
    .decompose = linear_of_numbers};
OP(int8_convolution) = {
    .schema =
        "int8::convolution(Tensor x, float x_scale, int x_zero, Tensor weight, Tensor "
        "weight_scales, Tensor? bias, SymInt[] stride, SymInt[] padding, SymInt[] dilation, "
        "bool transposed, SymInt[] output_padding, SymInt groups, float? scale, int zero, int "
        "min, int max) -> Tensor",
    .out = "int8::convolution.out",
    .decompose = convolution_of_numbers};
OP(int8_add) = {
    .schema =
        "int8::add(Tensor a, float a_scale, int a_zero, Tensor b, float b_scale, int b_zero, "
        "float scale, int zero, int min, int max) -> Tensor",
    .out = "int8::add.out",
    .decompose = pair_of_numbers<"aten::add.Tensor">};
OP(int8_sub) = {
    .schema =
        "int8::sub(Tensor a, float a_scale, int a_zero, Tensor b, float b_scale, int b_zero, "
        "float scale, int zero, int min, int max) -> Tensor",
    .out = "int8::sub.out",
    .decompose = pair_of_numbers<"aten::sub.Tensor">};
OP(int8_mul) = {
    .schema =
        "int8::mul(Tensor a, float a_scale, int a_zero, Tensor b, float b_scale, int b_zero, "
        "float scale, int zero, int min, int max) -> Tensor",
    .out = "int8::mul.out",
    .decompose = pair_of_numbers<"aten::mul.Tensor">};
// Matrices in the last two dimensions, which have batches of the same sizes.
OP(int8_matmul) = {
    .schema =
        "int8::matmul(Tensor a, float a_scale, int a_zero, Tensor b, float b_scale, int b_zero, "
        "float? scale, int zero, int min, int max) -> Tensor",
    .out = "int8::matmul.out",
    .decompose = matmul_of_numbers};
OP(int8_mean) = {
    .schema =
        "int8::mean(Tensor x, float x_scale, int x_zero, int[]? dim, bool keepdim, float "
        "scale, int zero, int min, int max) -> Tensor",
    .out = "int8::mean.out",
    .decompose = mean_of_numbers};
OP(int8_clamp) = {
    .schema =
        "int8::clamp(Tensor x, float x_scale, int x_zero, float? low, float? high, float "
        "scale, int zero) -> Tensor",
    .out = "int8::clamp.out",
    .decompose = clamp_of_numbers};
// Numbers in, numbers out: each row of x is quantised by its own range. Weights of 4 bits lie in
// bytes; weight_scales [outputs], [1] or [outputs, groups].
OP(int8_dynamic_linear) = {
    .schema =
        "int8::dynamic_linear(Tensor x, Tensor weight, Tensor weight_scales, Tensor? bias, "
        "int weight_bits) -> Tensor",
    .out = "int8::dynamic_linear.out",
    .decompose = dynamic_linear_of_numbers};
// Numbers in, numbers out: each image of x is quantised by its own range.
OP(int8_dynamic_convolution) = {
    .schema =
        "int8::dynamic_convolution(Tensor x, Tensor weight, Tensor weight_scales, Tensor? bias, "
        "SymInt[] stride, SymInt[] padding, SymInt[] dilation, bool transposed, SymInt[] "
        "output_padding, SymInt groups) -> Tensor",
    .out = "int8::dynamic_convolution.out",
    .decompose = dynamic_convolution_of_numbers};
// Numbers by weights of 8 bits, with one scale or one for each output.
OP(int8_weight_convolution) = {
    .schema =
        "int8::weight_convolution(Tensor x, Tensor weight, Tensor weight_scales, Tensor? bias, "
        "SymInt[] stride, SymInt[] padding, SymInt[] dilation, bool transposed, SymInt[] "
        "output_padding, SymInt groups) -> Tensor",
    .out = "int8::weight_convolution.out",
    .decompose = weight_convolution_of_numbers};
// Numbers by weights of 8 or 4 bits; the weights are as for dynamic_linear.
OP(int8_weight_linear) = {
    .schema =
        "int8::weight_linear(Tensor x, Tensor weight, Tensor weight_scales, Tensor? bias, int "
        "weight_bits) -> Tensor",
    .out = "int8::weight_linear.out",
    .decompose = weight_linear_of_numbers};

}  // namespace sconce
