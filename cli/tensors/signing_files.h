// What sign and verify share on the command line.
#pragma once

#include <string>
#include <vector>

#include "base/result.h"
#include "formats/signing/certificates.h"

namespace sconce::cli {

// model.sig in a folder, FILE.sig beside a file.
std::string default_signature_path(const std::string& model);

Result<std::vector<signing::Certificate>> load_certificates(const std::vector<std::string>& paths);

// Quoted and divided by commas, without brackets.
std::string json_list(const std::vector<std::string>& texts);

// "1 file", "2 files"
std::string counted(size_t count, const std::string& what);

}  // namespace sconce::cli
