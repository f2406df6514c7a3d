// JSON parts of a .pt2 archive: models/NAME.json, and the two tables that say where weights are.
// Internal to this folder.
#pragma once

#include <simdjson.h>

#include "base/result.h"
#include "formats/pt2/pt2.h"
#include "formats/pt2/storage.h"

namespace sconce::pt2 {

// The file's number of an element type, which is not ATen's.
int dtype_number(DType dtype);

// Everything but the name and the weights. Names are resolved within the graph and the signature.
Result<Program> read_program(simdjson::dom::element root, const ReadOptions& options,
                             Storage& storage);

struct Payload {
  std::string_view path;
  bool is_parameter = false;
  bool is_pickle = false;
  std::optional<TensorMeta> meta;  // absent for pickled objects that are no tensors
};
// By name of the weight or constant, sorted.
Result<Span<const Named<Payload>>> read_payloads(simdjson::dom::element root, Storage& storage);

}  // namespace sconce::pt2
