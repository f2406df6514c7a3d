// embedding_byte, _4bit, _2bit: rows of a quantised table, named by indices, as numbers. Smaller
// integers lie in bytes: of two nibbles the first column is the upper one, of four pairs of bits
// the first is the lowest; both are stored with an offset of 8 and 2.
#include "ops/index/indices.h"
#include "ops/promote.h"
#include "ops/quantized/affine.h"

namespace sconce {
namespace {

// weight, scales, zero_points, quant_min, quant_max, indices, dtype (when given).
template <int bits>
struct Table {
  static constexpr int kPacked = 8 / bits;
  static constexpr const char* kName = bits == 8   ? "embedding_byte"
                                       : bits == 4 ? "embedding_4bit"
                                                   : "embedding_2bit";

  static Status shape(const Args& args, Span<OutMeta> outs, Diagnostic* diagnostic) {
    const Tensor &weight = args.tensor(0), &scales = args.tensor(1), &indices = args.tensor(5);
    const Tensor* zeros = args.find_tensor(2);
    bool bytes = bits == 8 ? weight.dtype == DType::i8 || weight.dtype == DType::u8
                           : weight.dtype == DType::u8;
    if (!bytes || weight.rank != 2)
      return SCONCE_FAIL(Code::invalid_argument, diagnostic,
                         "%s: weight of %s, rank %d; bytes of rank 2 are wanted", kName,
                         dtype_name(weight.dtype), weight.rank);
    SCONCE_TRY_STATUS(check_index_type(kName, indices, diagnostic));
    if (indices.rank >= kRankMax)
      return SCONCE_FAIL(Code::invalid_argument, diagnostic, "%s: indices of rank %d", kName,
                         indices.rank);
    int64_t width = int64_t(weight.sizes[1]) * kPacked;
    for (const Tensor* tensor : {&scales, zeros}) {
      if (!tensor) continue;
      if (!is_floating(tensor->dtype) || tensor->rank < 1 || tensor->rank > 2 ||
          tensor->sizes[0] != weight.sizes[0] ||
          (tensor->rank == 2 && (tensor->sizes[1] < 1 || width % tensor->sizes[1] != 0)))
        return SCONCE_FAIL(
            Code::invalid_argument, diagnostic,
            "%s: %s of %s, rank %d; floating numbers for %d rows, or for groups that "
            "divide %lld columns, are wanted",
            kName, tensor == zeros ? "zero points" : "scales", dtype_name(tensor->dtype),
            tensor->rank, int(weight.sizes[0]), (long long)width);
    }
    if (zeros && (zeros->dtype != scales.dtype || element_count(*zeros) != element_count(scales)))
      return SCONCE_FAIL(Code::invalid_argument, diagnostic,
                         "%s: %lld zero points of %s for %lld scales of %s", kName,
                         (long long)element_count(*zeros), dtype_name(zeros->dtype),
                         (long long)element_count(scales), dtype_name(scales.dtype));
    DType dtype = scales.dtype;
    if (args.input_count > 6) SCONCE_TRY_STATUS(dtype_argument(args, 6, dtype, &dtype, diagnostic));
    if (!is_floating(dtype))
      return SCONCE_FAIL(Code::invalid_argument, diagnostic, "%s: result of %s", kName,
                         dtype_name(dtype));
    set_like(outs[0], indices, dtype);
    outs[0].sizes[outs[0].rank++] = width;
    return kOk;
  }

  static double unpacked(const Tensor& weight, int64_t at, int64_t column) {
    if (bits == 8)
      return weight.dtype == DType::i8 ? double(weight.as<int8_t>()[at])
                                       : double(weight.as<uint8_t>()[at]);
    int byte = weight.as<uint8_t>()[at];
    if (bits == 4) return double((column % 2 ? byte & 15 : byte >> 4) - 8);
    return double((byte >> (column % 4 * 2) & 3) - 2);
  }

  static Status run(const Args& args, KernelContext& context) {
    const Tensor &weight = args.tensor(0), &scales = args.tensor(1), &indices = args.tensor(5);
    const Tensor* zeros = args.find_tensor(2);
    Tensor& out = args.out();
    for (const Tensor* tensor :
         {&weight, &scales, zeros, &indices, static_cast<const Tensor*>(&out)})
      if (tensor && !is_contiguous(*tensor))
        return SCONCE_FAIL(Code::unsupported, context.diagnostic,
                           "%s: a tensor that is not in order in memory", kName);
    int64_t width = int64_t(weight.sizes[1]) * kPacked, count = element_count(indices);
    int64_t groups = scales.rank == 2 ? scales.sizes[1] : 1, group = groups ? width / groups : 1;
    int64_t parameter_bytes = int64_t(dtype_bytes(scales.dtype));
    for (int64_t i = 0; i < count; i++) {
      int64_t row = read_index(indices, i);
      if (row < 0 || row >= weight.sizes[0])
        return index_out_of_range(row, weight.sizes[0], 0, context.diagnostic);
      for (int64_t first = 0; first < width;) {
        int64_t n = width - first < kBlockCount ? width - first : kBlockCount;
        int64_t left = group - first % group;
        n = n < left ? n : left;
        double values[kBlockCount], scale, zero = 0;
        int64_t parameter = (row * groups + first / group) * parameter_bytes;
        load_elements<double>(&scale, scales.as<char>() + parameter, 1, 1, scales.dtype);
        if (zeros) load_elements<double>(&zero, zeros->as<char>() + parameter, 1, 1, zeros->dtype);
        for (int64_t k = 0; k < n; k++) {
          int64_t column = first + k;
          double q = unpacked(weight, row * weight.sizes[1] + column / kPacked, column);
          values[k] = rounded(scales.dtype, rounded(scales.dtype, q - zero) * scale);
        }
        store_elements<double>(
            out.as<char>() + (i * width + first) * int64_t(dtype_bytes(out.dtype)), 1, values,
            int(n), out.dtype);
        first += n;
      }
    }
    return kOk;
  }
};

}  // namespace

KERNEL(embedding_byte) = {"quantized_decomposed::embedding_byte.out", "ttTiit>t", Table<8>::shape,
                          Table<8>::run};
KERNEL(embedding_byte_dtype) = {"quantized_decomposed::embedding_byte.dtype_out", "ttTiitI>t",
                                Table<8>::shape, Table<8>::run};
KERNEL(embedding_4bit) = {"quantized_decomposed::embedding_4bit.out", "ttTiit>t", Table<4>::shape,
                          Table<4>::run};
KERNEL(embedding_4bit_dtype) = {"quantized_decomposed::embedding_4bit.dtype_out", "ttTiitI>t",
                                Table<4>::shape, Table<4>::run};
KERNEL(embedding_2bit) = {"quantized_decomposed::embedding_2bit.out", "ttTiit>t", Table<2>::shape,
                          Table<2>::run};
KERNEL(embedding_2bit_dtype) = {"quantized_decomposed::embedding_2bit.dtype_out", "ttTiitI>t",
                                Table<2>::shape, Table<2>::run};

}  // namespace sconce
