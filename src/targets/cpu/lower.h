// Lowering: nodes of a graph become a tile program.
//
// Pointwise nodes run in the kernel of what they read from or of what reads them; views are other
// strides on the same memory; convolutions and what surrounds them keep channels innermost.
#pragma once

#include <memory>
#include <optional>
#include <vector>

#include "ir/graph.h"
#include "tile/program.h"

namespace sconce {

// Bytes that a tile program finds by name.
struct TileConstant {
  std::string name;
  Bytes bytes;
  std::shared_ptr<const std::vector<uint8_t>> owned;  // keeps `bytes` alive when made here
};

struct LoweredRegion {
  tile::Program program;
  std::vector<TileConstant> constants;
  std::vector<ValueId> inputs, outputs;  // in the order of the program's arguments
};

// True when a node can be part of a region.
bool can_lower(const Program& program, const Graph& graph, const Node& node);

// A region: nodes in the order of execution, each of which can_lower(). Values used outside it are
// its outputs.
Result<LoweredRegion> lower(const Program& program, const Graph& graph, Span<const NodeId> nodes);

}  // namespace sconce
