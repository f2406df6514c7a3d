#include "formats/container/seal_chunks.h"

#include "base/little_endian.h"

namespace sconce {

namespace {

// All that is known about a tensor, unambiguous: each text behind its length.
Result<Digest> tensor_digest(size_t tensor, const TensorInfo& info) {
  std::vector<uint8_t> text;
  append_little(&text, uint64_t(tensor));
  for (std::string_view part : {info.name, element_name(info.type)}) {
    append_little(&text, uint64_t(part.size()));
    text.insert(text.end(), part.begin(), part.end());
  }
  append_little(&text, uint64_t(info.shape.size()));
  for (uint64_t size : info.shape) append_little(&text, size);
  append_little(&text, info.bytes());
  return sha256(text);
}

// Counter, big endian, and in the last byte whether the chunk is the last: a key's chunks cannot be
// put in another order or be cut off.
Nonce chunk_nonce(const ChunkPlace& place) {
  Nonce nonce{};
  for (int b = 0; b < 8; ++b) nonce[3 + size_t(b)] = uint8_t(place.chunk >> (56 - 8 * b));
  nonce[11] = place.chunk + 1 == place.chunks;
  return nonce;
}

std::vector<uint8_t> chunk_context(const ChunkPlace& place) {
  std::vector<uint8_t> out;
  append_little(&out, place.chunk);
  append_little(&out, place.chunks);
  append_little(&out, place.raw_bytes);
  append_little(&out, uint8_t(place.method));
  return out;
}

Result<Aead> index_aead(const SecretKey& file_key, const FileId& file_id, Cipher cipher,
                        bool hidden) {
  TRY(SecretKey key,
      derive_part_key(file_key, file_id, hidden ? "index hidden" : "index in clear"));
  return Aead::make(cipher, key);
}

}  // namespace

Result<void> ChunkSealer::select(size_t tensor, const TensorInfo& info) {
  if (aead_ && tensor == tensor_) return {};
  TRY(Digest digest, tensor_digest(tensor, info));
  TRY(SecretKey key, derive_part_key(file_key_, file_id_, "tensor", digest));
  TRY(Aead aead, Aead::make(cipher_, key));
  aead_ = std::move(aead);
  tensor_ = tensor;
  return {};
}

Result<void> ChunkSealer::seal(const ChunkPlace& place, Bytes plain, Span<uint8_t> out) {
  CHECK(aead_);
  return aead_->seal(chunk_nonce(place), chunk_context(place), plain, out);
}

Result<bool> ChunkSealer::open(const ChunkPlace& place, Bytes sealed, Span<uint8_t> plain) {
  CHECK(aead_);
  return aead_->open(chunk_nonce(place), chunk_context(place), sealed, plain);
}

Result<std::vector<uint8_t>> seal_index(const SecretKey& file_key, const FileId& file_id,
                                        Cipher cipher, bool hidden, Bytes prefix, Bytes body) {
  TRY(Aead aead, index_aead(file_key, file_id, cipher, hidden));
  std::vector<uint8_t> out(body.size() + kTagBytes), context(prefix.begin(), prefix.end());
  if (hidden) {
    TRY_VOID(aead.seal(Nonce{}, context, body, out));
    return out;
  }
  std::copy(body.begin(), body.end(), out.begin());
  context.insert(context.end(), body.begin(), body.end());
  TRY_VOID(aead.seal(Nonce{}, context, {}, Span<uint8_t>(out).last(kTagBytes)));
  return out;
}

Result<std::vector<uint8_t>> open_index(const SecretKey& file_key, const FileId& file_id,
                                        Cipher cipher, bool hidden, Bytes prefix,
                                        Bytes body_and_tag) {
  TRY(Aead aead, index_aead(file_key, file_id, cipher, hidden));
  CHECK(body_and_tag.size() >= kTagBytes);
  Bytes body = body_and_tag.first(body_and_tag.size() - kTagBytes);
  std::vector<uint8_t> out(body.size()), context(prefix.begin(), prefix.end());
  bool right = false;
  if (hidden) {
    TRY(right, aead.open(Nonce{}, context, body_and_tag, out));
  } else {
    context.insert(context.end(), body.begin(), body.end());
    TRY(right, aead.open(Nonce{}, context, body_and_tag.last(kTagBytes), {}));
    std::copy(body.begin(), body.end(), out.begin());
  }
  if (!right)
    return error(Code::invalid_file, "index was changed: its authentication does not fit");
  return out;
}

}  // namespace sconce
