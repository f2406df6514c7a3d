// sconce tensors stats: ranges, means and what is not a number.
#include "formats/safetensors/values.h"
#include "tensors/tensor_files.h"
#include "tensors/tensors.h"

namespace sconce::cli {

void add_tensors_stats(CLI::App& group) {
  auto options = std::make_shared<TensorFileOptions>();
  CLI::App* command =
      group.add_subcommand("stats", "Ranges, means, and counts of NaN, infinities and zeros");
  add_file_options(command, *options);
  add_name_option(command, *options);
  command->footer(
      "Example:\n  sconce tensors stats model.safetensors\nExit code 1 when there is a NaN or an "
      "infinity.");
  command->callback([options] {
    TensorFile file = open_or_exit(*options);
    auto tensors = chosen_tensors(file, *options);
    TextTable table({"name", "type", "values", "min", "max", "mean", "std", "zeros", "nan", "inf"},
                    {false, false, true, true, true, true, true, true, true, true});
    uint64_t nans = 0, infinities = 0, affected = 0, total = 0, done = 0;
    for (const TensorRecord* tensor : tensors) total += tensor->bytes;
    Progress progress;
    std::string json;
    for (const TensorRecord* tensor : tensors) {
      ValueStats s = compute_stats(tensor->type, file.bytes(*tensor));
      done += tensor->bytes;
      progress.show(shown_name(tensor->name), total ? double(done) / double(total) : 1);
      nans += s.nans;
      infinities += s.infinities;
      affected += s.nans + s.infinities > 0;
      bool finite = s.count > s.nans + s.infinities;
      if (options->json) {
        auto number = [&](double value) { return finite ? json_number(value) : "null"; };
        json += fmt::format(
            "{}\n  {{\"name\": {}, \"dtype\": \"{}\", \"shape\": {}, \"values\": {}, \"min\": {}, "
            "\"max\": {}, \"mean\": {}, \"std\": {}, \"zeros\": {}, \"nans\": {}, \"infinities\": "
            "{}}}",
            json.empty() ? "" : ",", json_string(tensor->name), element_name(tensor->type),
            json_shape(tensor->shape), s.count, number(s.min), number(s.max), number(s.mean),
            number(s.deviation), s.zeros, s.nans, s.infinities);
        continue;
      }
      auto number = [&](double value) { return finite ? number_text(value) : "-"; };
      auto count = [](uint64_t n) { return n ? count_text(n) : "."; };
      table.add({shown_name(tensor->name), std::string(element_name(tensor->type)),
                 count_text(s.count), number(s.min), number(s.max), number(s.mean),
                 number(s.deviation), count(s.zeros), count(s.nans), count(s.infinities)});
    }
    progress.clear();
    if (options->json) {
      fmt::print("{{\"nans\": {}, \"infinities\": {}, \"tensors\": [{}\n]}}\n", nans, infinities,
                 json);
    } else {
      table.print();
      if (affected)
        fmt::print("\n{} of {} tensors hold {} NaN and {} infinite values\n", affected,
                   tensors.size(), count_text(nans), count_text(infinities));
      else
        fmt::print("\n{} tensors, all values are finite\n", tensors.size());
    }
    if (affected) exit(1);
  });
}

}  // namespace sconce::cli
