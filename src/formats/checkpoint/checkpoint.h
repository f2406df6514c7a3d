// Checkpoints of PyTorch, opened without running anything: what torch.save and torch.jit.save
// wrote, in any of their four formats (format.md).
//
// The result is the pickled value as data (pickle.h) and, for each storage that it names, the bytes
// in the file. Tensors are views that have been checked to lie in their storages; no element has
// been read yet.
#pragma once

#include <deque>
#include <string>
#include <vector>

#include "base/result.h"
#include "base/span.h"
#include "formats/checkpoint/pickle.h"

namespace sconce {

enum class CheckpointFormat : uint8_t {
  zip,      // torch.save since 1.6
  script,   // torch.jit.save: the same with code, which is not read
  stream,   // torch.save before: pickles, then storages
  archive,  // torch.save before 0.1.10: a tar file
  plain,    // one pickle without storages
};

const char* format_name(CheckpointFormat format);  // "zip archive of torch.save", ...

struct CheckpointOptions {
  PickleLimits limits;
  // Names that are not on the list become inert placeholders; else they refuse the file.
  bool ignore_unknown = false;
  // Compares records of zip archives with their checksums (the other formats have none).
  bool verify_checksums = true;
  uint64_t pickle_inflated_bytes_max = 1ull << 28;  // of a deflated data.pkl
};

// Where the elements of a storage are.
struct StorageRecord {
  std::string name;  // "archive/data/0", "storage 94780577045792"
  Bytes bytes;       // in the file; deflated ones are not the elements
  uint64_t inflated_bytes = 0;
  bool deflated = false, has_checksum = false;
  uint32_t checksum = 0;  // CRC-32 of the elements
};

struct Checkpoint {
  CheckpointFormat format = CheckpointFormat::zip;
  PickleTree tree;
  std::string pickle_name;              // for messages; empty: the file itself
  std::vector<StorageRecord> storages;  // as tree.storages
  bool big_endian = false;              // of the elements in storages
  std::vector<std::string> unused;      // records that nothing names
  std::deque<std::vector<uint8_t>> owned;
};

// Views of the result point into `file`, which must outlive it. Errors name the record, the offset
// in it, the opcode and the global. Code::unsupported: well formed, but holds something that is not
// on the list; Code::invalid_file: broken, or it lies; Code::too_large: a limit was met.
Result<Checkpoint> read_checkpoint(Bytes file, const CheckpointOptions& options = {});

}  // namespace sconce
