#include "formats/safetensors/writer.h"

#include <algorithm>
#include <bit>

#include <simdjson.h>

#include "base/checked.h"
#include "formats/json/json_text.h"

namespace sconce {
namespace {

constexpr size_t kPendingBytes = 1 << 20;

Bytes bytes_of(std::string_view text) {
  return {reinterpret_cast<const uint8_t*>(text.data()), text.size()};
}

void append_number(uint64_t value, std::string* out) {
  fmt::format_int text(value);
  out->append(text.data(), text.size());
}

void append_tensor(const TensorSpec& spec, uint64_t begin, uint64_t end, std::string* json) {
  json::append_string(spec.name, json);
  *json += ":{\"dtype\":\"";
  *json += element_name(spec.type);
  *json += "\",\"shape\":[";
  for (size_t i = 0; i < spec.shape.size(); i++) {
    if (i > 0) json->push_back(',');
    append_number(spec.shape[i], json);
  }
  *json += "],\"data_offsets\":[";
  append_number(begin, json);
  json->push_back(',');
  append_number(end, json);
  *json += "]}";
}

Result<void> append_metadata(Span<const std::pair<std::string, std::string>> metadata,
                             std::string* json) {
  Metadata sorted(metadata.begin(), metadata.end());
  std::sort(sorted.begin(), sorted.end());
  *json += "\"__metadata__\":{";
  for (size_t i = 0; i < sorted.size(); i++) {
    const auto& [key, value] = sorted[i];
    if (i > 0 && sorted[i - 1].first == key)
      return error(Code::invalid_argument, "two metadata entries are named {}", quoted_name(key));
    if (!simdjson::validate_utf8(key) || !simdjson::validate_utf8(value))
      return error(Code::invalid_argument, "metadata {} is not UTF-8", quoted_name(key));
    if (i > 0) json->push_back(',');
    json::append_string(key, json);
    json->push_back(':');
    json::append_string(value, json);
  }
  json->push_back('}');
  return {};
}

}  // namespace

Result<Layout> plan_layout(Span<const TensorSpec> specs,
                           Span<const std::pair<std::string, std::string>> metadata,
                           const LayoutOptions& options) {
  uint64_t alignment = options.data_alignment;
  if (!std::has_single_bit(alignment) || alignment < 8 || alignment > (2u << 20))
    return error(Code::invalid_argument,
                 "data alignment of {} bytes, wanted a power of two from 8 to {}", alignment,
                 2u << 20);
  Layout layout;
  layout.tensors.resize(specs.size());
  std::vector<uint64_t> bytes(specs.size());
  for (size_t i = 0; i < specs.size(); i++) {
    const TensorSpec& spec = specs[i];
    layout.tensors[i].spec = i;
    if (spec.name == "__metadata__")
      return error(Code::invalid_argument, "tensor {}: the name is reserved",
                   quoted_name(spec.name));
    if (!simdjson::validate_utf8(spec.name))
      return error(Code::invalid_argument, "tensor {}: the name is not UTF-8",
                   quoted_name(spec.name));
    auto size = tensor_bytes(spec.type, spec.shape);
    if (!size.ok()) return std::move(size.error()).with_context("tensor " + quoted_name(spec.name));
    bytes[i] = *size;
  }
  std::sort(layout.tensors.begin(), layout.tensors.end(),
            [&](const PlacedSpec& a, const PlacedSpec& b) {
              const TensorSpec &x = specs[a.spec], &y = specs[b.spec];
              return x.type != y.type ? x.type > y.type : x.name < y.name;
            });
  std::vector<std::string_view> names(specs.size());
  for (size_t i = 0; i < specs.size(); i++) names[i] = specs[layout.tensors[i].spec].name;
  std::sort(names.begin(), names.end());
  if (auto twice = std::adjacent_find(names.begin(), names.end()); twice != names.end())
    return error(Code::invalid_argument, "two tensors are named {}", quoted_name(*twice));

  std::string& json = layout.head;
  json.assign(8, '\0');
  json.push_back('{');
  if (!metadata.empty() || options.metadata_room > 0 || options.empty_metadata) {
    TRY_VOID(append_metadata(metadata, &json));
    if (options.metadata_room > kSafetensorsHeaderBytesMax)
      return error(Code::invalid_argument, "room of {} bytes for metadata, at most {} are allowed",
                   options.metadata_room, kSafetensorsHeaderBytesMax);
    json.append(options.metadata_room, ' ');
    if (!specs.empty()) json.push_back(',');
  }
  for (size_t i = 0; i < layout.tensors.size(); i++) {
    PlacedSpec& placed = layout.tensors[i];
    placed.begin = layout.data_bytes;
    if (!checked_add(placed.begin, bytes[placed.spec], &placed.end) ||
        placed.end > uint64_t(INT64_MAX))
      return error(Code::too_large, "all tensors together exceed 2^63 bytes");
    layout.data_bytes = placed.end;
    if (i > 0) json.push_back(',');
    append_tensor(specs[placed.spec], placed.begin, placed.end, &json);
  }
  json.push_back('}');
  json.resize(align_up(json.size(), alignment), ' ');
  uint64_t length = json.size() - 8;
  if (length > kSafetensorsHeaderBytesMax)
    return error(Code::too_large, "HeaderTooLarge: header of {} bytes, at most {} are allowed",
                 length, kSafetensorsHeaderBytesMax);
  for (int i = 0; i < 8; i++) json[size_t(i)] = char(length >> (8 * i));
  return layout;
}

Result<TensorWriter> TensorWriter::create(const std::string& path, std::vector<TensorSpec> specs,
                                          Span<const std::pair<std::string, std::string>> metadata,
                                          const WriteOptions& options) {
  TensorWriter writer;
  auto layout = plan_layout(specs, metadata, options.layout);
  if (!layout.ok()) return std::move(layout.error()).with_context(path);
  writer.layout_ = std::move(*layout);
  writer.specs_ = std::move(specs);
  writer.options_ = options;
  TRY(writer.file_, OutputFile::create(path));
  TRY_VOID(writer.file_.reserve(writer.layout_.head.size() + writer.layout_.data_bytes));
  TRY_VOID(writer.file_.write(bytes_of(writer.layout_.head)));
  return writer;
}

Result<void> TensorWriter::check_room(uint64_t bytes) const {
  if (bytes > layout_.data_bytes - appended_)
    return error(Code::invalid_argument,
                 "{}: {} bytes are appended after {}, the tensors declared have {}", file_.path(),
                 bytes, appended_, layout_.data_bytes);
  return {};
}

Result<void> TensorWriter::flush() {
  TRY_VOID(file_.write(pending_));
  pending_.clear();
  return {};
}

Result<void> TensorWriter::append(Bytes bytes) {
  TRY_VOID(check_room(bytes.size()));
  appended_ += bytes.size();
  if (pending_.size() + bytes.size() <= kPendingBytes) {
    pending_.insert(pending_.end(), bytes.begin(), bytes.end());
    return {};
  }
  TRY_VOID(flush());
  return file_.write(bytes);
}

Result<void> TensorWriter::append_from(int descriptor, uint64_t offset, uint64_t bytes) {
  TRY_VOID(check_room(bytes));
  TRY_VOID(flush());
  appended_ += bytes;
  return file_.copy_from(descriptor, offset, bytes);
}

Result<void> TensorWriter::finish() {
  if (appended_ != layout_.data_bytes)
    return error(Code::invalid_argument, "{}: {} of {} bytes were appended", file_.path(),
                 appended_, layout_.data_bytes);
  TRY_VOID(flush());
  return file_.commit(options_.durable);
}

}  // namespace sconce
