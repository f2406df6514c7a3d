// What a TensorFile holds, for the files that implement it.
#pragma once

#include <mutex>
#include <string>
#include <vector>

#include "formats/safetensors/opened_file.h"
#include "sconce/tensor_file.h"

namespace sconce {

struct TensorFile::State {
  std::vector<TensorShard> shards;
  std::vector<OpenedFile> files;  // of the shards; their headers are taken
  std::vector<MappedFile> mappings;
  std::vector<TensorRecord> tensors;  // sorted by name, views into shards; see `records`
  std::once_flag records;             // of one file they are made at first use
  std::vector<std::string> warnings;
  uint64_t data_bytes = 0;
  bool has_index = false;
};

}  // namespace sconce
