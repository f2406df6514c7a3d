// Convolutions: the forms of torch.nn.functional become aten::convolution.
#include <cstring>

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

ValueId slice(Build& build, ValueId x, int64_t dim, int64_t begin, int64_t end, int64_t step) {
  return build.call1("aten::slice.Tensor", {Build::v(x), dim, begin, end, step});
}

// Three spatial dimensions for targets with two: each depth of the kernel is a convolution of
// pictures, and these add up. Transposed: each result is spread to where its depth belongs.
Results convolution3d(Build& build, const Node& node) {
  ValueId x = value(node, 0), weight = value(node, 1), bias = optional_value(node, 2);
  if (build.rank(weight) != 5) return std::nullopt;
  // Partial sums of half precision are kept in f32.
  DType dtype = build.dtype(x), wide = dtype_bytes(dtype) == 2 && is_floating(dtype) ? DType::f32 : dtype;
  auto stride = known_list(node, 3), padding = known_list(node, 4), dilation = known_list(node, 5);
  auto extra = known_list(node, 7);
  bool is_transposed = number(node, 6).value_or(0) != 0;
  SymInt taps = build.size(weight, 2), in_depth = build.size(x, 2);
  if (!stride || !padding || !dilation || !extra || !taps.is_known() || !in_depth.is_known())
    return std::nullopt;
  for (auto* list : {&*stride, &*padding, &*dilation, &*extra})
    if (list->size() == 1) list->resize(3, (*list)[0]);
  int64_t depth = in_depth.value, reach = (*dilation)[0] * (taps.value - 1) + 1;
  SymbolTable& symbols = build.program().symbols;
  SymInt batch = build.size(x, 0);
  x = build.cast(x, wide);
  weight = build.cast(weight, wide);
  auto tail = [](const std::vector<int64_t>& list) {
    return Build::ints(std::vector<int64_t>{list[1], list[2]});
  };
  auto convolve = [&](ValueId pictures, int64_t tap) {
    ValueId plane = build.call1("aten::select.int", {Build::v(weight), int64_t{2}, tap});
    return build.call1("aten::convolution",
                       {Build::v(pictures), Build::v(plane), None{}, tail(*stride), tail(*padding),
                        tail(*dilation), is_transposed, tail(*extra), node.arguments[8]});
  };
  auto pictures_of = [&](ValueId volume, int64_t count) {  // [n, d, c, h, w] -> [n * d, c, h, w]
    return build.view(volume, {symbols.multiply(batch, count), build.size(volume, 2),
                               build.size(volume, 3), build.size(volume, 4)});
  };
  auto volume_of = [&](ValueId pictures, int64_t count) {
    return build.view(pictures, {batch, count, build.size(pictures, 1), build.size(pictures, 2),
                                 build.size(pictures, 3)});
  };
  ValueId volume = build.permute(x, {0, 2, 1, 3, 4}), sum = kNoValue;
  if (!is_transposed) {
    int64_t out_depth = (depth + 2 * (*padding)[0] - reach) / (*stride)[0] + 1;
    if (out_depth < 1) return std::nullopt;
    if (int64_t p = (*padding)[0]; p > 0)
      volume = build.call1("aten::constant_pad_nd",
                           {Build::v(volume),
                            Build::ints(std::vector<int64_t>{0, 0, 0, 0, 0, 0, p, p}), int64_t{0}});
    for (int64_t tap = 0; tap < taps.value; tap++) {
      int64_t begin = tap * (*dilation)[0], step = (*stride)[0];
      ValueId part = slice(build, volume, 1, begin, begin + (out_depth - 1) * step + 1, step);
      ValueId y = convolve(pictures_of(part, out_depth), tap);
      sum = sum == kNoValue ? y : build.add(sum, y);
    }
    sum = volume_of(sum, out_depth);
  } else {
    // Uncropped, the result has `full` depths; depth d of tap t lands at d * stride + t * dilation.
    int64_t step = (*stride)[0], full = (depth - 1) * step + reach + (*extra)[0];
    int64_t out_depth = full - 2 * (*padding)[0];
    if (out_depth < 1 || full > INT32_MAX) return std::nullopt;
    ValueId pictures = pictures_of(volume, depth);
    for (int64_t tap = 0; tap < taps.value; tap++) {
      ValueId y = volume_of(convolve(pictures, tap), depth);
      if (step > 1) {  // zeros between depths
        std::vector<SymInt> sizes = sizes_of(build, y);
        y = build.view(y, {batch, depth, 1, size_product(build, sizes, 2, 5)});
        y = build.call1("aten::constant_pad_nd",
                        {Build::v(y), Build::ints(std::vector<int64_t>{0, 0, 0, step - 1}), int64_t{0}});
        sizes[1] = depth * step;
        y = build.view(y, sizes);
        y = slice(build, y, 1, 0, (depth - 1) * step + 1, 1);
      }
      int64_t before = tap * (*dilation)[0], after = full - before - ((depth - 1) * step + 1);
      if (before > 0 || after > 0)
        y = build.call1("aten::constant_pad_nd",
                        {Build::v(y), Build::ints(std::vector<int64_t>{0, 0, 0, 0, 0, 0, before, after}),
                         int64_t{0}});
      sum = sum == kNoValue ? y : build.add(sum, y);
    }
    if ((*padding)[0] > 0) sum = slice(build, sum, 1, (*padding)[0], (*padding)[0] + out_depth, 1);
  }
  sum = build.permute(sum, {0, 2, 1, 3, 4});
  if (bias != kNoValue)
    sum = build.add(sum, build.view(build.cast(bias, wide),
                                    {SymInt(1), build.size(bias, 0), SymInt(1), SymInt(1), SymInt(1)}));
  return one(build.cast(sum, dtype));
}

// Constant [channels * taps, 1, kh, kw] whose row c * taps + t has a one at tap t.
std::optional<ValueId> tap_selector(Build& build, int64_t channels, int64_t kh, int64_t kw, DType dtype) {
  int64_t taps = kh * kw;
  if (!is_floating(dtype) || channels < 1 || channels * taps * taps > (int64_t{1} << 24))
    return std::nullopt;
  std::vector<float> ones(size_t(channels * taps * taps), 0);
  for (int64_t row = 0; row < channels * taps; row++) ones[size_t(row * taps + row % taps)] = 1;
  std::vector<uint8_t> bytes(ones.size() * 4);
  memcpy(bytes.data(), ones.data(), bytes.size());
  ValueId selector = build.constant({DType::f32, {channels * taps, 1, kh, kw}, {}}, std::move(bytes),
                                    "windows");
  return build.cast(selector, dtype);
}

// im2col(self, kernel_size, dilation, padding, stride): a convolution whose kernels pick one tap.
Results im2col(Build& build, const Node& node) {
  ValueId x = value(node, 0);
  auto kernel = known_list(node, 1);
  if (!kernel || kernel->empty()) return std::nullopt;
  if (kernel->size() == 1) kernel->resize(2, (*kernel)[0]);
  bool single = build.rank(x) == 3;
  if (single) x = unsqueeze(build, x, 0);
  SymInt channels = build.size(x, 1);
  if (!channels.is_known()) return std::nullopt;
  auto weight = tap_selector(build, channels.value, (*kernel)[0], (*kernel)[1], build.dtype(x));
  if (!weight) return std::nullopt;
  ValueId y = build.call1("aten::convolution",
                          {Build::v(x), Build::v(*weight), None{}, list_items(node, 4, 2),
                           list_items(node, 3, 2), list_items(node, 2, 2), false, zeros(2),
                           channels.value});
  SymInt area = build.program().symbols.multiply(build.size(y, 2), build.size(y, 3));
  y = build.view(y, {build.size(y, 0), build.size(y, 1), area});
  return one(single ? squeeze(build, y, 0) : y);
}

// col2im(self, output_size, kernel_size, dilation, padding, stride): the same, transposed.
Results col2im(Build& build, const Node& node) {
  ValueId x = value(node, 0);
  std::optional<std::vector<int64_t>> lists[5];
  for (int i = 0; i < 5; i++) {
    lists[i] = known_list(node, 1 + i);
    if (!lists[i] || lists[i]->empty()) return std::nullopt;
    if (lists[i]->size() == 1) lists[i]->resize(2, (*lists[i])[0]);
  }
  auto &out = *lists[0], &kernel = *lists[1], &dilation = *lists[2], &padding = *lists[3],
       &stride = *lists[4];
  bool single = build.rank(x) == 2;
  if (single) x = unsqueeze(build, x, 0);
  SymInt rows = build.size(x, 1);
  if (!rows.is_known() || rows.value % (kernel[0] * kernel[1]) != 0) return std::nullopt;
  int64_t channels = rows.value / (kernel[0] * kernel[1]);
  auto weight = tap_selector(build, channels, kernel[0], kernel[1], build.dtype(x));
  if (!weight) return std::nullopt;
  std::vector<int64_t> grid, extra;
  for (size_t i = 0; i < 2; i++) {
    int64_t room = out[i] + 2 * padding[i] - dilation[i] * (kernel[i] - 1) - 1;
    if (room < 0) return std::nullopt;
    grid.push_back(room / stride[i] + 1);
    extra.push_back(room % stride[i]);
  }
  x = build.view(x, {build.size(x, 0), rows, grid[0], grid[1]});
  ValueId y = build.call1("aten::convolution",
                          {Build::v(x), Build::v(*weight), None{}, Build::ints(stride),
                           Build::ints(padding), Build::ints(dilation), true, Build::ints(extra),
                           channels});
  return one(single ? squeeze(build, y, 0) : y);
}

}  // namespace

OP(im2col) = {.schema = "aten::im2col(Tensor self, int[2] kernel_size, int[2] dilation, int[2] padding, int[2] stride) -> Tensor",
              .out = "aten::im2col.out", .decompose = im2col};
OP(col2im) = {.schema = "aten::col2im(Tensor self, SymInt[2] output_size, int[2] kernel_size, int[2] dilation, int[2] padding, int[2] stride) -> Tensor",
              .out = "aten::col2im.out", .decompose = col2im};
OP(convolution) = {.schema = "aten::convolution(Tensor input, Tensor weight, Tensor? bias, SymInt[] stride, SymInt[] padding, SymInt[] dilation, bool transposed, SymInt[] output_padding, SymInt groups) -> Tensor",
                   .out = "aten::convolution.out", .decompose = convolution3d};
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
