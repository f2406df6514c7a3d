// sconce tensors convert: checkpoints of PyTorch to safetensors files, without running them.
#include <algorithm>

#include "base/file.h"
#include "formats/checkpoint/convert.h"
#include "formats/zip/zip.h"
#include "tensors/tensors.h"

namespace sconce::cli {
namespace {

struct Options {
  std::string input, output;
  bool scan = false, json = false;
  CheckpointOptions checkpoint;
  ConvertOptions convert;
};

struct Scan {
  Checkpoint checkpoint;
  ConvertPlan plan;
  std::vector<std::string> problems;  // why converting would fail, or what it would leave out
};

// Everything that can be found, also in a file that is refused.
Result<Scan> scan(Bytes file, const Options& options) {
  Scan scan;
  CheckpointOptions lenient = options.checkpoint;
  lenient.ignore_unknown = true;
  TRY(scan.checkpoint, read_checkpoint(file, lenient));
  bool is_script = scan.checkpoint.format == CheckpointFormat::script;
  for (const UnknownGlobal& unknown : scan.checkpoint.tree.unknown)
    if (!(is_script && unknown.name.starts_with("__torch__.")))
      scan.problems.push_back(fmt::format("offset {}: {} names {}, which is not on the list",
                                          unknown.offset, unknown.opcode, unknown.name));
  for (const StorageRecord& record : scan.checkpoint.storages) {
    if (!record.has_checksum || record.deflated) continue;
    ZipEntry entry{record.name, record.bytes, record.checksum, false, record.bytes.size()};
    auto done = verify_crc(entry);
    if (!done.ok()) scan.problems.push_back(done.error().text);
    release_pages(record.bytes);
  }
  ConvertOptions convert = options.convert;
  convert.skip_unsupported = true;
  auto plan = plan_conversion(scan.checkpoint, file.size(), convert);
  if (!plan.ok()) {
    scan.problems.push_back(plan.error().text);
    return scan;
  }
  scan.plan = std::move(*plan);
  for (const FoundTensor& tensor : scan.plan.tensors)
    if (!tensor.problem.empty())
      scan.problems.push_back(fmt::format("tensor \"{}\" {}", tensor.name, tensor.problem));
  return scan;
}

std::string type_text(const PickleTree& tree, const FoundTensor& found) {
  const PickleTensor& tensor = tree.tensors[found.tensor];
  return std::string(tensor.type ? tensor.type->name : "?");
}

size_t shared_count(const ConvertPlan& plan) {
  size_t count = 0;
  for (const FoundTensor& tensor : plan.tensors) count += !tensor.same_as.empty();
  return count;
}

void print_text(const Scan& scan, const Options& options) {
  const PickleTree& tree = scan.checkpoint.tree;
  fmt::print("{}: {}, pickle protocol {}, {} opcodes\n", options.input,
             format_name(scan.checkpoint.format), tree.protocol, tree.opcode_count);
  size_t width = 0;
  for (const FoundTensor& tensor : scan.plan.tensors)
    width = std::max(width, std::min<size_t>(tensor.name.size(), 60));
  if (!scan.plan.tensors.empty()) fmt::print("\nTensors\n");
  for (const FoundTensor& tensor : scan.plan.tensors) {
    const PickleTensor& found = tree.tensors[tensor.tensor];
    fmt::print("  {:{}}  {} [{}]{}{}\n", tensor.name, width, type_text(tree, tensor),
               fmt::join(found.sizes, ", "),
               tensor.same_as.empty() ? "" : "  the same as " + tensor.same_as,
               tensor.problem.empty() ? "" : "  not converted: " + tensor.problem);
  }
  if (!scan.plan.values.empty()) fmt::print("\nValues\n");
  for (const FoundValue& value : scan.plan.values)
    fmt::print("  {} = {:.100}{}\n", value.name.empty() ? "(all)" : value.name, value.text,
               value.text.size() > 100 ? "..." : "");
  if (!tree.globals.empty()) fmt::print("\nGlobals on the list\n");
  for (const auto& [name, offset] : tree.globals) fmt::print("  {:48}  offset {}\n", name, offset);
  if (!tree.unknown.empty())
    fmt::print("\n{} (nothing was run)\n", scan.checkpoint.format == CheckpointFormat::script
                                               ? "Classes of the module"
                                               : "Globals not on the list");
  for (const UnknownGlobal& unknown : tree.unknown)
    fmt::print("  {:48}  offset {}, {}, named {} times, would be called {} times\n", unknown.name,
               unknown.offset, unknown.opcode, unknown.named_count, unknown.called_count);
  if (!scan.checkpoint.unused.empty()) {
    fmt::print("\nRecords that no tensor uses\n");
    for (const std::string& name : scan.checkpoint.unused) fmt::print("  {}\n", name);
  }
  if (!scan.problems.empty()) fmt::print("\nWhy it is refused\n");
  for (const std::string& problem : scan.problems) fmt::print("  {}\n", problem);
  fmt::print("\n{}: {} tensors, {} to write, {} of them second names; {} values\n",
             scan.problems.empty() ? "Can be converted" : "Refused", scan.plan.tensors.size(),
             human_bytes(scan.plan.output_bytes), shared_count(scan.plan), scan.plan.values.size());
}

void print_json(const Scan& scan, const Options& options) {
  const PickleTree& tree = scan.checkpoint.tree;
  fmt::print(
      "{{\"file\": {}, \"format\": {}, \"protocol\": {}, \"opcodes\": {}, \"convertible\": {}",
      json_string(options.input), json_string(format_name(scan.checkpoint.format)), tree.protocol,
      tree.opcode_count, scan.problems.empty());
  auto list = [](const char* name, const auto& items, auto print) {
    fmt::print(", \"{}\": [", name);
    const char* comma = "";
    for (const auto& item : items) {
      fmt::print("{}{}", comma, print(item));
      comma = ", ";
    }
    fmt::print("]");
  };
  list("tensors", scan.plan.tensors, [&](const FoundTensor& tensor) {
    return fmt::format(
        "{{\"name\": {}, \"dtype\": {}, \"shape\": [{}], \"same_as\": {}, \"problem\": {}}}",
        json_string(tensor.name), json_string(type_text(tree, tensor)),
        fmt::join(tree.tensors[tensor.tensor].sizes, ", "), json_string(tensor.same_as),
        json_string(tensor.problem));
  });
  list("values", scan.plan.values, [](const FoundValue& value) {
    return fmt::format("{{\"name\": {}, \"value\": {}}}", json_string(value.name),
                       json_string(value.text));
  });
  list("globals", tree.globals, [](const std::pair<std::string, uint32_t>& global) {
    return fmt::format("{{\"name\": {}, \"offset\": {}}}", json_string(global.first),
                       global.second);
  });
  list("unknown", tree.unknown, [](const UnknownGlobal& unknown) {
    return fmt::format(
        "{{\"name\": {}, \"offset\": {}, \"opcode\": {}, \"named\": {}, \"called\": {}}}",
        json_string(unknown.name), unknown.offset, json_string(unknown.opcode), unknown.named_count,
        unknown.called_count);
  });
  list("unused", scan.checkpoint.unused, json_string);
  list("problems", scan.problems, json_string);
  fmt::print(", \"output_bytes\": {}}}\n", scan.plan.output_bytes);
}

void convert(Bytes file, const Options& options) {
  auto in_file = [&](auto result) {
    return value_or_exit(std::move(result).with_context(options.input), options.json);
  };
  Checkpoint checkpoint = in_file(read_checkpoint(file, options.checkpoint));
  ConvertPlan plan = in_file(plan_conversion(checkpoint, file.size(), options.convert));
  size_t left_out = size_t(std::count_if(plan.tensors.begin(), plan.tensors.end(),
                                         [](const FoundTensor& t) { return !t.problem.empty(); }));
  if (plan.tensors.size() == left_out)
    exit_with(error(Code::not_found, "{}: holds no tensors{}; look at it with --scan",
                    options.input, options.convert.arrays ? "" : " (numpy arrays need --arrays)"),
              options.json);
  Progress progress;
  auto show = [&](uint64_t done) {
    if (plan.output_bytes) progress.show(options.output, double(done) / double(plan.output_bytes));
  };
  auto done = write_conversion(checkpoint, plan, options.output, show);
  progress.clear();
  done_or_exit(std::move(done).with_context(options.input), options.json);
  size_t shared = shared_count(plan), written = plan.tensors.size() - left_out - shared;
  const auto& unknown = checkpoint.tree.unknown;
  if (options.json) {
    fmt::print(
        "{{\"output\": {}, \"tensors\": {}, \"bytes\": {}, \"shared\": {}, \"left_out\": {}, "
        "\"values\": {}, \"unknown\": {}}}\n",
        json_string(options.output), written, plan.output_bytes, shared, left_out,
        plan.values.size(), unknown.size());
    return;
  }
  fmt::print("{}: {} tensors, {}", options.output, written, human_bytes(plan.output_bytes));
  if (shared) fmt::print("; {} more names of the same tensors in the metadata", shared);
  if (!plan.values.empty())
    fmt::print("; {} values {}", plan.values.size(),
               options.convert.keep_values ? "in the metadata" : "left out (see --scan, --values)");
  fmt::print("\n");
  for (const FoundTensor& tensor : plan.tensors)
    if (!tensor.problem.empty()) fmt::print("  left out: \"{}\" {}\n", tensor.name, tensor.problem);
  if (checkpoint.format == CheckpointFormat::script) return;
  for (const UnknownGlobal& global : unknown)
    fmt::print("  not on the list, so only a placeholder: {} at offset {}\n", global.name,
               global.offset);
}

}  // namespace

void add_tensors_convert(CLI::App& group) {
  auto options = std::make_shared<Options>();
  CLI::App* command = group.add_subcommand(
      "convert", "Convert a checkpoint of torch.save to safetensors; nothing in it is run");
  command->add_option("input", options->input, "A .pt, .pth, .bin or .ckpt file")->required();
  CLI::Option* output =
      command->add_option("-o,--output", options->output, "The .safetensors file to write");
  command
      ->add_flag("--scan", options->scan,
                 "Only report what is in the file; exit code 1 when it would be refused")
      ->excludes(output);
  command->add_option("--key", options->convert.key,
                      "Only what is under this key, such as model or state_dict");
  command->add_flag("--ignore-unknown", options->checkpoint.ignore_unknown,
                    "Take the tensors of a file that names classes which are not on the list");
  command->add_flag("--arrays", options->convert.arrays, "Numpy arrays become tensors too");
  command->add_flag("--values", options->convert.keep_values,
                    "Keep numbers, texts and settings as metadata");
  command->add_flag("--repeat-shared", options->convert.repeat_shared,
                    "Write a tensor of several names under each of them");
  command->add_option("--output-limit", options->convert.output_bytes_max,
                      "Bytes of all tensors together, at most (four times the file)");
  command->add_flag("--json", options->json, "As JSON");
  command->footer(
      "Examples:\n"
      "  sconce tensors convert pytorch_model.bin -o model.safetensors\n"
      "  sconce tensors convert epoch=3.ckpt --scan\n"
      "  sconce tensors convert epoch=3.ckpt --key state_dict --ignore-unknown -o "
      "model.safetensors");
  command->callback([options] {
    MappedFile mapped = value_or_exit(map_file(options->input), options->json);
    if (options->scan) {
      Scan found =
          value_or_exit(scan(mapped.bytes(), *options).with_context(options->input), options->json);
      options->json ? print_json(found, *options) : print_text(found, *options);
      if (!found.problems.empty()) exit(1);
      return;
    }
    if (options->output.empty())
      exit_with(error(Code::invalid_argument, "where to? -o OUT.safetensors, or --scan"),
                options->json);
    options->convert.skip_unsupported = options->checkpoint.ignore_unknown;
    convert(mapped.bytes(), *options);
  });
}

}  // namespace sconce::cli
