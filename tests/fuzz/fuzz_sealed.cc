// Envelopes from anyone, and indices from a sender who knows the key (or of a file that is packed
// only): refused with words, or the container reads without leaving its bytes.
//
// Input: what follows (0 an envelope, 1 the index of a packed file, 2 of a sealed one, 3 of one
// with hidden names), bytes of data (2, little endian), the data, then the envelope or the body of
// the index. The head, the prefix, checksums and tags of the index are made to fit, so that what is
// behind them is reached.
#include <algorithm>
#include <cstdint>
#include <vector>

#include "formats/container/container.h"
#include "formats/container/seal_chunks.h"

using namespace sconce;

namespace {

using Buffer = std::vector<uint8_t>;

struct Keys {
  SecretKey secret;
  NewEnvelope made;
  Buffer envelope;
  Keys() {
    secret.bytes.fill(7);
    Recipients recipients;
    recipients.keys = {*x25519_public_key(secret)};
    made = *make_envelope(Cipher::aes256_gcm, recipients);
    envelope = *finish_envelope(&made.envelope, made.file_key);
  }
};

// Checksums of chunks stand behind the words of the body, where it has that form at all.
void mend_checksums(Buffer* body, Bytes data) {
  auto index = decode_index_body({true, false, false}, *body);
  if (!index.ok()) return;
  size_t at = body->size() - 8 * index->chunks.size(), offset = 0;
  for (const ChunkEntry& chunk : index->chunks) {
    if (chunk.stored_bytes > data.size() - offset) return;
    uint64_t sum = checksum(data.subspan(offset, chunk.stored_bytes));
    for (int b = 0; b < 8; ++b) (*body)[at++] = uint8_t(sum >> (8 * b));
    offset += chunk.stored_bytes;
  }
}

Buffer container_of(const Keys& keys, ContainerKind kind, Bytes data, Buffer body) {
  if (!kind.sealed) mend_checksums(&body, data);
  Buffer index = encode_index_prefix({kind, body.size()});
  if (kind.sealed) {
    const Envelope& envelope = keys.made.envelope;
    Buffer sealed = *seal_index(keys.made.file_key, envelope.file_id, envelope.cipher,
                                kind.names_hidden, index, body);
    index.insert(index.end(), sealed.begin(), sealed.end());
  } else {
    index.insert(index.end(), body.begin(), body.end());
    uint64_t sum = checksum(index);
    for (int b = 0; b < 8; ++b) index.push_back(uint8_t(sum >> (8 * b)));
  }
  Buffer envelope = kind.sealed ? keys.envelope : Buffer();
  std::string head =
      container_head(kind, {kContainerHeadBytes, data.size(), envelope.size(), index.size()});
  Buffer file(head.begin(), head.end());
  file.insert(file.end(), data.begin(), data.end());
  file.insert(file.end(), envelope.begin(), envelope.end());
  file.insert(file.end(), index.begin(), index.end());
  return file;
}

void want_words(const Error& error) {
  if (error.text.empty()) __builtin_trap();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* bytes, size_t size) {
  static const Keys keys;
  if (size < 3) return 0;
  Bytes rest(bytes + 3, size - 3);
  Identities identity{{keys.secret}, {}};
  if (bytes[0] % 4 == 0) {
    auto envelope = decode_envelope(rest);
    if (!envelope.ok()) return want_words(envelope.error()), 0;
    auto key = open_envelope(*envelope, identity);
    if (!key.ok()) want_words(key.error());
    return 0;
  }
  ContainerKind kind{true, bytes[0] % 4 >= 2, bytes[0] % 4 == 3};
  Bytes data = rest.first(std::min<size_t>(rest.size(), size_t(bytes[1] | bytes[2] << 8)));
  rest = rest.subspan(data.size());
  Buffer file = container_of(keys, kind, data, Buffer(rest.begin(), rest.end()));
  auto container = Container::open(file, kind.sealed ? &identity : nullptr);
  if (!container.ok()) return want_words(container.error()), 0;
  auto checked = container->check({1});
  if (!checked.ok()) want_words(checked.error());
  return 0;
}
