// sconce tensors check: is each file well formed?
#include "tensors/tensor_files.h"
#include "tensors/tensors.h"

namespace sconce::cli {

void add_tensors_check(CLI::App& group) {
  struct Options {
    std::vector<std::string> files;
    TensorFileOptions file;
  };
  auto options = std::make_shared<Options>();
  CLI::App* command = group.add_subcommand(
      "check", "Check files, and sets with their index; exit code 4 when one is broken");
  command
      ->add_option("files", options->files,
                   "Each a .safetensors, a .safetensors.index.json, or a folder that holds one")
      ->required();
  command
      ->add_option("--accept", options->file.accept,
                   "strict: the specification to the letter; standard; reference: all that the "
                   "package safetensors takes")
      ->check(CLI::IsMember({"strict", "standard", "reference"}))
      ->capture_default_str();
  command->add_flag("--json", options->file.json, "As JSON");
  command->footer("Example:\n  sconce tensors check --accept strict *.safetensors");
  command->callback([options] {
    int worst = 0;
    std::string json;
    for (const std::string& path : options->files) {
      auto file = TensorFile::open(path, open_options(options->file));
      if (!file.ok() && worst == 0) worst = int(file.error().code);
      if (options->file.json) {
        json += fmt::format("{}\n  {{\"file\": {}, \"ok\": {}", json.empty() ? "" : ",",
                            json_string(path), file.ok());
        if (file.ok())
          json += fmt::format(", \"tensors\": {}, \"bytes\": {}, \"warnings\": {}}}",
                              file->tensors().size(), file->data_bytes(), file->warnings().size());
        else
          json += fmt::format(", \"code\": {}, \"error\": {}}}", int(file.error().code),
                              json_string(file.error().text));
        continue;
      }
      if (!file.ok()) {
        fmt::print("BROKEN  {}\n", file.error().text);
        continue;
      }
      fmt::print("ok      {}: {} tensors, {}", path, count_text(file->tensors().size()),
                 human_bytes(file->data_bytes()));
      if (file->has_index()) fmt::print(", {} shards", file->shards().size());
      fmt::print("\n");
      for (const std::string& warning : file->warnings()) fmt::print("warning {}\n", warning);
    }
    if (options->file.json) fmt::print("[{}\n]\n", json);
    if (worst) exit(worst);
  });
}

}  // namespace sconce::cli
