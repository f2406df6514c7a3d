// Archives of torch.export.save. The mutator changes what stands in one entry and packs again, so
// that checksums do not hide the JSON from the fuzzer; mostly it puts one value of the JSON in the
// place of another, which keeps the syntax.
#include <algorithm>
#include <cctype>
#include <cstdint>
#include <cstring>
#include <string>
#include <vector>

#include "formats/pt2/pt2.h"
#include "formats/zip/zip.h"
#include "formats/zip/zip_builder.h"

extern "C" size_t LLVMFuzzerMutate(uint8_t* data, size_t size, size_t size_max);

using namespace sconce;

namespace {

volatile uint64_t g_sum;  // keeps the reads

void touch(const pt2::Weight& weight) {
  uint64_t sum = 0;
  if (!weight.bytes.empty()) sum += weight.bytes.front() + weight.bytes.back();
  int64_t last = 0;
  for (size_t i = 0; i < weight.sizes.size(); i++) {
    if (weight.sizes[i] == 0) return;
    last += (weight.sizes[i] - 1) * weight.strides[i];
  }
  size_t element = dtype_bytes(weight.dtype);
  sum += weight.bytes[size_t(last) * element + element - 1];
  if (pt2::is_contiguous(weight)) {
    int64_t count = 1;
    for (int64_t size : weight.sizes) count *= size;
    if (uint64_t(count) * element != weight.bytes.size()) __builtin_trap();
  }
  g_sum = g_sum + sum;
}

void touch(const pt2::Graph& graph);
void touch(const pt2::Argument& argument) {
  for (char c : argument.name) g_sum = g_sum + uint8_t(c);
  for (char c : argument.text) g_sum = g_sum + uint8_t(c);
  for (const pt2::Argument& item : argument.items) touch(item);
  if (argument.kind == pt2::Argument::Kind::graph) touch(*argument.graph);
}
void touch(const pt2::Graph& graph) {
  for (const pt2::Node& node : graph.nodes) {
    for (const pt2::NamedArgument& input : node.inputs) touch(input.value);
    for (const pt2::Argument& output : node.outputs) {
      touch(output);
      if (output.kind == pt2::Argument::Kind::tensor && !find_tensor(graph, output.name))
        __builtin_trap();
    }
  }
}

struct TextSpan {
  size_t begin, end;
};

// Strings, numbers, words, objects and lists of a JSON text; garbage gives garbage.
std::vector<TextSpan> values_of(const std::string& text) {
  std::vector<TextSpan> values;
  std::vector<size_t> open;
  for (size_t i = 0; i < text.size(); i++) {
    size_t begin = i;
    char c = text[i];
    if (c == '{' || c == '[') {
      open.push_back(i);
    } else if (c == '}' || c == ']') {
      if (open.empty()) continue;
      values.push_back({open.back(), i + 1});
      open.pop_back();
    } else if (c == '"') {
      for (i++; i < text.size() && text[i] != '"'; i++)
        if (text[i] == '\\') i++;
      values.push_back({begin, std::min(i + 1, text.size())});
    } else if (!std::strchr(" ,:", c)) {
      while (i + 1 < text.size() && !std::strchr(" ,:{}[]\"", text[i + 1])) i++;
      values.push_back({begin, i + 1});
    }
  }
  return values;
}

bool swap_values(std::string* text, unsigned seed) {
  static const char* const kOthers[] = {
      "null", "[]", "{}", "-1", "9223372036854775807", "\"\"", "0.5", "true", "1152921504606846976",
      "[[]]"};
  std::vector<TextSpan> values = values_of(*text);
  if (values.empty()) return false;
  TextSpan target = values[seed / 5 % values.size()];
  std::string other;
  if (seed / 3 % 8 == 0) {
    other = kOthers[seed / 24 % std::size(kOthers)];
  } else {
    // Another of the same kind, so that more of the checks behind the first are met.
    for (size_t i = 0; i < values.size() && other.empty(); i++) {
      TextSpan source = values[(seed / 7 + i * 31) % values.size()];
      char kind = (*text)[source.begin], wanted = (*text)[target.begin];
      if (source.begin == target.begin || source.end - source.begin > 2000) continue;
      bool same = kind == wanted || (std::isdigit(kind) && std::isdigit(wanted));
      if (same) other = text->substr(source.begin, source.end - source.begin);
    }
  }
  text->replace(target.begin, target.end - target.begin, other);
  return true;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  auto archive = pt2::read_archive({data, size}, {.verify_weights = (size & 1) != 0});
  if (!archive.ok()) {
    if (archive.error().text.empty()) __builtin_trap();
    return 0;
  }
  for (const pt2::Program& program : archive->programs) {
    touch(program.graph);
    for (const pt2::Weight& weight : program.weights) touch(weight);
    for (const pt2::Weight& weight : program.constants) touch(weight);
    for (const pt2::InputSpec& spec : program.inputs) find_data(program, spec);
  }
  return 0;
}

extern "C" size_t LLVMFuzzerCustomMutator(uint8_t* data, size_t size, size_t size_max,
                                          unsigned seed) {
  auto zip = read_zip({data, size});
  if (!zip.ok() || zip->entries.empty()) return LLVMFuzzerMutate(data, size, size_max);
  std::vector<BuiltEntry> entries;
  for (const ZipEntry& entry : zip->entries)
    entries.push_back(
        {std::string(entry.name), std::string(entry.bytes.begin(), entry.bytes.end())});
  // Mostly the JSON entries, which hold the structure.
  size_t index = seed % entries.size();
  for (size_t i = 0; i < entries.size() && !entries[index].name.ends_with(".json"); i++)
    index = (index + 1) % entries.size();
  if (seed % 7 == 0) index = seed / 7 % entries.size();
  std::string& text = entries[index].data;
  if (seed % 5 != 0 && swap_values(&text, seed)) {
    // Done.
  } else {
    // A window somewhere in the entry, as most of a long text is far from its begin.
    size_t begin = text.empty() ? 0 : seed / 64 % text.size();
    size_t window = std::min<size_t>(text.size() - begin, 200);
    std::vector<uint8_t> part(text.begin() + long(begin), text.begin() + long(begin + window));
    part.resize(window + 64);
    part.resize(LLVMFuzzerMutate(part.data(), window, part.size()));
    text.replace(begin, window, std::string(part.begin(), part.end()));
  }
  std::vector<uint8_t> built = build_zip(entries);
  if (built.size() > size_max) return LLVMFuzzerMutate(data, size, size_max);
  std::memcpy(data, built.data(), built.size());
  return built.size();
}
