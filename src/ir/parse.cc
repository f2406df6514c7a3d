// The text form, read. The text is from outside: what it says is checked before it is used, nesting
// and data have limits, and every error begins with line and column.
#include <cmath>
#include <cstdlib>
#include <cstring>

#include "base/checked.h"
#include "ir/graph.h"
#include "ir/text.h"
#include "tensor/half.h"
#include "tensor/tensor.h"

namespace sconce {

namespace {

constexpr int kNestingMax = 32;                              // of graphs
constexpr uint64_t kDataBytesMax = (uint64_t(1) << 31) - 1;  // of one constant or buffer

class Parser {
 public:
  Parser(std::string_view text, Program& program) : text_(text), program_(program) {}

  Result<void> parse() {
    Result<void> result = statements();
    if (result.ok()) return result;
    // Line and column of where reading stopped.
    size_t line = 1, column = 1, end = std::min(error_position_.value_or(position_), text_.size());
    for (size_t i = 0; i < end; i++) {
      column++;
      if (text_[i] == '\n') line++, column = 1;
    }
    result.error().code = Code::invalid_file;
    return std::move(result).with_context(fmt::format("line {}, column {}", line, column));
  }

 private:
  struct Scope {
    Graph& graph;
    std::unordered_map<std::string, ValueId> values;
  };

  // --- tokens ---

  void skip_space() {
    for (; position_ < text_.size(); position_++) {
      char c = text_[position_];
      if (c == '#') {  // a comment of the reader's; a node's source is read by node()
        while (position_ < text_.size() && text_[position_] != '\n') position_++;
        if (position_ >= text_.size()) return;
      } else if (c != ' ' && c != '\t' && c != '\n' && c != '\r') {
        return;
      }
    }
  }
  std::string_view rest() {
    skip_space();
    return text_.substr(position_);
  }
  char peek() {
    skip_space();
    return position_ < text_.size() ? text_[position_] : '\0';
  }
  bool accept(char c) {
    if (peek() != c || position_ >= text_.size()) return false;
    position_++;
    return true;
  }
  // A word that stands alone.
  bool accept_word(std::string_view word) {
    if (dotted_length(rest()) != word.size() || !rest().starts_with(word)) return false;
    position_ += word.size();
    return true;
  }
  bool next_is_word(std::string_view word) {
    return dotted_length(rest()) == word.size() && rest().starts_with(word);
  }
  Error wanted(std::string_view what) {
    std::string_view left = rest();
    size_t length = std::max<size_t>(1, std::min<size_t>(op_name_length(left), 40));
    std::string found = left.empty() ? "the end" : "\"" + printable(left.substr(0, length)) + "\"";
    return error(Code::invalid_file, "expected {}, found {}", what, found);
  }
  // An error about what stood at `position`.
  template <class... Arguments>
  Error wrong(size_t position, fmt::format_string<Arguments...> format, Arguments&&... arguments) {
    error_position_ = position;
    return error(Code::invalid_file, format, std::forward<Arguments>(arguments)...);
  }
  Result<void> expect(char c) {
    if (accept(c)) return {};
    return wanted(std::string("\"") + c + "\"");
  }

  Result<std::string> quoted() {
    skip_space();
    return parse_quoted(text_, &position_);
  }
  Result<std::string> word(size_t (*length_of)(std::string_view), std::string_view what) {
    if (peek() == '"') return quoted();
    size_t length = length_of(rest());
    if (length == 0) return wanted(what);
    std::string result(text_.substr(position_, length));
    position_ += length;
    return result;
  }
  Result<std::string> at_name() {
    TRY_VOID(expect('@'));
    return word(dotted_length, "a name after \"@\"");
  }

  // A number as its characters: sign, digits, point, exponent, inf, nan.
  Result<std::string_view> number_text() {
    size_t start = (skip_space(), position_);
    size_t p = start;
    if (p < text_.size() && text_[p] == '-') p++;
    if (text_.substr(p, 3) == "inf" || text_.substr(p, 3) == "nan") {
      p += 3;
    } else {
      size_t first = p;
      while (p < text_.size() && ((text_[p] >= '0' && text_[p] <= '9') || text_[p] == '.')) p++;
      if (p == first) return wanted("a number");
      if (p < text_.size() && text_[p] == 'e') {
        p++;
        if (p < text_.size() && (text_[p] == '-' || text_[p] == '+')) p++;
        while (p < text_.size() && text_[p] >= '0' && text_[p] <= '9') p++;
      }
    }
    position_ = p;
    return text_.substr(start, p - start);
  }
  static bool is_integer(std::string_view number) {
    return number.find_first_not_of("-0123456789") == number.npos;
  }
  Result<int64_t> to_integer(std::string_view number) {
    size_t start = size_t(number.data() - text_.data());
    if (!is_integer(number)) return wrong(start, "expected an integer, found \"{}\"", number);
    bool negative = number[0] == '-';
    int64_t value = 0;
    for (char c : number.substr(negative ? 1 : 0))
      if (!checked_multiply<int64_t>(value, 10, &value) ||
          !checked_add<int64_t>(value, negative ? -(c - '0') : c - '0', &value))
        return wrong(start, "{} does not fit in 64 bits", number);
    return value;
  }
  Result<double> to_floating(std::string_view number) {
    std::string copy(number);
    char* stop = nullptr;
    double value = std::strtod(copy.c_str(), &stop);
    if (*stop) return wrong(size_t(number.data() - text_.data()), "\"{}\" is not a number", number);
    return value;
  }
  Result<int64_t> integer() {
    TRY(std::string_view number, number_text());
    return to_integer(number);
  }

  // --- types ---

  Result<SymInt> expression() {
    skip_space();
    Result<SymInt> result = program_.symbols.parse_at(text_, &position_);
    if (!result.ok()) error_position_ = position_;
    return result;
  }

  Result<TensorType> tensor_type(DType dtype) {
    TensorType type;
    type.dtype = dtype;
    TRY_VOID(expect('['));
    if (!accept(']')) {
      do {
        if (type.sizes.size() >= size_t(kRankMax))
          return wanted(fmt::format("at most {} sizes", kRankMax));
        TRY(SymInt size, expression());
        type.sizes.push_back(size);
      } while (accept(','));
      TRY_VOID(expect(']'));
    }
    size_t start = (skip_space(), position_);
    if (accept('(')) {
      do {
        TRY(int64_t dim, integer());
        if (dim < 0 || dim >= int64_t(type.sizes.size()) ||
            type.dim_order.size() >= type.sizes.size())
          return wrong(start, "expected a dim order of {} dimensions", type.sizes.size());
        type.dim_order.push_back(uint8_t(dim));
      } while (accept(','));
      TRY_VOID(expect(')'));
      if (type.dim_order.size() != type.sizes.size() ||
          !is_valid_dim_order(type.dim_order.data(), int(type.dim_order.size())))
        return wrong(start, "expected a dim order of {} dimensions", type.sizes.size());
    }
    return type;
  }

  Result<Type> type() {
    size_t start = (skip_space(), position_);
    TRY(std::string name, word(name_length, "a type such as f32[2, s0], int(s0), float, bool"));
    if (auto dtype = find_dtype(name)) {
      TRY(TensorType tensor, tensor_type(*dtype));
      return Type::of(std::move(tensor));
    }
    Type type;
    if (name == "int") {
      TRY_VOID(expect('('));
      TRY(SymInt number, expression());
      TRY_VOID(expect(')'));
      return Type::integer(number);
    }
    if (name == "float")
      type.kind = Type::Kind::floating;
    else if (name == "bool")
      type.kind = Type::Kind::boolean;
    else if (name == "none")
      type.kind = Type::Kind::none;
    else
      return wrong(start, "expected a type such as f32[2, s0], int(s0), float, bool, found \"{}\"",
                   printable(name));
    return type;
  }

  // --- the program ---

  Result<void> statements() {
    while (!rest().empty()) {
      if (accept_word("symbol")) {
        TRY_VOID(symbol());
      } else if (accept_word("constant")) {
        TRY_VOID(constant());
      } else if (accept_word("buffer")) {
        TRY_VOID(buffer());
      } else if (accept_word("method")) {
        TRY_VOID(method());
      } else {
        return wanted("symbol, constant, buffer or method");
      }
    }
    // All that is zero, or left out, shares one block.
    if (zeros_bytes_ > 0) {
      std::shared_ptr<void> zeros(std::calloc(1, zeros_bytes_), std::free);
      if (!zeros) return error(Code::too_large, "no memory for {} bytes of data", zeros_bytes_);
      const uint8_t* bytes = static_cast<const uint8_t*>(zeros.get());
      for (auto [constant, size] : zero_constants_)
        program_.constants[constant].bytes = {bytes, size};
      for (auto [buffer, size] : zero_buffers_) program_.buffers[buffer].initial = {bytes, size};
      program_.keep_alive.push_back(std::move(zeros));
    }
    return {};
  }

  Result<int64_t> bound() {
    if (accept_word("inf")) return INT64_MAX;
    if (rest().starts_with("-inf")) {
      position_ += 4;
      return INT64_MIN;
    }
    return integer();
  }

  Result<void> symbol() {
    size_t start = (skip_space(), position_);
    TRY(std::string name, word(name_length, "a symbol's name"));
    if (program_.symbols.find_symbol(name))
      return wrong(start, "symbol {} stands twice", print_name(name));
    program_.symbols.symbol(name);
    Symbol& symbol = program_.symbols.symbols().back();
    if (accept_word("in")) {
      TRY_VOID(expect('['));
      TRY(symbol.bounds.min, bound());
      TRY_VOID(expect(','));
      TRY(symbol.bounds.max, bound());
      TRY_VOID(expect(']'));
    }
    if (accept_word("hint")) {
      TRY(symbol.hint, integer());
    }
    if (accept_word("divisor")) {
      size_t at = (skip_space(), position_);
      TRY(symbol.divisor, integer());
      if (symbol.divisor < 1)
        return wrong(at, "expected a divisor of at least 1, found {}", symbol.divisor);
    }
    return {};
  }

  struct Data {
    std::shared_ptr<const std::vector<uint8_t>> bytes;  // null: zeros
    uint64_t size = 0, omitted = 0;
  };

  template <class T>
  static void append(std::vector<uint8_t>& bytes, T value) {
    size_t at = bytes.size();
    bytes.resize(at + sizeof value);
    std::memcpy(bytes.data() + at, &value, sizeof value);
  }

  Result<void> element(DType dtype, std::vector<uint8_t>& bytes) {
    size_t start = (skip_space(), position_);
    if (dtype == DType::b8) {
      bool value = accept_word("true");
      if (!value && !accept_word("false")) return wanted("true or false");
      append(bytes, uint8_t(value));
      return {};
    }
    TRY(std::string_view number, number_text());
    auto fits = [&](int64_t value, int64_t min, int64_t max) -> Result<void> {
      if (value >= min && value <= max) return {};
      return wrong(start, "{} does not fit in {}", value, dtype_name(dtype));
    };
    if (is_floating(dtype)) {
      TRY(double value, to_floating(number));
      // Shortest text of a float: read as a float, or it would be rounded twice.
      float single = std::strtof(std::string(number).c_str(), nullptr);
      switch (dtype) {
        case DType::f32: append(bytes, single); return {};
        case DType::f64: append(bytes, value); return {};
        case DType::f16: append(bytes, to_f16(single)); return {};
        case DType::bf16: append(bytes, to_bf16(single)); return {};
        default: return wrong(start, "expected 0x and the bytes of {}", dtype_name(dtype));
      }
    }
    if (dtype_category(dtype) == DTypeCategory::complex)
      return wrong(start, "expected 0x and the bytes of {}", dtype_name(dtype));
    if (dtype == DType::u64 && number[0] != '-' && is_integer(number)) {
      uint64_t value = 0;
      for (char c : number)
        if (!checked_multiply<uint64_t>(value, 10, &value) ||
            !checked_add<uint64_t>(value, uint64_t(c - '0'), &value))
          return wrong(start, "{} does not fit in u64", number);
      append(bytes, value);
      return {};
    }
    TRY(int64_t value, to_integer(number));
    switch (dtype) {
      case DType::u8:
        TRY_VOID(fits(value, 0, UINT8_MAX));
        append(bytes, uint8_t(value));
        return {};
      case DType::i8:
        TRY_VOID(fits(value, INT8_MIN, INT8_MAX));
        append(bytes, int8_t(value));
        return {};
      case DType::u16:
        TRY_VOID(fits(value, 0, UINT16_MAX));
        append(bytes, uint16_t(value));
        return {};
      case DType::i16:
        TRY_VOID(fits(value, INT16_MIN, INT16_MAX));
        append(bytes, int16_t(value));
        return {};
      case DType::u32:
        TRY_VOID(fits(value, 0, UINT32_MAX));
        append(bytes, uint32_t(value));
        return {};
      case DType::i32:
        TRY_VOID(fits(value, INT32_MIN, INT32_MAX));
        append(bytes, int32_t(value));
        return {};
      case DType::u64:
        TRY_VOID(fits(value, 0, INT64_MAX));
        append(bytes, value);
        return {};
      default: append(bytes, value); return {};
    }
  }

  // After "=": {1, 2.5}, 0x3f80..., zeros, omitted <hash>.
  Result<Data> data(const TensorType& type, size_t type_position) {
    Data data;
    data.size = dtype_bytes(type.dtype);
    for (const SymInt& size : type.sizes) {
      if (!size.is_known() || size.value < 0)
        return wrong(type_position, "expected known sizes of what has data");
      if (!checked_multiply(data.size, uint64_t(size.value), &data.size) ||
          data.size > kDataBytesMax)
        return wrong(type_position, "expected at most {} bytes of data", kDataBytesMax);
    }
    size_t start = (skip_space(), position_);
    if (accept_word("zeros")) return data;
    if (accept_word("omitted")) {
      TRY(data.omitted, hexadecimal_hash());
      return data;
    }
    auto bytes = std::make_shared<std::vector<uint8_t>>();
    if (accept('{')) {
      if (!accept('}')) {
        do {
          if (bytes->size() >= data.size)
            return wrong(start, "expected {} bytes of data, found more", data.size);
          TRY_VOID(element(type.dtype, *bytes));
        } while (accept(','));
        TRY_VOID(expect('}'));
      }
    } else if (rest().starts_with("0x")) {
      position_ += 2;
      int digit;
      while ((digit = hexadecimal_digit()) >= 0) {
        int low = hexadecimal_digit();
        if (low < 0) return wanted("an even number of hexadecimal digits");
        bytes->push_back(uint8_t(digit * 16 + low));
      }
    } else {
      return wanted("data: {...}, 0x..., zeros or omitted");
    }
    if (bytes->size() != data.size)
      return wrong(start, "expected {} bytes of data, found {}", data.size, bytes->size());
    data.bytes = std::move(bytes);
    return data;
  }
  int hexadecimal_digit() {
    char c = position_ < text_.size() ? text_[position_] : '\0';
    int value = c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
    if (value >= 0) position_++;
    return value;
  }
  Result<uint64_t> hexadecimal_hash() {
    size_t start = (skip_space(), position_);
    uint64_t hash = 0;
    int digit, count = 0;
    for (; (digit = hexadecimal_digit()) >= 0; count++) hash = hash << 4 | uint64_t(digit);
    if (count != 16 || hash == 0)
      return wrong(start, "expected a hash of 16 digits 0-9 or a-f, not all 0");
    return hash;
  }

  Result<void> constant() {
    ConstantData constant;
    TRY(constant.name, at_name());
    while (accept_word("alias")) {
      TRY(std::string alias, at_name());
      constant.aliases.push_back(std::move(alias));
    }
    TRY_VOID(expect(':'));
    size_t at = (skip_space(), position_);
    TRY(Type type, this->type());
    if (!type.is_tensor()) return wrong(at, "expected a tensor type");
    constant.type = std::move(type.tensor);
    TRY_VOID(expect('='));
    TRY(Data data, this->data(constant.type, at));
    constant.omitted = data.omitted;
    if (data.bytes) {
      constant.bytes = Bytes(*data.bytes);
      constant.owned = data.bytes;
    } else if (data.size > 0) {
      zero_constants_.emplace_back(program_.constants.size(), data.size);
      zeros_bytes_ = std::max(zeros_bytes_, data.size);
    }
    constants_.emplace(constant.name, int32_t(program_.constants.size()));
    program_.constants.push_back(std::move(constant));
    return {};
  }

  Result<void> buffer() {
    BufferData buffer;
    TRY(buffer.name, at_name());
    TRY_VOID(expect(':'));
    size_t at = (skip_space(), position_);
    TRY(Type type, this->type());
    if (!type.is_tensor()) return wrong(at, "expected a tensor type");
    buffer.type = std::move(type.tensor);
    if (accept('=')) {
      TRY(Data data, this->data(buffer.type, at));
      buffer.omitted = data.omitted;
      if (data.bytes) {
        buffer.initial = Bytes(*data.bytes);
        buffer.owned = data.bytes;
      } else if (data.size > 0) {
        zero_buffers_.emplace_back(program_.buffers.size(), data.size);
        zeros_bytes_ = std::max(zeros_bytes_, data.size);
      }
    }
    buffers_.emplace(buffer.name, int32_t(program_.buffers.size()));
    program_.buffers.push_back(std::move(buffer));
    return {};
  }

  Result<void> method() {
    TRY(std::string name, word(name_length, "the method's name"));
    Method& method = program_.methods.emplace_back();
    method.name = name;
    method.graph.name = std::move(name);
    if (accept_word("graph")) {
      TRY(method.graph.name, word(name_length, "the graph's name"));
    }
    return graph(method.graph, &method, 0);
  }

  // --- graphs ---

  Result<std::string> value_name() {
    TRY_VOID(expect('%'));
    return word(value_name_length, "a name after \"%\"");
  }

  Result<ValueId> use(Scope& scope) {
    size_t start = (skip_space(), position_);
    TRY(std::string name, value_name());
    auto found = scope.values.find(name);
    if (found == scope.values.end())
      return wrong(start, "%{} is not defined", print_value_name(name));
    return found->second;
  }

  Result<void> define(Scope& scope, const std::string& name, ValueId id, size_t start) {
    if (!scope.values.emplace(name, id).second)
      return wrong(start, "%{} is defined twice", print_value_name(name));
    return {};
  }

  // "@name" or "@3": position in the program's list.
  Result<int32_t> reference(const std::unordered_map<std::string, int32_t>& names, size_t count,
                            std::string_view what) {
    size_t start = (skip_space(), position_);
    TRY_VOID(expect('@'));
    if (char c = peek(); c >= '0' && c <= '9') {
      TRY(int64_t index, integer());
      if (index >= int64_t(count)) return wrong(start, "{} {} of {}", what, index, count);
      return int32_t(index);
    }
    TRY(std::string name, word(dotted_length, "a name after \"@\""));
    auto found = names.find(name);
    if (found == names.end())
      return wrong(start, "{} @{} is not declared", what, print_dotted(name));
    return found->second;
  }

  Result<void> graph(Graph& graph, Method* method, int nesting) {
    if (nesting > kNestingMax)
      return wanted(fmt::format("graphs nested at most {} deep", kNestingMax));
    Scope scope{graph, {}};
    TRY_VOID(expect('('));
    if (!accept(')')) {
      do {
        TRY_VOID(input(scope, method));
      } while (accept(','));
      TRY_VOID(expect(')'));
    }
    TRY_VOID(expect('{'));
    for (;;) {
      if (accept_word("return")) break;
      if (method && accept_word("in_spec")) {
        TRY(method->in_spec, quoted());
      } else if (method && accept_word("out_spec")) {
        TRY(method->out_spec, quoted());
      } else if (accept_word("graph")) {
        size_t start = (skip_space(), position_);
        TRY(int64_t index, integer());
        if (index != int64_t(graph.subgraphs.size()))
          return wrong(start, "expected graph {}, found {}", graph.subgraphs.size(), index);
        graph.subgraphs.push_back(std::make_unique<Graph>());
        Graph& subgraph = *graph.subgraphs.back();
        TRY(subgraph.name, word(name_length, "the graph's name"));
        TRY_VOID(this->graph(subgraph, nullptr, nesting + 1));
      } else if (accept_word("write")) {
        TRY_VOID(write_back(scope));
      } else if (peek() == '}' || position_ >= text_.size()) {
        return wanted("a node or \"return\"");
      } else {
        TRY_VOID(node(scope));
      }
    }
    if (peek() == '%') {
      do {
        TRY(ValueId id, use(scope));
        graph.outputs.push_back(id);
      } while (accept(','));
    }
    return expect('}');
  }

  Result<void> input(Scope& scope, Method* method) {
    size_t start = (skip_space(), position_);
    TRY(std::string name, value_name());
    TRY_VOID(expect(':'));
    TRY(Type type, this->type());
    size_t position = scope.graph.inputs.size();
    TRY_VOID(define(scope, name, scope.graph.add_input(std::move(type), name), start));
    if (method && accept_word("as")) {
      method->input_names.resize(position + 1);
      TRY(method->input_names.back(), word(name_length, "the input's name"));
    }
    if (method && accept('=')) {
      FixedInput fixed;
      fixed.position = int32_t(position);
      start = (skip_space(), position_);
      TRY(Argument value, argument(scope));
      if (auto* integer = std::get_if<int64_t>(&value))
        fixed.value = *integer;
      else if (auto* number = std::get_if<double>(&value))
        fixed.value = *number;
      else if (auto* boolean = std::get_if<bool>(&value))
        fixed.value = *boolean;
      else if (auto* text = std::get_if<std::string>(&value))
        fixed.value = *text;
      else if (std::get_if<None>(&value))
        fixed.value = None{};
      else
        return wrong(start, "expected a number, true, false, a string or none");
      method->fixed_inputs.push_back(std::move(fixed));
    }
    return {};
  }

  Result<void> write_back(Scope& scope) {
    WriteBack write_back;
    if (accept_word("buffer")) {
      TRY(write_back.index, reference(buffers_, program_.buffers.size(), "buffer"));
    } else if (accept_word("input")) {
      write_back.target = WriteBack::Target::input;
      size_t start = (skip_space(), position_);
      TRY(ValueId id, use(scope));
      if (scope.graph.values[size_t(id)].origin != Origin::input)
        return wrong(start, "expected an input of the graph");
      write_back.index = scope.graph.values[size_t(id)].index;
    } else {
      return wanted("buffer or input");
    }
    TRY_VOID(expect('='));
    TRY(write_back.value, use(scope));
    scope.graph.write_backs.push_back(write_back);
    return {};
  }

  // "%a: f32[2], %b: i64[2] = op(...)  # source", "op(...)", "%w = constant @name".
  Result<void> node(Scope& scope) {
    struct Named {
      std::string name;
      size_t start;
      Type type;
    };
    std::vector<Named> results;
    if (peek() == '%') {
      do {
        Named& result = results.emplace_back();
        result.start = (skip_space(), position_);
        TRY(result.name, value_name());
        if (results.size() == 1 && accept('='))
          return program_value(scope, result.name, result.start);
        TRY_VOID(expect(':'));
        TRY(result.type, type());
      } while (accept(','));
      TRY_VOID(expect('='));
    }
    TRY(std::string op, word(op_name_length, "an operator such as aten::add.Tensor"));
    TRY_VOID(expect('('));
    std::vector<Argument> arguments;
    if (!accept(')')) {
      do {
        TRY(Argument argument, this->argument(scope));
        arguments.push_back(std::move(argument));
      } while (accept(','));
      TRY_VOID(expect(')'));
    }
    // The source stands on the line of the closing parenthesis.
    size_t p = position_;
    while (p < text_.size() && (text_[p] == ' ' || text_[p] == '\t')) p++;
    std::string source;
    if (p < text_.size() && text_[p] == '#') {
      position_ = p + 1;
      if (position_ < text_.size() && text_[position_] == ' ') position_++;
      TRY(source, parse_comment(text_, &position_));
      if (!source.empty() && source.back() == '\r') source.pop_back();
    }
    NodeId id = scope.graph.add_node(std::move(op), std::move(arguments), {}, std::move(source));
    for (size_t i = 0; i < results.size(); i++) {
      ValueId value = scope.graph.add_value(std::move(results[i].type), results[i].name,
                                            Origin::node, id, int32_t(i));
      scope.graph.nodes[size_t(id)].results.push_back(value);
      TRY_VOID(define(scope, results[i].name, value, results[i].start));
    }
    return {};
  }

  Result<void> program_value(Scope& scope, const std::string& name, size_t start) {
    Origin origin = Origin::constant;
    int32_t index = 0;
    const TensorType* type = nullptr;
    if (accept_word("constant")) {
      TRY(index, reference(constants_, program_.constants.size(), "constant"));
      type = &program_.constants[size_t(index)].type;
    } else if (accept_word("buffer")) {
      origin = Origin::buffer;
      TRY(index, reference(buffers_, program_.buffers.size(), "buffer"));
      type = &program_.buffers[size_t(index)].type;
    } else {
      return wanted("constant or buffer (a node's result has a type: \"%x: f32[2] = ...\")");
    }
    return define(scope, name, scope.graph.add_value(Type::of(*type), name, origin, index), start);
  }

  Result<Argument> argument(Scope& scope) {
    switch (char c = peek()) {
      case '%': {
        TRY(ValueId id, use(scope));
        return Argument(ValueRef{id});
      }
      case '"': {
        TRY(std::string text, quoted());
        return Argument(std::move(text));
      }
      case '[': return list(scope);
      case '{': {
        position_++;
        std::vector<ValueRef> items;
        if (accept('}')) return Argument(std::move(items));
        do {
          if (accept_word("none")) {
            items.push_back({kNoValue});
            continue;
          }
          TRY(ValueId id, use(scope));
          items.push_back({id});
        } while (accept(','));
        TRY_VOID(expect('}'));
        return Argument(std::move(items));
      }
      default:
        if (accept_word("none")) return Argument(None{});
        if (accept_word("true")) return Argument(true);
        if (accept_word("false")) return Argument(false);
        if (accept_word("floats") || next_is_word("bools")) {
          bool floats = !accept_word("bools");
          TRY_VOID(expect('['));
          TRY_VOID(expect(']'));
          if (floats) return Argument(std::vector<double>());
          return Argument(std::vector<bool>());
        }
        if (accept_word("graph")) {
          size_t start = (skip_space(), position_);
          TRY(int64_t index, integer());
          if (index < 0 || index >= int64_t(scope.graph.subgraphs.size()))
            return wrong(start, "graph {} of {}", index, scope.graph.subgraphs.size());
          return Argument(GraphRef{int(index)});
        }
        if (c != '-' && (c < '0' || c > '9') && c != 'i' && c != 'n')
          return wanted(
              "an argument: %value, number, true, false, none, \"text\", [...], {...} or graph");
        TRY(std::string_view number, number_text());
        if (is_integer(number)) {
          TRY(int64_t value, to_integer(number));
          return Argument(value);
        }
        TRY(double value, to_floating(number));
        return Argument(value);
    }
  }

  // [1, %n], [1.0, 2.5], [true, false]: the first item decides.
  Result<Argument> list(Scope& scope) {
    position_++;
    if (accept(']')) return Argument(std::vector<IntItem>());
    std::vector<IntItem> integers;
    std::vector<double> floats;
    std::vector<bool> booleans;
    do {
      if (next_is_word("true") || next_is_word("false")) {
        if (!integers.empty() || !floats.empty()) return wanted("an item of the kind of the first");
        booleans.push_back(accept_word("true") || !accept_word("false"));
        continue;
      }
      if (!booleans.empty()) return wanted("true or false");
      if (peek() == '%') {
        if (!floats.empty()) return wanted("a number with a point");
        TRY(ValueId id, use(scope));
        integers.push_back({0, id});
        continue;
      }
      size_t start = position_;
      TRY(std::string_view number, number_text());
      if (is_integer(number)) {
        if (!floats.empty())
          return wrong(start, "expected a number with a point, found {}", number);
        TRY(int64_t value, to_integer(number));
        integers.push_back({value, kNoValue});
      } else {
        if (!integers.empty()) return wrong(start, "expected an integer, found {}", number);
        TRY(double value, to_floating(number));
        floats.push_back(value);
      }
    } while (accept(','));
    TRY_VOID(expect(']'));
    if (!floats.empty()) return Argument(std::move(floats));
    if (!booleans.empty()) return Argument(std::move(booleans));
    return Argument(std::move(integers));
  }

  std::string_view text_;
  Program& program_;
  size_t position_ = 0;
  std::optional<size_t> error_position_;
  std::unordered_map<std::string, int32_t> constants_, buffers_;  // the first of each name
  std::vector<std::pair<size_t, uint64_t>> zero_constants_, zero_buffers_;
  uint64_t zeros_bytes_ = 0;
};

}  // namespace

Result<std::unique_ptr<Program>> parse_program(const std::string& text) {
  auto program = std::make_unique<Program>();
  TRY_VOID(Parser(text, *program).parse());
  if (Result<void> result = verify(*program); !result.ok())
    return Error{Code::invalid_file, std::move(result.error().text)};
  return program;
}

}  // namespace sconce
