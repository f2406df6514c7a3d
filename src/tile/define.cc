// Tracing of kernels, and files of them. include/sconce/tile.h
#include "sconce/tile.h"

#include <algorithm>
#include <charconv>

namespace sconce::kernels {

using tile::AxisId;
using tile::Binary;
using tile::Builder;
using tile::Index;
using tile::Reduce;
using tile::Unary;
using tile::ValueId;

namespace {

constexpr int64_t kFileVersion = 2;

std::vector<Index> indices(std::vector<Position> positions) {
  std::vector<Index> all;
  for (Position& position : positions) all.push_back(std::move(position.index));
  return all;
}
std::vector<AxisId> ids(const std::vector<Axis>& axes) {
  std::vector<AxisId> all;
  for (const Axis& axis : axes) all.push_back(axis.id);
  return all;
}
Tile number(const Tile& like, double x) {
  return {like.trace, like.trace->builder().constant(x, like.dtype), like.dtype};
}
Tile reduced(Reduce function, const Tile& x, const std::vector<Axis>& over, bool lanes) {
  return {x.trace, x.trace->builder().reduce(function, x.id, ids(over), lanes), x.dtype};
}

}  // namespace

// --- tracing

Tile Axis::index() const { return {trace, trace->builder().iota(id), DType::i64}; }
Tile Axis::extent() const { return {trace, trace->builder().extent(id), DType::i64}; }

In In::outside(double number) const {
  In other = *this;
  other.outside_ = number;
  return other;
}
Tile In::load(std::vector<Position> positions, bool strict) const {
  Builder& build = trace_->builder();
  ValueId id = strict ? build.load_strict(buffer_, indices(std::move(positions)))
                      : build.load(buffer_, indices(std::move(positions)), outside_);
  return {trace_, id, tile::value_dtype(dtype_)};
}

Out::Place Out::place(std::vector<Position> positions) const {
  Place made;
  made.trace_ = trace_;
  made.buffer_ = buffer_;
  made.index_ = indices(std::move(positions));
  return made;
}
void Out::Place::operator=(const Tile& value) const {
  trace_->builder().store(buffer_, index_, value.id);
}

In Trace::input(const std::string& name, DType dtype, std::vector<Extent> sizes) {
  In made;
  made.trace_ = this;
  made.buffer_ = build_.input(dtype, std::move(sizes));
  made.dtype_ = dtype;
  buffer_names_.push_back(name);
  return made;
}
In Trace::weights(const std::string& name, DType dtype, std::vector<Extent> sizes, int lead) {
  In made;
  made.trace_ = this;
  made.buffer_ = build_.panels(dtype, std::move(sizes), lead);
  made.dtype_ = dtype;
  buffer_names_.push_back(name);
  return made;
}
Out Trace::output(const std::string& name, DType dtype, std::vector<Extent> sizes) {
  Out made;
  made.trace_ = this;
  made.buffer_ = build_.output(dtype, std::move(sizes));
  buffer_names_.push_back(name);
  return made;
}

Axis Trace::named(AxisId id, const std::string& name) {
  axis_names_.push_back(name);
  return {this, id};
}
Axis Trace::parallel(const std::string& name, Extent extent) {
  return named(build_.parallel(extent), name);
}
Axis Trace::each(const std::string& name, Extent extent) {
  return named(build_.each(extent), name);
}
Axis Trace::span(const std::string& name, Extent extent) {
  return named(build_.span(extent), name);
}
Axis Trace::serial(const std::string& name, Extent extent, int64_t block) {
  return named(build_.serial(extent, block), name);
}
Axis Trace::serial_each(const std::string& name, Extent extent, bool backward) {
  return named(build_.serial_each(extent, backward), name);
}

void Trace::stands_for(std::string op, std::vector<std::string> arguments) {
  if (op.ends_with(".default")) op.resize(op.size() - 8);
  stands_for_ = {std::move(op), std::move(arguments)};
}

Tile Trace::filled(double number, const std::vector<Axis>& axes, DType dtype) {
  return {this, build_.constant(number, dtype, ids(axes)), dtype};
}

Result<Kernel> Trace::finish() {
  Kernel kernel = build_.kernel();
  for (size_t b = 0; b < buffer_names_.size() && b < kernel.buffers.size(); b++)
    kernel.buffers[b].name = buffer_names_[b];
  for (size_t a = 0; a < axis_names_.size() && a < kernel.axes.size(); a++)
    kernel.axes[a].name = axis_names_[a];
  kernel.stands_for = stands_for_;
  TRY_VOID(verify(kernel).with_context(kernel.name));
  return kernel;
}

Result<Kernel> define(const std::string& name, const std::function<void(Trace&)>& trace) {
  Trace t(name);
  trace(t);
  return t.finish();
}

// --- what tiles are made of

#define SCONCE_TILE_FUNCTION(name)                                          \
  Tile name(const Tile& x) {                                                \
    return {x.trace, x.trace->builder().unary(Unary::name, x.id), x.dtype}; \
  }
SCONCE_TILE_UNARY(SCONCE_TILE_FUNCTION)
#undef SCONCE_TILE_FUNCTION

Tile binary(Binary function, const Tile& x, const Tile& y) {
  bool compares = function >= Binary::eq && function <= Binary::ge;
  return {x.trace, x.trace->builder().binary(function, x.id, y.id), compares ? DType::b8 : x.dtype};
}
Tile binary(Binary function, const Tile& x, double y) { return binary(function, x, number(x, y)); }
Tile binary(Binary function, double x, const Tile& y) { return binary(function, number(y, x), y); }

Tile fma(const Tile& x, const Tile& y, const Tile& z) {
  return {x.trace, x.trace->builder().fma(x.id, y.id, z.id), x.dtype};
}
Tile select(const Tile& condition, const Tile& yes, const Tile& no) {
  return {yes.trace, yes.trace->builder().select(condition.id, yes.id, no.id), yes.dtype};
}
Tile select(const Tile& condition, const Tile& yes, double no) {
  return select(condition, yes, number(yes, no));
}
Tile cast(const Tile& x, DType dtype) {
  return {x.trace, x.trace->builder().cast(x.id, dtype), dtype};
}

Tile sum(const Tile& x, const std::vector<Axis>& over) {
  return reduced(Reduce::sum, x, over, x.dtype == DType::f32);
}
Tile sum_in_order(const Tile& x, const std::vector<Axis>& over) {
  return reduced(Reduce::sum, x, over, false);
}
Tile product(const Tile& x, const std::vector<Axis>& over) {
  return reduced(Reduce::prod, x, over, false);
}
Tile reduce_max(const Tile& x, const std::vector<Axis>& over) {
  return reduced(Reduce::max, x, over, false);
}
Tile reduce_min(const Tile& x, const std::vector<Axis>& over) {
  return reduced(Reduce::min, x, over, false);
}
Tile dot(const Tile& a, const Tile& b, const std::vector<Axis>& over) {
  return dot(a, b, over, number(a, 0));
}
Tile dot(const Tile& a, const Tile& b, const std::vector<Axis>& over, const Tile& initial) {
  return {a.trace, a.trace->builder().dot(initial.id, a.id, b.id, ids(over)), initial.dtype};
}
Tile rename(const Tile& x, const Axis& from, const Axis& to) {
  return {x.trace, x.trace->builder().rename(x.id, from.id, to.id), x.dtype};
}

// --- files

std::string print(Span<const Kernel> kernels) {
  // Files of version 2 say which operators kernels stand for.
  std::string text;
  for (const Kernel& kernel : kernels) {
    if (text.empty() && std::any_of(kernels.begin(), kernels.end(),
                                    [](const Kernel& k) { return !k.stands_for.name.empty(); }))
      text = "version 2\n\n";
    text += print(kernel) + "\n";
  }
  return text;
}

Result<std::vector<Kernel>> parse_kernels(std::string_view text) {
  std::vector<Kernel> kernels;
  constexpr std::string_view kVersion = "version ";
  int64_t version = 1;
  if (text.starts_with(kVersion)) {
    std::string_view number = text.substr(kVersion.size(), text.find('\n') - kVersion.size());
    auto [end, failed] = std::from_chars(number.data(), number.data() + number.size(), version);
    if (failed != std::errc() || version < 1 || version > kFileVersion)
      return error(Code::unsupported, "line 1: version {}; 1 to {} can be read",
                   std::string(number.substr(0, 20)), kFileVersion);
  }
  // A kernel begins with a line that says so.
  auto begins = [&](size_t from) {
    for (size_t i = from; i < text.size(); i++) {
      bool at_line = i == 0 || text[i - 1] == '\n';
      if (at_line && text.substr(i).starts_with("kernel ")) return i;
    }
    return text.size();
  };
  for (size_t at = begins(0); at < text.size();) {
    size_t end = begins(at + 1);
    size_t line = 1;
    for (char c : text.substr(0, at)) line += c == '\n';
    TRY(Kernel kernel, parse_kernel(text.substr(at, end - at))
                           .with_context(fmt::format("kernel in line {}", line)));
    for (const Kernel& other : kernels)
      if (other.name == kernel.name)
        return error(Code::invalid_argument, "line {}: a second kernel \"{}\"", line, kernel.name);
    if (!kernel.stands_for.name.empty() && version < 2)
      return error(Code::invalid_argument,
                   "line {}: kernel {} stands for an operator; the file has to begin with the line "
                   "\"version 2\"",
                   line, kernel.name);
    kernels.push_back(std::move(kernel));
    at = end;
  }
  if (kernels.empty())
    return error(Code::invalid_argument,
                 "no kernel: a line that begins with \"kernel \" is wanted");
  return kernels;
}

}  // namespace sconce::kernels
