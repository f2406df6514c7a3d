// Files of stock's XNNPACK partitioner on our delegate: the answers of stock's own runtime.
#include <gtest/gtest.h>

#include "runtime/stock_cases.h"

namespace sconce {
namespace {

const std::string kFolder = SCONCE_SOURCE_DIR "/src/targets/xnnpack/run/testdata/";

// Largest difference from stock, relative to 1 + the value. XNNPACK's vector kernels add in another
// order and approximate functions; on 16-bit floats they round in between. One step of a quantised
// output where XNNPACK's vector kernels multiply with fewer bits than its reference.
double tolerance_of(const std::string& name) {
  if (name.starts_with("half")) return 2e-3;
  if (name.starts_with("brain")) return 1e-2;
  return 1e-5;
}

TEST(XnnpackRun, gives_stocks_answers_to_stocks_files) {
  int compared = 0;
  for (const auto& [key, calls] : read_cases((kFolder + "cases.txt").c_str())) {
    SCOPED_TRACE(key.first);
    compared +=
        expect_answers(kFolder + key.first + ".pte", key.second, calls, tolerance_of(key.first));
  }
  EXPECT_GE(compared, 50);
}

}  // namespace
}  // namespace sconce
