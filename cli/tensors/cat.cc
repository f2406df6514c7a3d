// sconce tensors cat: the values of a tensor, or of a part of it.
#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstdio>
#include <memory>

#include "formats/safetensors/values.h"
#include "tensors/tensor_files.h"
#include "tensors/tensors.h"

namespace sconce::cli {
namespace {

// "1:3,0,:" as ranges of the leading dimensions; negative numbers count from the end.
Result<std::vector<SliceRange>> parse_slice(const std::string& text, Span<const uint64_t> shape) {
  std::vector<SliceRange> ranges;
  size_t at = 0;
  auto number = [&](std::string_view digits, uint64_t size) -> Result<uint64_t> {
    int64_t value = 0;
    auto [end, problem] = std::from_chars(digits.data(), digits.data() + digits.size(), value);
    if (problem != std::errc() || end != digits.data() + digits.size())
      return error(Code::invalid_argument, "--slice: \"{}\" is no whole number", digits);
    if (value < 0 && uint64_t(-value) > size)
      return error(Code::invalid_argument, "--slice: {} is before the start of size {}", value,
                   size);
    return value < 0 ? size - uint64_t(-value) : uint64_t(value);
  };
  while (at <= text.size() && !text.empty()) {
    size_t comma = std::min(text.find(',', at), text.size());
    std::string_view item = std::string_view(text).substr(at, comma - at);
    at = comma + 1;
    if (ranges.size() == shape.size())
      return error(Code::invalid_argument, "--slice: the tensor has {} dimensions, not more",
                   shape.size());
    uint64_t size = shape[ranges.size()];
    size_t colon = item.find(':');
    if (colon == std::string_view::npos) {
      TRY(uint64_t index, number(item, size));
      ranges.push_back({index, index + 1, true});
      continue;
    }
    SliceRange range{0, size, false};
    if (colon > 0) {
      TRY(range.start, number(item.substr(0, colon), size));
    }
    if (colon + 1 < item.size()) {
      TRY(range.stop, number(item.substr(colon + 1), size));
    }
    ranges.push_back(range);
  }
  return ranges;
}

std::string value_text(ElementType type, double value) {
  auto dtype = to_dtype(type);
  if (type == ElementType::b8) return value != 0 ? "true" : "false";
  if (dtype && is_integral(*dtype)) return fmt::format("{:.0f}", value);
  if (type == ElementType::f64) return fmt::format("{}", value);
  return fmt::format("{}", float(value));
}

// Nested lists like numpy's, at most `limit` values of each dimension.
class Printer {
 public:
  Printer(ElementType type, Bytes data, Span<const uint64_t> shape, uint64_t limit, bool json)
      : type_(type), data_(data), shape_(shape), limit_(limit), json_(json) {}

  std::string text() {
    print(0, 0, 0);
    return std::move(out_);
  }

 private:
  void print(size_t dimension, uint64_t index, size_t indent) {
    if (dimension == shape_.size()) return print_value(index);
    uint64_t size = shape_[dimension];
    bool last = dimension + 1 == shape_.size();
    out_ += '[';
    for (uint64_t i = 0; i < size; i++) {
      if (i > 0) out_ += last ? ", " : ",\n" + std::string(indent + 1, ' ');
      if (size > limit_ && i == limit_ / 2 && !json_) {
        out_ += fmt::format("... {} more", size - limit_ / 2 * 2);
        i = size - limit_ / 2 - 1;
        continue;
      }
      print(dimension + 1, index * size + i, indent + 1);
    }
    out_ += ']';
  }
  void print_value(uint64_t index) {
    bool complex = type_ == ElementType::c64;
    double value[2];
    read_values(type_, data_, complex ? index * 2 : index, complex ? 2 : 1, value);
    if (complex && json_)
      out_ += fmt::format("[{}, {}]", json_number(value[0]), json_number(value[1]));
    else if (complex)
      out_ += fmt::format("{}{:+}j", float(value[0]), float(value[1]));
    else if (type_ == ElementType::i64 || type_ == ElementType::u64)
      out_ += whole_text(index);
    else
      out_ += json_ && !std::isfinite(value[0]) ? "null" : value_text(type_, value[0]);
  }
  std::string whole_text(uint64_t index) {  // a double would round
    uint64_t bits = 0;
    for (int i = 0; i < 8; i++) bits |= uint64_t(data_[index * 8 + uint64_t(i)]) << (8 * i);
    return type_ == ElementType::u64 ? std::to_string(bits) : std::to_string(int64_t(bits));
  }

  ElementType type_;
  Bytes data_;
  Span<const uint64_t> shape_;
  uint64_t limit_;
  bool json_;
  std::string out_;
};

}  // namespace

void add_tensors_cat(CLI::App& group) {
  struct Options : TensorFileOptions {
    std::string tensor, slice;
    uint64_t limit = 8;
    bool raw = false;
  };
  auto options = std::make_shared<Options>();
  CLI::App* command = group.add_subcommand("cat", "Print the values of a tensor, or of a part");
  add_file_options(command, *options);
  command->add_option("tensor", options->tensor, "Its name")->required();
  command->add_option("--slice", options->slice, "A part: 0,10:20,: (negative: from the end)");
  command->add_option("--limit", options->limit, "Values shown of each dimension; 0 = all")
      ->capture_default_str();
  command->add_flag("--raw", options->raw, "The bytes as they are, for another program");
  command->footer(
      "Example:\n  sconce tensors cat model.safetensors lm_head.weight --slice 0,:16\n  sconce "
      "tensors cat model.safetensors ids --raw | xxd");
  command->callback([options] {
    TensorFile file = open_or_exit(*options);
    TensorRecord tensor = tensor_or_exit(file, options->tensor, *options);
    auto ranges = value_or_exit(parse_slice(options->slice, tensor.shape), options->json);
    Slice slice = value_or_exit(plan_slice(tensor.type, tensor.shape, ranges), options->json);
    std::vector<uint8_t> bytes = value_or_exit(file.read_slice(tensor, ranges), options->json);
    if (options->raw) {
      if (fwrite(bytes.data(), 1, bytes.size(), stdout) != bytes.size())
        exit_with(error(Code::io, "standard output cannot be written"), options->json);
      return;
    }
    uint64_t limit = options->limit == 0 ? ~0ull : std::max<uint64_t>(options->limit, 2);
    std::string values = Printer(tensor.type, bytes, slice.shape, limit, options->json).text();
    if (options->json)
      fmt::print("{{\"name\": {}, \"dtype\": \"{}\", \"shape\": {}, \"values\": {}}}\n",
                 json_string(tensor.name), element_name(tensor.type), json_shape(slice.shape),
                 values);
    else
      fmt::print("{} {}\n{}\n", element_name(tensor.type), shape_text(slice.shape), values);
  });
}

}  // namespace sconce::cli
