#include "targets/xnnpack/run/xnnpack_delegate.h"

#include "targets/xnnpack/run/runner.h"

namespace sconce {
namespace {

using xnn::XnnRunner;

Status failed(const Error& error, Diagnostic* diagnostic) {
  return SCONCE_FAIL(error.code, diagnostic, "%s", error.text.c_str());
}

Status load(const DelegateSource& source, Span<uint8_t>, void** state, Diagnostic* diagnostic) {
  auto find = [&](const std::string& key) {
    Bytes bytes;
    return source.find_data(key.c_str(), &bytes) ? bytes : Bytes();
  };
  auto runner = XnnRunner::make(source.data, find);
  if (!runner.ok()) return failed(runner.error(), diagnostic);
  *state = runner->release();
  return kOk;
}

Status execute(void* state, Span<const Value* const> args, KernelContext& context) {
  auto ran = static_cast<XnnRunner*>(state)->execute(args);
  return ran.ok() ? kOk : failed(ran.error(), context.diagnostic);
}

void unload(void* state) { delete static_cast<XnnRunner*>(state); }

void set_profile(void* state, const DelegateProfile* profile) {
  static_cast<XnnRunner*>(state)->set_profile(profile);
}

}  // namespace

const DelegateType kXnnpackDelegate = {.id = kXnnBackendId,
                                       .arena_bytes = nullptr,
                                       .load = load,
                                       .execute = execute,
                                       .unload = unload,
                                       .set_profile = set_profile};

}  // namespace sconce
