// Stock's payloads, whole, cut short, with a bit turned and with lies told in them: each ends in a
// clear error or a sound run.
#include <gtest/gtest.h>

#include <filesystem>
#include <functional>

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

constexpr char kSound[] = SCONCE_SOURCE_DIR "/tests/fuzz/corpus/xnnpack";
// Named for their lies.
constexpr char kLying[] = SCONCE_SOURCE_DIR "/tests/hostile/xnnpack";

std::vector<Payload> payloads(const char* folder) {
  std::vector<Payload> all;
  for (const auto& entry : std::filesystem::directory_iterator(folder)) {
    auto file = map_file(entry.path().string());
    if (!file.ok()) continue;
    Bytes bytes = file->bytes();
    all.push_back({entry.path().filename().string(), {bytes.begin(), bytes.end()}});
  }
  return all;
}

TEST(HostileXnnpack, runs_the_payloads_as_they_are) {
  size_t count = 0;
  for (const Payload& payload : payloads(kSound)) {
    std::string said;
    EXPECT_EQ(run_payload(payload.bytes, kNamedSize, kBytesMax, &said), PayloadEnd::ran)
        << payload.name << ": " << said;
    count++;
  }
  EXPECT_GE(count, 20u);
}

TEST(HostileXnnpack, refuses_the_files_that_lie) {
  size_t count = 0;
  for (const Payload& payload : payloads(kLying)) {
    std::string said;
    EXPECT_NE(run_payload(payload.bytes, kNamedSize, kBytesMax, &said), PayloadEnd::ran)
        << payload.name;
    EXPECT_NE(said.find("node "), std::string::npos) << payload.name << ": " << said;
    count++;
  }
  EXPECT_GE(count, 1u);
}

struct Lie {
  const char* what;
  const char* payload;  // in the corpus
  const char* said;     // part of the error
  std::function<void(XnnGraph&)> tell;
};

// What the reader lets through, since only shapes and types tell; its own lies are in its tests.
const Lie kLies[] = {
    {"no node writes the output", "linear", "output %5 is never written",
     [](XnnGraph& g) { g.nodes.pop_back(); }},
    {"a node reads what a later one writes", "linear", "node 0 (fully_connected): value %3",
     [](XnnGraph& g) { std::swap(g.nodes[0], g.nodes[1]); }},
    {"two nodes write one value", "linear", "node 1 (fully_connected): value %3",
     [](XnnGraph& g) { g.nodes[1].outputs = g.nodes[0].outputs; }},
    {"a node writes a constant", "linear", "node 0 (fully_connected): value %1",
     [](XnnGraph& g) { g.nodes[0].outputs = {1}; }},
    {"a filter larger than its constant", "linear", "value %1: its constant has 1024 bytes",
     [](XnnGraph& g) {
       g.values[1].dims = {300, 5};
     }},
    {"a filter of other rows than the input", "linear", "input [2, 5] by filter [7, 4]",
     [](XnnGraph& g) {
       g.values[1].dims = {7, 4};
     }},
    {"a bias of too few channels", "linear", "bias of 6 numbers for 7 channels",
     [](XnnGraph& g) { g.values[2].dims = {6}; }},
    {"an image of rank 2", "conv", "node 1 (conv2d): input of rank 3, want 4",
     [](XnnGraph& g) {
       g.nodes[0].first = {0, 1, 2};
       g.values[0].dims = {3, 9, 8};
     }},
    {"a stride of zero", "conv", "node 1 (conv2d): window of kernel",
     [](XnnGraph& g) { g.nodes[1].window.stride[0] = 0; }},
    {"a dilation beyond counting", "conv", "node 2 (depthwise_conv2d): window of kernel",
     [](XnnGraph& g) { g.nodes[2].window.dilation[1] = 0xffffffff; }},
    {"padding beyond counting", "conv", "node 1 (conv2d): window of kernel",
     [](XnnGraph& g) { g.nodes[1].window.padding_left = 0xffffffff; }},
    {"groups that do not make the channels", "conv", "node 3 (conv2d): 5 groups of 2 to 3",
     [](XnnGraph& g) { g.nodes[3].window.groups = 5; }},
    {"channels whose count wraps", "conv", "node 3 (conv2d): 2147483650 groups of 2 to 3",
     [](XnnGraph& g) { g.nodes[3].window.groups = 0x80000002; }},
    {"a slice of other rank", "moves", "node 5 (slice)",
     [](XnnGraph& g) { g.nodes[5].first.pop_back(), g.nodes[5].second.pop_back(); }},
    {"another count of elements", "moves", "node 1 (reshape): [4, 10] cannot become [2, 4, 6]",
     [](XnnGraph& g) { g.nodes[1].first[2] = 6; }},
    {"two sizes to be found", "moves", "node 1 (reshape): dimensions 0 and 2 are both",
     [](XnnGraph& g) {
       g.nodes[1].first = {0, 4, 0};
     }},
    {"an axis past the rank", "moves", "node 4 (concatenate3): axis 9 of rank 3",
     [](XnnGraph& g) { g.nodes[4].axis = 9; }},
    {"padding past all memory", "moves", "node 7 (pad)",
     [](XnnGraph& g) { g.nodes[7].second[2] = 0x7fffffff; }},
    {"matrices that do not meet", "bmm", "node 0 (batch_matmul): [3, 2, 4] by [3, 5, 5]",
     [](XnnGraph& g) {
       g.values[2].dims = {3, 5, 5};
     }},
    {"a type that only XNNPACK lays out", "bmm", "value %0: pf32 lies in memory",
     [](XnnGraph& g) { g.values[0].dtype = XnnDType::pf32; }},
};

TEST(HostileXnnpack, refuses_every_lie_and_names_its_place) {
  std::vector<Payload> sound = payloads(kSound);
  for (const Lie& lie : kLies) {
    SCOPED_TRACE(lie.what);
    auto payload = std::find_if(sound.begin(), sound.end(),
                                [&](const Payload& p) { return p.name == lie.payload; });
    ASSERT_NE(payload, sound.end());
    auto graph = read_xnnpack(payload->bytes);
    ASSERT_TRUE(graph.ok());
    lie.tell(*graph);
    std::string said;
    EXPECT_NE(run_payload(write_xnnpack(*graph), kNamedSize, kBytesMax, &said), PayloadEnd::ran);
    EXPECT_NE(said.find(lie.said), std::string::npos) << said;
  }
}

TEST(HostileXnnpack, survives_every_truncation) {
  for (const Payload& payload : payloads(kSound))
    for (size_t size = 0; size < payload.bytes.size(); size++) {
      // An allocation of the exact size, so that a sanitizer sees the first byte past the end.
      std::vector<uint8_t> cut(payload.bytes.begin(), payload.bytes.begin() + long(size));
      run_payload(cut, kNamedSize, kBytesMax, nullptr);
    }
}

TEST(HostileXnnpack, survives_every_turned_bit) {
  for (const Payload& payload : payloads(kSound)) {
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
