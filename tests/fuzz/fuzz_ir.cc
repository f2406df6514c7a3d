// Fuzz target: text of the IR. What parses is sound, and prints to a text that reads back as
// itself.
#include <cstdint>
#include <string>

#include "ir/graph.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace sconce;
  std::string text(reinterpret_cast<const char*>(data), size);
  {
    SymbolTable symbols;
    symbols.symbol("s0");
    Result<SymInt> value = symbols.parse(text);
    if (value.ok()) {
      std::string printed = symbols.print(*value);
      size_t position = 0;
      Result<SymInt> again = symbols.parse_at(printed, &position);
      CHECK(again.ok() && position == printed.size() && symbols.print(*again) == printed);
      symbols.bounds(*value);
      symbols.hint(*value);
    }
  }
  auto program = parse_program(text);
  if (!program.ok()) return 0;
  std::string once = print(**program);
  auto again = parse_program(once);
  CHECK(again.ok());
  CHECK(print(**again) == once);
  return 0;
}
