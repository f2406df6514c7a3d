// What the subcommands that read .safetensors share: the options that say what to open, tables.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "cli.h"
#include "sconce/tensor_file.h"

namespace sconce::cli {

struct TensorFileOptions {
  std::string path;
  std::string accept = "standard";
  std::vector<std::string> names;  // patterns; empty = all
  bool json = false;
};

// "file", --accept and --json.
void add_file_options(CLI::App* command, TensorFileOptions& options);
// --name.
void add_name_option(CLI::App* command, TensorFileOptions& options);

OpenOptions open_options(const TensorFileOptions& options);
// Opens options.path; ends the program with a message when it cannot. Of a packed or sealed file
// these are its parts; a note says so, unless `knows_containers`.
TensorFile open_or_exit(const TensorFileOptions& options, bool knows_containers = false);
// Whether a file says of itself that it is packed or sealed.
bool is_container(const TensorFile& file);
// Whether a name is a pattern, or fits it: * and ? stand for text.
bool matches(const std::string& pattern, std::string_view name);
// The tensor of that name; ends the program when there is none, with the names that are most like
// it.
TensorRecord tensor_or_exit(const TensorFile& file, const std::string& name,
                                   const TensorFileOptions& options);
// The tensors that match one of options.names (with * and ?), in the order of their names; ends the
// program when a pattern matches none.
std::vector<const TensorRecord*> chosen_tensors(const TensorFile& file,
                                                const TensorFileOptions& options);

// A name for a terminal: control characters escaped, no quotes.
std::string shown_name(std::string_view name);
std::string count_text(uint64_t count);  // "1 234 567"
std::string number_text(double value);   // short, 4 digits
std::string json_number(double value);   // null when it is not finite
std::string json_shape(Span<const uint64_t> shape);

// Rows under headings, in columns as wide as they need; those of `right` are aligned to the right.
// Headings are dimmed on a terminal.
class TextTable {
 public:
  TextTable(std::vector<std::string> headings, std::vector<bool> right)
      : right_(std::move(right)), rows_{std::move(headings)} {}
  void add(std::vector<std::string> row) { rows_.push_back(std::move(row)); }
  void print() const;

 private:
  std::vector<bool> right_;
  std::vector<std::vector<std::string>> rows_;
};

}  // namespace sconce::cli
