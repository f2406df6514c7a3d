#include "formats/signing/model_files.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <condition_variable>
#include <cstring>
#include <filesystem>
#include <mutex>
#include <thread>

#include <simdjson.h>

#include "formats/safetensors/header.h"
#include "formats/signing/text.h"

namespace sconce::signing {
namespace {

constexpr size_t kBlockBytes = 256 << 10;  // stays in a second-level cache between read and hash
constexpr size_t kBlocksAhead = 8;
constexpr uint64_t kHelpedBytesMin = 4 << 20;  // smaller files are not worth a second thread

bool is_inside(std::string_view path, std::string_view folder) {
  return path.starts_with(folder) && (path.size() == folder.size() || path[folder.size()] == '/');
}

class Lister {
 public:
  Lister(const std::string& model, const ListOptions& options, ModelListing* out)
      : model_(model), options_(options), out_(out) {}

  Result<void> list(const std::string& folder) {
    std::string name = folder.empty() ? model_ : model_ + "/" + folder;
    DIR* directory = opendir(name.c_str());
    if (!directory) return error(Code::io, "{}: {}", in_quotes(name), strerror(errno));
    std::vector<std::string> names;
    errno = 0;
    while (dirent* entry = readdir(directory)) {
      std::string_view text = entry->d_name;
      if (text != "." && text != "..") names.emplace_back(text);
      errno = 0;
    }
    int problem = errno;
    closedir(directory);
    if (problem) return error(Code::io, "{}: {}", in_quotes(name), strerror(problem));
    std::sort(names.begin(), names.end());
    for (const std::string& entry : names)
      TRY_VOID(add(folder.empty() ? entry : folder + "/" + entry));
    return {};
  }

 private:
  bool is_ignored(const std::string& path) {
    for (std::string_view ignored : kDefaultIgnoredPaths)
      if (is_inside(path, ignored)) return true;
    for (const std::string& ignored : options_.ignore_paths)
      if (is_inside(path, ignored)) return true;
    return false;
  }

  Result<void> add(const std::string& path) {
    if (is_ignored(path)) {
      out_->ignored.push_back(path);
      return {};
    }
    if (!simdjson::validate_utf8(path)) {
      out_->refused.push_back({path, "its name is not UTF-8"});
      return {};
    }
    std::string name = model_ + "/" + path;
    struct stat info;
    if (lstat(name.c_str(), &info) != 0)
      return error(Code::io, "{}: {}", in_quotes(name), strerror(errno));
    bool is_link = S_ISLNK(info.st_mode);
    if (is_link && !options_.allow_symlinks) {
      out_->refused.push_back({path, "is a symbolic link"});
      return {};
    }
    if (is_link) {
      if (stat(name.c_str(), &info) != 0) {
        out_->refused.push_back({path, "is a symbolic link to nothing"});
        return {};
      }
      if (!path_in_model(model_, name))
        out_->warnings.push_back(
            fmt::format("{} is a symbolic link out of the model", in_quotes(path)));
    }
    if (S_ISREG(info.st_mode)) {
      out_->files.push_back({path, uint64_t(info.st_size)});
    } else if (S_ISDIR(info.st_mode)) {
      std::pair<dev_t, ino_t> self(info.st_dev, info.st_ino);
      if (std::find(open_.begin(), open_.end(), self) != open_.end()) {
        out_->refused.push_back({path, "is a symbolic link to a folder around it"});
        return {};
      }
      open_.push_back(self);
      TRY_VOID(list(path));
      open_.pop_back();
    } else {
      out_->refused.push_back({path, "is neither a file nor a folder"});
    }
    return {};
  }

  const std::string& model_;
  const ListOptions& options_;
  ModelListing* out_;
  std::vector<std::pair<dev_t, ino_t>> open_;  // folders around the one that is read
};

// Hashes the tensors of a safetensors file from its bytes, taken in order.
class TensorFeeder {
 public:
  explicit TensorFeeder(const Header& header) : header_(header) {}

  void feed(uint64_t offset, Bytes bytes) {
    Span<const TensorInfo> tensors = header_.tensors();
    while (at_ < tensors.size()) {
      const TensorInfo& tensor = tensors[at_];
      uint64_t begin = header_.data_offset() + tensor.begin;
      uint64_t end = header_.data_offset() + tensor.end;
      uint64_t block_end = offset + bytes.size();
      if (begin >= block_end && begin != end) return;
      if (!hasher_) hasher_.emplace(element_name(tensor.type), tensor.shape);
      uint64_t from = std::max(begin, offset), to = std::min(end, block_end);
      if (from < to) hasher_->update(bytes.subspan(from - offset, to - from));
      if (end > block_end) return;
      digests_.emplace_back(tensor.name, hasher_->finish());
      hasher_.reset();
      at_++;
    }
  }
  void give(FileRecorder& recorder) {
    feed(header_.file_bytes(), {});  // tensors without bytes at the end
    for (auto& [name, digest] : digests_) recorder.add_tensor(std::move(name), digest);
  }

 private:
  const Header& header_;
  size_t at_ = 0;
  std::optional<TensorHasher> hasher_;
  std::vector<std::pair<std::string, Digest>> digests_;
};

// Blocks of a file in order for one or two readers, each read once: by who comes to it first.
class Blocks {
 public:
  Blocks(const ModelFileReader& file, uint64_t begin, uint64_t end, int readers)
      : file_(file), begin_(begin), end_(end), readers_(readers) {
    for (auto& slot : slots_)
      slot.bytes.resize(size_t(std::min(end - begin, uint64_t(kBlockBytes))));
  }

  // use(offset, bytes) for each block; false after a failure, which error() tells.
  template <class Use>
  bool for_each(Use use) {
    uint64_t count = (end_ - begin_ + kBlockBytes - 1) / kBlockBytes;
    for (uint64_t i = 0; i < count; i++) {
      uint64_t offset = begin_ + i * kBlockBytes;
      Slot& slot = slots_[i % kBlocksAhead];
      Span<uint8_t> bytes =
          Span<uint8_t>(slot.bytes).first(size_t(std::min(end_ - offset, uint64_t(kBlockBytes))));
      if (!load(i, slot, offset, bytes)) return false;
      use(offset, Bytes(bytes));
      std::lock_guard<std::mutex> lock(mutex_);
      if (--slot.readers_left == 0) changed_.notify_all();
    }
    return true;
  }
  const std::optional<Error>& error_found() const { return problem_; }

 private:
  struct Slot {
    std::vector<uint8_t> bytes;
    int readers_left = 0;
  };

  bool load(uint64_t i, Slot& slot, uint64_t offset, Span<uint8_t> bytes) {
    std::unique_lock<std::mutex> lock(mutex_);
    while (true) {
      if (problem_) return false;
      if (i < loaded_) return true;
      if (i == loaded_ && !loading_ && slot.readers_left == 0) break;
      changed_.wait(lock);
    }
    loading_ = true;
    lock.unlock();
    auto result = file_.read(offset, bytes);
    lock.lock();
    loading_ = false;
    changed_.notify_all();
    if (!result.ok()) {
      problem_ = std::move(result.error());
      return false;
    }
    slot.readers_left = readers_;
    loaded_ = i + 1;
    return true;
  }

  const ModelFileReader& file_;
  uint64_t begin_, end_;
  int readers_;
  std::mutex mutex_;
  std::condition_variable changed_;
  Slot slots_[kBlocksAhead];
  uint64_t loaded_ = 0;
  bool loading_ = false;
  std::optional<Error> problem_;
};

// Header of a safetensors file with the bytes it was parsed from.
struct IndexedHeader {
  std::vector<uint8_t> bytes;
  Header header;
};

Result<IndexedHeader> read_header(const ModelFileReader& file) {
  IndexedHeader result;
  result.bytes.resize(size_t(std::min<uint64_t>(8, file.bytes())));
  TRY_VOID(file.read(0, result.bytes));
  TRY(uint64_t size, header_bytes(result.bytes, file.bytes()));
  result.bytes.resize(size);
  TRY_VOID(file.read(0, result.bytes));
  TRY(result.header, parse_header(result.bytes, file.bytes()));
  return result;
}

class FileHashing {
 public:
  FileHashing(const std::string& model, const HashOptions& options, std::atomic<uint64_t>& done)
      : model_(model), options_(options), done_(done) {}

  HashAnswer hash(const HashRequest& request, bool helped) {
    HashAnswer answer;
    answer.file = whole(request, helped, &answer.without_tensors);
    return answer;
  }

 private:
  Result<RecordedFile> whole(const HashRequest& request, bool helped, std::string* without) {
    TRY(auto file, ModelFileReader::open(model_, request.path, options_.allow_symlinks));
    uint64_t end = request.end ? request.end : file.bytes();
    if (request.begin > end || end > file.bytes())
      return error(Code::invalid_file, "{}: has {} bytes, wanted {}", in_quotes(request.path),
                   file.bytes(), end);
    std::optional<IndexedHeader> indexed;
    std::optional<TensorFeeder> tensors;
    if (request.tensors) {
      auto header = read_header(file);
      if (header.ok()) {
        indexed = std::move(*header);
        tensors.emplace(indexed->header);
      } else {
        *without = header.error().text;
      }
    }
    helped &= end - request.begin >= kHelpedBytesMin;
    Blocks blocks(file, request.begin, end, helped ? 2 : 1);
    std::thread helper;
    if (helped)
      helper = std::thread([&] {
        blocks.for_each([&](uint64_t offset, Bytes bytes) {
          if (tensors) tensors->feed(offset, bytes);
        });
      });
    Hasher hasher(options_.algorithm);
    bool read = blocks.for_each([&](uint64_t offset, Bytes bytes) {
      hasher.update(bytes);
      if (tensors && !helped) tensors->feed(offset, bytes);
      done_ += bytes.size();
    });
    if (helper.joinable()) helper.join();
    if (!read) return *blocks.error_found();

    FileRecorder recorder;
    RecordedFile result;
    if (tensors) {
      recorder.begin_index();
      recorder.write(indexed->bytes);
      recorder.end_index();
      tensors->give(recorder);
      TRY(result, recorder.finish());
    }
    result.digest = hasher.finish();
    result.bytes = end - request.begin;
    return result;
  }

  const std::string& model_;
  const HashOptions& options_;
  std::atomic<uint64_t>& done_;
};

}  // namespace

Result<ModelListing> list_model(const std::string& model, const ListOptions& options) {
  ModelListing result;
  struct stat info;
  if (lstat(model.c_str(), &info) == 0 && S_ISLNK(info.st_mode) && !options.allow_symlinks) {
    // The model itself may be reached through a link: who calls has named it. Files may not.
    struct stat target;
    if (stat(model.c_str(), &target) == 0 && S_ISREG(target.st_mode)) {
      result.refused.push_back({".", "is a symbolic link"});
      return result;
    }
  }
  if (stat(model.c_str(), &info) != 0)
    return error(errno == ENOENT ? Code::not_found : Code::io, "{}: {}", in_quotes(model),
                 strerror(errno));
  if (S_ISREG(info.st_mode)) {
    result.files.push_back({".", uint64_t(info.st_size)});
    return result;
  }
  if (!S_ISDIR(info.st_mode))
    return error(Code::invalid_argument, "{}: neither a file nor a folder", in_quotes(model));
  result.is_folder = true;
  TRY_VOID(Lister(model, options, &result).list(""));
  std::sort(result.files.begin(), result.files.end(),
            [](const ModelFile& a, const ModelFile& b) { return a.path < b.path; });
  return result;
}

Result<std::string> model_name(const std::string& model) {
  std::error_code problem;
  std::filesystem::path path = std::filesystem::absolute(model, problem).lexically_normal();
  if (!path.has_filename()) path = path.parent_path();  // "a/"
  std::string name = path.filename();
  if (name.empty()) name = "model";
  if (!simdjson::validate_utf8(name))
    return error(Code::invalid_argument, "{}: the name is not UTF-8", in_quotes(model));
  return name;
}

std::optional<std::string> path_in_model(const std::string& model, const std::string& path) {
  std::error_code problem;
  auto root = std::filesystem::canonical(model, problem);
  if (problem) return std::nullopt;
  auto full = std::filesystem::weakly_canonical(path, problem);
  if (problem) return std::nullopt;
  std::string relative = full.lexically_relative(root);
  auto plain = plain_path(relative);
  if (!plain.ok()) return std::nullopt;
  return *plain;
}

Result<std::string> ignored_path(const std::string& model, const std::string& path) {
  if (!path.starts_with('/')) return plain_path(path);
  if (auto inside = path_in_model(model, path)) return *inside;
  return error(Code::invalid_argument, "{} is to be left out, but is not in the model {}",
               in_quotes(path), in_quotes(model));
}

Result<ModelFileReader> ModelFileReader::open(const std::string& model, const std::string& path,
                                              bool allow_symlinks) {
  ModelFileReader result;
  int no_follow = allow_symlinks ? 0 : O_NOFOLLOW;
  std::string_view rest = path;
  int folder = AT_FDCWD;
  auto refuse = [&](int problem) {
    if (folder != AT_FDCWD) close(folder);
    const char* why = problem == ELOOP ? "is or lies behind a symbolic link" : strerror(problem);
    return error(problem == ENOENT ? Code::not_found : Code::io, "{}: {}", in_quotes(path), why);
  };
  if (path == ".") {
    result.name_ = std::filesystem::path(model).filename();
    result.descriptor_ = ::open(model.c_str(), O_RDONLY | O_CLOEXEC | no_follow | O_NONBLOCK);
  } else {
    result.name_ = path;
    folder = ::open(model.c_str(), O_RDONLY | O_CLOEXEC | O_DIRECTORY);
    if (folder < 0) return refuse(errno);
    for (size_t slash; (slash = rest.find('/')) != rest.npos; rest.remove_prefix(slash + 1)) {
      std::string part(rest.substr(0, slash));
      // Without O_DIRECTORY a link answers ELOOP and not "not a folder".
      int next = openat(folder, part.c_str(), O_PATH | O_CLOEXEC | no_follow);
      if (next < 0) return refuse(errno);
      close(folder);
      folder = next;
      struct stat info;
      if (fstat(folder, &info) != 0) return refuse(errno);
      if (S_ISLNK(info.st_mode)) return refuse(ELOOP);
    }
    result.descriptor_ =
        openat(folder, std::string(rest).c_str(), O_RDONLY | O_CLOEXEC | no_follow | O_NONBLOCK);
  }
  if (result.descriptor_ < 0) return refuse(errno);
  if (folder != AT_FDCWD) close(folder);
  struct stat info;
  if (fstat(result.descriptor_, &info) != 0)
    return error(Code::io, "{}: {}", in_quotes(path), strerror(errno));
  if (!S_ISREG(info.st_mode))
    return error(Code::invalid_file, "{}: not a regular file", in_quotes(path));
  result.bytes_ = uint64_t(info.st_size);
  (void)posix_fadvise(result.descriptor_, 0, 0, POSIX_FADV_SEQUENTIAL);
  return result;
}

ModelFileReader::ModelFileReader(ModelFileReader&& other) noexcept
    : descriptor_(std::exchange(other.descriptor_, -1)),
      bytes_(other.bytes_),
      name_(std::move(other.name_)) {}

ModelFileReader::~ModelFileReader() {
  if (descriptor_ >= 0) close(descriptor_);
}

Result<void> ModelFileReader::read(uint64_t offset, Span<uint8_t> out) const {
  while (!out.empty()) {
    ssize_t count = pread(descriptor_, out.data(), out.size(), off_t(offset));
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) return error(Code::io, "{}: {}", in_quotes(name_), strerror(errno));
    if (count == 0)
      return error(Code::io, "{}: ends at {}, was longer when it was opened", in_quotes(name_),
                   offset);
    offset += uint64_t(count);
    out = out.subspan(size_t(count));
  }
  return {};
}

std::vector<HashAnswer> hash_files(const std::string& model, Span<const HashRequest> requests,
                                   const HashOptions& options) {
  std::vector<HashAnswer> answers(requests.size());
  std::vector<uint64_t> sizes(requests.size());
  uint64_t total = 0;
  bool tensors = false;
  for (size_t i = 0; i < requests.size(); i++) {
    struct stat info;
    std::string name = requests[i].path == "." ? model : model + "/" + requests[i].path;
    if (requests[i].end)
      sizes[i] = requests[i].end - requests[i].begin;
    else if (stat(name.c_str(), &info) == 0)
      sizes[i] = uint64_t(info.st_size);
    total += sizes[i];
    tensors |= requests[i].tensors;
  }
  // Large files first, so that none is left for the end. A file can use two threads: one for the
  // whole and one that reads ahead and hashes tensors.
  std::vector<size_t> order(requests.size());
  for (size_t i = 0; i < order.size(); i++) order[i] = i;
  std::stable_sort(order.begin(), order.end(),
                   [&](size_t a, size_t b) { return sizes[a] > sizes[b]; });
  size_t large = size_t(std::count_if(sizes.begin(), sizes.end(),
                                      [](uint64_t size) { return size >= kHelpedBytesMin; }));
  size_t threads =
      options.threads ? options.threads : std::max(1u, std::thread::hardware_concurrency());
  bool helped = threads > 1 && (tensors || large < threads);
  size_t lanes = helped && large > 0 ? std::max<size_t>(1, threads / 2) : threads;
  lanes = std::min(lanes, requests.size());

  std::atomic<uint64_t> done = 0;
  std::atomic<size_t> next = 0;
  std::mutex mutex;
  std::condition_variable finished;
  size_t running = lanes;
  std::vector<std::thread> pool;
  for (size_t lane = 0; lane < lanes; lane++)
    pool.emplace_back([&] {
      FileHashing hashing(model, options, done);
      for (size_t i; (i = next++) < order.size();)
        answers[order[i]] = hashing.hash(requests[order[i]], helped);
      std::lock_guard<std::mutex> lock(mutex);
      running--;
      finished.notify_one();
    });
  {
    std::unique_lock<std::mutex> lock(mutex);
    while (!finished.wait_for(lock, std::chrono::milliseconds(100), [&] { return running == 0; }))
      if (options.progress) options.progress(std::min<uint64_t>(done, total), total);
  }
  for (std::thread& thread : pool) thread.join();
  return answers;
}

}  // namespace sconce::signing
