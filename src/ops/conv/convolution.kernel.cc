// Convolution of 1 to 3 spatial dimensions, also transposed: per image and group one matrix product,
// weight [channels out, channels in * taps] times the input's windows [channels in * taps, pixels].
// The windows are gathered block by block, so no unfolded copy of the image exists.
#include "ops/conv/window.h"

#include <cstring>

#include "ops/linear/gemm.h"

namespace sconce {

ImageStrides image_strides(const Tensor& tensor) {
  Strides strides = strides_of(tensor);
  ImageStrides image{strides[0], strides[1], {0, 0, 0}};
  for (int i = 2; i < tensor.rank; i++) image.spatial[i + 3 - tensor.rank] = strides[i];
  return image;
}

bool is_even(const ImageStrides& strides, const int64_t sizes[3]) {
  return (sizes[1] == 1 || strides.spatial[1] == strides.spatial[2] * sizes[2]) &&
         (sizes[0] == 1 || strides.spatial[0] == strides.spatial[2] * sizes[2] * sizes[1]);
}

// Entry `i` of a list that has one entry for all dimensions or one for each.
static Status take_list(const Args& args, int position, const char* name, int spatial, int64_t min,
                        int64_t fill, int64_t to[3], Diagnostic* diagnostic) {
  int count = args.list_count(position);
  if (count != 1 && count != spatial)
    return SCONCE_FAIL(Code::invalid_argument, diagnostic,
                       "convolution: %s has %d entries, 1 or %d wanted", name, count, spatial);
  for (int i = 0; i < 3; i++) to[i] = fill;
  for (int i = 0; i < spatial; i++) {
    int64_t value = args.list_integer(position, count == 1 ? 0 : i);
    if (value < min || value > INT32_MAX)
      return SCONCE_FAIL(Code::invalid_argument, diagnostic,
                         "convolution: %s is %lld, at least %lld wanted", name, (long long)value,
                         (long long)min);
    to[3 - spatial + i] = value;
  }
  return kOk;
}

Status make_window(const Args& args, const ConvolutionPositions& at, Window* window,
                   Diagnostic* diagnostic) {
  const Tensor &input = args.tensor(at.input), &weight = args.tensor(at.weight);
  Window& w = *window;
  SCONCE_TRY_STATUS(check_same_dtype("convolution", input, weight, diagnostic));
  SCONCE_TRY_STATUS(check_arithmetic_dtype("convolution", input.dtype, diagnostic));
  if (weight.rank < 3 || weight.rank > 5 || input.rank != weight.rank)
    return SCONCE_FAIL(Code::invalid_argument, diagnostic,
                       "convolution: input of rank %d, weight of rank %d; equal ranks 3 to 5 wanted",
                       input.rank, weight.rank);
  w.spatial = weight.rank - 2;
  SCONCE_TRY_STATUS(take_list(args, at.stride, "stride", w.spatial, 1, 1, w.stride, diagnostic));
  SCONCE_TRY_STATUS(take_list(args, at.padding, "padding", w.spatial, 0, 0, w.padding, diagnostic));
  SCONCE_TRY_STATUS(take_list(args, at.dilation, "dilation", w.spatial, 1, 1, w.dilation, diagnostic));
  SCONCE_TRY_STATUS(take_list(args, at.output_padding, "output_padding", w.spatial, 0, 0,
                              w.output_padding, diagnostic));
  w.transposed = args.boolean(at.transposed);
  w.groups = args.integer(at.groups);
  if (w.groups < 1)
    return SCONCE_FAIL(Code::invalid_argument, diagnostic, "convolution: %lld groups",
                       (long long)w.groups);
  w.batch = input.sizes[0];
  w.in_channels = input.sizes[1];
  int64_t wanted = w.transposed ? weight.sizes[0] : weight.sizes[1] * w.groups;
  if (w.in_channels != wanted || weight.sizes[0] % w.groups != 0)
    return SCONCE_FAIL(Code::invalid_argument, diagnostic,
                       "convolution: input has %d channels; weight is [%d, %d, ...] in %lld groups%s",
                       int(w.in_channels), int(weight.sizes[0]), int(weight.sizes[1]),
                       (long long)w.groups, w.transposed ? ", transposed" : "");
  if (w.transposed && !checked_multiply<int64_t>(weight.sizes[1], w.groups, &w.out_channels))
    return SCONCE_FAIL(Code::too_large, diagnostic, "convolution: too many channels");
  if (!w.transposed) w.out_channels = weight.sizes[0];
  if (at.bias >= 0) {
    if (const Tensor* bias = args.find_tensor(at.bias)) {
      SCONCE_TRY_STATUS(check_same_dtype("convolution", *bias, input, diagnostic));
      if (bias->rank != 1 || bias->sizes[0] != w.out_channels)
        return SCONCE_FAIL(Code::invalid_argument, diagnostic,
                           "convolution: bias of rank %d and size %d, 1 and %lld wanted", bias->rank,
                           bias->rank == 0 ? 1 : int(bias->sizes[0]), (long long)w.out_channels);
    }
  }
  for (int i = 0; i < 3; i++) {
    int dim = i + weight.rank - 3;
    bool exists = dim >= 2;
    w.in[i] = exists ? input.sizes[dim] : 1;
    w.kernel[i] = exists ? weight.sizes[dim] : 1;
    int64_t reach = w.dilation[i] * (w.kernel[i] - 1) + 1;  // both below 2^31
    if (w.transposed) {
      if (w.output_padding[i] >= w.stride[i] && w.output_padding[i] >= w.dilation[i] && exists)
        return SCONCE_FAIL(Code::invalid_argument, diagnostic,
                           "convolution: output padding %lld must be below stride %lld or dilation %lld",
                           (long long)w.output_padding[i], (long long)w.stride[i],
                           (long long)w.dilation[i]);
      w.out[i] = (w.in[i] - 1) * w.stride[i] - 2 * w.padding[i] + reach + w.output_padding[i];
      if (w.out[i] < 0 || w.out[i] > INT32_MAX)
        return SCONCE_FAIL(Code::invalid_argument, diagnostic,
                           "convolution: output size of spatial dimension %d would be %lld", dim - 2,
                           (long long)w.out[i]);
    } else {
      int64_t padded = w.in[i] + 2 * w.padding[i];
      if (padded < reach || w.kernel[i] < 1)
        return SCONCE_FAIL(Code::invalid_argument, diagnostic,
                           "convolution: kernel reaches over %lld, padded input has %lld in spatial "
                           "dimension %d",
                           (long long)reach, (long long)padded, dim - 2);
      w.out[i] = (padded - reach) / w.stride[i] + 1;
      if (w.out[i] > INT32_MAX)
        return SCONCE_FAIL(Code::too_large, diagnostic, "convolution: output size %lld",
                           (long long)w.out[i]);
    }
  }
  return kOk;
}

namespace {

constexpr ConvolutionPositions kForward = {0, 1, 2, 3, 4, 5, 6, 7, 8};
constexpr ConvolutionPositions kBackward = {1, 2, -1, 4, 5, 6, 7, 8, 9};

// One image and group of a product with windows. Windows of `image` are seen from positions of a
// grid: position o, tap t meet at o * stride - padding + t * dilation, or, transposed, at
// (o + padding - t * dilation) / stride where that is whole.
struct Windows {
  const char* image;
  DType dtype;
  int64_t channel_stride, spatial_strides[3];
  int64_t image_sizes[3], grid_sizes[3], kernel[3], stride[3], padding[3], dilation[3];
  bool transposed;
  int64_t first_position = 0;  // of the grid, for products of a part of it
  bool positions_are_rows = false;  // B[position][channel * taps + tap] instead of its transpose
  // The other operand, when its rows do not walk on evenly: A[m][channel * taps + tap].
  const char* weight = nullptr;
  int64_t weight_row_stride, weight_channel_stride, weight_spatial_strides[3];
  bool weight_even;
  int64_t taps() const { return kernel[0] * kernel[1] * kernel[2]; }
};

void tap_of(const Windows& w, int64_t tap, int64_t to[3]) {
  to[2] = tap % w.kernel[2];
  to[1] = tap / w.kernel[2] % w.kernel[1];
  to[0] = tap / w.kernel[2] / w.kernel[1];
}

void position_of(const Windows& w, int64_t position, int64_t to[3]) {
  position += w.first_position;
  to[2] = position % w.grid_sizes[2];
  position /= w.grid_sizes[2];
  to[1] = position % w.grid_sizes[1];
  to[0] = position / w.grid_sizes[1];
}

// Offset in the image where a position and a tap meet; -1 outside.
int64_t offset_of(const Windows& w, const int64_t position[3], const int64_t tap[3]) {
  int64_t offset = 0;
  for (int i = 0; i < 3; i++) {
    int64_t at = window_position(position[i], tap[i] * w.dilation[i], w.stride[i], w.padding[i],
                                 w.image_sizes[i], w.transposed);
    if (at < 0) return -1;
    offset += at * w.spatial_strides[i];
  }
  return offset;
}

template <class S>
void gather(S* to, const char* from, const int64_t* offsets, int count) {
  const S* source = reinterpret_cast<const S*>(from);
  for (int j = 0; j < count; j++) to[j] = offsets[j] < 0 ? S(0) : source[offsets[j]];
}

// Elements at the offsets as T; zero where an offset is negative.
template <class T>
void gather_elements(T* to, const char* from, const int64_t* offsets, int count, DType dtype) {
  if (dtype == (sizeof(T) == 4 ? DType::f32 : std::is_integral_v<T> ? DType::i64 : DType::f64))
    return gather(to, from, offsets, count);
  constexpr int kCount = 16;
  uint64_t raw[kCount];
  for (int done = 0; done < count; done += kCount) {
    int n = count - done < kCount ? count - done : kCount;
    switch (dtype_bytes(dtype)) {
      case 1: gather(reinterpret_cast<uint8_t*>(raw), from, offsets + done, n); break;
      case 2: gather(reinterpret_cast<uint16_t*>(raw), from, offsets + done, n); break;
      case 4: gather(reinterpret_cast<uint32_t*>(raw), from, offsets + done, n); break;
      default: gather(raw, from, offsets + done, n);
    }
    load_elements<T>(to + done, raw, 1, n, dtype);
  }
}

constexpr int kWidthMax = 16;

// B[channel * taps + tap][position].
template <class T>
void pack_windows(const void* state, int64_t n, int columns, int64_t k, int rows, void* to,
                  int width) {
  const Windows& w = *static_cast<const Windows*>(state);
  int64_t positions[kWidthMax][3], offsets[kWidthMax], taps = w.taps();
  for (int j = 0; j < columns; j++) position_of(w, n + j, positions[j]);
  int64_t channel_bytes = w.channel_stride * int64_t(dtype_bytes(w.dtype));
  int64_t first_tap = k % taps, last = k + rows;
  for (int64_t step = 0; step < (taps < rows ? taps : rows); step++) {
    int64_t tap_index = (first_tap + step) % taps, tap[3];
    tap_of(w, tap_index, tap);
    bool consecutive = columns == width;
    for (int j = 0; j < width; j++) {
      offsets[j] = j < columns ? offset_of(w, positions[j], tap) : -1;
      consecutive &= offsets[j] >= 0 && offsets[j] == offsets[0] + j;
    }
    int64_t row = k + step;
    const char* from = w.image + row / taps * channel_bytes;
    for (; row < last; row += taps, from += channel_bytes) {
      T* target = static_cast<T*>(to) + (row - k) * width;
      if (consecutive)
        load_elements<T>(target, from + offsets[0] * int64_t(dtype_bytes(w.dtype)), 1, width,
                         w.dtype);
      else gather_elements<T>(target, from, offsets, width, w.dtype);
    }
  }
}

// B[position][channel * taps + tap], for the gradient of the weight.
template <class T>
void pack_windows_transposed(const void* state, int64_t n, int columns, int64_t k, int rows,
                             void* to, int width) {
  const Windows& w = *static_cast<const Windows*>(state);
  int64_t taps = w.taps(), offsets[kWidthMax], position[3], tap[3];
  for (int i = 0; i < rows; i++) {
    position_of(w, k + i, position);
    for (int j = 0; j < width; j++) {
      offsets[j] = -1;
      if (j >= columns) continue;
      tap_of(w, (n + j) % taps, tap);
      int64_t offset = offset_of(w, position, tap);
      if (offset >= 0) offsets[j] = offset + (n + j) / taps * w.channel_stride;
    }
    gather_elements<T>(static_cast<T*>(to) + i * width, w.image, offsets, width, w.dtype);
  }
}

template <class T>
void pack_weight(const void* state, int64_t m, int64_t k, int count, void* to) {
  const Windows& w = *static_cast<const Windows*>(state);
  int64_t taps = w.taps(), element_bytes = int64_t(dtype_bytes(w.dtype));
  T* target = static_cast<T*>(to);
  while (count > 0) {
    int64_t channel = k / taps, first = k % taps, tap[3];
    int64_t offset = m * w.weight_row_stride + channel * w.weight_channel_stride;
    int run;
    if (taps == 1) {  // a run of channels
      run = count;
      load_elements<T>(target, w.weight + offset * element_bytes, w.weight_channel_stride, run,
                       w.dtype);
    } else {
      run = w.weight_even ? int(taps - first < count ? taps - first : count) : 1;
      tap_of(w, first, tap);
      for (int i = 0; i < 3; i++) offset += tap[i] * w.weight_spatial_strides[i];
      load_elements<T>(target, w.weight + offset * element_bytes, w.weight_spatial_strides[2], run,
                       w.dtype);
    }
    target += run;
    k += run;
    count -= run;
  }
}

struct Packers { PackColumns windows, windows_transposed; PackRow weight; };
Packers packers_of(Compute compute) {
  switch (compute) {
    case Compute::f32:
      return {pack_windows<float>, pack_windows_transposed<float>, pack_weight<float>};
    case Compute::f64:
      return {pack_windows<double>, pack_windows_transposed<double>, pack_weight<double>};
    default:
      return {pack_windows<int64_t>, pack_windows_transposed<int64_t>, pack_weight<int64_t>};
  }
}

// Depthwise: one channel in and one out per group. A matrix product would have one row, so rows of
// outputs are summed tap by tap instead.
template <class T>
void depthwise(const Window& w, const Tensor& input, const Tensor& weight, const Tensor* bias,
               Tensor& out) {
  using Sum = std::conditional_t<std::is_integral_v<T>, uint64_t, T>;  // integers wrap
  ImageStrides from = image_strides(input), to = image_strides(out), ws = image_strides(weight);
  int64_t element_bytes = int64_t(dtype_bytes(input.dtype));
  auto load_one = [&](const Tensor& tensor, int64_t offset) {
    T value;
    load_elements<T>(&value, tensor.as<char>() + offset * element_bytes, 1, 1, tensor.dtype);
    return Sum(value);
  };
  for (int64_t batch = 0; batch < w.batch; batch++)
    for (int64_t channel = 0; channel < w.out_channels; channel++) {
      Sum start = bias ? load_one(*bias, channel) : Sum(0);
      for (int64_t d = 0; d < w.out[0]; d++)
        for (int64_t h = 0; h < w.out[1]; h++)
          for (int64_t first = 0; first < w.out[2]; first += kBlockCount) {
            int count = int(w.out[2] - first < kBlockCount ? w.out[2] - first : kBlockCount);
            Sum sums[kBlockCount];
            T block[kBlockCount];
            for (int i = 0; i < count; i++) sums[i] = start;
            for (int64_t kd = 0; kd < w.kernel[0]; kd++) {
              int64_t id = d * w.stride[0] - w.padding[0] + kd * w.dilation[0];
              if (id < 0 || id >= w.in[0]) continue;
              for (int64_t kh = 0; kh < w.kernel[1]; kh++) {
                int64_t ih = h * w.stride[1] - w.padding[1] + kh * w.dilation[1];
                if (ih < 0 || ih >= w.in[1]) continue;
                for (int64_t kw = 0; kw < w.kernel[2]; kw++) {
                  // Outputs [begin, end) of the block see an input at this tap.
                  int64_t shift = kw * w.dilation[2] - w.padding[2], step = w.stride[2];
                  int64_t begin = shift >= 0 ? 0 : (-shift + step - 1) / step;
                  int64_t end = shift >= w.in[2] ? 0 : (w.in[2] - 1 - shift) / step + 1;
                  if (begin < first) begin = first;
                  if (end > first + count) end = first + count;
                  if (begin >= end) continue;
                  Sum tap = load_one(weight, channel * ws.batch + kd * ws.spatial[0] +
                                                 kh * ws.spatial[1] + kw * ws.spatial[2]);
                  int n = int(end - begin);
                  load_elements<T>(
                      block, input.as<char>() + (batch * from.batch + channel * from.channel +
                                                 id * from.spatial[0] + ih * from.spatial[1] +
                                                 (begin * step + shift) * from.spatial[2]) *
                                                    element_bytes,
                      step * from.spatial[2], n, input.dtype);
                  Sum* target = sums + (begin - first);
                  for (int i = 0; i < n; i++) target[i] += tap * Sum(block[i]);
                }
              }
            }
            for (int i = 0; i < count; i++) block[i] = T(sums[i]);
            store_elements<T>(out.as<char>() + (batch * to.batch + channel * to.channel +
                                                d * to.spatial[0] + h * to.spatial[1] +
                                                first * to.spatial[2]) * element_bytes,
                              to.spatial[2], block, count, out.dtype);
          }
    }
}

// Two tensors [batch, channel, ...] and a weight between them. result = weight * windows(source):
// the forward pass (source: input), or, with the meaning of the weight's first dimensions exchanged,
// the gradient of the input (source: gradient of the output).
struct Side {
  const Tensor* tensor;
  const int64_t* sizes;
  int64_t channels;
};

// windows_transposed: how positions of `result` map into `source`.
void multiply_windows(const Window& w, Side source, bool windows_transposed, const Tensor& weight,
                      int weight_result_dim, const Tensor* bias, Side result, uint8_t* scratch) {
  ImageStrides from = image_strides(*source.tensor), to = image_strides(*result.tensor);
  ImageStrides ws = image_strides(weight);
  Compute compute = compute_of(weight.dtype);
  Packers packers = packers_of(compute);
  int64_t source_channels = source.channels / w.groups, result_channels = result.channels / w.groups;
  int64_t element_bytes = int64_t(dtype_bytes(weight.dtype)), taps = w.taps();
  int64_t positions = result.sizes[0] * result.sizes[1] * result.sizes[2];
  if (positions == 0 || result_channels == 0) return;

  Windows windows;
  windows.dtype = weight.dtype;
  windows.transposed = windows_transposed;
  windows.channel_stride = from.channel;
  for (int i = 0; i < 3; i++) {
    windows.spatial_strides[i] = from.spatial[i];
    windows.image_sizes[i] = source.sizes[i];
    windows.grid_sizes[i] = result.sizes[i];
    windows.kernel[i] = w.kernel[i];
    windows.stride[i] = w.stride[i];
    windows.padding[i] = w.padding[i];
    windows.dilation[i] = w.dilation[i];
    windows.weight_spatial_strides[i] = ws.spatial[i];
  }
  // The weight is [first, second, taps...]; groups lie along the first dimension.
  bool rows_first = weight_result_dim == 0;
  windows.weight_row_stride = rows_first ? ws.batch : ws.channel;
  windows.weight_channel_stride = rows_first ? ws.channel : ws.batch;
  windows.weight_even = is_even(ws, w.kernel);
  int64_t group_stride = (rows_first ? result_channels : source_channels) * ws.batch;

  Gemm g;
  g.m = result_channels;
  g.k = source_channels * taps;
  g.state = &windows;
  g.pack_columns = packers.windows;
  bool even_rows = windows.weight_even && (taps == 1 || ws.spatial[2] == 1) &&
                   (source_channels == 1 || windows.weight_channel_stride == taps);
  if (!even_rows) g.pack_row = packers.weight;
  g.out_dtype = result.tensor->dtype;
  g.out_row_stride = to.channel;
  g.out_column_stride = to.spatial[2];
  // Whole planes at once, or row by row when rows do not follow each other in memory.
  bool whole = is_even(to, result.sizes);
  int64_t part = whole ? positions : result.sizes[2];
  g.n = part;
  for (int64_t batch = 0; batch < w.batch; batch++) {
    for (int64_t group = 0; group < w.groups; group++) {
      windows.image = source.tensor->as<char>() +
                      (batch * from.batch + group * source_channels * from.channel) * element_bytes;
      windows.weight = weight.as<char>() + group * group_stride * element_bytes;
      g.a = {windows.weight, weight.dtype, windows.weight_row_stride, 1};
      if (bias)
        g.added = {bias->as<char>() + group * result_channels * element_bytes, bias->dtype, 1, 0};
      for (int64_t first = 0; first < positions; first += part) {
        windows.first_position = first;
        int64_t offset = batch * to.batch + group * result_channels * to.channel;
        int64_t at[3];
        windows.first_position = 0;
        position_of(windows, first, at);
        windows.first_position = first;
        for (int i = 0; i < 3; i++) offset += at[i] * to.spatial[i];
        g.out = result.tensor->as<char>() + offset * int64_t(dtype_bytes(g.out_dtype));
        gemm(g, compute, scratch);
      }
    }
  }
}

Status shape(const Args& args, Span<OutMeta> outs, Diagnostic* diagnostic) {
  Window w;
  SCONCE_TRY_STATUS(make_window(args, kForward, &w, diagnostic));
  OutMeta& out = outs[0];
  out.dtype = args.tensor(0).dtype;
  out.rank = w.spatial + 2;
  out.sizes[0] = w.batch;
  out.sizes[1] = w.out_channels;
  for (int i = 0; i < w.spatial; i++) out.sizes[2 + i] = w.out[3 - w.spatial + i];
  return kOk;
}

uint64_t scratch_bytes(const Args& args) {
  Window w;
  if (!make_window(args, kForward, &w, nullptr).ok()) return 0;
  return gemm_scratch_bytes(compute_of(args.tensor(0).dtype), w.out_channels / w.groups,
                            w.out_count(), w.in_channels / w.groups * w.taps());
}

Status run(const Args& args, KernelContext& context) {
  Window w;
  SCONCE_TRY_STATUS(make_window(args, kForward, &w, context.diagnostic));
  Tensor& out = args.out();
  SCONCE_TRY_STATUS(check_out_dtype(out, args.tensor(0).dtype, context.diagnostic));
  const Tensor &input = args.tensor(0), &weight = args.tensor(1);
  if (!w.transposed && w.groups == w.in_channels && w.groups == w.out_channels) {
    switch (compute_of(input.dtype)) {
      case Compute::f32: depthwise<float>(w, input, weight, args.find_tensor(2), out); break;
      case Compute::f64: depthwise<double>(w, input, weight, args.find_tensor(2), out); break;
      case Compute::i64: depthwise<int64_t>(w, input, weight, args.find_tensor(2), out); break;
    }
    return kOk;
  }
  multiply_windows(w, {&input, w.in, w.in_channels}, w.transposed, weight,
                   w.transposed ? 1 : 0, args.find_tensor(2), {&out, w.out, w.out_channels},
                   context.scratch.data());
  return kOk;
}

// convolution_backward(grad_output, input, weight, bias_sizes, ..., output_mask): gradients of input,
// weight and bias. A gradient that the mask leaves out is an empty tensor.
Status backward_shape(const Args& args, Span<OutMeta> outs, Diagnostic* diagnostic) {
  Window w;
  SCONCE_TRY_STATUS(make_window(args, kBackward, &w, diagnostic));
  const Tensor& grad = args.tensor(0);
  SCONCE_TRY_STATUS(check_same_dtype("convolution_backward", grad, args.tensor(1), diagnostic));
  bool fits = grad.rank == w.spatial + 2 && grad.sizes[0] == w.batch &&
              grad.sizes[1] == w.out_channels;
  for (int i = 0; fits && i < w.spatial; i++)
    fits = grad.sizes[2 + i] == w.out[3 - w.spatial + i];
  if (!fits)
    return SCONCE_FAIL(Code::invalid_argument, diagnostic,
                       "convolution_backward: sizes of grad_output are not those of the output");
  if (args[10].count != 3)
    return SCONCE_FAIL(Code::invalid_argument, diagnostic,
                       "convolution_backward: output_mask has %d entries, 3 wanted",
                       int(args[10].count));
  const bool* mask = args[10].booleans;
  for (int k = 0; k < 3; k++) {
    outs[size_t(k)] = OutMeta{grad.dtype, 1, {0}};
    if (!mask[k]) continue;
    if (k < 2) set_like(outs[size_t(k)], args.tensor(1 + k));
    else outs[2].sizes[0] = w.out_channels;
  }
  return kOk;
}

uint64_t backward_scratch(const Args& args) {
  Window w;
  if (!make_window(args, kBackward, &w, nullptr).ok()) return 0;
  Compute compute = compute_of(args.tensor(0).dtype);
  int64_t in = w.in_channels / w.groups, out = w.out_channels / w.groups;
  uint64_t input = gemm_scratch_bytes(compute, in, w.in_count(), out * w.taps());
  uint64_t weight = w.transposed ? gemm_scratch_bytes(compute, in, out * w.taps(), w.in_count())
                                 : gemm_scratch_bytes(compute, out, in * w.taps(), w.out_count());
  return input > weight ? input : weight;
}

// Gradient of the weight: per group and image, sums over positions of `rows` (the side whose
// channels are the weight's first dimension) times windows of the other side.
Status weight_gradient(const Window& w, Side rows, Side windows_side, Tensor& out,
                       uint8_t* scratch, Diagnostic* diagnostic) {
  ImageStrides a = image_strides(*rows.tensor), b = image_strides(*windows_side.tensor);
  Compute compute = compute_of(out.dtype);
  ImageStrides to = image_strides(out);
  if (!is_even(a, rows.sizes) || !is_even(to, w.kernel))
    return SCONCE_FAIL(Code::unsupported, diagnostic,
                       "convolution_backward: gradients in this order of dimensions");
  int64_t row_channels = rows.channels / w.groups, channels = windows_side.channels / w.groups;
  int64_t element_bytes = int64_t(dtype_bytes(out.dtype)), taps = w.taps();
  memset(out.data, 0, tensor_bytes(out));
  Windows windows;
  windows.dtype = out.dtype;
  windows.transposed = false;
  windows.channel_stride = b.channel;
  for (int i = 0; i < 3; i++) {
    windows.spatial_strides[i] = b.spatial[i];
    windows.image_sizes[i] = windows_side.sizes[i];
    windows.grid_sizes[i] = rows.sizes[i];
    windows.kernel[i] = w.kernel[i];
    windows.stride[i] = w.stride[i];
    windows.padding[i] = w.padding[i];
    windows.dilation[i] = w.dilation[i];
  }
  Gemm g;
  g.m = row_channels;
  // All channels at once, or one by one when they do not follow each other in the gradient.
  int64_t part = is_contiguous(out) ? channels : 1;
  g.n = part * taps;
  g.k = rows.sizes[0] * rows.sizes[1] * rows.sizes[2];
  g.state = &windows;
  g.pack_columns = packers_of(compute).windows_transposed;
  g.out_dtype = out.dtype;
  g.out_row_stride = to.batch;
  g.out_column_stride = to.spatial[2];
  for (int64_t group = 0; group < w.groups; group++)
    for (int64_t channel = 0; channel < channels; channel += part) {
      g.out = out.as<char>() +
              (group * row_channels * to.batch + channel * to.channel) * element_bytes;
      g.added = {g.out, out.dtype, to.batch, to.spatial[2]};  // images add up
      for (int64_t batch = 0; batch < w.batch; batch++) {
        g.a = {rows.tensor->as<char>() +
                   (batch * a.batch + group * row_channels * a.channel) * element_bytes,
               out.dtype, a.channel, a.spatial[2]};
        windows.image = windows_side.tensor->as<char>() +
                        (batch * b.batch + (group * channels + channel) * b.channel) * element_bytes;
        gemm(g, compute, scratch);
      }
    }
  return kOk;
}

template <class T>
void sum_positions(const Window& w, const Tensor& grad, Tensor& out) {
  ImageStrides strides = image_strides(grad);
  int64_t element_bytes = int64_t(dtype_bytes(grad.dtype));
  for (int64_t channel = 0; channel < w.out_channels; channel++) {
    T sum = 0;
    for (int64_t batch = 0; batch < w.batch; batch++)
      for (int64_t d = 0; d < w.out[0]; d++)
        for (int64_t h = 0; h < w.out[1]; h++) {
          int64_t offset = batch * strides.batch + channel * strides.channel +
                           d * strides.spatial[0] + h * strides.spatial[1];
          for (int64_t done = 0; done < w.out[2]; done += kBlockCount) {
            T block[kBlockCount], part = 0;
            int n = int(w.out[2] - done < kBlockCount ? w.out[2] - done : kBlockCount);
            load_elements<T>(
                block, grad.as<char>() + (offset + done * strides.spatial[2]) * element_bytes,
                strides.spatial[2], n, grad.dtype);
            for (int i = 0; i < n; i++) part += block[i];
            sum += part;
          }
        }
    store_elements<T>(out.as<char>() + channel * int64_t(dtype_bytes(out.dtype)), 1, &sum, 1,
                      out.dtype);
  }
}

Status backward_run(const Args& args, KernelContext& context) {
  Window w;
  SCONCE_TRY_STATUS(make_window(args, kBackward, &w, context.diagnostic));
  const Tensor &grad = args.tensor(0), &input = args.tensor(1), &weight = args.tensor(2);
  SCONCE_TRY_STATUS(check_floating_dtype("convolution_backward", grad.dtype, context.diagnostic));
  for (int k = 0; k < 3; k++)
    SCONCE_TRY_STATUS(check_out_dtype(args.out(k), grad.dtype, context.diagnostic));
  const bool* mask = args[10].booleans;
  Side outer = {&grad, w.out, w.out_channels}, inner = {&input, w.in, w.in_channels};
  uint8_t* scratch = context.scratch.data();
  if (mask[0])
    multiply_windows(w, outer, !w.transposed, weight, w.transposed ? 0 : 1, nullptr,
                     {&args.out(0), w.in, w.in_channels}, scratch);
  if (mask[1])
    SCONCE_TRY_STATUS(weight_gradient(w, w.transposed ? inner : outer, w.transposed ? outer : inner,
                                      args.out(1), scratch, context.diagnostic));
  if (mask[2]) {
    if (grad.dtype == DType::f64) sum_positions<double>(w, grad, args.out(2));
    else sum_positions<float>(w, grad, args.out(2));
  }
  return kOk;
}

}  // namespace

KERNEL(convolution) = {"aten::convolution.out", "ttTlllbli>t", shape, run, scratch_bytes};
KERNEL(convolution_backward) = {"aten::convolution_backward.out", "tttLlllblic>ttt", backward_shape,
                                backward_run, backward_scratch};

}  // namespace sconce
