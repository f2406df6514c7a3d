// Tile programs as bytes: the payload of a delegate call. Layout: tile.fbs.
//
// Bytes may come from anyone: what read_program() gives back has been verified and can be run.
#pragma once

#include "tile/program.h"

namespace sconce::tile {

// What a delegate call of a .pte names, and what its payload is aligned for: the memory between the
// steps (Program::arena_bytes) begins at a multiple of this.
inline constexpr char kBackendId[] = "SconceBackend";
inline constexpr uint64_t kArenaAlignment = 64;

// The same program gives the same bytes.
std::vector<uint8_t> write_program(const Program& program);
// Bytes need no alignment. Errors name the part, the number found and the one wanted.
Result<Program> read_program(Bytes bytes);

}  // namespace sconce::tile
