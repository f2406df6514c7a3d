// Functions of TileIR as C99: text of what kernels written as C call.
//
// Elementary functions are the block kernels' own (kernels/math.h), run once over expressions
// instead of numbers, so that their C has the same operations and gives the same bits.
#pragma once

#include <set>
#include <string>

#include "tile/ir.h"

namespace sconce::tile {

// The helpers that some text calls; the names in it are those of the functions.
class CHelpers {
 public:
  // Notes that `name` is called ("sc_exp"), and gives it back.
  const std::string& use(const std::string& name);
  // The text of what was noted and of what that calls, each before it is called; with the lines
  // that every file begins with.
  std::string text() const;

 private:
  std::set<std::string> used_;
};

// Name of the helper that computes a function of f32, as use() takes it: "sc_exp".
std::string c_name_of(Unary function);
std::string c_name_of(Binary function);

}  // namespace sconce::tile
