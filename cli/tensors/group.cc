// The group `sconce tensors`: one line for each of its subcommands.
#include "tensors/tensors.h"

namespace sconce::cli {

void add_tensors(CLI::App& app) {
  CLI::App* group = app.add_subcommand("tensors", "Look at, check and change tensor files");
  group->require_subcommand(1);
  group->footer(
      "Example:\n  sconce tensors ls model.safetensors\nA file is a .safetensors, or the "
      "model.safetensors.index.json of a set in shards.");
  add_tensors_ls(*group);
  add_tensors_cat(*group);
  add_tensors_stats(*group);
  add_tensors_diff(*group);
  add_tensors_check(*group);
  add_tensors_split(*group);
  add_tensors_merge(*group);
  add_tensors_metadata(*group);
  add_tensors_convert(*group);
  add_tensors_sign(*group);
  add_tensors_verify(*group);
  add_tensors_keygen(*group);
  add_tensors_pack(*group);
  add_tensors_unpack(*group);
  add_tensors_seal(*group);
  add_tensors_open(*group);
  add_tensors_rotate(*group);
  add_tensors_sealkey(*group);
}

}  // namespace sconce::cli
