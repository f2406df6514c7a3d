#include "formats/safetensors/shards.h"

#include <algorithm>

#include <simdjson.h>

#include "formats/json/json_text.h"
#include "formats/safetensors/writer.h"

namespace sconce {
namespace {

using Element = simdjson::dom::element;
using Object = simdjson::dom::object;

bool is_plain_file_name(std::string_view name) {
  if (name.empty() || name.size() > 255 || name == "." || name == "..") return false;
  for (char c : name)
    if (c == '/' || c == '\\' || uint8_t(c) < 0x20 || c == 0x7f) return false;
  return true;
}

// The member of that name; an error when it stands there twice.
Result<std::optional<Element>> find_once(Object object, std::string_view key) {
  std::optional<Element> found;
  for (auto [name, value] : object) {
    if (name != key) continue;
    if (found) return error(Code::invalid_file, "\"{}\" stands there twice", key);
    found = value;
  }
  return found;
}

}  // namespace

Result<ShardIndex> parse_shard_index(Bytes json) {
  if (json.size() > kShardIndexBytesMax)
    return error(Code::too_large, "index of {} bytes, at most {} are allowed", json.size(),
                 kShardIndexBytesMax);
  if (json.empty()) return error(Code::invalid_file, "not proper JSON: the file is empty");
  simdjson::dom::parser parser;
  Element root;
  if (auto problem = parser.parse(json.data(), json.size(), true).get(root))
    return error(Code::invalid_file, "not proper JSON: {}", simdjson::error_message(problem));
  Object members;
  if (root.get_object().get(members) != simdjson::SUCCESS)
    return error(Code::invalid_file, "not a JSON object");
  ShardIndex index;
  TRY(auto metadata, find_once(members, "metadata"));
  if (metadata && !metadata->is_null()) {
    Object object;
    if (metadata->get_object().get(object) != simdjson::SUCCESS)
      return error(Code::invalid_file, "metadata is not an object");
    TRY(auto total, find_once(object, "total_size"));
    if (total) {
      uint64_t bytes = 0;
      double number = 0;  // some writers count in floating point
      if (total->get_uint64().get(bytes) != simdjson::SUCCESS) {
        if (total->get_double().get(number) != simdjson::SUCCESS || number < 0 ||
            number > 9007199254740992.0 || number != double(uint64_t(number)))
          return error(Code::invalid_file, "metadata: total_size is not a whole number of bytes");
        bytes = uint64_t(number);
      }
      index.total_size = bytes;
    }
  }
  TRY(auto map, find_once(members, "weight_map"));
  if (!map) return error(Code::invalid_file, "\"weight_map\" is missing");
  Object weights;
  if (map->get_object().get(weights) != simdjson::SUCCESS)
    return error(Code::invalid_file, "weight_map is not an object");
  std::vector<std::pair<std::string_view, std::string_view>> pairs;
  for (auto [tensor, value] : weights) {
    std::string_view file;
    if (value.get_string().get(file) != simdjson::SUCCESS)
      return error(Code::invalid_file, "weight_map: the file of tensor {} is not a string",
                   quoted_name(tensor));
    pairs.emplace_back(tensor, file);
  }
  std::sort(pairs.begin(), pairs.end());
  for (size_t i = 1; i < pairs.size(); i++)
    if (pairs[i].first == pairs[i - 1].first)
      return error(Code::invalid_file, "weight_map: tensor {} stands there twice",
                   quoted_name(pairs[i].first));
  std::vector<std::string_view> files;
  for (auto& [tensor, file] : pairs) files.push_back(file);
  std::sort(files.begin(), files.end());
  files.erase(std::unique(files.begin(), files.end()), files.end());
  for (std::string_view file : files)
    if (!is_plain_file_name(file))
      return error(Code::invalid_file,
                   "weight_map: {} is not a plain file name, and shards lie beside their index",
                   quoted_name(file));
  index.files.assign(files.begin(), files.end());
  for (auto& [tensor, file] : pairs)
    index.entries.push_back(
        {std::string(tensor),
         uint32_t(std::lower_bound(files.begin(), files.end(), file) - files.begin())});
  return index;
}

std::string print_shard_index(const ShardIndex& index) {
  std::string text = "{\n  \"metadata\": {";
  if (index.total_size) text += fmt::format("\n    \"total_size\": {}\n  ", *index.total_size);
  text += "},\n  \"weight_map\": {";
  const char* separator = "\n    ";
  for (const ShardIndex::Entry& entry : index.entries) {
    text += separator;
    json::append_string(entry.tensor, &text);
    text += ": ";
    json::append_string(index.files[entry.file], &text);
    separator = ",\n    ";
  }
  return text + "\n  }\n}\n";
}

std::string shard_name(std::string_view stem, size_t number, size_t count) {
  return fmt::format("{}-{:05}-of-{:05}.safetensors", stem, number, count);
}

}  // namespace sconce
