// Tile programs: kernels in the order in which they run, and the memory between them.
//
// What a method's delegate holds. Shapes are fixed; constants are named and live outside, so that a
// file stores them once and maps them.
#pragma once

#include <string>
#include <vector>

#include "tile/ir.h"

namespace sconce::tile {

struct Storage {
  enum class Kind : uint8_t { input, output, constant, temporary };
  Kind kind = Kind::temporary;
  uint64_t bytes = 0;
  uint32_t index = 0;   // input, output: which argument of the call
  uint64_t offset = 0;  // temporary: in the arena, a multiple of 64
  std::string name;     // constant: under which its bytes are found
  bool operator==(const Storage&) const = default;
};

// A buffer of a kernel: elements of a storage. Offset in bytes, strides in elements.
struct Operand {
  uint32_t storage = 0;
  uint64_t offset = 0;
  std::vector<int64_t> sizes, strides;
  bool operator==(const Operand&) const = default;
};

struct Step {
  uint32_t kernel = 0;
  std::vector<Operand> operands;  // one per buffer of the kernel
  std::string source;             // where in the model it comes from, for profiles and messages
  bool operator==(const Step&) const = default;
};

// An argument of the call: what its type must be.
struct Argument {
  DType dtype = DType::f32;
  std::vector<int64_t> sizes;
  std::vector<uint8_t> dim_order;  // empty: row-major
  bool operator==(const Argument&) const = default;
};

struct Program {
  std::vector<Kernel> kernels;
  std::vector<Storage> storages;
  std::vector<Step> steps;
  std::vector<Argument> inputs, outputs;
  uint64_t arena_bytes = 0;
  bool operator==(const Program&) const = default;
};

// Checks every index and that operands lie in their storages; verifies the kernels.
Result<void> verify(Program& program);

}  // namespace sconce::tile
