// Fuzz target: checkpoints. Whatever is accepted can be planned and copied, element for element;
// names that are not on the list are placeholders, so that more of a file is reached.
#include <algorithm>
#include <cstring>
#include <vector>

#include "base/status.h"
#include "formats/checkpoint/convert.h"
#include "formats/checkpoint/view.h"
#include "formats/zip/zip.h"

using namespace sconce;

extern "C" size_t LLVMFuzzerMutate(uint8_t* data, size_t size, size_t size_max);

// Changes one stored record and leaves the archive sound: most other changes end at the directory.
extern "C" size_t LLVMFuzzerCustomMutator(uint8_t* data, size_t size, size_t size_max,
                                          unsigned seed) {
  auto archive = read_zip({data, size}, {.allow_deflate = true});
  if (!archive.ok() || archive->entries.empty() || seed % 8 == 0)
    return LLVMFuzzerMutate(data, size, size_max);
  const ZipEntry* chosen = &archive->entries[seed % archive->entries.size()];
  for (const ZipEntry& entry : archive->entries)
    if (entry.name.ends_with("/data.pkl") && seed % 4 != 0) chosen = &entry;
  std::vector<uint8_t> changed(chosen->bytes.begin(), chosen->bytes.end());
  size_t kept = changed.size();
  if (kept == 0) return size;
  changed.resize(std::max(kept, LLVMFuzzerMutate(changed.data(), kept, kept)));
  std::memcpy(data + (chosen->bytes.data() - data), changed.data(), kept);
  return size;
}

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  Bytes file(data, size);
  CheckpointOptions options;
  options.ignore_unknown = true;
  options.verify_checksums = false;
  options.pickle_inflated_bytes_max = 1 << 20;
  options.limits.value_count_max = 1 << 16;
  auto checkpoint = read_checkpoint(file, options);
  if (!checkpoint.ok()) {
    CHECK(!checkpoint.error().text.empty());
    return 0;
  }
  (void)print_pickle_value(checkpoint->tree, checkpoint->tree.root, 10000);
  ConvertOptions convert;
  convert.arrays = convert.skip_unsupported = convert.keep_values = true;
  convert.visit_count_max = convert.tensor_count_max = 1 << 12;
  convert.output_bytes_max = 1 << 20;
  auto plan = plan_conversion(*checkpoint, size, convert);
  if (!plan.ok()) return 0;
  std::vector<uint8_t> piece(1000 * 16);
  for (const FoundTensor& found : plan->tensors) {
    if (!found.problem.empty() || !found.same_as.empty()) continue;
    const PickleTensor& tensor = checkpoint->tree.tensors[found.tensor];
    Bytes elements = tensor.bytes;
    std::vector<uint8_t> inflated;
    if (tensor.storage != kNoStorage) {
      const StorageRecord& record = checkpoint->storages[tensor.storage];
      elements = record.bytes;
      if (record.deflated) {
        ZipEntry entry{record.name, record.bytes, record.checksum, true, record.inflated_bytes};
        auto bytes = inflate_entry(entry, 1 << 20);
        if (!bytes.ok()) continue;
        inflated = std::move(*bytes);
        elements = inflated;
      }
    }
    uint32_t width = tensor.type->bytes;
    ViewReader reader(elements.data() + tensor.begin * width, tensor.sizes, tensor.strides, width);
    CHECK(reader.elements_left() * width == found.bytes);
    while (reader.elements_left() > 0)
      reader.read(piece.data(), std::min<uint64_t>(reader.elements_left(), 1000));
  }
  return 0;
}
