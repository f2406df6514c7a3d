// Views, joins and rearrangements. High-level names become a few core ones: view, permute, transpose,
// slice, select, expand, cat. Schemas keep their alias letters: the importer follows views by them.
#include <algorithm>
#include <cstring>

#include "ops/shape/decompose.h"
#include "tensor/half.h"

namespace sconce {
namespace {

// --- other names of view --------------------------------------------------------------------------

Results view_as(Build& build, const Node& node) {
  return one(build.view(value(node, 0), sizes_of(build, value(node, 1))));
}
// self, size, stride: the stride says nothing about values.
Results reshape_alias(Build& build, const Node& node) {
  return build.call("aten::view", {node.arguments[0], node.arguments[1]});
}
Results ravel(Build& build, const Node& node) {
  return build.call("aten::view", {node.arguments[0], Build::ints(std::vector<int64_t>{-1})});
}
// self, start_dim, end_dim
Results flatten(Build& build, const Node& node) {
  ValueId x = value(node, 0);
  std::vector<SymInt> sizes = sizes_of(build, x);
  auto from = wrap(known_integer(node, 1).value_or(99), build.rank(x));
  auto to = wrap(known_integer(node, 2).value_or(99), build.rank(x));
  if (!from || !to || *from > *to) return std::nullopt;
  if (sizes.empty()) return one(build.view(x, {1}));
  if (*from == *to) return one(x);
  SymInt flat = product(build, sizes, size_t(*from), size_t(*to) + 1);
  sizes.erase(sizes.begin() + *from, sizes.begin() + *to + 1);
  sizes.insert(sizes.begin() + *from, flat);
  return one(build.view(x, sizes));
}
// self, dim, sizes
Results unflatten(Build& build, const Node& node) {
  ValueId x = value(node, 0);
  auto dim = wrap(known_integer(node, 1).value_or(99), build.rank(x));
  auto parts = integers(build, node, 2);
  if (!dim || !parts || build.rank(x) == 0) return std::nullopt;
  std::vector<SymInt> sizes = sizes_of(build, x);
  SymInt whole = sizes[size_t(*dim)];
  for (size_t i = 0; i < parts->size(); i++) {
    if (!((*parts)[i] == SymInt(-1))) continue;
    SymInt rest = symbols(build).multiply(product(build, *parts, 0, i),
                                          product(build, *parts, i + 1, parts->size()));
    if (rest == SymInt(0)) return std::nullopt;
    (*parts)[i] = symbols(build).floor_divide(whole, rest);
  }
  sizes.erase(sizes.begin() + *dim);
  sizes.insert(sizes.begin() + *dim, parts->begin(), parts->end());
  return one(build.view(x, sizes));
}

// --- other names of permute -----------------------------------------------------------------------

Results decompose_t(Build& build, const Node& node) {
  ValueId x = value(node, 0);
  if (build.rank(x) > 2) return std::nullopt;
  return one(build.rank(x) < 2 ? x : transpose(build, x, 0, 1));
}
Results reverse_dims(Build& build, const Node& node) {
  ValueId x = value(node, 0);
  std::vector<int64_t> dims;
  for (int i = build.rank(x) - 1; i >= 0; i--) dims.push_back(i);
  return one(dims.size() < 2 ? x : build.permute(x, dims));
}
Results transpose_last(Build& build, const Node& node) {
  ValueId x = value(node, 0);
  if (build.rank(x) < 2) return build.rank(x) == 0 ? Results(one(x)) : std::nullopt;
  return one(transpose(build, x, -2, -1));
}
// self, source, destination
Results movedim(Build& build, const Node& node) {
  ValueId x = value(node, 0);
  int rank = build.rank(x);
  auto from = known_integers(build, node, 1), to = known_integers(build, node, 2);
  if (!from || !to || from->size() != to->size()) return std::nullopt;
  if (rank == 0) return one(x);
  std::vector<int64_t> order(size_t(rank), -1);
  std::vector<bool> taken(size_t(rank), false);
  for (size_t i = 0; i < from->size(); i++) {
    auto source = wrap((*from)[i], rank), target = wrap((*to)[i], rank);
    if (!source || !target || taken[size_t(*source)] || order[size_t(*target)] >= 0)
      return std::nullopt;
    order[size_t(*target)] = *source;
    taken[size_t(*source)] = true;
  }
  int64_t next = 0;
  for (int64_t& dim : order) {
    if (dim >= 0) continue;
    while (taken[size_t(next)]) next++;
    dim = next++;
  }
  return one(build.permute(x, order));
}

// --- expand ---------------------------------------------------------------------------------------

Results expand_as(Build& build, const Node& node) {
  return one(expand(build, value(node, 0), sizes_of(build, value(node, 1))));
}
Results broadcast_to(Build& build, const Node& node) {
  return build.call("aten::expand", {node.arguments[0], node.arguments[1], false});
}
std::optional<std::vector<SymInt>> broadcast_sizes(Build& build, const std::vector<ValueId>& all) {
  std::vector<SymInt> sizes;
  for (ValueId x : all) {
    std::vector<SymInt> more = sizes_of(build, x);
    while (sizes.size() < more.size()) sizes.insert(sizes.begin(), 1);
    for (size_t i = 0; i < more.size(); i++) {
      SymInt& size = sizes[sizes.size() - more.size() + i];
      if (size == SymInt(1)) size = more[i];
      else if (!(more[i] == SymInt(1)) && !(more[i] == size) && more[i].is_known()) {
        if (size.is_known()) return std::nullopt;
        size = more[i];
      }
    }
  }
  return sizes;
}
Results broadcast_tensors(Build& build, const Node& node) {
  std::vector<ValueId> all = tensors(node, 0);
  auto sizes = broadcast_sizes(build, all);
  if (!sizes) return std::nullopt;
  for (ValueId& x : all) x = expand(build, x, *sizes);
  return all;
}
// tensors, indexing
Results meshgrid(Build& build, const Node& node) {
  std::vector<ValueId> all = tensors(node, 0);
  bool swap = false;
  if (node.arguments.size() > 1)
    if (auto* text = std::get_if<std::string>(&node.arguments[1])) swap = *text == "xy";
  swap &= all.size() >= 2;
  if (swap) std::swap(all[0], all[1]);
  std::vector<SymInt> sizes;
  for (ValueId x : all) {
    if (build.rank(x) > 1) return std::nullopt;
    sizes.push_back(build.rank(x) == 0 ? SymInt(1) : build.size(x, 0));
  }
  for (size_t i = 0; i < all.size(); i++) {
    std::vector<SymInt> thin(all.size(), 1);
    thin[i] = sizes[i];
    all[i] = expand(build, build.view(all[i], thin), sizes);
  }
  if (swap) std::swap(all[0], all[1]);
  return all;
}

// --- parts ----------------------------------------------------------------------------------------

// self, dim, start, length
Results narrow(Build& build, const Node& node) {
  auto start = known_integer(node, 2), length = known_integer(node, 3);
  if (!start || !length || *start < 0 || *length < 0)
    return build.call("aten::narrow_copy", node.arguments);
  return build.call("aten::slice.Tensor",
                    {node.arguments[0], node.arguments[1], *start, *start + *length, int64_t(1)});
}
// self, chunks, dim
Results chunk(Build& build, const Node& node) {
  ValueId x = value(node, 0);
  auto chunks = known_integer(node, 1);
  auto dim = wrap(known_integer(node, 2).value_or(99), build.rank(x));
  if (!chunks || *chunks <= 0 || !dim || build.rank(x) == 0) return std::nullopt;
  SymInt size = build.size(x, *dim);
  SymbolTable& table = symbols(build);
  SymInt each = table.floor_divide(table.add(size, *chunks - 1), *chunks);
  // How many parts there are is fixed at export: as many as the size seen there gives.
  int64_t seen = size.is_known() ? size.value : table.hint(size);
  int64_t seen_each = (seen + *chunks - 1) / *chunks;
  int64_t count = seen_each == 0 ? *chunks : (seen + seen_each - 1) / seen_each;
  if (count < 1) count = 1;
  std::vector<SymInt> parts(size_t(count - 1), each);
  parts.push_back(table.subtract(size, table.multiply(each, count - 1)));
  return build.call("aten::split_with_sizes", {Build::v(x), build.ints(parts), int64_t(*dim)});
}
Results split_sizes(Build& build, const Node& node) {
  return build.call("aten::split_with_sizes", node.arguments);
}
// The parts one after another, for targets whose split wants sizes that are fixed.
Results split_by_slices(Build& build, const Node& node) {
  ValueId x = value(node, 0);
  auto dim = wrap(known_integer(node, 2).value_or(0), build.rank(x));
  if (!dim || build.rank(x) == 0 || node.results.empty()) return std::nullopt;
  std::vector<ValueId> parts;
  SymInt start = 0;
  for (ValueId result : node.results) {
    SymInt end = symbols(build).add(start, build.size(result, *dim));
    parts.push_back(slice(build, x, *dim, integer_argument(build, start), integer_argument(build, end)));
    start = end;
  }
  return parts;
}
Results unbind_by_selects(Build& build, const Node& node) {
  if (node.results.empty()) return std::nullopt;
  std::vector<ValueId> parts;
  const Argument dim = node.arguments.size() > 1 ? node.arguments[1] : Argument(int64_t(0));
  for (size_t i = 0; i < node.results.size(); i++)
    parts.push_back(build.call1("aten::select.int", {node.arguments[0], dim, int64_t(i)}));
  return parts;
}
Results split_at(Build& build, ValueId x, int dim, const std::vector<SymInt>& ends) {
  std::vector<ValueId> parts;
  SymInt start = 0;
  for (size_t i = 0; i <= ends.size(); i++) {
    Argument end = i < ends.size() ? integer_argument(build, ends[i]) : Argument(INT64_MAX);
    parts.push_back(slice(build, x, dim, integer_argument(build, start), end));
    if (i < ends.size()) start = ends[i];
  }
  return parts;
}
Results split_sections(Build& build, ValueId x, int dim, int64_t sections) {
  if (sections <= 0) return std::nullopt;
  SymbolTable& table = symbols(build);
  SymInt size = build.size(x, dim);
  SymInt each = table.floor_divide(size, sections), more = table.modulo(size, sections), end = 0;
  std::vector<SymInt> ends;
  for (int64_t i = 0; i + 1 < sections; i++) {
    SymInt extra;  // the first `more` sections have one element more
    if (more.is_known()) extra = i < more.value ? 1 : 0;
    else extra = table.minimum(1, table.maximum(0, table.subtract(more, i)));
    end = table.add(end, table.add(each, extra));
    ends.push_back(end);
  }
  return split_at(build, x, dim, ends);
}
// self, sections, dim
Results tensor_split_sections(Build& build, const Node& node) {
  ValueId x = value(node, 0);
  auto dim = wrap(known_integer(node, 2).value_or(99), build.rank(x));
  auto sections = known_integer(node, 1);
  if (!dim || !sections || build.rank(x) == 0) return std::nullopt;
  return split_sections(build, x, *dim, *sections);
}
// self, indices, dim
Results tensor_split_indices(Build& build, const Node& node) {
  ValueId x = value(node, 0);
  auto dim = wrap(known_integer(node, 2).value_or(99), build.rank(x));
  auto ends = integers(build, node, 1);
  if (!dim || !ends || build.rank(x) == 0) return std::nullopt;
  return split_at(build, x, *dim, *ends);
}
// hsplit, vsplit, dsplit: self, sections or indices; along dimension `axis` (hsplit of rank 1: 0).
template <int axis>
Results split_along(Build& build, const Node& node) {
  ValueId x = value(node, 0);
  int rank = build.rank(x), dim = axis == 1 && rank == 1 ? 0 : axis;
  if (dim >= rank || rank < axis) return std::nullopt;
  if (auto sections = known_integer(node, 1)) return split_sections(build, x, dim, *sections);
  auto ends = integers(build, node, 1);
  return ends ? split_at(build, x, dim, *ends) : std::nullopt;
}

// --- joins ----------------------------------------------------------------------------------------

ValueId at_least(Build& build, ValueId x, int rank) {
  std::vector<SymInt> sizes = sizes_of(build, x);
  if (int(sizes.size()) >= rank) return x;
  if (rank == 1) return build.view(x, {1});
  if (rank == 2) return build.view(x, {1, sizes.empty() ? SymInt(1) : sizes[0]});
  if (sizes.empty()) return build.view(x, {1, 1, 1});
  if (sizes.size() == 1) return build.view(x, {1, sizes[0], 1});
  return build.view(x, {sizes[0], sizes[1], 1});
}
template <int rank>
Results at_least_one(Build& build, const Node& node) {
  return one(at_least(build, value(node, 0), rank));
}
template <int rank>
Results at_least_each(Build& build, const Node& node) {
  std::vector<ValueId> all = tensors(node, 0);
  for (ValueId& x : all) x = at_least(build, x, rank);
  return all;
}
template <int rank>
Results stack_along(Build& build, const Node& node) {
  std::vector<ValueId> all = tensors(node, 0);
  if (all.empty()) return std::nullopt;
  for (ValueId& x : all) x = at_least(build, x, rank);
  int64_t dim = rank == 3 ? 2 : rank == 2 ? 0 : build.rank(all[0]) == 1 ? 0 : 1;
  return build.call("aten::cat", {tensor_list(all), dim});
}
Results column_stack(Build& build, const Node& node) {
  std::vector<ValueId> all = tensors(node, 0);
  for (ValueId& x : all)
    if (build.rank(x) < 2) x = build.view(x, {build.rank(x) ? build.size(x, 0) : SymInt(1), 1});
  return build.call("aten::cat", {tensor_list(all), int64_t(1)});
}
Results block_diag(Build& build, const Node& node) {
  std::vector<ValueId> all = tensors(node, 0), rows;
  if (all.empty()) return std::nullopt;
  SymInt before = 0, total = 0;
  for (ValueId& x : all) {
    if (build.rank(x) > 2) return std::nullopt;
    x = at_least(build, x, 2);
    total = symbols(build).add(total, build.size(x, 1));
  }
  for (ValueId x : all) {
    SymInt end = symbols(build).add(before, build.size(x, 1));
    rows.push_back(build.call1(
        "aten::constant_pad_nd",
        {Build::v(x), build.ints({before, symbols(build).subtract(total, end)}), int64_t(0)}));
    before = end;
  }
  return one(join(build, rows, 0));
}

// tensors, dim
Results stack_parts(Build& build, const Node& node) {
  std::vector<ValueId> all = tensors(node, 0);
  if (all.empty()) return std::nullopt;
  auto dim = wrap(known_integer(node, 1).value_or(99), build.rank(all[0]) + 1);
  if (!dim) return std::nullopt;
  for (ValueId& x : all) x = unsqueeze(build, x, *dim);
  return one(join(build, all, *dim));
}

// --- repeats --------------------------------------------------------------------------------------

// self, repeats: every dimension that is repeated gets one before it, along which nothing moves.
Results repeat_parts(Build& build, const Node& node) {
  ValueId x = value(node, 0);
  auto counts = integers(build, node, 1);
  if (!counts || int(counts->size()) < build.rank(x)) return std::nullopt;
  std::vector<SymInt> sizes = sizes_of(build, x), thin, wide, whole;
  sizes.insert(sizes.begin(), counts->size() - sizes.size(), SymInt(1));
  for (size_t i = 0; i < sizes.size(); i++) {
    SymInt count = (*counts)[i], size = sizes[i];
    whole.push_back(symbols(build).multiply(count, size));
    if (!(count == SymInt(1)) && !(size == SymInt(1))) {
      thin.push_back(1);
      wide.push_back(count);
    }
    thin.push_back(size);
    wide.push_back(size == SymInt(1) ? count : size);
  }
  return one(build.view(expand(build, build.view(x, thin), wide), whole));
}
// self, dims: like repeat, but dims may be fewer than the dimensions of self.
Results tiled(Build& build, const Node& node) {
  auto counts = integers(build, node, 1);
  if (!counts) return std::nullopt;
  while (int(counts->size()) < build.rank(value(node, 0))) counts->insert(counts->begin(), 1);
  return build.call("aten::repeat", {node.arguments[0], build.ints(*counts)});
}
// self, repeats, dim, output_size: each element `repeats` times in a row.
Results repeat_interleave_int(Build& build, const Node& node) {
  ValueId x = value(node, 0);
  auto count = integer(build, node.arguments[1]);
  if (!count) return std::nullopt;
  int64_t wanted = known_integer(node, 2).value_or(0);
  if (is_none(node, 2) && build.rank(x) != 1)
    x = build.call1("aten::view", {Build::v(x), Build::ints(std::vector<int64_t>{-1})});
  auto dim = wrap(wanted, build.rank(x));
  if (!dim) return std::nullopt;
  if (build.rank(x) == 0) x = build.view(x, {1});
  std::vector<SymInt> sizes = sizes_of(build, x), wide = sizes;
  wide.insert(wide.begin() + *dim + 1, *count);
  sizes[size_t(*dim)] = symbols(build).multiply(sizes[size_t(*dim)], *count);
  return one(build.view(expand(build, unsqueeze(build, x, *dim + 1), wide), sizes));
}

// --- flips ----------------------------------------------------------------------------------------

ValueId flip(Build& build, ValueId x, const std::vector<int64_t>& dims) {
  return build.call1("aten::flip", {Build::v(x), Build::ints(dims)});
}
template <int dim>
Results flip_dim(Build& build, const Node& node) {
  if (build.rank(value(node, 0)) <= dim) return std::nullopt;
  return one(flip(build, value(node, 0), {dim}));
}
// self, k, dims
Results rot90(Build& build, const Node& node) {
  ValueId x = value(node, 0);
  auto k = known_integer(node, 1);
  auto dims = known_integers(build, node, 2);
  if (!k || !dims || dims->size() != 2) return std::nullopt;
  auto a = wrap((*dims)[0], build.rank(x)), b = wrap((*dims)[1], build.rank(x));
  if (!a || !b || *a == *b || build.rank(x) < 2) return std::nullopt;
  switch ((*k % 4 + 4) % 4) {
    case 1: return one(transpose(build, flip(build, x, {*b}), *a, *b));
    case 2: return one(flip(build, x, {*a, *b}));
    case 3: return one(transpose(build, flip(build, x, {*a}), *a, *b));
    default: return build.call("aten::clone", {Build::v(x)});
  }
}

// self, shifts, dims: without dims, through all elements in their order.
Results roll_parts(Build& build, const Node& node) {
  ValueId x = value(node, 0);
  auto shifts = known_integers(build, node, 1), dims = known_integers(build, node, 2);
  if (!shifts || !dims || build.rank(x) == 0) return std::nullopt;
  std::vector<SymInt> sizes = sizes_of(build, x);
  bool flat = dims->empty();
  if (flat) dims = std::vector<int64_t>{0};
  if (shifts->size() != dims->size()) return std::nullopt;
  for (int64_t& dim : *dims) {
    auto wrapped = wrap(dim, build.rank(x));
    if (!wrapped || (!flat && !sizes[size_t(*wrapped)].is_known())) return std::nullopt;
    dim = *wrapped;
  }
  if (flat) {
    SymInt count = product(build, sizes, 0, sizes.size());
    if (!count.is_known()) return std::nullopt;
    x = build.view(x, {count});
  }
  for (size_t i = 0; i < dims->size(); i++) {
    int64_t dim = (*dims)[i], size = build.size(x, int(dim)).value;
    if (size == 0) continue;
    int64_t cut = ((-(*shifts)[i]) % size + size) % size;  // the element that comes first
    if (cut == 0) continue;
    x = join(build, {slice(build, x, dim, cut, INT64_MAX), slice(build, x, dim, int64_t(0), cut)}, dim);
  }
  return one(flat ? build.view(x, sizes) : x);
}

// self, factor: [..., C, h * f, w * f] and [..., C * f * f, h, w], one or the other way.
template <bool shuffle>
Results pixel_parts(Build& build, const Node& node) {
  ValueId x = value(node, 0);
  auto factor = known_integer(node, 1);
  int rank = build.rank(x);
  if (!factor || *factor < 1 || rank < 3) return std::nullopt;
  std::vector<SymInt> lead = sizes_of(build, x);
  SymInt channels = lead[size_t(rank - 3)], h = lead[size_t(rank - 2)], w = lead[size_t(rank - 1)];
  lead.resize(size_t(rank - 3));
  SymbolTable& table = symbols(build);
  auto divided = [&](SymInt size, int64_t by) { return table.floor_divide(size, by); };
  auto with = [&](std::initializer_list<SymInt> more) {
    std::vector<SymInt> sizes = lead;
    sizes.insert(sizes.end(), more);
    return sizes;
  };
  std::vector<int64_t> order;
  for (int i = 0; i < rank - 3; i++) order.push_back(i);
  int64_t f = *factor, n = rank - 3;
  std::vector<int64_t> moved = shuffle ? std::vector<int64_t>{n, n + 3, n + 1, n + 4, n + 2}
                                       : std::vector<int64_t>{n, n + 2, n + 4, n + 1, n + 3};
  order.insert(order.end(), moved.begin(), moved.end());
  if (shuffle) {
    SymInt kept = divided(channels, f * f);
    ValueId split = build.permute(build.view(x, with({kept, f, f, h, w})), order);
    return one(build.view(split, with({kept, table.multiply(h, f), table.multiply(w, f)})));
  }
  h = divided(h, f);
  w = divided(w, f);
  ValueId split = build.permute(build.view(x, with({channels, h, f, w, f})), order);
  return one(build.view(split, with({table.multiply(channels, f * f), h, w})));
}

// --- pads -----------------------------------------------------------------------------------------

// What negative padding takes off, as slices; nothing of it is left in `pad`.
ValueId crop(Build& build, ValueId x, std::vector<int64_t>& pad) {
  for (size_t i = 0; i + 1 < pad.size(); i += 2) {
    int64_t dim = build.rank(x) - 1 - int64_t(i / 2), &before = pad[i], &after = pad[i + 1];
    if (before < 0 || after < 0)
      x = slice(build, x, dim, before < 0 ? -before : 0,
                after < 0 ? Argument(after) : Argument(INT64_MAX));
    before = std::max<int64_t>(before, 0);
    after = std::max<int64_t>(after, 0);
  }
  return x;
}
// self, pad, value, for targets that pad but do not crop.
Results constant_pad_parts(Build& build, const Node& node) {
  auto pad = known_integers(build, node, 1);
  ValueId x = value(node, 0);
  if (!pad || pad->size() % 2 != 0 || int(pad->size()) > 2 * build.rank(x)) return std::nullopt;
  ValueId kept = crop(build, x, *pad);
  if (kept == x) return std::nullopt;
  if (std::all_of(pad->begin(), pad->end(), [](int64_t n) { return n == 0; }))
    return build.call("aten::clone", {Build::v(kept)});
  return build.call("aten::constant_pad_nd",
                    {Build::v(kept), Build::ints(*pad), node.arguments[2]});
}
// Wraps around: dimensions from the last on, before and after.
Results pad_circular(Build& build, ValueId x, std::vector<int64_t> pad) {
  x = crop(build, x, pad);  // first, so that what wraps around is what is left
  for (size_t i = 0; i < pad.size() / 2; i++) {
    int64_t dim = build.rank(x) - 1 - int64_t(i), before = pad[2 * i], after = pad[2 * i + 1];
    std::vector<ValueId> parts{x};
    if (before > 0) parts.insert(parts.begin(), slice(build, x, dim, -before, INT64_MAX));
    if (after > 0) parts.push_back(slice(build, x, dim, int64_t(0), after));
    x = join(build, parts, dim);
  }
  return one(x);
}
Results pad_mode(Build& build, const Node& node, const std::string& mode) {
  ValueId x = value(node, 0);
  auto pad = integers(build, node, 1);
  if (!pad || pad->size() % 2 != 0 || int(pad->size()) > 2 * build.rank(x)) return std::nullopt;
  int dims = int(pad->size()) / 2;
  if (mode == "circular") {
    auto known = known_integers(build, node, 1);
    return known ? pad_circular(build, x, *known) : std::nullopt;
  }
  bool fits = dims >= 1 && dims <= 3 && (build.rank(x) == dims + 1 || build.rank(x) == dims + 2);
  if (!fits || (mode != "reflect" && mode != "replicate")) return std::nullopt;
  std::string op = mode == "reflect" ? "aten::reflection_pad" : "aten::replication_pad";
  return build.call(op + std::to_string(dims) + "d", {Build::v(x), build.ints(*pad)});
}
// self, pad, mode, value
Results pad(Build& build, const Node& node) {
  std::string mode = std::get<std::string>(node.arguments[2]);
  if (mode != "constant") return is_none(node, 3) ? pad_mode(build, node, mode) : std::nullopt;
  Argument fill = is_none(node, 3) ? Argument(int64_t(0)) : node.arguments[3];
  return build.call("aten::constant_pad_nd", {node.arguments[0], node.arguments[1], fill});
}
// self, pad, mode (reflect, replicate, circular, constant), value
Results pad_enum(Build& build, const Node& node) {
  static const char* const kModes[] = {"reflect", "replicate", "circular", "constant"};
  int64_t mode = known_integer(node, 2).value_or(-1);
  if (mode < 0 || mode > 3) return std::nullopt;
  if (mode < 3) return pad_mode(build, node, kModes[mode]);
  Argument fill = is_none(node, 3) ? Argument(int64_t(0)) : node.arguments[3];
  return build.call("aten::constant_pad_nd", {node.arguments[0], node.arguments[1], fill});
}
Results pad_circular_op(Build& build, const Node& node) { return pad_mode(build, node, "circular"); }

// --- rewritings for targets that lack a kernel -----------------------------------------------------

Results squeeze_all(Build& build, const Node& node) {
  std::vector<int64_t> dims;
  ValueId x = value(node, 0);
  for (int i = 0; i < build.rank(x); i++)
    if (build.size(x, i) == SymInt(1)) dims.push_back(i);
  return build.call("aten::squeeze.dims", {Build::v(x), Build::ints(dims)});
}

ValueId arange(Build& build, SymInt count) {
  return build.call1("aten::arange.start_step",
                     {int64_t(0), integer_argument(build, count), int64_t(1), int64_t(DType::i64)});
}
// Where row + offset == column, as [rows, columns].
ValueId diagonal_mask(Build& build, SymInt rows, SymInt columns, int64_t offset) {
  ValueId row = unsqueeze(build, arange(build, rows), 1);
  if (offset != 0) row = build.call1("aten::add.Scalar", {Build::v(row), offset});
  return build.call1("aten::eq.Tensor", {Build::v(row), Build::v(arange(build, columns))});
}
// self, offset, dim1, dim2: the diagonal spread over the columns, then kept where the mask is.
Results decompose_diag_embed(Build& build, const Node& node) {
  ValueId x = value(node, 0);
  int rank = build.rank(x) + 1;
  auto offset = known_integer(node, 1);
  auto a = wrap(known_integer(node, 2).value_or(99), rank), b = wrap(known_integer(node, 3).value_or(99), rank);
  if (!offset || !a || !b || *a == *b || rank < 2) return std::nullopt;
  if (*a > *b) {  // the lower diagonal of (b, a) is the upper one of (a, b)
    std::swap(a, b);
    offset = -*offset;
  }
  int64_t move = *offset < 0 ? -*offset : *offset;
  // Position on the diagonal is the row, or the column when the diagonal lies below.
  std::vector<int64_t> pad{0, move};
  ValueId padded = move ? build.call1("aten::constant_pad_nd", {Build::v(x), Build::ints(pad), int64_t(0)}) : x;
  SymInt size = build.size(padded, rank - 2);
  ValueId wide = unsqueeze(build, padded, *offset < 0 ? -2 : -1);
  ValueId mask = diagonal_mask(build, size, size, *offset);
  ValueId zero = build.scalar(0, build.dtype(x));
  ValueId square = build.call1("aten::where.self", {Build::v(mask), Build::v(wide), Build::v(zero)});
  std::vector<int64_t> order;
  for (int i = 0, at = 0; i < rank; i++)
    order.push_back(i == *a ? rank - 2 : i == *b ? rank - 1 : at++);
  return one(build.permute(square, order));
}
// self, src, offset, dim1, dim2: where(mask, src spread over the diagonal, self).
Results decompose_diagonal_scatter(Build& build, const Node& node) {
  ValueId x = value(node, 0), source = value(node, 1);
  int rank = build.rank(x);
  auto offset = known_integer(node, 2);
  auto a = wrap(known_integer(node, 3).value_or(99), rank), b = wrap(known_integer(node, 4).value_or(99), rank);
  if (!offset || !a || !b || *a == *b || rank < 2) return std::nullopt;
  SymInt rows = build.size(x, *a), columns = build.size(x, *b);
  // The diagonal is indexed by the row when offset <= 0 pads the front, so that row r has entry r.
  int64_t front = *offset < 0 ? -*offset : 0;
  SymInt count = build.size(source, rank - 2);
  SymInt back = symbols(build).subtract(rows, symbols(build).add(count, front));
  ValueId column = build.call1("aten::constant_pad_nd",
                               {Build::v(source), build.ints({SymInt(front), back}), int64_t(0)});
  ValueId wide = unsqueeze(build, build.cast(column, build.dtype(x)), -1);
  std::vector<int64_t> to_end, back_order(static_cast<size_t>(rank));
  for (int i = 0; i < rank; i++)
    if (i != *a && i != *b) to_end.push_back(i);
  to_end.push_back(*a);
  to_end.push_back(*b);
  for (int i = 0; i < rank; i++) back_order[size_t(to_end[size_t(i)])] = i;
  ValueId mask = diagonal_mask(build, rows, columns, *offset);
  ValueId self = build.permute(x, to_end);
  ValueId result = build.call1("aten::where.self", {Build::v(mask), Build::v(wide), Build::v(self)});
  return one(build.permute(result, back_order));
}
// self, src, size, stride, storage_offset: positions in memory order are indices of a flat index_put.
Results decompose_as_strided_scatter(Build& build, const Node& node) {
  ValueId x = value(node, 0), source = value(node, 1);
  auto sizes = known_integers(build, node, 2), strides = known_integers(build, node, 3);
  int64_t offset = known_integer(node, 4).value_or(0);
  if (!sizes || !strides || sizes->size() != strides->size()) return std::nullopt;
  std::vector<int64_t> positions{offset};
  for (size_t i = 0; i < sizes->size(); i++) {
    std::vector<int64_t> more;
    if (int64_t(positions.size()) * (*sizes)[i] > (1 << 24)) return std::nullopt;
    for (int64_t position : positions)
      for (int64_t k = 0; k < (*sizes)[i]; k++) more.push_back(position + k * (*strides)[i]);
    positions = std::move(more);
  }
  std::vector<uint8_t> bytes(positions.size() * 8);
  if (!positions.empty()) memcpy(bytes.data(), positions.data(), bytes.size());
  ValueId index = build.constant({DType::i64, {int64_t(positions.size())}, {}}, std::move(bytes), "positions");
  std::vector<SymInt> shape = sizes_of(build, x);
  ValueId flat = build.view(x, {product(build, shape, 0, shape.size())});
  ValueId values = build.view(build.cast(source, build.dtype(x)), {int64_t(positions.size())});
  ValueId put = build.call1("aten::index_put", {Build::v(flat), tensor_list({index}), Build::v(values), false});
  return one(build.view(put, shape));
}

// --- diagonals, products of sets ------------------------------------------------------------------

Results diag(Build& build, const Node& node) {
  int rank = build.rank(value(node, 0));
  if (rank == 1)
    return build.call("aten::diag_embed", {node.arguments[0], node.arguments[1], int64_t(0), int64_t(1)});
  if (rank != 2) return std::nullopt;
  ValueId view = build.call1("aten::diagonal", {node.arguments[0], node.arguments[1], int64_t(0), int64_t(1)});
  return one(view);
}
Results cartesian_prod(Build& build, const Node& node) {
  std::vector<ValueId> all = tensors(node, 0);
  if (all.size() == 1) return one(all[0]);
  all = build.call("aten::meshgrid", {node.arguments[0]});
  for (ValueId& x : all) x = build.call1("aten::ravel", {Build::v(x)});
  return build.call("aten::stack", {tensor_list(all), int64_t(1)});
}
// self, r, with_replacement
Results combinations(Build& build, const Node& node) {
  ValueId x = value(node, 0);
  auto r = known_integer(node, 1);
  auto repeat = known_integer(node, 2);
  if (auto* flag = std::get_if<bool>(&node.arguments[2])) repeat = *flag;
  if (build.rank(x) != 1 || !build.size(x, 0).is_known() || !r || *r < 0 || !repeat)
    return std::nullopt;
  if (*r == 0) return one(build.full({0}, 0, build.dtype(x)));
  int64_t n = build.size(x, 0).value, count = 0;
  std::vector<int64_t> rows, pick(size_t(*r), 0);
  for (int64_t i = 0; i < *r; i++) pick[size_t(i)] = *repeat ? 0 : i;
  bool more = n > 0 && (*repeat || *r <= n);
  while (more) {
    rows.insert(rows.end(), pick.begin(), pick.end());
    count++;
    if (rows.size() > (1u << 22)) return std::nullopt;
    int64_t i = *r - 1;
    while (i >= 0 && pick[size_t(i)] == (*repeat ? n - 1 : n - *r + i)) i--;
    more = i >= 0;
    if (!more) break;
    pick[size_t(i)]++;
    for (int64_t k = i + 1; k < *r; k++) pick[size_t(k)] = pick[size_t(k - 1)] + (*repeat ? 0 : 1);
  }
  std::vector<uint8_t> bytes(rows.size() * 8);
  if (!rows.empty()) memcpy(bytes.data(), rows.data(), bytes.size());
  ValueId index = build.constant({DType::i64, {count * *r}, {}}, std::move(bytes), "combinations");
  ValueId picked = build.call1("aten::index_select", {Build::v(x), int64_t(0), Build::v(index)});
  return one(build.view(picked, {count, *r}));
}
// x, N, increasing: powers of x as columns.
Results vander(Build& build, const Node& node) {
  ValueId x = value(node, 0);
  if (build.rank(x) != 1) return std::nullopt;
  auto count = is_none(node, 1) ? std::optional<SymInt>(build.size(x, 0)) : integer(build, node.arguments[1]);
  auto* increasing = std::get_if<bool>(&node.arguments[2]);
  if (!count || !increasing) return std::nullopt;
  if (is_integral(build.dtype(x))) x = build.cast(x, DType::i64);
  if (count->is_known() && count->value <= 0)
    return one(build.full({build.size(x, 0), 0}, 0, build.dtype(x)));
  // A column of ones, then running products, which torch keeps in f32 for the 16-bit types.
  DType dtype = build.dtype(x);
  if (is_half(dtype)) x = build.cast(x, DType::f32);
  SymInt rest = symbols(build).add(*count, -1);
  ValueId ones = build.full({build.size(x, 0), 1}, 1, build.dtype(x));
  ValueId factors = expand(build, unsqueeze(build, x, 1), {build.size(x, 0), rest});
  ValueId all = build.call1("aten::cumprod", {Build::v(join(build, {ones, factors}, 1)), int64_t(1), None{}});
  all = build.cast(all, dtype);
  return one(*increasing ? all : flip(build, all, {1}));
}
// self, groups: channels [g, c] become [c, g].
Results channel_shuffle(Build& build, const Node& node) {
  ValueId x = value(node, 0);
  auto groups = integer(build, node.arguments[1]);
  if (!groups || build.rank(x) < 3 || (groups->is_known() && groups->value <= 0)) return std::nullopt;
  std::vector<SymInt> sizes = sizes_of(build, x), split = sizes;
  SymInt each = symbols(build).floor_divide(sizes[1], *groups);
  split[1] = each;
  split.insert(split.begin() + 1, *groups);
  return one(build.view(transpose(build, build.view(x, split), 1, 2), sizes));
}
// self, repeats (a count per element), dim, output_size
Results repeat_interleave_tensor(Build& build, const Node& node) {
  ValueId x = value(node, 0), counts = value(node, 1);
  int64_t wanted = known_integer(node, 2).value_or(0);
  if (is_none(node, 2) && build.rank(x) != 1)
    x = build.call1("aten::view", {Build::v(x), Build::ints(std::vector<int64_t>{-1})});
  auto dim = wrap(wanted, build.rank(x));
  if (!dim || build.rank(counts) > 1) return std::nullopt;
  if (build.rank(x) == 0) x = build.view(x, {1});
  SymInt size = build.size(x, *dim);
  if (build.rank(counts) == 0 || (build.size(counts, 0) == SymInt(1) && !(size == SymInt(1))))
    counts = expand(build, build.view(counts, {1}), {size});
  ValueId index = build.call1("aten::repeat_interleave.Tensor", {Build::v(counts), node.arguments[3]});
  return build.call("aten::index_select", {Build::v(x), int64_t(*dim), Build::v(index)});
}

}  // namespace

OP(view) = {.schema = "aten::view(Tensor(a) self, SymInt[] size) -> Tensor(a)",
            .out = "aten::view_copy.out"};
OP_ALIAS(view_copy, "aten::view_copy(Tensor self, SymInt[] size) -> Tensor", "aten::view")
OP_ALIAS(reshape, "aten::reshape(Tensor(a) self, SymInt[] shape) -> Tensor(a)", "aten::view")
OP_ALIAS(unsafe_view, "aten::_unsafe_view(Tensor self, SymInt[] size) -> Tensor", "aten::view")
OP_ALIAS(reshape_copy, "aten::_reshape_copy(Tensor self, SymInt[] size) -> Tensor", "aten::view")
OP(reshape_alias) = {
    .schema = "aten::_reshape_alias(Tensor(a) self, SymInt[] size, SymInt[] stride) -> Tensor(a)",
    .decompose = reshape_alias};
OP(reshape_alias_copy) = {
    .schema = "aten::_reshape_alias_copy(Tensor self, SymInt[] size, SymInt[] stride) -> Tensor",
    .decompose = reshape_alias};
OP(view_as) = {.schema = "aten::view_as(Tensor(a) self, Tensor other) -> Tensor(a)",
               .decompose = view_as};
OP(reshape_as) = {.schema = "aten::reshape_as(Tensor(a) self, Tensor other) -> Tensor(a)",
                  .decompose = view_as};
OP(ravel) = {.schema = "aten::ravel(Tensor(a) self) -> Tensor(a)", .decompose = ravel};
OP(flatten) = {.schema = "aten::flatten.using_ints(Tensor(a) self, int start_dim=0, int end_dim=-1) -> "
                         "Tensor(a)",
               .decompose = flatten};
OP(unflatten) = {
    .schema = "aten::unflatten.int(Tensor(a) self, int dim, SymInt[] sizes) -> Tensor(a)",
    .decompose = unflatten};
OP(view_dtype) = {.schema = "aten::view.dtype(Tensor(a) self, ScalarType dtype) -> Tensor(a)",
                  .out = "aten::view_copy.dtype_out"};
OP_ALIAS(view_copy_dtype, "aten::view_copy.dtype(Tensor self, ScalarType dtype) -> Tensor",
         "aten::view.dtype")
OP(view_as_real) = {.schema = "aten::view_as_real(Tensor(a) self) -> Tensor(a)",
                    .out = "aten::view_as_real_copy.out"};
OP_ALIAS(view_as_real_copy, "aten::view_as_real_copy(Tensor self) -> Tensor", "aten::view_as_real")
OP_ALIAS(view_as_complex_copy, "aten::view_as_complex_copy(Tensor self) -> Tensor",
         "aten::view_as_complex")

OP(permute) = {.schema = "aten::permute(Tensor(a) self, int[] dims) -> Tensor(a)",
               .out = "aten::permute_copy.out"};
OP_ALIAS(permute_copy, "aten::permute_copy(Tensor self, int[] dims) -> Tensor", "aten::permute")
OP(transpose) = {.schema = "aten::transpose.int(Tensor(a) self, int dim0, int dim1) -> Tensor(a)",
                 .out = "aten::transpose_copy.int_out"};
OP_ALIAS(transpose_copy, "aten::transpose_copy.int(Tensor self, int dim0, int dim1) -> Tensor",
         "aten::transpose.int")
OP_ALIAS(swapaxes, "aten::swapaxes(Tensor(a) self, int axis0, int axis1) -> Tensor(a)",
         "aten::transpose.int")
OP_ALIAS(swapdims, "aten::swapdims(Tensor(a) self, int dim0, int dim1) -> Tensor(a)",
         "aten::transpose.int")
OP(t) = {.schema = "aten::t(Tensor(a) self) -> Tensor(a)", .decompose = decompose_t};
// Files name this one; what is compiled here becomes transpose.
OP(t_copy) = {.schema = "aten::t_copy(Tensor self) -> Tensor",
              .out = "aten::t_copy.out",
              .decompose = decompose_t};
OP(numpy_T) = {.schema = "aten::numpy_T(Tensor(a) self) -> Tensor(a)", .decompose = reverse_dims};
OP(mT) = {.schema = "aten::mT(Tensor(a) self) -> Tensor(a)", .decompose = transpose_last};
OP(mH) = {.schema = "aten::mH(Tensor(a) self) -> Tensor(a)", .decompose = transpose_last};
OP(adjoint) = {.schema = "aten::adjoint(Tensor(a) self) -> Tensor(a)", .decompose = transpose_last};
OP(matrix_H) = {.schema = "aten::matrix_H(Tensor(a) self) -> Tensor(a)", .decompose = transpose_last};
OP(movedim) = {.schema = "aten::movedim.int(Tensor(a) self, int source, int destination) -> Tensor(a)",
               .decompose = movedim};
OP(movedim_list) = {
    .schema = "aten::movedim.intlist(Tensor(a) self, int[] source, int[] destination) -> Tensor(a)",
    .decompose = movedim};
OP(moveaxis) = {
    .schema = "aten::moveaxis.int(Tensor(a) self, int source, int destination) -> Tensor(a)",
    .decompose = movedim};
OP(moveaxis_list) = {
    .schema = "aten::moveaxis.intlist(Tensor(a) self, int[] source, int[] destination) -> Tensor(a)",
    .decompose = movedim};

OP(squeeze) = {.schema = "aten::squeeze(Tensor(a) self) -> Tensor(a)",
               .out = "aten::squeeze_copy.out",
               .decompose = squeeze_all};
OP(squeeze_dim) = {.schema = "aten::squeeze.dim(Tensor(a) self, int dim) -> Tensor(a)",
                   .out = "aten::squeeze_copy.dim_out"};
OP(squeeze_dims) = {.schema = "aten::squeeze.dims(Tensor(a) self, int[] dim) -> Tensor(a)",
                    .out = "aten::squeeze_copy.dims_out"};
OP_ALIAS(squeeze_copy, "aten::squeeze_copy(Tensor self) -> Tensor", "aten::squeeze")
OP_ALIAS(squeeze_copy_dim, "aten::squeeze_copy.dim(Tensor self, int dim) -> Tensor",
         "aten::squeeze.dim")
OP_ALIAS(squeeze_copy_dims, "aten::squeeze_copy.dims(Tensor self, int[] dim) -> Tensor",
         "aten::squeeze.dims")
OP(unsqueeze) = {.schema = "aten::unsqueeze(Tensor(a) self, int dim) -> Tensor(a)",
                 .out = "aten::unsqueeze_copy.out"};
OP_ALIAS(unsqueeze_copy, "aten::unsqueeze_copy(Tensor self, int dim) -> Tensor", "aten::unsqueeze")
OP(expand) = {
    .schema = "aten::expand(Tensor(a) self, SymInt[] size, *, bool implicit=False) -> Tensor(a)",
    .out = "aten::expand_copy.out"};
OP_ALIAS(expand_copy, "aten::expand_copy(Tensor self, SymInt[] size, *, bool implicit=False) -> Tensor",
         "aten::expand")
OP(expand_as) = {.schema = "aten::expand_as(Tensor(a) self, Tensor other) -> Tensor(a)",
                 .decompose = expand_as};
OP(broadcast_to) = {.schema = "aten::broadcast_to(Tensor(a) self, SymInt[] size) -> Tensor(a)",
                    .decompose = broadcast_to};
OP(broadcast_tensors) = {.schema = "aten::broadcast_tensors(Tensor[] tensors) -> Tensor[]",
                         .decompose = broadcast_tensors};
OP(meshgrid) = {.schema = "aten::meshgrid(Tensor[] tensors) -> Tensor[]", .decompose = meshgrid};
OP(meshgrid_indexing) = {
    .schema = "aten::meshgrid.indexing(Tensor[] tensors, *, str indexing) -> Tensor[]",
    .decompose = meshgrid};

OP(slice) = {.schema = "aten::slice.Tensor(Tensor(a) self, int dim=0, SymInt? start=None, SymInt? "
                       "end=None, SymInt step=1) -> Tensor(a)",
             .out = "aten::slice_copy.Tensor_out"};
OP_ALIAS(slice_copy,
         "aten::slice_copy.Tensor(Tensor self, int dim=0, SymInt? start=None, SymInt? end=None, SymInt "
         "step=1) -> Tensor",
         "aten::slice.Tensor")
OP(select) = {.schema = "aten::select.int(Tensor(a) self, int dim, SymInt index) -> Tensor(a)",
              .out = "aten::select_copy.int_out"};
OP_ALIAS(select_copy, "aten::select_copy.int(Tensor self, int dim, SymInt index) -> Tensor",
         "aten::select.int")
OP(narrow) = {
    .schema = "aten::narrow(Tensor(a) self, int dim, SymInt start, SymInt length) -> Tensor(a)",
    .decompose = narrow};
OP(narrow_copy) = {
    .schema = "aten::narrow_copy(Tensor self, int dim, SymInt start, SymInt length) -> Tensor",
    .out = "aten::narrow_copy.out"};
OP(split) = {.schema = "aten::split.Tensor(Tensor(a -> *) self, SymInt split_size, int dim=0) -> "
                       "Tensor(a)[]",
             .out = "aten::split_copy.Tensor_out",
             .decompose = split_by_slices};
OP_ALIAS(split_copy, "aten::split_copy.Tensor(Tensor self, SymInt split_size, int dim=0) -> Tensor[]",
         "aten::split.Tensor")
OP_ALIAS(unsafe_split,
         "aten::unsafe_split.Tensor(Tensor self, SymInt split_size, int dim=0) -> Tensor[]",
         "aten::split.Tensor")
OP(split_with_sizes) = {.schema = "aten::split_with_sizes(Tensor(a -> *) self, SymInt[] split_sizes, "
                                  "int dim=0) -> Tensor(a)[]",
                        .out = "aten::split_with_sizes_copy.out",
                        .decompose = split_by_slices};
OP_ALIAS(split_with_sizes_copy,
         "aten::split_with_sizes_copy(Tensor self, SymInt[] split_sizes, int dim=0) -> Tensor[]",
         "aten::split_with_sizes")
OP_ALIAS(unsafe_split_with_sizes,
         "aten::unsafe_split_with_sizes(Tensor self, SymInt[] split_sizes, int dim=0) -> Tensor[]",
         "aten::split_with_sizes")
OP(split_sizes) = {
    .schema = "aten::split.sizes(Tensor(a -> *) self, SymInt[] split_size, int dim=0) -> Tensor(a)[]",
    .decompose = split_sizes};
OP(split_default) = {
    .schema = "aten::split(Tensor(a -> *) self, int[] split_sizes, int dim=0) -> Tensor(a)[]",
    .decompose = split_sizes};
OP(chunk) = {.schema = "aten::chunk(Tensor(a -> *) self, int chunks, int dim=0) -> Tensor(a)[]",
             .decompose = chunk};
OP(unsafe_chunk) = {.schema = "aten::unsafe_chunk(Tensor self, int chunks, int dim=0) -> Tensor[]",
                    .decompose = chunk};
OP(unbind) = {.schema = "aten::unbind.int(Tensor(a -> *) self, int dim=0) -> Tensor(a)[]",
              .out = "aten::unbind_copy.int_out",
              .decompose = unbind_by_selects};
OP_ALIAS(unbind_copy, "aten::unbind_copy.int(Tensor self, int dim=0) -> Tensor[]", "aten::unbind.int")
OP(tensor_split_sections) = {.schema = "aten::tensor_split.sections(Tensor(a -> *) self, SymInt sections, "
                                       "int dim=0) -> Tensor(a)[]",
                             .decompose = tensor_split_sections};
OP(tensor_split_indices) = {.schema = "aten::tensor_split.indices(Tensor(a -> *) self, SymInt[] indices, "
                                      "int dim=0) -> Tensor(a)[]",
                            .decompose = tensor_split_indices};
OP(hsplit) = {.schema = "aten::hsplit.int(Tensor(a -> *) self, int sections) -> Tensor(a)[]",
              .decompose = split_along<1>};
OP(hsplit_array) = {.schema = "aten::hsplit.array(Tensor(a -> *) self, int[] indices) -> Tensor(a)[]",
                    .decompose = split_along<1>};
OP(vsplit) = {.schema = "aten::vsplit.int(Tensor(a -> *) self, int sections) -> Tensor(a)[]",
              .decompose = split_along<0>};
OP(vsplit_array) = {.schema = "aten::vsplit.array(Tensor(a -> *) self, int[] indices) -> Tensor(a)[]",
                    .decompose = split_along<0>};
OP(dsplit) = {.schema = "aten::dsplit.int(Tensor(a -> *) self, int sections) -> Tensor(a)[]",
              .decompose = split_along<2>};
OP(dsplit_array) = {.schema = "aten::dsplit.array(Tensor(a -> *) self, int[] indices) -> Tensor(a)[]",
                    .decompose = split_along<2>};
OP(diagonal) = {
    .schema = "aten::diagonal(Tensor(a) self, int offset=0, int dim1=0, int dim2=1) -> Tensor(a)",
    .out = "aten::diagonal_copy.out"};
OP_ALIAS(diagonal_copy,
         "aten::diagonal_copy(Tensor self, int offset=0, int dim1=0, int dim2=1) -> Tensor",
         "aten::diagonal")
OP(unfold) = {
    .schema = "aten::unfold(Tensor(a) self, int dimension, int size, int step) -> Tensor(a)",
    .out = "aten::unfold_copy.out"};
OP_ALIAS(unfold_copy, "aten::unfold_copy(Tensor self, int dimension, int size, int step) -> Tensor",
         "aten::unfold")
OP(as_strided) = {.schema = "aten::as_strided(Tensor(a) self, SymInt[] size, SymInt[] stride, SymInt? "
                            "storage_offset=None) -> Tensor(a)",
                  .out = "aten::as_strided_copy.out"};
OP_ALIAS(as_strided_copy,
         "aten::as_strided_copy(Tensor self, SymInt[] size, SymInt[] stride, SymInt? "
         "storage_offset=None) -> Tensor",
         "aten::as_strided")

OP(cat) = {.schema = "aten::cat(Tensor[] tensors, int dim=0) -> Tensor", .out = "aten::cat.out"};
OP_ALIAS(concat, "aten::concat(Tensor[] tensors, int dim=0) -> Tensor", "aten::cat")
OP_ALIAS(concatenate, "aten::concatenate(Tensor[] tensors, int dim=0) -> Tensor", "aten::cat")
OP(stack) = {.schema = "aten::stack(Tensor[] tensors, int dim=0) -> Tensor", .out = "aten::stack.out",
             .decompose = stack_parts};
OP_ALIAS(_stack, "aten::_stack(Tensor[] tensors, int dim=0) -> Tensor", "aten::stack")
OP(hstack) = {.schema = "aten::hstack(Tensor[] tensors) -> Tensor", .decompose = stack_along<1>};
OP(vstack) = {.schema = "aten::vstack(Tensor[] tensors) -> Tensor", .decompose = stack_along<2>};
OP(row_stack) = {.schema = "aten::row_stack(Tensor[] tensors) -> Tensor",
                 .decompose = stack_along<2>};
OP(dstack) = {.schema = "aten::dstack(Tensor[] tensors) -> Tensor", .decompose = stack_along<3>};
OP(column_stack) = {.schema = "aten::column_stack(Tensor[] tensors) -> Tensor",
                    .decompose = column_stack};
OP(block_diag) = {.schema = "aten::block_diag(Tensor[] tensors) -> Tensor", .decompose = block_diag};
OP(atleast_1d) = {.schema = "aten::atleast_1d(Tensor self) -> Tensor", .decompose = at_least_one<1>};
OP(atleast_2d) = {.schema = "aten::atleast_2d(Tensor self) -> Tensor", .decompose = at_least_one<2>};
OP(atleast_3d) = {.schema = "aten::atleast_3d(Tensor self) -> Tensor", .decompose = at_least_one<3>};
OP(atleast_1d_Sequence) = {.schema = "aten::atleast_1d.Sequence(Tensor[] tensors) -> Tensor[]",
                           .decompose = at_least_each<1>};
OP(atleast_2d_Sequence) = {.schema = "aten::atleast_2d.Sequence(Tensor[] tensors) -> Tensor[]",
                           .decompose = at_least_each<2>};
OP(atleast_3d_Sequence) = {.schema = "aten::atleast_3d.Sequence(Tensor[] tensors) -> Tensor[]",
                           .decompose = at_least_each<3>};

OP(repeat) = {.schema = "aten::repeat(Tensor self, SymInt[] repeats) -> Tensor",
              .out = "aten::repeat.out",
              .decompose = repeat_parts};
OP(tile) = {.schema = "aten::tile(Tensor self, SymInt[] dims) -> Tensor", .decompose = tiled};
OP(repeat_interleave_int) = {.schema = "aten::repeat_interleave.self_int(Tensor self, SymInt repeats, "
                                       "int? dim=None, *, SymInt? output_size=None) -> Tensor",
                             .decompose = repeat_interleave_int};
OP(repeat_interleave_tensor) = {.schema = "aten::repeat_interleave.self_Tensor(Tensor self, Tensor "
                                          "repeats, int? dim=None, *, SymInt? output_size=None) -> "
                                          "Tensor",
                                .decompose = repeat_interleave_tensor};
OP(flip) = {.schema = "aten::flip(Tensor self, int[] dims) -> Tensor", .out = "aten::flip.out"};
OP(roll) = {.schema = "aten::roll(Tensor self, SymInt[1] shifts, int[1] dims=[]) -> Tensor",
            .out = "aten::roll.out",
            .decompose = roll_parts};
OP(pixel_shuffle) = {.schema = "aten::pixel_shuffle(Tensor self, int upscale_factor) -> Tensor",
                     .out = "aten::pixel_shuffle.out",
                     .decompose = pixel_parts<true>};
OP(pixel_unshuffle) = {.schema = "aten::pixel_unshuffle(Tensor self, int downscale_factor) -> Tensor",
                       .out = "aten::pixel_unshuffle.out",
                       .decompose = pixel_parts<false>};
OP(channel_shuffle) = {.schema = "aten::channel_shuffle(Tensor self, SymInt groups) -> Tensor",
                       .decompose = channel_shuffle};
OP(native_channel_shuffle) = {
    .schema = "aten::native_channel_shuffle(Tensor self, SymInt groups) -> Tensor",
    .decompose = channel_shuffle};
OP(diag) = {.schema = "aten::diag(Tensor self, int diagonal=0) -> Tensor", .decompose = diag};
OP(diag_embed) = {
    .schema = "aten::diag_embed(Tensor self, int offset=0, int dim1=-2, int dim2=-1) -> Tensor",
    .out = "aten::diag_embed.out",
    .decompose = decompose_diag_embed};
OP(cartesian_prod) = {.schema = "aten::cartesian_prod(Tensor[] tensors) -> Tensor",
                      .decompose = cartesian_prod};
OP(combinations) = {
    .schema = "aten::combinations(Tensor self, int r=2, bool with_replacement=False) -> Tensor",
    .decompose = combinations};
OP(vander) = {.schema = "aten::vander(Tensor x, int? N=None, bool increasing=False) -> Tensor",
              .decompose = vander};
OP(fliplr) = {.schema = "aten::fliplr(Tensor self) -> Tensor", .decompose = flip_dim<1>};
OP(flipud) = {.schema = "aten::flipud(Tensor self) -> Tensor", .decompose = flip_dim<0>};
OP(rot90) = {.schema = "aten::rot90(Tensor self, int k=1, int[] dims=[0, 1]) -> Tensor",
             .decompose = rot90};

OP(constant_pad_nd) = {
    .schema = "aten::constant_pad_nd(Tensor self, SymInt[] pad, Scalar value=0) -> Tensor",
    .out = "aten::constant_pad_nd.out", .decompose = constant_pad_parts};
OP(reflection_pad1d) = {.schema = "aten::reflection_pad1d(Tensor self, SymInt[2] padding) -> Tensor",
                        .out = "aten::reflection_pad1d.out"};
OP(reflection_pad2d) = {.schema = "aten::reflection_pad2d(Tensor self, SymInt[4] padding) -> Tensor",
                        .out = "aten::reflection_pad2d.out"};
OP(reflection_pad3d) = {.schema = "aten::reflection_pad3d(Tensor self, SymInt[6] padding) -> Tensor",
                        .out = "aten::reflection_pad3d.out"};
OP(replication_pad1d) = {
    .schema = "aten::replication_pad1d(Tensor self, SymInt[2] padding) -> Tensor",
    .out = "aten::replication_pad1d.out"};
OP(replication_pad2d) = {
    .schema = "aten::replication_pad2d(Tensor self, SymInt[4] padding) -> Tensor",
    .out = "aten::replication_pad2d.out"};
OP(replication_pad3d) = {
    .schema = "aten::replication_pad3d(Tensor self, SymInt[6] padding) -> Tensor",
    .out = "aten::replication_pad3d.out"};
OP(pad) = {.schema = "aten::pad(Tensor self, SymInt[] pad, str mode=\"constant\", float? value=None) -> "
                     "Tensor",
           .decompose = pad};
OP(pad_enum) = {
    .schema = "aten::_pad_enum(Tensor self, SymInt[] pad, int mode, float? value=None) -> Tensor",
    .decompose = pad_enum};
OP(pad_circular) = {.schema = "aten::_pad_circular(Tensor self, SymInt[] pad) -> Tensor",
                    .decompose = pad_circular_op};

OP(slice_scatter) = {.schema = "aten::slice_scatter(Tensor self, Tensor src, int dim=0, SymInt? "
                               "start=None, SymInt? end=None, SymInt step=1) -> Tensor",
                     .out = "aten::slice_scatter.out"};
OP(select_scatter) = {
    .schema = "aten::select_scatter(Tensor self, Tensor src, int dim, SymInt index) -> Tensor",
    .out = "aten::select_scatter.out"};
OP(diagonal_scatter) = {.schema = "aten::diagonal_scatter(Tensor self, Tensor src, int offset=0, int "
                                  "dim1=0, int dim2=1) -> Tensor",
                        .out = "aten::diagonal_scatter.out",
                        .decompose = decompose_diagonal_scatter};
OP(as_strided_scatter) = {.schema = "aten::as_strided_scatter(Tensor self, Tensor src, SymInt[] size, "
                                    "SymInt[] stride, SymInt? storage_offset=None) -> Tensor",
                          .out = "aten::as_strided_scatter.out",
                          .decompose = decompose_as_strided_scatter};

}  // namespace sconce
