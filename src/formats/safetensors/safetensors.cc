#include "formats/safetensors/safetensors.h"

#include <algorithm>

#include "base/file.h"
#include "formats/safetensors/writer.h"

namespace sconce {
namespace {

Result<std::vector<TensorSpec>> specs_of(Span<const TensorEntry> tensors) {
  std::vector<TensorSpec> specs(tensors.size());
  for (size_t i = 0; i < tensors.size(); i++) {
    const TensorEntry& tensor = tensors[i];
    auto type = to_element_type(tensor.dtype);
    if (!type)
      return error(Code::unsupported, "tensor {}: {} has no place in the format",
                   quoted_name(tensor.name), dtype_name(tensor.dtype));
    for (int64_t size : tensor.sizes)
      if (size < 0)
        return error(Code::invalid_argument, "tensor {}: size {} is negative",
                     quoted_name(tensor.name), size);
    specs[i] = {tensor.name, *type, {tensor.sizes.begin(), tensor.sizes.end()}};
    TRY(uint64_t bytes,
        tensor_bytes(*type, specs[i].shape).with_context("tensor " + quoted_name(tensor.name)));
    if (bytes != tensor.bytes.size())
      return error(Code::invalid_argument, "tensor {}: {} {} takes {} bytes, {} are given",
                   quoted_name(tensor.name), element_name(*type), shape_text(specs[i].shape), bytes,
                   tensor.bytes.size());
  }
  return specs;
}

}  // namespace

Result<SafetensorsFile> read_safetensors(Bytes file, AcceptMode mode) {
  TRY(Header header, parse_header(file, file.size(), mode));
  SafetensorsFile result;
  result.metadata = header.metadata();
  Bytes data = file.subspan(header.data_offset());
  result.tensors.reserve(header.tensors().size());
  for (const TensorInfo* info : header.by_name()) {
    auto dtype = to_dtype(info->type);
    if (!dtype)
      return error(Code::unsupported, "tensor {}: elements of type {} are not known here",
                   quoted_name(info->name), element_name(info->type));
    TensorEntry entry{
        std::string(info->name), *dtype, {}, data.subspan(info->begin, info->bytes())};
    for (uint64_t size : info->shape) {
      if (size > uint64_t(INT64_MAX))
        return error(Code::too_large, "tensor {}: size {} exceeds 2^63 - 1",
                     quoted_name(info->name), size);
      entry.sizes.push_back(int64_t(size));
    }
    result.tensors.push_back(std::move(entry));
  }
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
  TRY(auto specs, specs_of(tensors));
  TRY(TensorWriter writer, TensorWriter::create(path, std::move(specs), metadata));
  for (const PlacedSpec& placed : writer.order())
    TRY_VOID(writer.append(tensors[placed.spec].bytes));
  return writer.finish();
}

Result<std::vector<uint8_t>> encode_safetensors(
    Span<const TensorEntry> tensors, Span<const std::pair<std::string, std::string>> metadata) {
  TRY(auto specs, specs_of(tensors));
  TRY(Layout layout, plan_layout(specs, metadata));
  std::vector<uint8_t> result;
  result.reserve(layout.head.size() + layout.data_bytes);
  result.assign(layout.head.begin(), layout.head.end());
  for (const PlacedSpec& placed : layout.tensors)
    result.insert(result.end(), tensors[placed.spec].bytes.begin(),
                  tensors[placed.spec].bytes.end());
  return result;
}

}  // namespace sconce
