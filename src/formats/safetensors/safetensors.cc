#include "formats/safetensors/safetensors.h"

#include <algorithm>
#include <optional>

#include <simdjson.h>

#include "base/checked.h"
#include "base/file.h"

namespace sconce {
namespace {

using Element = simdjson::dom::element;

// In the order of the format, which is the order of alignment; the data stands in the reverse one.
struct DTypeRow {
  std::string_view name;
  DType dtype;
};
constexpr DTypeRow kDTypes[] = {
    {"BOOL", DType::b8},
    {"U8", DType::u8},
    {"I8", DType::i8},
    {"F8_E5M2", DType::f8e5m2},
    {"F8_E4M3", DType::f8e4m3fn},
    {"I16", DType::i16},
    {"U16", DType::u16},
    {"F16", DType::f16},
    {"BF16", DType::bf16},
    {"I32", DType::i32},
    {"U32", DType::u32},
    {"F32", DType::f32},
    {"C64", DType::c64},
    {"F64", DType::f64},
    {"I64", DType::i64},
    {"U64", DType::u64},
};

std::optional<DType> to_dtype(std::string_view name) {
  for (const DTypeRow& row : kDTypes)
    if (row.name == name) return row.dtype;
  return std::nullopt;
}

// Place in kDTypes, or -1.
int dtype_rank(DType dtype) {
  for (int i = 0; i < int(std::size(kDTypes)); i++)
    if (kDTypes[i].dtype == dtype) return i;
  return -1;
}

// Bytes of all elements; the product is checked factor by factor, as the reference does.
Result<uint64_t> data_bytes(DType dtype, Span<const int64_t> sizes) {
  uint64_t bytes = 1;
  for (int64_t size : sizes) {
    if (size < 0) return error(Code::invalid_argument, "size {} is negative", size);
    if (!checked_multiply(bytes, uint64_t(size), &bytes))
      return error(Code::too_large, "shape [{}] has more than 2^64 elements",
                   fmt::join(sizes, ", "));
  }
  if (!checked_multiply<uint64_t>(bytes, dtype_bytes(dtype), &bytes))
    return error(Code::too_large, "shape [{}] has more than 2^64 bytes", fmt::join(sizes, ", "));
  return bytes;
}

struct Placed {
  TensorEntry entry;
  uint64_t begin = 0, end = 0;
};

Result<std::vector<int64_t>> read_naturals(Element element, const char* what) {
  simdjson::dom::array items;
  if (element.get_array().get(items) != simdjson::SUCCESS)
    return error(Code::invalid_file, "{} is not a list", what);
  std::vector<int64_t> result;
  for (Element item : items) {
    int64_t value;
    if (!item.is_int64() || item.get_int64().get(value) != simdjson::SUCCESS || value < 0)
      return error(Code::invalid_file, "{}[{}] is not a number from 0 to 2^63 - 1", what,
                   result.size());
    result.push_back(value);
  }
  return result;
}

Result<Placed> read_tensor(std::string_view name, Element element) {
  simdjson::dom::object members;
  if (element.get_object().get(members) != simdjson::SUCCESS)
    return error(Code::invalid_file, "is not an object");
  std::optional<Element> dtype, shape, offsets;
  for (auto [key, value] : members) {
    auto* target = key == "dtype"          ? &dtype
                   : key == "shape"        ? &shape
                   : key == "data_offsets" ? &offsets
                                           : nullptr;
    if (!target) continue;  // unknown members are allowed
    if (*target) return error(Code::invalid_file, "\"{}\" stands there twice", key);
    *target = value;
  }
  if (!dtype || !shape || !offsets)
    return error(Code::invalid_file, "\"{}\" is missing",
                 !dtype   ? "dtype"
                 : !shape ? "shape"
                          : "data_offsets");
  Placed placed;
  std::string_view dtype_text;
  if (dtype->get_string().get(dtype_text) != simdjson::SUCCESS)
    return error(Code::invalid_file, "dtype is not a string");
  auto found = to_dtype(dtype_text);
  if (!found)
    return error(Code::unsupported,
                 "dtype \"{:.40}\" is not one of BOOL, U8, I8, F8_E5M2, "
                 "F8_E4M3, I16, U16, F16, BF16, I32, U32, F32, C64, F64, I64, U64",
                 dtype_text);
  TRY(auto range, read_naturals(*offsets, "data_offsets"));
  if (range.size() != 2 || range[0] > range[1])
    return error(Code::invalid_file, "data_offsets is [{}], wanted [begin, end]",
                 fmt::join(range, ", "));
  placed.begin = uint64_t(range[0]);
  placed.end = uint64_t(range[1]);
  placed.entry.name = name;
  placed.entry.dtype = *found;
  TRY(placed.entry.sizes, read_naturals(*shape, "shape"));
  TRY(uint64_t bytes, data_bytes(*found, placed.entry.sizes));
  if (bytes != placed.end - placed.begin)
    return error(Code::invalid_file, "{} of shape [{}] takes {} bytes, data_offsets hold {}",
                 dtype_text, fmt::join(placed.entry.sizes, ", "), bytes, placed.end - placed.begin);
  return placed;
}

Result<std::vector<std::pair<std::string, std::string>>> read_metadata(Element element) {
  std::vector<std::pair<std::string, std::string>> result;
  if (element.is_null()) return result;
  simdjson::dom::object members;
  if (element.get_object().get(members) != simdjson::SUCCESS)
    return error(Code::invalid_file, "__metadata__ is not an object");
  for (auto [key, value] : members) {
    std::string_view text;
    if (value.get_string().get(text) != simdjson::SUCCESS)
      return error(Code::invalid_file, "__metadata__: \"{}\" is not a string", key);
    result.emplace_back(key, text);
  }
  std::sort(result.begin(), result.end());
  for (size_t i = 1; i < result.size(); i++)
    if (result[i].first == result[i - 1].first)
      return error(Code::invalid_file, "__metadata__: \"{}\" stands there twice", result[i].first);
  return result;
}

// The data follows the header without gap, overlap or tail.
Result<void> place(std::vector<Placed>& tensors, Bytes data) {
  std::sort(tensors.begin(), tensors.end(), [](const Placed& a, const Placed& b) {
    return std::pair(a.begin, a.end) < std::pair(b.begin, b.end);
  });
  uint64_t at = 0;
  for (Placed& tensor : tensors) {
    if (tensor.begin != at)
      return error(Code::invalid_file, "tensor \"{}\" begins at {}, the data before it ends at {}",
                   tensor.entry.name, tensor.begin, at);
    if (tensor.end > data.size())
      return error(Code::invalid_file, "tensor \"{}\" ends at {}, the data at {}",
                   tensor.entry.name, tensor.end, data.size());
    tensor.entry.bytes = data.subspan(tensor.begin, tensor.end - tensor.begin);
    at = tensor.end;
  }
  if (at != data.size())
    return error(Code::invalid_file, "tensors end at {}, the data at {}", at, data.size());
  return {};
}

// Text in quotes, escaped as the reference writes it.
void append_json(std::string_view text, std::string* out) {
  out->push_back('"');
  for (char c : text) {
    switch (c) {
      case '"': *out += "\\\""; break;
      case '\\': *out += "\\\\"; break;
      case '\b': *out += "\\b"; break;
      case '\f': *out += "\\f"; break;
      case '\n': *out += "\\n"; break;
      case '\r': *out += "\\r"; break;
      case '\t': *out += "\\t"; break;
      default:
        if (uint8_t(c) < 0x20)
          *out += fmt::format("\\u{:04x}", uint8_t(c));
        else
          out->push_back(c);
    }
  }
  out->push_back('"');
}

// Length and header in `*header`, and the data to write after it.
Result<std::vector<Bytes>> layout(Span<const TensorEntry> tensors,
                                  Span<const std::pair<std::string, std::string>> metadata,
                                  std::string* header) {
  std::vector<const TensorEntry*> order(tensors.size());
  std::vector<const std::string*> names(tensors.size());
  for (size_t i = 0; i < tensors.size(); i++) {
    const TensorEntry& tensor = tensors[i];
    order[i] = &tensor;
    names[i] = &tensor.name;
    auto in_tensor = [&](Error problem) {
      return std::move(problem).with_context(fmt::format("tensor \"{}\"", tensor.name));
    };
    if (tensor.name == "__metadata__")
      return in_tensor(error(Code::invalid_argument, "the name is reserved"));
    if (!simdjson::validate_utf8(tensor.name))
      return in_tensor(error(Code::invalid_argument, "the name is not UTF-8"));
    if (dtype_rank(tensor.dtype) < 0)
      return in_tensor(
          error(Code::unsupported, "{} has no place in the format", dtype_name(tensor.dtype)));
    auto bytes = data_bytes(tensor.dtype, tensor.sizes);
    if (!bytes.ok()) return in_tensor(std::move(bytes.error()));
    if (*bytes != tensor.bytes.size())
      return in_tensor(error(Code::invalid_argument, "{} [{}] takes {} bytes, {} are given",
                             dtype_name(tensor.dtype), fmt::join(tensor.sizes, ", "), *bytes,
                             tensor.bytes.size()));
  }
  auto by_text = [](const std::string* a, const std::string* b) { return *a < *b; };
  std::sort(names.begin(), names.end(), by_text);
  for (size_t i = 1; i < names.size(); i++)
    if (*names[i] == *names[i - 1])
      return error(Code::invalid_argument, "two tensors are named \"{}\"", *names[i]);
  std::sort(order.begin(), order.end(), [](const TensorEntry* a, const TensorEntry* b) {
    int rank_a = dtype_rank(a->dtype), rank_b = dtype_rank(b->dtype);
    return rank_a != rank_b ? rank_a > rank_b : a->name < b->name;
  });

  std::string json = "{";
  if (!metadata.empty()) {
    std::vector<std::pair<std::string, std::string>> sorted(metadata.begin(), metadata.end());
    std::sort(sorted.begin(), sorted.end());
    json += "\"__metadata__\":{";
    for (size_t i = 0; i < sorted.size(); i++) {
      if (i > 0 && sorted[i].first == sorted[i - 1].first)
        return error(Code::invalid_argument, "two metadata entries are named \"{}\"",
                     sorted[i].first);
      if (!simdjson::validate_utf8(sorted[i].first) || !simdjson::validate_utf8(sorted[i].second))
        return error(Code::invalid_argument, "metadata \"{}\" is not UTF-8", sorted[i].first);
      if (i > 0) json += ",";
      append_json(sorted[i].first, &json);
      json += ":";
      append_json(sorted[i].second, &json);
    }
    json += order.empty() ? "}" : "},";
  }
  std::vector<Bytes> data;
  uint64_t at = 0;
  for (size_t i = 0; i < order.size(); i++) {
    const TensorEntry& tensor = *order[i];
    uint64_t end;
    if (!checked_add<uint64_t>(at, tensor.bytes.size(), &end))
      return error(Code::too_large, "all tensors together exceed 2^64 bytes");
    if (i > 0) json += ",";
    append_json(tensor.name, &json);
    json +=
        fmt::format(":{{\"dtype\":\"{}\",\"shape\":[{}],\"data_offsets\":[{},{}]}}",
                    kDTypes[dtype_rank(tensor.dtype)].name, fmt::join(tensor.sizes, ","), at, end);
    data.push_back(tensor.bytes);
    at = end;
  }
  json += "}";
  json.resize(align_up(json.size(), 8), ' ');
  if (json.size() > kSafetensorsHeaderBytesMax)
    return error(Code::too_large, "header of {} bytes exceeds the format's limit of {}",
                 json.size(), kSafetensorsHeaderBytesMax);
  header->clear();
  for (int i = 0; i < 8; i++) header->push_back(char(uint64_t(json.size()) >> (8 * i)));
  *header += json;
  return data;
}

Bytes bytes_of(const std::string& text) {
  return {reinterpret_cast<const uint8_t*>(text.data()), text.size()};
}

}  // namespace

Result<SafetensorsFile> read_safetensors(Bytes file) {
  if (file.size() < 8)
    return error(Code::invalid_file, "{} bytes are too few for a safetensors file", file.size());
  uint64_t header_bytes = 0;
  for (int i = 0; i < 8; i++) header_bytes |= uint64_t(file[i]) << (8 * i);
  if (header_bytes > kSafetensorsHeaderBytesMax)
    return error(Code::too_large, "header of {} bytes exceeds the limit of {}", header_bytes,
                 kSafetensorsHeaderBytesMax);
  if (!range_inside(8, header_bytes, file.size()))
    return error(Code::invalid_file, "header of {} bytes passes the end of the file, {} bytes",
                 header_bytes, file.size());
  Bytes header = file.subspan(8, header_bytes), data = file.subspan(8 + header_bytes);
  simdjson::dom::parser parser;
  Element root;
  // The parser reads a little past the end: in place when the data allows it.
  auto problem =
      parser.parse(header.data(), header.size(), data.size() < simdjson::SIMDJSON_PADDING)
          .get(root);
  if (problem)
    return error(Code::invalid_file, "header is not proper JSON: {}",
                 simdjson::error_message(problem));
  simdjson::dom::object members;
  if (root.get_object().get(members) != simdjson::SUCCESS)
    return error(Code::invalid_file, "header is not a JSON object");
  SafetensorsFile result;
  std::vector<Placed> tensors;
  bool has_metadata = false;
  for (auto [name, value] : members) {
    if (name == "__metadata__") {
      if (has_metadata) return error(Code::invalid_file, "__metadata__ stands there twice");
      has_metadata = true;
      TRY(result.metadata, read_metadata(value));
      continue;
    }
    auto tensor = read_tensor(name, value);
    if (!tensor.ok())
      return std::move(tensor.error()).with_context(fmt::format("tensor \"{:.200}\"", name));
    tensors.push_back(std::move(*tensor));
  }
  TRY_VOID(place(tensors, data));
  result.tensors.reserve(tensors.size());
  for (Placed& tensor : tensors) result.tensors.push_back(std::move(tensor.entry));
  std::sort(result.tensors.begin(), result.tensors.end(),
            [](const TensorEntry& a, const TensorEntry& b) { return a.name < b.name; });
  for (size_t i = 1; i < result.tensors.size(); i++)
    if (result.tensors[i].name == result.tensors[i - 1].name)
      return error(Code::invalid_file, "two tensors are named \"{}\"", result.tensors[i].name);
  return result;
}

const TensorEntry* find_tensor(const SafetensorsFile& file, std::string_view name) {
  auto found = std::lower_bound(
      file.tensors.begin(), file.tensors.end(), name,
      [](const TensorEntry& entry, std::string_view wanted) { return entry.name < wanted; });
  return found != file.tensors.end() && found->name == name ? &*found : nullptr;
}

Result<void> write_safetensors(const std::string& path, Span<const TensorEntry> tensors,
                               Span<const std::pair<std::string, std::string>> metadata) {
  std::string header;
  TRY(auto data, layout(tensors, metadata, &header));
  data.insert(data.begin(), bytes_of(header));
  return save_file(path, data);
}

Result<std::vector<uint8_t>> encode_safetensors(
    Span<const TensorEntry> tensors, Span<const std::pair<std::string, std::string>> metadata) {
  std::string header;
  TRY(auto data, layout(tensors, metadata, &header));
  std::vector<uint8_t> result(header.begin(), header.end());
  for (Bytes piece : data) result.insert(result.end(), piece.begin(), piece.end());
  return result;
}

}  // namespace sconce
