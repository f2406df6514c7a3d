// sconce tensors: the subcommands about tensor files. Each is one file here that adds itself to the
// group; group.cc lists them.
#pragma once

#include "cli.h"

namespace sconce::cli {

// One for each subcommand, in the order of the help text.
void add_tensors_ls(CLI::App& group);
void add_tensors_cat(CLI::App& group);
void add_tensors_stats(CLI::App& group);
void add_tensors_diff(CLI::App& group);
void add_tensors_check(CLI::App& group);
void add_tensors_split(CLI::App& group);
void add_tensors_merge(CLI::App& group);
void add_tensors_metadata(CLI::App& group);
void add_tensors_convert(CLI::App& group);
void add_tensors_sign(CLI::App& group);
void add_tensors_verify(CLI::App& group);
void add_tensors_keygen(CLI::App& group);
void add_tensors_pack(CLI::App& group);
void add_tensors_unpack(CLI::App& group);
void add_tensors_seal(CLI::App& group);
void add_tensors_open(CLI::App& group);
void add_tensors_rotate(CLI::App& group);
void add_tensors_sealkey(CLI::App& group);

}  // namespace sconce::cli
