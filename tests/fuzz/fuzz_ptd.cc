// Whatever comes back lies inside the file and can be written again; a refusal says why.
#include <cstdint>

#include "formats/ptd/ptd.h"

using namespace sconce;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  auto entries = read_ptd({data, size});
  if (!entries.ok()) {
    if (entries.error().text.empty()) __builtin_trap();
    return 0;
  }
  for (const PtdEntry& entry : *entries) {
    if (entry.key.empty() || entry.dim_order.size() != entry.sizes.size()) __builtin_trap();
    if (entry.bytes.empty()) continue;
    if (entry.bytes.data() < data || entry.bytes.size() > size_t(data + size - entry.bytes.data()))
      __builtin_trap();
  }
  auto written = write_ptd(*entries);
  if (!written.ok()) __builtin_trap();
  std::vector<uint8_t> bytes = written->joined();
  auto again = read_ptd(bytes);
  if (!again.ok() || again->size() != entries->size()) __builtin_trap();
  for (size_t i = 0; i < entries->size(); i++)
    if ((*again)[i].key != (*entries)[i].key ||
        (*again)[i].bytes.size() != (*entries)[i].bytes.size())
      __builtin_trap();
  return 0;
}
