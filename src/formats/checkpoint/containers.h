// The formats of checkpoints, one function each; checkpoint.cc chooses.
#pragma once

#include "formats/checkpoint/checkpoint.h"

namespace sconce {

Result<Checkpoint> read_zip_checkpoint(Bytes file, const CheckpointOptions& options);
Result<Checkpoint> read_stream_checkpoint(Bytes file, const CheckpointOptions& options);
Result<Checkpoint> read_tar_checkpoint(Bytes file, const CheckpointOptions& options);

bool is_tar(Bytes file);

// Reads the next pickle of a file at `*at`, which moves past it. `what` is for messages.
Result<PickleTree> read_next_pickle(Bytes file, uint64_t* at, const char* what,
                                    const PickleOptions& options);
// The next `bytes` bytes; `*at` moves past them.
Result<Bytes> read_next_bytes(Bytes file, uint64_t* at, uint64_t bytes, std::string_view what);
// Little endian, 8 bytes.
Result<uint64_t> read_next_number(Bytes file, uint64_t* at, std::string_view what);

}  // namespace sconce
