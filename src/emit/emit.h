// Emit: a program of legal nodes becomes the tables of a .pte.
//
// Every node must be an operator with a kernel, a prim, control flow, or a call of a backend; tensor
// arguments must be tensors (passes/legalize does both). Here control flow becomes jumps, views of
// the same memory become tensors at the same place, results take the memory of operands that end
// there, and the memory plan gives every tensor its offset. Deterministic.
#pragma once

#include "formats/pte/pte.h"
#include "ir/graph.h"

namespace sconce {

struct EmitOptions {
  bool source_lines = true;  // keep where each instruction came from, for messages
};

// What a memory plan achieved, for reports: bytes of the arena, and of the largest live set, which
// no plan can go below.
struct PlanReport {
  uint64_t arena_bytes = 0, lower_bound_bytes = 0;
};

struct Emitted {
  PteProgram program;
  std::vector<PlanReport> plans;                                   // one per method
  std::vector<PteMethodConstraints> constraints;                   // join() puts them into the file
  std::vector<std::shared_ptr<const std::vector<uint8_t>>> owned;  // keeps bytes made here alive
};

// Views of constants point into `program`, which must outlive the result.
Result<Emitted> emit(const Program& program, const EmitOptions& options = {});

// Several programs as one file: constants with the same bytes are stored once, method names must
// differ.
Result<Emitted> join(std::vector<Emitted> parts);

// A method without inputs that returns a number.
PteMethod constant_method(const std::string& name, int64_t value);

}  // namespace sconce
