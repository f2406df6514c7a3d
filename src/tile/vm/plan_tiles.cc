// How the parallel axes are cut into tiles.
#include <algorithm>

#include "tile/kernels/blocking.h"
#include "tile/vm/plan.h"

namespace sconce::tile {

namespace {

constexpr int64_t kPlainTile = 4096;    // elements of a tile where nothing else decides
constexpr int64_t kWindowTile = 32768;  // where a window slides over a buffer and nothing is kept
constexpr int64_t kDotRows = 168;       // rows of a tile with a dot, about

}  // namespace

Result<void> Plan::State::choose_tiles(int threads, const Schedule& schedule) {
  tile.assign(kernel.axes.size(), 1);
  const DotPlan* main = nullptr;
  for (const DotPlan& dot : dots)
    if (!main && (dot.kind == DotPlan::Kind::panels || dot.kind == DotPlan::Kind::packed_here ||
                  dot.kind == DotPlan::Kind::bytes))
      main = &dot;
  auto is_cut = [&](AxisId a) {
    return kernel.axes[size_t(a)].kind == AxisKind::parallel && !kernel.axes[size_t(a)].each;
  };
  int64_t spans = 1;
  if (!main) {
    // Spans that have memory of their own count; what a window slides over does not.
    AxisSet made = 0;
    for (size_t v = 0; v < values.size(); v++)
      if (values[v].home == Home::scratch) made |= kernel.values[v].axes;
    for (size_t a = 0; a < kernel.axes.size(); a++)
      if (kernel.axes[a].kind != AxisKind::parallel && (made >> a & 1))
        spans *= kernel.axes[a].kind == AxisKind::span ? extent[a] : kernel.axes[a].block;
  }
  // Windows that slide over buffers, with nothing else to do, keep nothing in between.
  bool slides = true;
  for (size_t n = 0; n < kernel.body.size(); n++) {
    const Instruction& i = kernel.body[n];
    bool in_place = i.op == Op::constant || i.op == Op::load || i.op == Op::store ||
                    (i.op == Op::dot && (dots[n].kind == DotPlan::Kind::vector ||
                                         dots[n].kind == DotPlan::Kind::bytes_vector)) ||
                    (i.op == Op::reduce && values[size_t(i.operands[0])].home == Home::folded);
    slides &= skipped[n] || in_place;
  }
  for (const Instruction& i : kernel.body)
    slides &= i.op != Op::load || values[size_t(i.results[0])].home != Home::scratch;
  int64_t depth = 1;  // of the main dot; a shallow one takes more rows, for what a tile costs
  if (main)
    for (AxisId a : main->depth) depth = std::min<int64_t>(kDotDepth, depth * extent[size_t(a)]);
  // Columns of a tile; of bytes more when they are shallow, cut evenly.
  auto columns_of = [&](const DotPlan& dot) {
    int64_t all = extent[size_t(dot.column)], most = 192;
    if (dot.kind != DotPlan::Kind::bytes) return std::min(all, most);
    most = std::clamp<int64_t>(32768 / std::max<int64_t>(depth, 1), 192, 512);
    return pieces(std::max<int64_t>(all, 1), pieces(std::max<int64_t>(all, 1), most));
  };
  int64_t room = main     ? kDotRows * std::clamp<int64_t>(256 / std::max<int64_t>(depth, 1), 1, 4)
                 : slides ? kWindowTile
                          : std::max<int64_t>(1, kPlainTile / std::max<int64_t>(spans, 1));
  if (main && main->column != kNone && is_cut(main->column))
    tile[size_t(main->column)] = columns_of(*main);
  for (size_t o = order.size(); o-- > 0;) {
    AxisId a = order[o];
    if (!is_cut(a) || (main && a == main->column)) continue;
    int64_t size = std::max<int64_t>(extent[size_t(a)], 1);
    int64_t parts = (size + room - 1) / room;
    tile[size_t(a)] = (size + parts - 1) / parts;
    room = std::max<int64_t>(1, room / tile[size_t(a)]);
  }
  auto count_tasks = [&] {
    grid.clear();
    grid_count.clear();
    tasks = 1;
    for (size_t a = 0; a < kernel.axes.size(); a++) {
      if (kernel.axes[a].kind != AxisKind::parallel) continue;
      if (a < schedule.tile.size() && schedule.tile[a] > 0 && is_cut(AxisId(a)))
        tile[a] = schedule.tile[a];
      for (const DotPlan& dot : dots)  // panels are not cut
        if ((dot.kind == DotPlan::Kind::panels || dot.kind == DotPlan::Kind::bytes) &&
            dot.column == AxisId(a))
          tile[a] = (tile[a] + kPanelColumns - 1) / kPanelColumns * kPanelColumns;
      tile[a] = std::max<int64_t>(1, std::min(tile[a], extent[a]));
      grid.push_back(AxisId(a));
      grid_count.push_back((extent[a] + tile[a] - 1) / tile[a]);
      if (__builtin_mul_overflow(tasks, grid_count.back(), &tasks)) return false;
    }
    return true;
  };
  if (!count_tasks()) return error(Code::too_large, "kernel {}: too many tiles", kernel.name);
  // Work for all threads: halve the rows, then the columns, as long as tiles stay worth it.
  while (threads > 1 && tasks < 3 * threads) {
    AxisId widest = kNone;
    int64_t rows = 1;  // of a dot, over all axes that they run along
    for (AxisId a : grid)
      if (main && a != main->column && is_cut(a)) rows *= tile[size_t(a)];
    for (AxisId a : grid) {
      int64_t least = main && a == main->column ? 96 : 1;
      if (main && a != main->column) least = std::max<int64_t>(1, 24 * tile[size_t(a)] / rows);
      if (a == innermost(order) && !main) least = 64;
      bool given = size_t(a) < schedule.tile.size() && schedule.tile[size_t(a)] > 0;
      if (is_cut(a) && !given && tile[size_t(a)] >= 2 * least &&
          (widest == kNone || tile[size_t(a)] > tile[size_t(widest)]))
        widest = a;
    }
    if (widest == kNone) break;
    tile[size_t(widest)] = (tile[size_t(widest)] + 1) / 2;
    if (main && widest == main->column)
      tile[size_t(widest)] = (tile[size_t(widest)] + 47) / 48 * 48;
    if (!count_tasks()) return error(Code::too_large, "kernel {}: too many tiles", kernel.name);
  }
  return {};
}

}  // namespace sconce::tile
