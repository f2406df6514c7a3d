// Writing a container and signing it in one pass over the source.
//
// The signature speaks about the finished file, as `sconce tensors sign FILE` makes it, so that
// anyone can check it without a key of the container. It holds no digests of single tensors: those
// of a sealed file would tell what is in it.
#pragma once

#include <string>

#include "base/result.h"
#include "base/span.h"
#include "formats/container/container.h"
#include "formats/signing/sign.h"

namespace sconce {

// As write_container(), and the signature to `signature_path`, after the file has its place: a kill
// between the two leaves a signature that does not fit, never one that wrongly does. The file is
// hashed while it is written; a packed one, whose head is known last, when it stands, before it
// takes its place. `options.tee` is called as well.
Result<ContainerSummary> write_signed_container(Bytes source, const std::string& path,
                                                WriteContainerOptions options,
                                                const signing::Signer& signer,
                                                const std::string& signature_path);

}  // namespace sconce
