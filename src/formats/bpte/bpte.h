// .bpte bundles: a .pte program with test cases for its methods. Layout and source: format.md.
//
// Says what the file holds. Running the cases is the business of who has a runtime
// (`sconce check --bundle`).
#pragma once

#include <string>
#include <variant>
#include <vector>

#include "base/result.h"
#include "base/span.h"
#include "tensor/dtype.h"

namespace sconce {

struct BpteTensor {
  DType dtype = DType::f32;
  std::vector<int32_t> sizes;
  std::vector<uint8_t> dim_order;  // as many as sizes
  Bytes bytes;                     // exactly what the sizes want, in the order of dim_order
};

using BpteValue = std::variant<BpteTensor, int64_t, bool, double>;

struct BpteCase {
  std::vector<BpteValue> inputs;   // one for each input of the method, in order
  std::vector<BpteValue> outputs;  // expected ones; none = nothing is expected
};

struct BpteSuite {
  std::string method;
  std::vector<BpteCase> cases;
};

struct BpteFile {
  std::vector<BpteSuite> suites;
  Bytes program;  // a .pte
};

// By its identifier; says nothing about the rest.
bool is_bpte(Bytes file);

// The contents of a whole file, which outlives them: bytes of tensors and program view it. The
// program itself is not looked at. Errors name suite, case and value.
Result<BpteFile> read_bpte(Bytes file);

// The program inside a bundle; any other file as it is. Views `file`.
Result<Bytes> program_in(Bytes file);

// The bytes of a bundle; stock ExecuTorch reads them. Suites stand in the order of their names.
// Refuses what read_bpte() would, and bundles beyond 2 GiB.
Result<std::vector<uint8_t>> write_bpte(const BpteFile& file);

}  // namespace sconce
