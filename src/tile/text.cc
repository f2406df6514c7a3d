#include <charconv>
#include <cmath>

#include "tile/ir.h"

namespace sconce::tile {
namespace {

constexpr const char* kAxisKinds[] = {"parallel", "span", "serial"};

std::string number_text(double number) {
  if (std::isnan(number)) return "nan";
  if (std::isinf(number)) return number < 0 ? "-inf" : "inf";
  return fmt::format("{}", number);
}

class Printer {
 public:
  explicit Printer(const Kernel& kernel) : kernel_(kernel) {}

  std::string run() {
    text_ = fmt::format("kernel {}({}) {{\n", kernel_.name, fmt::join(kernel_.dims, ", "));
    if (!kernel_.stands_for.name.empty())
      text_ += fmt::format("  operator {}({})\n", kernel_.stands_for.name,
                           fmt::join(kernel_.stands_for.arguments, ", "));
    for (const Buffer& buffer : kernel_.buffers) {
      text_ += fmt::format("  {} {} {}[", buffer.output ? "out" : "in", buffer.name,
                           dtype_name(buffer.dtype));
      for (size_t d = 0; d < buffer.dims.size(); d++)
        text_ += (d ? ", " : "") + extent(buffer.dims[d]);
      text_ += ']';
      if (buffer.is_packed())
        text_ += fmt::format(" {} {}", buffer.layout == Layout::panels ? "panels" : "nibbles",
                             buffer.panel_lead);
      text_ += '\n';
    }
    for (const Axis& axis : kernel_.axes) {
      text_ += fmt::format("  {} {} : {}", kAxisKinds[size_t(axis.kind)], axis.name,
                           extent(axis.extent));
      if (axis.each)
        text_ += " each";
      else if (axis.kind == AxisKind::serial)
        text_ += fmt::format(" block {}", axis.block);
      if (axis.whole > 0) text_ += fmt::format(" whole {}", axis.whole);
      if (axis.backward) text_ += " backward";
      text_ += '\n';
    }
    for (const Instruction& i : kernel_.body) line(i);
    return text_ + "}\n";
  }

 private:
  std::string extent(const Extent& e) const {
    return e.dim == kNone ? std::to_string(e.known) : kernel_.dims[size_t(e.dim)];
  }
  std::string axis(AxisId id) const { return kernel_.axes[size_t(id)].name; }

  std::string values(const std::vector<ValueId>& ids) const {
    std::string text;
    for (ValueId id : ids) text += fmt::format("{}%{}", text.empty() ? "" : ", ", id);
    return text;
  }

  std::string place(const Instruction& i) const {
    std::string text = kernel_.buffers[size_t(i.buffer)].name + "[";
    for (size_t d = 0; d < i.index.size(); d++) {
      if (d) text += ", ";
      const Index& index = i.index[d];
      std::string sum;
      auto add = [&](bool negative, const std::string& what) {
        sum += sum.empty() ? (negative ? "-" : "") : (negative ? " - " : " + ");
        sum += what;
      };
      for (const Term& term : index.terms) {
        int64_t size = term.factor < 0 ? -term.factor : term.factor;
        add(term.factor < 0, (size == 1 ? "" : fmt::format("{}*", size)) + axis(term.axis));
      }
      if (index.value != kNone) add(false, fmt::format("%{}", index.value));
      if (index.offset != 0 || sum.empty())
        add(index.offset < 0, std::to_string(index.offset < 0 ? -index.offset : index.offset));
      text += sum;
    }
    return text + "]";
  }

  std::string over(const Instruction& i) const {
    std::string text;
    for (AxisId id : i.axes) text += (text.empty() ? " over " : ", ") + axis(id);
    return text;
  }

  void line(const Instruction& i) {
    if (i.op == Op::yield) depth_--;
    std::string text(size_t(depth_) * 2 + 2, ' ');
    if (!i.results.empty()) text += values(i.results) + " = ";
    switch (i.op) {
      case Op::constant:
        text +=
            fmt::format("constant {} {}{}", dtype_name(i.dtype), number_text(i.number), over(i));
        break;
      case Op::extent: text += "extent " + axis(i.axes[0]); break;
      case Op::iota: text += "iota " + axis(i.axes[0]); break;
      case Op::load:
        text += "load " + place(i);
        if (i.strict)
          text += " strict";
        else if (i.number != 0 || std::signbit(i.number))
          text += " else " + number_text(i.number);
        break;
      case Op::store:
        text +=
            fmt::format("store {}, {}{}", place(i), values(i.operands), i.strict ? " strict" : "");
        break;
      case Op::unary:
        text += fmt::format("{} {}", name_of(Unary(i.function)), values(i.operands));
        break;
      case Op::binary:
        text += fmt::format("{} {}", name_of(Binary(i.function)), values(i.operands));
        break;
      case Op::fma: text += "fma " + values(i.operands); break;
      case Op::select: text += "select " + values(i.operands); break;
      case Op::cast:
        text += fmt::format("cast {} {}", dtype_name(i.dtype), values(i.operands));
        break;
      case Op::reduce:
        text += fmt::format("reduce {} {}{}{}", name_of(Reduce(i.function)), values(i.operands),
                            over(i), i.lanes ? " lanes" : "");
        break;
      case Op::dot: text += "dot " + values(i.operands) + over(i); break;
      case Op::serial:
        text += fmt::format("serial {} ({}) {{", axis(i.axes[0]), values(i.operands));
        depth_++;
        break;
      case Op::yield:
        text += fmt::format("yield {} ({}) }}", axis(i.axes[0]), values(i.operands));
        break;
      case Op::rename:
        text +=
            fmt::format("rename {} {} to {}", values(i.operands), axis(i.axes[0]), axis(i.axes[1]));
        break;
    }
    text_ += text + "\n";
  }

  const Kernel& kernel_;
  std::string text_;
  int depth_ = 0;
};

// Tokens: names, numbers, %ids and single signs; one line at a time.
class Parser {
 public:
  explicit Parser(std::string_view text) : text_(text) {}

  Result<Kernel> run() {
    Result<void> done = parse();
    if (!done.ok())
      return std::move(done.error())
          .with_context(fmt::format("line {}, column {}", line_, at_ - line_start_ + 1));
    TRY_VOID(verify(kernel_));
    return std::move(kernel_);
  }

 private:
  void skip() {
    while (at_ < text_.size()) {
      char c = text_[at_];
      if (c == '#') {
        while (at_ < text_.size() && text_[at_] != '\n') at_++;
      } else if (c == '\n') {
        at_++;
        line_++;
        line_start_ = at_;
      } else if (c == ' ' || c == '\t' || c == '\r') {
        at_++;
      } else {
        break;
      }
    }
  }
  bool try_sign(char sign) {
    skip();
    if (at_ >= text_.size() || text_[at_] != sign) return false;
    at_++;
    return true;
  }
  Result<void> sign(char wanted) {
    if (try_sign(wanted)) return {};
    return error(Code::invalid_file, "\"{}\"; '{}' is wanted", rest(), wanted);
  }
  std::string rest() const { return std::string(text_.substr(at_, 12)); }
  static bool is_word(char c) { return isalnum(static_cast<unsigned char>(c)) || c == '_'; }
  std::string_view peek_word() {
    skip();
    size_t end = at_;
    while (end < text_.size() && is_word(text_[end])) end++;
    return text_.substr(at_, end - at_);
  }
  bool try_word(std::string_view wanted) {
    if (peek_word() != wanted) return false;
    at_ += wanted.size();
    return true;
  }
  Result<std::string> word() {
    std::string_view found = peek_word();
    if (found.empty() || isdigit(static_cast<unsigned char>(found[0])))
      return error(Code::invalid_file, "\"{}\"; a name is wanted", rest());
    at_ += found.size();
    return std::string(found);
  }
  bool at_digit() {
    skip();
    return at_ < text_.size() && isdigit(static_cast<unsigned char>(text_[at_]));
  }
  Result<int64_t> integer() {
    skip();
    int64_t value = 0;
    auto [end, failed] = std::from_chars(text_.data() + at_, text_.data() + text_.size(), value);
    if (failed != std::errc())
      return error(Code::invalid_file, "\"{}\"; an integer is wanted", rest());
    at_ = size_t(end - text_.data());
    return value;
  }
  Result<double> number() {
    skip();
    double value = 0;
    auto [end, failed] = std::from_chars(text_.data() + at_, text_.data() + text_.size(), value);
    if (failed != std::errc())
      return error(Code::invalid_file, "\"{}\"; a number is wanted", rest());
    at_ = size_t(end - text_.data());
    return value;
  }
  Result<DType> dtype() {
    TRY(std::string name, word());
    if (auto found = find_dtype(name)) return *found;
    return error(Code::invalid_file, "\"{}\" is not a dtype", name);
  }
  Result<Extent> extent() {
    if (at_digit()) {
      TRY(int64_t known, integer());
      return Extent{kNone, known};
    }
    TRY(std::string name, word());
    for (size_t d = 0; d < kernel_.dims.size(); d++)
      if (kernel_.dims[d] == name) return Extent{int32_t(d), 0};
    return error(Code::invalid_file, "\"{}\" is not a dim", name);
  }
  Result<AxisId> axis() {
    TRY(std::string name, word());
    for (size_t a = 0; a < kernel_.axes.size(); a++)
      if (kernel_.axes[a].name == name) return AxisId(a);
    return error(Code::invalid_file, "\"{}\" is not an axis", name);
  }
  Result<ValueId> value() {
    TRY_VOID(sign('%'));
    TRY(int64_t id, integer());
    if (id < 0 || id > INT32_MAX) return error(Code::invalid_file, "value %{}", id);
    return ValueId(id);
  }
  Result<void> values(std::vector<ValueId>* ids) {
    do {
      TRY(ValueId id, value());
      ids->push_back(id);
    } while (try_sign(','));
    return {};
  }
  Result<void> over(Instruction* i) {
    if (!try_word("over")) return {};
    do {
      TRY(AxisId id, axis());
      i->axes.push_back(id);
    } while (try_sign(','));
    return {};
  }

  Result<void> place(Instruction* i) {
    TRY(std::string name, word());
    for (size_t b = 0; b < kernel_.buffers.size(); b++)
      if (kernel_.buffers[b].name == name) i->buffer = int32_t(b);
    if (i->buffer == kNone) return error(Code::invalid_file, "\"{}\" is not a buffer", name);
    TRY_VOID(sign('['));
    if (try_sign(']')) return {};
    do {
      Index index;
      bool first = true;
      while (true) {
        bool negative = try_sign('-');
        if (!negative && !first && !try_sign('+')) break;
        first = false;
        skip();
        if (at_ < text_.size() && text_[at_] == '%') {
          if (negative || index.value != kNone)
            return error(Code::invalid_file, "at most one value, added, indexes a dim");
          TRY(index.value, value());
        } else if (at_digit()) {
          TRY(int64_t count, integer());
          if (negative) count = -count;
          if (try_sign('*')) {
            TRY(AxisId id, axis());
            index.terms.push_back({id, count});
          } else {
            if (__builtin_add_overflow(index.offset, count, &index.offset))
              return error(Code::invalid_file, "an offset beyond 64 bits");
          }
        } else {
          TRY(AxisId id, axis());
          index.terms.push_back({id, negative ? -1 : 1});
        }
      }
      i->index.push_back(std::move(index));
    } while (try_sign(','));
    return sign(']');
  }

  Result<void> declaration(bool output) {
    Buffer buffer;
    buffer.output = output;
    TRY(buffer.name, word());
    TRY(buffer.dtype, dtype());
    TRY_VOID(sign('['));
    if (!try_sign(']')) {
      do {
        TRY(Extent e, extent());
        buffer.dims.push_back(e);
      } while (try_sign(','));
      TRY_VOID(sign(']'));
    }
    for (auto [name, layout] :
         {std::pair("panels", Layout::panels), {"nibbles", Layout::nibbles}}) {
      if (!try_word(name)) continue;
      buffer.layout = layout;
      TRY(int64_t lead, integer());
      if (lead < 0 || lead > int64_t(kRankMax))
        return error(Code::invalid_file, "{} leading dims", lead);
      buffer.panel_lead = int32_t(lead);
    }
    kernel_.buffers.push_back(std::move(buffer));
    return {};
  }

  // operator mylib::swiglu.default(x, w, v, b)
  Result<void> operator_declaration() {
    KernelOperator& to = kernel_.stands_for;
    if (!to.name.empty()) return error(Code::invalid_file, "a second operator");
    TRY(std::string space, word());
    TRY_VOID(sign(':'));
    TRY_VOID(sign(':'));
    TRY(std::string base, word());
    to.name = space + "::" + base;
    if (try_sign('.')) {
      TRY(std::string overload, word());
      if (overload != "default") to.name += "." + overload;
    }
    TRY_VOID(sign('('));
    if (try_sign(')')) return {};
    do {
      TRY(std::string buffer, word());
      if (to.arguments.size() >= kBuffersMax)
        return error(Code::too_large, "more than {} arguments", kBuffersMax);
      to.arguments.push_back(std::move(buffer));
    } while (try_sign(','));
    return sign(')');
  }

  Result<void> axis_declaration(AxisKind kind) {
    Axis a;
    a.kind = kind;
    TRY(a.name, word());
    TRY_VOID(sign(':'));
    TRY(a.extent, extent());
    if (try_word("each")) {
      a.each = true;
      if (kind == AxisKind::serial) a.block = 1;
    } else if (try_word("block")) {
      TRY(a.block, integer());
      if (try_word("whole")) {
        TRY(a.whole, integer());
      }
    }
    a.backward = try_word("backward");
    kernel_.axes.push_back(std::move(a));
    return {};
  }

  Result<void> instruction() {
    Instruction i;
    skip();
    if (at_ < text_.size() && text_[at_] == '%') {
      TRY_VOID(values(&i.results));
      TRY_VOID(sign('='));
    }
    // A loop that carries nothing is written without results.
    TRY(std::string what, word());
    auto take = [&](Op op) {
      i.op = op;
      return true;
    };
    auto function = [&](auto last, Op op) {
      for (int f = 0; f <= int(last); f++)
        if (what == name_of(decltype(last)(f))) {
          i.function = uint8_t(f);
          return take(op);
        }
      return false;
    };
    if (what == "constant") {
      take(Op::constant);
      TRY(i.dtype, dtype());
      TRY(i.number, number());
      TRY_VOID(over(&i));
    } else if (what == "extent" || what == "iota") {
      take(what == "iota" ? Op::iota : Op::extent);
      TRY(AxisId id, axis());
      i.axes = {id};
    } else if (what == "load") {
      take(Op::load);
      TRY_VOID(place(&i));
      if (try_word("strict")) {
        i.strict = true;
      } else if (try_word("else")) {
        TRY(i.number, number());
      }
    } else if (what == "store") {
      take(Op::store);
      TRY_VOID(place(&i));
      TRY_VOID(sign(','));
      TRY_VOID(values(&i.operands));
      i.strict = try_word("strict");
    } else if (what == "cast") {
      take(Op::cast);
      TRY(i.dtype, dtype());
      TRY_VOID(values(&i.operands));
    } else if (what == "reduce") {
      TRY(what, word());
      if (!function(Reduce::max, Op::reduce))
        return error(Code::invalid_file, "\"{}\" is not a reduction", what);
      TRY_VOID(values(&i.operands));
      TRY_VOID(over(&i));
      i.lanes = try_word("lanes");
    } else if (what == "serial" || what == "yield") {
      take(what == "serial" ? Op::serial : Op::yield);
      TRY(AxisId id, axis());
      i.axes = {id};
      TRY_VOID(sign('('));
      if (!try_sign(')')) {
        TRY_VOID(values(&i.operands));
        TRY_VOID(sign(')'));
      }
      TRY_VOID(sign(i.op == Op::serial ? '{' : '}'));
    } else if (what == "rename") {
      take(Op::rename);
      TRY_VOID(values(&i.operands));
      TRY(AxisId from, axis());
      if (!try_word("to")) return error(Code::invalid_file, "\"{}\"; 'to' is wanted", rest());
      TRY(AxisId to, axis());
      i.axes = {from, to};
    } else if ((what == "fma" && take(Op::fma)) || (what == "select" && take(Op::select)) ||
               (what == "dot" && take(Op::dot)) || function(Unary::bit_not, Op::unary) ||
               function(Binary::bit_xor, Op::binary)) {
      TRY_VOID(values(&i.operands));
      TRY_VOID(over(&i));
    } else {
      return error(Code::invalid_file, "\"{}\" is not an operation", what);
    }
    kernel_.body.push_back(std::move(i));
    return {};
  }

  Result<void> parse() {
    if (!try_word("kernel")) return error(Code::invalid_file, "\"{}\"; 'kernel' is wanted", rest());
    TRY(kernel_.name, word());
    TRY_VOID(sign('('));
    if (!try_sign(')')) {
      do {
        TRY(std::string dim, word());
        kernel_.dims.push_back(dim);
      } while (try_sign(','));
      TRY_VOID(sign(')'));
    }
    TRY_VOID(sign('{'));
    while (!try_sign('}')) {
      if (at_ >= text_.size()) return error(Code::invalid_file, "the text ends; '}}' is wanted");
      if (kernel_.body.size() > kInstructionsMax || kernel_.axes.size() > kAxesMax ||
          kernel_.buffers.size() > kBuffersMax || kernel_.dims.size() > kDimsMax)
        return error(Code::too_large, "more than {} instructions, {} axes, {} buffers or {} dims",
                     kInstructionsMax, kAxesMax, kBuffersMax, kDimsMax);
      if (try_word("operator")) {
        TRY_VOID(operator_declaration());
      } else if (try_word("in")) {
        TRY_VOID(declaration(false));
      } else if (try_word("out")) {
        TRY_VOID(declaration(true));
      } else if (try_word("parallel")) {
        TRY_VOID(axis_declaration(AxisKind::parallel));
      } else if (try_word("span")) {
        TRY_VOID(axis_declaration(AxisKind::span));
      } else if (peek_word() == "serial" && is_declaration()) {
        try_word("serial");
        TRY_VOID(axis_declaration(AxisKind::serial));
      } else {
        TRY_VOID(instruction());
      }
    }
    skip();
    if (at_ != text_.size()) return error(Code::invalid_file, "\"{}\" after the kernel", rest());
    return {};
  }

  // "serial t : ..." declares an axis, "serial t (...) {" opens its loop.
  bool is_declaration() const {
    size_t end = text_.find_first_of(":({\n", at_);
    return end != std::string_view::npos && text_[end] == ':';
  }

  std::string_view text_;
  size_t at_ = 0, line_start_ = 0;
  int line_ = 1;
  Kernel kernel_;
};

}  // namespace

std::string print(const Kernel& kernel) { return Printer(kernel).run(); }

Result<Kernel> parse_kernel(std::string_view text) { return Parser(text).run(); }

}  // namespace sconce::tile
