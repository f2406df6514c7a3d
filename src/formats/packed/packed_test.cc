#include <cmath>
#include <cstring>
#include <random>

#include <gtest/gtest.h>

#include "formats/packed/chunk.h"
#include "formats/packed/huffman.h"

namespace sconce {
namespace {

using Buffer = std::vector<uint8_t>;

// Bytes that occur with falling frequency, each `ratio` times as often as the one before.
Buffer geometric_bytes(size_t size, double ratio, int symbols, uint64_t seed) {
  std::mt19937_64 random(seed);
  std::vector<double> weights;
  for (int i = 0; i < symbols; ++i) weights.push_back(std::pow(ratio, i));
  std::discrete_distribution<int> draw(weights.begin(), weights.end());
  Buffer out(size);
  for (uint8_t& byte : out) byte = uint8_t(100 + draw(random));
  return out;
}

Buffer random_bytes_of(size_t size, uint64_t seed) {
  std::mt19937_64 random(seed);
  Buffer out(size);
  for (uint8_t& byte : out) byte = uint8_t(random());
  return out;
}

Buffer huffman_coded(const Buffer& plane) {
  Buffer coded;
  huffman_encode(plane, make_huffman_code(count_bytes(plane)), &coded);
  return coded;
}

TEST(Huffman, gives_back_what_it_was_given) {
  for (double ratio : {0.02, 0.3, 0.5, 0.62, 0.8, 0.95, 1.0})
    for (int symbols : {2, 3, 5, 40, 156})
      for (size_t size : {2u, 3u, 4u, 5u, 31u, 100u, 1000u, 4099u, 65536u}) {
        Buffer plane = geometric_bytes(size, ratio, symbols, size * 31 + size_t(symbols));
        plane[0] = 100, plane[1] = 101;  // two bytes at least
        Buffer coded = huffman_coded(plane), back(size);
        auto done = huffman_decode(coded, back);
        ASSERT_TRUE(done.ok()) << done.error().text;
        ASSERT_EQ(plane, back) << ratio << " " << symbols << " " << size;
      }
}

TEST(Huffman, limits_lengths_without_losing_a_byte) {
  ByteCounts counts;  // without a limit the rarest would have 31 bits
  for (int i = 0; i < 32; ++i) counts.of[3 * i] = uint32_t(1) << i;
  HuffmanCode code = make_huffman_code(counts);
  uint32_t filled = 0;
  for (int s = 0; s < 256; ++s) {
    EXPECT_EQ(code.bits[s] != 0, counts.of[s] != 0);
    EXPECT_LE(code.bits[s], kHuffmanBitsMax);
    if (code.bits[s]) filled += 1u << (kHuffmanBitsMax - code.bits[s]);
  }
  EXPECT_EQ(filled, 1u << kHuffmanBitsMax);
}

TEST(Huffman, comes_close_to_the_entropy) {
  Buffer plane = geometric_bytes(65536, 0.62, 40, 7);
  ByteCounts counts = count_bytes(plane);
  double bits = 0;
  for (uint32_t count : counts.of)
    if (count) bits += count * std::log2(65536.0 / count);
  // At this ratio whole bits per symbol fit worst: 3.7 % above the entropy.
  EXPECT_LT(double(huffman_coded(plane).size()), bits / 8 * 1.04 + 64);
}

TEST(Huffman, refuses_every_cut_and_every_extension) {
  Buffer plane = geometric_bytes(500, 0.6, 20, 3), coded = huffman_coded(plane), back(500);
  for (size_t size = 0; size < coded.size(); ++size)
    EXPECT_FALSE(huffman_decode(Bytes(coded).first(size), back).ok()) << size;
  coded.push_back(0);
  EXPECT_FALSE(huffman_decode(coded, back).ok());
}

TEST(Huffman, refuses_incomplete_codes_and_padding) {
  Buffer plane = geometric_bytes(64, 0.6, 4, 5), good = huffman_coded(plane), back(64);
  Buffer bad = good;
  bad[2] = 0x55;  // two codes of 5 bits, and the rest as it was
  EXPECT_NE(huffman_decode(bad, back).error().text.find("codes fill"), std::string::npos);
  bad = good;
  bad[1] = bad[0];
  EXPECT_NE(huffman_decode(bad, back).error().text.find("not two or more"), std::string::npos);
  bad = good;
  bad[bad.size() - 1] ^= 1;
  auto last = huffman_decode(bad, back);
  if (!last.ok()) {
    EXPECT_NE(last.error().text.find("stream 3"), std::string::npos);
  }
}

TEST(Huffman, survives_any_change) {
  Buffer plane = geometric_bytes(3000, 0.6, 30, 11), good = huffman_coded(plane), back(3000);
  for (size_t bit = 0; bit < 8 * good.size(); ++bit) {
    Buffer bad = good;
    bad[bit / 8] ^= uint8_t(1 << (bit % 8));
    auto done = huffman_decode(bad, back);
    if (!done.ok()) {
      EXPECT_FALSE(done.error().text.empty());
    }
  }
}

// ---- chunks ----

struct Sample {
  const char* name;
  Buffer bytes;
};

template <class T>
Buffer bytes_of(const std::vector<T>& values) {
  Buffer out(values.size() * sizeof(T));
  if (!out.empty()) memcpy(out.data(), values.data(), out.size());
  return out;
}

Buffer bf16_weights(size_t count, uint64_t seed) {
  std::mt19937_64 random(seed);
  std::normal_distribution<float> normal(0, 0.04f);
  std::vector<uint16_t> values(count);
  for (uint16_t& value : values) {
    float f = normal(random);
    uint32_t bits;
    memcpy(&bits, &f, 4);
    value = uint16_t(bits >> 16);
  }
  return bytes_of(values);
}

Buffer f32_weights(size_t count, uint64_t seed) {
  std::mt19937_64 random(seed);
  std::normal_distribution<float> normal(0, 0.04f);
  std::vector<float> values(count);
  for (float& value : values) value = normal(random);
  return bytes_of(values);
}

std::vector<Sample> samples(size_t size) {
  std::vector<Sample> out;
  out.push_back({"random", random_bytes_of(size, 1)});
  out.push_back({"zeros", Buffer(size)});
  out.push_back({"constant", Buffer(size, 0xa7)});
  Buffer ramp(size);
  for (size_t i = 0; i < size; ++i) ramp[i] = uint8_t(i / 8 >> (8 * (i % 8)));
  out.push_back({"ramp of 64-bit integers", ramp});
  Buffer nan(size);  // NaNs of both signs, each with another payload
  for (size_t i = 0; i + 4 <= size; i += 4) {
    uint32_t bits = 0x7f800001u + uint32_t(i) * 37 % 0x7ffff0 + (i % 8 ? 0x80000000u : 0);
    memcpy(&nan[i], &bits, 4);
  }
  out.push_back({"NaNs", nan});
  Buffer sparse(size);
  for (size_t i = 0; i < size; i += 97) sparse[i] = uint8_t(i * 7);
  out.push_back({"sparse", sparse});
  out.push_back({"bf16", bf16_weights(size / 2, 2)});
  out.push_back({"f32", f32_weights(size / 4, 3)});
  Buffer twice = random_bytes_of(size / 2, 4);
  twice.insert(twice.end(), twice.begin(), twice.end());
  out.push_back({"the same noise twice", twice});
  for (Sample& sample : out) sample.bytes.resize(size);
  return out;
}

constexpr ElementLayout kLayouts[] = {{1, false}, {2, false}, {2, true}, {4, false},
                                      {4, true},  {8, false}, {8, true}};

struct Packed {
  ChunkMethod method;
  Buffer bytes;
};
Packed pack(Bytes raw, ElementLayout layout) {
  ChunkPacker packer;
  Packed packed;
  packed.method = packer.pack(raw, layout, &packed.bytes);
  if (packed.method == ChunkMethod::raw) packed.bytes.assign(raw.begin(), raw.end());
  return packed;
}

TEST(Chunk, comes_back_bit_by_bit_in_every_layout) {
  ChunkUnpacker unpacker;
  for (size_t size : {size_t(0), size_t(8), size_t(24), size_t(1000), size_t(65544), kChunkBytes})
    for (const Sample& sample : samples(size))
      for (ElementLayout layout : kLayouts) {
        Buffer before = sample.bytes;
        Packed packed = pack(sample.bytes, layout);
        EXPECT_EQ(before, sample.bytes) << "the caller's bytes were changed";
        EXPECT_LE(packed.bytes.size(), size);
        Buffer back(size, 0x5a);
        auto done = unpacker.unpack(packed.method, packed.bytes, layout, back);
        ASSERT_TRUE(done.ok()) << done.error().text;
        ASSERT_EQ(sample.bytes, back)
            << sample.name << " " << size << " width " << int(layout.width);
      }
}

TEST(Chunk, packs_weights_to_their_entropy_and_noise_not_at_all) {
  double bf16 =
      double(pack(bf16_weights(kChunkBytes / 2, 9), {2, true}).bytes.size()) / kChunkBytes;
  double f32 = double(pack(f32_weights(kChunkBytes / 4, 9), {4, true}).bytes.size()) / kChunkBytes;
  EXPECT_LT(bf16, 0.68);
  EXPECT_LT(f32, 0.84);
  EXPECT_EQ(pack(random_bytes_of(kChunkBytes, 5), {4, true}).method, ChunkMethod::raw);
  EXPECT_LT(pack(Buffer(kChunkBytes), {4, true}).bytes.size(), 64u);
}

TEST(Chunk, refuses_cuts_and_survives_changes) {
  ChunkUnpacker unpacker;
  std::mt19937_64 random(13);
  for (const Sample& sample : samples(4096))
    for (ElementLayout layout : kLayouts) {
      Packed packed = pack(sample.bytes, layout);
      Buffer back(4096);
      for (size_t size = 0; size < packed.bytes.size(); size += 1 + size / 16)
        EXPECT_FALSE(
            unpacker.unpack(packed.method, Bytes(packed.bytes).first(size), layout, back).ok());
      for (int i = 0; i < 200 && !packed.bytes.empty(); ++i) {
        Packed bad = packed;
        for (int n = 0; n < 1 + i % 3; ++n)
          bad.bytes[random() % std::min<size_t>(bad.bytes.size(), i % 2 ? 48 : 1 << 20)] ^=
              uint8_t(1 << random() % 8);
        (void)unpacker.unpack(bad.method, bad.bytes, layout, back).ok();
        (void)unpacker.unpack(ChunkMethod(i % 4), bad.bytes, layout, back).ok();
      }
    }
}

TEST(Chunk, says_what_is_wrong_and_where) {
  Buffer raw = bf16_weights(2048, 21);
  Packed packed = pack(raw, {2, true});
  ASSERT_EQ(packed.method, ChunkMethod::planes);
  ChunkUnpacker unpacker;
  Buffer back(raw.size());
  auto text = [&](ChunkMethod method, Bytes bytes) {
    auto done = unpacker.unpack(method, bytes, {2, true}, back);
    return done.ok() ? std::string("accepted") : done.error().text;
  };
  EXPECT_EQ(text(ChunkMethod::raw, Bytes(raw).first(5)), "5 bytes stored raw, 4096 wanted");
  EXPECT_EQ(text(ChunkMethod(9), raw), "chunk method 9 is none of 0 to 2");
  Buffer bad = packed.bytes;
  bad[3] = 7;
  EXPECT_EQ(text(ChunkMethod::planes, bad), "plane 0: method 7 is none of 0 to 3");
  bad = packed.bytes;
  bad[2] = 0xff;
  EXPECT_NE(text(ChunkMethod::planes, bad).find("exceed the"), std::string::npos);
  bad = packed.bytes;
  bad.push_back(0);
  EXPECT_EQ(text(ChunkMethod::planes, bad), "1 bytes follow the last plane");
}

}  // namespace
}  // namespace sconce
