// Reads an untrusted .bpte, looks at every byte it shows, and runs the program inside. Shared by
// the hostile test and the fuzz target.
#pragma once

#include "formats/bpte/bpte.h"
#include "run_untrusted.h"

namespace sconce {

// True when the bundle was accepted. Dies when what it shows lies outside the file, when an error
// has no text, or when what was read cannot be written and read again.
inline bool run_bundle(Bytes file, std::string* said) {
  auto bundle = read_bpte(file);
  if (!bundle.ok()) {
    if (bundle.error().text.empty()) abort();
    if (said) *said = bundle.error().text;
    return false;
  }
  auto inside = [&](Bytes bytes) {
    if (bytes.empty()) return;
    if (bytes.data() < file.data() ||
        bytes.size() > size_t(file.data() + file.size() - bytes.data()))
      abort();
  };
  inside(bundle->program);
  for (const BpteSuite& suite : bundle->suites)
    for (const BpteCase& test : suite.cases)
      for (const auto* values : {&test.inputs, &test.outputs})
        for (const BpteValue& value : *values)
          if (auto* tensor = std::get_if<BpteTensor>(&value)) inside(tensor->bytes);
  auto written = write_bpte(*bundle);
  if (!written.ok() || !read_bpte(*written).ok()) abort();
  (void)run_untrusted(bundle->program, all_kernels(), 1 << 18);
  return true;
}

}  // namespace sconce
