// Matrix products: mm, bmm, addmm, baddbmm, linear, and the block loop behind them.
#include <cstring>

#include "ops/linear/gemm.h"

namespace sconce {
namespace {

constexpr int kRows = 4;          // of a register tile
constexpr int kPanels = 4;        // panels packed at once
constexpr int kDepth = 128;       // of K per block
constexpr int64_t kHeight = 128;  // rows of A per block

template <class T>
struct Vector;
template <>
struct Vector<float> { typedef float type __attribute__((vector_size(16))); };
template <>
struct Vector<double> { typedef double type __attribute__((vector_size(16))); };
template <>
struct Vector<uint64_t> { typedef uint64_t type __attribute__((vector_size(16))); };

template <class T> constexpr int kLanes = 16 / int(sizeof(T));
template <class T> constexpr int kPanelWidth = 2 * kLanes<T>;
template <class T> constexpr int kBlockWidth = kPanels * kPanelWidth<T>;

template <class T>
typename Vector<T>::type load_vector(const T* from) {
  typename Vector<T>::type vector;
  memcpy(&vector, from, sizeof(vector));
  return vector;
}
template <class T>
void add_vector(T* to, typename Vector<T>::type vector) {
  vector += load_vector(to);
  memcpy(to, &vector, sizeof(vector));
}

// Integers are computed unsigned, so that they wrap.
template <class T>
void load_block(T* to, const void* from, int64_t stride, int count, DType dtype) {
  load_elements(reinterpret_cast<std::conditional_t<std::is_same_v<T, uint64_t>, int64_t, T>*>(to),
                from, stride, count, dtype);
}
template <class T>
void store_block(void* to, int64_t stride, const T* from, int count, DType dtype) {
  store_elements(
      to, stride,
      reinterpret_cast<const std::conditional_t<std::is_same_v<T, uint64_t>, int64_t, T>*>(from),
      count, dtype);
}

template <class T>
constexpr DType kComputeDType = std::is_same_v<T, float>    ? DType::f32
                                : std::is_same_v<T, double> ? DType::f64
                                                            : DType::i64;

const char* element_at(const Matrix& matrix, int64_t row, int64_t column) {
  return static_cast<const char*>(matrix.data) +
         (row * matrix.row_stride + column * matrix.column_stride) *
             int64_t(dtype_bytes(matrix.dtype));
}

// sums[r][0 .. panel) += a[r] . b for four rows; b is a panel of `depth` rows.
template <class T>
void add_tile(const T* const* a, const T* b, int depth, T* sums, int64_t stride) {
  using V = typename Vector<T>::type;
  constexpr int kLane = kLanes<T>;
  const T *a0 = a[0], *a1 = a[1], *a2 = a[2], *a3 = a[3];
  V s00{}, s01{}, s10{}, s11{}, s20{}, s21{}, s30{}, s31{};
  for (int k = 0; k < depth; k++) {
    V b0 = load_vector(b), b1 = load_vector(b + kLane);
    s00 += a0[k] * b0;
    s01 += a0[k] * b1;
    s10 += a1[k] * b0;
    s11 += a1[k] * b1;
    s20 += a2[k] * b0;
    s21 += a2[k] * b1;
    s30 += a3[k] * b0;
    s31 += a3[k] * b1;
    b += 2 * kLane;
  }
  add_vector(sums, s00);
  add_vector(sums + kLane, s01);
  add_vector(sums + stride, s10);
  add_vector(sums + stride + kLane, s11);
  add_vector(sums + 2 * stride, s20);
  add_vector(sums + 2 * stride + kLane, s21);
  add_vector(sums + 3 * stride, s30);
  add_vector(sums + 3 * stride + kLane, s31);
}

template <class T>
void add_row(const T* a, const T* b, int depth, T* sums) {
  using V = typename Vector<T>::type;
  constexpr int kLane = kLanes<T>;
  V s0{}, s1{};
  for (int k = 0; k < depth; k++) {
    s0 += a[k] * load_vector(b);
    s1 += a[k] * load_vector(b + kLane);
    b += 2 * kLane;
  }
  add_vector(sums, s0);
  add_vector(sums + kLane, s1);
}

// Columns [n, n + count) of row m from their sums.
template <class T>
void store_row(const Gemm& g, int64_t m, int64_t n, int count, T* sums) {
  T alpha, beta;
  if constexpr (std::is_floating_point_v<T>) alpha = T(g.alpha.real), beta = T(g.beta.real);
  else alpha = T(g.alpha.integer), beta = T(g.beta.integer);
  if (alpha != T(1))
    for (int j = 0; j < count; j++) sums[j] *= alpha;
  if (g.added.data && beta != T(0)) {
    T added[kBlockWidth<T>];
    load_block(added, element_at(g.added, m, n), g.added.column_stride, count, g.added.dtype);
    for (int j = 0; j < count; j++) sums[j] += beta * added[j];
  }
  char* to = static_cast<char*>(g.out) + (m * g.out_row_stride + n * g.out_column_stride) *
                                             int64_t(dtype_bytes(g.out_dtype));
  store_block(to, g.out_column_stride, sums, count, g.out_dtype);
}

// B block as panels of kPanelWidth columns.
template <class T>
void pack_block(const Gemm& g, int64_t n, int columns, int64_t k, int depth, T* to) {
  constexpr int kWidth = kPanelWidth<T>;
  for (int first = 0; first < columns; first += kWidth, to += depth * kWidth) {
    int count = columns - first < kWidth ? columns - first : kWidth;
    if (g.pack_columns) {
      g.pack_columns(g.state, n + first, count, k, depth, to, kWidth);
      continue;
    }
    const char* from = element_at(g.b, k, n + first);
    if (g.b.dtype == kComputeDType<T> && g.b.row_stride == 1 && count == kWidth) {
      // Transposed, as weights of linear are.
      const T* source = reinterpret_cast<const T*>(from);
      int64_t stride = g.b.column_stride;
      for (int i = 0; i < depth; i++)
        for (int j = 0; j < kWidth; j++) to[i * kWidth + j] = source[j * stride + i];
    } else if (g.b.column_stride == 1 || g.b.row_stride != 1) {
      int64_t row_bytes = g.b.row_stride * int64_t(dtype_bytes(g.b.dtype));
      for (int i = 0; i < depth; i++) {
        T* row = to + i * kWidth;
        if (g.b.dtype == kComputeDType<T> && g.b.column_stride == 1)
          memcpy(row, from + i * row_bytes, sizeof(T) * size_t(count));
        else
          load_block(row, from + i * row_bytes, g.b.column_stride, count, g.b.dtype);
        for (int j = count; j < kWidth; j++) row[j] = T(0);
      }
    } else {
      int64_t column_bytes = g.b.column_stride * int64_t(dtype_bytes(g.b.dtype));
      T column[kDepth];
      for (int j = 0; j < kWidth; j++) {
        if (j < count) load_block(column, from + j * column_bytes, 1, depth, g.b.dtype);
        for (int i = 0; i < depth; i++) to[i * kWidth + j] = j < count ? column[i] : T(0);
      }
    }
  }
}

int64_t round_up(int64_t value, int64_t multiple) {
  return (value + multiple - 1) / multiple * multiple;
}
int64_t min_of(int64_t a, int64_t b) { return a < b ? a : b; }

// Elements of the three parts of scratch.
struct Parts { int64_t b, a, sums, width; };
template <class T>
Parts parts_of(int64_t m, int64_t n, int64_t k) {
  int64_t depth = min_of(k < 1 ? 1 : k, kDepth);
  int64_t width = min_of(round_up(n < 1 ? 1 : n, kPanelWidth<T>), kBlockWidth<T>);
  int64_t height = min_of(round_up(m < 1 ? 1 : m, kRows), kHeight);
  return {depth * width, round_up(kRows * depth, kLanes<T>), height * width, width};
}

template <class T>
void gemm_typed(const Gemm& g, uint8_t* scratch) {
  constexpr int kWidth = kPanelWidth<T>;
  Parts parts = parts_of<T>(g.m, g.n, g.k);
  T* packed_b = reinterpret_cast<T*>(scratch);
  T* packed_a = packed_b + parts.b;
  T* sums = packed_a + parts.a;
  bool direct = !g.pack_row && g.a.dtype == kComputeDType<T> && g.a.column_stride == 1;
  for (int64_t m0 = 0; m0 < g.m; m0 += kHeight) {
    int64_t height = min_of(g.m - m0, kHeight);
    for (int64_t n0 = 0; n0 < g.n; n0 += parts.width) {
      int columns = int(min_of(g.n - n0, parts.width));
      memset(sums, 0, sizeof(T) * size_t(round_up(height, kRows) * parts.width));
      for (int64_t k0 = 0; k0 < g.k; k0 += kDepth) {
        int depth = int(min_of(g.k - k0, kDepth));
        pack_block(g, n0, columns, k0, depth, packed_b);
        for (int64_t i = 0; i < height; i += kRows) {
          int rows = int(min_of(height - i, kRows));
          const T* a[kRows];
          for (int r = 0; r < kRows; r++) {
            int64_t m = m0 + i + (r < rows ? r : 0);  // missing rows repeat the first; not stored
            a[r] = packed_a + r * depth;
            if (direct) a[r] = reinterpret_cast<const T*>(element_at(g.a, m, k0));
            else if (r >= rows) a[r] = a[0];
            else if (g.pack_row) g.pack_row(g.state, m, k0, depth, packed_a + r * depth);
            else load_block(packed_a + r * depth, element_at(g.a, m, k0), g.a.column_stride, depth,
                            g.a.dtype);
          }
          T* row_sums = sums + i * parts.width;
          for (int j = 0; j < columns; j += kWidth) {
            const T* panel = packed_b + int64_t(j) * depth;
            if (rows == 1) add_row(a[0], panel, depth, row_sums + j);
            else add_tile(a, panel, depth, row_sums + j, parts.width);
          }
        }
      }
      for (int64_t i = 0; i < height; i++)
        store_row(g, m0 + i, n0, columns, sums + i * parts.width);
    }
  }
}

// Few rows against a transposed matrix (a linear layer for one token): dot products without packing.
template <class T>
void gemm_rows(const Gemm& g) {
  using V = typename Vector<T>::type;
  constexpr int kLane = kLanes<T>, kColumns = 4;
  for (int64_t m = 0; m < g.m; m++) {
    const T* a = reinterpret_cast<const T*>(element_at(g.a, m, 0));
    for (int64_t n = 0; n < g.n; n += kColumns) {
      int columns = int(min_of(g.n - n, kColumns));
      const T* b[kColumns];
      for (int j = 0; j < kColumns; j++)
        b[j] = reinterpret_cast<const T*>(element_at(g.b, 0, n + (j < columns ? j : 0)));
      V s0{}, s1{}, s2{}, s3{};
      int64_t k = 0;
      for (; k + kLane <= g.k; k += kLane) {
        V x = load_vector(a + k);
        s0 += x * load_vector(b[0] + k);
        s1 += x * load_vector(b[1] + k);
        s2 += x * load_vector(b[2] + k);
        s3 += x * load_vector(b[3] + k);
      }
      T sums[kColumns] = {};
      for (int lane = 0; lane < kLane; lane++) {
        sums[0] += s0[lane];
        sums[1] += s1[lane];
        sums[2] += s2[lane];
        sums[3] += s3[lane];
      }
      for (; k < g.k; k++)
        for (int j = 0; j < kColumns; j++) sums[j] += a[k] * b[j][k];
      store_row(g, m, n, columns, sums);
    }
  }
}

}  // namespace

uint64_t gemm_scratch_bytes(Compute compute, int64_t m, int64_t n, int64_t k) {
  Parts parts = compute == Compute::f32 ? parts_of<float>(m, n, k) : parts_of<double>(m, n, k);
  return uint64_t(parts.b + parts.a + parts.sums) * compute_bytes(compute);
}

void gemm(const Gemm& g, Compute compute, uint8_t* scratch) {
  if (g.m <= 0 || g.n <= 0) return;
  bool rows = g.m < kRows && !g.pack_row && !g.pack_columns && g.a.column_stride == 1 &&
              g.b.row_stride == 1 && g.a.dtype == g.b.dtype && g.k > 0;
  switch (compute) {
    case Compute::f32:
      if (rows && g.a.dtype == DType::f32) return gemm_rows<float>(g);
      return gemm_typed<float>(g, scratch);
    case Compute::f64:
      if (rows && g.a.dtype == DType::f64) return gemm_rows<double>(g);
      return gemm_typed<double>(g, scratch);
    case Compute::i64: return gemm_typed<uint64_t>(g, scratch);
  }
}

Status check_same_dtype(const char* what, const Tensor& a, const Tensor& b,
                        Diagnostic* diagnostic) {
  if (a.dtype == b.dtype) return kOk;
  return SCONCE_FAIL(Code::invalid_argument, diagnostic, "%s of %s and %s: one type wanted", what,
                     dtype_name(a.dtype), dtype_name(b.dtype));
}
Status check_arithmetic_dtype(const char* what, DType dtype, Diagnostic* diagnostic) {
  if (dtype == DType::b8 || dtype_category(dtype) == DTypeCategory::complex ||
      dtype == DType::f8e5m2 || dtype == DType::f8e4m3fn)
    return SCONCE_FAIL(Code::unsupported, diagnostic, "%s is not defined for %s", what,
                       dtype_name(dtype));
  return kOk;
}
Status check_floating_dtype(const char* what, DType dtype, Diagnostic* diagnostic) {
  SCONCE_TRY_STATUS(check_arithmetic_dtype(what, dtype, diagnostic));
  if (!is_floating(dtype))
    return SCONCE_FAIL(Code::unsupported, diagnostic, "%s of %s: floating type wanted", what,
                       dtype_name(dtype));
  return kOk;
}
Status check_out_dtype(const Tensor& out, DType dtype, Diagnostic* diagnostic) {
  if (out.dtype == dtype) return kOk;
  return SCONCE_FAIL(Code::invalid_argument, diagnostic, "out has type %s, the result has %s",
                     dtype_name(out.dtype), dtype_name(dtype));
}

namespace {

Matrix matrix_of(const Tensor& tensor, int64_t offset, int64_t row_stride, int64_t column_stride) {
  return {tensor.as<char>() + offset * int64_t(dtype_bytes(tensor.dtype)), tensor.dtype, row_stride,
          column_stride};
}

// Strides of `tensor` when it is broadcast to `rank` dimensions.
Strides broadcast_strides(const Tensor& tensor, int rank) {
  Strides strides = strides_of(tensor), result{};
  for (int i = 0; i < rank; i++) {
    int at = i - (rank - tensor.rank);
    result.of[i] = at < 0 || tensor.sizes[at] == 1 ? 0 : strides[at];
  }
  return result;
}

Status check_rank(const char* what, const char* name, const Tensor& tensor, int rank,
                  Diagnostic* diagnostic) {
  if (tensor.rank == rank) return kOk;
  return SCONCE_FAIL(Code::invalid_argument, diagnostic, "%s: %s has rank %d, %d wanted", what, name,
                     tensor.rank, rank);
}

Status check_expands(const char* what, const Tensor& tensor, const OutMeta& to,
                     Diagnostic* diagnostic) {
  if (tensor.rank > to.rank)
    return SCONCE_FAIL(Code::invalid_argument, diagnostic, "%s: rank %d does not expand to %d", what,
                       tensor.rank, to.rank);
  for (int i = 0; i < tensor.rank; i++) {
    int64_t wanted = to.sizes[to.rank - tensor.rank + i];
    if (tensor.sizes[i] != 1 && tensor.sizes[i] != wanted)
      return SCONCE_FAIL(Code::invalid_argument, diagnostic,
                         "%s: size %d of dimension %d does not expand to %lld", what,
                         int(tensor.sizes[i]), i, (long long)wanted);
  }
  return kOk;
}

// Product of matrices of rank 2, or batches of rank 3. a, b: positions of the operands; `added`: of
// the tensor that is added, -1 for none (then alpha and beta do not exist either). `of_bytes`: of
// bytes of any sign, to sums of 32 bits.
struct ProductForm { const char* what; int rank, a, b, added; bool of_bytes = false; };
constexpr ProductForm kIntMm = {"_int_mm", 2, 0, 1, -1, true};
constexpr ProductForm kMm = {"mm", 2, 0, 1, -1};
constexpr ProductForm kBmm = {"bmm", 3, 0, 1, -1};
constexpr ProductForm kAddmm = {"addmm", 2, 1, 2, 0};
constexpr ProductForm kBaddbmm = {"baddbmm", 3, 1, 2, 0};

template <const ProductForm& form>
DType product_dtype(const Args& args) {
  return form.of_bytes ? DType::i32 : args.tensor(form.a).dtype;
}

template <const ProductForm& form>
Status product_shape(const Args& args, Span<OutMeta> outs, Diagnostic* diagnostic) {
  const Tensor &a = args.tensor(form.a), &b = args.tensor(form.b);
  SCONCE_TRY_STATUS(check_rank(form.what, "first matrix", a, form.rank, diagnostic));
  SCONCE_TRY_STATUS(check_rank(form.what, "second matrix", b, form.rank, diagnostic));
  if constexpr (form.of_bytes) {
    for (const Tensor* x : {&a, &b})
      if (x->dtype != DType::i8 && x->dtype != DType::u8)
        return SCONCE_FAIL(Code::invalid_argument, diagnostic, "%s of %s: i8 or u8 is wanted",
                           form.what, dtype_name(x->dtype));
  } else {
    SCONCE_TRY_STATUS(check_same_dtype(form.what, a, b, diagnostic));
    SCONCE_TRY_STATUS(check_arithmetic_dtype(form.what, a.dtype, diagnostic));
  }
  constexpr int row = form.rank - 2, column = form.rank - 1;
  if (a.sizes[column] != b.sizes[row])
    return SCONCE_FAIL(Code::invalid_argument, diagnostic,
                       "%s: %d columns of the first matrix, %d rows of the second", form.what,
                       int(a.sizes[column]), int(b.sizes[row]));
  if (form.rank == 3 && a.sizes[0] != b.sizes[0])
    return SCONCE_FAIL(Code::invalid_argument, diagnostic, "%s: batches of %d and %d", form.what,
                       int(a.sizes[0]), int(b.sizes[0]));
  OutMeta& out = outs[0];
  out.dtype = product_dtype<form>(args);
  out.rank = form.rank;
  out.sizes[0] = a.sizes[0];
  out.sizes[row] = a.sizes[row];
  out.sizes[column] = b.sizes[column];
  if constexpr (form.added >= 0) {
    const Tensor& added = args.tensor(form.added);
    SCONCE_TRY_STATUS(check_same_dtype(form.what, added, a, diagnostic));
    SCONCE_TRY_STATUS(check_expands(form.what, added, out, diagnostic));
  }
  return kOk;
}

template <const ProductForm& form>
uint64_t product_scratch(const Args& args) {
  const Tensor &a = args.tensor(form.a), &b = args.tensor(form.b);
  return gemm_scratch_bytes(compute_of(product_dtype<form>(args)),
                            a.sizes[form.rank - 2], b.sizes[form.rank - 1],
                            a.sizes[form.rank - 1]);
}

template <const ProductForm& form>
Status product_run(const Args& args, KernelContext& context) {
  const Tensor &a = args.tensor(form.a), &b = args.tensor(form.b);
  Tensor& out = args.out();
  SCONCE_TRY_STATUS(check_out_dtype(out, product_dtype<form>(args), context.diagnostic));
  constexpr int row = form.rank - 2, column = form.rank - 1;
  Strides as = strides_of(a), bs = strides_of(b), os = strides_of(out), added_strides{};
  if constexpr (form.added >= 0)
    added_strides = broadcast_strides(args.tensor(form.added), form.rank);
  int64_t batches = form.rank == 3 ? a.sizes[0] : 1;
  for (int64_t batch = 0; batch < batches; batch++) {
    auto offset = [&](const Strides& strides) { return form.rank == 3 ? batch * strides[0] : 0; };
    Gemm g;
    g.m = a.sizes[row];
    g.n = b.sizes[column];
    g.k = a.sizes[column];
    g.a = matrix_of(a, offset(as), as[row], as[column]);
    g.b = matrix_of(b, offset(bs), bs[row], bs[column]);
    g.out = out.as<char>() + offset(os) * int64_t(dtype_bytes(out.dtype));
    g.out_dtype = out.dtype;
    g.out_row_stride = os[row];
    g.out_column_stride = os[column];
    if constexpr (form.added >= 0) {
      g.added = matrix_of(args.tensor(form.added), offset(added_strides), added_strides[row],
                          added_strides[column]);
      g.beta = factor_argument(args, 3);
      g.alpha = factor_argument(args, 4);
    }
    gemm(g, compute_of(out.dtype), context.scratch.data());
  }
  return kOk;
}

// linear: input [..., K], weight [N, K] or [K], bias [N] or one number.
Status linear_shape(const Args& args, Span<OutMeta> outs, Diagnostic* diagnostic) {
  const Tensor &x = args.tensor(0), &weight = args.tensor(1);
  SCONCE_TRY_STATUS(check_same_dtype("linear", x, weight, diagnostic));
  SCONCE_TRY_STATUS(check_arithmetic_dtype("linear", x.dtype, diagnostic));
  if (x.rank == 0 || weight.rank == 0 || weight.rank > 2)
    return SCONCE_FAIL(Code::invalid_argument, diagnostic,
                       "linear: input of rank %d, weight of rank %d; at least 1, and 1 or 2 wanted",
                       x.rank, weight.rank);
  if (x.sizes[x.rank - 1] != weight.sizes[weight.rank - 1])
    return SCONCE_FAIL(Code::invalid_argument, diagnostic,
                       "linear: last size of the input is %d, of the weight %d",
                       int(x.sizes[x.rank - 1]), int(weight.sizes[weight.rank - 1]));
  set_like(outs[0], x);
  if (weight.rank == 1) outs[0].rank--;
  else outs[0].sizes[x.rank - 1] = weight.sizes[0];
  if (const Tensor* bias = args.find_tensor(2)) {
    SCONCE_TRY_STATUS(check_same_dtype("linear", *bias, x, diagnostic));
    int64_t features = weight.rank == 1 ? 1 : weight.sizes[0];
    if (bias->rank > 1 || (bias->rank == 1 && bias->sizes[0] != features && bias->sizes[0] != 1))
      return SCONCE_FAIL(Code::invalid_argument, diagnostic,
                         "linear: bias of rank %d and size %d, 1 and %lld wanted", bias->rank,
                         bias->rank == 0 ? 1 : int(bias->sizes[0]), (long long)features);
  }
  return kOk;
}

uint64_t linear_scratch(const Args& args) {
  const Tensor &x = args.tensor(0), &weight = args.tensor(1);
  int64_t rows = 1;  // the input may be empty and still have rows
  for (int i = 0; i < x.rank - 1; i++) rows *= x.sizes[i];
  return gemm_scratch_bytes(compute_of(x.dtype), rows, weight.rank == 1 ? 1 : weight.sizes[0],
                            x.sizes[x.rank - 1]);
}

Status linear_run(const Args& args, KernelContext& context) {
  const Tensor &x = args.tensor(0), &weight = args.tensor(1);
  Tensor& out = args.out();
  SCONCE_TRY_STATUS(check_out_dtype(out, x.dtype, context.diagnostic));
  if (element_count(out) == 0) return kOk;
  Strides xs = strides_of(x), ws = strides_of(weight), os = strides_of(out);
  int leading = x.rank - 1;
  Gemm g;
  g.k = x.sizes[leading];
  g.n = weight.rank == 1 ? 1 : weight.sizes[0];
  g.b = matrix_of(weight, 0, weight.rank == 1 ? ws[0] : ws[1], weight.rank == 1 ? 0 : ws[0]);
  if (const Tensor* bias = args.find_tensor(2))
    g.added = matrix_of(*bias, 0, 0, bias->rank == 1 && bias->sizes[0] != 1 ? 1 : 0);
  g.out_dtype = out.dtype;
  g.out_column_stride = weight.rank == 1 ? 0 : os[leading];
  // Leading dimensions that walk on evenly in input and out are one dimension of rows.
  int64_t rows = 1;
  int64_t x_row = 0, out_row = 0;
  int first = leading;
  while (first > 0) {
    int dim = first - 1;
    if (rows > 1 && (xs[dim] != rows * x_row || os[dim] != rows * out_row) && x.sizes[dim] != 1)
      break;
    if (rows == 1) x_row = xs[dim], out_row = os[dim];
    rows *= x.sizes[dim];
    first--;
  }
  g.m = rows;
  g.out_row_stride = out_row;
  int64_t index[kRankMax] = {};
  for (;;) {
    int64_t x_offset = 0, out_offset = 0;
    for (int i = 0; i < first; i++) {
      x_offset += index[i] * xs[i];
      out_offset += index[i] * os[i];
    }
    g.a = matrix_of(x, x_offset, x_row, xs[leading]);
    g.out = out.as<char>() + out_offset * int64_t(dtype_bytes(out.dtype));
    gemm(g, compute_of(x.dtype), context.scratch.data());
    int i = first - 1;
    for (; i >= 0; i--) {
      if (++index[i] < x.sizes[i]) break;
      index[i] = 0;
    }
    if (i < 0) return kOk;
  }
}

}  // namespace

KERNEL(mm) = {"aten::mm.out", "tt>t", product_shape<kMm>, product_run<kMm>, product_scratch<kMm>};
KERNEL(_int_mm) = {"aten::_int_mm.out", "tt>t", product_shape<kIntMm>, product_run<kIntMm>,
                   product_scratch<kIntMm>};
KERNEL(bmm) = {"aten::bmm.out", "tt>t", product_shape<kBmm>, product_run<kBmm>,
               product_scratch<kBmm>};
KERNEL(addmm) = {"aten::addmm.out", "tttnn>t", product_shape<kAddmm>, product_run<kAddmm>,
                 product_scratch<kAddmm>};
KERNEL(baddbmm) = {"aten::baddbmm.out", "tttnn>t", product_shape<kBaddbmm>, product_run<kBaddbmm>,
                   product_scratch<kBaddbmm>};
KERNEL(linear) = {"aten::linear.out", "ttT>t", linear_shape, linear_run, linear_scratch};

}  // namespace sconce
