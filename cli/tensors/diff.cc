// sconce tensors diff: what differs between two files, tensor by tensor.
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
      const TensorRecord* y = b.find(x->name);
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
              fmt::format("types {} and {}", element_name(x->type), element_name(y->type));
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
    bool metadata_differs = options->names.empty() && a.metadata() != b.metadata();
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
      if (metadata_differs) fmt::print("metadata differs (sconce tensors metadata shows it)\n");
      if (!rows.empty() || metadata_differs) fmt::print("\n");
      fmt::print("{} equal, {} different\n", equal, rows.size() - listed_equal);
    }
    if (differs) exit(1);
  });
}

}  // namespace sconce::cli
