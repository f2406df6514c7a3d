#include "formats/signing/statement.h"

#include <algorithm>
#include <charconv>
#include <set>

#include <simdjson.h>

#include "formats/json/json_reader.h"
#include "formats/signing/text.h"

namespace sconce::signing {
namespace {

using json::Element;
using json::Field;
using json::optional_field;

constexpr std::string_view kStatementType = "https://in-toto.io/Statement/v1";
constexpr std::string_view kPredicateType = "https://model_signing/signature/v1.0";
constexpr std::string_view kPredicateTypeDeprecated = "https://model_signing/Digests/v0.1";
constexpr std::string_view kTensorsAnnotation = "sconce.tensors.v1";

std::string resource_name(const Resource& resource) {
  if (!resource.shard) return resource.path;
  return fmt::format("{}:{}:{}", resource.path, resource.shard->first, resource.shard->second);
}

Digest root_digest(Span<const Resource> resources) {
  Hasher hasher;
  for (const Resource& resource : resources) hasher.update(resource.digest.bytes());
  return hasher.finish();
}

bool parse_offset(std::string_view text, uint64_t* out) {
  if (text.empty() || (text.size() > 1 && text[0] == '0')) return false;
  auto [end, problem] = std::from_chars(text.data(), text.data() + text.size(), *out);
  return problem == std::errc() && end == text.data() + text.size();
}

class StatementReader : json::JsonReader {
 public:
  StatementReader(json::Arena& arena, bool allow_deprecated)
      : JsonReader(arena), allow_deprecated_(allow_deprecated) {}

  Result<Statement> read(Element root) {
    if (!statement(root)) return std::move(error_);
    return std::move(statement_);
  }

 private:
  bool statement(Element root) {
    Field fields[] = {{"_type"}, {"predicateType"}, {"subject"}, optional_field("predicate")};
    std::string_view type, predicate_type;
    if (!members(root, fields)) return false;
    if (!text(fields[0].value, &type)) return in("_type");
    if (type != kStatementType)
      return fail(Code::invalid_file, "_type: found {}, wanted \"{}\"",
                  in_quotes(type.substr(0, 80)), kStatementType);
    if (!text(fields[1].value, &predicate_type)) return in("predicateType");
    if (predicate_type == kPredicateTypeDeprecated) return deprecated(fields[2].value);
    if (predicate_type != kPredicateType)
      return fail(Code::invalid_file, "predicateType: found {}, wanted \"{}\"",
                  in_quotes(predicate_type.substr(0, 80)), kPredicateType);
    if (!fields[3].found) return fail(Code::invalid_file, "member \"predicate\" is missing");

    Digest root_wanted;
    if (!subject(fields[2].value, &root_wanted)) return in("subject");
    Field parts[] = {{"serialization"}, {"resources"}};
    if (!members(fields[3].value, parts)) return in("predicate");
    if (!serialization(parts[0].value)) return in("predicate.serialization");
    if (!resources(parts[1].value)) return in("predicate.resources");
    // As the reference does: over the digests in the order in which they are listed.
    Digest root_found = root_digest(statement_.resources);
    if (root_found != root_wanted)
      return fail(Code::invalid_file,
                  "subject[0].digest.sha256: found {}, the listed resources hash to {}",
                  root_wanted.hex(), root_found.hex());
    return finish();
  }

  bool digest(Element element, HashAlgorithm algorithm, Digest* out) {
    std::string_view hex;
    if (!text(element, &hex)) return false;
    auto found = find_digest(algorithm, hex);
    if (!found)
      return fail(Code::invalid_file, "found {}, wanted a {} digest of {} hexadecimal digits",
                  in_quotes(hex.substr(0, 160)), hash_name(algorithm), 2 * hash_bytes(algorithm));
    *out = *found;
    return true;
  }

  bool subject_entry(Element element, std::string_view* name, Digest* out) {
    Field fields[] = {{"name"}, {"digest"}};
    if (!members(element, fields)) return false;
    if (!text(fields[0].value, name)) return in("name");
    Field digests[] = {{"sha256"}};
    if (!members(fields[1].value, digests)) return in("digest");
    if (!digest(digests[0].value, HashAlgorithm::sha256, out)) return in("digest.sha256");
    return true;
  }

  bool subject(Element element, Digest* root) {
    simdjson::dom::array items;
    if (!array(element, &items)) return false;
    if (items.size() != 1)
      return fail(Code::invalid_file, "found {} entries, wanted one", items.size());
    std::string_view name;
    if (!subject_entry(items.at(0).value_unsafe(), &name, root)) return in("[0]");
    statement_.model_name = name;
    return true;
  }

  bool hash_algorithm(Element element, HashAlgorithm* out) {
    std::string_view name;
    if (!text(element, &name)) return false;
    auto found = find_hash(name);
    if (found) return *out = *found, true;
    if (name == "blake3")
      return fail(Code::unsupported,
                  "blake3 cannot be checked here: OpenSSL has no BLAKE3; sign with sha256");
    return fail(Code::unsupported, "found {}, wanted \"sha256\" or \"blake2b\"",
                in_quotes(name.substr(0, 40)));
  }

  bool serialization(Element element) {
    Serialization& s = statement_.serialization;
    Field fields[] = {{"method"},
                      {"hash_type"},
                      {"allow_symlinks"},
                      optional_field("shard_size"),
                      optional_field("ignore_paths")};
    if (!members(element, fields)) return false;
    std::string_view method;
    if (!text(fields[0].value, &method)) return in("method");
    if (method != "files" && method != "shards")
      return fail(Code::unsupported, "method: found {}, wanted \"files\" or \"shards\"",
                  in_quotes(method.substr(0, 40)));
    if (!hash_algorithm(fields[1].value, &s.hash)) return in("hash_type");
    if (!boolean(fields[2].value, &s.allow_symlinks)) return in("allow_symlinks");
    if (method == "shards") {
      if (!fields[3].found) return fail(Code::invalid_file, "member \"shard_size\" is missing");
      // A whole number; the reference writes it as 40000.0.
      double size = 0;
      if (!floating(fields[3].value, &size)) return in("shard_size");
      if (!(size >= 1 && size <= 1e15) || size != double(uint64_t(size)))
        return fail(Code::invalid_file, "shard_size: found {}, wanted a whole number of bytes",
                    size);
      s.shard_bytes = uint64_t(size);
    }
    if (!fields[4].found) return true;
    simdjson::dom::array paths;
    if (!array(fields[4].value, &paths)) return in("ignore_paths");
    size_t i = 0;
    for (Element item : paths) {
      std::string_view path;
      if (!text(item, &path)) return in("ignore_paths[{}]", i);
      auto plain = plain_path(path);
      if (!plain.ok()) {
        error_ = std::move(plain.error());
        return in("ignore_paths[{}]", i);
      }
      s.ignore_paths.push_back(std::move(*plain));
      i++;
    }
    return true;
  }

  bool resources(Element element) {
    simdjson::dom::array items;
    if (!array(element, &items)) return false;
    size_t i = 0;
    for (Element item : items) {
      if (!resource(item)) return in("[{}]", i);
      i++;
    }
    if (i == 0) return fail(Code::invalid_file, "found no entry, wanted one for each file");
    return true;
  }

  // Path of a name that is not split yet; "." stands for a model of one file.
  bool path_of(std::string_view name, std::string* out) {
    if (name == ".") return *out = ".", true;
    auto plain = plain_path(name);
    if (plain.ok()) return *out = std::move(*plain), true;
    error_ = std::move(plain.error());
    return false;
  }

  bool resource(Element element) {
    const Serialization& s = statement_.serialization;
    Resource result;
    Field fields[] = {{"name"}, {"algorithm"}, {"digest"}, optional_field("annotations")};
    if (!members(element, fields)) return false;
    std::string_view name, algorithm;
    if (!text(fields[0].value, &name)) return in("name");
    if (!text(fields[1].value, &algorithm)) return in("algorithm");
    bool algorithm_fits = algorithm == hash_name(s.hash);
    if (s.shard_bytes) {
      // The last two colons: a path may hold colons too.
      size_t second = name.rfind(':');
      size_t first = second == 0 || second == name.npos ? name.npos : name.rfind(':', second - 1);
      uint64_t begin = 0, end = 0;
      if (first == name.npos || !parse_offset(name.substr(first + 1, second - first - 1), &begin) ||
          !parse_offset(name.substr(second + 1), &end) || begin >= end)
        return fail(Code::invalid_file, "name: found {}, wanted \"path:begin:end\"",
                    in_quotes(name.substr(0, 400)));
      result.shard = {begin, end};
      name = name.substr(0, first);
      std::string mangled = fmt::format("{}-sharded-{}", hash_name(s.hash), *s.shard_bytes);
      algorithm_fits |= algorithm == mangled || algorithm == mangled + ".0";
    }
    if (!path_of(name, &result.path)) return in("name");
    if (!algorithm_fits)
      return fail(Code::invalid_file, "algorithm: found {}, wanted \"{}\" as hash_type says",
                  in_quotes(algorithm.substr(0, 80)), hash_name(s.hash));
    if (!digest(fields[2].value, s.hash, &result.digest)) return in("digest");
    if (fields[3].found && !result.shard) {
      Field annotation[] = {optional_field(kTensorsAnnotation)};
      if (!members(fields[3].value, annotation)) return in("annotations");
      if (annotation[0].found && !tensors(annotation[0].value, &result.tensors))
        return in("annotations.{}", kTensorsAnnotation);
    }
    statement_.resources.push_back(std::move(result));
    return true;
  }

  bool tensors(Element element, std::optional<TensorDigests>* out) {
    TensorDigests result;
    Field fields[] = {{"index"}, {"sha256"}, {"tensors"}};
    if (!members(element, fields)) return false;
    simdjson::dom::array range;
    if (!array(fields[0].value, &range)) return in("index");
    int64_t begin = 0, end = 0;
    if (range.size() != 2) return fail(Code::invalid_file, "index: wanted [begin, end]");
    if (!integer(range.at(0).value_unsafe(), &begin) || !integer(range.at(1).value_unsafe(), &end))
      return in("index");
    if (begin < 0 || end <= begin)
      return fail(Code::invalid_file, "index: found [{}, {}], wanted begin < end", begin, end);
    result.index_begin = uint64_t(begin);
    result.index_end = uint64_t(end);
    if (!digest(fields[1].value, HashAlgorithm::sha256, &result.index)) return in("sha256");
    simdjson::dom::object entries;
    if (!object(fields[2].value, &entries)) return in("tensors");
    for (auto [name, value] : entries) {
      Digest found;
      if (!digest(value, HashAlgorithm::sha256, &found)) return in("tensors.{}", in_quotes(name));
      if (!result.tensors.emplace(name, found).second)
        return fail(Code::invalid_file, "tensors: {} stands there twice", in_quotes(name));
    }
    *out = std::move(result);
    return true;
  }

  // Version 0.2: files are subjects, nothing says how they were found.
  bool deprecated(Element subjects) {
    if (!allow_deprecated_)
      return fail(Code::unsupported,
                  "predicateType {} is that of version 0.2, which does not bind how files were "
                  "found; allow deprecated signatures, or sign again",
                  in_quotes(kPredicateTypeDeprecated));
    statement_.deprecated = true;
    simdjson::dom::array items;
    if (!array(subjects, &items)) return in("subject");
    size_t i = 0;
    for (Element item : items) {
      std::string_view name;
      Resource result;
      if (!subject_entry(item, &name, &result.digest) || !path_of(name, &result.path))
        return in("subject[{}]", i);
      statement_.resources.push_back(std::move(result));
      i++;
    }
    if (i == 0) return fail(Code::invalid_file, "subject: found no entry");
    return finish();
  }

  // What concerns all resources together.
  bool finish() {
    std::vector<Resource>& all = statement_.resources;
    std::sort(all.begin(), all.end(), [](const Resource& a, const Resource& b) {
      return std::pair(std::string_view(a.path), a.shard) <
             std::pair(std::string_view(b.path), b.shard);
    });
    for (size_t i = 0; i < all.size(); i++) {
      bool first = i == 0 || all[i].path != all[i - 1].path;
      bool last = i + 1 == all.size() || all[i].path != all[i + 1].path;
      if (all[i].path == "." && (all.front().path != "." || all.back().path != "."))
        return fail(Code::invalid_file,
                    "predicate.resources: \".\" is a model of one file, but other files are "
                    "listed too");
      if (!all[i].shard) {
        if (first) continue;
        return fail(Code::invalid_file, "predicate.resources: {} stands there twice",
                    in_quotes(all[i].path));
      }
      auto [begin, end] = *all[i].shard;
      uint64_t wanted = first ? 0 : all[i - 1].shard->second;
      if (begin != wanted)
        return fail(Code::invalid_file,
                    "predicate.resources: {}: a shard begins at {}, wanted {}: shards leave no "
                    "hole and do not overlap",
                    in_quotes(all[i].path), begin, wanted);
      uint64_t size = *statement_.serialization.shard_bytes;
      if (end - begin > size || (!last && end - begin != size))
        return fail(Code::invalid_file,
                    "predicate.resources: {}: the shard at {} has {} bytes, shard_size is {}",
                    in_quotes(all[i].path), begin, end - begin, size);
    }
    return true;
  }

  bool allow_deprecated_;
  Statement statement_;
};

}  // namespace

Result<std::string> plain_path(std::string_view path) {
  auto wrong = [&](const char* what) {
    return error(Code::invalid_file, "path {} {}", in_quotes(path.substr(0, 400)), what);
  };
  if (path.starts_with('/')) return wrong("is absolute, wanted one relative to the model");
  if (path.find('\0') != path.npos) return wrong("holds a zero byte");
  std::string plain;
  while (!path.empty()) {
    size_t slash = path.find('/');
    std::string_view part = path.substr(0, slash);
    path.remove_prefix(slash == path.npos ? path.size() : slash + 1);
    if (part.empty() || part == ".") continue;
    if (part == "..") {
      return error(Code::invalid_file,
                   "a path holds \"..\": it could leave the model; wanted plain names");
    }
    if (!plain.empty()) plain += '/';
    plain += part;
  }
  if (plain.empty()) return error(Code::invalid_file, "a path names the whole model or nothing");
  return plain;
}

Result<std::string> encode_statement(const Statement& statement) {
  const Serialization& s = statement.serialization;
  if (statement.resources.empty())
    return error(Code::invalid_argument, "a model without files cannot be signed");
  std::vector<const Resource*> order;
  for (const Resource& resource : statement.resources) order.push_back(&resource);
  std::sort(order.begin(), order.end(), [](const Resource* a, const Resource* b) {
    return resource_name(*a) < resource_name(*b);
  });
  std::string resources;
  Hasher root;
  for (const Resource* resource : order) {
    std::string name = resource_name(*resource);
    if (!simdjson::validate_utf8(name))
      return error(Code::invalid_argument, "the name {} is not UTF-8, which a signature must be",
                   in_quotes(name));
    root.update(resource->digest.bytes());
    if (!resources.empty()) resources += ',';
    resources += fmt::format(R"({{"name":{},"algorithm":"{}","digest":"{}")", in_quotes(name),
                             hash_name(s.hash), resource->digest.hex());
    if (resource->tensors) {
      const TensorDigests& t = *resource->tensors;
      resources +=
          fmt::format(R"(,"annotations":{{"{}":{{"index":[{},{}],"sha256":"{}","tensors":{{)",
                      kTensorsAnnotation, t.index_begin, t.index_end, t.index.hex());
      bool first = true;
      for (const auto& [tensor, digest] : t.tensors) {
        resources += fmt::format("{}{}:\"{}\"", first ? "" : ",", in_quotes(tensor), digest.hex());
        first = false;
      }
      resources += "}}}";
    }
    resources += '}';
  }
  std::vector<std::string> ignored;
  for (const std::string& path : s.ignore_paths) ignored.push_back(in_quotes(path));
  std::string json = fmt::format(
      R"({{"_type":"{}","subject":[{{"name":{},"digest":{{"sha256":"{}"}}}}],"predicateType":"{}",)"
      R"("predicate":{{"serialization":{{"method":"{}","hash_type":"{}",{}"allow_symlinks":{},)"
      R"("ignore_paths":[{}]}},"resources":[{}]}}}})",
      kStatementType, in_quotes(statement.model_name), root.finish().hex(), kPredicateType,
      s.shard_bytes ? "shards" : "files", hash_name(s.hash),
      s.shard_bytes ? fmt::format("\"shard_size\":{},", *s.shard_bytes) : "",
      s.allow_symlinks ? "true" : "false", fmt::join(ignored, ","), resources);
  if (!simdjson::validate_utf8(json))
    return error(Code::invalid_argument, "a name is not UTF-8, which a signature must be");
  return json;
}

Result<Statement> decode_statement(Bytes payload, bool allow_deprecated) {
  if (payload.empty()) return error(Code::invalid_file, "the payload is not JSON: it is empty");
  simdjson::dom::parser parser;
  Element root;
  if (auto problem = parser.parse(payload.data(), payload.size()).get(root))
    return error(Code::invalid_file, "the payload is not JSON: {}",
                 simdjson::error_message(problem));
  json::Arena arena;
  return StatementReader(arena, allow_deprecated).read(root);
}

void FileRecorder::write(Bytes bytes) {
  file_.update(bytes);
  if (index_) index_->update(bytes);
  if (tensor_ && tensor_is_plain_) tensor_->update(bytes);
  bytes_ += bytes.size();
}

void FileRecorder::begin_index() {
  CHECK(!index_ && !has_index_);
  index_.emplace();
  tensors_.index_begin = bytes_;
}

void FileRecorder::end_index() {
  CHECK(index_);
  tensors_.index = index_->finish();
  tensors_.index_end = bytes_;
  index_.reset();
  has_index_ = true;
}

void FileRecorder::begin_tensor(std::string name, std::string_view dtype,
                                Span<const uint64_t> sizes, bool plain) {
  CHECK(!tensor_);
  tensor_.emplace(dtype, sizes);
  tensor_name_ = std::move(name);
  tensor_is_plain_ = plain;
}

void FileRecorder::tensor_bytes(Bytes bytes) {
  CHECK(tensor_ && !tensor_is_plain_);
  tensor_->update(bytes);
}

void FileRecorder::end_tensor() {
  CHECK(tensor_);
  add_tensor(std::move(tensor_name_), tensor_->finish());
  tensor_.reset();
}

void FileRecorder::add_tensor(std::string name, const Digest& digest) {
  auto [place, added] = tensors_.tensors.emplace(std::move(name), digest);
  if (!added) twice_ = place->first;
}

Result<RecordedFile> FileRecorder::finish() {
  CHECK(!index_ && !tensor_);
  RecordedFile file{file_.finish(), bytes_, std::nullopt};
  FileRecorder recorded = std::exchange(*this, FileRecorder());
  if (!recorded.twice_.empty())
    return error(Code::invalid_argument, "tensor {} was recorded twice",
                 in_quotes(recorded.twice_));
  if (!recorded.has_index_ && !recorded.tensors_.tensors.empty())
    return error(Code::invalid_argument,
                 "tensors were recorded, but not the index that says where they lie");
  if (recorded.has_index_) file.tensors = std::move(recorded.tensors_);
  return file;
}

Result<void> StatementBuilder::add_file(std::string_view path, RecordedFile file) {
  std::string plain = ".";
  if (path != ".") {
    TRY(plain, plain_path(path));
  }
  statement_.resources.push_back({std::move(plain), file.digest, {}, std::move(file.tensors)});
  return {};
}

Result<void> StatementBuilder::ignore_path(std::string_view path) {
  TRY(auto plain, plain_path(path));
  statement_.serialization.ignore_paths.push_back(std::move(plain));
  return {};
}

Result<Statement> StatementBuilder::finish() {
  auto& resources = statement_.resources;
  if (resources.empty())
    return error(Code::invalid_argument, "a model without files cannot be signed");
  std::sort(resources.begin(), resources.end(),
            [](const Resource& a, const Resource& b) { return a.path < b.path; });
  for (size_t i = 1; i < resources.size(); i++)
    if (resources[i].path == resources[i - 1].path)
      return error(Code::invalid_argument, "file {} was added twice", in_quotes(resources[i].path));
  auto& ignored = statement_.serialization.ignore_paths;
  std::sort(ignored.begin(), ignored.end());
  ignored.erase(std::unique(ignored.begin(), ignored.end()), ignored.end());
  return std::move(statement_);
}

}  // namespace sconce::signing
