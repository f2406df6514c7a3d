// The header's parser. Its own, because what is accepted must agree bit for bit with the reference
// reader (which is serde_json with a recursion limit of 128 and buffered values), and because it
// knows what it expects: the keys of a tensor are compared, not looked up.
#include <algorithm>
#include <cstring>

#include <simdjson.h>

#include "base/checked.h"
#include "formats/safetensors/header.h"
#include "formats/safetensors/json_cursor.h"

namespace sconce {
class HeaderParser {
 public:
  // All of the JSON is there. Errors are those of the reference reader.
  HeaderParser(Bytes json, AcceptMode mode)
      : json_(json),
        cursor_(reinterpret_cast<const char*>(json.data()),
                reinterpret_cast<const char*>(json.data()) + json.size()),
        mode_(mode) {
    header_.data_offset_ = 8 + json.size();
  }
  // It is read through `read` in windows: much faster than into new memory. Any failure, also of
  // what a window cannot hold, only says that the whole must be looked at: nothing is wrong yet.
  HeaderParser(uint64_t json_bytes, const ReadAt& read, AcceptMode mode, uint64_t window_bytes)
      : cursor_(nullptr, nullptr),
        mode_(mode),
        read_(&read),
        unread_(json_bytes),
        window_(new uint8_t[window_bytes]),
        window_bytes_(window_bytes) {
    header_.data_offset_ = 8 + json_bytes;
  }

  Result<Header> parse(uint64_t file_bytes) {
    if (!read_ ? !is_utf8(json_) : !read_on(cursor_.at()))
      return error(Code::invalid_file, "InvalidHeader: the header is not UTF-8");
    uint64_t json_bytes = header_.data_offset_ - 8;
    header_.data_bytes_ = file_bytes - header_.data_offset_;
    // Text is never longer than the JSON that it comes from. What is not written takes no memory.
    header_.names_.reset(new char[json_bytes + 1]);
    names_ = header_.names_.get();
    header_.tensors_.reserve(json_bytes / 64 + 1);
    if (!read_root() || !remove_duplicates()) return error(Code::invalid_file, "{}", error_text());
    TRY_VOID(place());
    return std::move(header_);
  }

 private:
  std::string error_text() {
    std::string text = cursor_.take_error();
    std::string prefix = error_name_;
    if (!current_.data()) return prefix + ": " + text;
    return prefix + ": tensor " + quoted_name(current_) + ": " + text;
  }
  bool fail(std::string text, const char* name = "InvalidHeaderDeserialization") {
    error_name_ = name;
    return cursor_.fail(std::move(text));
  }
  bool strict() const { return mode_ == AcceptMode::strict; }
  static bool is_utf8(Bytes text) {
    return simdjson::validate_utf8(reinterpret_cast<const char*>(text.data()), text.size());
  }

  // Moves the window on: what begins at `from` and the text behind it, `from` at its start. False
  // when that brings nothing new, or the text before is not UTF-8.
  bool read_on(const char* from) {
    uint64_t kept = uint64_t(cursor_.end() - from);
    if (unread_ == 0 || kept == window_bytes_ || !is_window_utf8(from)) return false;
    memmove(window_.get(), from ? from : window_text(), kept);
    uint64_t bytes = std::min(window_bytes_ - kept, unread_);
    if (!(*read_)(header_.data_offset_ - unread_, window_.get() + kept, bytes).ok()) return false;
    unread_ -= bytes;
    cursor_ = JsonCursor(window_text(), window_text() + kept + bytes);
    return true;
  }
  const char* window_text() const { return reinterpret_cast<const char*>(window_.get()); }
  bool is_window_utf8(const char* end) const {
    return !end || is_utf8(Bytes(window_.get(), size_t(end - window_text())));
  }

  bool read_root() {
    if (strict() && cursor_.peek() != '{') return cursor_.fail_wanted("'{'");
    if (!cursor_.expect('{', "'{'")) return false;
    cursor_.skip_space();
    bool more = !cursor_.take('}');
    while (more) {
      const char* start = cursor_.at();
      char* names = names_;
      bool had_metadata = has_metadata_;
      if (read_item(&more)) continue;
      // The window may end inside the item: once more from its start.
      if (!read_on(start)) return false;
      names_ = names;
      current_ = {};
      has_metadata_ = had_metadata;
      if (!had_metadata) header_.metadata_.clear();
    }
    do {
      if (strict())
        while (cursor_.take(' ')) {
        }
      else
        cursor_.skip_space();
      if (!cursor_.at_end())
        return cursor_.fail_wanted(strict() ? "only spaces after the '}' (strict)"
                                            : "nothing but white space after the '}'");
    } while (read_on(cursor_.at()));
    return unread_ == 0 && (!read_ || is_window_utf8(cursor_.end()));
  }

  // A name, its value, and the comma or brace behind it, which says whether there are `more`.
  bool read_item(bool* more) {
    cursor_.skip_space();
    char* before = names_;
    std::string_view name;
    if (!cursor_.read_string(&name, &names_) || !cursor_.expect(':', "':'")) return false;
    cursor_.skip_space();
    if (name == "__metadata__") {
      names_ = before;
      if (!read_metadata()) return false;
    } else if (!read_entry(name, before)) {
      return false;
    }
    cursor_.skip_space();
    *more = cursor_.take(',');
    if (!*more && !cursor_.take('}')) {
      if (name != "__metadata__") header_.tensors_.pop_back();
      return cursor_.fail_wanted("',' or '}'");
    }
    return true;
  }

  bool read_metadata() {
    if (has_metadata_) return fail("__metadata__ stands there twice");
    has_metadata_ = true;
    if (!strict() && cursor_.take_word("null")) return true;
    if (!cursor_.take('{')) return cursor_.fail_wanted("'{' of __metadata__");
    Metadata& metadata = header_.metadata_;
    header_.has_metadata_ = true;
    cursor_.skip_space();
    if (!cursor_.take('}')) {
      do {
        cursor_.skip_space();
        char* room = names_;
        std::string_view key, value;
        if (!cursor_.read_string(&key, &room) || !cursor_.expect(':', "':'")) return false;
        cursor_.skip_space();
        if (cursor_.peek() != '"')
          return fail(fmt::format("__metadata__: the value of {} at byte {} is not a string",
                                  quoted_name(key), cursor_.position()));
        if (!cursor_.read_string(&value, &room)) return false;
        metadata.emplace_back(key, value);
        cursor_.skip_space();
      } while (cursor_.take(','));
      if (!cursor_.take('}')) return cursor_.fail_wanted("',' or '}' in __metadata__");
    }
    std::stable_sort(metadata.begin(), metadata.end(),
                     [](const auto& a, const auto& b) { return a.first < b.first; });
    for (size_t i = 1; i < metadata.size(); i++)
      if (metadata[i].first == metadata[i - 1].first && mode_ != AcceptMode::reference)
        return fail(
            fmt::format("__metadata__: {} stands there twice", quoted_name(metadata[i].first)),
            "DuplicateName");
    // Of equal keys the last: walking backwards, the first that is seen.
    auto last = std::unique(metadata.rbegin(), metadata.rend(),
                            [](const auto& a, const auto& b) { return a.first == b.first; });
    metadata.erase(metadata.begin(), last.base());
    return true;
  }

  // The value of a tensor. `name` lies in the JSON, or at `room` when it had escapes.
  bool read_entry(std::string_view name, char* room) {
    if (name.data() != room) {
      memcpy(room, name.data(), name.size());
      names_ = room + name.size();
      name = {room, name.size()};
    }
    current_ = name;
    TensorInfo tensor;
    tensor.name = name;
    if (read_usual(&tensor)) {
    } else if (cursor_.take('{')) {
      if (!read_fields(&tensor)) return false;
    } else if (mode_ == AcceptMode::reference && cursor_.take('[')) {
      if (!read_list(&tensor)) return false;
    } else {
      return cursor_.fail_wanted("'{' of a tensor");
    }
    current_ = {};
    header_.tensors_.push_back(tensor);
    return true;
  }

  // The form that nearly every file has: {"dtype":"F32","shape":[2,3],"data_offsets":[0,24]}.
  // False, with nothing read, where it is another.
  bool read_usual(TensorInfo* tensor) {
    const char* start = cursor_.at();
    auto read = [&] {
      constexpr size_t kRankMax = 16;
      uint64_t sizes[kRankMax];
      size_t rank = 0;
      if (!cursor_.take_word("{\"dtype\":\"") || !cursor_.take_word(element_name(type_)) ||
          !cursor_.take_word("\",\"shape\":["))
        return false;
      if (!cursor_.take(']')) {
        do {
          if (rank == kRankMax || !cursor_.take_natural(&sizes[rank++])) return false;
        } while (cursor_.take(','));
        if (!cursor_.take(']')) return false;
      }
      if (!cursor_.take_word(",\"data_offsets\":[") || !cursor_.take_natural(&tensor->begin) ||
          !cursor_.take(',') || !cursor_.take_natural(&tensor->end) || !cursor_.take_word("]}"))
        return false;
      tensor->type = type_;
      tensor->shape = keep_shape({sizes, rank});
      return true;
    };
    if (read()) return true;
    cursor_.go_back(start);
    return false;
  }

  bool read_fields(TensorInfo* tensor) {
    bool has_dtype = false, has_shape = false, has_offsets = false;
    auto once = [&](bool* has, const char* what) {
      if (*has) return fail(fmt::format("\"{}\" stands there twice", what));
      return *has = true;
    };
    cursor_.skip_space();
    if (!cursor_.take('}')) {
      do {
        cursor_.skip_space();
        char* room = names_;
        std::string_view key;
        if (!cursor_.read_string(&key, &room) || !cursor_.expect(':', "':'")) return false;
        cursor_.skip_space();
        if (key == "dtype") {
          if (!once(&has_dtype, "dtype") || !read_type(tensor)) return false;
        } else if (key == "shape") {
          if (!once(&has_shape, "shape") || !read_shape(tensor)) return false;
        } else if (key == "data_offsets") {
          if (!once(&has_offsets, "data_offsets") || !read_offsets(tensor)) return false;
        } else {
          if (strict())
            return fail(fmt::format("unknown field {} (strict)", quoted_name(key)), "UnknownField");
          if (!cursor_.skip_value(2, room)) return false;
        }
        cursor_.skip_space();
      } while (cursor_.take(','));
      if (!cursor_.take('}')) return cursor_.fail_wanted("',' or '}'");
    }
    if (!has_dtype || !has_shape || !has_offsets)
      return fail(fmt::format("\"{}\" is missing", !has_dtype   ? "dtype"
                                                   : !has_shape ? "shape"
                                                                : "data_offsets"));
    return true;
  }

  // Reference only: ["F32", [1], [0, 4]].
  bool read_list(TensorInfo* tensor) {
    cursor_.skip_space();
    if (!read_type(tensor) || !cursor_.expect(',', "','")) return false;
    cursor_.skip_space();
    if (!read_shape(tensor) || !cursor_.expect(',', "','")) return false;
    cursor_.skip_space();
    return read_offsets(tensor) && cursor_.expect(']', "']'");
  }

  bool read_type(TensorInfo* tensor) {
    char* room = names_;
    std::string_view text;
    if (cursor_.peek() == '"') {
      if (!cursor_.read_string(&text, &room)) return false;
    } else if (mode_ == AcceptMode::reference && cursor_.take('{')) {  // {"F32": null}
      cursor_.skip_space();
      if (!cursor_.read_string(&text, &room) || !cursor_.expect(':', "':'")) return false;
      cursor_.skip_space();
      if (!cursor_.take_word("null")) return cursor_.fail_wanted("null");
      if (!cursor_.expect('}', "'}'")) return false;
    } else {
      return cursor_.fail_wanted("dtype as a string");
    }
    if (text == element_name(type_)) {  // as the tensor before
      tensor->type = type_;
      return true;
    }
    auto found = find_element_type(text);
    if (!found)
      return fail(fmt::format("dtype {} is none of the format's", quoted_name(text.substr(0, 40))));
    tensor->type = type_ = *found;
    return true;
  }

  bool read_shape(TensorInfo* tensor) {
    if (!cursor_.take('[')) return cursor_.fail_wanted("'[' of shape");
    sizes_.clear();
    cursor_.skip_space();
    if (!cursor_.take(']')) {
      do {
        cursor_.skip_space();
        uint64_t size = 0;
        if (!cursor_.read_natural(&size, "a number in shape")) return false;
        sizes_.push_back(size);
        cursor_.skip_space();
      } while (cursor_.take(','));
      if (!cursor_.take(']')) return cursor_.fail_wanted("',' or ']' in shape");
    }
    tensor->shape = keep_shape(sizes_);
    return true;
  }

  // Neighbours often have the same shape: it is kept once.
  Span<const uint64_t> keep_shape(Span<const uint64_t> sizes) {
    if (std::equal(sizes.begin(), sizes.end(), shape_.begin(), shape_.end())) return shape_;
    if (sizes.size() > shape_room_) {
      shape_room_ = std::max<size_t>(sizes.size(), 4096);
      header_.shapes_.emplace_back(new uint64_t[shape_room_]);
      shape_at_ = header_.shapes_.back().get();
    }
    std::copy(sizes.begin(), sizes.end(), shape_at_);
    shape_ = {shape_at_, sizes.size()};
    shape_at_ += sizes.size();
    shape_room_ -= sizes.size();
    return shape_;
  }

  bool read_offsets(TensorInfo* tensor) {
    constexpr const char* kWanted = "data_offsets as [begin, end]";
    if (!cursor_.take('[')) return cursor_.fail_wanted(kWanted);
    cursor_.skip_space();
    if (!cursor_.read_natural(&tensor->begin, "begin of data_offsets")) return false;
    if (!cursor_.expect(',', kWanted)) return false;
    cursor_.skip_space();
    return cursor_.read_natural(&tensor->end, "end of data_offsets") &&
           cursor_.expect(']', kWanted);
  }

  // Finds equal names: an error, or in reference mode the earlier one goes.
  bool remove_duplicates() {
    auto& tensors = header_.tensors_;
    std::vector<bool> replaced;
    bool unique = header_.index_names([&](size_t earlier, size_t) {
      if (mode_ != AcceptMode::reference)
        return fail(fmt::format("two tensors are named {}", quoted_name(tensors[earlier].name)),
                    "DuplicateName");
      replaced.resize(tensors.size());
      return bool(replaced[earlier] = true);
    });
    if (!unique) return false;
    if (!replaced.empty()) {
      size_t kept = 0;
      for (size_t i = 0; i < tensors.size(); i++)
        if (!replaced[i]) tensors[kept++] = tensors[i];
      tensors.resize(kept);
      header_.index_names([](size_t, size_t) { return true; });
    }
    return true;
  }

  // The data follows the header without gap, overlap or tail.
  Result<void> place() {
    auto& tensors = header_.tensors_;
    auto earlier = [](const TensorInfo& a, const TensorInfo& b) {
      return a.begin != b.begin ? a.begin < b.begin : a.end < b.end;
    };
    if (!std::is_sorted(tensors.begin(), tensors.end(), earlier)) {
      std::stable_sort(tensors.begin(), tensors.end(), earlier);
      header_.index_names([](size_t, size_t) { return true; });
    }
    uint64_t at = 0;
    for (const TensorInfo& tensor : tensors) {
      if (tensor.begin != at || tensor.end < tensor.begin)
        return error(Code::invalid_file,
                     "InvalidOffset: tensor {} has data_offsets [{}, {}], the data before it ends "
                     "at {}",
                     quoted_name(tensor.name), tensor.begin, tensor.end, at);
      at = tensor.end;
      auto bytes = tensor_bytes(tensor.type, tensor.shape);
      if (!bytes.ok())
        return error(Code::invalid_file, "{}",
                     bytes.error().text.insert(bytes.error().text.find(':') + 2,
                                               "tensor " + quoted_name(tensor.name) + ": "));
      if (*bytes != tensor.bytes())
        return error(Code::invalid_file,
                     "TensorInvalidInfo: tensor {}: {} {} takes {} bytes, data_offsets hold {}",
                     quoted_name(tensor.name), element_name(tensor.type), shape_text(tensor.shape),
                     *bytes, tensor.bytes());
      uint64_t alignment = element_bits(tensor.type) / 8;
      if (strict() && alignment > 1 && (header_.data_offset_ + tensor.begin) % alignment != 0)
        return error(Code::invalid_file,
                     "Unaligned: tensor {}: {} at byte {} of the file is not at a multiple of {} "
                     "(strict)",
                     quoted_name(tensor.name), element_name(tensor.type),
                     header_.data_offset_ + tensor.begin, alignment);
    }
    if (at != header_.data_bytes_)
      return error(Code::invalid_file,
                   "MetadataIncompleteBuffer: the tensors end at byte {} of the data, the file has "
                   "{} bytes of data",
                   at, header_.data_bytes_);
    return {};
  }

  Bytes json_;
  JsonCursor cursor_;
  AcceptMode mode_;
  Header header_;
  char* names_ = nullptr;
  const ReadAt* read_ = nullptr;  // where the text is read in windows
  uint64_t unread_ = 0;           // bytes behind the window
  std::unique_ptr<uint8_t[]> window_;
  uint64_t window_bytes_ = 0;
  Span<const uint64_t> shape_;  // of the tensor before
  uint64_t* shape_at_ = nullptr;
  size_t shape_room_ = 0;
  std::vector<uint64_t> sizes_;
  ElementType type_ = ElementType::f32;
  std::string_view current_;  // tensor that is being read, for messages
  const char* error_name_ = "InvalidHeaderDeserialization";
  bool has_metadata_ = false;
};

// The JSON of a head.
static Result<Bytes> find_json(Bytes head, uint64_t file_bytes) {
  TRY(uint64_t bytes, header_bytes(head, file_bytes));
  if (bytes > head.size())
    return error(Code::invalid_file,
                 "InvalidHeaderLength: header of {} bytes, {} are there after the length",
                 bytes - 8, head.size() - 8);
  return head.subspan(8, bytes - 8);
}

Result<Header> parse_header(Bytes head, uint64_t file_bytes, AcceptMode mode) {
  TRY(Bytes json, find_json(head, file_bytes));
  return HeaderParser(json, mode).parse(file_bytes);
}

Result<Header> read_header(uint64_t file_bytes, const ReadAt& read, AcceptMode mode,
                           uint64_t window_bytes) {
  uint8_t first[8];
  uint64_t there = std::min<uint64_t>(file_bytes, 8);
  TRY_VOID(read(0, first, there));
  TRY(uint64_t bytes, header_bytes(Bytes(first, size_t(there)), file_bytes));
  if (bytes > 2 * window_bytes) {
    auto header = HeaderParser(bytes - 8, read, mode, window_bytes).parse(file_bytes);
    if (header.ok()) return header;
  }
  std::unique_ptr<uint8_t[]> head(new uint8_t[bytes]);
  TRY_VOID(read(0, head.get(), bytes));
  return parse_header(Bytes(head.get(), bytes), file_bytes, mode);
}

}  // namespace sconce
