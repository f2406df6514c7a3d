#include "formats/container/container.h"

#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <random>

#include <gtest/gtest.h>

#include "base/file.h"
#include "formats/container/in_order.h"
#include "formats/safetensors/writer.h"

namespace sconce {
namespace {

using Buffer = std::vector<uint8_t>;

std::string scratch(const std::string& name) {
  return testing::TempDir() + "/" + std::to_string(getpid()) + "." +
         testing::UnitTest::GetInstance()->current_test_info()->name() + "." + name;
}

Buffer contents(const std::string& path) {
  auto file = map_file(path);
  EXPECT_TRUE(file.ok()) << path;
  return file.ok() ? Buffer(file->bytes().begin(), file->bytes().end()) : Buffer();
}

void put_file(const std::string& path, Bytes bytes) { ASSERT_TRUE(save_file(path, bytes).ok()); }

// A safetensors file of these tensors. What is in a tensor depends on its place: weights, noise,
// zeros, small numbers.
Buffer source_file(const std::vector<TensorSpec>& specs,
                   Span<const std::pair<std::string, std::string>> metadata = {}) {
  auto layout = plan_layout(specs, metadata);
  EXPECT_TRUE(layout.ok()) << layout.error().text;
  Buffer file(layout->head.begin(), layout->head.end());
  std::mt19937_64 random(42);
  std::normal_distribution<float> normal(0, 0.05f);
  for (const PlacedSpec& placed : layout->tensors) {
    size_t begin = file.size(), bytes = placed.end - placed.begin;
    file.resize(begin + bytes);
    for (size_t i = 0; i < bytes; ++i) {
      switch (placed.spec % 4) {
        case 0: {
          float value = normal(random);
          memcpy(&file[begin + i / 4 * 4], &value, std::min<size_t>(4, bytes - i / 4 * 4));
          i += 3;
          break;
        }
        case 1: file[begin + i] = uint8_t(random()); break;
        case 2: file[begin + i] = 0; break;
        case 3: file[begin + i] = i % 8 ? 0 : uint8_t(random() % 5); break;
      }
    }
  }
  return file;
}

// One tensor of each element type, some longer than a chunk, some empty, a scalar.
std::vector<TensorSpec> all_types() {
  std::vector<TensorSpec> specs;
  for (size_t t = 0; t < std::size(kElementTypes); ++t) {
    std::string name(kElementTypes[t].name);
    specs.push_back({name + ".long", ElementType(t), {3, 40, 1 + t % 3 * 601, 4}});
    specs.push_back({name + ".short", ElementType(t), {8}});
    specs.push_back({name + ".none", ElementType(t), {4, 0, 2}});
    if (kElementTypes[t].bits % 8 == 0) specs.push_back({name + ".one", ElementType(t), {}});
  }
  return specs;
}

const std::vector<std::pair<std::string, std::string>> kMetadata = {{"format", "pt"}, {"x", "\n"}};

Recipients cheap(std::vector<PublicKey> keys, std::vector<std::string> passphrases = {}) {
  Recipients out{std::move(keys), {}, kPassphraseCostMin};
  for (std::string& passphrase : passphrases) out.passphrases.emplace_back(std::move(passphrase));
  return out;
}

struct Someone {
  SecretKey secret = *random_key();
  PublicKey key = *x25519_public_key(secret);
  Identities identity() const { return {{secret}, {}}; }
};

struct Kind {
  const char* name;
  bool pack, seal, hide;
  Cipher cipher;
};
constexpr Kind kKinds[] = {
    {"packed", true, false, false, Cipher::aes256_gcm},
    {"sealed", false, true, false, Cipher::aes256_gcm},
    {"packed and sealed", true, true, false, Cipher::chacha20_poly1305},
    {"packed, sealed, hidden", true, true, true, Cipher::aes256_gcm},
    {"sealed, hidden", false, true, true, Cipher::chacha20_poly1305},
};

Result<ContainerSummary> write(Bytes source, const std::string& path, const Kind& kind,
                               const Someone& someone, int threads = 1) {
  WriteContainerOptions options;
  options.pack = kind.pack;
  if (kind.seal) options.recipients = cheap({someone.key});
  options.hide_names = kind.hide;
  options.cipher = kind.cipher;
  options.threads = threads;
  return write_container(source, path, options);
}

Result<Container> open(Bytes file, const Kind& kind, const Someone& someone) {
  Identities identity = someone.identity();
  return Container::open(file, kind.seal ? &identity : nullptr);
}

TEST(Container, gives_back_the_same_file_in_every_kind_and_number_of_threads) {
  Someone someone;
  Buffer source = source_file(all_types(), kMetadata), before = source;
  std::string path = scratch("c"), back = scratch("b");
  for (const Kind& kind : kKinds) {
    Buffer one_thread;
    for (int threads : {1, 2, 3, 4}) {
      auto written = write(source, path, kind, someone, threads);
      ASSERT_TRUE(written.ok()) << written.error().text;
      Buffer file = contents(path);
      EXPECT_EQ(written->file_bytes, file.size());
      if (!kind.seal) {
        if (one_thread.empty()) one_thread = file;
        EXPECT_EQ(file, one_thread) << "threads change the file";
      }
      auto container = open(file, kind, someone);
      ASSERT_TRUE(container.ok()) << kind.name << ": " << container.error().text;
      auto restored = container->restore(back, {threads});
      ASSERT_TRUE(restored.ok()) << kind.name << ": " << restored.error().text;
      EXPECT_EQ(contents(back), source) << kind.name;
    }
  }
  EXPECT_EQ(source, before) << "the source was changed";
}

TEST(Container, is_a_valid_safetensors_file_of_bytes) {
  Someone someone;
  Buffer source = source_file(all_types(), kMetadata);
  for (const Kind& kind : kKinds) {
    ASSERT_TRUE(write(source, scratch("c"), kind, someone).ok());
    Buffer file = contents(scratch("c"));
    auto header = parse_header(file, file.size(), AcceptMode::strict);
    ASSERT_TRUE(header.ok()) << header.error().text;
    EXPECT_EQ(header->tensors().size(), kind.seal ? 3u : 2u);
    for (const TensorInfo& info : header->tensors()) EXPECT_EQ(info.type, ElementType::u8);
    bool visible = std::search(file.begin(), file.end(), std::begin("F8_E8M0.long"),
                               std::end("F8_E8M0.long") - 1) != file.end();
    if (kind.hide) {
      EXPECT_FALSE(visible);
    }
  }
}

TEST(Container, reads_any_part_of_a_tensor_by_itself) {
  Someone someone;
  Buffer source = source_file({{"w", ElementType::bf16, {700, 1000}},
                               {"noise", ElementType::u8, {700001}},
                               {"empty", ElementType::f32, {0}}});
  auto header = parse_header(source, source.size());
  std::mt19937_64 random(3);
  for (const Kind& kind : kKinds) {
    ASSERT_TRUE(write(source, scratch("c"), kind, someone).ok());
    Buffer file = contents(scratch("c"));
    auto container = open(file, kind, someone);
    ASSERT_TRUE(container.ok());
    for (int i = 0; i < 60; ++i) {
      size_t tensor = random() % 3;
      const TensorInfo& info = container->header().tensors()[tensor];
      uint64_t from = random() % (info.bytes() + 1);
      uint64_t size =
          i % 2 ? std::min<uint64_t>(random() % 300, info.bytes() - from) : info.bytes() - from;
      Buffer out(size);
      auto done = container->read(tensor, from, out, 1 + i % 4);
      ASSERT_TRUE(done.ok()) << done.error().text;
      const uint8_t* wanted =
          source.data() + header->data_offset() + header->tensors()[tensor].begin + from;
      EXPECT_TRUE(std::equal(out.begin(), out.end(), wanted));
    }
    Buffer out(10);
    EXPECT_EQ(container->read(0, container->header().tensors()[0].bytes() - 9, out).error().code,
              Code::invalid_argument);
    EXPECT_EQ(container->read(9, 0, out).error().code, Code::not_found);
  }
}

TEST(Container, holds_files_without_tensors_and_containers) {
  Someone someone;
  Buffer empty = source_file({});
  for (const Kind& kind : kKinds) {
    ASSERT_TRUE(write(empty, scratch("c"), kind, someone).ok());
    Buffer file = contents(scratch("c"));
    ASSERT_TRUE(write(file, scratch("outer"), kKinds[3], someone).ok());
    Buffer outer = contents(scratch("outer"));
    ASSERT_TRUE(open(outer, kKinds[3], someone)->restore(scratch("inner"), {}).ok());
    EXPECT_EQ(contents(scratch("inner")), file);
    ASSERT_TRUE(open(file, kind, someone)->restore(scratch("empty"), {}).ok());
    EXPECT_EQ(contents(scratch("empty")), empty);
  }
}

TEST(Container, hands_every_byte_of_the_file_to_the_tee) {
  Someone someone;
  Buffer source = source_file(all_types());
  for (const Kind& kind : kKinds) {
    Buffer seen;
    WriteContainerOptions options;
    options.pack = kind.pack;
    if (kind.seal) options.recipients = cheap({someone.key});
    options.tee = [&](Bytes bytes) { seen.insert(seen.end(), bytes.begin(), bytes.end()); };
    ASSERT_TRUE(write_container(source, scratch("c"), options).ok());
    EXPECT_EQ(seen, contents(scratch("c")));
  }
}

// Whether everything about a file is as it was written.
Result<void> check(Bytes file, const Kind& kind, const Someone& someone) {
  TRY(Container container, open(file, kind, someone));
  auto checked = container.check({1});
  if (!checked.ok()) return std::move(checked.error());
  return {};
}

TEST(Container, notices_a_flipped_bit_in_every_byte) {
  Someone someone;
  Buffer source = source_file({{"weight", ElementType::f32, {200}},
                               {"bias", ElementType::bf16, {33}},
                               {"zero", ElementType::i64, {20}},
                               {"count", ElementType::i64, {}}},
                              kMetadata);
  for (const Kind& kind : kKinds) {
    ASSERT_TRUE(write(source, scratch("c"), kind, someone).ok());
    Buffer file = contents(scratch("c"));
    ASSERT_TRUE(check(file, kind, someone).ok());
    for (size_t byte = 0; byte < file.size(); ++byte) {
      // One bit of each byte of the head, elsewhere two.
      for (int i = 0; i < (byte < kContainerHeadBytes ? 1 : 2); ++i) {
        int flipped = int(byte + size_t(i) * 3) % 8;
        file[byte] ^= uint8_t(1 << flipped);
        auto result = check(file, kind, someone);
        EXPECT_FALSE(result.ok()) << kind.name << ": byte " << byte << " bit " << flipped;
        if (!result.ok()) {
          EXPECT_FALSE(result.error().text.empty());
        }
        file[byte] ^= uint8_t(1 << flipped);
      }
    }
    for (size_t size = 0; size < file.size(); size += 1 + size / 64)
      EXPECT_FALSE(check(Bytes(file).first(size), kind, someone).ok()) << size;
    Buffer longer = file;
    longer.push_back(0);
    EXPECT_FALSE(check(longer, kind, someone).ok());
  }
}

TEST(Container, names_the_place_of_a_change) {
  Someone someone;
  Buffer source = source_file({{"a", ElementType::u8, {10}}, {"noise", ElementType::u8, {900000}}});
  for (const Kind& kind : kKinds) {
    ASSERT_TRUE(write(source, scratch("c"), kind, someone).ok());
    Buffer file = contents(scratch("c"));
    auto container = open(file, kind, someone);
    file[kContainerHeadBytes + container->stored_bytes(0) + kChunkBytes + 1000] ^= 1;
    auto result = check(file, kind, someone);
    ASSERT_FALSE(result.ok());
    EXPECT_NE(result.error().text.find("tensor \"noise\": chunk 1 of 4"), std::string::npos)
        << result.error().text;
    // What does not touch the change can still be read, what does is wiped.
    Buffer out(kChunkBytes, 0x77);
    EXPECT_TRUE(open(file, kind, someone)->read(1, 0, out).ok());
    EXPECT_FALSE(open(file, kind, someone)->read(1, 100, out).ok());
    EXPECT_EQ(out, Buffer(kChunkBytes));
    // A file that is there stays.
    put_file(scratch("b"), Buffer{1, 2, 3});
    EXPECT_FALSE(open(file, kind, someone)->restore(scratch("b"), {2}).ok());
    EXPECT_EQ(contents(scratch("b")), (Buffer{1, 2, 3}));
  }
}

// Chunks of the same size, keys of the same person: only their place tells them apart.
TEST(Sealed, notices_chunks_that_were_moved) {
  Someone someone;
  std::vector<TensorSpec> specs = {{"a", ElementType::u8, {3 * kChunkBytes}},
                                   {"b", ElementType::u8, {3 * kChunkBytes}}};
  Buffer source = source_file(specs);
  const Kind& kind = kKinds[1];
  ASSERT_TRUE(write(source, scratch("c"), kind, someone).ok());
  ASSERT_TRUE(write(source, scratch("d"), kind, someone).ok());
  Buffer first = contents(scratch("c")), second = contents(scratch("d"));
  size_t each = kChunkBytes + kTagBytes, at = kContainerHeadBytes;
  auto spliced = [&](const Buffer& from, size_t source_chunk, size_t chunk) {
    Buffer out = first;
    std::copy_n(from.begin() + ptrdiff_t(at + source_chunk * each), each,
                out.begin() + ptrdiff_t(at + chunk * each));
    return check(out, kind, someone);
  };
  EXPECT_TRUE(spliced(first, 1, 1).ok());
  EXPECT_FALSE(spliced(first, 0, 1).ok()) << "within a tensor";
  EXPECT_FALSE(spliced(first, 1, 4).ok()) << "between tensors";
  EXPECT_FALSE(spliced(second, 1, 1).ok()) << "between files";
  // Index or envelope of another file.
  auto header = parse_header(first, first.size());
  for (std::string_view name : {kIndexName, kEnvelopeName}) {
    const TensorInfo* info = header->find(name);
    Buffer out = first;
    std::copy_n(second.begin() + ptrdiff_t(header->data_offset() + info->begin), info->bytes(),
                out.begin() + ptrdiff_t(header->data_offset() + info->begin));
    EXPECT_FALSE(check(out, kind, someone).ok()) << name;
  }
}

TEST(Sealed, is_not_to_be_passed_off_as_something_else) {
  Someone someone;
  Buffer source = source_file({{"a", ElementType::f32, {1000}}});
  ASSERT_TRUE(write(source, scratch("packed"), kKinds[0], someone).ok());
  ASSERT_TRUE(write(source, scratch("sealed"), kKinds[2], someone).ok());
  Buffer packed = contents(scratch("packed")), sealed = contents(scratch("sealed"));
  Identities identity = someone.identity();
  EXPECT_NE(Container::open(packed, &identity).error().text.find("is not sealed"),
            std::string::npos);
  EXPECT_NE(Container::open(sealed).error().text.find("is sealed"), std::string::npos);
  EXPECT_NE(Container::open(source).error().text.find("not a packed or sealed file"),
            std::string::npos);
  Someone other;
  identity = other.identity();
  EXPECT_EQ(Container::open(sealed, &identity).error().code, Code::invalid_argument);
}

// A sealed file whose index, in clear, names another element type or shape of the same size.
TEST(Sealed, binds_names_types_and_shapes) {
  Someone someone;
  std::vector<std::vector<TensorSpec>> lies = {{{"v", ElementType::f32, {6, 4}}},
                                               {{"w", ElementType::i32, {6, 4}}},
                                               {{"w", ElementType::f32, {4, 6}}}};
  for (const auto& lie : lies) {
    Buffer truth = source_file({{"w", ElementType::f32, {6, 4}}}), other = source_file(lie);
    ASSERT_EQ(truth.size(), other.size());
    ASSERT_TRUE(write(truth, scratch("c"), kKinds[1], someone).ok());
    ASSERT_TRUE(write(other, scratch("d"), kKinds[1], someone).ok());
    Buffer file = contents(scratch("c")), forged = contents(scratch("d"));
    auto header = parse_header(file, file.size());
    auto forged_header = parse_header(forged, forged.size());
    // The whole index but its tag.
    size_t from = header->data_offset() + forged_header->find(kIndexName)->begin;
    size_t to = header->data_offset() + header->find(kIndexName)->begin;
    size_t size = forged_header->find(kIndexName)->bytes() - kTagBytes;
    if (header->find(kIndexName)->bytes() != size + kTagBytes) continue;
    std::copy_n(forged.begin() + ptrdiff_t(from), size, file.begin() + ptrdiff_t(to));
    auto result = check(file, kKinds[1], someone);
    ASSERT_FALSE(result.ok());
    EXPECT_NE(result.error().text.find("index was changed"), std::string::npos);
  }
}

TEST(Sealed, changes_recipients_and_keeps_the_data) {
  Someone a, b;
  Buffer source = source_file(all_types(), kMetadata);
  WriteContainerOptions options;
  options.recipients = cheap({a.key}, {"pass"});
  ASSERT_TRUE(write_container(source, scratch("c"), options).ok());
  RotateOptions rotate;
  rotate.add = cheap({b.key});
  rotate.remove_keys = {a.key};
  rotate.remove_passphrases = true;
  Identities passphrase{{}, {SecretText("pass")}};
  auto done = rotate_container(scratch("c"), scratch("c"), passphrase, rotate);
  ASSERT_TRUE(done.ok()) << done.error().text;
  EXPECT_EQ(done->keys, 1u);
  EXPECT_EQ(done->passphrases, 0u);
  Buffer file = contents(scratch("c"));
  Identities as_a = a.identity(), as_b = b.identity();
  EXPECT_FALSE(Container::open(file, &as_a).ok());
  EXPECT_FALSE(Container::open(file, &passphrase).ok());
  auto container = Container::open(file, &as_b);
  ASSERT_TRUE(container.ok()) << container.error().text;
  ASSERT_TRUE(container->restore(scratch("b"), {}).ok());
  EXPECT_EQ(contents(scratch("b")), source);
  // A changed file gets no new recipients, and the last recipient stays.
  file[file.size() - 1] ^= 1;
  put_file(scratch("bad"), file);
  EXPECT_FALSE(rotate_container(scratch("bad"), scratch("out"), as_b, {}).ok());
  EXPECT_NE(access(scratch("out").c_str(), F_OK), 0);
  rotate = {};
  rotate.remove_keys = {b.key};
  EXPECT_FALSE(rotate_container(scratch("c"), scratch("c"), as_b, rotate).ok());
}

TEST(InOrder, gives_results_in_order_and_the_first_error) {
  for (int threads : {1, 2, 4, 9})
    for (size_t failing : {size_t(0), size_t(57), size_t(1000)}) {
      size_t consumed = 0;
      auto result = run_in_order({200, threads, size_t(threads) * 2,
                                  [&](int, size_t item, size_t) -> Result<void> {
                                    if (item >= failing) return error(Code::io, "{}", item);
                                    return {};
                                  },
                                  [&](size_t item, size_t) {
                                    EXPECT_EQ(item, consumed++);
                                    return Result<void>();
                                  }});
      EXPECT_EQ(consumed, std::min<size_t>(200, failing));
      EXPECT_EQ(result.ok(), failing > 200);
      if (failing < 200) {
        EXPECT_EQ(result.error().text, std::to_string(failing));
      }
    }
}

}  // namespace
}  // namespace sconce
