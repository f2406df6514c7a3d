// Import of .pte: the instructions of a compiled program become IR again.
//
// Instructions write into planned memory; here every write becomes a value (memory.h), every kernel
// the operator that it computes, every XNNPACK payload the operators that its nodes stand for.
// Loops of known rounds are written out; jumps that data decide become branches (branches.h).
// State that lives in planned memory from call to call becomes buffers and write-backs. What cannot
// be told exactly is an error that says why; the method then runs as it stands.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "formats/pte/pte.h"
#include "ir/graph.h"

namespace sconce {

// Bytes that a program names and a data file may hold; null data = unknown.
using FindNamedData = std::function<Bytes(const std::string& name)>;

struct PteImportOptions {
  FindNamedData find_external;           // of data files, beside the program's own named data
  std::vector<std::string> input_names;  // by position; may be empty
  // Sizes of the inputs that are tensors, by position: a method of dynamic shape becomes one for
  // these sizes. Empty: its shapes must be fixed.
  std::vector<std::vector<int32_t>> input_sizes;
  // For files from outside: nodes, and bytes of one tensor.
  uint64_t nodes_max = 1'000'000;
  uint64_t bytes_max = uint64_t(1) << 36;
};

// One method. Constants view the bytes that `file` views, which the caller keeps for as long as the
// result lives. Not taken: loops that only data end, shapes that only data decide, random
// operators, delegates other than XNNPACK's.
Result<std::unique_ptr<Program>> import_pte_method(const PteProgram& file, const PteMethod& method,
                                                   const PteImportOptions& options);

}  // namespace sconce
