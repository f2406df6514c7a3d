// sconce tensors diff: what differs between two files, tensor by tensor.
#include <map>

#include "formats/safetensors/values.h"
#include "tensors/tensor_files.h"
#include "tensors/tensors.h"

namespace sconce::cli {
namespace {

struct Row {
  std::string_view name;
  std::string problem;  // what keeps the two from being compared
  ValueDifference difference;
};

struct MetadataRow {
  std::string key;
  const std::string *a, *b;  // null where there is none
};

std::vector<MetadataRow> compare_metadata(const Metadata& a, const Metadata& b) {
  std::map<std::string, MetadataRow> rows;
  for (const auto& [key, value] : a) rows[key] = {key, &value, nullptr};
  for (const auto& [key, value] : b)
    rows.try_emplace(key, MetadataRow{key, nullptr, nullptr}).first->second.b = &value;
  std::vector<MetadataRow> different;
  for (const auto& [key, row] : rows)
    if (!row.a || !row.b || *row.a != *row.b) different.push_back(row);
  return different;
}

// A text of the metadata for a line of a terminal.
std::string shown_value(const std::string* value) {
  constexpr size_t kShown = 60;
  if (!value) return "none";
  return value->size() <= kShown ? quoted_name(*value)
                                 : fmt::format("{} bytes of text", value->size());
}

// The indices of a value in a tensor: "[3, 17]".
std::string place_text(const TensorRecord& tensor, uint64_t position) {
  if (tensor.type == ElementType::c64) position /= 2;
  std::vector<uint64_t> at(tensor.shape.size());
  for (size_t i = at.size(); i-- > 0; position /= tensor.shape[i])
    at[i] = position % tensor.shape[i];
  return shape_text(at);
}

}  // namespace

void add_tensors_diff(CLI::App& group) {
  struct Options : TensorFileOptions {
    std::string other;
    double tolerance = 0;
    bool all = false;
  };
  auto options = std::make_shared<Options>();
  CLI::App* command =
      group.add_subcommand("diff", "Compare two files; exit code 1 when they differ");
  add_file_options(command, *options);
  command->add_option("other", options->other, "The file to compare with")->required();
  add_name_option(command, *options);
  command
      ->add_option("--tolerance", options->tolerance,
                   "Differences up to this share of a tensor's largest value are none")
      ->check(CLI::NonNegativeNumber)
      ->capture_default_str();
  command->add_flag("--all", options->all, "List equal tensors too");
  command->footer(
      "Example:\n  sconce tensors diff before.safetensors after.safetensors\n  sconce tensors diff "
      "f32.safetensors bf16.safetensors --tolerance 0.01\nElement types may differ: values are "
      "compared.");
  command->callback([options] {
    TensorFile a = open_or_exit(*options);
    TensorFileOptions second = *options;
    second.path = options->other;
    TensorFile b = open_or_exit(second);
    std::vector<Row> rows;
    uint64_t equal = 0, total = 0, done = 0;
    auto tensors = chosen_tensors(a, *options);
    for (const TensorRecord* tensor : tensors) total += tensor->bytes;
    Progress progress;
    for (const TensorRecord* x : tensors) {
      std::optional<TensorRecord> y = b.find(x->name);
      Row row{x->name, {}, {}};
      if (!y) {
        row.problem = "only in " + options->path;
      } else if (!std::equal(x->shape.begin(), x->shape.end(), y->shape.begin(), y->shape.end())) {
        row.problem = fmt::format("shapes {} and {}", shape_text(x->shape), shape_text(y->shape));
      } else if ((x->type == ElementType::c64) != (y->type == ElementType::c64)) {
        row.problem = fmt::format("types {} and {}", element_name(x->type), element_name(y->type));
      } else {
        row.difference = compare_values(x->type, a.bytes(*x), y->type, b.bytes(*y));
        if (x->type != y->type && options->tolerance == 0)
          row.problem =
              fmt::format("types {} and {}, values differ by at most {} ({} of the largest)",
                          element_name(x->type), element_name(y->type),
                          number_text(row.difference.absolute_max),
                          row.difference.scale > 0
                              ? number_text(row.difference.absolute_max / row.difference.scale)
                              : "-");
      }
      done += x->bytes;
      progress.show(shown_name(x->name), total ? double(done) / double(total) : 1);
      const ValueDifference& d = row.difference;
      bool same = row.problem.empty() && d.absolute_max <= options->tolerance * d.scale &&
                  (d.different == 0 || options->tolerance > 0);
      equal += same;
      if (!same || options->all) rows.push_back(std::move(row));
    }
    progress.clear();
    if (options->names.empty())
      for (const TensorRecord& y : b.tensors())
        if (!a.find(y.name)) rows.push_back({y.name, "only in " + options->other, {}});
    std::vector<MetadataRow> metadata;
    if (options->names.empty()) metadata = compare_metadata(a.metadata(), b.metadata());
    bool metadata_differs = !metadata.empty();
    size_t listed_equal = options->all ? equal : 0;
    bool differs = rows.size() > listed_equal || metadata_differs;
    if (options->json) {
      fmt::print("{{\"equal\": {}, \"equal_tensors\": {}, \"metadata_equal\": {}, \"tensors\": [",
                 !differs, equal, !metadata_differs);
      const char* comma = "";
      for (const Row& row : rows) {
        const ValueDifference& d = row.difference;
        fmt::print(
            "{}\n  {{\"name\": {}, \"problem\": {}, \"values\": {}, \"different\": {}, "
            "\"difference_max\": {}, \"scale\": {}}}",
            comma, json_string(row.name), row.problem.empty() ? "null" : json_string(row.problem),
            d.count, d.different, json_number(d.absolute_max), json_number(d.scale));
        comma = ",";
      }
      fmt::print("\n], \"metadata\": [");
      comma = "";
      auto text = [](const std::string* value) { return value ? json_string(*value) : "null"; };
      for (const MetadataRow& row : metadata) {
        fmt::print("{}\n  {{\"key\": {}, \"a\": {}, \"b\": {}}}", comma, json_string(row.key),
                   text(row.a), text(row.b));
        comma = ",";
      }
      fmt::print("\n]}}\n");
    } else {
      TextTable table({"name", "differ", "max |a-b|", "of scale", "where", "a", "b"},
                      {false, true, true, true, false, true, true});
      bool values = false;
      for (const Row& row : rows) {
        const ValueDifference& d = row.difference;
        if (!row.problem.empty()) continue;
        values = true;
        table.add(
            {shown_name(row.name), fmt::format("{}/{}", d.different, d.count),
             number_text(d.absolute_max), d.scale > 0 ? number_text(d.absolute_max / d.scale) : "-",
             d.different ? place_text(*a.find(row.name), d.worst) : "",
             d.different ? number_text(d.worst_a) : "", d.different ? number_text(d.worst_b) : ""});
      }
      if (values) table.print();
      for (const Row& row : rows)
        if (!row.problem.empty()) fmt::print("{}: {}\n", shown_name(row.name), row.problem);
      for (const MetadataRow& row : metadata)
        fmt::print("metadata {}: {} and {}\n", quoted_name(row.key), shown_value(row.a),
                   shown_value(row.b));
      if (!rows.empty() || metadata_differs) fmt::print("\n");
      fmt::print("{} equal, {} different\n", equal, rows.size() - listed_equal);
    }
    if (differs) exit(1);
  });
}

}  // namespace sconce::cli
