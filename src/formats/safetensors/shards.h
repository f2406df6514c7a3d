// Sets of safetensors files: the index that says which tensor is in which file.
//
// NAME.safetensors.index.json, a convention of model hubs: {"metadata": {"total_size": bytes, ...},
// "weight_map": {tensor: file}}. Nothing in it is believed: see TensorFile::open.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "base/span.h"

namespace sconce {

inline constexpr uint64_t kShardIndexBytesMax = 100'000'000;

struct ShardIndex {
  std::vector<std::string> files;  // sorted, plain file names
  struct Entry {
    std::string tensor;
    uint32_t file = 0;  // place in `files`
  };
  std::vector<Entry> entries;          // sorted by tensor
  std::optional<uint64_t> total_size;  // bytes of all tensors
};

// Fails for repeated tensors or keys, names that are not plain file names (separators, "..",
// control characters), and values of other types.
Result<ShardIndex> parse_shard_index(Bytes json);

std::string print_shard_index(const ShardIndex& index);

// "model-00002-of-00007.safetensors"
std::string shard_name(std::string_view stem, size_t number, size_t count);

}  // namespace sconce
