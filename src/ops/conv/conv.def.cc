// Convolutions: the forms of torch.nn.functional become aten::convolution.
#include "ops/linear/decompose.h"

namespace sconce {
namespace {

// Adds a batch of one when the input has none, and takes it off the result.
template <class F>
Results batched(Build& build, ValueId x, int spatial, F convolve) {
  bool single = build.rank(x) == spatial + 1;
  if (single) x = unsqueeze(build, x, 0);
  ValueId y = convolve(x);
  return one(single ? squeeze(build, y, 0) : y);
}

Argument zeros(int count) { return Build::ints(std::vector<int64_t>(size_t(count), 0)); }

// convNd(input, weight, bias, stride, padding, dilation, groups).
Results conv(Build& build, const Node& node) {
  int spatial = build.rank(value(node, 1)) - 2;
  return batched(build, value(node, 0), spatial, [&](ValueId x) {
    return build.call1("aten::convolution",
                       {Build::v(x), node.arguments[1], node.arguments[2],
                        list_items(node, 3, size_t(spatial)), list_items(node, 4, size_t(spatial)),
                        list_items(node, 5, size_t(spatial)), false, zeros(spatial),
                        node.arguments[6]});
  });
}

// convNd.padding: "valid", or "same", which is uneven when a kernel reaches over an even length; the
// extra zeros then go to the end, as torch places them.
Results conv_padding(Build& build, const Node& node) {
  ValueId weight = value(node, 1);
  int spatial = build.rank(weight) - 2;
  auto* mode = std::get_if<std::string>(&node.arguments[4]);
  auto dilation = list_items(node, 5, size_t(spatial));
  if (!mode || int(dilation.size()) != spatial) return std::nullopt;
  std::vector<int64_t> both(size_t(spatial), 0), extra(size_t(spatial) * 2, 0);
  bool uneven = false;
  if (*mode == "same") {
    for (int i = 0; i < spatial; i++) {
      SymInt kernel = build.size(weight, 2 + i);
      if (!kernel.is_known() || !dilation[size_t(i)].is_known()) return std::nullopt;
      int64_t total = dilation[size_t(i)].known * (kernel.value - 1);
      both[size_t(i)] = total / 2;
      extra[size_t(2 * (spatial - 1 - i) + 1)] = total % 2;  // the last dimension stands first
      uneven |= total % 2 != 0;
    }
  } else if (*mode != "valid") {
    return std::nullopt;
  }
  return batched(build, value(node, 0), spatial, [&](ValueId x) {
    if (uneven) x = build.call1("aten::constant_pad_nd", {Build::v(x), Build::ints(extra), int64_t{0}});
    return build.call1("aten::convolution",
                       {Build::v(x), node.arguments[1], node.arguments[2],
                        list_items(node, 3, size_t(spatial)), Build::ints(both), dilation, false,
                        zeros(spatial), node.arguments[6]});
  });
}

// conv_transposeNd(input, weight, bias, stride, padding, output_padding, groups, dilation).
Results conv_transpose(Build& build, const Node& node) {
  int spatial = build.rank(value(node, 1)) - 2;
  return batched(build, value(node, 0), spatial, [&](ValueId x) {
    return build.call1("aten::convolution",
                       {Build::v(x), node.arguments[1], node.arguments[2],
                        list_items(node, 3, size_t(spatial)), list_items(node, 4, size_t(spatial)),
                        list_items(node, 7, size_t(spatial)), true,
                        list_items(node, 5, size_t(spatial)), node.arguments[6]});
  });
}

// _convolution: convolution with flags of other backends.
Results convolution_flags(Build& build, const Node& node) {
  return build.call("aten::convolution",
                    {node.arguments.begin(), node.arguments.begin() + 9});
}

}  // namespace

OP(convolution) = {.schema = "aten::convolution(Tensor input, Tensor weight, Tensor? bias, SymInt[] stride, SymInt[] padding, SymInt[] dilation, bool transposed, SymInt[] output_padding, SymInt groups) -> Tensor",
                   .out = "aten::convolution.out"};
OP(convolution_backward) = {.schema = "aten::convolution_backward(Tensor grad_output, Tensor input, Tensor weight, SymInt[]? bias_sizes, SymInt[] stride, SymInt[] padding, SymInt[] dilation, bool transposed, SymInt[] output_padding, SymInt groups, bool[3] output_mask) -> (Tensor, Tensor, Tensor)",
                            .out = "aten::convolution_backward.out"};
OP(_convolution) = {.schema = "aten::_convolution(Tensor input, Tensor weight, Tensor? bias, SymInt[] stride, SymInt[] padding, SymInt[] dilation, bool transposed, SymInt[] output_padding, SymInt groups, bool benchmark, bool deterministic, bool cudnn_enabled, bool allow_tf32) -> Tensor",
                    .decompose = convolution_flags};
OP(_convolution_deprecated) = {.schema = "aten::_convolution.deprecated(Tensor input, Tensor weight, Tensor? bias, SymInt[] stride, SymInt[] padding, SymInt[] dilation, bool transposed, int[] output_padding, SymInt groups, bool benchmark, bool deterministic, bool cudnn_enabled) -> Tensor",
                               .decompose = convolution_flags};
OP(_convolution_mode) = {.schema = "aten::_convolution_mode(Tensor input, Tensor weight, Tensor? bias, SymInt[] stride, str padding, SymInt[] dilation, SymInt groups) -> Tensor",
                         .decompose = conv_padding};
OP(conv1d) = {.schema = "aten::conv1d(Tensor input, Tensor weight, Tensor? bias=None, SymInt[1] stride=[1], SymInt[1] padding=[0], SymInt[1] dilation=[1], SymInt groups=1) -> Tensor",
              .decompose = conv};
OP(conv2d) = {.schema = "aten::conv2d(Tensor input, Tensor weight, Tensor? bias=None, SymInt[2] stride=[1, 1], SymInt[2] padding=[0, 0], SymInt[2] dilation=[1, 1], SymInt groups=1) -> Tensor",
              .decompose = conv};
OP(conv3d) = {.schema = "aten::conv3d(Tensor input, Tensor weight, Tensor? bias=None, SymInt[3] stride=[1, 1, 1], SymInt[3] padding=[0, 0, 0], SymInt[3] dilation=[1, 1, 1], SymInt groups=1) -> Tensor",
              .decompose = conv};
OP(conv1d_padding) = {.schema = "aten::conv1d.padding(Tensor input, Tensor weight, Tensor? bias=None, SymInt[1] stride=[1], str padding=\"valid\", SymInt[1] dilation=[1], SymInt groups=1) -> Tensor",
                      .decompose = conv_padding};
OP(conv2d_padding) = {.schema = "aten::conv2d.padding(Tensor input, Tensor weight, Tensor? bias=None, SymInt[2] stride=[1, 1], str padding=\"valid\", SymInt[2] dilation=[1, 1], SymInt groups=1) -> Tensor",
                      .decompose = conv_padding};
OP(conv3d_padding) = {.schema = "aten::conv3d.padding(Tensor input, Tensor weight, Tensor? bias=None, SymInt[3] stride=[1, 1, 1], str padding=\"valid\", SymInt[3] dilation=[1, 1, 1], SymInt groups=1) -> Tensor",
                      .decompose = conv_padding};
OP(conv_transpose1d) = {.schema = "aten::conv_transpose1d(Tensor input, Tensor weight, Tensor? bias=None, SymInt[1] stride=[1], SymInt[1] padding=[0], SymInt[1] output_padding=[0], SymInt groups=1, SymInt[1] dilation=[1]) -> Tensor",
                        .decompose = conv_transpose};
OP(conv_transpose2d) = {.schema = "aten::conv_transpose2d.input(Tensor input, Tensor weight, Tensor? bias=None, SymInt[2] stride=[1, 1], SymInt[2] padding=[0, 0], SymInt[2] output_padding=[0, 0], SymInt groups=1, SymInt[2] dilation=[1, 1]) -> Tensor",
                        .decompose = conv_transpose};
OP(conv_transpose3d) = {.schema = "aten::conv_transpose3d.input(Tensor input, Tensor weight, Tensor? bias=None, SymInt[3] stride=[1, 1, 1], SymInt[3] padding=[0, 0, 0], SymInt[3] output_padding=[0, 0, 0], SymInt groups=1, SymInt[3] dilation=[1, 1, 1]) -> Tensor",
                        .decompose = conv_transpose};

}  // namespace sconce
