// The other way: plain structs to the archive that torch.export.load opens.
#pragma once

#include <vector>

#include "formats/pt2/pt2.h"

namespace sconce::pt2 {

// An archive of one program. Everything that read_archive() checks must hold; weights and constants
// that share a storage are written once. Sample inputs, which are a pickle, are left empty: torch
// takes that as none. Entries are stored and begin at multiples of 64 bytes. An argument of a kind
// that only control flow and custom classes have is refused, as is a file of 4 GiB or more.
Result<std::vector<uint8_t>> write_archive(const Program& program);

}  // namespace sconce::pt2
