// Stock's payloads, cut short and with a bit turned: each ends in a clear error or a sound run.
#include <gtest/gtest.h>

#include <filesystem>

#include "base/file.h"
#include "run_payload.h"

namespace sconce {
namespace {

constexpr size_t kNamedSize = 1024;
constexpr uint64_t kBytesMax = 1 << 16;

struct Payload {
  std::string name;
  std::vector<uint8_t> bytes;
};

std::vector<Payload> corpus() {
  std::vector<Payload> all;
  for (const auto& entry :
       std::filesystem::directory_iterator(SCONCE_SOURCE_DIR "/tests/fuzz/corpus/xnnpack")) {
    auto file = map_file(entry.path().string());
    if (!file.ok()) continue;
    Bytes bytes = file->bytes();
    all.push_back({entry.path().filename().string(), {bytes.begin(), bytes.end()}});
  }
  return all;
}

TEST(HostileXnnpack, runs_the_payloads_as_they_are) {
  size_t count = 0;
  for (const Payload& payload : corpus()) {
    std::string said;
    EXPECT_EQ(run_payload(payload.bytes, kNamedSize, kBytesMax, &said), PayloadEnd::ran)
        << payload.name << ": " << said;
    count++;
  }
  EXPECT_GE(count, 20u);
}

TEST(HostileXnnpack, survives_every_truncation) {
  for (const Payload& payload : corpus())
    for (size_t size = 0; size < payload.bytes.size(); size++) {
      // An allocation of the exact size, so that a sanitizer sees the first byte past the end.
      std::vector<uint8_t> cut(payload.bytes.begin(), payload.bytes.begin() + long(size));
      run_payload(cut, kNamedSize, kBytesMax, nullptr);
    }
}

TEST(HostileXnnpack, survives_every_turned_bit) {
  for (const Payload& payload : corpus()) {
    if (payload.bytes.size() > 1000) continue;  // the fuzz target's share
    std::vector<uint8_t> bytes = payload.bytes;
    for (size_t bit = 0; bit < bytes.size() * 8; bit++) {
      bytes[bit / 8] ^= uint8_t(1 << bit % 8);
      run_payload(bytes, kNamedSize, kBytesMax, nullptr);
      bytes[bit / 8] ^= uint8_t(1 << bit % 8);
    }
  }
}

}  // namespace
}  // namespace sconce
