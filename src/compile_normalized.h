// Compile, from the middle: programs that have been changed between their normal form and what a
// target makes of it. What quantize.cc asks of compile.cc.
#pragma once

#include <memory>

#include "base/result.h"
#include "ir/graph.h"
#include "sconce/compile.h"
#include "targets/target.h"

namespace sconce {

// The target of that name; an error that names all there are.
Result<const Target*> known_target(const std::string& name);

// A program of one method that has run the pipeline up to kNormalized goes the rest of the way:
// the bytes of a .pte, which holds its weights whatever `options` say.
Result<std::vector<uint8_t>> compile_normalized(std::unique_ptr<Program> program,
                                                const CompileOptions& options,
                                                CompileReport* report = nullptr);

}  // namespace sconce
