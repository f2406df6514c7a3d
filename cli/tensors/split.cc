// sconce tensors split and merge: a file into shards with an index, and back.
#include <sys/stat.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>

#include "tensors/tensor_files.h"
#include "tensors/tensors.h"

namespace sconce::cli {
namespace {

// "500MB", "2GiB", "1000000".
Result<uint64_t> parse_bytes(const std::string& text) {
  char* end = nullptr;
  double value = strtod(text.c_str(), &end);
  std::string unit = end;
  struct Unit {
    const char* name;
    double bytes;
  };
  for (Unit u : {Unit{"", 1},
                 {"B", 1},
                 {"kB", 1e3},
                 {"KB", 1e3},
                 {"MB", 1e6},
                 {"GB", 1e9},
                 {"TB", 1e12},
                 {"KiB", 1024},
                 {"MiB", 1048576},
                 {"GiB", 1073741824}})
    if (end != text.c_str() && unit == u.name && std::isfinite(value) && value * u.bytes >= 1 &&
        value * u.bytes < 9e18)
      return uint64_t(value * u.bytes);
  return error(Code::invalid_argument,
               "\"{}\" is no size: wanted a number with kB, MB, GB, MiB or GiB", text);
}

struct Options : TensorFileOptions {
  std::string output, stem = "model", shard_bytes = "5GB", alignment = "8";
};

void write(const Options& options, const TensorFile& file, const std::string& folder,
           const std::string& stem, uint64_t shard_bytes) {
  // In the order of the files, so that what was near stays near and reading is sequential.
  std::vector<const TensorRecord*> tensors;
  for (const TensorRecord& tensor : file.tensors()) tensors.push_back(&tensor);
  std::sort(tensors.begin(), tensors.end(), [](const TensorRecord* a, const TensorRecord* b) {
    return a->shard != b->shard ? a->shard < b->shard : a->offset < b->offset;
  });
  std::vector<TensorSpec> specs;
  for (const TensorRecord* tensor : tensors)
    specs.push_back(
        {std::string(tensor->name), tensor->type, {tensor->shape.begin(), tensor->shape.end()}});
  Progress progress;
  uint64_t done = 0;
  TensorSource source = [&](size_t spec, const auto& append) -> Result<void> {
    Bytes bytes = file.bytes(*tensors[spec]);
    for (size_t at = 0; at < bytes.size(); at += 64 << 20) {
      Bytes piece = bytes.subspan(at, std::min<size_t>(64 << 20, bytes.size() - at));
      TRY_VOID(append(piece));
      done += piece.size();
      progress.show(shown_name(tensors[spec]->name), double(done) / double(file.data_bytes()));
    }
    return {};
  };
  ShardOptions shard_options;
  shard_options.shard_bytes_max = shard_bytes;
  shard_options.write.layout.data_alignment =
      value_or_exit(parse_bytes(options.alignment), options.json);
  std::string written = value_or_exit(
      write_shards(folder, stem, specs, source, file.metadata(), shard_options), options.json);
  progress.clear();
  size_t shards = TensorFile::open(written).ok() ? TensorFile::open(written)->shards().size() : 0;
  if (options.json)
    fmt::print("{{\"file\": {}, \"shards\": {}, \"tensors\": {}, \"bytes\": {}}}\n",
               json_string(written), shards, specs.size(), file.data_bytes());
  else
    fmt::print("{}: {} tensors, {}{}\n", written, count_text(specs.size()),
               human_bytes(file.data_bytes()),
               shards > 1 ? fmt::format(", {} shards", shards) : std::string());
}

}  // namespace

void add_tensors_split(CLI::App& group) {
  auto options = std::make_shared<Options>();
  CLI::App* command = group.add_subcommand("split", "Write a file as shards with an index");
  add_file_options(command, *options);
  command->add_option("-o,--output", options->output, "Folder for the shards, which must exist")
      ->required();
  command->add_option("--shard-size", options->shard_bytes, "Data of a shard at most")
      ->capture_default_str();
  command->add_option("--stem", options->stem, "What their names begin with")
      ->capture_default_str();
  command->add_option("--align", options->alignment, "Data starts at a multiple of this")
      ->capture_default_str();
  command->footer(
      "Example:\n  sconce tensors split model.safetensors -o shards --shard-size 500MB");
  command->callback([options] {
    uint64_t bytes = value_or_exit(parse_bytes(options->shard_bytes), options->json);
    write(*options, open_or_exit(*options), options->output, options->stem, bytes);
  });
}

void add_tensors_merge(CLI::App& group) {
  auto options = std::make_shared<Options>();
  CLI::App* command =
      group.add_subcommand("merge", "Write a set of shards as one file, in canonical form");
  add_file_options(command, *options);
  command->add_option("-o,--output", options->output, "The .safetensors to write")->required();
  command->add_option("--align", options->alignment, "Data starts at a multiple of this")
      ->capture_default_str();
  command->footer(
      "Example:\n  sconce tensors merge model.safetensors.index.json -o model.safetensors");
  command->callback([options] {
    const std::string& output = options->output;
    constexpr std::string_view kEnding = ".safetensors";
    if (!output.ends_with(kEnding))
      exit_with(
          error(Code::invalid_argument, "{}: wanted a name that ends with {}", output, kEnding),
          options->json);
    size_t slash = output.rfind('/');
    std::string folder = slash == std::string::npos ? "" : output.substr(0, slash == 0 ? 1 : slash);
    std::string stem = output.substr(slash == std::string::npos ? 0 : slash + 1);
    stem.resize(stem.size() - kEnding.size());
    write(*options, open_or_exit(*options), folder, stem, ~0ull);
  });
}

}  // namespace sconce::cli
