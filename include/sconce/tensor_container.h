// Tensor files that are packed (smaller, without loss), sealed (encrypted for some recipients) and
// signed: the public door. Plain .safetensors: sconce/tensor_file.h.
//
//   // Pack, seal and sign in one pass over the source.
//   WriteContainerOptions options;
//   TRY(PublicKey alice, parse_public_key("sconce-pub-..."));
//   options.recipients.keys = {alice};
//   TRY(signing::PrivateKey key, signing::parse_private_key(pem));
//   TRY(signing::Signer signer, signing::make_signer(std::move(key)));
//   TRY(auto done, write_signed_container(source, "m.safetensors", options, signer, "m.sig"));
//
//   // Who made it? Then open it, and read one tensor, or a part of it, straight into memory.
//   TRY_VOID(signing::verify_model("m.safetensors", "m.sig", trust));
//   TRY(Container container, Container::open(file_bytes, &identities));
//   TRY_VOID(container.read(tensor, 0, memory, threads));
//
//   // Whole models, and single tensors of signed ones.
//   TRY(auto report, signing::sign_model("model/", "model/model.sig", signer));
//   TRY(auto tensors, signing::SignedTensors::open("model/model.sig", trust));
//   TRY(auto verified, verify_signed_tensor("model/", tensors, "lm_head.weight"));
//
// Ownership: bytes that a container was opened from outlive it; write functions only read their
// source. Threads: const functions of one object may be called from several at once. Errors:
// Result<T>; a wrong key is Code::invalid_argument, a changed file Code::invalid_file. Layouts:
// docs/packed.md, docs/sealed.md, src/formats/signing/format.md.
#pragma once

#include "formats/container/container.h"       // WriteContainerOptions, Container, rotate_container
#include "formats/container/sign_container.h"  // write_signed_container, verify_signed_tensor
#include "formats/sealed/envelope.h"           // keys of recipients
#include "formats/signing/sign.h"              // sign_model
#include "formats/signing/signed_tensors.h"    // SignedTensors, verify_tensor
#include "formats/signing/verify.h"            // Trust, verify_model
