// How the parallel axes are cut into tiles: so that what a tile keeps fits the caches, as the
// schedule says where it does, and finer where there would be too few tiles for all threads.
#include <algorithm>

#include "tile/kernels/blocking.h"
#include "tile/vm/plan.h"

namespace sconce::tile {
namespace {

constexpr int64_t kPlainTile = 4096;    // elements of a tile where nothing else decides
constexpr int64_t kLeastRow = 64;       // of a row of results, even where a tile keeps more for it
constexpr int64_t kRowsKept = 1 << 19;  // than that: elements that it then keeps at most
constexpr int64_t kWindowBytes = 131072;  // where a window slides over a buffer and nothing is kept
constexpr int64_t kDotRows = 168;         // rows of a tile with a dot, about
constexpr int64_t kDotColumns = 192;      // its columns
constexpr int64_t kByteColumns = 512;     // those of bytes
constexpr int64_t kKeptRow = 8192;        // elements of rows that are kept from one dot to the next
constexpr int64_t kKeptRows = 24;         // the fewest rows of these
constexpr int64_t kOwnColumns = 2048, kOwnWeights = 256 * 1024;  // where rows become bytes first

class Tiling {
 public:
  Tiling(Plan::State& state, const Schedule& schedule)
      : s_(state), kernel_(state.kernel), schedule_(schedule), main_(find_main()) {
    if (main_)
      for (AxisId a : main_->depth)
        depth_ = std::min<int64_t>(kDotDepth, depth_ * s_.extent[size_t(a)]);
  }

  Result<void> choose(int threads) {
    cut_for_caches();
    TRY_VOID(make_grid());
    // Work for all threads: halve the rows, then the columns, as long as tiles stay worth it.
    while (threads > 1 && s_.tasks < 3 * threads) {
      AxisId widest = find_widest();
      if (widest == kNone) break;
      int64_t& tile = s_.tile[size_t(widest)];
      tile = (tile + 1) / 2;
      if (main_ && widest == main_->column) tile = whole_tiles(tile);
      TRY_VOID(make_grid());
    }
    // Tiles that read the same packed columns are for one thread, where there are enough others.
    if (s_.keeps_rows && !s_.grid.empty()) {
      int64_t along = s_.grid_count.back();
      if (is_cut(s_.grid.back()) && s_.tasks / std::max<int64_t>(along, 1) >= 4 * threads)
        s_.grain = along;
    }
    return {};
  }

 private:
  // The dot that decides: the first one on panels.
  const DotPlan* find_main() const {
    for (const DotPlan& dot : s_.dots)
      if (dot.kind == DotPlan::Kind::panels || dot.kind == DotPlan::Kind::packed_here ||
          dot.kind == DotPlan::Kind::bytes || dot.kind == DotPlan::Kind::weights)
        return &dot;
    return nullptr;
  }
  bool is_cut(AxisId a) const {
    return kernel_.axes[size_t(a)].kind == AxisKind::parallel && !kernel_.axes[size_t(a)].each;
  }
  bool is_given(AxisId a) const {
    return size_t(a) < schedule_.tile.size() && schedule_.tile[size_t(a)] > 0;
  }

  void cut_for_caches() {
    s_.tile.assign(kernel_.axes.size(), 1);
    if (main_ && main_->column != kNone && is_cut(main_->column))
      s_.tile[size_t(main_->column)] = columns_of_main();
    int64_t room = elements_of_tile();
    if (!main_ && !s_.order.empty() && is_cut(s_.order.back()))
      room = std::max(room, std::min(kLeastRow, kRowsKept / std::max<int64_t>(kept_by_index(), 1)));
    for (size_t o = s_.order.size(); o-- > 0;) {
      AxisId a = s_.order[o];
      if (!is_cut(a) || (main_ && a == main_->column)) continue;
      int64_t size = std::max<int64_t>(s_.extent[size_t(a)], 1);
      int64_t parts = pieces(size, room);
      s_.tile[size_t(a)] = pieces(size, parts);
      room = std::max<int64_t>(1, room / s_.tile[size_t(a)]);
    }
  }

  // Of bytes more columns, cut evenly into whole tiles of the kernels. Where rows become bytes
  // first they do so anew for every tile of columns: the more the shallower.
  int64_t columns_of_main() const {
    const int64_t all = std::max<int64_t>(s_.extent[size_t(main_->column)], 1);
    int64_t most = kByteColumns;
    if (main_->weights.is_own())
      most =
          std::clamp<int64_t>(kOwnWeights / std::max<int64_t>(depth_, 1), kDotColumns, kOwnColumns);
    else if (main_->kind != DotPlan::Kind::bytes)
      return std::min(all, kDotColumns);
    return whole_tiles(pieces(all, pieces(all, most)));
  }
  // At least so many columns, of whole tiles of the main dot's kernels.
  int64_t whole_tiles(int64_t columns) const {
    const bool of_bytes = main_->kind == DotPlan::Kind::bytes || main_->weights.is_own();
    const DotTile best = of_bytes ? s_.table->dot_i8.tiles[0] : s_.table->dot_f32.tiles[0];
    const int64_t wide = best.panels * kPanelColumns;
    return pieces(columns, wide) * wide;
  }

  // How many indices of all axes but the main dot's columns a tile may have. A shallow dot takes
  // more rows, for what a tile costs.
  int64_t elements_of_tile() const {
    if (int64_t kept = kept_by_row(); kept > 0) {
      s_.keeps_rows = true;
      return std::clamp<int64_t>(kKeptRow / kept, kKeptRows, kDotRows);
    }
    if (main_) {
      const int64_t deep = main_->kind == DotPlan::Kind::bytes ? 1024 : 256;
      return kDotRows * std::clamp<int64_t>(deep / std::max<int64_t>(depth_, 1), 1, deep / 64);
    }
    if (int64_t bytes = only_slides()) return kWindowBytes / bytes;
    return std::max<int64_t>(1, kPlainTile / std::max<int64_t>(kept_by_index(), 1));
  }

  // Where all columns of the main dot are in each tile, and packed once: elements of a row of the
  // widest value with memory of its own. 0 elsewhere.
  int64_t kept_by_row() const {
    if (!main_ || main_->column == kNone || is_cut(main_->column) ||
        !s_.can_pack_once(kernel_.body[size_t(main_ - s_.dots.data())], *main_))
      return 0;
    int64_t widest = 1;
    for (const ValuePlan& value : s_.values) {
      if (value.home != Home::scratch) continue;
      int64_t row = 1;
      for (AxisId a : value.axes) {
        const Axis& axis = kernel_.axes[size_t(a)];
        if (axis.kind == AxisKind::parallel) continue;
        int64_t length = axis.kind == AxisKind::span ? s_.extent[size_t(a)] : axis.block;
        row = std::min(row * std::clamp<int64_t>(length, 1, kKeptRow), kKeptRow);
      }
      widest = std::max(widest, row);
    }
    return widest;
  }

  // Spans that have memory of their own count; what a window slides over does not.
  int64_t kept_by_index() const {
    AxisSet made = 0;
    for (size_t v = 0; v < s_.values.size(); v++)
      if (s_.values[v].home == Home::scratch) made |= kernel_.values[v].axes;
    int64_t spans = 1;
    for (size_t a = 0; a < kernel_.axes.size(); a++)
      if (kernel_.axes[a].kind != AxisKind::parallel && (made >> a & 1))
        spans *= kernel_.axes[a].kind == AxisKind::span ? s_.extent[a] : kernel_.axes[a].block;
    return spans;
  }

  // Windows that slide over buffers, with nothing else to do, keep nothing in between: the bytes of
  // their elements. 0 where there is something else to do.
  int64_t only_slides() const {
    int64_t bytes = 1;
    for (size_t n = 0; n < kernel_.body.size(); n++) {
      const Instruction& i = kernel_.body[n];
      if (i.op == Op::load && s_.values[size_t(i.results[0])].home == Home::scratch) return 0;
      bool in_place = i.op == Op::constant || i.op == Op::load || i.op == Op::store ||
                      (i.op == Op::dot && (s_.dots[n].kind == DotPlan::Kind::vector ||
                                           s_.dots[n].kind == DotPlan::Kind::bytes_vector)) ||
                      (i.op == Op::reduce && s_.values[size_t(i.operands[0])].home == Home::folded);
      if (!s_.skipped[n] && !in_place) return 0;
      if ((i.op == Op::dot && s_.dots[n].kind == DotPlan::Kind::vector) ||
          (i.op == Op::reduce && s_.values[size_t(i.results[0])].dtype == DType::f32))
        bytes = 4;
    }
    return bytes;
  }

  // Tiles along each parallel axis, of sizes that the schedule and panels allow.
  Result<void> make_grid() {
    s_.grid.clear();
    s_.grid_count.clear();
    s_.tasks = 1;
    for (size_t a = 0; a < kernel_.axes.size(); a++) {
      if (kernel_.axes[a].kind != AxisKind::parallel) continue;
      int64_t& tile = s_.tile[a];
      if (is_cut(AxisId(a)) && is_given(AxisId(a))) tile = schedule_.tile[a];
      tile = std::min(tile, s_.extent[a]);
      for (const DotPlan& dot : s_.dots)  // panels are not cut
        if ((dot.kind == DotPlan::Kind::panels || dot.kind == DotPlan::Kind::bytes ||
             dot.kind == DotPlan::Kind::weights) &&
            dot.column == AxisId(a))
          tile = std::min(pieces(tile, kPanelColumns) * kPanelColumns, s_.extent[a]);
      tile = std::max<int64_t>(1, tile);
      s_.grid.push_back(AxisId(a));
      s_.grid_count.push_back(pieces(s_.extent[a], tile));
      if (__builtin_mul_overflow(s_.tasks, s_.grid_count.back(), &s_.tasks))
        return error(Code::too_large, "kernel {}: too many tiles", kernel_.name);
    }
    return {};
  }

  // The axis with the largest tile that can be halved; none when tiles are as small as is worth it.
  AxisId find_widest() const {
    AxisId widest = kNone;
    int64_t rows = 1;  // of a dot, over all axes that they run along
    for (AxisId a : s_.grid)
      if (main_ && a != main_->column && is_cut(a)) rows *= s_.tile[size_t(a)];
    for (AxisId a : s_.grid) {
      int64_t tile = s_.tile[size_t(a)], least = 1;
      if (main_) least = a == main_->column ? 96 : std::max<int64_t>(1, 24 * tile / rows);
      if (!main_ && a == s_.innermost(s_.order)) least = 64;
      if (is_cut(a) && !is_given(a) && tile >= 2 * least &&
          (widest == kNone || tile > s_.tile[size_t(widest)]))
        widest = a;
    }
    return widest;
  }

  Plan::State& s_;
  const Kernel& kernel_;
  const Schedule& schedule_;
  const DotPlan* main_;
  int64_t depth_ = 1;  // steps of the main dot, of which at most kDotDepth count
};

}  // namespace

Result<void> Plan::State::choose_tiles(int threads, const Schedule& schedule) {
  return Tiling(*this, schedule).choose(threads);
}

}  // namespace sconce::tile
