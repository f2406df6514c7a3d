#include "ops/elementwise.h"

#include <cstring>
#include <type_traits>

namespace sconce {
namespace {

template <class S>
struct Storage {
  template <class T> static T load(S value) { return T(value); }
  template <class T> static S store(T value) {
    // Out-of-range float to integer goes through int64, which wraps as torch does on x86.
    if constexpr (std::is_floating_point_v<T> && std::is_integral_v<S>) {
      if (!(value > T(-9223372036854775808.0) && value < T(9223372036854775808.0)))
        return S(INT64_MIN);
      return S(int64_t(value));
    } else {
      return S(value);
    }
  }
};
template <>
struct Storage<bool> {
  template <class T> static T load(bool value) { return T(value); }
  template <class T> static bool store(T value) { return value != T(0); }
};
template <>
struct Storage<f16_t> {
  template <class T> static T load(f16_t value) { return T(to_float(value)); }
  template <class T> static f16_t store(T value) { return to_f16(float(value)); }
};
template <>
struct Storage<bf16_t> {
  template <class T> static T load(bf16_t value) { return T(to_float(value)); }
  template <class T> static bf16_t store(T value) { return to_bf16(float(value)); }
};

template <>
struct Storage<f8e5m2_t> {
  template <class T> static T load(f8e5m2_t value) { return T(to_float(value)); }
  template <class T> static f8e5m2_t store(T value) { return to_f8e5m2(float(value)); }
};
template <>
struct Storage<f8e4m3fn_t> {
  template <class T> static T load(f8e4m3fn_t value) { return T(to_float(value)); }
  template <class T> static f8e4m3fn_t store(T value) { return to_f8e4m3fn(float(value)); }
};

template <class Visitor>
void visit_storage(DType dtype, Visitor visitor) {
  switch (dtype) {
    case DType::u8: return visitor(uint8_t{});
    case DType::i8: return visitor(int8_t{});
    case DType::i16: return visitor(int16_t{});
    case DType::i32: return visitor(int32_t{});
    case DType::i64: return visitor(int64_t{});
    case DType::u16: return visitor(uint16_t{});
    case DType::u32: return visitor(uint32_t{});
    case DType::u64: return visitor(uint64_t{});
    case DType::f16: return visitor(f16_t{});
    case DType::bf16: return visitor(bf16_t{});
    case DType::f8e5m2: return visitor(f8e5m2_t{});
    case DType::f8e4m3fn: return visitor(f8e4m3fn_t{});
    case DType::f32: return visitor(float{});
    case DType::f64: return visitor(double{});
    case DType::b8: return visitor(bool{});
    default: return;
  }
}

// One axis of the loop nest: how many steps, and how far each operand (last: the out) moves.
struct Axis { int64_t count; int64_t strides[kOperandsMax + 1]; };

}  // namespace

template <class T>
void load_elements(T* to, const void* from, int64_t stride, int count, DType dtype) {
  visit_storage(dtype, [&](auto tag) {
    using S = decltype(tag);
    const S* source = static_cast<const S*>(from);
    if (stride == 1) {
      for (int i = 0; i < count; i++) to[i] = Storage<S>::template load<T>(source[i]);
    } else if (stride == 0) {
      T value = Storage<S>::template load<T>(source[0]);
      for (int i = 0; i < count; i++) to[i] = value;
    } else {
      for (int i = 0; i < count; i++) to[i] = Storage<S>::template load<T>(source[i * stride]);
    }
  });
}

template <class T>
void store_elements(void* to, int64_t stride, const T* from, int count, DType dtype) {
  visit_storage(dtype, [&](auto tag) {
    using S = decltype(tag);
    S* target = static_cast<S*>(to);
    if (stride == 1) {
      for (int i = 0; i < count; i++) target[i] = Storage<S>::store(from[i]);
    } else {
      for (int i = 0; i < count; i++) target[i * stride] = Storage<S>::store(from[i]);
    }
  });
}

template <class S>
static void load_pairs(Complex* to, const S* from, int64_t stride, int count) {
  for (int i = 0; i < count; i++) to[i] = {from[2 * stride * i], from[2 * stride * i + 1]};
}
template <>
void load_elements(Complex* to, const void* from, int64_t stride, int count, DType dtype) {
  if (dtype == DType::c64)
    return load_pairs(to, static_cast<const float*>(from), stride, count);
  if (dtype == DType::c128)
    return load_pairs(to, static_cast<const double*>(from), stride, count);
  double real[kBlockCount];
  for (int done = 0; done < count; done += kBlockCount) {
    int n = count - done < kBlockCount ? count - done : kBlockCount;
    auto* at = static_cast<const char*>(from) + done * stride * int64_t(dtype_bytes(dtype));
    load_elements<double>(real, at, stride, n, dtype);
    for (int i = 0; i < n; i++) to[done + i] = real[i];
  }
}
template <>
void store_elements(void* to, int64_t stride, const Complex* from, int count, DType dtype) {
  for (int64_t i = 0; i < count; i++) {
    if (dtype == DType::c64) {
      static_cast<float*>(to)[2 * stride * i] = float(from[i].re);
      static_cast<float*>(to)[2 * stride * i + 1] = float(from[i].im);
    } else if (dtype == DType::c128) {
      static_cast<double*>(to)[2 * stride * i] = from[i].re;
      static_cast<double*>(to)[2 * stride * i + 1] = from[i].im;
    }
  }
}

template void load_elements(float*, const void*, int64_t, int, DType);
template void load_elements(double*, const void*, int64_t, int, DType);
template void load_elements(int64_t*, const void*, int64_t, int, DType);
template void store_elements(void*, int64_t, const float*, int, DType);
template void store_elements(void*, int64_t, const double*, int, DType);
template void store_elements(void*, int64_t, const int64_t*, int, DType);

namespace {

template <class T>
Status run_typed(Span<const Value* const> operands, DType dtype, Tensor& out,
                 BlockFunction function, bool exact_numbers, const void* parameters,
                 Diagnostic* diagnostic) {
  int n = int(operands.size());
  // Loop nest in the memory order of the out, innermost last.
  Axis axes[kRankMax];
  int axis_count = 0;
  Strides out_strides = strides_of(out), in_strides[kOperandsMax];
  for (int k = 0; k < n; k++)
    if (operands[size_t(k)]->is_tensor()) in_strides[k] = strides_of(*operands[size_t(k)]->tensor);
  for (int position = 0; position < out.rank; position++) {
    int dim = out.dim_order ? out.dim_order[position] : position;
    if (out.sizes[dim] == 0) return kOk;
    if (out.sizes[dim] == 1) continue;
    Axis axis{out.sizes[dim], {}};
    for (int k = 0; k < n; k++) {
      if (!operands[size_t(k)]->is_tensor()) continue;
      const Tensor& tensor = *operands[size_t(k)]->tensor;
      int at = dim - (out.rank - tensor.rank);
      axis.strides[k] = at < 0 || tensor.sizes[at] == 1 ? 0 : in_strides[k][at];
    }
    axis.strides[n] = out_strides[dim];
    if (axis_count > 0) {  // merge with the axis outside when every operand walks on evenly
      Axis& outer = axes[axis_count - 1];
      bool even = true;
      for (int k = 0; k <= n; k++) even &= outer.strides[k] == axis.strides[k] * axis.count;
      if (even) {
        axis.count *= outer.count;
        outer = axis;
        continue;
      }
    }
    axes[axis_count++] = axis;
  }
  if (axis_count == 0) axes[axis_count++] = Axis{1, {}};
  const Axis& inner = axes[axis_count - 1];

  alignas(16) T blocks[kOperandsMax + 1][kBlockCount];
  const void* in[kOperandsMax];
  bool constant[kOperandsMax] = {};
  for (int k = 0; k < n; k++) {
    in[k] = blocks[k];
    const Value& operand = *operands[size_t(k)];
    if (operand.is_tensor()) continue;
    constant[k] = true;
    T value;
    if constexpr (std::is_same_v<T, int64_t>) {
      value = operand.kind == Value::Kind::floating ? int64_t(operand.floating)
              : operand.kind == Value::Kind::boolean ? int64_t(operand.boolean)
                                                      : operand.integer;
    } else {
      value = operand.kind == Value::Kind::floating ? T(operand.floating)
              : operand.kind == Value::Kind::boolean ? T(operand.boolean)
                                                      : T(operand.integer);
    }
    alignas(16) char rounded[16] = {};
    if (!exact_numbers || !is_floating(dtype)) {
      store_elements<T>(rounded, 1, &value, 1, dtype);
      load_elements<T>(&value, rounded, 1, 1, dtype);
    }
    for (int i = 0; i < kBlockCount; i++) blocks[k][i] = value;
  }
  size_t element_bytes[kOperandsMax + 1];
  const char* base[kOperandsMax];
  bool convert[kOperandsMax] = {};
  for (int k = 0; k < n; k++) {
    if (constant[k]) continue;
    const Tensor& tensor = *operands[size_t(k)]->tensor;
    element_bytes[k] = dtype_bytes(tensor.dtype);
    base[k] = static_cast<const char*>(tensor.data);
    // Wider than the promoted type (a 0-dim f64 with f32 data, an f32 one with f16 data): round.
    convert[k] = tensor.dtype != dtype && dtype_category(tensor.dtype) == dtype_category(dtype) &&
                 (dtype_bytes(tensor.dtype) > dtype_bytes(dtype) ||
                  (dtype_bytes(tensor.dtype) == dtype_bytes(dtype)));
    // Integers do not fit f16 and bf16 exactly either.
    if (is_floating(dtype) && dtype_bytes(dtype) == 2 && tensor.dtype != dtype) convert[k] = true;
    if (exact_numbers && tensor.rank == 0 && out.rank > 0) convert[k] = false;
  }
  element_bytes[n] = dtype_bytes(out.dtype);
  char* out_base = static_cast<char*>(out.data);

  int64_t index[kRankMax] = {};
  int64_t offset[kOperandsMax + 1] = {};
  for (;;) {
    for (int64_t done = 0; done < inner.count; done += kBlockCount) {
      int count = int(inner.count - done < kBlockCount ? inner.count - done : kBlockCount);
      for (int k = 0; k < n; k++) {
        if (constant[k]) continue;
        const Tensor& tensor = *operands[size_t(k)]->tensor;
        const char* from =
            base[k] + (offset[k] + done * inner.strides[k]) * int64_t(element_bytes[k]);
        load_elements<T>(blocks[k], from, inner.strides[k], count, tensor.dtype);
        if (convert[k]) {
          alignas(16) T rounded[kBlockCount];  // no type is wider than what it is computed in
          store_elements<T>(rounded, 1, blocks[k], count, dtype);
          load_elements<T>(blocks[k], rounded, 1, count, dtype);
        }
      }
      if (!function(in, blocks[n], count, parameters))
        return SCONCE_FAIL(Code::invalid_argument, diagnostic, "integer division by zero");
      store_elements<T>(out_base + (offset[n] + done * inner.strides[n]) * int64_t(element_bytes[n]),
                        inner.strides[n], blocks[n], count, out.dtype);
    }
    int axis = axis_count - 2;
    for (; axis >= 0; axis--) {
      for (int k = 0; k <= n; k++) offset[k] += axes[axis].strides[k];
      if (++index[axis] < axes[axis].count) break;
      for (int k = 0; k <= n; k++) offset[k] -= axes[axis].strides[k] * axes[axis].count;
      index[axis] = 0;
    }
    if (axis < 0) return kOk;
  }
}

}  // namespace

Status run_elementwise(Span<const Value* const> operands, DType dtype, Tensor& out,
                       const BlockFunctions& functions, const void* parameters,
                       Diagnostic* diagnostic) {
  if (dtype_category(dtype) == DTypeCategory::complex && functions.complex) {
    if (dtype_category(out.dtype) != DTypeCategory::complex)
      return SCONCE_FAIL(Code::invalid_argument, diagnostic, "a complex result cannot be stored as %s",
                         dtype_name(out.dtype));
    return run_typed<Complex>(operands, dtype, out, functions.complex, functions.exact_numbers,
                              parameters, diagnostic);
  }
  Compute compute = compute_of(dtype);
  BlockFunction function = compute == Compute::f32   ? functions.f32
                           : compute == Compute::f64 ? functions.f64
                                                     : functions.i64;
  if (!function)
    return SCONCE_FAIL(Code::unsupported, diagnostic, "not defined for %s", dtype_name(dtype));
  if (dtype_category(dtype) == DTypeCategory::complex ||
      dtype_category(out.dtype) == DTypeCategory::complex)
    return SCONCE_FAIL(Code::unsupported, diagnostic, "complex numbers are not supported here");
  auto is_f8 = [](DType t) { return t == DType::f8e5m2 || t == DType::f8e4m3fn; };
  bool f8 = is_f8(dtype) || is_f8(out.dtype);
  for (const Value* operand : operands) f8 |= operand->is_tensor() && is_f8(operand->tensor->dtype);
  if (f8 && !functions.of_f8) return SCONCE_FAIL(Code::unsupported, diagnostic, "8-bit floats are not supported here");
  switch (compute) {
    case Compute::f32:
      return run_typed<float>(operands, dtype, out, function, functions.exact_numbers, parameters,
                              diagnostic);
    case Compute::f64:
      return run_typed<double>(operands, dtype, out, function, functions.exact_numbers, parameters,
                              diagnostic);
    default: return run_typed<int64_t>(operands, dtype, out, function, functions.exact_numbers, parameters,
                              diagnostic);
  }
}

}  // namespace sconce
