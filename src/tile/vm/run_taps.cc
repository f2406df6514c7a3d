// Which part of an axis a window sees inside its buffer.
#include "tile/vm/run_taps.h"

namespace sconce::tile {

// The part [begin, end) of the axis `run` for which a load is inside its buffer; other axes than
// those of `outer` and `inner` stay at their beginnings.
void Worker::narrow(const Instruction& load, const At& outer, const At& inner, AxisId run,
                    int64_t* begin, int64_t* end) const {
  const BufferView& shape = p_.shapes[size_t(load.buffer)];
  for (size_t d = 0; d < load.index.size(); d++) {
    int64_t position = index_base(load.index[d]), factor = 0, size = shape.sizes[d];
    for (const Term& term : load.index[d].terms) {
      if (!has_dimension(term.axis)) continue;
      if (term.axis == run)
        factor = term.factor;
      else
        position += term.factor * (outer.of(term.axis) + inner.of(term.axis));
    }
    if (factor == 0) {
      if (position < 0 || position >= size) *end = 0;
    } else if (factor > 0) {
      *begin = std::max(*begin, position >= 0 ? 0 : (-position + factor - 1) / factor);
      *end = std::min(*end, size <= position ? 0 : (size - position + factor - 1) / factor);
    } else {
      *begin = std::max(*begin, position < size ? 0 : (position - size) / -factor + 1);
      *end = std::min(*end, position < 0 ? 0 : position / -factor + 1);
    }
  }
  *end = std::max<int64_t>(*end, 0);
  *begin = std::min(*begin, *end);
}

}  // namespace sconce::tile
