// Kernel: how an operator runs, under the name that instructions in a .pte use ("aten::add.out").
//
// A kernel is a shape rule and a function. Both see the arguments in the order of the out-variant's
// schema: inputs first, then outs. The caller runs the shape rule, resizes the outs, then runs the
// function; so the function finds its outs with the right sizes and only computes. The same rule
// gives the compiler its shapes (with tensors whose data is null). Freestanding; no allocation.
//
// KERNEL(name) = {...} at the start of a line in a *.kernel.cc under ops/ registers a kernel: the
// build scans for it (cmake/scan_ops.cmake), so no list is kept by hand.
#pragma once

#include <cmath>
#include <cstdint>

#include "base/span.h"
#include "tensor/value.h"

namespace sconce {

// dtype and sizes that a shape rule gives for one out. Sizes are computed in 64 bits and checked
// against int32 by the caller, so rules need no overflow checks for sums; products need them.
struct OutMeta {
  DType dtype = DType::f32;
  int rank = 0;
  int64_t sizes[kRankMax] = {};
  // Bit i: only data decides sizes[i], which is an upper bound; `run` resizes the out.
  uint32_t upper_bounds = 0;
};

// The arguments of one call. Accessors CHECK nothing about kinds that the schema already promised:
// loaders verify every instruction against `Kernel::signature` once (see match_signature).
struct Args {
  Span<const Value* const> values;  // inputs, then outs (a list of outs is one Value of tensors)
  int input_count = 0;

  const Value& operator[](int i) const { return *values[size_t(i)]; }
  bool has(int i) const { return !values[size_t(i)]->is_none(); }
  const Tensor& tensor(int i) const { return *values[size_t(i)]->tensor; }
  // Null when the optional tensor is absent.
  const Tensor* find_tensor(int i) const {
    return values[size_t(i)]->is_tensor() ? values[size_t(i)]->tensor : nullptr;
  }
  // Any number converts: int, bool and float arguments (schema type Scalar included).
  int64_t integer(int i) const {
    const Value& v = *values[size_t(i)];
    if (v.kind == Value::Kind::floating) return int64_t(v.floating);
    return v.kind == Value::Kind::boolean ? int64_t(v.boolean) : v.integer;
  }
  double floating(int i) const {
    const Value& v = *values[size_t(i)];
    if (v.kind == Value::Kind::floating) return v.floating;
    return v.kind == Value::Kind::boolean ? double(v.boolean) : double(v.integer);
  }
  bool boolean(int i) const { return integer(i) != 0; }
  int64_t integer_or(int i, int64_t fallback) const { return has(i) ? integer(i) : fallback; }
  double floating_or(int i, double fallback) const { return has(i) ? floating(i) : fallback; }
  // Lists. A schema type int[N] also takes one integer, meaning N times the same.
  int list_count(int i) const {
    const Value& v = *values[size_t(i)];
    return v.kind == Value::Kind::integer ? 1 : int(v.count);
  }
  int64_t list_integer(int i, int k) const {
    const Value& v = *values[size_t(i)];
    if (v.kind == Value::Kind::integer) return v.integer;
    return v.items[k]->integer;
  }
  const Tensor* list_tensor(int i, int k) const {  // null for an absent one
    const Value* v = values[size_t(i)]->items[k];
    return v->is_tensor() ? v->tensor : nullptr;
  }
  double list_floating(int i, int k) const { return values[size_t(i)]->floats[k]; }
  // Outs. When the schema's out is a list, out(k) is its k-th tensor.
  int out_count() const {
    int count = int(values.size()) - input_count;
    if (count == 1 && values[size_t(input_count)]->kind == Value::Kind::tensors)
      return int(values[size_t(input_count)]->count);
    return count;
  }
  Tensor& out(int k = 0) const {
    const Value& v = *values[size_t(input_count)];
    if (v.kind == Value::Kind::tensors) return *v.items[k]->tensor;
    return *values[size_t(input_count + k)]->tensor;
  }
};

struct KernelContext {
  Diagnostic* diagnostic = nullptr;
  Span<uint8_t> scratch;            // >= scratch_bytes(args), aligned to 16, contents undefined
  uint64_t* random_state = nullptr; // counter of the method's random generator; null = seed 0
};

struct Kernel {
  // "aten::_softmax.out": namespace::base.overload, as in .pte operator tables.
  const char* name;
  // One letter per input, then '>' and one per out. t tensor, T optional tensor, e tensor or number
  // (a wrapped number in torch's sense), n number (int, float, bool), N optional number, i int,
  // I optional int, f float, F optional float, b bool, B optional bool, s string, S optional string,
  // l int list (or an int), L optional int list, d float list, D optional float list, c bool list,
  // v tensor list, V list of optional tensors; outs: t, v. Example: "tib>t".
  const char* signature;
  // Fills one OutMeta per out. Must not read tensor data. `outs` is as long as the call has outs.
  // `args` has no outs while a graph is typed, unless the caller chose the type of the result.
  Status (*shape)(const Args& args, Span<OutMeta> outs, Diagnostic* diagnostic);
  Status (*run)(const Args& args, KernelContext& context);
  // Bytes of context.scratch that `run` needs at these sizes; null = none.
  uint64_t (*scratch_bytes)(const Args& args) = nullptr;
  // True when sizes from `shape` are always an upper bound, and `run` resizes its outs (nonzero,
  // masked_select): those marked in OutMeta::upper_bounds, or all when none is.
  bool data_dependent = false;
  // For kernels whose outs are a list, of which there may be many: the same as `shape` for one part
  // of `count`, so that a caller needs room for one. Null: at most 8 outs.
  Status (*part_shape)(const Args& args, int count, int part, OutMeta* out,
                       Diagnostic* diagnostic) = nullptr;
};

#define KERNEL(name)                       \
  extern const ::sconce::Kernel kernel_##name; \
  const ::sconce::Kernel kernel_##name

// Every kernel linked in, in the order of names; made by the build.
struct KernelRow { const Kernel* kernel; const char* symbol; };
Span<const KernelRow> all_kernels();

// --- what shape rules share -------------------------------------------------------------------

// Dimension `dim` of a tensor of `rank`, wrapped from [-rank, rank) as torch does; rank 0 counts as
// one dimension. -1 and a text when out of range.
int wrap_dim(int64_t dim, int rank, Diagnostic* diagnostic);
// Copies dtype and sizes.
void set_like(OutMeta& out, const Tensor& tensor);
inline void set_like(OutMeta& out, const Tensor& tensor, DType dtype) {
  set_like(out, tensor);
  out.dtype = dtype;
}
// Grows `sizes` (rank *rank) by broadcasting with `tensor`.
Status broadcast_into(const Tensor& tensor, OutMeta& out, Diagnostic* diagnostic);
// DType from an int argument (ATen code); `fallback` when the argument is none.
Status dtype_argument(const Args& args, int i, DType fallback, DType* dtype,
                      Diagnostic* diagnostic);

// Runs the shape rule and resizes the outs (dtype is left as the outs have it).
Status prepare_outs(const Kernel& kernel, const Args& args, Diagnostic* diagnostic);
// prepare_outs(), then the kernel.
Status call_kernel(const Kernel& kernel, const Args& args, KernelContext& context);
// Checks kinds of `values` (inputs, outs) against kernel.signature. For files from outside.
Status match_signature(const Kernel& kernel, Span<const Value* const> values, int* input_count,
                       Diagnostic* diagnostic);

}  // namespace sconce
