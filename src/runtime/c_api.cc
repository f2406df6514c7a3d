// The C API over Module. Nothing is thrown through it: what allocates is caught here.
#include <algorithm>
#include <cstring>
#include <new>

#include "sconce/runtime.h"
#include "sconce/sconce.h"

struct sconce_module {
  sconce::Module module;
  std::string error;
  std::vector<std::string> names;
  std::vector<sconce::Argument> outputs;  // of the last execution; their sizes are handed out
};

namespace sconce {
namespace {

static_assert(int(Code::invalid_argument) == SCONCE_INVALID_ARGUMENT);
static_assert(int(Code::invalid_file) == SCONCE_INVALID_FILE);
static_assert(int(Code::unsupported) == SCONCE_UNSUPPORTED);
static_assert(int(Code::not_found) == SCONCE_NOT_FOUND);
static_assert(int(Code::too_large) == SCONCE_TOO_LARGE);
static_assert(int(Code::io) == SCONCE_IO && int(Code::internal) == SCONCE_INTERNAL);
static_assert(int(DType::f32) == SCONCE_F32 && int(DType::b8) == SCONCE_BOOL);
static_assert(int(DType::bf16) == SCONCE_BF16 && int(DType::u64) == SCONCE_U64);
static_assert(int(Value::Kind::tensor) == SCONCE_KIND_TENSOR);
static_assert(int(Value::Kind::floating) == SCONCE_KIND_FLOAT);

sconce_code failed(sconce_module* module, const Error& error) {
  module->error = error.text;
  return sconce_code(error.code);
}

// Runs `body`, which returns sconce_code; an allocation that fails becomes a code.
template <class Body>
sconce_code guarded(sconce_module* module, Body body) {
  try {
    return body();
  } catch (const std::bad_alloc&) {
    module->error.clear();
    return SCONCE_TOO_LARGE;
  } catch (...) {
    return SCONCE_INTERNAL;
  }
}

void copy_text(const std::string& text, char* to, size_t room) {
  if (!to || room == 0) return;
  size_t size = std::min(text.size(), room - 1);
  memcpy(to, text.data(), size);
  to[size] = 0;
}

sconce_code finish_load(Result<Module> loaded, sconce_module** module, char* error, size_t room) {
  if (!loaded.ok()) {
    copy_text(loaded.error().text, error, room);
    return sconce_code(loaded.error().code);
  }
  auto made = std::make_unique<sconce_module>(sconce_module{std::move(*loaded), {}, {}, {}});
  made->names = made->module.method_names();
  *module = made.release();
  return SCONCE_OK;
}

template <class Load>
sconce_code load_with(Load load, sconce_module** module, char* error, size_t room) {
  copy_text("", error, room);
  if (!module) return SCONCE_INVALID_ARGUMENT;
  *module = nullptr;
  try {
    return finish_load(load(), module, error, room);
  } catch (...) {
    return SCONCE_TOO_LARGE;
  }
}

sconce_slot slot_of(const SlotMeta& meta, const char* name) {
  sconce_slot slot{};
  slot.name = name;
  slot.dynamic = meta.dynamic;
  bool plain = meta.kind <= Value::Kind::tensor;
  slot.value.kind = plain ? sconce_kind(meta.kind) : SCONCE_KIND_NONE;
  if (meta.kind == Value::Kind::tensor)
    slot.value.tensor = {nullptr,    meta.sizes, meta.dim_order,
                         meta.bytes, meta.rank,  sconce_dtype(meta.dtype)};
  else if (meta.kind == Value::Kind::boolean)
    slot.value.integer = meta.value.boolean;
  else if (meta.kind == Value::Kind::integer)
    slot.value.integer = meta.value.integer;
  else if (meta.kind == Value::Kind::floating)
    slot.value.floating = meta.value.floating;
  else if (meta.kind == Value::Kind::string)
    slot.value.string = meta.value.string;
  return slot;
}

sconce_code get_slot(sconce_module* module, const char* method, size_t index, sconce_slot* slot,
                     bool input) {
  if (!module || !method || !slot) return SCONCE_INVALID_ARGUMENT;
  return guarded(module, [&]() -> sconce_code {
    auto meta = module->module.method_meta(method);
    if (!meta.ok()) return failed(module, meta.error());
    uint32_t count = input ? meta->input_count() : meta->output_count();
    if (index >= count)
      return failed(module, error(Code::invalid_argument, "{} {}: method {} has {}",
                                  input ? "input" : "output", index, method, count));
    uint32_t i = uint32_t(index);
    *slot = slot_of(input ? meta->input(i) : meta->output(i), input ? meta->input_name(i) : "");
    return SCONCE_OK;
  });
}

Result<Argument> argument_of(const sconce_value& value, size_t index) {
  switch (value.kind) {
    case SCONCE_KIND_NONE: return Argument();
    case SCONCE_KIND_INT: return Argument(int64_t(value.integer));
    case SCONCE_KIND_BOOL: return Argument(value.integer != 0);
    case SCONCE_KIND_FLOAT: return Argument(value.floating);
    case SCONCE_KIND_STRING: {
      Argument made;
      made.value.kind = Value::Kind::string;
      made.value.string = value.string ? value.string : "";
      made.value.count = uint32_t(strlen(made.value.string));
      return made;
    }
    case SCONCE_KIND_TENSOR: break;
    default:
      return error(Code::invalid_argument, "input {}: kind {} is not known", index,
                   int(value.kind));
  }
  const sconce_tensor& t = value.tensor;
  if (t.rank < 0 || t.rank > kRankMax || (t.rank && !t.sizes) || !is_dtype(t.dtype))
    return error(Code::invalid_argument, "input {}: rank {}, dtype code {}: not a tensor", index,
                 t.rank, int(t.dtype));
  Argument made = Argument::of(t.data, DType(t.dtype), {t.sizes, t.sizes + t.rank});
  if (t.dim_order) made.dim_order.assign(t.dim_order, t.dim_order + t.rank);
  made.tensor.capacity_bytes = t.bytes;
  return made;
}

}  // namespace
}  // namespace sconce

using namespace sconce;  // NOLINT: definitions of the C names follow

extern "C" {

const char* sconce_version(void) { return SCONCE_VERSION; }

sconce_code sconce_load_file(const char* path, sconce_module** module, char* error,
                             size_t error_bytes) {
  if (!path) return SCONCE_INVALID_ARGUMENT;
  return load_with([&] { return Module::load(std::string(path)); }, module, error, error_bytes);
}

sconce_code sconce_load_bytes(const void* data, size_t bytes, sconce_module** module, char* error,
                              size_t error_bytes) {
  Bytes file(static_cast<const uint8_t*>(data), data ? bytes : 0);
  return load_with([&] { return Module::load(file); }, module, error, error_bytes);
}

sconce_code sconce_set_threads(sconce_module* module, int threads) {
  if (!module || threads < 0) return SCONCE_INVALID_ARGUMENT;
  Result<void> done = module->module.set_threads(threads);
  return done.ok() ? SCONCE_OK : sconce_code(done.error().code);
}

void sconce_free(sconce_module* module) { delete module; }

size_t sconce_method_count(const sconce_module* module) {
  return module ? module->names.size() : 0;
}

const char* sconce_method_name(const sconce_module* module, size_t index) {
  return module && index < module->names.size() ? module->names[index].c_str() : nullptr;
}

sconce_code sconce_load_method(sconce_module* module, const char* method) {
  if (!module || !method) return SCONCE_INVALID_ARGUMENT;
  return guarded(module, [&]() -> sconce_code {
    auto loaded = module->module.load_method(method);
    return loaded.ok() ? SCONCE_OK : failed(module, loaded.error());
  });
}

sconce_code sconce_counts(sconce_module* module, const char* method, size_t* inputs,
                          size_t* outputs) {
  if (!module || !method) return SCONCE_INVALID_ARGUMENT;
  return guarded(module, [&]() -> sconce_code {
    auto meta = module->module.method_meta(method);
    if (!meta.ok()) return failed(module, meta.error());
    if (inputs) *inputs = meta->input_count();
    if (outputs) *outputs = meta->output_count();
    return SCONCE_OK;
  });
}

sconce_code sconce_input(sconce_module* module, const char* method, size_t index,
                         sconce_slot* slot) {
  return get_slot(module, method, index, slot, true);
}

sconce_code sconce_output(sconce_module* module, const char* method, size_t index,
                          sconce_slot* slot) {
  return get_slot(module, method, index, slot, false);
}

sconce_code sconce_execute(sconce_module* module, const char* method, const sconce_value* inputs,
                           size_t input_count, sconce_value* outputs, size_t output_room) {
  if (!module || !method || (input_count && !inputs) || (output_room && !outputs))
    return SCONCE_INVALID_ARGUMENT;
  return guarded(module, [&]() -> sconce_code {
    std::vector<Argument> arguments;
    for (size_t i = 0; i < input_count; i++) {
      auto argument = argument_of(inputs[i], i);
      if (!argument.ok()) return failed(module, argument.error());
      arguments.push_back(std::move(*argument));
    }
    auto results = module->module.execute(method, arguments);
    if (!results.ok()) return failed(module, results.error());
    module->outputs = std::move(*results);
    for (size_t i = 0; i < module->outputs.size() && i < output_room; i++) {
      const Argument& result = module->outputs[i];
      sconce_value& out = outputs[i];
      out = sconce_value{};
      const Value& value = result.value;
      bool plain = value.kind <= Value::Kind::tensor;
      out.kind = plain ? sconce_kind(value.kind) : SCONCE_KIND_NONE;
      if (value.is_tensor())
        out.tensor = {result.tensor.data,
                      result.sizes.data(),
                      result.dim_order.empty() ? nullptr : result.dim_order.data(),
                      result.bytes().size(),
                      int32_t(result.sizes.size()),
                      sconce_dtype(result.tensor.dtype)};
      else if (value.kind == Value::Kind::boolean)
        out.integer = value.boolean;
      else if (value.kind == Value::Kind::integer)
        out.integer = value.integer;
      else if (value.kind == Value::Kind::floating)
        out.floating = value.floating;
      else if (value.kind == Value::Kind::string)
        out.string = value.string;
    }
    return SCONCE_OK;
  });
}

sconce_code sconce_reset(sconce_module* module, const char* method) {
  if (!module || !method) return SCONCE_INVALID_ARGUMENT;
  return guarded(module, [&]() -> sconce_code {
    auto done = module->module.reset(method);
    return done.ok() ? SCONCE_OK : failed(module, done.error());
  });
}

const char* sconce_error(const sconce_module* module) {
  return module ? module->error.c_str() : "";
}

}  // extern "C"
