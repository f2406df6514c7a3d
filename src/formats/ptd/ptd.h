// .ptd files: weights of a .pte that live in a file of their own. Layout and source: format.md.
#pragma once

#include <string>
#include <vector>

#include "base/result.h"
#include "base/span.h"
#include "tensor/dtype.h"

namespace sconce {

struct PtdEntry {
  std::string key;
  Bytes bytes;             // views the file
  bool is_tensor = false;  // else opaque bytes, and nothing below counts
  DType dtype = DType::f32;
  std::vector<int32_t> sizes;
  std::vector<uint8_t> dim_order;
};

// Every entry of a whole file, which outlives them. Errors name the entry and what is wrong with
// it.
Result<std::vector<PtdEntry>> read_ptd(Bytes file);

// A file as pieces in order, for save_file(). They view `tables` and the entries' bytes, which must
// live until the pieces are written.
struct PtdFile {
  std::vector<uint8_t> tables;  // header and tables
  std::vector<Bytes> pieces;
  uint64_t bytes = 0;

  PtdFile() = default;
  PtdFile(PtdFile&&) = default;
  PtdFile& operator=(PtdFile&&) = default;
  PtdFile(const PtdFile&) = delete;
  PtdFile& operator=(const PtdFile&) = delete;

  std::vector<uint8_t> joined() const;  // one copy of everything; for small files and tests
};

// Entries in this order; those of equal bytes share a segment. The same entries give the same
// bytes. Refuses what read_ptd() would, naming the entry.
Result<PtdFile> write_ptd(Span<const PtdEntry> entries);

}  // namespace sconce
