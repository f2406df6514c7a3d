#include "ops/linear/strassen.h"

#include <fmt/format.h>

#include <cmath>
#include <cstring>

namespace sconce {
namespace {

constexpr int64_t kProducts = 7;

bool is_odd(SymInt rows) { return rows.is_known() && rows.value % 2 != 0; }

// The seven matrices that are multiplied by, in the order of the products, the fourth with the
// other sign: each [columns, steps] of a quarter. Sums are made in f64 and rounded once.
std::vector<float> weights_of(Bytes data, const StrassenColumns& b) {
  const int64_t steps = b.steps / 2, columns = b.columns / 2;
  std::vector<float> result(size_t(kProducts * steps * columns));
  auto read = [&](int64_t k, int64_t n) {
    float x;
    memcpy(&x, data.data() + size_t(k * b.step_stride + n * b.column_stride) * sizeof(x),
           sizeof(x));
    return double(x);
  };
  for (int64_t n = 0; n < columns; n++)
    for (int64_t k = 0; k < steps; k++) {
      const double b11 = read(k, n), b12 = read(k, n + columns), b21 = read(k + steps, n),
                   b22 = read(k + steps, n + columns);
      const double t1 = b12 - b11, t2 = b22 - t1;
      const double products[kProducts] = {b11, b21, b22, b21 - t2, t1, t2, b22 - b12};
      for (int64_t p = 0; p < kProducts; p++)
        result[size_t((p * columns + n) * steps + k)] = float(products[p]);
    }
  return result;
}

}  // namespace

bool is_worth_strassen(const TileLowering& l, int64_t batches, SymInt rows,
                       const StrassenColumns& b) {
  if (l.prefer != Prefer::speed || (!rows.is_known() && !l.symbols.is_multiple(rows, 2)) ||
      b.columns % (2 * tile::kPanelColumns) || b.steps % 2 ||
      l.graph.values[size_t(b.constant)].origin != Origin::constant ||
      l.graph.type(b.constant).tensor.dtype != DType::f32)
    return false;
  // Costs in fused multiply-adds, from times measured on AVX-512 (docs/performance.md): reading a
  // weight once, the sums of a step of a pair for each tile of columns, those of a column.
  constexpr double kWeightCost = 2, kStepSums = 22, kColumnSums = 20, kTileColumns = 384;
  const double pairs = double(batches) * double((l.likely(rows) + 1) / 2), steps = double(b.steps),
               columns = double(b.columns), weights = steps * columns;
  const double direct = (2 * pairs + kWeightCost) * weights;
  const double fewer =
      (pairs + kWeightCost) * weights * double(kProducts) / 4 +
      pairs * (kStepSums * steps * std::ceil(columns / kTileColumns) + kColumnSums * columns);
  return fewer < 0.97 * direct;
}

TileIndex strassen_axes(TileLowering& l, std::vector<SymInt> sizes) {
  SymInt &rows = sizes[sizes.size() - 2], &columns = sizes.back();
  rows = is_odd(rows) ? (rows.value + 1) / 2 : l.symbols.floor_divide(rows, 2);
  columns = l.number(columns) / 2;
  TileIndex at;
  for (SymInt size : sizes) at.push_back(l.parallel(size));
  return at;
}

std::vector<TileCell> strassen_cell(Span<const SymInt> sizes) {
  std::vector<TileCell> cell(sizes.size());
  cell[sizes.size() - 2] = {2, is_odd(sizes[sizes.size() - 2])};
  cell.back() = {2, true};
  return cell;
}

std::optional<tile::ValueId> strassen(
    TileLowering& l, const StrassenColumns& b, SymInt rows, const TileIndex& at,
    const std::function<std::optional<tile::ValueId>(int64_t row, const tile::Index& k)>&
        element_of_x,
    const std::function<std::optional<tile::ValueId>(const tile::Index& column)>& bias_of) {
  auto& build = l.build;
  const int64_t steps = b.steps / 2, columns = b.columns / 2;
  const std::string how =
      fmt::format("by {} and {} for Strassen's products", b.step_stride, b.column_stride);
  auto weights = l.panels_made_of(b.constant, how, {kProducts, steps, columns},
                                  [&](Bytes data) { return weights_of(data, b); });
  if (!weights) return std::nullopt;
  const tile::AxisId k = l.shared_span(0, steps);
  tile::Index column = at.back();
  column.offset = 0;
  auto product = [&](int64_t number, tile::ValueId initial, tile::ValueId rows) {
    tile::ValueId w = build.load(*weights, {tile::at(number - 1), tile::along(k), column});
    return build.dot(initial, rows, w, {k});
  };
  if (l.kept.empty()) {
    // What the four elements share, in an order in which at most two of the sums S1 to S4 are
    // needed at a time. P5 is in all of the second half, and so is its bias.
    const int64_t second_row = is_odd(rows) ? rows.value / 2 : 1;
    auto x = [&](int row, int half) {
      return element_of_x(row * second_row, tile::along(k, 1, half * steps));
    };
    tile::Index second = column;
    second.offset = columns;
    auto a11 = x(0, 0), a12 = x(0, 1), a21 = x(1, 0), a22 = x(1, 1), of_second = bias_of(second);
    if (!a11 || !a12 || !a21 || !a22 || !of_second) return std::nullopt;
    const tile::ValueId zero = build.constant(0), p1 = product(1, zero, *a11);
    const tile::ValueId s1 = build.add(*a21, *a22), p5 = product(5, *of_second, s1);
    const tile::ValueId s2 = build.sub(s1, *a11), u2 = build.add(product(6, zero, s2), p1);
    const tile::ValueId u4 = build.add(u2, p5), s3 = build.sub(*a11, *a21);
    const tile::ValueId u3 = build.add(product(7, zero, s3), u2), s4 = build.sub(*a12, s2);
    l.kept = {*a12, *a22, p1, p5, u3, u4, s4, zero};
  }
  const tile::ValueId a12 = l.kept[0], a22 = l.kept[1], p1 = l.kept[2], p5 = l.kept[3],
                      u3 = l.kept[4], u4 = l.kept[5], s4 = l.kept[6], zero = l.kept[7];
  const bool is_second_row = at[at.size() - 2].offset > 0, is_second_half = at.back().offset > 0;
  if (!is_second_half) {
    auto bias = bias_of(column);
    if (!bias) return std::nullopt;
    return is_second_row ? build.add(product(4, *bias, a22), u3)  // by -T4
                         : build.add(product(2, *bias, a12), p1);
  }
  return is_second_row ? build.add(u3, p5) : build.add(product(3, zero, s4), u4);
}

}  // namespace sconce
