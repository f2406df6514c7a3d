// .etdp profiles (ETDump): what stock's Inspector reads. Layout, names and source: format.md.
#pragma once

#include <string>
#include <vector>

#include "base/result.h"
#include "base/span.h"

namespace sconce {

struct EtdumpEvent {
  std::string name;           // empty: a step of a delegate,
  std::string delegate_name;  // which has this one
  std::string metadata;       // of a step; may be empty
  int32_t chain = -1, instruction = 0;
  uint64_t start_ns = 0, end_ns = 0;
};

struct EtdumpRun {
  std::string name;  // "Default", "Execute"
  std::vector<EtdumpEvent> events;
};

// The bytes of a file. Refuses more than a flatbuffer can hold (2 GiB).
Result<std::vector<uint8_t>> write_etdump(Span<const EtdumpRun> runs);

}  // namespace sconce
