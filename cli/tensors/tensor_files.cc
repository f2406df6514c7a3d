#include "tensors/tensor_files.h"

#include <fnmatch.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>

namespace sconce::cli {

void add_file_options(CLI::App* command, TensorFileOptions& options) {
  command
      ->add_option("file", options.path,
                   "A .safetensors, a .safetensors.index.json, or a folder that holds one")
      ->required();
  command
      ->add_option("--accept", options.accept,
                   "strict: the specification to the letter; standard; reference: all that the "
                   "package safetensors takes")
      ->check(CLI::IsMember({"strict", "standard", "reference"}))
      ->capture_default_str();
  command->add_flag("--json", options.json, "As JSON");
}

void add_name_option(CLI::App* command, TensorFileOptions& options) {
  command->add_option("-n,--name", options.names, "Only tensors of this name; * and ? match text");
}

OpenOptions open_options(const TensorFileOptions& options) {
  return {options.accept == "strict"      ? AcceptMode::strict
          : options.accept == "reference" ? AcceptMode::reference
                                          : AcceptMode::standard};
}

TensorFile open_or_exit(const TensorFileOptions& options, bool knows_containers) {
  TensorFile file =
      value_or_exit(TensorFile::open(options.path, open_options(options)), options.json);
  if (!knows_containers && is_container(file))
    for (const auto& [key, value] : file.metadata())
      if (key == "note") fmt::print(stderr, "note: {}: {}\n", options.path, shown_name(value));
  return file;
}

bool is_container(const TensorFile& file) {
  if (file.has_index()) return false;
  for (const auto& [key, value] : file.metadata())
    if (key == "format" && value.starts_with("sconce ")) return true;
  return false;
}

// Letters to be put in, left out or changed to make one text of the other.
static size_t edit_distance(std::string_view a, std::string_view b) {
  std::vector<size_t> row(b.size() + 1);
  for (size_t j = 0; j <= b.size(); j++) row[j] = j;
  for (size_t i = 1; i <= a.size(); i++) {
    size_t corner = row[0];
    row[0] = i;
    for (size_t j = 1; j <= b.size(); j++) {
      size_t changed = corner + (a[i - 1] != b[j - 1]);
      corner = row[j];
      row[j] = std::min({changed, row[j] + 1, row[j - 1] + 1});
    }
  }
  return row[b.size()];
}

TensorRecord tensor_or_exit(const TensorFile& file, const std::string& name,
                            const TensorFileOptions& options) {
  if (auto tensor = file.find(name)) return *tensor;
  constexpr size_t kShown = 3, kNameMax = 1000;
  std::vector<std::pair<size_t, std::string_view>> near;
  for (const TensorRecord& tensor : file.tensors()) {
    if (std::max(tensor.name.size(), name.size()) > kNameMax) continue;
    size_t distance = edit_distance(name, tensor.name);
    // A part of a name is meant as such, most of all its end.
    if (!name.empty() && tensor.name.ends_with(name))
      distance = 1;
    else if (!name.empty() && tensor.name.find(name) != tensor.name.npos)
      distance = 2;
    if (distance <= std::max<size_t>(2, name.size() / 4)) near.emplace_back(distance, tensor.name);
  }
  std::stable_sort(near.begin(), near.end(),
                   [](const auto& a, const auto& b) { return a.first < b.first; });
  std::string hint = " (sconce tensors ls lists them)";
  if (!near.empty()) {
    hint = "; did you mean ";
    for (size_t i = 0; i < std::min(near.size(), kShown); i++)
      hint += (i == 0 ? "" : ", ") + quoted_name(near[i].second);
    hint += near.size() > kShown ? fmt::format(" or {} more?", near.size() - kShown) : "?";
  }
  exit_with(
      error(Code::not_found, "{}: no tensor is named {}{}", options.path, quoted_name(name), hint),
      options.json);
}

bool matches(const std::string& pattern, std::string_view name) {
  return name == pattern || fnmatch(pattern.c_str(), std::string(name).c_str(), 0) == 0;
}

std::vector<const TensorRecord*> chosen_tensors(const TensorFile& file,
                                                const TensorFileOptions& options) {
  std::vector<const TensorRecord*> chosen;
  std::vector<bool> matched(options.names.size());
  for (const TensorRecord& tensor : file.tensors()) {
    bool wanted = options.names.empty();
    for (size_t i = 0; i < options.names.size(); i++)
      if (matches(options.names[i], tensor.name)) wanted = matched[i] = true;
    if (wanted) chosen.push_back(&tensor);
  }
  for (size_t i = 0; i < matched.size(); i++)
    if (!matched[i])
      exit_with(error(Code::not_found, "{}: no tensor matches {}", options.path,
                      quoted_name(options.names[i])),
                options.json);
  return chosen;
}

std::string shown_name(std::string_view name) {
  std::string text = quoted_name(name);
  return text.ends_with('"') ? text.substr(1, text.size() - 2) : text;
}

std::string count_text(uint64_t count) {
  std::string digits = std::to_string(count);
  for (size_t at = digits.size(); at > 3;) digits.insert(at -= 3, 1, ' ');
  return digits;
}

std::string number_text(double value) {
  if (std::isnan(value)) return "nan";
  if (std::isinf(value)) return value < 0 ? "-inf" : "inf";
  if (value == std::floor(value) && std::fabs(value) < 1e7) return fmt::format("{:.0f}", value);
  return fmt::format("{:.4g}", value);
}

std::string json_number(double value) {
  return std::isfinite(value) ? fmt::format("{:.17g}", value) : "null";
}

std::string json_shape(Span<const uint64_t> shape) {
  return fmt::format("[{}]", fmt::join(shape, ", "));
}

// Columns that a terminal gives a text: characters, not bytes.
static size_t width_of(const std::string& text) {
  size_t width = 0;
  for (char c : text) width += (uint8_t(c) & 0xc0) != 0x80;
  return width;
}

void TextTable::print() const {
  std::vector<size_t> widths(right_.size());
  for (const auto& row : rows_)
    for (size_t i = 0; i < row.size(); i++) widths[i] = std::max(widths[i], width_of(row[i]));
  bool dim = isatty(1) && !getenv("NO_COLOR");
  bool heading = true;
  for (const auto& row : rows_) {
    std::string line;
    for (size_t i = 0; i < row.size(); i++) {
      std::string space(widths[i] - width_of(row[i]), ' ');
      if (i > 0) line += "  ";
      line += right_[i] ? space + row[i] : row[i] + space;
    }
    line.resize(line.find_last_not_of(' ') + 1);
    if (heading && dim)
      fmt::print("\033[2m{}\033[0m\n", line);
    else
      fmt::print("{}\n", line);
    heading = false;
  }
}

}  // namespace sconce::cli
