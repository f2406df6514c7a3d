// Payload: the nodes of an XNNPACK payload become operators. What a node means is stated by
// targets/xnnpack/run, which runs the same nodes as they stand.
#pragma once

#include <functional>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "formats/xnnpack/xnnpack.h"
#include "ops/build.h"

namespace sconce {

// Constants of a graph by their bytes, element type and sizes.
using ConstantValues = std::map<std::pair<const uint8_t*, std::vector<int64_t>>, ValueId>;

// A value for bytes that the caller keeps (copied when they are not aligned).
ValueId add_constant_view(Build& build, DType dtype, const std::vector<SymInt>& sizes, Bytes bytes,
                          const std::string& name, ConstantValues* known);

struct PayloadData {
  std::function<Bytes(const std::string& name)> find;  // null data = unknown
  ConstantValues* constants;
};

// `values` by external id, with their dimensions as they lie in memory: inputs are there, outputs
// are filled in. Quantised values become dequantize, the operator on numbers, quantize
// (docs/quantization.md). Fails for nodes that no operators say exactly; some nodes may have been
// added then.
Result<void> import_payload(Build& build, const XnnGraph& payload, const PayloadData& data,
                            std::vector<ValueId>* values);

}  // namespace sconce
