// .pte programs as plain structs: what ExecuTorch's container holds, for writers and tools (host).
//
// The structs keep the file's own indices, so a reader of format.md finds every field again. No IR
// here, and no execution: src/runtime reads the bytes itself, without heap. Bulk data (weights,
// delegate payloads) are views into memory of the caller: writing and reading never copy them.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "base/result.h"
#include "base/span.h"
#include "formats/pte/constraints.h"

namespace sconce {

enum class PteDynamism : uint8_t { fixed = 0, bounded = 1, unbounded = 2 };

// Place of a tensor in a planned memory. Ids count from 1: memory `id` is PteMethod::memories[id -
// 1].
struct PtePlacement {
  uint32_t memory_id = 1;
  uint64_t offset = 0;
};

// Where the data is:
//   data_index > 0, no placement   constant: PteProgram::constants[data_index]
//   data_index = 0, placement      planned: activation, input, output, or zero-filled mutable
//   buffer data_index > 0, placement      planned mutable buffer; starts as
//   initial_values[data_index] data_index = 0, no placement   the pointer comes at run time
//   (unplanned input or output, view) external                       bytes of the named data (or
//   .ptd entry) called `name`; with a
//                                  placement they are copied there
struct PteTensor {
  int8_t scalar_type = 6;          // ATen code; DType has the same numbers
  std::vector<int32_t> sizes;      // upper bounds when the shape is bounded
  std::vector<uint8_t> dim_order;  // empty = contiguous (0, 1, 2, ...)
  PteDynamism dynamism = PteDynamism::fixed;
  uint32_t data_index = 0;
  std::optional<PtePlacement> placement;
  bool external = false;
  std::string name;  // fully qualified name in the model; optional unless external
  bool requires_grad = false;
  uint8_t device_type = 0;  // 0 CPU, 1 CUDA
  int8_t device_index = 0;
};

// Items are indices into PteMethod::values, except those of double and bool lists (literals).
struct PteIntList {
  std::vector<int64_t> items;
};  // each an integer value
struct PteDoubleList {
  std::vector<double> items;
};
struct PteBoolList {
  std::vector<uint8_t> items;
};
struct PteTensorList {
  std::vector<int32_t> items;
};
struct PteOptionalTensorList {
  std::vector<int32_t> items;
};  // -1 = absent

// The order of alternatives is that of the file's union: tag = index() + 1.
using PteValue =
    std::variant<std::monostate, int64_t, bool, double, PteTensor, std::string, PteIntList,
                 PteDoubleList, PteBoolList, PteTensorList, PteOptionalTensorList>;

// `args` are value indices: inputs in schema order (defaults spelled out), then outs, then the
// returned value again (the out itself; for several outs a PteTensorList of them).
struct PteKernelCall {
  int32_t operator_index = 0;
  std::vector<int32_t> args;
};
struct PteDelegateCall {
  int32_t delegate_index = 0;
  std::vector<int32_t> args;
};
struct PteMove {
  int32_t from = 0, to = 0;
};  // `to` becomes another handle of the same tensor
struct PteJumpFalse {
  int32_t condition = 0, destination = 0;
};  // destination: instruction index
struct PteFree {
  int32_t value = 0;
};
using PteInstruction = std::variant<PteKernelCall, PteDelegateCall, PteMove, PteJumpFalse, PteFree>;

struct PteOperator {
  std::string name, overload;
};  // "aten::add", "out"; key "aten::add.out"

// `data` is stored inline in the program when `stored_inline`, else in a segment of its own;
// delegates with equal data share one segment.
struct PteDelegate {
  struct Spec {
    std::string key;
    std::vector<uint8_t> value;
  };
  std::string id;
  Bytes data;
  bool stored_inline = false;
  std::vector<Spec> specs;
};

struct PteFrame {
  std::string file;
  int32_t line = 0;
  std::string function, code;
};

// Source lines of the model are optional: empty, or one stack (outermost first) per instruction.
struct PteChain {
  std::vector<PteInstruction> instructions;
  std::vector<std::vector<PteFrame>> stacks;
  std::vector<int32_t> inputs, outputs;  // no runtime uses them
};

struct PteMemoryDevice {
  int32_t memory_id = 0;
  uint8_t type = 0;
  int8_t index = 0;
};

struct PteMethod {
  std::string name = "forward";
  std::string input_spec, output_spec;  // pytree descriptions, JSON text; may be empty
  std::vector<PteValue> values;
  std::vector<int32_t> inputs, outputs;  // value indices
  std::vector<PteChain> chains;          // executed one after the other; writers use one
  std::vector<PteOperator> operators;
  std::vector<PteDelegate> delegates;
  std::vector<uint64_t> memories;        // bytes of planned memory 1, 2, ...
  std::vector<PteMemoryDevice> devices;  // empty = all on the CPU
};

// Entries with equal bytes share one segment. `alignment` is that of the bytes in the file.
struct PteNamedData {
  std::string key;
  Bytes data;
  uint32_t alignment = 16;
};

struct PteProgram {
  uint32_t version = 0;
  std::vector<PteMethod> methods;
  // Index 0 of both is a placeholder that no tensor can name. Entries with equal bytes are written
  // once. In a program that was read, each entry is as long as the largest tensor that names it.
  std::vector<Bytes> constants = {Bytes()};
  std::vector<Bytes> initial_values = {Bytes()};
  std::vector<PteNamedData> named_data;
};

struct PteWriteOptions {
  uint32_t segment_alignment = 128;
  uint32_t constant_alignment = 16;  // a power of two, >= 16
  bool unchecked = false;            // tests: write what loaders must refuse
};

// A file as pieces in order, for save_file(). Pieces view `program` (header and tables, the only
// bytes made here) and the caller's weights, which must live until the pieces are written.
struct PteFile {
  std::vector<uint8_t> program;
  std::vector<Bytes> pieces;
  uint64_t bytes = 0;

  PteFile() = default;
  PteFile(PteFile&&) = default;
  PteFile& operator=(PteFile&&) = default;
  PteFile(const PteFile&) = delete;
  PteFile& operator=(const PteFile&) = delete;

  std::vector<uint8_t> joined() const;  // one copy of everything; for small files and tests
};

// The same program gives the same bytes. Refuses what no runtime could load (an index out of
// range, a constant shorter than its tensor), naming method and value.
Result<PteFile> write_pte(const PteProgram& program, const PteWriteOptions& options = {});

// Checks everything that can be known without kernels and delegates: structure, every index, every
// offset against its segment, overlaps of segments. Bulk data view `file`.
Result<PteProgram> read_pte(Bytes file);

// Layout of the file, for tools that show it. Offsets count from the start of the file.
struct PteLayout {
  struct Segment {
    uint64_t offset = 0, bytes = 0;
    std::string what;
  };
  uint64_t program_bytes = 0;  // header and tables
  uint64_t segment_base = 0;
  bool extended_header = false;
  std::vector<Segment> segments;
};
Result<PteLayout> read_pte_layout(Bytes file);

// What inputs must satisfy beyond dtype, rank and upper bound; stock ExecuTorch drops it. Stored as
// named data under kConstraintsKey, which stock ignores; rules and layout: constraints.h.
struct PteMethodConstraints {
  std::string method;
  std::vector<std::string> input_names;  // by position; for error texts
  std::vector<PteDimRule> rules;
};

std::vector<uint8_t> write_constraints(Span<const PteMethodConstraints> methods);
Result<std::vector<PteMethodConstraints>> read_constraints(Bytes bytes);

}  // namespace sconce
