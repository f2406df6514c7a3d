// Stock's bundles, cut short and with a bit turned: each ends in a clear error, or its contents lie
// inside the file and its program in a clear error or a sound run.
#include <gtest/gtest.h>

#include <filesystem>

#include "base/file.h"
#include "run_bundle.h"

namespace sconce {
namespace {

std::vector<uint8_t> bundle(const char* name) {
  auto file = map_file(std::string(SCONCE_SOURCE_DIR "/src/formats/bpte/testdata/") + name);
  EXPECT_TRUE(file.ok());
  return {file->bytes().begin(), file->bytes().end()};
}
const char* const kFiles[] = {"methods.bpte", "channels_last.bpte"};

TEST(HostileBpte, reads_the_bundles_as_they_are) {
  for (const char* name : kFiles) {
    std::string said;
    EXPECT_TRUE(run_bundle(bundle(name), &said)) << said;
  }
}

TEST(HostileBpte, refuses_the_files_that_lie) {
  size_t count = 0;
  for (const auto& entry :
       std::filesystem::directory_iterator(SCONCE_SOURCE_DIR "/tests/hostile/bpte")) {
    auto file = map_file(entry.path().string());
    ASSERT_TRUE(file.ok());
    std::vector<uint8_t> bytes(file->bytes().begin(), file->bytes().end());
    EXPECT_FALSE(run_bundle(bytes, nullptr)) << entry.path();
    count++;
  }
  EXPECT_GE(count, 17u);
}

TEST(HostileBpte, survives_every_truncation) {
  for (const char* name : kFiles) {
    std::vector<uint8_t> whole = bundle(name);
    for (size_t size = 0; size < whole.size(); size++) {
      // An allocation of the exact size, so that a sanitizer sees the first byte past the end.
      std::vector<uint8_t> cut(whole.begin(), whole.begin() + long(size));
      EXPECT_FALSE(run_bundle(cut, nullptr)) << name << " cut to " << size;
    }
  }
}

TEST(HostileBpte, survives_every_turned_bit) {
  for (const char* name : kFiles) {
    std::vector<uint8_t> bytes = bundle(name);
    for (size_t bit = 0; bit < bytes.size() * 8; bit++) {
      bytes[bit / 8] ^= uint8_t(1 << bit % 8);
      run_bundle(bytes, nullptr);
      bytes[bit / 8] ^= uint8_t(1 << bit % 8);
    }
  }
}

}  // namespace
}  // namespace sconce
