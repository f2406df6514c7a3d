// Containers that lie, each in one way, with everything else in order: checksums fit, tags are
// those of a sender who knows the key. Named for the lie.
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <functional>

#include <gtest/gtest.h>

#include "base/file.h"
#include "formats/container/container.h"
#include "formats/container/seal_chunks.h"
#include "formats/safetensors/writer.h"

namespace sconce {
namespace {

using Buffer = std::vector<uint8_t>;

Buffer text_bytes(std::string_view text) { return {text.begin(), text.end()}; }

// The parts of a container, free to be changed before they are put together.
struct Draft {
  ContainerKind kind;
  ContainerIndex index;
  Buffer data;
  Buffer body, prefix;  // made from the index unless filled
  std::string head;     // made from the sizes unless filled
  SecretKey file_key;
  Envelope envelope;

  Buffer assemble() {
    Buffer envelope_bytes;
    if (kind.sealed) envelope_bytes = *finish_envelope(&envelope, file_key);
    if (body.empty()) {
      uint64_t at = 0;
      if (!kind.sealed)
        for (ChunkEntry& chunk : index.chunks) {
          uint64_t begin = std::min<uint64_t>(at, data.size());
          uint64_t size = std::min<uint64_t>(chunk.stored_bytes, data.size() - begin);
          chunk.checksum = checksum(Bytes(data).subspan(begin, size));
          at += chunk.stored_bytes;
        }
      body = encode_index_body(kind, index);
    }
    if (prefix.empty()) prefix = encode_index_prefix({kind, body.size()});
    Buffer index_bytes = prefix;
    if (kind.sealed) {
      Buffer sealed =
          *seal_index(file_key, envelope.file_id, envelope.cipher, kind.names_hidden, prefix, body);
      index_bytes.insert(index_bytes.end(), sealed.begin(), sealed.end());
    } else {
      index_bytes.insert(index_bytes.end(), body.begin(), body.end());
      uint64_t sum = checksum(index_bytes);
      for (int b = 0; b < 8; ++b) index_bytes.push_back(uint8_t(sum >> (8 * b)));
    }
    if (head.empty())
      head = container_head(
          kind, {kContainerHeadBytes, data.size(), envelope_bytes.size(), index_bytes.size()});
    Buffer file = text_bytes(head);
    for (const Buffer* part : {&data, &envelope_bytes, &index_bytes})
      file.insert(file.end(), part->begin(), part->end());
    return file;
  }
};

const SecretKey& secret() {
  static const SecretKey key = *random_key();
  return key;
}

// A sound draft: 600,000 zeros of U8 (packed to constants) and two F32 that do not shrink.
Draft make_draft(bool sealed) {
  Draft draft;
  draft.kind = {true, sealed, false};
  std::vector<TensorSpec> specs = {{"zeros", ElementType::u8, {600000}},
                                   {"pair", ElementType::f32, {2}}};
  auto layout = plan_layout(specs);
  draft.index.source_head.assign(layout->head.begin(), layout->head.end());
  draft.index.source_data_bytes = layout->data_bytes;
  std::optional<ChunkSealer> sealer;
  if (sealed) {
    Recipients recipients;
    recipients.keys = {*x25519_public_key(secret())};
    NewEnvelope made = *make_envelope(Cipher::aes256_gcm, recipients);
    draft.envelope = made.envelope;
    draft.file_key = made.file_key;
    sealer.emplace(draft.file_key, draft.envelope.file_id, draft.envelope.cipher);
  }
  Header header =
      *parse_header(draft.index.source_head, draft.index.source_head.size() + layout->data_bytes);
  ChunkPacker packer;
  for (size_t t = 0; t < header.tensors().size(); ++t) {
    const TensorInfo& info = header.tensors()[t];
    uint64_t chunks = chunk_count(info.bytes());
    for (uint64_t c = 0; c < chunks; ++c) {
      Buffer raw(std::min<uint64_t>(kChunkBytes, info.bytes() - c * kChunkBytes)), packed;
      if (info.name == "pair")
        for (size_t i = 0; i < raw.size(); ++i) raw[i] = uint8_t(i * 37 + 11);
      ChunkMethod method = packer.pack(raw, element_layout(info.type), &packed);
      if (method == ChunkMethod::raw) packed = raw;
      if (sealed) {
        Buffer plain = packed;
        packed.resize(plain.size() + kTagBytes);
        EXPECT_TRUE(sealer->select(t, info).ok());
        EXPECT_TRUE(sealer->seal({c, chunks, uint32_t(raw.size()), method}, plain, packed).ok());
      }
      draft.data.insert(draft.data.end(), packed.begin(), packed.end());
      draft.index.chunks.push_back({uint32_t(packed.size()), method});
    }
  }
  return draft;
}

// Error of opening and reading everything, or "accepted".
std::string verdict(const Buffer& file, bool sealed) {
  Identities identity{{secret()}, {}};
  auto container = Container::open(file, sealed ? &identity : nullptr);
  if (!container.ok()) return container.error().text;
  auto checked = container->check({1});
  return checked.ok() ? "accepted" : checked.error().text;
}

void put_u64(Buffer* bytes, size_t at, uint64_t value) {
  for (size_t b = 0; b < 8; ++b) (*bytes)[at + b] = uint8_t(value >> (8 * b));
}

struct Lie {
  const char* name;
  std::function<void(Draft*)> tell;
  const char* answer;  // part of the error
};

void replace_source_head(Draft* draft, std::string json, uint64_t data_bytes) {
  draft->index.source_head.assign(8, 0);
  draft->index.source_head[0] = uint8_t(json.size());
  draft->index.source_head.insert(draft->index.source_head.end(), json.begin(), json.end());
  draft->index.source_data_bytes = data_bytes;
}

// Lies that the index can tell, whoever wrote it.
const Lie kLies[] = {
    {"nothing", [](Draft*) {}, "accepted"},
    {"chunk_too_many", [](Draft* d) { d->index.chunks.push_back({}); }, "5 chunks, 4 wanted"},
    {"chunk_too_few", [](Draft* d) { d->index.chunks.pop_back(); }, "3 chunks, 4 wanted"},
    {"chunk_without_bytes", [](Draft* d) { d->index.chunks[1].stored_bytes = 0; }, "chunk"},
    {"chunk_larger_than_raw", [](Draft* d) { d->index.chunks[1].stored_bytes = kChunkBytes + 100; },
     "wanted"},
    {"chunk_past_the_data", [](Draft* d) { d->index.chunks[1].stored_bytes += 5; },
     "index: chunks of"},
    {"chunk_before_the_end", [](Draft* d) { d->data.push_back(0); }, "index: chunks of"},
    {"raw_chunk_said_to_be_packed",
     [](Draft* d) { d->index.chunks[0].method = ChunkMethod::planes; }, "method 1 in"},
    {"packed_chunk_said_to_be_raw", [](Draft* d) { d->index.chunks[1].method = ChunkMethod::raw; },
     "method 0 in"},
    {"tensors_of_terabytes",
     [](Draft* d) {
       replace_source_head(
           d, R"({"a":{"dtype":"U8","shape":[4398046511104],"data_offsets":[0,4398046511104]}})",
           uint64_t(1) << 42);
     },
     "4 chunks, 16777216 wanted"},
    {"tensors_of_all_bytes",
     [](Draft* d) {
       replace_source_head(d,
                           R"({"a":{"dtype":"U8","shape":[18446744073709551615],)"
                           R"("data_offsets":[0,18446744073709551615]}})",
                           ~uint64_t(0));
     },
     "original header"},
    {"head_of_another_size", [](Draft* d) { d->index.source_data_bytes += 1; }, "original header"},
    {"head_longer_than_its_json", [](Draft* d) { d->index.source_head.push_back(' '); },
     "original header"},
    {"head_that_is_none",
     [](Draft* d) {
       d->index.source_head = {1, 2, 3};
     },
     "original header"},
    {"empty_head", [](Draft* d) { d->index.source_head.clear(); }, "original header"},
    {"unknown_method", [](Draft* d) { d->index.chunks[1].method = ChunkMethod(7); },
     "method 7 is none of"},
    {"body_cut_off", [](Draft* d) { d->body = Buffer(31); }, "body of 31 bytes"},
    {"head_bomb",
     [](Draft* d) {
       d->body = encode_index_body(d->kind, d->index);
       put_u64(&d->body, 0, uint64_t(1) << 40);
     },
     "original header of 1099511627776 bytes"},
    {"head_stored_past_the_body",
     [](Draft* d) {
       d->body = encode_index_body(d->kind, d->index);
       put_u64(&d->body, 8, 1000000);
     },
     "original header is stored in"},
    {"head_frame_of_another_size",
     [](Draft* d) {
       d->body = encode_index_body(d->kind, d->index);
       d->body[0] ^= 1;
     },
     "original header"},
    {"more_chunks_than_bytes",
     [](Draft* d) {
       d->body = encode_index_body(d->kind, d->index);
       put_u64(&d->body, 24, ~uint64_t(0) / 4);
     },
     "chunks do not fit"},
    {"bytes_behind_the_chunks",
     [](Draft* d) {
       d->body = encode_index_body(d->kind, d->index);
       d->body.push_back(0);
     },
     "1 bytes follow the chunks"},
    {"unknown_version",
     [](Draft* d) {
       d->body = encode_index_body(d->kind, d->index);
       d->prefix = encode_index_prefix({d->kind, d->body.size()});
       d->prefix[8] = 2;
     },
     "version 2"},
    {"unknown_flag",
     [](Draft* d) {
       d->body = encode_index_body(d->kind, d->index);
       d->prefix = encode_index_prefix({d->kind, d->body.size()});
       d->prefix[12] |= 8;
     },
     "flags"},
    {"other_chunk_size",
     [](Draft* d) {
       d->body = encode_index_body(d->kind, d->index);
       d->prefix = encode_index_prefix({d->kind, d->body.size()});
       d->prefix[16] = 1;
     },
     "chunks of"},
    {"body_of_another_size",
     [](Draft* d) {
       d->body = encode_index_body(d->kind, d->index);
       d->prefix = encode_index_prefix({d->kind, d->body.size() + 1});
     },
     "index: body of"},
    {"head_with_an_extra_space",
     [](Draft* d) {
       d->head = container_head(d->kind,
                                {kContainerHeadBytes, d->data.size(), d->kind.sealed ? 216u : 0u,
                                 kIndexPrefixBytes + encode_index_body(d->kind, d->index).size() +
                                     (d->kind.sealed ? kTagBytes : kIndexChecksumBytes)});
       d->head.erase(d->head.size() - 1);
       d->head.insert(d->head.find(':'), " ");
     },
     "head: byte"},
};

TEST(Hostile, is_told_from_what_is_sound) {
  for (bool sealed : {false, true})
    for (const Lie& lie : kLies) {
      Draft draft = make_draft(sealed);
      lie.tell(&draft);
      std::string text = verdict(draft.assemble(), sealed);
      EXPECT_NE(text.find(lie.answer), std::string::npos)
          << lie.name << (sealed ? ", sealed: " : ": ") << text;
    }
}

// What a container claims to be and what it holds.
TEST(Hostile, kinds_that_contradict_each_other_are_refused) {
  Draft draft = make_draft(true);
  draft.kind.packed = false;
  EXPECT_NE(verdict(draft.assemble(), true).find("method"), std::string::npos);

  draft = make_draft(false);
  Buffer file = draft.assemble();
  auto header = parse_header(file, file.size());
  size_t flags_at = header->data_offset() + header->find(kIndexName)->begin + 12;
  for (int flags : {0, 2, 3, 4, 5, 7}) {
    Buffer bad = file;
    bad[flags_at] = uint8_t(flags);
    EXPECT_NE(verdict(bad, false), "accepted") << flags;
  }
}

TEST(Hostile, parts_that_are_missing_or_strange_are_refused) {
  auto layout = plan_layout(std::vector<TensorSpec>{{"sconce.index", ElementType::u8, {40}}});
  Buffer file = text_bytes(layout->head);
  file.resize(file.size() + 40);
  EXPECT_NE(verdict(file, false).find("no tensor"), std::string::npos);

  layout = plan_layout(std::vector<TensorSpec>{{"sconce.index", ElementType::u8, {0}},
                                               {"sconce.data", ElementType::u8, {0}}});
  EXPECT_NE(verdict(text_bytes(layout->head), false), "accepted");
  EXPECT_NE(verdict({}, false), "accepted");

  // Element types and extra tensors show in the head.
  Draft draft = make_draft(false);
  Buffer good = draft.assemble();
  std::string head(good.begin(), good.begin() + kContainerHeadBytes);
  for (auto [from, to] : {std::pair("\"U8\"", "\"I8\""), std::pair("packed\"", "Packed\"")}) {
    Buffer bad = good;
    size_t at = head.find(from);
    std::copy_n(to, strlen(to), bad.begin() + ptrdiff_t(at));
    EXPECT_NE(verdict(bad, false).find("head: byte"), std::string::npos);
  }
}

}  // namespace
}  // namespace sconce
