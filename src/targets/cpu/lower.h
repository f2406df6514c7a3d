// Lowering: nodes of a graph become a tile program.
//
// Pointwise nodes run in the kernel of what they read from or of what reads them; views are other
// strides on the same memory; convolutions and what surrounds them keep channels innermost. Sizes
// may be expressions of the program's symbols: the tile program then computes its numbers from the
// sizes of its inputs (tile::Program::symbols), and its memory is that of the largest ones.
#pragma once

#include <memory>
#include <optional>
#include <vector>

#include "ir/graph.h"
#include "ops/prefer.h"
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

// True when a node can be part of a region. New expressions are added to the program's symbols; so
// below.
bool can_lower(Program& program, const Graph& graph, const Node& node,
               Prefer prefer = Prefer::balance);

// Why a node "kernel" cannot be part of a region; nothing when it can.
std::optional<std::string> why_not_own_kernel(const Program& program, const Graph& graph,
                                              const Node& node);

// A region: nodes in the order of execution, each of which can_lower(). Values used outside it are
// its outputs. Inputs of the graph are added to the region's when sizes of theirs are needed.
// Code::unsupported: what the region's sizes follow from is no size of any input, or they are too
// large.
Result<LoweredRegion> lower(Program& program, const Graph& graph, Span<const NodeId> nodes,
                            Prefer prefer = Prefer::balance);

}  // namespace sconce
