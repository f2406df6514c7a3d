// sconce kernels: what is in a file of tile kernels; checks, times and tunes them on this machine.
#include <algorithm>
#include <map>

#include <fmt/ranges.h>

#include "base/file.h"
#include "base/output_file.h"
#include "cli.h"
#include "sconce/tile.h"
#include "tile/c/emit_c.h"

namespace sconce::cli {
namespace {

struct Options {
  std::string path, only;
  std::vector<std::string> dims;
  std::string output;
  bool check = false, bench = false, tune = false, emit_c = false, json = false;
  int threads = 1;
  double seconds = 2;
};

Result<kernels::DimSizes> read_dims(const std::vector<std::string>& texts) {
  kernels::DimSizes dims;
  for (const std::string& text : texts) {
    size_t equals = text.find('=');
    int64_t size = 0;
    char rest = 0;
    if (equals == std::string::npos || equals == 0 ||
        sscanf(text.c_str() + equals + 1, "%ld%c", &size, &rest) != 1 || size < 1)
      return error(Code::invalid_argument, "--dims {}: wanted NAME=SIZE, as in M=128", text);
    dims.emplace_back(text.substr(0, equals), size);
  }
  return dims;
}

std::string sizes_text(const kernels::Kernel& kernel, const tile::Buffer& buffer) {
  std::vector<std::string> sizes;
  for (const tile::Extent& extent : buffer.dims)
    sizes.push_back(extent.dim == tile::kNone ? std::to_string(extent.known)
                                              : kernel.dims[size_t(extent.dim)]);
  return fmt::format("{}[{}]{}", dtype_name(buffer.dtype), fmt::join(sizes, ", "),
                     buffer.is_packed() ? " packed" : "");
}

// The dims that this kernel has, of those that were given for all.
kernels::DimSizes own_dims(const kernels::Kernel& kernel, const kernels::DimSizes& all) {
  kernels::DimSizes own;
  for (const auto& dim : all)
    if (std::find(kernel.dims.begin(), kernel.dims.end(), dim.first) != kernel.dims.end())
      own.push_back(dim);
  return own;
}

std::string json_names(const std::vector<std::string>& names) {
  std::vector<std::string> quoted;
  for (const std::string& name : names) quoted.push_back(json_string(name));
  return fmt::format("{}", fmt::join(quoted, ", "));
}

// Least and middle time of a call, in microseconds.
Result<std::pair<double, double>> time_kernel(const kernels::Kernel& kernel,
                                              const kernels::DimSizes& dims,
                                              const Options& options) {
  TRY(kernels::RandomArrays arrays, kernels::random_arrays(kernel, dims));
  TRY(kernels::Runner runner, kernels::Runner::make(kernel, options.threads));
  std::vector<double> times;
  double end = seconds_now() + options.seconds;
  while (times.size() < 3 || (times.size() < 10000 && seconds_now() < end)) {
    double start = seconds_now();
    TRY_VOID(runner.run(arrays.views));
    times.push_back(1e6 * (seconds_now() - start));
  }
  times.erase(times.begin());  // makes the plan
  std::sort(times.begin(), times.end());
  return std::pair(times.front(), times[times.size() / 2]);
}

std::string schedule_text(const kernels::Kernel& kernel, const kernels::Schedule& schedule) {
  std::vector<std::string> parts;
  for (size_t a = 0; a < schedule.tile.size(); a++)
    if (schedule.tile[a])
      parts.push_back(fmt::format("{} {}", kernel.axes[a].name, schedule.tile[a]));
  if (schedule.depth) parts.push_back(fmt::format("depth {}", schedule.depth));
  return parts.empty() ? "the default" : fmt::format("{}", fmt::join(parts, ", "));
}

// C of the kernels on stdout; or in a file, with a header beside it.
void run_emit_c(const Options& options, const std::vector<kernels::Kernel>& all,
                const kernels::DimSizes& dims) {
  std::vector<tile::CKernel> chosen;
  for (const kernels::Kernel& kernel : all)
    if (options.only.empty() || kernel.name == options.only)
      chosen.push_back({&kernel, "", own_dims(kernel, dims), {}, false});
  if (chosen.empty())
    exit_with(error(Code::not_found, "{}: there is no kernel \"{}\"", options.path, options.only),
              options.json);
  tile::CText text = value_or_exit(tile::emit_c(chosen), options.json);
  if (options.output.empty()) {
    if (options.json)
      fmt::print("{{\"functions\": [{}], \"source\": {}, \"header\": {}}}\n",
                 json_names(text.functions), json_string(text.source), json_string(text.header));
    else
      fmt::print("{}", text.source);
    return;
  }
  if (!options.output.ends_with(".c"))
    exit_with(
        error(Code::invalid_argument, "-o {}: a name that ends in .c is wanted", options.output),
        options.json);
  std::string header = options.output.substr(0, options.output.size() - 1) + "h";
  auto save = [&](const std::string& path, const std::string& contents) {
    Bytes bytes(reinterpret_cast<const uint8_t*>(contents.data()), contents.size());
    if (Result<void> saved = save_file(path, std::vector<Bytes>{bytes}); !saved.ok())
      exit_with(saved.error(), options.json);
  };
  save(header, text.header);
  save(options.output, text.source);
  if (options.json)
    fmt::print("{{\"functions\": [{}], \"source\": {}, \"header\": {}}}\n",
               json_names(text.functions), json_string(options.output), json_string(header));
  else
    fmt::print("{} and {}: {}\n", options.output, header, fmt::join(text.functions, ", "));
}

void run(const Options& options) {
  MappedFile file = value_or_exit(map_file(options.path), options.json);
  std::string_view text(reinterpret_cast<const char*>(file.bytes().data()), file.bytes().size());
  std::vector<kernels::Kernel> all =
      value_or_exit(kernels::parse_kernels(text).with_context(options.path), options.json);
  kernels::DimSizes dims = value_or_exit(read_dims(options.dims), options.json);
  if (!options.output.empty() && !options.emit_c)
    exit_with(error(Code::invalid_argument, "-o is for what --emit-c writes"), options.json);
  if (options.emit_c) return run_emit_c(options, all, dims);
  Progress progress;
  std::vector<std::string> rows;
  bool found = false;
  for (size_t i = 0; i < all.size(); i++) {
    const kernels::Kernel& kernel = all[i];
    if (!options.only.empty() && kernel.name != options.only) continue;
    found = true;
    progress.show(kernel.name, double(i) / double(all.size()));
    std::vector<std::string> buffers, json_buffers;
    for (const tile::Buffer& buffer : kernel.buffers) {
      std::string type = sizes_text(kernel, buffer);
      buffers.push_back(fmt::format("{} {} {}", buffer.output ? "out" : "in", buffer.name, type));
      json_buffers.push_back(fmt::format(R"({{"name": {}, "type": {}, "output": {}}})",
                                         json_string(buffer.name), json_string(type),
                                         buffer.output));
    }
    std::string line = fmt::format("{}({})\n    {}\n", kernel.name, fmt::join(kernel.dims, ", "),
                                   fmt::join(buffers, "\n    "));
    std::string json = fmt::format(R"("name": {}, "buffers": [{}])", json_string(kernel.name),
                                   fmt::join(json_buffers, ", "));
    if (!kernel.stands_for.name.empty()) {
      line += fmt::format("    operator {}({})\n", kernel.stands_for.name,
                          fmt::join(kernel.stands_for.arguments, ", "));
      json += fmt::format(R"(, "operator": {})", json_string(kernel.stands_for.name));
    }
    kernels::DimSizes own = own_dims(kernel, dims);
    if (options.check) {
      auto check = value_or_exit(kernels::check_kernel(kernel, own), options.json);
      line += fmt::format("    the interpreter's bits in {} ways, the last: {}\n", check.ran.size(),
                          check.ran.back());
      json += fmt::format(R"(, "checked": {})", check.ran.size());
    }
    if (options.bench) {
      auto [least, middle] = value_or_exit(time_kernel(kernel, own, options), options.json);
      line += fmt::format("    {:.1f} us least, {:.1f} us median of a call\n", least, middle);
      json += fmt::format(R"(, "least_us": {:.3f}, "median_us": {:.3f})", least, middle);
    }
    if (options.tune) {
      auto tuned = value_or_exit(
          kernels::tune_kernel(kernel, own, options.threads, options.seconds), options.json);
      line += fmt::format("    tuned: {:.1f} us with {} ({:.1f} us by default; {} tried)\n",
                          tuned.best_us, schedule_text(kernel, tuned.schedule), tuned.default_us,
                          tuned.tried);
      json += fmt::format(R"(, "tuned": {{"best_us": {:.3f}, "default_us": {:.3f}, "tried": {}, )"
                          R"("tile": [{}], "depth": {}}})",
                          tuned.best_us, tuned.default_us, tuned.tried,
                          fmt::join(tuned.schedule.tile, ", "), tuned.schedule.depth);
    }
    rows.push_back(options.json ? "{" + json + "}" : line);
  }
  progress.clear();
  if (!found)
    exit_with(error(Code::not_found, "{}: there is no kernel \"{}\"", options.path, options.only),
              options.json);
  if (options.json)
    fmt::print("{{\"kernels\": [{}]}}\n", fmt::join(rows, ", "));
  else
    fmt::print("{}", fmt::join(rows, "\n"));
}

}  // namespace

void add_kernels(CLI::App& app) {
  auto options = std::make_shared<Options>();
  CLI::App* command = app.add_subcommand(
      "kernels", "What is in a file of tile kernels; check, time and tune them here");
  command->add_option("file", options->path, "Texts of kernels, as docs/tile.md has them")
      ->required();
  command->add_option("--kernel", options->only, "Only the kernel of this name");
  command->add_option("--dims", options->dims, "Sizes: M=128 K=64; kernels take those they have");
  command->add_flag(
      "--check", options->check,
      "Compare every instruction set of this machine with the interpreter, bit by bit");
  command->add_flag("--bench", options->bench, "Time calls with random contents");
  command->add_flag("--tune", options->tune, "Look for the fastest tile sizes");
  command->add_flag("--emit-c", options->emit_c,
                    "Write the kernels as C99: one function each, self-contained, for compilers of "
                    "any processor; sizes that --dims gives become constants");
  command->add_option("-o,--output", options->output,
                      "With --emit-c: FILE.c, beside which FILE.h is written; else stdout");
  command->add_option("--seconds", options->seconds, "How long to time and tune a kernel")
      ->check(CLI::Range(0.01, 600.0))
      ->capture_default_str();
  command->add_option("--threads", options->threads, "0: one for each processor")
      ->check(CLI::Range(0, 1024))
      ->capture_default_str();
  command->add_flag("--json", options->json, "One JSON object on stdout");
  command->footer(
      "Example:\n  sconce kernels softmax.tile --dims M=64 N=1000 --check --bench\n"
      "  sconce kernels softmax.tile --emit-c --dims N=1000 -o softmax.c");
  command->callback([options] { run(*options); });
}

}  // namespace sconce::cli
