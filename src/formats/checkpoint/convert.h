// From a checkpoint to a safetensors file: which tensors there are, under which names, and the
// writing of them.
//
// Names are the keys on the way to a tensor, joined by dots, as those of a state_dict are. Values
// that are no tensors are listed, and can be kept as metadata. Tensors that are the same part of
// the same storage are written once, under the first of their names; the metadata maps the others
// to it, as safetensors.torch.save_model does.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "formats/checkpoint/checkpoint.h"

namespace sconce {

struct ConvertOptions {
  std::string key;                // only what is under it: "model", "state_dict.encoder"
  bool arrays = false;            // numpy arrays are tensors too
  bool keep_values = false;       // values that are no tensors become metadata, as JSON
  bool repeat_shared = false;     // a tensor of several names is written under each
  bool skip_unsupported = false;  // tensors that cannot be converted are left out, not an error
  // Of all tensors together. 0: four times the file, and at least 1 MiB, which expanded views
  // (stride 0) of a small storage would pass.
  uint64_t output_bytes_max = 0;
  uint64_t tensor_count_max = 1 << 22;
  uint64_t visit_count_max = 1 << 24;     // values met on the way; shared ones count each time
  uint64_t name_bytes_max = 100'000'000;  // together; the header of the result has the same limit
  int depth_max = 512;
};

struct FoundTensor {
  std::string name;
  uint32_t tensor = 0;          // of the tree
  std::string same_as;          // the name under which it is written; empty: its own
  std::vector<uint64_t> shape;  // in the result
  uint64_t bytes = 0;           // in the result
  std::string problem;          // why it cannot be converted; empty when it can
};

struct FoundValue {
  std::string name, text;  // text: JSON, cut when long
};

struct ConvertPlan {
  std::vector<FoundTensor> tensors;  // in the order of the file
  std::vector<FoundValue> values;
  uint64_t output_bytes = 0;
  std::vector<std::pair<std::string, std::string>> metadata;
};

// What converting would do. Fails for names that cannot be written (twice the same, NUL,
// "__metadata__"), for tensors without conversion unless they are to be skipped, for values that
// hold themselves, and past the limits. `file_bytes` is the size of the checkpoint.
Result<ConvertPlan> plan_conversion(const Checkpoint& checkpoint, uint64_t file_bytes,
                                    const ConvertOptions& options = {});

// Writes what was planned; the file at `path` changes at once, when all is done. Elements are
// copied in pieces, so neither file has to fit memory (a deflated record has to). Checksums are
// compared on the way. `progress` may be null; it is called with bytes written.
Result<void> write_conversion(const Checkpoint& checkpoint, const ConvertPlan& plan,
                              const std::string& path,
                              const std::function<void(uint64_t)>& progress = nullptr);

}  // namespace sconce
