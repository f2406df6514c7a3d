// The idea: values are either *kept*, in an array over their axes, or *written out* where they are
// used. A dot, a reduction and what a loop carries are kept; of the rest what several kept values
// need and is more work than a load. Each kept value and each store is then one nest of loops, and
// an expression stands as far outside in it as its axes allow, so that addresses and checks of what
// is clipped stay out of the innermost loop.
//
// Two parallel axes may be cut into tiles, `columns` and `rows`, which the values inside have as
// their last dimensions: so the accumulators of a dot are a small array of constant size that
// compilers keep in registers. The tile's function is inlined with its usual sizes as constants,
// and once more for what is left at the edges.
#include "tile/c/emit_c.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <map>
#include <set>

#include <fmt/ranges.h>

#include "tile/c/functions.h"

namespace sconce::tile {
namespace {

constexpr int64_t kStackBytesMax = 16384;  // of kept values; others go to scratch memory
constexpr int kCheap = 4;                  // a value worth no more is written out at every use

// --- names

bool is_reserved(const std::string& name) {
  static const std::set<std::string> words = {
      "auto",    "break",  "case",        "char",   "const",     "continue",  "default",
      "do",      "double", "else",        "enum",   "extern",    "float",     "for",
      "goto",    "if",     "inline",      "int",    "long",      "register",  "restrict",
      "return",  "short",  "signed",      "sizeof", "static",    "struct",    "switch",
      "typedef", "union",  "unsigned",    "void",   "volatile",  "while",     "asm",
      "typeof",  "bool",   "true",        "false",  "nullptr",   "constexpr", "class",
      "new",     "delete", "template",    "this",   "namespace", "main",      "unix",
      "linux",   "near",   "far",         "abs",    "exit",      "abort",     "malloc",
      "free",    "calloc", "realloc",     "printf", "scratch",   "index",     "rindex",
      "y0",      "y1",     "yn",          "j0",     "j1",        "jn",        "gamma",
      "signgam", "scalb",  "significand", "drem"};
  // Functions of <math.h>, which also come with an f or an l.
  static const std::set<std::string> functions = {
      "acos",      "acosh",      "asin",     "asinh",   "atan",      "atan2",  "atanh",
      "cbrt",      "ceil",       "copysign", "cos",     "cosh",      "erf",    "erfc",
      "exp",       "exp2",       "exp10",    "expm1",   "fabs",      "fdim",   "floor",
      "fma",       "fmax",       "fmin",     "fmod",    "frexp",     "hypot",  "ilogb",
      "ldexp",     "lgamma",     "llrint",   "llround", "log",       "log10",  "log1p",
      "log2",      "logb",       "lrint",    "lround",  "modf",      "nan",    "nearbyint",
      "nextafter", "nexttoward", "pow",      "pow10",   "remainder", "remquo", "rint",
      "round",     "scalbln",    "scalbn",   "sin",     "sincos",    "sinh",   "sqrt",
      "tan",       "tanh",       "tgamma",   "trunc",   "roundeven", "finite", "isnan",
      "isinf",     "isfinite",   "isnormal", "signbit", "fpclassify"};
  if (words.contains(name) || functions.contains(name)) return true;
  if ((name.back() == 'f' || name.back() == 'l') &&
      functions.contains(name.substr(0, name.size() - 1)))
    return true;
  for (const char* prefix : {"_", "sc_", "SC_", "mem", "str", "int", "uint", "wcs", "is", "to"})
    if (name.starts_with(prefix)) return true;
  // Macros are written in capitals; dims of one or two letters are not among them.
  bool capitals = name.size() > 2;
  for (char c : name) capitals &= !islower(static_cast<unsigned char>(c));
  return capitals;
}

class Names {
 public:
  // `wanted` when nobody has it, else with something around it.
  std::string take(std::string wanted) {
    if (is_reserved(wanted)) wanted = "k_" + wanted;
    while (taken_.contains(wanted)) wanted += '_';
    taken_.insert(wanted);
    return wanted;
  }

 private:
  std::set<std::string> taken_;
};

const char* stored_type(DType dtype) {
  switch (dtype) {
    case DType::f32: return "float";
    case DType::f16:
    case DType::bf16: return "uint16_t";
    case DType::i8: return "int8_t";
    case DType::u8:
    case DType::b8: return "uint8_t";
    case DType::i16: return "int16_t";
    case DType::i32: return "int32_t";
    default: return "int64_t";
  }
}
const char* value_type(DType dtype) {
  return dtype == DType::f32   ? "float"
         : dtype == DType::i32 ? "int32_t"
         : dtype == DType::b8  ? "uint8_t"
                               : "int64_t";
}

std::string integer_text(int64_t x) {
  if (x == INT64_MIN) return "INT64_MIN";
  if (x == INT32_MIN) return "INT32_MIN";
  return x > INT32_MAX || x < INT32_MIN ? fmt::format("INT64_C({})", x) : std::to_string(x);
}
std::string float_text(float x) {
  if (std::isnan(x)) return "NAN";
  if (std::isinf(x)) return x < 0 ? "-INFINITY" : "INFINITY";
  return std::fabs(x) < 1e6f && x == std::trunc(x) ? fmt::format("{:.1f}f", x)
                                                   : fmt::format("{:a}f", x);
}
bool is_simple(const std::string& text) {
  for (char c : text)
    if (!isalnum(static_cast<unsigned char>(c)) && c != '_') return false;
  return true;
}
std::string bracketed(const std::string& text) { return is_simple(text) ? text : "(" + text + ")"; }

// A product of numbers and names, the numbers multiplied out.
class Product {
 public:
  Product& times(const std::string& factor) {
    if (!factor.empty() && std::all_of(factor.begin(), factor.end(), isdigit) &&
        !__builtin_mul_overflow(number_, std::stoll(factor), &number_))
      return *this;
    names_.push_back(bracketed(factor));
    return *this;
  }
  std::string text() const {
    if (number_ == 0) return "0";
    std::vector<std::string> parts = names_;
    if (number_ != 1 || parts.empty()) parts.push_back(integer_text(number_));
    return fmt::format("{}", fmt::join(parts, " * "));
  }
  bool is_number(int64_t* number) const {
    *number = number_;
    return names_.empty();
  }

 private:
  int64_t number_ = 1;
  std::vector<std::string> names_;
};

std::string sum_text(const std::vector<std::string>& parts) {
  std::string text;
  for (const std::string& part : parts)
    if (part != "0") text += (text.empty() ? "" : " + ") + part;
  return text.empty() ? "0" : text;
}

// --- a nest of loops

struct Level {
  AxisSet axes = 0;  // bound here and outside
  std::string open;  // "for (...) {", empty: the block around it all
  std::string statements;
  std::map<ValueId, std::string> known;
};

class KernelEmitter {
 public:
  KernelEmitter(const CKernel& of, const EmitCOptions& options, CHelpers& helpers)
      : of_(of), k_(*of.kernel), options_(options), helpers_(helpers) {}

  Result<void> run(Names& functions, CText& out) {
    TRY_VOID(check());
    name_all(functions);
    find_uses();
    choose_tiles();
    choose_kept();
    body();
    finish(out);
    return {};
  }

 private:
  // --- the kernel, with what is fixed

  Result<void> check() {
    auto fail = [&](std::string text) {
      return Error{Code::invalid_argument, fmt::format("kernel {}: {}", k_.name, text)};
    };
    fixed_.assign(k_.dims.size(), -1);
    for (const auto& [name, size] : of_.dims) {
      auto found = std::find(k_.dims.begin(), k_.dims.end(), name);
      if (found == k_.dims.end()) return fail(fmt::format("there is no dim {}", name));
      if (size < 0 || size > INT32_MAX)
        return fail(fmt::format("dim {}: size {}; 0 to {}", name, size, INT32_MAX));
      fixed_[size_t(found - k_.dims.begin())] = size;
    }
    if (of_.strides.size() > k_.buffers.size())
      return fail(fmt::format("strides of {} buffers; there are {}", of_.strides.size(),
                              k_.buffers.size()));
    for (size_t b = 0; b < of_.strides.size(); b++)
      if (!of_.strides[b].empty() && of_.strides[b].size() != k_.buffers[b].dims.size())
        return fail(fmt::format("buffer {}: {} strides for rank {}", k_.buffers[b].name,
                                of_.strides[b].size(), k_.buffers[b].dims.size()));
    if (options_.rows < 1 || options_.rows > 16 ||
        (options_.columns != 4 && options_.columns != 8 && options_.columns != 16))
      return fail(fmt::format("tiles of {} rows and {} columns; up to 16 rows, and 4, 8 or 16",
                              options_.rows, options_.columns));
    return {};
  }

  void name_all(Names& functions) {
    name_ = functions.take(of_.name.empty() ? k_.name : of_.name);
    names_.take(name_);
    for (const std::string& dim : k_.dims) dim_names_.push_back(names_.take(dim));
    for (const Buffer& buffer : k_.buffers) buffer_names_.push_back(names_.take(buffer.name));
    for (const Axis& axis : k_.axes) axis_names_.push_back(names_.take(axis.name));
    // Made here: v7 (values), o7, p7_0, in7 (places), and what is made of axes' names.
    auto free_prefix = [&](std::string prefix) {
      auto clashes = [&](const std::vector<std::string>& all) {
        for (const std::string& name : all)
          if (name.starts_with(prefix) && name.size() > prefix.size() &&
              isdigit(static_cast<unsigned char>(name[prefix.size()])))
            return true;
        return false;
      };
      while (clashes(dim_names_) || clashes(buffer_names_) || clashes(axis_names_) ||
             clashes({name_}))
        prefix += '_';
      return prefix;
    };
    value_prefix_ = free_prefix("v");
    offset_prefix_ = free_prefix("o");
    position_prefix_ = free_prefix("p");
    inside_prefix_ = free_prefix("in");
    for (const std::string& axis : axis_names_) {
      first_names_.push_back(names_.take(axis + "0"));
      step_names_.push_back(names_.take(axis + "_i"));
      count_names_.push_back(names_.take(axis + "_n"));
    }
    for (const std::string& buffer : buffer_names_)
      stride_names_.push_back(names_.take(buffer + "_strides"));
    lane_name_ = names_.take("lane");
    count_name_ = names_.take("count");
    free_name_ = names_.take("memory");
    tile_name_ = "sc_" + name_ + "_tile";  // no name of a user begins so
    edge_name_ = "sc_" + name_ + "_edge";
    scratch_name_ = functions.take(name_ + "_scratch");
  }

  int64_t known_size(const Extent& extent) const {  // -1: a dim of the call
    return extent.dim == kNone ? extent.known : fixed_[size_t(extent.dim)];
  }
  std::string size_text(const Extent& extent) const {
    int64_t size = known_size(extent);
    return size >= 0 ? std::to_string(size) : dim_names_[size_t(extent.dim)];
  }
  bool same_size(const Extent& a, const Extent& b) const {
    if (known_size(a) >= 0 || known_size(b) >= 0) return known_size(a) == known_size(b);
    return a.dim == b.dim;
  }
  const Axis& axis(AxisId a) const { return k_.axes[size_t(a)]; }
  bool is_serial(AxisId a) const { return axis(a).kind == AxisKind::serial; }
  bool is_span(AxisId a) const { return axis(a).kind == AxisKind::span; }
  std::string value_name(ValueId v) const { return value_prefix_ + std::to_string(v); }
  const ValueType& type(ValueId v) const { return k_.values[size_t(v)]; }
  const Instruction& maker(ValueId v) const { return k_.body[size_t(made_by_[size_t(v)])]; }

  // --- who uses what

  void find_uses() {
    made_by_.assign(k_.values.size(), -1);
    uses_.resize(k_.values.size());
    depth_.assign(k_.body.size(), 0);
    int depth = 0;
    for (size_t n = 0; n < k_.body.size(); n++) {
      const Instruction& i = k_.body[n];
      if (i.op == Op::yield) depth--;
      depth_[n] = depth;
      if (i.op == Op::serial) depth++;
      for (ValueId v : i.results) made_by_[size_t(v)] = int(n);
      for (ValueId v : i.operands) uses_[size_t(v)].push_back(int(n));
      for (const Index& index : i.index)
        if (index.value != kNone) uses_[size_t(index.value)].push_back(int(n));
    }
  }

  // True when the last index of a place moves by one with the axis.
  bool is_innermost(const Instruction& i, AxisId a) const {
    if (i.index.empty() || i.buffer == kNone) return false;
    for (const Term& term : i.index.back().terms)
      if (term.axis == a && term.factor == 1) return true;
    return false;
  }

  // --- tiles

  void choose_tiles() {
    bool has_kept = false, has_dot = false;
    AxisSet of_dots = 0;
    for (const Instruction& i : k_.body) {
      has_kept |= i.op == Op::dot || i.op == Op::reduce || i.op == Op::serial || i.op == Op::rename;
      if (i.op == Op::dot) {
        has_dot = true;
        of_dots |= type(i.results[0]).axes;
      }
    }
    auto can_be_cut = [&](AxisId a) { return axis(a).kind == AxisKind::parallel && !axis(a).each; };
    // Columns: what a store has innermost; else, with a dot, what its results have.
    for (const Instruction& i : k_.body)
      for (AxisId a = 0; size_t(a) < k_.axes.size(); a++)
        if (i.op == Op::store && can_be_cut(a) && is_innermost(i, a)) columns_ = a;
    if (columns_ == kNone && has_dot)
      for (AxisId a = 0; size_t(a) < k_.axes.size(); a++)
        if (can_be_cut(a) && (of_dots >> a & 1)) columns_ = a;
    if (!has_kept) whole_ = true;
    if (columns_ != kNone && has_dot && (of_dots >> columns_ & 1))
      for (AxisId a = 0; size_t(a) < k_.axes.size(); a++)
        if (can_be_cut(a) && a != columns_ && (of_dots >> a & 1) && known_size(axis(a).extent) != 1)
          rows_ = a;
    if (columns_ != kNone) {
      // One row alone keeps more columns, so that sums do not wait for each other.
      bool packed = std::any_of(k_.buffers.begin(), k_.buffers.end(),
                                [](const Buffer& b) { return b.is_packed(); });
      column_count_ = options_.columns * (has_dot && rows_ == kNone && !packed ? 4 : 1);
      int64_t size = known_size(axis(columns_).extent);
      if (size >= 0) column_count_ = std::clamp<int64_t>(size, 1, column_count_);
    }
    if (rows_ != kNone) {
      row_count_ = options_.rows;
      int64_t size = known_size(axis(rows_).extent);
      if (size >= 0) row_count_ = std::clamp<int64_t>(size, 1, options_.rows);
    }
  }

  // Axes that a loop inside the tile runs over, rather than one around it.
  bool is_inner(AxisId a) const {
    if (axis(a).each) return false;
    return axis(a).kind != AxisKind::parallel || a == columns_ || a == rows_ || whole_;
  }
  std::vector<AxisId> inner_axes(AxisSet axes) const {
    // Tiles last, columns innermost.
    std::vector<AxisId> all;
    for (AxisId a = 0; size_t(a) < k_.axes.size(); a++)
      if ((axes >> a & 1) && is_inner(a) && a != columns_ && a != rows_) all.push_back(a);
    for (AxisId a : {rows_, columns_})
      if (a != kNone && (axes >> a & 1)) all.push_back(a);
    return all;
  }

  // --- what is kept

  int cost_of(const Instruction& i) const {
    switch (i.op) {
      case Op::constant:
      case Op::extent:
      case Op::iota: return 0;
      case Op::load: return i.strict ? 1000 : 1;
      case Op::unary:
        return Unary(i.function) == Unary::neg || Unary(i.function) == Unary::bit_not ||
                       type(i.results[0]).dtype != DType::f32
                   ? 1
                   : 100;
      case Op::binary:
        return Binary(i.function) == Binary::pow || Binary(i.function) == Binary::div ? 10 : 1;
      case Op::fma:
      case Op::select:
      case Op::cast: return 1;
      default: return 1000;
    }
  }

  bool always_kept(const Instruction& i) const {
    return i.op == Op::dot || i.op == Op::reduce || i.op == Op::serial || i.op == Op::yield ||
           i.op == Op::rename || (i.op == Op::load && i.strict);
  }

  // True for a value that is the same text everywhere, and never kept.
  static bool is_text(const Instruction& i) {
    return i.op == Op::constant || i.op == Op::extent || i.op == Op::iota;
  }

  void choose_kept() {
    size_t count = k_.values.size();
    kept_.assign(count, false);
    std::vector<int> cost(count, 0);
    for (size_t v = 0; v < count; v++) {
      const Instruction& i = maker(ValueId(v));
      int64_t sum = cost_of(i);
      auto add = [&](ValueId x) { sum += kept_[size_t(x)] ? 1 : cost[size_t(x)]; };
      if (always_kept(i)) {
        kept_[v] = true;
        sum = 1;
      } else {
        for (ValueId x : i.operands) add(x);
        for (const Index& index : i.index)
          if (index.value != kNone) add(index.value);
      }
      cost[v] = int(std::min<int64_t>(sum, 100000));
    }
    // Backwards: the kept values and stores that a value is written out in, and how deep.
    std::vector<std::set<int>> roots(count);
    for (size_t v = count; v-- > 0;) {
      const Instruction& i = maker(ValueId(v));
      bool deeper = false, repeated = false;
      for (int use : uses_[v]) {
        const Instruction& user = k_.body[size_t(use)];
        if (user.op == Op::rename && !is_text(i)) kept_[v] = true;
        deeper |= depth_[size_t(use)] > depth_[size_t(made_by_[v])];
        if (user.op == Op::store || always_kept(user) || kept_[size_t(user.results[0])])
          roots[v].insert(use);
        else
          for (int root : roots[size_t(user.results[0])]) roots[v].insert(root);
        if (user.op == Op::dot && user.operands[0] != ValueId(v)) {
          // Loops of the dot that the value does not have compute it again and again.
          AxisSet others = type(user.results[0]).axes & ~type(ValueId(v)).axes;
          for (AxisId a : inner_axes(others))
            repeated |= a == rows_ ? columns_ != kNone && (type(ValueId(v)).axes >> columns_ & 1)
                                   : a != columns_;
        }
      }
      for (int root : roots[v]) deeper |= depth_[size_t(root)] > depth_[size_t(made_by_[v])];
      if (always_kept(i)) continue;
      // A load by columns that are not side by side is better done once.
      bool scattered = i.op == Op::load && columns_ != kNone &&
                       (type(ValueId(v)).axes >> columns_ & 1) && !is_innermost(i, columns_) &&
                       k_.buffers[size_t(i.buffer)].layout == Layout::strided;
      if (cost[v] == 0) continue;
      if (cost[v] > kCheap ? roots[v].size() > 1 || deeper || repeated : scattered && deeper)
        kept_[v] = true;
    }
    for (size_t v = 0; v < count; v++)
      if (kept_[v] && whole_) {  // a strict load: values need a tile to live in
        whole_ = false;
        choose_kept();
        return;
      }
  }

  // Index of an element of a kept value, where all its axes are bound; its dimensions as text.
  std::string count_text(AxisId a) const {
    if (a == columns_ && !whole_) return std::to_string(column_count_);
    if (a == rows_) return std::to_string(row_count_);
    std::string extent = size_text(axis(a).extent);
    if (!is_serial(a)) return extent;
    int64_t known = known_size(axis(a).extent), block = axis(a).block;
    if (known >= 0) return std::to_string(std::min(known, axis(a).step(known)));
    if (axis(a).whole >= block)
      return fmt::format("({0} > {1} ? {2} : {0})", extent, axis(a).whole, block);
    return block == 1 ? "1" : fmt::format("({0} < {1} ? {0} : {1})", extent, block);
  }
  // Indices per step of a serial axis.
  std::string block_text(AxisId a) const {
    int64_t known = known_size(axis(a).extent), block = axis(a).block, whole = axis(a).whole;
    if (known >= 0) return std::to_string(axis(a).step(known));
    if (whole == 0) return std::to_string(block);
    std::string extent = size_text(axis(a).extent);
    return fmt::format("({0} > {1} ? {2} : {0})", extent, whole, block);
  }
  std::string element(ValueId v) const {
    std::vector<AxisId> axes = inner_axes(type(v).axes);
    if (axes.empty()) return storage_name(v);
    std::vector<std::string> parts;
    for (size_t d = 0; d < axes.size(); d++) {
      Product part;
      for (size_t after = d + 1; after < axes.size(); after++) part.times(count_text(axes[after]));
      int64_t one = 0;
      std::string at = step_text(axes[d]);
      parts.push_back(part.is_number(&one) && one == 1 ? at
                      : is_simple(at)                  ? at + " * " + part.text()
                                                       : "(" + at + ") * " + part.text());
    }
    return storage_name(v) + "[" + sum_text(parts) + "]";
  }
  // What a loop carries has one storage, inside and after it.
  std::string storage_name(ValueId v) const {
    const Instruction& i = maker(v);
    if (i.op != Op::yield) return value_name(v);
    size_t which = size_t(std::find(i.results.begin(), i.results.end(), v) - i.results.begin());
    return value_name(loop_of(i).results[which]);
  }
  const Instruction& loop_of(const Instruction& yield) const {
    size_t n = size_t(&yield - k_.body.data());
    int depth = 0;
    while (true) {
      if (k_.body[n].op == Op::yield) depth++;
      if (k_.body[n].op == Op::serial && --depth == 0) return k_.body[n];
      n--;
    }
  }

  // Where along an axis the loops are: of the whole axis, and within the tile or block.
  std::string position(AxisId a) const {
    if (auto found = moved_.find(a); found != moved_.end())
      return is_serial(a) ? fmt::format("({} + {})", first_names_[size_t(a)], found->second)
                          : found->second;
    if (!is_inner(a) && !is_serial(a)) return axis_names_[size_t(a)];
    if (is_serial(a) && axis(a).each) return axis_names_[size_t(a)];
    if (is_serial(a) || ((a == columns_ || a == rows_) && !whole_))
      return fmt::format("({} + {})", first_names_[size_t(a)], step_names_[size_t(a)]);
    return axis_names_[size_t(a)];
  }
  std::string step_text(AxisId a) const {
    if (auto found = moved_.find(a); found != moved_.end()) return found->second;
    if (is_serial(a) || ((a == columns_ || a == rows_) && !whole_)) return step_names_[size_t(a)];
    return axis_names_[size_t(a)];
  }
  std::string loop_count(AxisId a) const {
    if (is_serial(a) || ((a == columns_ || a == rows_) && !whole_)) return count_names_[size_t(a)];
    return size_text(axis(a).extent);
  }
  std::string loop_open(AxisId a) const {
    // Unrolled, or the rows of an accumulator are not kept in registers.
    return fmt::format("{2}for (int64_t {0} = 0; {0} < {1}; {0}++) {{", step_text(a), loop_count(a),
                       a == rows_ ? "SC_UNROLL " : "");
  }

  // --- expressions

  using Nest = std::vector<Level>;

  Nest nest_over(const std::vector<AxisId>& axes) const {
    Nest nest(1);
    for (AxisId a : axes) {
      Level level;
      level.axes = nest.back().axes | AxisSet(1) << a;
      level.open = loop_open(a);
      nest.push_back(std::move(level));
    }
    return nest;
  }
  // The outermost level at which all of the axes that loops run over are bound.
  size_t level_of(const Nest& nest, AxisSet axes) const {
    size_t level = 0;
    AxisSet all = nest.back().axes & axes;
    while (all & ~nest[level].axes) level++;
    return level;
  }
  void close(const Nest& nest, std::string* out) const {
    std::string text, indent = indent_;
    bool braces = nest[0].statements.size() > 0;
    if (braces) {
      text += indent + "{\n";
      indent += "  ";
    }
    std::vector<std::string> ends;
    for (size_t l = 0; l < nest.size(); l++) {
      if (l > 0) {
        text += indent + nest[l].open + "\n";
        ends.push_back(indent + "}\n");
        indent += "  ";
      }
      size_t at = 0;
      while (at < nest[l].statements.size()) {
        size_t end = nest[l].statements.find('\n', at);
        text += indent + nest[l].statements.substr(at, end - at + 1);
        at = end + 1;
      }
    }
    for (size_t e = ends.size(); e-- > 0;) text += ends[e];
    if (braces) text += indent_ + "}\n";
    *out += text;
  }

  // The C of a value where `nest` has bound its axes.
  std::string value(Nest& nest, ValueId v) {
    const Instruction& i = maker(v);
    if (i.op == Op::constant) return constant(i);
    if (i.op == Op::extent) return size_text(axis(i.axes[0]).extent);
    if (i.op == Op::iota) return position(i.axes[0]);
    if (kept_[size_t(v)]) return element(v);
    size_t level = level_of(nest, type(v).axes);
    auto found = nest[level].known.find(v);
    if (found != nest[level].known.end()) return found->second;
    std::string name = value_name(v);
    std::string text = i.op == Op::load ? load(nest, i, level) : computed(nest, i);
    nest[level].statements +=
        fmt::format("const {} {} = {};\n", value_type(type(v).dtype), name, text);
    nest[level].known[v] = name;
    return name;
  }

  std::string constant(const Instruction& i) const {
    if (i.dtype == DType::f32) return float_text(float(i.number));
    if (i.dtype == DType::b8) return i.number != 0 ? "1" : "0";
    int64_t x = int64_t(i.number);
    std::string text = integer_text(i.dtype == DType::i32 ? int32_t(uint32_t(uint64_t(x))) : x);
    return x < 0 ? "(" + text + ")" : text;
  }

  std::string computed(Nest& nest, const Instruction& i) {
    std::vector<std::string> x;
    for (ValueId operand : i.operands) x.push_back(value(nest, operand));
    DType out = type(i.results[0]).dtype, in = type(i.operands[0]).dtype;
    auto wrapped = [&](const char* sign) {
      const char* bits = out == DType::i32 ? "uint32_t" : "uint64_t";
      return fmt::format("({0})(({1}){2} {3} ({1}){4})", value_type(out), bits, bracketed(x[0]),
                         sign, bracketed(x[1]));
    };
    switch (i.op) {
      case Op::unary: {
        auto f = Unary(i.function);
        if (out == DType::f32)
          return f == Unary::neg ? fmt::format("-{}", bracketed(x[0]))
                                 : fmt::format("{}({})", helpers_.use(c_name_of(f)), x[0]);
        const char* bits = out == DType::i32 ? "uint32_t" : "uint64_t";
        std::string negative =
            fmt::format("({0})(0 - ({1}){2})", value_type(out), bits, bracketed(x[0]));
        if (f == Unary::neg) return negative;
        if (f == Unary::abs) return fmt::format("{0} < 0 ? {1} : {0}", x[0], negative);
        if (f == Unary::relu) return fmt::format("{0} > 0 ? {0} : 0", x[0]);
        return out == DType::b8 ? fmt::format("(uint8_t)(~{} & 1)", bracketed(x[0]))
                                : fmt::format("~{}", bracketed(x[0]));
      }
      case Op::binary: {
        auto f = Binary(i.function);
        static constexpr const char* kSigns[] = {"==", "!=", "<", "<=", ">", ">="};
        // Of equal texts compilers say that the comparison is always the same.
        bool same = x[0] == x[1] && dtype_category(in) != DTypeCategory::floating;
        if (same && f >= Binary::eq && f <= Binary::ge)
          return fmt::format("(uint8_t)(({} & 0) + {})", x[0],
                             int(f == Binary::eq || f == Binary::le || f == Binary::ge));
        if (same && (f == Binary::min || f == Binary::max)) return x[0];
        if (f >= Binary::eq && f <= Binary::ge)
          return fmt::format("(uint8_t)({} {} {})", x[0], kSigns[int(f) - int(Binary::eq)], x[1]);
        const char* sign = f == Binary::add       ? "+"
                           : f == Binary::sub     ? "-"
                           : f == Binary::mul     ? "*"
                           : f == Binary::div     ? "/"
                           : f == Binary::bit_and ? "&"
                           : f == Binary::bit_or  ? "|"
                           : f == Binary::bit_xor ? "^"
                                                  : nullptr;
        if (f >= Binary::bit_and)
          return fmt::format(fmt::runtime(out == DType::b8 ? "(uint8_t)({} {} {})" : "{} {} {}"),
                             x[0], sign, x[1]);
        if (out == DType::f32)
          return sign ? fmt::format("{} {} {}", x[0], sign, x[1])
                      : fmt::format("{}({}, {})", helpers_.use(c_name_of(f)), x[0], x[1]);
        if (sign) return wrapped(sign);
        return fmt::format("{1} {2} {0} ? {1} : {0}", x[0], x[1], f == Binary::min ? "<" : ">");
      }
      case Op::fma: return fmt::format("{}({}, {}, {})", helpers_.use("sc_fma"), x[0], x[1], x[2]);
      case Op::select: return fmt::format("{} ? {} : {}", x[0], x[1], x[2]);
      default:  // cast
        if (out == DType::b8) return fmt::format("(uint8_t)({} != 0)", x[0]);
        if (in == DType::f32 && out == DType::i32)
          return fmt::format("{}({})", helpers_.use("sc_i32_of_f32"), x[0]);
        if (in == DType::f32 && out == DType::i64)
          return fmt::format("{}({})", helpers_.use("sc_i64_of_f32"), x[0]);
        if (in == DType::i64 && out == DType::i32)
          return fmt::format("(int32_t)(uint32_t)(uint64_t){}", bracketed(x[0]));
        return fmt::format("({}){}", value_type(out), bracketed(x[0]));
    }
  }

  // --- places in buffers

  struct Place {
    std::string inside;  // empty: always
    std::string offset;  // in elements
    std::string step;    // packed: the contracted index
  };

  // Each part of the place stands at the level where its axes are bound; what is left is an
  // expression for the innermost.
  Place place(Nest& nest, const Instruction& i) {
    const Buffer& buffer = k_.buffers[size_t(i.buffer)];
    bool packed = buffer.is_packed();
    size_t rank = i.index.size(), id = size_t(&i - k_.body.data()), last = nest.size() - 1;
    Place at;
    struct Part {
      size_t level;
      std::string text;
    };
    std::vector<Part> parts, checks;
    for (size_t d = 0; d < rank; d++) {
      const Index& index = i.index[d];
      AxisSet axes = 0;
      for (const Term& term : index.terms) axes |= AxisSet(1) << term.axis;
      std::vector<std::string> sum;
      std::string text;
      for (const Term& term : index.terms) {
        int64_t size = std::abs(term.factor);
        std::string product =
            size == 1 ? position(term.axis) : fmt::format("{} * {}", size, position(term.axis));
        text += text.empty() ? (term.factor < 0 ? "-" : "") : (term.factor < 0 ? " - " : " + ");
        text += product;
      }
      if (index.offset || (text.empty() && index.value == kNone))
        text += text.empty()
                    ? std::to_string(index.offset)
                    : fmt::format(" {} {}", index.offset < 0 ? '-' : '+', std::abs(index.offset));
      if (index.value != kNone) {
        axes |= type(index.value).axes;
        std::string at = value(nest, index.value);
        text = text.empty()
                   ? at
                   : fmt::format("(int64_t)((uint64_t){} + (uint64_t)({}))", bracketed(at), text);
      }
      size_t level = level_of(nest, axes);
      if (!always_inside(i, d)) {
        if (!is_simple(text)) {
          std::string name = fmt::format("{}{}_{}", position_prefix_, id, d);
          nest[level].statements += fmt::format("const int64_t {} = {};\n", name, text);
          text = name;
        }
        checks.push_back(
            {level, fmt::format("({0} >= 0) & ({0} < {1})", text, size_text(buffer.dims[d]))});
      }
      auto add = [&](size_t at, const std::string& what, const Product& stride) {
        int64_t number = 0;
        std::string factor = stride.text();
        if (factor == "0") return;
        if (stride.is_number(&number) && number == 1)
          parts.push_back({at, what});
        else
          parts.push_back({at, bracketed(what) + " * " + factor});
      };
      Product stride;
      if (!packed) {
        if (of_.stride_arguments) {
          stride.times(fmt::format("{}[{}]", stride_names_[size_t(i.buffer)], d));
        } else if (const std::vector<int64_t>* strides = strides_of(i.buffer)) {
          if ((*strides)[d] < 0)
            stride.times("(" + integer_text((*strides)[d]) + ")");
          else
            stride.times(std::to_string((*strides)[d]));
        } else {
          for (size_t after = d + 1; after < rank; after++)
            stride.times(size_text(buffer.dims[after]));
        }
        add(level, text, stride);
        continue;
      }
      // Panels: [lead...][panels][rows][k][16], or by quads (tile/ir.h).
      size_t lead = size_t(buffer.panel_lead), column = rank - 1, run = rank - 2;
      bool quads = buffer.dtype == DType::i8, halves = buffer.layout == Layout::nibbles;
      Product row, panel;
      if (quads)
        row.times(rounded_up(buffer.dims[run], halves ? kNibbles : kQuad))
            .times(std::to_string(kQuad * kPanelColumns));
      else
        row.times(size_text(buffer.dims[run])).times(std::to_string(kPanelColumns));
      panel = row;
      for (size_t r = lead; r < run; r++) panel.times(size_text(buffer.dims[r]));
      std::string panel_text = panel.text();
      int64_t number = 0;
      if (quads && !halves)
        panel_text = panel.is_number(&number)
                         ? std::to_string(number + kPanelColumns * 4)
                         : fmt::format("({} + {})", panel_text, kPanelColumns * 4);
      if (d < lead) {
        for (size_t after = d + 1; after < lead; after++)
          stride.times(size_text(buffer.dims[after]));
        stride.times(rounded_up(buffer.dims[column], kPanelColumns)).times(panel_text);
        add(level, text, stride);
      } else if (d < run) {
        stride = row;
        for (size_t after = d + 1; after < run; after++)
          stride.times(size_text(buffer.dims[after]));
        add(level, text, stride);
      } else if (d == run) {
        at.step = text;
        if (quads) {
          std::string k = unsigned_text(text);
          add(level,
              fmt::format("(int64_t)({0} / {1} * 64 + {0} % 4)", k, halves ? kNibbles : kQuad),
              stride);
        } else {
          add(level, text, Product().times(std::to_string(kPanelColumns)));
        }
      } else {
        bool by_tile = index.terms.size() == 1 && index.terms[0].axis == columns_ &&
                       index.terms[0].factor == 1 && index.offset == 0 && index.value == kNone &&
                       !whole_;
        int64_t within = quads ? kQuad : 1;
        if (by_tile) {
          std::string first = first_names_[size_t(columns_)];
          add(0, fmt::format("{} / {}", first, kPanelColumns), Product().times(panel_text));
          std::string step = step_text(columns_);
          if (options_.columns < kPanelColumns)
            step = fmt::format("{} % {} + {}", first, kPanelColumns, step);
          add(level, step, Product().times(std::to_string(within)));
        } else {
          std::string n = unsigned_text(text);
          add(level, fmt::format("(int64_t)({} / {})", n, kPanelColumns),
              Product().times(panel_text));
          add(level, fmt::format("(int64_t)({} % {})", n, kPanelColumns),
              Product().times(std::to_string(within)));
        }
      }
    }
    // Sums and checks from the outside in.
    std::vector<std::string> open;
    for (size_t level = 0; level <= last; level++) {
      std::vector<std::string> here = open;
      for (const Part& part : parts)
        if (part.level == level) here.push_back(part.text);
      bool final = level == last;
      if (here.size() > open.size() && !final) {
        std::string name = fmt::format("{}{}_{}", offset_prefix_, id, level);
        std::string text = sum_text(here);
        if (!is_simple(text)) {
          nest[level].statements += fmt::format("const int64_t {} = {};\n", name, text);
          text = name;
        }
        open = {text};
      } else if (final) {
        at.offset = sum_text(here);
      }
      std::string check = at.inside;
      for (const Part& part : checks)
        if (part.level == level) check += (check.empty() ? "" : " & ") + part.text;
      if (check != at.inside && !final) {
        std::string name = fmt::format("{}{}_{}", inside_prefix_, id, level);
        nest[level].statements += fmt::format("const int {} = {};\n", name, check);
        check = name;
      }
      at.inside = check;
    }
    return at;
  }
  const std::vector<int64_t>* strides_of(int32_t buffer) const {
    if (size_t(buffer) >= of_.strides.size() || of_.strides[size_t(buffer)].empty()) return nullptr;
    return &of_.strides[size_t(buffer)];
  }
  static std::string unsigned_text(const std::string& text) {
    return "(uint64_t)" + bracketed(text);
  }
  std::string rounded_up(const Extent& extent, int64_t by) const {
    int64_t size = known_size(extent);
    if (size >= 0) return std::to_string((size + by - 1) / by);
    return fmt::format("(({} + {}) / {})", size_text(extent), by - 1, by);
  }
  // By extents alone.
  bool always_inside(const Instruction& i, size_t d) const {
    const Index& index = i.index[d];
    const Extent& extent = k_.buffers[size_t(i.buffer)].dims[d];
    if (index.value != kNone) return false;
    if (index.terms.size() == 1 && index.terms[0].factor == 1 && index.offset == 0 &&
        same_size(axis(index.terms[0].axis).extent, extent))
      return true;
    int64_t size = known_size(extent), low = index.offset, high = index.offset;
    if (size < 0) return false;
    for (const Term& term : index.terms) {
      int64_t count = known_size(axis(term.axis).extent);
      if (count < 1) return count == 0;
      int64_t reach = term.factor * (count - 1);  // both below 2^31
      (reach < 0 ? low : high) += reach;
    }
    return low >= 0 && high < size;
  }

  std::string read(const Instruction& i, const Place& place) {
    const Buffer& buffer = k_.buffers[size_t(i.buffer)];
    std::string at = fmt::format("{}[{}]", buffer_names_[size_t(i.buffer)], place.offset);
    if (buffer.layout == Layout::nibbles)
      return fmt::format("{}({}, {})", helpers_.use("sc_half"), at, place.step);
    if (buffer.dtype == DType::f16) return helpers_.use("sc_f32_of_f16") + "(" + at + ")";
    if (buffer.dtype == DType::bf16) return helpers_.use("sc_f32_of_bf16") + "(" + at + ")";
    return at;
  }
  std::string load(Nest& nest, const Instruction& i, size_t level) {
    // At its own level, as if the loops further inside were not there.
    Nest inner(std::make_move_iterator(nest.begin() + long(level) + 1),
               std::make_move_iterator(nest.end()));
    nest.resize(level + 1);
    Place at = place(nest, i);
    std::string text = read(i, at);
    if (!at.inside.empty()) {
      DType dtype = type(i.results[0]).dtype;
      std::string fill = dtype == DType::f32 ? float_text(float(i.number))
                         : dtype == DType::i32
                             ? integer_text(int32_t(uint32_t(uint64_t(int64_t(i.number)))))
                         : dtype == DType::b8 ? std::to_string(uint8_t(int64_t(i.number)))
                                              : integer_text(int64_t(i.number));
      if (i.strict) {
        nest[level].statements += fmt::format("if (!({})) return {};\n", at.inside, i.buffer + 1);
      } else {
        text = fmt::format("{} ? {} : {}", is_simple(at.inside) ? at.inside : "(" + at.inside + ")",
                           text, fill);
      }
    }
    std::move(inner.begin(), inner.end(), std::back_inserter(nest));
    return text;
  }

  // --- instructions

  // Loads that a loop does side by side come last in it.
  std::vector<AxisId> loop_order(AxisSet axes, const Instruction* place_of) const {
    std::vector<AxisId> order = inner_axes(axes);
    bool has_columns = columns_ != kNone && (axes >> columns_ & 1);
    if (place_of && (!has_columns || whole_))
      for (AxisId a : std::vector<AxisId>(order))
        if (is_innermost(*place_of, a)) {
          order.erase(std::find(order.begin(), order.end(), a));
          order.push_back(a);
          break;
        }
    return order;
  }

  void store(const Instruction& i, std::string* out) {
    AxisSet axes = 0;
    for (const Index& index : i.index)
      for (const Term& term : index.terms)
        if (is_inner(term.axis)) axes |= AxisSet(1) << term.axis;
    Nest nest = nest_over(loop_order(axes, &i));
    Place at = place(nest, i);
    std::string x = value(nest, i.operands[0]);
    const Buffer& buffer = k_.buffers[size_t(i.buffer)];
    auto saturated = [&](int64_t low, int64_t high) {
      return fmt::format("({}){}({}, {}, {})", stored_type(buffer.dtype),
                         helpers_.use("sc_saturate"), x, low, high);
    };
    switch (buffer.dtype) {
      case DType::f16: x = "(uint16_t)" + helpers_.use("sc_f16_of_f32") + "(" + x + ")"; break;
      case DType::bf16: x = helpers_.use("sc_bf16_of_f32") + "(" + x + ")"; break;
      case DType::i8: x = saturated(INT8_MIN, INT8_MAX); break;
      case DType::u8: x = saturated(0, UINT8_MAX); break;
      case DType::i16: x = saturated(INT16_MIN, INT16_MAX); break;
      case DType::b8: x = bracketed(x) + " != 0"; break;
      default: break;
    }
    std::string write =
        fmt::format("{}[{}] = {};\n", buffer_names_[size_t(i.buffer)], at.offset, x);
    if (!at.inside.empty())
      write = i.strict ? fmt::format("if (!({})) return {};\n{}", at.inside, i.buffer + 1, write)
                       : fmt::format("if ({}) {}", at.inside, write);
    nest.back().statements += write;
    close(nest, out);
  }

  // Into an array of its own: what is renamed lies in one too, or is the same everywhere.
  void rename(const Instruction& i, std::string* out) {
    ValueId v = i.results[0], x = i.operands[0];
    Nest nest = nest_over(inner_axes(type(v).axes));
    moved_[i.axes[0]] = step_text(i.axes[1]);
    std::string text = value(nest, x);
    moved_.erase(i.axes[0]);
    nest.back().statements += fmt::format("{} = {};\n", element(v), text);
    close(nest, out);
  }

  // A pointwise value or load into its array.
  void keep(const Instruction& i, std::string* out) {
    ValueId v = i.results[0];
    Nest nest = nest_over(loop_order(type(v).axes, i.op == Op::load ? &i : nullptr));
    std::string text = i.op == Op::load ? load(nest, i, nest.size() - 1) : computed(nest, i);
    nest.back().statements += fmt::format("{} = {};\n", element(v), text);
    close(nest, out);
  }

  void copy(ValueId from, ValueId to, std::string* out) {
    if (kept_[size_t(from)] && storage_name(from) == storage_name(to)) return;
    Nest nest = nest_over(inner_axes(type(to).axes));
    std::string x = value(nest, from);
    nest.back().statements += fmt::format("{} = {};\n", element(to), x);
    close(nest, out);
  }

  void dot(const Instruction& i, std::string* out) {
    ValueId v = i.results[0];
    std::vector<AxisId> own = inner_axes(type(v).axes), outer, tile;
    for (AxisId a : own) (a == rows_ || a == columns_ ? tile : outer).push_back(a);
    // The accumulators: the value itself, or a small array when it lies in memory.
    bool local = !outer.empty();
    std::string name = value_name(v), elements = "1";
    Product count;
    for (AxisId a : tile) count.times(count_text(a));
    std::string inner, indent = indent_;
    Nest loops = nest_over(outer);
    for (size_t l = 0; l < outer.size(); l++) indent_ += "  ";
    std::string acc = element(v);
    if (local) {
      std::vector<std::string> parts;
      if (rows_ != kNone && std::find(tile.begin(), tile.end(), rows_) != tile.end())
        parts.push_back(step_text(rows_) + (tile.size() == 2 ? " * " + count_text(columns_) : ""));
      if (!tile.empty() && tile.back() == columns_) parts.push_back(step_text(columns_));
      acc = count_name_ + (tile.empty() ? "" : "[" + sum_text(parts) + "]");
      inner += fmt::format("{}{} {}{};\n", indent_, value_type(type(v).dtype), count_name_,
                           tile.empty() ? "" : "[" + count.text() + "]");
    }
    auto within = [&](std::vector<AxisId> axes, const std::function<void(Nest&)>& fill) {
      // Loops of `outer` are around: what is bound there is bound at level 0.
      Nest nest = nest_over(axes);
      fill(nest);
      close(nest, &inner);
    };
    within(tile, [&](Nest& nest) {
      std::string x = value(nest, i.operands[0]);
      nest.back().statements += fmt::format("{} = {};\n", acc, x);
    });
    std::vector<AxisId> axes(i.axes.begin(), i.axes.end());
    axes.insert(axes.end(), tile.begin(), tile.end());
    within(axes, [&](Nest& nest) {
      std::string a = value(nest, i.operands[1]), b = value(nest, i.operands[2]);
      nest.back().statements +=
          type(v).dtype == DType::f32
              ? fmt::format("{0} = {1}({2}, {3}, {0});\n", acc, helpers_.use("sc_fma"), a, b)
              : fmt::format("{0} = (int32_t)((uint32_t){0} + (uint32_t){1} * (uint32_t){2});\n",
                            acc, bracketed(a), bracketed(b));
    });
    if (local)
      within(tile, [&](Nest& nest) {
        nest.back().statements += fmt::format("{} = {};\n", element(v), acc);
      });
    indent_ = indent;
    open_around(loops, inner, out);
  }
  // Puts text that is indented for them into loops.
  void open_around(const Nest& loops, const std::string& inner, std::string* out) const {
    std::string indent = indent_;
    for (size_t l = 1; l < loops.size(); l++) {
      *out += indent + loops[l].open + "\n";
      indent += "  ";
    }
    *out += inner;
    for (size_t l = loops.size(); l-- > 1;) {
      indent.resize(indent.size() - 2);
      *out += indent + "}\n";
    }
  }

  void reduce(const Instruction& i, std::string* out) {
    ValueId v = i.results[0], x = i.operands[0];
    auto f = Reduce(i.function);
    DType dtype = type(v).dtype;
    bool floating = dtype == DType::f32;
    std::vector<AxisId> own = inner_axes(type(v).axes), outer, tile;
    bool by_columns = columns_ != kNone && !own.empty() && own.back() == columns_;
    outer = own;
    if (by_columns) {
      outer.pop_back();
      tile = {columns_};
    }
    Nest loops = nest_over(outer);
    std::string inner, indent = indent_;
    for (size_t l = 0; l < outer.size(); l++) indent_ += "  ";
    std::string lane_count = by_columns ? count_text(columns_) : "";
    std::string start = f == Reduce::sum    ? (floating ? "0.0f" : "0")
                        : f == Reduce::prod ? (floating ? "1.0f" : "1")
                        : f == Reduce::max  ? (floating              ? "-INFINITY"
                                               : dtype == DType::i32 ? "INT32_MIN"
                                                                     : "INT64_MIN")
                                            : (floating              ? "INFINITY"
                                               : dtype == DType::i32 ? "INT32_MAX"
                                                                     : "INT64_MAX");
    // `acc` after one more element.
    auto joined = [&](const std::string& acc, const std::string& element) -> std::string {
      const char* bits = dtype == DType::i32 ? "uint32_t" : "uint64_t";
      if (f == Reduce::sum || f == Reduce::prod) {
        const char* sign = f == Reduce::sum ? "+" : "*";
        return floating ? fmt::format("{} {} {}", acc, sign, element)
                        : fmt::format("({0})(({1}){2} {3} ({1}){4})", value_type(dtype), bits, acc,
                                      sign, bracketed(element));
      }
      Binary most = f == Reduce::max ? Binary::max : Binary::min;
      if (floating) return fmt::format("{}({}, {})", helpers_.use(c_name_of(most)), acc, element);
      return fmt::format("{1} {2} {0} ? {1} : {0}", acc, element, f == Reduce::max ? ">" : "<");
    };
    auto within = [&](const std::vector<AxisId>& axes, const std::function<void(Nest&)>& fill) {
      Nest nest = nest_over(axes);
      fill(nest);
      close(nest, &inner);
    };
    auto in_order = [&] {
      within(tile, [&](Nest& nest) {
        nest.back().statements += fmt::format("{} = {};\n", element(v), start);
      });
      std::vector<AxisId> axes(i.axes.begin(), i.axes.end());
      axes.insert(axes.end(), tile.begin(), tile.end());
      within(axes, [&](Nest& nest) {
        std::string one = value(nest, x);
        nest.back().statements += fmt::format("{} = {};\n", element(v), joined(element(v), one));
      });
    };
    // Sixteen lanes; element n, counted over the axes, goes to lane n mod 16.
    auto by_lanes = [&] {
      std::string count = by_columns ? fmt::format("16 * {}", lane_count) : "16";
      inner += fmt::format("{}float {}[{}];\n", indent_, lane_name_, count);
      inner += fmt::format("{0}for (int sc_l = 0; sc_l < {1}; sc_l++) {2}[sc_l] = {3};\n", indent_,
                           count, lane_name_, start);
      bool one_axis = i.axes.size() == 1 && !by_columns;
      if (one_axis) {
        AxisId a = i.axes[0];
        std::string n = step_text(a), total = loop_count(a);
        inner += fmt::format("{}int64_t {} = 0;\n", indent_, n);
        auto loop = [&](const std::string& open, const std::string& at, const std::string& lane) {
          Nest nest(2);
          nest[1].axes = AxisSet(1) << a;
          nest[1].open = open;
          moved_[a] = at;
          std::string one = value(nest, x);
          moved_.erase(a);
          nest[1].statements += fmt::format("{0}[{1}] = {2};\n", lane_name_, lane,
                                            joined(fmt::format("{}[{}]", lane_name_, lane), one));
          close(nest, &inner);
        };
        inner += fmt::format("{0}for (; {1} + 16 <= {2}; {1} += 16) {{\n", indent_, n, total);
        indent_ += "  ";
        loop("for (int sc_l = 0; sc_l < 16; sc_l++) {", fmt::format("({} + sc_l)", n), "sc_l");
        indent_.resize(indent_.size() - 2);
        inner += indent_ + "}\n";
        loop(fmt::format("for (; {0} < {1}; {0}++) {{", n, total), n, n + " & 15");
      } else {
        inner += fmt::format("{}int64_t {} = 0;\n", indent_, count_name_);
        // Counted once an element, in front of the loop over columns.
        std::vector<AxisId> axes(i.axes.begin(), i.axes.end());
        size_t depth = axes.size();
        axes.insert(axes.end(), tile.begin(), tile.end());
        within(axes, [&](Nest& nest) {
          std::string which = "sc_at";
          nest[depth].statements +=
              fmt::format("const int64_t {} = {}++ & 15;\n", which, count_name_);
          std::string one = value(nest, x);
          std::string lane = by_columns ? fmt::format("{}[{} * {} + {}]", lane_name_, which,
                                                      lane_count, step_text(columns_))
                                        : fmt::format("{}[{}]", lane_name_, which);
          nest.back().statements += fmt::format("{} = {};\n", lane, joined(lane, one));
        });
      }
      inner += fmt::format("{0}for (int sc_half = 8; sc_half > 0; sc_half /= 2)\n", indent_);
      std::string low = "sc_l", high = "sc_l + sc_half";
      if (by_columns) {
        inner +=
            fmt::format("{0}  for (int sc_l = 0; sc_l < sc_half * {1}; sc_l++) {2}[sc_l] = {3};\n",
                        indent_, lane_count, lane_name_,
                        joined(lane_name_ + "[sc_l]",
                               fmt::format("{}[sc_l + sc_half * {}]", lane_name_, lane_count)));
      } else {
        inner += fmt::format("{0}  for (int sc_l = 0; sc_l < sc_half; sc_l++) {1}[sc_l] = {2};\n",
                             indent_, lane_name_,
                             joined(lane_name_ + "[sc_l]", lane_name_ + "[sc_l + sc_half]"));
      }
      within(tile, [&](Nest& nest) {
        nest.back().statements += fmt::format("{} = {}[{}];\n", element(v), lane_name_,
                                              by_columns ? step_text(columns_) : "0");
      });
    };
    bool most =
        floating && (f == Reduce::max || f == Reduce::min) && i.axes.size() == 1 && !by_columns;
    if (i.lanes) {
      inner += indent_ + "{\n";
      indent_ += "  ";
      by_lanes();
      indent_.resize(indent_.size() - 2);
      inner += indent_ + "}\n";
    } else if (most) {
      // By lanes too; of +0 and -0 the first counts, which lanes do not know.
      inner += indent_ + "{\n";
      indent_ += "  ";
      by_lanes();
      indent_.resize(indent_.size() - 2);
      inner += indent_ + "}\n";
      inner += fmt::format("{}if ({} == 0.0f) {{\n", indent_, element(v));
      indent_ += "  ";
      in_order();
      indent_.resize(indent_.size() - 2);
      inner += indent_ + "}\n";
    } else {
      in_order();
    }
    indent_ = indent;
    open_around(loops, inner, out);
  }
  void body() {
    indent_ = "  ";
    instructions(0, k_.body.size(), &text_);
  }

  void instructions(size_t from, size_t to, std::string* out) {
    for (size_t n = from; n < to; n++) {
      const Instruction& i = k_.body[n];
      if (i.op == Op::store) {
        store(i, out);
      } else if (i.op == Op::dot) {
        declare(i.results[0]);
        dot(i, out);
      } else if (i.op == Op::reduce) {
        declare(i.results[0]);
        reduce(i, out);
      } else if (i.op == Op::rename) {
        declare(i.results[0]);
        rename(i, out);
      } else if (i.op == Op::serial) {
        size_t end = n;
        for (int depth = 0;; end++) {
          depth += k_.body[end].op == Op::serial;
          if (k_.body[end].op == Op::yield && --depth == 0) break;
        }
        loop(i, k_.body[end], n + 1, end, out);
        n = end;
      } else if (i.op != Op::yield && kept_[size_t(i.results[0])]) {
        declare(i.results[0]);
        keep(i, out);
      }
    }
  }

  void loop(const Instruction& i, const Instruction& yield, size_t from, size_t to,
            std::string* out) {
    for (size_t k = 0; k < i.results.size(); k++) {
      declare(i.results[k]);
      copy(i.operands[k], i.results[k], out);
    }
    size_t a = size_t(i.axes[0]);
    std::string extent = size_text(k_.axes[a].extent);
    std::string block = block_text(AxisId(a));
    bool each = k_.axes[a].each;
    std::string at = each ? axis_names_[a] : first_names_[a];
    const char* steps = k_.axes[a].backward
                            ? "{0}for (int64_t {1} = ({2} + {3} - 1) / {3} * {3} - {3}; {1} >= 0; "
                              "{1} -= {3}) {{\n"
                            : "{0}for (int64_t {1} = 0; {1} < {2}; {1} += {3}) {{\n";
    *out += fmt::format(fmt::runtime(steps), indent_, at, extent, block);
    indent_ += "  ";
    if (!each) {
      *out += fmt::format("{0}const int64_t {1} = {2} - {3} < {4} ? {2} - {3} : {4};\n", indent_,
                          count_names_[a], extent, at, block);
      *out += fmt::format("{}(void){};\n", indent_, count_names_[a]);
    }
    instructions(from, to, out);
    // All next values, then all carried ones: one may be made of another.
    std::vector<std::string> next;
    bool own_names = yield.operands.size() > 1;
    std::string copies;
    *out += yield.operands.empty() ? "" : indent_ + "{\n";
    indent_ += "  ";
    for (size_t k = 0; k < yield.operands.size(); k++) {
      ValueId v = yield.operands[k], to_v = i.results[k];
      bool carried = maker(v).op == Op::serial || !kept_[size_t(v)];
      if (own_names && carried && storage_name_or(v) != storage_name(to_v)) {
        // Written out, or carried itself: through memory of its own.
        std::string name = "sc_next" + std::to_string(to_v);
        declare_as(name, to_v);
        Nest nest = nest_over(inner_axes(type(to_v).axes));
        std::string x = value(nest, v);
        std::string target = element(to_v);
        target.replace(0, storage_name(to_v).size(), name);
        nest.back().statements += fmt::format("{} = {};\n", target, x);
        close(nest, out);
        Nest back = nest_over(inner_axes(type(to_v).axes));
        back.back().statements += fmt::format("{} = {};\n", element(to_v), target);
        close(back, &copies);
      } else {
        copy(v, to_v, &copies);
      }
    }
    *out += copies;
    indent_.resize(indent_.size() - 2);
    *out += yield.operands.empty() ? "" : indent_ + "}\n";
    indent_.resize(indent_.size() - 2);
    *out += indent_ + "}\n";
  }
  std::string storage_name_or(ValueId v) const {
    return kept_[size_t(v)] ? storage_name(v) : std::string();
  }

  // --- memory of kept values

  void declare(ValueId v) {
    declare_as(value_name(v), v);
    // So that no compiler says that it is not used.
    if (uses_[size_t(v)].empty()) declarations_ += fmt::format("  (void){};\n", value_name(v));
  }
  void declare_as(const std::string& name, ValueId like) {
    const char* c_type = value_type(type(like).dtype);
    std::vector<AxisId> axes = inner_axes(type(like).axes);
    Product count;
    for (AxisId a : axes) count.times(count_text(a));
    int64_t known = 0, bytes = int64_t(dtype_bytes(type(like).dtype));
    bool in_tile = std::all_of(axes.begin(), axes.end(),
                               [&](AxisId a) { return a == columns_ || a == rows_; });
    if (in_tile && count.is_number(&known) && stack_bytes_ + known * bytes <= kStackBytesMax) {
      stack_bytes_ += known * bytes;
      declarations_ += axes.empty() ? fmt::format("  {} {};\n", c_type, name)
                                    : fmt::format("  {} {}[{}];\n", c_type, name, known);
      return;
    }
    Product size = count;
    size.times(std::to_string(bytes));
    std::string rounded;
    if (size.is_number(&known))
      rounded = std::to_string((known + 63) / 64 * 64);
    else
      rounded = fmt::format("({} + 63) / 64 * 64", size.text());
    scratch_parts_.push_back(rounded);
    declarations_ += fmt::format("  {0} *restrict const {1} = ({0} *){2};\n  {2} += {3};\n", c_type,
                                 name, free_name_, rounded);
  }

  // --- the functions

  std::string parameters(bool in_tile) const {
    std::vector<std::string> all;
    for (size_t b = 0; b < k_.buffers.size(); b++)
      all.push_back(fmt::format("{}{} *restrict {}", k_.buffers[b].output ? "" : "const ",
                                stored_type(k_.buffers[b].dtype), buffer_names_[b]));
    if (of_.stride_arguments)
      for (size_t b = 0; b < k_.buffers.size(); b++)
        if (k_.buffers[b].layout == Layout::strided)
          all.push_back(fmt::format("const int64_t *restrict {}", stride_names_[b]));
    for (size_t d = 0; d < k_.dims.size(); d++)
      if (fixed_[d] < 0) all.push_back("int64_t " + dim_names_[d]);
    if (in_tile)
      for (size_t a = 0; a < k_.axes.size(); a++) {
        AxisId id = AxisId(a);
        if (axis(id).kind != AxisKind::parallel) continue;
        if (id == columns_ || id == rows_) {
          all.push_back("int64_t " + first_names_[a]);
          all.push_back("int64_t " + count_names_[a]);
        } else {
          all.push_back("int64_t " + axis_names_[a]);
        }
      }
    all.push_back("void *scratch");
    return fmt::format("{}", fmt::join(all, ", "));
  }
  std::string arguments(const std::string& rows, const std::string& columns) const {
    std::vector<std::string> all(buffer_names_);
    if (of_.stride_arguments)
      for (size_t b = 0; b < k_.buffers.size(); b++)
        if (k_.buffers[b].layout == Layout::strided) all.push_back(stride_names_[b]);
    for (size_t d = 0; d < k_.dims.size(); d++)
      if (fixed_[d] < 0) all.push_back(dim_names_[d]);
    for (size_t a = 0; a < k_.axes.size(); a++) {
      AxisId id = AxisId(a);
      if (axis(id).kind != AxisKind::parallel) continue;
      if (id == columns_ || id == rows_) {
        all.push_back(first_names_[a]);
        all.push_back(id == rows_ ? rows : columns);
      } else {
        all.push_back(axis_names_[a]);
      }
    }
    all.push_back("scratch");
    return fmt::format("{}", fmt::join(all, ", "));
  }
  // So that no compiler says that one is not used.
  std::string used(bool in_tile) const {
    std::vector<std::string> all(buffer_names_);
    if (of_.stride_arguments)
      for (size_t b = 0; b < k_.buffers.size(); b++)
        if (k_.buffers[b].layout == Layout::strided) all.push_back(stride_names_[b]);
    for (size_t d = 0; d < k_.dims.size(); d++)
      if (fixed_[d] < 0) all.push_back(dim_names_[d]);
    if (in_tile)
      for (size_t a = 0; a < k_.axes.size(); a++) {
        AxisId id = AxisId(a);
        if (axis(id).kind != AxisKind::parallel) continue;
        if (id == columns_ || id == rows_) {
          all.push_back(first_names_[a]);
          all.push_back(count_names_[a]);
        } else {
          all.push_back(axis_names_[a]);
        }
      }
    all.push_back("scratch");
    std::string text = "  ";
    for (const std::string& name : all)
      text += fmt::format("(void){}{}", name, name == "scratch" ? ";\n" : ", ");
    return text;
  }

  std::string scratch_size() const {
    std::vector<std::string> parts;
    int64_t number = 0;
    for (const std::string& part : scratch_parts_)
      if (std::all_of(part.begin(), part.end(), isdigit))
        number += std::stoll(part);
      else
        parts.push_back(part);
    if (number || parts.empty()) parts.push_back(std::to_string(number));
    return fmt::format("{}", fmt::join(parts, " + "));
  }

  // True when columns can be left over, whose number is not a constant of the text.
  bool has_edge() const {
    int64_t known = columns_ == kNone ? 0 : known_size(axis(columns_).extent);
    return columns_ != kNone && (known <= 0 || known % column_count_ != 0);
  }

  // Loops over the tiles of the parallel axes around calls of the tile's function.
  std::string driver() const {
    std::string text, indent = "  ";
    std::vector<std::string> ends;
    auto open = [&](const std::string& line) {
      text += indent + line + "\n";
      ends.push_back(indent + "}\n");
      indent += "  ";
    };
    for (size_t a = 0; a < k_.axes.size(); a++) {
      AxisId id = AxisId(a);
      if (axis(id).kind == AxisKind::parallel && id != rows_ && id != columns_)
        open(fmt::format("for (int64_t {0} = 0; {0} < {1}; {0}++) {{", axis_names_[a],
                         size_text(axis(id).extent)));
    }
    auto call = [&](const std::string& function, const std::string& rows,
                    const std::string& columns) {
      text += fmt::format(
          "{0}const int sc_problem = {1}({2});\n{0}if (sc_problem) return sc_problem;\n", indent,
          function, arguments(rows, columns));
    };
    std::string full_rows = std::to_string(row_count_);
    auto calls = [&](const std::string& rows) {
      if (columns_ == kNone) return call(tile_name_, rows, "");
      // With constant sizes where the tile is whole.
      std::string full = std::to_string(column_count_), count = count_names_[size_t(columns_)];
      if (!has_edge()) return call(tile_name_, rows, full);
      text += fmt::format("{}if ({} == {}) {{\n", indent, count, full);
      indent += "  ";
      call(tile_name_, rows, full);
      indent.resize(indent.size() - 2);
      text += indent + "} else {\n";
      indent += "  ";
      call(edge_name_, rows, count);
      indent.resize(indent.size() - 2);
      text += indent + "}\n";
    };
    if (columns_ != kNone) {
      size_t c = size_t(columns_);
      std::string size = size_text(axis(columns_).extent);
      open(fmt::format("for (int64_t {0} = 0; {0} < {1}; {0} += {2}) {{", first_names_[c], size,
                       column_count_));
      text +=
          fmt::format("{0}const int64_t {1} = {2} - {3} < {4} ? {2} - {3} : {4};\n{0}(void){1};\n",
                      indent, count_names_[c], size, first_names_[c], column_count_);
    }
    if (rows_ != kNone) {
      size_t r = size_t(rows_);
      std::string size = size_text(axis(rows_).extent), first = first_names_[r];
      text += fmt::format("{}int64_t {} = 0;\n", indent, first);
      open(fmt::format("for (; {0} + {1} <= {2}; {0} += {1}) {{", first, full_rows, size));
      calls(full_rows);
      text += ends.back();
      ends.pop_back();
      indent.resize(indent.size() - 2);
      int64_t known = known_size(axis(rows_).extent);
      if (known < 0 || known % row_count_ != 0) {
        open(fmt::format("for (; {0} < {1}; {0}++) {{", first, size));
        calls("1");
        text += ends.back();
        ends.pop_back();
        indent.resize(indent.size() - 2);
      }
    } else {
      calls("");
    }
    while (!ends.empty()) {
      text += ends.back();
      ends.pop_back();
    }
    return text;
  }

  void finish(CText& out) {
    std::string comment = "\n/*\n" + print(k_);
    for (size_t d = 0; d < k_.dims.size(); d++)
      if (fixed_[d] >= 0) comment += fmt::format("{} = {}\n", k_.dims[d], fixed_[d]);
    comment += "*/\n";
    std::string source = comment;
    bool tiled = !whole_;
    std::string memory =
        scratch_parts_.empty()
            ? ""
            : fmt::format("  unsigned char *{} = (unsigned char *)scratch;\n", free_name_);
    std::string signature = fmt::format("int {}({})", name_, parameters(false));
    if (tiled) {
      source += fmt::format("SC_INLINE int {}({}) {{\n{}{}{}{}  return 0;\n}}\n\n", tile_name_,
                            parameters(true), used(true), memory, declarations_, text_);
      if (has_edge())
        source += fmt::format("static int {}({}) {{\n  return {}({});\n}}\n\n", edge_name_,
                              parameters(true), tile_name_,
                              arguments(rows_ == kNone ? "" : count_names_[size_t(rows_)],
                                        count_names_[size_t(columns_)]));
      source += fmt::format("{} {{\n{}{}  return 0;\n}}\n", signature, used(false), driver());
    } else {
      std::string around, indent = "  ", ends;
      // Only axes that are taken one at a time are around everything.
      for (size_t a = 0; a < k_.axes.size(); a++)
        if (axis(AxisId(a)).kind == AxisKind::parallel && axis(AxisId(a)).each) {
          around += fmt::format("{0}for (int64_t {1} = 0; {1} < {2}; {1}++) {{\n", indent,
                                axis_names_[a], size_text(axis(AxisId(a)).extent));
          ends = indent + "}\n" + ends;
        }
      source += fmt::format("{} {{\n{}{}{}{}{}{}  return 0;\n}}\n", signature, used(false), memory,
                            declarations_, around, text_, ends);
    }
    std::vector<std::string> sizes;
    for (size_t d = 0; d < k_.dims.size(); d++)
      if (fixed_[d] < 0) sizes.push_back("int64_t " + dim_names_[d]);
    std::string scratch_signature =
        fmt::format("int64_t {}({})", scratch_name_,
                    sizes.empty() ? "void" : fmt::format("{}", fmt::join(sizes, ", ")));
    std::string all_used;
    for (size_t d = 0; d < k_.dims.size(); d++)
      if (fixed_[d] < 0) all_used += fmt::format("(void){}, ", dim_names_[d]);
    if (!all_used.empty()) all_used = "  " + all_used.substr(0, all_used.size() - 2) + ";\n";
    source +=
        fmt::format("\n{} {{\n{}  return {};\n}}\n", scratch_signature, all_used, scratch_size());
    std::string declarations = fmt::format("{};\n/* Bytes of scratch memory for a call. */\n{};\n",
                                           signature, scratch_signature);
    out.header += comment + declarations;
    out.source += "\n" + fmt::format("{};\n{};\n", signature, scratch_signature) + source;
    out.functions.push_back(name_);
  }

  const CKernel& of_;
  const Kernel& k_;
  const EmitCOptions& options_;
  CHelpers& helpers_;
  Names names_;
  std::string name_, tile_name_, edge_name_, scratch_name_;
  std::string value_prefix_, offset_prefix_, position_prefix_, inside_prefix_;
  std::string lane_name_, count_name_, free_name_;
  std::vector<std::string> dim_names_, buffer_names_, axis_names_, first_names_, step_names_,
      count_names_, stride_names_;
  std::vector<int64_t> fixed_;
  std::vector<int> made_by_, depth_;
  std::vector<std::vector<int>> uses_;
  std::vector<bool> kept_;
  AxisId columns_ = kNone, rows_ = kNone;
  int64_t column_count_ = 1, row_count_ = 1;
  bool whole_ = false;  // nothing is kept: parallel axes are the loops of the stores
  std::map<AxisId, std::string> moved_;  // other text for where the loops are
  std::string indent_, text_, declarations_;
  std::vector<std::string> scratch_parts_;
  int64_t stack_bytes_ = 0;
};

}  // namespace

Result<CText> emit_c(Span<const CKernel> kernels, const EmitCOptions& options) {
  CText text;
  CHelpers helpers;
  Names functions;
  for (const CKernel& kernel : kernels)
    TRY_VOID(KernelEmitter(kernel, options, helpers).run(functions, text));
  std::string how =
      "/* Tile kernels as C99. Each function is one kernel: arrays in its order, the sizes that "
      "are\n"
      "   not constants here, and scratch memory of NAME_scratch(...) bytes, aligned to 8, better "
      "to\n"
      "   64 (NULL when that is 0). It returns 0, or n + 1 when an index that has to be inside "
      "array\n"
      "   n is not. Outputs may not overlap other arrays. Nothing is allocated.\n"
      "     cc -std=c99 -O3 -march=native -ffp-contract=off -fno-math-errno -fno-trapping-math ... "
      "-lm\n"
      "   -ffp-contract=off and no -ffast-math: else results are not those of the kernels' bits. "
      "*/\n";
  text.source = how + helpers.text() + text.source;
  text.header =
      "#pragma once\n\n#include <stdint.h>\n\n#ifdef __cplusplus\n#define restrict __restrict\n"
      "extern \"C\" {\n#endif\n" +
      text.header + "\n#ifdef __cplusplus\n}\n#undef restrict\n#endif\n";
  return text;
}

}  // namespace sconce::tile
