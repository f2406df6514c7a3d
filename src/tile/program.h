// Tile programs: kernels in the order in which they run, and the memory between them.
//
// What a method's delegate holds. Constants are named and live outside, so that a file stores them
// once and maps them. Shapes are fixed, or follow from the sizes of a call's inputs: then the
// numbers that stand in the program are those of the largest sizes, and set_sizes() puts others in
// their places.
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
  // Output: the input, of the same type, whose elements it holds before the first step. Both may
  // have the same memory, which spares the copy; the input is then not read by any step.
  int32_t updates = kNone;
  bool operator==(const Argument&) const = default;
};

// Limits of what sizes follow from, checked by verify().
inline constexpr size_t kSymbolsMax = 64, kFormulasMax = 4096, kFormulaStepsMax = 64;

// A number that differs from call to call: dimension `dim` of input `input` has size
// factor * it + offset.
struct Symbol {
  uint32_t input = 0, dim = 0;
  int64_t factor = 1, offset = 0;  // factor >= 1
  int64_t min = 0, max = 0;        // inclusive
  bool operator==(const Symbol&) const = default;
};

// A number made of symbols: steps of a stack machine, each of which pushes a number or replaces the
// two on top by one. Divisions round down; a remainder has the sign of the divisor.
struct Formula {
  enum class Op : uint8_t { number, symbol, add, multiply, floor_divide, modulo, minimum, maximum };
  struct Step {
    Op op = Op::number;
    int64_t value = 0;  // number: that; symbol: its index; else 0
    bool operator==(const Step&) const = default;
  };
  std::vector<Step> steps;
  bool operator==(const Formula&) const = default;
};

// A number of a program that a formula gives.
struct Varying {
  enum class What : uint8_t {
    input_size,
    output_size,
    operand_size,
    operand_stride,
    operand_offset
  };
  What what = What::input_size;
  uint32_t index = 0;    // of the argument, or of the step
  uint32_t operand = 0;  // of a step
  uint32_t dim = 0;
  uint32_t formula = 0;
  bool operator==(const Varying&) const = default;
};

struct Program {
  std::vector<Kernel> kernels;
  std::vector<Storage> storages;
  std::vector<Step> steps;
  std::vector<Argument> inputs, outputs;
  uint64_t arena_bytes = 0;
  std::vector<Symbol> symbols;  // none: all shapes are fixed
  std::vector<Formula> formulas;
  std::vector<Varying> varying;
  bool operator==(const Program&) const = default;
};

// Checks every index and that operands lie in their storages; verifies the kernels.
Result<void> verify(Program& program);

// What a symbol is when its input's dimension has this size; an error when that is out of bounds.
Result<int64_t> value_of(const Symbol& symbol, int64_t size);
// Gives a program that verify() has taken the sizes of a call: what varies, and with it the bytes
// of arguments. `symbols`: their values, within their bounds. Checks again all that depends on
// sizes; after an error the program has sizes of no call, until the next set_sizes().
Result<void> set_sizes(Program& program, Span<const int64_t> symbols);

}  // namespace sconce::tile
