// Strided views and the one routine that copies between them: data movement of all shape operators.
//
// A view is a tensor's memory walked with other sizes and strides (negative and zero ones too), so
// slice, permute, expand, flip and their like are a change of a view, then a copy. Freestanding.
#pragma once

#include "ops/kernel.h"

namespace sconce {

struct StridedView {
  static constexpr int kRankLimit = 2 * kRankMax;  // splitting each dimension in two must fit
  char* data = nullptr;
  DType dtype = DType::f32;
  int rank = 0;
  int64_t sizes[kRankLimit];
  int64_t strides[kRankLimit];  // in elements

  // Moves the start by `count` elements along `dim`. Shape rules have no data.
  void advance(int dim, int64_t count) {
    if (data) data += count * strides[dim] * int64_t(dtype_bytes(dtype));
  }
  // Keeps `count` positions from `start`, `step` apart.
  void narrow(int dim, int64_t start, int64_t count, int64_t step = 1) {
    if (count > 0) advance(dim, start);
    sizes[dim] = count;
    strides[dim] *= step;
  }
  void remove(int dim);
  void insert(int dim, int64_t size, int64_t stride);
  // Splits a dimension into `outer` times sizes[dim] / outer.
  void split(int dim, int64_t outer);
  void swap(int a, int b);
};

StridedView view_of(const Tensor& tensor);

// to = from, element by element; sizes must be equal. Converts when the types differ. Views may not
// overlap, except when they are the same one.
Status copy_view(const StridedView& from, const StridedView& to, Diagnostic* diagnostic);

// Sets every element to a number, converted to the type of the view.
Status fill_view(const Value& number, const StridedView& to, Diagnostic* diagnostic);

// out = the elements of `from` in row-major order, whatever the sizes of both are; element `i` goes
// to position (i + shift) mod count of `out`. Element counts must be equal.
Status copy_in_order(const Tensor& from, Tensor& out, int64_t shift, Diagnostic* diagnostic);

// Walks the elements of a tensor in row-major order: `offset` counts elements of memory.
struct Cursor {
  explicit Cursor(const Tensor& tensor);
  void seek(int64_t position);  // 0 <= position < element count, or 0
  void next();                  // after the last element comes the first
  int64_t offset = 0;
  int rank;
  int64_t index[kRankMax] = {};
  int64_t sizes[kRankMax];
  int64_t strides[kRankMax];
};

// Moves `count` elements of `bytes` each; strides in elements.
void move_row(void* to, int64_t to_stride, const void* from, int64_t from_stride, int64_t count,
              size_t bytes);

// --- arguments that several operators read ------------------------------------------------------

// A slice's start and count inside [0, size], as torch clamps them. start and end may be none.
Status slice_bounds(const Args& args, int start_at, int64_t size, int64_t* start, int64_t* count,
                    int64_t* step, Diagnostic* diagnostic);
// Index wrapped into [0, size), else an error that names index, size and dimension.
Status wrap_index(int64_t index, int64_t size, int dim, int64_t* wrapped, Diagnostic* diagnostic);
// A list of distinct dimensions as a set of bits.
Status dim_set(const Args& args, int i, int rank, uint32_t* set, Diagnostic* diagnostic);
// Error unless the sizes are equal. `what` names the tensor.
Status expect_sizes(const char* what, const Tensor& tensor, const int64_t* sizes, int rank,
                    Diagnostic* diagnostic);
// Takes the diagonal of dims dim1, dim2 of a view: both go, the diagonal becomes the last dimension.
Status diagonal_view(StridedView& view, int64_t offset, int64_t dim1, int64_t dim2,
                     Diagnostic* diagnostic);
// Takes elements of a view's memory by the arguments size, stride and storage_offset, which start at
// `first`. Error when one lies outside. The view is that of a whole tensor.
Status as_strided_view(const Args& args, int first, StridedView& view, Diagnostic* diagnostic);

}  // namespace sconce
