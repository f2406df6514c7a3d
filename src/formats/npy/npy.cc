#include "formats/npy/npy.h"

#include <algorithm>
#include <cstring>
#include <optional>
#include <string_view>

#include "base/checked.h"
#include "base/file.h"

namespace sconce {
namespace {

constexpr std::string_view kMagic("\x93NUMPY", 6);
constexpr uint64_t kHeaderBytesMax = 1 << 20;
constexpr size_t kRankMaxOfNumpy = 64;
constexpr uint64_t kAlignment = 64;  // of the data, as NumPy writes it

struct DTypeRow {
  std::string_view name;  // without the byte order
  DType dtype;
};
constexpr DTypeRow kDTypes[] = {
    {"b1", DType::b8},  {"i1", DType::i8},    {"u1", DType::u8},  {"i2", DType::i16},
    {"u2", DType::u16}, {"i4", DType::i32},   {"u4", DType::u32}, {"i8", DType::i64},
    {"u8", DType::u64}, {"f2", DType::f16},   {"f4", DType::f32}, {"f8", DType::f64},
    {"c8", DType::c64}, {"c16", DType::c128},
};

struct Header {
  DType dtype = DType::f32;
  bool big_endian = false, fortran_order = false;
  std::vector<int64_t> sizes;
};

// The header is a Python literal: {'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }.
class HeaderParser {
 public:
  explicit HeaderParser(std::string_view text) : text_(text) {}

  Result<Header> parse() {
    Header header;
    bool has_descr = false, has_order = false, has_shape = false;
    if (!take('{')) return wanted("'{'");
    while (!take('}')) {
      TRY(std::string_view key, quoted());
      if (!take(':')) return wanted("':'");
      if (key == "descr" && !has_descr) {
        has_descr = true;
        TRY_VOID(descr(&header));
      } else if (key == "fortran_order" && !has_order) {
        has_order = true;
        if (take("True"))
          header.fortran_order = true;
        else if (!take("False"))
          return wanted("True or False");
      } else if (key == "shape" && !has_shape) {
        has_shape = true;
        TRY_VOID(shape(&header.sizes));
      } else {
        return error(Code::invalid_file, "header: unexpected key \"{:.40}\"", key);
      }
      if (!take(',') && peek() != '}') return wanted("',' or '}'");
    }
    skip_space();
    if (at_ != text_.size()) return wanted("the end");
    if (!has_descr || !has_order || !has_shape)
      return error(Code::invalid_file, "header: \"{}\" is missing",
                   !has_descr   ? "descr"
                   : !has_order ? "fortran_order"
                                : "shape");
    return header;
  }

 private:
  Error wanted(const char* what) const {
    return error(Code::invalid_file, "header: found \"{:.20}\" at {}, wanted {}", text_.substr(at_),
                 at_, what);
  }
  void skip_space() {
    while (at_ < text_.size() && (text_[at_] == ' ' || text_[at_] == '\n' || text_[at_] == '\t'))
      at_++;
  }
  char peek() {
    skip_space();
    return at_ < text_.size() ? text_[at_] : 0;
  }
  bool take(char c) {
    if (peek() != c) return false;
    at_++;
    return true;
  }
  bool take(std::string_view word) {
    skip_space();
    if (!text_.substr(at_).starts_with(word)) return false;
    at_ += word.size();
    return true;
  }
  Result<std::string_view> quoted() {
    char quote = peek();
    if (quote != '\'' && quote != '"') return wanted("a quoted string");
    size_t end = text_.find(quote, at_ + 1);
    if (end == std::string_view::npos) return wanted("a quoted string");
    std::string_view result = text_.substr(at_ + 1, end - at_ - 1);
    if (result.find('\\') != std::string_view::npos) return wanted("a string without escapes");
    at_ = end + 1;
    return result;
  }

  Result<void> descr(Header* out) {
    if (peek() == '[')
      return error(Code::unsupported, "records are not supported, only plain numbers");
    TRY(std::string_view name, quoted());
    char order = name.empty() ? 0 : name[0];
    if (order == '<' || order == '>' || order == '|' || order == '=') {
      out->big_endian = order == '>';
      for (const DTypeRow& row : kDTypes) {
        if (row.name != name.substr(1)) continue;
        out->dtype = row.dtype;
        return {};
      }
    }
    return error(Code::unsupported,
                 "element type \"{:.40}\" is not supported, only booleans and numbers such as "
                 "\"<f4\"",
                 name);
  }

  Result<void> shape(std::vector<int64_t>* out) {
    if (!take('(')) return wanted("'('");
    bool has_comma = true;
    while (!take(')')) {
      if (!has_comma) return wanted("',' or ')'");
      skip_space();
      size_t begin = at_;
      int64_t size = 0;
      for (; at_ < text_.size() && text_[at_] >= '0' && text_[at_] <= '9'; at_++)
        if (!checked_multiply<int64_t>(size, 10, &size) ||
            !checked_add<int64_t>(size, text_[at_] - '0', &size))
          return error(Code::too_large, "header: a size exceeds 2^63 - 1");
      if (at_ == begin) return wanted("a size");
      take('L');  // long integers of Python 2
      if (out->size() == kRankMaxOfNumpy)
        return error(Code::too_large, "more than {} dimensions", kRankMaxOfNumpy);
      out->push_back(size);
      has_comma = take(',');
    }
    if (out->size() == 1 && !has_comma) return wanted("a tuple, as in (3,)");
    return {};
  }

  std::string_view text_;
  size_t at_ = 0;
};

Result<uint64_t> data_bytes(DType dtype, Span<const int64_t> sizes) {
  uint64_t bytes = dtype_bytes(dtype);
  bool empty = false;
  for (int64_t size : sizes) {
    if (size < 0) return error(Code::invalid_argument, "size {} is negative", size);
    if (size == 0)
      empty = true;
    else if (!checked_multiply<uint64_t>(bytes, uint64_t(size), &bytes))
      return error(Code::too_large, "sizes ({}) exceed 2^64 bytes", fmt::join(sizes, ", "));
  }
  return empty ? 0 : bytes;
}

// Column-major elements of `from` to row-major order.
void transpose(Bytes from, Span<const int64_t> sizes, size_t element_bytes, uint8_t* to) {
  std::vector<uint64_t> strides(sizes.size()), index(sizes.size());
  uint64_t stride = element_bytes, at = 0;
  for (size_t i = 0; i < sizes.size(); i++) {
    strides[i] = stride;
    stride *= uint64_t(sizes[i]);
  }
  for (size_t done = 0; done < from.size(); done += element_bytes) {
    std::memcpy(to + done, from.data() + at, element_bytes);
    for (size_t dim = sizes.size(); dim-- > 0;) {
      at += strides[dim];
      if (++index[dim] < uint64_t(sizes[dim])) break;
      at -= strides[dim] * uint64_t(sizes[dim]);
      index[dim] = 0;
    }
  }
}

}  // namespace

Result<NpyArray> read_npy(Bytes file) {
  if (file.size() < kMagic.size() + 4 || std::memcmp(file.data(), kMagic.data(), kMagic.size()))
    return error(Code::invalid_file, "not a .npy file: it does not begin with \"\\x93NUMPY\"");
  uint8_t major = file[6], minor = file[7];
  if (major < 1 || major > 3 || minor != 0)
    return error(Code::unsupported, "version {}.{} of .npy, wanted 1.0, 2.0 or 3.0", major, minor);
  uint64_t length_bytes = major == 1 ? 2 : 4, header_bytes = 0;
  if (!range_inside(8, length_bytes, file.size()))
    return error(Code::invalid_file, "the file ends inside the header");
  for (uint64_t i = 0; i < length_bytes; i++) header_bytes |= uint64_t(file[8 + i]) << (8 * i);
  if (header_bytes > kHeaderBytesMax)
    return error(Code::too_large, "header of {} bytes exceeds the limit of {}", header_bytes,
                 kHeaderBytesMax);
  uint64_t begin = 8 + length_bytes;
  if (!range_inside(begin, header_bytes, file.size()))
    return error(Code::invalid_file, "header of {} bytes passes the end of the file, {} bytes",
                 header_bytes, file.size());
  HeaderParser parser({reinterpret_cast<const char*>(file.data()) + begin, header_bytes});
  TRY(Header header, parser.parse());
  NpyArray array;
  array.dtype = header.dtype;
  array.sizes = std::move(header.sizes);
  Bytes data = file.subspan(begin + header_bytes);
  TRY(uint64_t bytes, data_bytes(array.dtype, array.sizes));
  if (bytes != data.size())
    return error(Code::invalid_file, "{} ({}) takes {} bytes, the file holds {}",
                 dtype_name(array.dtype), fmt::join(array.sizes, ", "), bytes, data.size());
  array.bytes = data;
  size_t element_bytes = dtype_bytes(array.dtype);
  bool transposes = header.fortran_order && array.sizes.size() > 1;
  bool swaps = header.big_endian && element_bytes > 1;
  if (data.empty() || (!transposes && !swaps)) return array;
  array.converted.resize(data.size());
  uint8_t* to = array.converted.data();
  if (transposes)
    transpose(data, array.sizes, element_bytes, to);
  else
    std::memcpy(to, data.data(), data.size());
  if (swaps) {
    // Each part of a complex number on its own.
    bool complex = dtype_category(array.dtype) == DTypeCategory::complex;
    size_t part_bytes = complex ? element_bytes / 2 : element_bytes;
    for (size_t at = 0; at < data.size(); at += part_bytes)
      std::reverse(to + at, to + at + part_bytes);
  }
  array.bytes = array.converted;
  return array;
}

namespace {

// Everything before the data.
Result<std::string> encode_header(DType dtype, Span<const int64_t> sizes, Bytes bytes) {
  std::string_view name;
  for (const DTypeRow& row : kDTypes)
    if (row.dtype == dtype) name = row.name;
  if (name.empty())
    return error(Code::unsupported, "NumPy has no element type {}; convert it to f32 first",
                 dtype_name(dtype));
  if (sizes.size() > kRankMaxOfNumpy)
    return error(Code::too_large, "{} dimensions exceed NumPy's {}", sizes.size(), kRankMaxOfNumpy);
  TRY(uint64_t wanted, data_bytes(dtype, sizes));
  if (wanted != bytes.size())
    return error(Code::invalid_argument, "{} ({}) takes {} bytes, {} are given", dtype_name(dtype),
                 fmt::join(sizes, ", "), wanted, bytes.size());
  std::string header = fmt::format("{{'descr': '{}{}', 'fortran_order': False, 'shape': ({}{}), }}",
                                   dtype_bytes(dtype) == 1 ? '|' : '<', name,
                                   fmt::join(sizes, ", "), sizes.size() == 1 ? "," : "");
  // 64 sizes of 20 digits stay far below the 65535 bytes of version 1.
  uint64_t total = align_up(kMagic.size() + 4 + header.size() + 1, kAlignment);
  header.resize(total - kMagic.size() - 4 - 1, ' ');
  header += '\n';
  std::string result(kMagic);
  result += {'\1', '\0', char(header.size() & 0xff), char(header.size() >> 8)};
  return result + header;
}

}  // namespace

Result<void> write_npy(const std::string& path, DType dtype, Span<const int64_t> sizes,
                       Bytes bytes) {
  TRY(std::string header, encode_header(dtype, sizes, bytes));
  Bytes pieces[] = {{reinterpret_cast<const uint8_t*>(header.data()), header.size()}, bytes};
  return save_file(path, pieces);
}

Result<std::vector<uint8_t>> encode_npy(DType dtype, Span<const int64_t> sizes, Bytes bytes) {
  TRY(std::string header, encode_header(dtype, sizes, bytes));
  std::vector<uint8_t> result(header.begin(), header.end());
  result.insert(result.end(), bytes.begin(), bytes.end());
  return result;
}

}  // namespace sconce
