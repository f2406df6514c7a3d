// sconce: PyTorch models, carried to every device. The subcommands are one file each.
#include <unistd.h>

#include <chrono>
#include <cstdio>

#include "cli.h"
#include "formats/checkpoint/utf8.h"
#include "formats/json/json_text.h"

namespace sconce::cli {

void exit_with(const Error& error, bool json) {
  if (json)
    fmt::print(stderr, "{{\"error\": {{\"code\": {}, \"text\": {}}}}}\n", int(error.code),
               json_string(error.text));
  else
    fmt::print(stderr, "sconce: {}\n", error.text);
  exit(int(error.code));
}

double seconds_now() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

Progress::Progress() : terminal_(isatty(2) != 0), start_(seconds_now()) {}

void Progress::show(const std::string& what, double share) {
  if (!terminal_ || seconds_now() - start_ < 1) return;
  int filled = int(share * 24 + 0.5);
  fmt::print(stderr, "\r\033[K  {}{} {:3.0f} %  {}", std::string(size_t(filled), '#'),
             std::string(size_t(24 - filled), '.'), share * 100, what);
  fflush(stderr);
  shown_ = true;
}

void Progress::clear() {
  if (shown_) fmt::print(stderr, "\r\033[K");
  shown_ = false;
}

std::string human_bytes(uint64_t bytes) {
  if (bytes < 1000) return fmt::format("{} B", bytes);
  double value = double(bytes);
  const char* unit = "";
  for (const char* u : {"kB", "MB", "GB", "TB"}) {
    value /= 1000;
    unit = u;
    if (value < 1000) break;
  }
  return fmt::format("{:.{}f} {}", value, value < 10 ? 2 : value < 100 ? 1 : 0, unit);
}

std::string json_string(std::string_view s) {
  std::string out = "\"";
  // Names of hostile files need not be UTF-8; JSON has to be.
  for (size_t bad; (bad = find_invalid_utf8(s)) < s.size(); s = s.substr(bad + 1)) {
    json::append_escaped(s.substr(0, bad), &out);
    out += "\\ufffd";
  }
  json::append_escaped(s, &out);
  return out + "\"";
}

}  // namespace sconce::cli

int main(int argc, char** argv) {
  using namespace sconce::cli;
  CLI::App app{
      "Sconce carries PyTorch models to every device: torch.export archives in (.pt2), programs "
      "for\n"
      "ExecuTorch and for its own runtime out (.pte), no Python anywhere."};
  app.require_subcommand(1);
  app.set_version_flag("--version", SCONCE_VERSION);
  app.footer(
      "Start here:\n"
      "  sconce compile model.pt2 -o model.pte\n"
      "  sconce run model.pte --inputs in.safetensors --outputs out.safetensors\n"
      "Exit codes: 0 done, 1 differs or will not run (compare, diff, check), 2 bad usage, 3 "
      "invalid "
      "argument,\n"
      "4 invalid file, 5 unsupported, 6 not found, 7 too large, 8 input/output, 9 internal.");
  add_compile(app);
  add_quantize(app);
  add_run(app);
  add_inspect(app);
  add_ops(app);
  add_compare(app);
  add_bench(app);
  add_check(app);
  add_bundle(app);
  add_extract(app);
  add_diff(app);
  add_kernels(app);
  add_tune(app);
  add_tensors(app);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& e) {
    int code = app.exit(e);
    return code == 0 ? 0 : 2;
  }
  return 0;
}
