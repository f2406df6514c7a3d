// Writing a container and signing it in one pass over the source.
//
// The signature speaks about the finished file, as `sconce tensors sign FILE` makes it, so that
// anyone can check it without a key of the container. Of a packed file it also holds the digests of
// the tensors in it, so that one of them can be verified by reading the index and its chunks alone.
// Of a sealed file it does not: they would tell what is in it.
#pragma once

#include <string>

#include "base/result.h"
#include "base/span.h"
#include "formats/container/container.h"
#include "formats/signing/sign.h"
#include "formats/signing/signed_tensors.h"

namespace sconce {

// As write_container(), and the signature to `signature_path`, after the file has its place: a kill
// between the two leaves a signature that does not fit, never one that wrongly does. The file is
// hashed while it is written; a packed one, whose head is known last, when it stands, before it
// takes its place. `options.tee` is called as well. With `name_dot` the statement calls the file
// "." as model-signing 1.1.1 wants it of a single file, else by its base name (OMS 1.0).
Result<ContainerSummary> write_signed_container(Bytes source, const std::string& path,
                                                WriteContainerOptions options,
                                                const signing::Signer& signer,
                                                const std::string& signature_path,
                                                bool name_dot = false);

// Verifies one tensor, of a safetensors file as signing::verify_tensor() does, or of a signed
// packed file: its index, which is compared before it is parsed, and the tensor's chunks are all
// that is read.
Result<signing::VerifiedTensor> verify_signed_tensor(const std::string& model,
                                                     const signing::SignedTensors& signed_tensors,
                                                     std::string_view name,
                                                     std::string_view path = {});

}  // namespace sconce
