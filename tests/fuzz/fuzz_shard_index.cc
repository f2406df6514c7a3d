// An index that is read names only plain files, and reads the same after it was printed.
#include <cstdint>

#include "formats/safetensors/shards.h"

using namespace sconce;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  auto index = parse_shard_index({data, size});
  if (!index.ok()) {
    if (index.error().text.empty()) __builtin_trap();
    return 0;
  }
  for (const std::string& file : index->files)
    if (file.empty() || file == "." || file == ".." || file.find('/') != std::string::npos)
      __builtin_trap();
  std::string text = print_shard_index(*index);
  auto again = parse_shard_index({reinterpret_cast<const uint8_t*>(text.data()), text.size()});
  if (!again.ok() || again->files != index->files || again->total_size != index->total_size ||
      again->entries.size() != index->entries.size())
    __builtin_trap();
  for (size_t i = 0; i < index->entries.size(); i++)
    if (again->entries[i].tensor != index->entries[i].tensor ||
        again->entries[i].file != index->entries[i].file)
      __builtin_trap();
  return 0;
}
