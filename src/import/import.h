// Import: an exported program becomes IR.
//
// What torch.export leaves implicit is made explicit here: in-place operators and writes through
// views become functional nodes plus write-backs, composite operators without a kernel of their own
// become their parts, regions such as no_grad are inlined, assertions are dropped (their facts are
// in the symbols' ranges). Names, source lines and symbolic sizes are kept.
#pragma once

#include <memory>
#include <string>

#include "base/file.h"
#include "formats/pt2/pt2.h"
#include "ir/graph.h"
#include "ops/own_kernel.h"

namespace sconce {

// One method, named `method_name`. `kernels` stand for the operators that they name, also for those
// that are known. Constants view into the archive's file: the caller keeps it
// mapped for as long as the program lives.
Result<std::unique_ptr<Program>> import_program(const pt2::Program& exported,
                                                const std::string& method_name,
                                                const OwnKernels& kernels = {});
// Maps and reads `path`; the result keeps the mapping alive.
Result<std::unique_ptr<Program>> import_pt2(const std::string& path,
                                            const std::string& method_name = "forward",
                                            const OwnKernels& kernels = {});

}  // namespace sconce
