// Writes through index tensors along one dimension: scatter, scatter_add, scatter_reduce with an index
// per element; index_copy, index_add, index_fill, index_reduce with an index per slice. Each starts
// from a copy of self. Indices are checked when they are used.
#include <cstring>

#include "ops/elementwise.h"
#include "ops/index/indices.h"
#include "ops/shape/strided.h"

namespace sconce {
namespace {

enum class Combine : uint8_t { assign, add, multiply, maximum, minimum, mean };

// Names of scatter (add, multiply) and of scatter_reduce and index_reduce (the others).
Status read_combine(const Args& args, int i, Combine* combine, Diagnostic* diagnostic) {
  struct Row { const char* name; Combine combine; };
  static constexpr Row kRows[] = {{"add", Combine::add},      {"multiply", Combine::multiply},
                                  {"sum", Combine::add},      {"prod", Combine::multiply},
                                  {"mean", Combine::mean},    {"amax", Combine::maximum},
                                  {"amin", Combine::minimum}};
  const Value& text = args[i];
  for (const Row& row : kRows)
    if (strlen(row.name) == text.count && memcmp(row.name, text.string, text.count) == 0) {
      *combine = row.combine;
      return kOk;
    }
  return SCONCE_FAIL(Code::invalid_argument, diagnostic,
                     "reduce \"%s\": sum, prod, mean, amax, amin, add or multiply is wanted",
                     text.string);
}

template <class T>
T combine_two(Combine how, T a, T b) {
  switch (how) {
    case Combine::assign: return b;
    case Combine::multiply:
      if constexpr (std::is_integral_v<T>) return T(uint64_t(a) * uint64_t(b));
      else return a * b;
    case Combine::maximum: return b != b ? b : a < b ? b : a;
    case Combine::minimum: return b != b ? b : b < a ? b : a;
    default:
      if constexpr (std::is_integral_v<T>) return T(uint64_t(a) + uint64_t(b));
      else return a + b;
  }
}

// What a reduction without self starts from.
Value identity_of(Combine how, DType dtype) {
  bool floats = is_floating(dtype);
  int64_t bits = int64_t(dtype_bytes(dtype)) * 8;
  int64_t highest = dtype == DType::b8 ? 1 : dtype == DType::u8 ? 255 : int64_t((uint64_t(1) << (bits - 1)) - 1);
  int64_t lowest = dtype == DType::b8 || dtype == DType::u8 ? 0 : -highest - 1;
  switch (how) {
    case Combine::multiply: return Value::of(int64_t(1));
    case Combine::maximum: return floats ? Value::of(-INFINITY + 0.0) : Value::of(lowest);
    case Combine::minimum: return floats ? Value::of(INFINITY + 0.0) : Value::of(highest);
    default: return Value::of(int64_t(0));
  }
}

// One element: *to = combine(*to, *from) in the element type.
template <class T>
void combine_element(Combine how, char* to, const char* from, DType dtype) {
  T a, b;
  load_elements<T>(&a, to, 1, 1, dtype);
  load_elements<T>(&b, from, 1, 1, dtype);
  a = combine_two(how, a, b);
  store_elements<T>(to, 1, &a, 1, dtype);
}
void combine_any(Combine how, char* to, const char* from, DType dtype) {
  switch (compute_of(dtype)) {
    case Compute::f32: return combine_element<float>(how, to, from, dtype);
    case Compute::f64: return combine_element<double>(how, to, from, dtype);
    default: return combine_element<int64_t>(how, to, from, dtype);
  }
}

// --- scatter: self, dim, index, src (a tensor or a number) ... ------------------------------------

Status scatter_shape(const Args& args, Span<OutMeta> outs, Diagnostic* diagnostic) {
  const Tensor& x = args.tensor(0);
  const Tensor& index = args.tensor(2);
  int dim = wrap_dim(args.integer(1), x.rank, diagnostic);
  if (dim < 0) return {Code::invalid_argument};
  set_like(outs[0], x);
  const Tensor* source = args.find_tensor(3);
  if (source && source->dtype != x.dtype)
    return SCONCE_FAIL(Code::invalid_argument, diagnostic,
                       "scatter: source is %s, self is %s; the same type is wanted",
                       dtype_name(source->dtype), dtype_name(x.dtype));
  if (element_count(index) == 0) return kOk;
  SCONCE_TRY_STATUS(check_index_type("scatter", index, diagnostic));
  auto rank_of = [](const Tensor& tensor) { return tensor.rank == 0 ? 1 : int(tensor.rank); };
  auto size_of = [](const Tensor& tensor, int i) { return tensor.rank == 0 ? 1 : int(tensor.sizes[i]); };
  if (rank_of(index) != rank_of(x) || (source && rank_of(*source) != rank_of(index)))
    return SCONCE_FAIL(Code::invalid_argument, diagnostic,
                       "scatter: index of rank %d and source of rank %d for self of rank %d",
                       index.rank, source ? source->rank : index.rank, x.rank);
  for (int i = 0; i < rank_of(index); i++) {
    int limit = i == dim ? INT32_MAX : size_of(x, i);
    if (source && size_of(*source, i) < limit) limit = size_of(*source, i);
    if (size_of(index, i) > limit)
      return SCONCE_FAIL(Code::invalid_argument, diagnostic,
                         "scatter: index has size %d at dimension %d, at most %d is wanted",
                         size_of(index, i), i, limit);
  }
  return kOk;
}

// Calls visit(out element's offset, source element's offset) for every index, both in elements.
template <class Visit>
Status for_each_index(const Tensor& out, const Tensor& index_tensor, const StridedView& source, int dim,
                      Diagnostic* diagnostic, Visit visit) {
  int64_t total = element_count(index_tensor);
  if (total == 0) return kOk;
  StridedView to = view_of(out), at = view_of(index_tensor);
  if (to.rank == 0) to.insert(0, 1, 1);
  if (at.rank == 0) at.insert(0, 1, 1);
  int last = at.rank - 1;
  int64_t size = to.sizes[dim], dim_stride = to.strides[dim];
  to.strides[dim] = 0;
  int64_t position[kRankMax] = {};
  for (int64_t row = 0; row < total / at.sizes[last]; row++) {
    int64_t to_offset = 0, at_offset = 0, from_offset = 0;
    for (int i = 0; i < last; i++) {
      to_offset += position[i] * to.strides[i];
      at_offset += position[i] * at.strides[i];
      from_offset += position[i] * source.strides[i];
    }
    for (int64_t k = 0; k < at.sizes[last]; k++) {
      int64_t i = read_index(index_tensor, at_offset + k * at.strides[last]);
      if (i < 0 || i >= size) return index_out_of_range(i, size, dim, diagnostic);
      visit(to_offset + k * to.strides[last] + i * dim_stride,
            from_offset + k * source.strides[last]);
    }
    for (int i = last - 1; i >= 0; i--) {
      if (++position[i] < at.sizes[i]) break;
      position[i] = 0;
    }
  }
  return kOk;
}

// out elements are divided by how often they took part; integers round down.
void divide_by_counts(Tensor& out, const int32_t* counts) {
  int64_t count = element_count(out);
  char* data = out.as<char>();
  int64_t bytes = int64_t(dtype_bytes(out.dtype));
  for (int64_t i = 0; i < count; i++) {
    if (counts[i] <= 1) continue;
    if (is_integral(out.dtype)) {
      int64_t value;
      load_elements<int64_t>(&value, data + i * bytes, 1, 1, out.dtype);
      int64_t quotient = value / counts[i];
      if (value % counts[i] != 0 && value < 0) quotient--;
      store_elements<int64_t>(data + i * bytes, 1, &quotient, 1, out.dtype);
    } else {
      double value;
      load_elements<double>(&value, data + i * bytes, 1, 1, out.dtype);
      value /= counts[i];
      store_elements<double>(data + i * bytes, 1, &value, 1, out.dtype);
    }
  }
}

// A view of the source with the rank of the index; a number is one element for all.
struct Source {
  alignas(16) char element[16] = {};
  StridedView view;
};
Status read_source(const Args& args, const Tensor& out, Source& source, Diagnostic* diagnostic) {
  if (const Tensor* tensor = args.find_tensor(3)) {
    source.view = view_of(*tensor);
    if (tensor->dtype != out.dtype)
      return SCONCE_FAIL(Code::invalid_argument, diagnostic, "scatter: out is %s, source is %s",
                         dtype_name(out.dtype), dtype_name(tensor->dtype));
    if (source.view.rank == 0) source.view.insert(0, 1, 1);
    return kOk;
  }
  source.view.data = source.element;
  source.view.dtype = out.dtype;
  source.view.rank = 0;
  SCONCE_TRY_STATUS(fill_view(args[3], source.view, diagnostic));
  for (int i = 0; i < kRankMax; i++) source.view.strides[i] = 0;
  return kOk;
}

Status scatter(const Args& args, KernelContext& context, Combine how, bool include_self) {
  const Tensor& x = args.tensor(0);
  const Tensor& index = args.tensor(2);
  Tensor& out = args.out();
  SCONCE_TRY_STATUS(copy_view(view_of(x), view_of(out), context.diagnostic));
  int dim = wrap_dim(args.integer(1), x.rank, context.diagnostic);
  if (element_count(index) == 0) return kOk;
  Source source;
  SCONCE_TRY_STATUS(read_source(args, out, source, context.diagnostic));
  if (how != Combine::assign && dtype_category(out.dtype) == DTypeCategory::complex)
    return SCONCE_FAIL(Code::unsupported, context.diagnostic, "scatter: reduction of complex numbers");
  char* to = out.as<char>();
  const char* from = source.view.data;
  int64_t bytes = int64_t(dtype_bytes(out.dtype));
  DType dtype = out.dtype;
  if (how == Combine::assign)
    return for_each_index(out, index, source.view, dim, context.diagnostic,
                          [=](int64_t at, int64_t k) {
                            switch (bytes) {
                              case 1: to[at] = from[k]; break;
                              case 2: memcpy(to + at * 2, from + k * 2, 2); break;
                              case 4: memcpy(to + at * 4, from + k * 4, 4); break;
                              case 8: memcpy(to + at * 8, from + k * 8, 8); break;
                              default: memcpy(to + at * 16, from + k * 16, 16); break;
                            }
                          });
  int32_t* counts = nullptr;
  if (how == Combine::mean) {
    counts = reinterpret_cast<int32_t*>(context.scratch.data());
    for (int64_t i = 0; i < element_count(out); i++) counts[i] = include_self ? 1 : 0;
  }
  if (!include_self) {
    alignas(16) char element[16] = {};
    StridedView start;
    start.data = element;
    start.dtype = dtype;
    SCONCE_TRY_STATUS(fill_view(identity_of(how, dtype), start, context.diagnostic));
    SCONCE_TRY_STATUS(for_each_index(out, index, source.view, dim, context.diagnostic,
                                     [&](int64_t at, int64_t) {
                                       memmove(to + at * bytes, element, size_t(bytes));
                                     }));
  }
  SCONCE_TRY_STATUS(for_each_index(out, index, source.view, dim, context.diagnostic,
                                   [&](int64_t at, int64_t k) {
                                     combine_any(how, to + at * bytes, from + k * bytes, dtype);
                                     if (counts) counts[at]++;
                                   }));
  if (counts) divide_by_counts(out, counts);
  return kOk;
}

Status run_scatter(const Args& args, KernelContext& context) {
  return scatter(args, context, Combine::assign, true);
}
Status run_scatter_add(const Args& args, KernelContext& context) {
  return scatter(args, context, Combine::add, true);
}
Status run_scatter_mode(const Args& args, KernelContext& context) {
  Combine how;
  SCONCE_TRY_STATUS(read_combine(args, 4, &how, context.diagnostic));
  return scatter(args, context, how, true);
}
Status run_scatter_reduce(const Args& args, KernelContext& context) {
  Combine how;
  SCONCE_TRY_STATUS(read_combine(args, 4, &how, context.diagnostic));
  return scatter(args, context, how, args.boolean(5));
}
uint64_t count_bytes(const Args& args) {
  return uint64_t(element_count(args.tensor(0))) * sizeof(int32_t);
}

// --- index_copy, index_add, index_fill, index_reduce: self, dim, index (one dimension), source ----

Status index_shape(const Args& args, Span<OutMeta> outs, Diagnostic* diagnostic) {
  const Tensor& x = args.tensor(0);
  const Tensor& index = args.tensor(2);
  int dim = wrap_dim(args.integer(1), x.rank, diagnostic);
  if (dim < 0) return {Code::invalid_argument};
  SCONCE_TRY_STATUS(check_index_type("index", index, diagnostic));
  if (index.rank > 1)
    return SCONCE_FAIL(Code::invalid_argument, diagnostic, "index of rank %d: at most 1 is wanted",
                       index.rank);
  set_like(outs[0], x);
  return kOk;
}

// index_fill: the value is a number or a tensor without dimensions.
Status index_fill_shape(const Args& args, Span<OutMeta> outs, Diagnostic* diagnostic) {
  if (const Tensor* value = args.find_tensor(3); value && value->rank != 0)
    return SCONCE_FAIL(Code::invalid_argument, diagnostic,
                       "index_fill: value of rank %d, a tensor without dimensions is wanted",
                       value->rank);
  return index_shape(args, outs, diagnostic);
}

Status index_source_shape(const Args& args, Span<OutMeta> outs, Diagnostic* diagnostic) {
  SCONCE_TRY_STATUS(index_shape(args, outs, diagnostic));
  const Tensor& x = args.tensor(0);
  const Tensor& source = args.tensor(3);
  if (source.dtype != x.dtype)
    return SCONCE_FAIL(Code::invalid_argument, diagnostic,
                       "source is %s, self is %s: the same type is wanted", dtype_name(source.dtype),
                       dtype_name(x.dtype));
  int64_t count = element_count(args.tensor(2));
  int64_t sizes[kRankMax];
  int dim = wrap_dim(args.integer(1), x.rank, diagnostic);
  if (source.rank == 0 || x.rank == 0) {  // one element stands for one dimension of size 1
    int64_t have = source.rank == 0 ? 1 : source.sizes[0];
    if (source.rank > 1 || x.rank > 1 || have != count)
      return SCONCE_FAIL(Code::invalid_argument, diagnostic,
                         "source of rank %d with %lld elements for %lld indices", source.rank,
                         (long long)element_count(source), (long long)count);
    return kOk;
  }
  for (int i = 0; i < x.rank; i++) sizes[i] = i == dim ? count : x.sizes[i];
  return expect_sizes("source", source, sizes, x.rank, diagnostic);
}

// Walks two views of equal sizes element by element.
template <class Visit>
void for_each_pair(const StridedView& to, const StridedView& from, Visit visit) {
  int64_t count = 1, index[kRankMax] = {};
  for (int i = 0; i < to.rank; i++) count *= to.sizes[i];
  int64_t to_offset = 0, from_offset = 0;
  for (int64_t n = 0; n < count; n++) {
    visit(to_offset, from_offset);
    for (int i = to.rank - 1; i >= 0; i--) {
      to_offset += to.strides[i];
      from_offset += from.strides[i];
      if (++index[i] < to.sizes[i]) break;
      to_offset -= to.strides[i] * index[i];
      from_offset -= from.strides[i] * index[i];
      index[i] = 0;
    }
  }
}

// Calls visit(slice of out, slice of source) per index. `source` has the rank of out.
template <class Visit>
Status for_each_slice(const Args& args, const StridedView& source, Diagnostic* diagnostic, Visit visit) {
  const Tensor& index = args.tensor(2);
  StridedView to = view_of(args.out()), from = source;
  if (to.rank == 0) to.insert(0, 1, 1);
  int dim = wrap_dim(args.integer(1), to.rank, diagnostic);
  int64_t size = to.sizes[dim], count = element_count(index);
  int64_t to_step = to.strides[dim] * int64_t(dtype_bytes(to.dtype));
  int64_t from_step = from.strides[dim] * int64_t(dtype_bytes(from.dtype));
  to.remove(dim);
  from.remove(dim);
  char *to_data = to.data, *from_data = from.data;
  for (int64_t k = 0; k < count; k++) {
    int64_t i = read_index(index, k);
    if (i < 0 || i >= size) return index_out_of_range(i, size, dim, diagnostic);
    to.data = to_data + i * to_step;
    from.data = from_data + k * from_step;
    SCONCE_TRY_STATUS(visit(to, from));
  }
  return kOk;
}

StridedView source_view(const Args& args) {
  StridedView view = view_of(args.tensor(3));
  if (view.rank == 0) view.insert(0, 1, 1);
  return view;
}

Status run_index_copy(const Args& args, KernelContext& context) {
  SCONCE_TRY_STATUS(copy_view(view_of(args.tensor(0)), view_of(args.out()), context.diagnostic));
  return for_each_slice(args, source_view(args), context.diagnostic,
                        [&](const StridedView& to, const StridedView& from) {
                          return copy_view(from, to, context.diagnostic);
                        });
}

Status run_index_fill(const Args& args, KernelContext& context) {
  Tensor& out = args.out();
  SCONCE_TRY_STATUS(copy_view(view_of(args.tensor(0)), view_of(out), context.diagnostic));
  StridedView value = view_of(out);
  if (value.rank == 0) value.insert(0, 1, 1);
  alignas(16) char element[16] = {};
  if (const Tensor* tensor = args.find_tensor(3)) {
    value.data = tensor->as<char>();
    value.dtype = tensor->dtype;
  } else {
    StridedView one;
    one.data = value.data = element;
    one.dtype = out.dtype;
    SCONCE_TRY_STATUS(fill_view(args[3], one, context.diagnostic));
  }
  for (int i = 0; i < value.rank; i++) value.strides[i] = 0;
  return for_each_slice(args, value, context.diagnostic,
                        [&](const StridedView& to, const StridedView& from) {
                          return copy_view(from, to, context.diagnostic);
                        });
}

// self, dim, index, source, alpha
template <class T>
Status add_slices(const Args& args, KernelContext& context) {
  DType dtype = args.out().dtype;
  int64_t bytes = int64_t(dtype_bytes(dtype));
  T alpha = args[4].kind == Value::Kind::floating ? T(args.floating(4)) : T(args.integer(4));
  return for_each_slice(args, source_view(args), context.diagnostic,
                        [&](const StridedView& to, const StridedView& from) {
                          for_each_pair(to, from, [&](int64_t at, int64_t k) {
                            T a, b;
                            load_elements<T>(&a, to.data + at * bytes, 1, 1, dtype);
                            load_elements<T>(&b, from.data + k * bytes, 1, 1, dtype);
                            b = combine_two(Combine::multiply, alpha, b);
                            if (alpha != T(1) && sizeof(T) == 4 && bytes == 2) {  // rounded apart
                              uint16_t rounded;
                              store_elements<T>(&rounded, 1, &b, 1, dtype);
                              load_elements<T>(&b, &rounded, 1, 1, dtype);
                            }
                            a = combine_two(Combine::add, a, b);
                            store_elements<T>(to.data + at * bytes, 1, &a, 1, dtype);
                          });
                          return kOk;
                        });
}

Status run_index_add(const Args& args, KernelContext& context) {
  Tensor& out = args.out();
  if (out.dtype != args.tensor(3).dtype || dtype_category(out.dtype) == DTypeCategory::complex)
    return SCONCE_FAIL(Code::unsupported, context.diagnostic, "index_add: out is %s, source is %s",
                       dtype_name(out.dtype), dtype_name(args.tensor(3).dtype));
  SCONCE_TRY_STATUS(copy_view(view_of(args.tensor(0)), view_of(out), context.diagnostic));
  switch (compute_of(out.dtype)) {
    case Compute::f32: return add_slices<float>(args, context);
    case Compute::f64: return add_slices<double>(args, context);
    default: return add_slices<int64_t>(args, context);
  }
}

// self, dim, index, source, reduce, include_self
Status run_index_reduce(const Args& args, KernelContext& context) {
  Tensor& out = args.out();
  Combine how;
  SCONCE_TRY_STATUS(read_combine(args, 4, &how, context.diagnostic));
  if (out.dtype != args.tensor(3).dtype || dtype_category(out.dtype) == DTypeCategory::complex)
    return SCONCE_FAIL(Code::unsupported, context.diagnostic, "index_reduce: out is %s, source is %s",
                       dtype_name(out.dtype), dtype_name(args.tensor(3).dtype));
  SCONCE_TRY_STATUS(copy_view(view_of(args.tensor(0)), view_of(out), context.diagnostic));
  DType dtype = out.dtype;
  int64_t bytes = int64_t(dtype_bytes(dtype));
  bool include_self = args.boolean(5);
  int32_t* counts = nullptr;
  if (how == Combine::mean) {
    counts = reinterpret_cast<int32_t*>(context.scratch.data());
    for (int64_t i = 0; i < element_count(out); i++) counts[i] = include_self ? 1 : 0;
  }
  if (!include_self)
    SCONCE_TRY_STATUS(for_each_slice(args, source_view(args), context.diagnostic,
                                     [&](const StridedView& to, const StridedView&) {
                                       return fill_view(identity_of(how, dtype), to,
                                                        context.diagnostic);
                                     }));
  SCONCE_TRY_STATUS(for_each_slice(
      args, source_view(args), context.diagnostic, [&](const StridedView& to, const StridedView& from) {
        int64_t base = (to.data - out.as<char>()) / bytes;
        for_each_pair(to, from, [&](int64_t at, int64_t k) {
          combine_any(how, to.data + at * bytes, from.data + k * bytes, dtype);
          if (counts) counts[base + at]++;
        });
        return kOk;
      }));
  if (counts) divide_by_counts(out, counts);
  return kOk;
}

// --- embedding_dense_backward: grad, indices, num_weights, padding_idx, scale_grad_by_freq ---------

Status embedding_backward_shape(const Args& args, Span<OutMeta> outs, Diagnostic* diagnostic) {
  const Tensor& grad = args.tensor(0);
  const Tensor& indices = args.tensor(1);
  SCONCE_TRY_STATUS(check_index_type("embedding_dense_backward", indices, diagnostic));
  bool fits = grad.rank == indices.rank + 1 && args.integer(2) >= 0;
  for (int i = 0; fits && i < indices.rank; i++) fits = grad.sizes[i] == indices.sizes[i];
  if (!fits)
    return SCONCE_FAIL(Code::invalid_argument, diagnostic,
                       "embedding_dense_backward: grad of rank %d for indices of rank %d and %lld rows",
                       grad.rank, indices.rank, (long long)args.integer(2));
  outs[0].dtype = grad.dtype;
  outs[0].rank = 2;
  outs[0].sizes[0] = args.integer(2);
  outs[0].sizes[1] = grad.sizes[grad.rank - 1];
  return kOk;
}

template <class T>
Status add_rows(const Args& args, KernelContext& context) {
  const Tensor& grad = args.tensor(0);
  const Tensor& indices = args.tensor(1);
  Tensor& out = args.out();
  int64_t rows = out.sizes[0], width = out.sizes[1], count = element_count(indices);
  int64_t padding = args.integer(3);
  Strides out_strides = strides_of(out), grad_strides = strides_of(grad);
  int64_t bytes = int64_t(dtype_bytes(out.dtype)), grad_bytes = int64_t(dtype_bytes(grad.dtype));
  int32_t* counts = reinterpret_cast<int32_t*>(context.scratch.data());
  Cursor at(indices);
  bool scaled = args.boolean(4);
  if (scaled) {
    for (int64_t i = 0; i < rows; i++) counts[i] = 0;
    for (int64_t k = 0; k < count; k++, at.next()) {
      int64_t i = read_index(indices, at.offset);
      if (i >= 0 && i < rows) counts[i]++;
    }
  }
  for (int64_t k = 0; k < count; k++, at.next()) {
    int64_t i = read_index(indices, at.offset);
    if (i == padding) continue;
    if (i < 0 || i >= rows) return index_out_of_range(i, rows, 0, context.diagnostic);
    int64_t offset = 0;
    for (int d = 0; d < indices.rank; d++) offset += at.index[d] * grad_strides[d];
    char* to = out.as<char>() + i * out_strides[0] * bytes;
    const char* from = grad.as<char>() + offset * grad_bytes;
    int64_t from_stride = grad_strides[grad.rank - 1];
    T sum[kBlockCount], more[kBlockCount], scale = scaled ? T(1) / T(counts[i]) : T(1);
    for (int64_t done = 0; done < width; done += kBlockCount) {
      int n = int(width - done < kBlockCount ? width - done : kBlockCount);
      char* target = to + done * out_strides[1] * bytes;
      load_elements<T>(sum, target, out_strides[1], n, out.dtype);
      load_elements<T>(more, from + done * from_stride * grad_bytes, from_stride, n, grad.dtype);
      for (int j = 0; j < n; j++) sum[j] += more[j] * scale;
      store_elements<T>(target, out_strides[1], sum, n, out.dtype);
    }
  }
  return kOk;
}

Status run_embedding_backward(const Args& args, KernelContext& context) {
  Tensor& out = args.out();
  if (!is_floating(out.dtype) || !is_floating(args.tensor(0).dtype))
    return SCONCE_FAIL(Code::unsupported, context.diagnostic,
                       "embedding_dense_backward of %s: floating type wanted", dtype_name(out.dtype));
  SCONCE_TRY_STATUS(fill_view(Value::of(int64_t(0)), view_of(out), context.diagnostic));
  return out.dtype == DType::f64 ? add_rows<double>(args, context) : add_rows<float>(args, context);
}
uint64_t row_count_bytes(const Args& args) {
  return args.boolean(4) && args.integer(2) > 0 ? uint64_t(args.integer(2)) * sizeof(int32_t) : 0;
}

}  // namespace

KERNEL(scatter_src) = {"aten::scatter.src_out", "titt>t", scatter_shape, run_scatter};
KERNEL(scatter_value) = {"aten::scatter.value_out", "titn>t", scatter_shape, run_scatter};
KERNEL(scatter_mode) = {"aten::scatter.reduce_out", "titts>t", scatter_shape, run_scatter_mode};
KERNEL(scatter_value_mode) = {"aten::scatter.value_reduce_out", "titns>t", scatter_shape,
                              run_scatter_mode};
KERNEL(scatter_add) = {"aten::scatter_add.out", "titt>t", scatter_shape, run_scatter_add};
KERNEL(scatter_reduce) = {"aten::scatter_reduce.two_out", "tittsb>t", scatter_shape,
                          run_scatter_reduce, count_bytes};
KERNEL(index_copy) = {"aten::index_copy.out", "titt>t", index_source_shape, run_index_copy};
KERNEL(index_add) = {"aten::index_add.out", "tittn>t", index_source_shape, run_index_add};
KERNEL(index_fill_Scalar) = {"aten::index_fill.int_Scalar_out", "titn>t", index_fill_shape,
                             run_index_fill};
KERNEL(index_fill_Tensor) = {"aten::index_fill.int_Tensor_out", "titt>t", index_fill_shape,
                             run_index_fill};
KERNEL(index_reduce) = {"aten::index_reduce.out", "tittsb>t", index_source_shape, run_index_reduce,
                        count_bytes};
KERNEL(embedding_dense_backward) = {"aten::embedding_dense_backward.out", "ttiib>t",
                                    embedding_backward_shape, run_embedding_backward,
                                    row_count_bytes};

}  // namespace sconce
