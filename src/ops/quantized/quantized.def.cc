// Quantisation: torch's quantized_decomposed operators, which PT2E graphs and stock's files hold,
// and torchao's with blocks of any sizes.
#include <algorithm>

#include "ops/quantized/affine.h"
#include "ops/shape/decompose.h"

namespace sconce {
namespace {

// --- rewritings for targets without such kernels
// --------------------------------------------------

std::optional<DType> dtype_at(const Node& node, int i, DType fallback) {
  if (is_none(node, i)) return fallback;
  auto code = known_integer(node, i);
  if (!code || !is_dtype(*code)) return std::nullopt;
  return DType(*code);
}

// A tensor seen so that each dimension is a number of blocks or what lies in a block, and its
// parameters seen with 1 in place of the latter.
struct Blocks {
  std::vector<SymInt> view, parameters;
  std::vector<int64_t> inside;  // dimensions of the view that lie in blocks
};

std::optional<Blocks> blocks_of(Build& build, ValueId x, const std::vector<SymInt>& block) {
  std::vector<SymInt> sizes = sizes_of(build, x);
  if (block.size() != sizes.size()) return std::nullopt;
  Blocks blocks;
  for (size_t d = 0; d < sizes.size(); d++) {
    if (block[d] == SymInt(1) || block[d] == sizes[d]) {
      bool whole = block[d] != SymInt(1);
      if (whole) blocks.inside.push_back(int64_t(blocks.view.size()));
      blocks.view.push_back(sizes[d]);
      blocks.parameters.push_back(whole ? SymInt(1) : sizes[d]);
      continue;
    }
    if (!block[d].is_known() || !sizes[d].is_known() || block[d].value < 1 ||
        sizes[d].value % block[d].value != 0)
      return std::nullopt;
    SymInt count = sizes[d].value / block[d].value;
    blocks.inside.push_back(int64_t(blocks.view.size()) + 1);
    blocks.view.insert(blocks.view.end(), {count, block[d]});
    blocks.parameters.insert(blocks.parameters.end(), {count, SymInt(1)});
  }
  return blocks;
}

ValueId viewed(Build& build, ValueId x, const std::vector<SymInt>& sizes) {
  return sizes_of(build, x) == sizes ? x : build.view(x, sizes);
}

ValueId limited(Build& build, ValueId x, double min, double max) {
  return build.call1("aten::clamp", {Build::v(x), min, max});
}

ValueId quantized(Build& build, ValueId x, ValueId scale, ValueId zero, bool zero_first, double min,
                  double max, DType dtype) {
  ValueId q = build.mul(x, build.call1("aten::reciprocal", {Build::v(scale)}));
  if (!zero_first) q = build.call1("aten::round", {Build::v(q)});
  q = build.add(q, build.cast(zero, build.dtype(q)));
  if (zero_first) q = build.call1("aten::round", {Build::v(q)});
  return build.cast(limited(build, q, min, max), dtype);
}

// Quantised limits: what is given, else those of the type.
struct Limits {
  double min, max;
};
std::optional<Limits> limits_at(const Node& node, int i, DType dtype) {
  int64_t min, max;
  if (!quantized_limits(dtype, &min, &max)) return std::nullopt;
  Limits limits{double(min), double(max)};
  if (!is_none(node, i)) {
    if (!number(node, i)) return std::nullopt;
    limits.min = *number(node, i);
  }
  if (!is_none(node, i + 1)) {
    if (!number(node, i + 1)) return std::nullopt;
    limits.max = *number(node, i + 1);
  }
  return limits;
}

// input, block_size, scale, zero_point, output_dtype, quant_min, quant_max
Results decompose_quantize_affine(Build& build, const Node& node) {
  auto block = integers(build, node, 1);
  auto dtype = dtype_at(node, 4, DType::i8);
  if (!block || !dtype || is_none(node, 3)) return std::nullopt;
  auto blocks = blocks_of(build, value(node, 0), *block);
  auto limits = limits_at(node, 5, *dtype);
  if (!blocks || !limits) return std::nullopt;
  std::vector<SymInt> sizes = sizes_of(build, value(node, 0));
  ValueId q = quantized(build, viewed(build, value(node, 0), blocks->view),
                        viewed(build, value(node, 2), blocks->parameters),
                        viewed(build, value(node, 3), blocks->parameters), false, limits->min,
                        limits->max, *dtype);
  return one(viewed(build, q, sizes));
}

// input, block_size, scale, zero_point, input_dtype, quant_min, quant_max, output_dtype
Results decompose_dequantize_affine(Build& build, const Node& node) {
  auto block = integers(build, node, 1);
  auto dtype = dtype_at(node, 7, DType::f32);
  if (!block || !dtype) return std::nullopt;
  auto blocks = blocks_of(build, value(node, 0), *block);
  if (!blocks) return std::nullopt;
  std::vector<SymInt> sizes = sizes_of(build, value(node, 0));
  ValueId x = build.cast(viewed(build, value(node, 0), blocks->view), *dtype);
  if (!is_none(node, 3))
    x = build.sub(x, build.cast(viewed(build, value(node, 3), blocks->parameters), *dtype));
  x = build.cast(build.mul(x, viewed(build, value(node, 2), blocks->parameters)), *dtype);
  return one(viewed(build, x, sizes));
}

// input, mapping_type, block_size, target_dtype, quant_min, quant_max, eps, scale_dtype,
// zero_point_dtype, keepdim
Results decompose_choose_affine(Build& build, const Node& node) {
  if (is_none(node, 0)) return std::nullopt;
  ValueId x = value(node, 0);
  auto* mapping = std::get_if<std::string>(&node.arguments[1]);
  auto block = integers(build, node, 2);
  auto target = dtype_at(node, 3, DType::i8);
  if (!mapping || !block || !target) return std::nullopt;
  auto blocks = blocks_of(build, x, *block);
  auto limits = limits_at(node, 4, *target);
  bool symmetric = *mapping == "SYMMETRIC", asymmetric = *mapping == "ASYMMETRIC";
  auto scale_dtype = dtype_at(node, 7, build.dtype(x));
  auto zero_dtype = dtype_at(node, 8, asymmetric ? DType::i32 : build.dtype(x));
  if (!blocks || !limits || !scale_dtype || !zero_dtype || blocks->inside.empty())
    return std::nullopt;
  if (!symmetric && !asymmetric && *mapping != "SYMMETRIC_NO_CLIPPING_ERR") return std::nullopt;
  double smallest = build.dtype(x) == DType::f16 ? 0x1p-14 : 0x1p-126;
  double eps = is_none(node, 6) ? smallest : number(node, 6).value_or(-1);
  if (eps < 0) return std::nullopt;
  std::vector<SymInt> kept;  // sizes of the result with keepdim
  std::vector<SymInt> sizes = sizes_of(build, x);
  for (size_t d = 0; d < sizes.size(); d++)
    kept.push_back((*block)[d] == SymInt(1)  ? sizes[d]
                   : (*block)[d] == sizes[d] ? SymInt(1)
                                             : SymInt(sizes[d].value / (*block)[d].value));
  bool keep = number(node, 9).value_or(0) != 0;
  x = viewed(build, x, blocks->view);
  auto reduced = [&](const char* op) {
    return build.call1(op, {Build::v(x), Build::ints(blocks->inside), false});
  };
  ValueId min = limited(build, reduced("aten::amin"), -INFINITY, 0);
  ValueId max = limited(build, reduced("aten::amax"), 0, INFINITY);
  ValueId scale, zero;
  auto divided = [&](ValueId a, double b) {
    return build.call1("aten::div.Scalar", {Build::v(a), b});
  };
  auto floor = [&](ValueId a) { return build.call1("aten::clamp", {Build::v(a), eps, None{}}); };
  if (asymmetric) {
    scale = floor(divided(build.sub(max, min), limits->max - limits->min));
    zero = build.call1("aten::round", {Build::v(build.div(min, scale))});
    zero = build.call1("aten::rsub.Scalar", {Build::v(zero), limits->min});
    zero = limited(build, zero, limits->min, limits->max);
  } else {
    if (symmetric) {
      max = build.call1("aten::maximum",
                        {Build::v(build.call1("aten::neg", {Build::v(min)})), Build::v(max)});
      scale = divided(max, (limits->max - limits->min) / 2);
    } else {
      scale = build.call1("aten::maximum", {Build::v(divided(min, limits->min)),
                                            Build::v(divided(max, limits->max))});
    }
    scale = floor(scale);
    double middle = double(int64_t((limits->max + limits->min + 1) / 2));
    zero = build.call1("aten::full_like", {Build::v(scale), middle});
  }
  if (keep) scale = viewed(build, scale, kept), zero = viewed(build, zero, kept);
  return std::vector<ValueId>{build.cast(scale, *scale_dtype), build.cast(zero, *zero_dtype)};
}

// input, scales, zero_points, quant_min, quant_max, dtype, group_size
std::optional<Blocks> groups_of(Build& build, const Node& node) {
  ValueId x = value(node, 0), scales = value(node, 1);
  auto group = known_integer(node, 6);
  if (!group || build.rank(x) != 2 || build.rank(scales) < 1) return std::nullopt;
  SymInt columns = build.size(x, 1);
  if (columns.is_known() && *group > columns.value &&
      build.size(scales, build.rank(scales) - 1) == SymInt(1))
    group = columns.value;
  return blocks_of(build, x, {SymInt(1), SymInt(*group)});
}

Results decompose_quantize_group(Build& build, const Node& node) {
  auto dtype = dtype_at(node, 5, DType::i8);
  auto blocks = groups_of(build, node);
  if (!dtype || !blocks) return std::nullopt;
  auto limits = limits_at(node, 3, *dtype);
  if (!limits) return std::nullopt;
  std::vector<SymInt> sizes = sizes_of(build, value(node, 0));
  ValueId q = quantized(build, viewed(build, value(node, 0), blocks->view),
                        viewed(build, value(node, 1), blocks->parameters),
                        viewed(build, value(node, 2), blocks->parameters), true, limits->min,
                        limits->max, *dtype);
  return one(viewed(build, q, sizes));
}

Results decompose_dequantize_group(Build& build, const Node& node) {
  auto dtype = dtype_at(node, 7, DType::f32);
  auto blocks = groups_of(build, node);
  if (!dtype || !blocks) return std::nullopt;
  std::vector<SymInt> sizes = sizes_of(build, value(node, 0));
  ValueId x = viewed(build, value(node, 0), blocks->view);
  if (!is_none(node, 2)) x = build.sub(x, viewed(build, value(node, 2), blocks->parameters));
  x = build.cast(build.mul(x, viewed(build, value(node, 1), blocks->parameters)), *dtype);
  return one(viewed(build, x, sizes));
}

}  // namespace

OP(quantize_per_tensor) = {
    .schema =
        "quantized_decomposed::quantize_per_tensor(Tensor input, float scale, int zero_point, "
        "int quant_min, int quant_max, ScalarType dtype) -> Tensor",
    .out = "quantized_decomposed::quantize_per_tensor.out"};
OP(quantize_per_tensor_tensor) = {
    .schema =
        "quantized_decomposed::quantize_per_tensor.tensor(Tensor input, Tensor scale, Tensor "
        "zero_point, int quant_min, int quant_max, ScalarType dtype) -> Tensor",
    .out = "quantized_decomposed::quantize_per_tensor.Tensor_out"};
OP(quantize_per_tensor_tensor2) = {
    .schema =
        "quantized_decomposed::quantize_per_tensor.tensor2(Tensor input, Tensor scale, Tensor "
        "zero_point, Tensor quant_min, Tensor quant_max, ScalarType dtype) -> Tensor",
    .out = "quantized_decomposed::quantize_per_tensor.tensor2_out"};
OP(dequantize_per_tensor) = {
    .schema =
        "quantized_decomposed::dequantize_per_tensor(Tensor input, float scale, int "
        "zero_point, int quant_min, int quant_max, ScalarType dtype, *, ScalarType? "
        "out_dtype=None) -> Tensor",
    .out = "quantized_decomposed::dequantize_per_tensor.out"};
OP(dequantize_per_tensor_tensor) = {
    .schema =
        "quantized_decomposed::dequantize_per_tensor.tensor(Tensor input, Tensor scale, Tensor "
        "zero_point, int quant_min, int quant_max, ScalarType dtype, *, ScalarType? "
        "out_dtype=None) -> Tensor",
    .out = "quantized_decomposed::dequantize_per_tensor.Tensor_out"};
OP(dequantize_per_tensor_tensor2) = {
    .schema =
        "quantized_decomposed::dequantize_per_tensor.tensor2(Tensor input, Tensor scale, "
        "Tensor zero_point, Tensor quant_min, Tensor quant_max, ScalarType dtype, *, "
        "ScalarType? out_dtype=None) -> Tensor",
    .out = "quantized_decomposed::dequantize_per_tensor.tensor2_out"};
OP(quantize_per_channel) = {
    .schema =
        "quantized_decomposed::quantize_per_channel(Tensor input, Tensor scales, Tensor "
        "zero_points, int axis, int quant_min, int quant_max, ScalarType dtype) -> Tensor",
    .out = "quantized_decomposed::quantize_per_channel.out"};
OP(dequantize_per_channel) = {
    .schema =
        "quantized_decomposed::dequantize_per_channel(Tensor input, Tensor scales, Tensor? "
        "zero_points, int axis, int quant_min, int quant_max, ScalarType dtype, *, ScalarType? "
        "out_dtype=None) -> Tensor",
    .out = "quantized_decomposed::dequantize_per_channel.out"};
OP(quantize_per_token) = {
    .schema =
        "quantized_decomposed::quantize_per_token(Tensor input, Tensor scales, Tensor "
        "zero_points, int quant_min, int quant_max, ScalarType dtype) -> Tensor",
    .out = "quantized_decomposed::quantize_per_token.out"};
OP(dequantize_per_token) = {
    .schema =
        "quantized_decomposed::dequantize_per_token(Tensor input, Tensor scales, Tensor "
        "zero_points, int quant_min, int quant_max, ScalarType dtype, ScalarType output_dtype) "
        "-> Tensor",
    .out = "quantized_decomposed::dequantize_per_token.out"};
OP(quantize_per_channel_group) = {
    .schema =
        "quantized_decomposed::quantize_per_channel_group(Tensor input, Tensor scales, Tensor "
        "zero_points, int quant_min, int quant_max, ScalarType dtype, int group_size) -> Tensor",
    .out = "quantized_decomposed::quantize_per_channel_group.out",
    .decompose = decompose_quantize_group};
OP(dequantize_per_channel_group) = {
    .schema =
        "quantized_decomposed::dequantize_per_channel_group(Tensor input, Tensor scales, "
        "Tensor? zero_points, int quant_min, int quant_max, ScalarType dtype, int group_size, "
        "ScalarType output_dtype) -> Tensor",
    .out = "quantized_decomposed::dequantize_per_channel_group.out",
    .decompose = decompose_dequantize_group};
OP(choose_qparams) = {
    .schema =
        "quantized_decomposed::choose_qparams.tensor(Tensor input, int quant_min, int "
        "quant_max, float eps, ScalarType dtype) -> (Tensor, Tensor)",
    .out = "quantized_decomposed::choose_qparams.Tensor_out"};
OP(choose_qparams_symmetric) = {
    .schema =
        "quantized_decomposed::choose_qparams_symmetric.tensor(Tensor input, int quant_min, "
        "int quant_max, float eps, ScalarType dtype) -> (Tensor, Tensor)",
    .out = "quantized_decomposed::choose_qparams_symmetric.Tensor_out"};
OP(choose_qparams_per_token) = {
    .schema =
        "quantized_decomposed::choose_qparams_per_token(Tensor input, ScalarType dtype) -> "
        "(Tensor, Tensor)",
    .out = "quantized_decomposed::choose_qparams_per_token.out"};
OP(choose_qparams_per_token_asymmetric) = {
    .schema =
        "quantized_decomposed::choose_qparams_per_token_asymmetric(Tensor input, ScalarType "
        "dtype) -> (Tensor, Tensor)",
    .out = "quantized_decomposed::choose_qparams_per_token_asymmetric.out"};
OP_ALIAS(choose_qparams_per_token_asymmetric_impl,
         "quantized_decomposed::_choose_qparams_per_token_asymmetric_impl(Tensor input, ScalarType "
         "dtype) -> (Tensor, Tensor)",
         "quantized_decomposed::choose_qparams_per_token_asymmetric")
OP(embedding_byte) = {
    .schema =
        "quantized_decomposed::embedding_byte(Tensor weight, Tensor weight_scales, Tensor? "
        "weight_zero_points, int weight_quant_min, int weight_quant_max, Tensor indices) -> "
        "Tensor",
    .out = "quantized_decomposed::embedding_byte.out"};
OP(embedding_byte_dtype) = {
    .schema =
        "quantized_decomposed::embedding_byte.dtype(Tensor weight, Tensor weight_scales, "
        "Tensor? weight_zero_points, int weight_quant_min, int weight_quant_max, Tensor "
        "indices, *, ScalarType? dtype=None) -> Tensor",
    .out = "quantized_decomposed::embedding_byte.dtype_out"};
OP(embedding_4bit) = {
    .schema =
        "quantized_decomposed::embedding_4bit(Tensor weight, Tensor weight_scales, Tensor? "
        "weight_zero_points, int weight_quant_min, int weight_quant_max, Tensor indices) -> "
        "Tensor",
    .out = "quantized_decomposed::embedding_4bit.out"};
OP(embedding_4bit_dtype) = {
    .schema =
        "quantized_decomposed::embedding_4bit.dtype(Tensor weight, Tensor weight_scales, "
        "Tensor? weight_zero_points, int weight_quant_min, int weight_quant_max, Tensor "
        "indices, *, ScalarType? dtype=None) -> Tensor",
    .out = "quantized_decomposed::embedding_4bit.dtype_out"};
OP(embedding_2bit) = {
    .schema =
        "quantized_decomposed::embedding_2bit(Tensor weight, Tensor weight_scales, Tensor? "
        "weight_zero_points, int weight_quant_min, int weight_quant_max, Tensor indices) -> "
        "Tensor",
    .out = "quantized_decomposed::embedding_2bit.out"};
OP(embedding_2bit_dtype) = {
    .schema =
        "quantized_decomposed::embedding_2bit.dtype(Tensor weight, Tensor weight_scales, "
        "Tensor? weight_zero_points, int weight_quant_min, int weight_quant_max, Tensor "
        "indices, *, ScalarType? dtype=None) -> Tensor",
    .out = "quantized_decomposed::embedding_2bit.dtype_out"};
OP(mixed_mm) = {
    .schema =
        "quantized_decomposed::mixed_mm(Tensor input, Tensor weight, Tensor weight_scales, "
        "Tensor? weight_zero_points) -> Tensor",
    .out = "quantized_decomposed::mixed_mm.out"};
OP(mixed_linear) = {
    .schema =
        "quantized_decomposed::mixed_linear(Tensor input, Tensor weight, Tensor weight_scales, "
        "Tensor? weight_zero_points, ScalarType? dtype=None) -> Tensor",
    .out = "quantized_decomposed::mixed_linear.out"};
OP(quantized_add) = {
    .schema =
        "quantized_decomposed::add(Tensor a, float a_scale, int a_zero_point, int a_quant_min, "
        "int a_quant_max, Tensor b, float b_scale, int b_zero_point, int b_quant_min, int "
        "b_quant_max, float out_scale, int out_zero_point, int out_quant_min, int "
        "out_quant_max) -> Tensor",
    .out = "quantized_decomposed::add.out"};
OP(quantize_affine) = {
    .schema =
        "torchao::quantize_affine(Tensor input, SymInt[] block_size, Tensor scale, Tensor? "
        "zero_point, ScalarType output_dtype, Scalar? quant_min=None, Scalar? quant_max=None) "
        "-> Tensor",
    .out = "torchao::quantize_affine.out",
    .decompose = decompose_quantize_affine};
OP(dequantize_affine) = {
    .schema =
        "torchao::dequantize_affine(Tensor input, SymInt[] block_size, Tensor scale, Tensor? "
        "zero_point, ScalarType input_dtype, Scalar? quant_min=None, Scalar? quant_max=None, "
        "ScalarType output_dtype=6) -> Tensor",
    .out = "torchao::dequantize_affine.out",
    .decompose = decompose_dequantize_affine};
OP(choose_qparams_affine) = {
    .schema =
        "torchao::choose_qparams_affine(Tensor? input, str mapping_type, SymInt[] block_size, "
        "ScalarType target_dtype, Scalar? quant_min=None, Scalar? quant_max=None, float? "
        "eps=None, ScalarType? scale_dtype=None, ScalarType? zero_point_dtype=None, bool "
        "keepdim=False) -> (Tensor, Tensor)",
    .out = "torchao::choose_qparams_affine.out",
    .decompose = decompose_choose_affine};

}  // namespace sconce
