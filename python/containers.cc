// Packed, sealed and signed tensor files, over include/sconce/tensor_container.h.
#include "sconce/tensor_container.h"

#include <nanobind/stl/optional.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include "base/file.h"
#include "tensors.h"

namespace nb = nanobind;

namespace {

using namespace sconce;

std::string_view as_text(Bytes bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

Cipher find_cipher(const std::string& name) {
  if (name == "aes") return Cipher::aes256_gcm;
  if (name == "chacha") return Cipher::chacha20_poly1305;
  if (name.empty()) return fastest_cipher();
  raise(error(Code::invalid_argument, "cipher is {}, wanted aes or chacha", quoted_name(name)));
}

signing::Signer read_signer(const std::string& key_path,
                            const std::optional<std::string>& passphrase,
                            const std::vector<std::string>& certificate_paths) {
  MappedFile file = value_or_raise(map_file(key_path));
  auto ask = [&]() -> Result<std::string> {
    if (passphrase) return *passphrase;
    return error(Code::invalid_argument, "{}: is encrypted, and no passphrase is given", key_path);
  };
  auto key =
      value_or_raise(signing::parse_private_key(as_text(file.bytes()), ask).with_context(key_path));
  std::vector<signing::Certificate> certificates;
  for (const std::string& path : certificate_paths) {
    MappedFile pem = value_or_raise(map_file(path));
    for (auto& certificate :
         value_or_raise(signing::parse_certificates(as_text(pem.bytes())).with_context(path)))
      certificates.push_back(std::move(certificate));
  }
  return value_or_raise(signing::make_signer(std::move(key), std::move(certificates)));
}

signing::Trust read_trust(const std::optional<std::string>& key_path,
                          const std::vector<std::string>& root_paths) {
  signing::Trust trust;
  if (key_path) {
    MappedFile pem = value_or_raise(map_file(*key_path));
    trust.key =
        value_or_raise(signing::parse_public_key(as_text(pem.bytes())).with_context(*key_path));
  }
  for (const std::string& path : root_paths) {
    MappedFile pem = value_or_raise(map_file(path));
    for (auto& root :
         value_or_raise(signing::parse_certificates(as_text(pem.bytes())).with_context(path)))
      trust.roots.push_back(std::move(root));
  }
  return trust;
}

nb::dict summary_dict(const ContainerSummary& summary) {
  nb::dict result;
  result["source_bytes"] = summary.source_bytes;
  result["file_bytes"] = summary.file_bytes;
  result["tensors"] = summary.tensors;
  return result;
}

nb::dict write_file(const std::string& source, const std::string& path, bool pack,
                    const std::vector<std::string>& recipients,
                    const std::vector<std::string>& passphrases, bool hide_names,
                    const std::string& cipher, int threads, bool durable,
                    const std::optional<std::string>& sign_key,
                    const std::optional<std::string>& sign_passphrase,
                    const std::vector<std::string>& certificates,
                    const std::optional<std::string>& signature) {
  WriteContainerOptions options;
  options.pack = pack;
  options.hide_names = hide_names;
  options.cipher = find_cipher(cipher);
  options.threads = threads;
  options.durable = durable;
  for (const std::string& text : recipients)
    options.recipients.keys.push_back(value_or_raise(parse_public_key(text)));
  for (const std::string& text : passphrases) options.recipients.passphrases.emplace_back(text);
  std::optional<signing::Signer> signer;
  if (sign_key) signer = read_signer(*sign_key, sign_passphrase, certificates);
  auto work = [&]() -> Result<ContainerSummary> {
    nb::gil_scoped_release unlocked;
    TRY(MappedFile file, map_file(source));
    if (!signer) return write_container(file.bytes(), path, options).with_context(source);
    return write_signed_container(file.bytes(), path, options, *signer,
                                  signature.value_or(path + ".sig"))
        .with_context(source);
  };
  return summary_dict(value_or_raise(work()));
}

class PyContainer {
 public:
  PyContainer(const std::string& path, const std::vector<std::string>& keys,
              const std::vector<std::string>& passphrases)
      : path_(path) {
    Identities identities;
    for (const std::string& text : keys)
      identities.keys.push_back(value_or_raise(parse_secret_key(text)));
    for (const std::string& text : passphrases) identities.passphrases.emplace_back(text);
    auto open = [&]() -> Result<Container> {
      nb::gil_scoped_release unlocked;
      TRY(file_, map_file(path));
      return Container::open(file_.bytes(), identities.empty() ? nullptr : &identities)
          .with_context(path);
    };
    container_.emplace(value_or_raise(open()));
  }

  nb::tuple kind() const {
    nb::list words;
    if (container_->kind().packed) words.append("packed");
    if (container_->kind().sealed) words.append("sealed");
    return nb::tuple(words);
  }
  nb::list keys() const { return name_list(container_->header().by_name()); }
  nb::object metadata() const { return metadata_dict(container_->header()); }
  // (dtype, shape, bytes, bytes in the container), None when there is no such tensor.
  nb::object info(const std::string& name) const {
    const TensorInfo* tensor = container_->header().find(name);
    if (!tensor) return nb::none();
    return nb::make_tuple(name_str(element_name(tensor->type)), shape_tuple(tensor->shape),
                          tensor->bytes(), container_->stored_bytes(place(*tensor)));
  }
  // Fills `out` with bytes of the tensor from `offset`.
  void read_into(const std::string& name, uint64_t offset, ByteArray out, int threads) const {
    const TensorInfo* tensor = container_->header().find(name);
    if (!tensor)
      raise(error(Code::not_found, "File does not contain tensor {}", quoted_name(name)));
    auto read = [&] {
      nb::gil_scoped_release unlocked;
      return container_->read(place(*tensor), offset, {out.data(), out.size()}, threads)
          .with_context(path_);
    };
    done_or_raise(read());
  }
  nb::dict restore(const std::optional<std::string>& path, int threads, bool durable) const {
    Container::RestoreOptions options;
    options.threads = threads;
    options.durable = durable;
    auto work = [&] {
      nb::gil_scoped_release unlocked;
      return (path ? container_->restore(*path, options) : container_->check(options))
          .with_context(path_);
    };
    return summary_dict(value_or_raise(work()));
  }

 private:
  size_t place(const TensorInfo& tensor) const {
    return size_t(&tensor - container_->header().tensors().data());
  }
  std::string path_;
  MappedFile file_;
  std::optional<Container> container_;
};

nb::dict sign_path(const std::string& model, const std::string& signature, const std::string& key,
                   const std::optional<std::string>& passphrase,
                   const std::vector<std::string>& certificates, bool tensors,
                   const std::vector<std::string>& ignore, bool allow_symlinks, unsigned threads) {
  signing::Signer signer = read_signer(key, passphrase, certificates);
  signing::SignOptions options;
  options.tensors = tensors;
  options.ignore_paths = ignore;
  options.allow_symlinks = allow_symlinks;
  options.threads = threads;
  auto work = [&] {
    nb::gil_scoped_release unlocked;
    return signing::sign_model(model, signature, signer, options);
  };
  signing::SignReport report = value_or_raise(work());
  nb::dict result;
  result["files"] = report.file_count;
  result["tensors"] = report.tensor_count;
  result["bytes"] = report.bytes;
  result["ignored"] = nb::cast(report.ignored);
  result["warnings"] = nb::cast(report.warnings);
  return result;
}

nb::dict verify_path(const std::string& model, const std::string& signature,
                     const std::optional<std::string>& key, const std::vector<std::string>& roots,
                     const std::optional<std::string>& tensor) {
  signing::Trust trust = read_trust(key, roots);
  nb::dict result;
  if (tensor) {
    auto work = [&]() -> Result<signing::VerifiedTensor> {
      nb::gil_scoped_release unlocked;
      TRY(auto tensors, signing::SignedTensors::open(signature, trust));
      return verify_signed_tensor(model, tensors, *tensor);
    };
    signing::VerifiedTensor verified = value_or_raise(work());
    result["path"] = verified.path;
    result["tensor"] = verified.name;
    result["bytes"] = verified.bytes;
    return result;
  }
  signing::VerifyReport report;
  auto work = [&] {
    nb::gil_scoped_release unlocked;
    return signing::verify_model(model, signature, trust, {}, &report);
  };
  done_or_raise(work());
  result["files"] = report.file_count;
  result["bytes"] = report.bytes;
  result["ignored"] = nb::cast(report.ignored);
  result["warnings"] = nb::cast(report.warnings);
  return result;
}

}  // namespace

void add_containers(nb::module_& m) {
  m.def("write_container", &write_file, nb::arg("source"), nb::arg("path"), nb::kw_only(),
        nb::arg("pack"), nb::arg("recipients"), nb::arg("passphrases"), nb::arg("hide_names"),
        nb::arg("cipher"), nb::arg("threads"), nb::arg("durable"), nb::arg("sign_key").none(),
        nb::arg("sign_passphrase").none(), nb::arg("certificates"), nb::arg("signature").none());
  m.def("sign", &sign_path, nb::arg("model"), nb::arg("signature"), nb::kw_only(), nb::arg("key"),
        nb::arg("passphrase").none(), nb::arg("certificates"), nb::arg("tensors"),
        nb::arg("ignore"), nb::arg("allow_symlinks"), nb::arg("threads"));
  m.def("verify", &verify_path, nb::arg("model"), nb::arg("signature"), nb::kw_only(),
        nb::arg("key").none(), nb::arg("roots"), nb::arg("tensor").none());
  nb::class_<PyContainer>(m, "Container")
      .def(nb::init<const std::string&, const std::vector<std::string>&,
                    const std::vector<std::string>&>(),
           nb::arg("path"), nb::arg("keys"), nb::arg("passphrases"))
      .def("kind", &PyContainer::kind)
      .def("keys", &PyContainer::keys)
      .def("metadata", &PyContainer::metadata)
      .def("info", &PyContainer::info)
      .def("read_into", &PyContainer::read_into)
      .def("restore", &PyContainer::restore, nb::arg("path").none(), nb::arg("threads"),
           nb::arg("durable"));
}
