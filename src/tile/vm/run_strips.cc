// Pointwise instructions in strips: for each place all steps on a strip, then on the next.
#include "tile/vm/run_taps.h"

namespace sconce::tile {

void Worker::run_strips(const StripPlan& plan) {
  using Slot = StripPlan::Slot;
  for (ValueId v : plan.made) settle(v);
  // Rows of places, then places, then strips.
  const size_t outer = plan.outer.size();
  const AxisId along = outer ? plan.outer.back() : kNone;
  const Span<const AxisId> rows(plan.outer.data(), outer ? outer - 1 : 0);
  const int64_t places = along == kNone ? 1 : length_[along], length = length_[plan.inner];
  auto** slots = reinterpret_cast<float**>(scratch_ + plan.slots_offset);
  auto* moving = reinterpret_cast<MovingSlot*>(slots + plan.slots.size());
  size_t count = 0;
  for (size_t s = 0; s < plan.slots.size(); s++) {
    const Slot& slot = plan.slots[s];
    if (slot.kind == Slot::Kind::row || slot.kind == Slot::Kind::number) {
      slots[s] = row_of(plan, slot);
      continue;
    }
    MovingSlot& to = moving[count++];
    to = {slots + s, {}, {}, nullptr, nullptr, 0, 0, 0};
    if (slot.kind == Slot::Kind::value) {
      to.tile = ref(slot.of);
    } else {
      const Instruction& i = k_.body[size_t(slot.of)];
      to.tile = buffer_ref(i);
      to.reach = Reach(*this, i, rows, {}, along);
      to.outside = row_of(plan, plan.slots[size_t(slot.outside)]);
    }
  }
  each(rows, [&](const int64_t* at) {
    for (MovingSlot* m = moving; m != moving + count; m++) {
      m->row = floats(m->tile) + offset_at(m->tile, rows, at);
      m->step = along == kNone ? 0 : m->tile.stride[along];
      m->begin = 0;
      m->end = places;
      m->reach.go_to(at, nullptr);
      m->reach.narrow_run(0, &m->begin, &m->end);
    }
    for (int64_t x = 0; x < places; x++)
      for (int64_t first = 0; first < length; first += kStrip) {
        for (const MovingSlot* m = moving; m != moving + count; m++)
          *m->slot = x >= m->begin && x < m->end ? m->row + x * m->step + first : m->outside;
        table_.strip({plan.steps.data(), int64_t(plan.steps.size()), slots,
                      std::min<int64_t>(kStrip, length - first), plan.operands.data()});
      }
  });
}

}  // namespace sconce::tile
