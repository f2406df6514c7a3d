#include "formats/checkpoint/pickle.h"

#include <string>

#include <gtest/gtest.h>

#include "formats/checkpoint/utf8.h"

namespace sconce {
namespace {

Bytes bytes_of(std::string_view text) {
  return {reinterpret_cast<const uint8_t*>(text.data()), text.size()};
}

// Text with NULs in it.
template <size_t N>
std::string raw(const char (&text)[N]) {
  return std::string(text, N - 1);
}

std::string number(uint64_t value, int bytes) {
  std::string out;
  for (int i = 0; i < bytes; i++) out += char(value >> (8 * i));
  return out;
}
std::string global(std::string_view module, std::string_view name) {
  return fmt::format("c{}\n{}\n", module, name);
}
std::string text(std::string_view value) {
  return "X" + number(value.size(), 4) + std::string(value);
}
std::string tuple_of(const std::vector<std::string>& items) {
  std::string out = "(";
  for (const std::string& item : items) out += item;
  return out + "t";
}
std::string storage(std::string_view type, std::string_view key, const std::string& count) {
  return tuple_of({text("storage"), global("torch", type), text(key), text("cpu"), count}) + "Q";
}
std::string tensor(const std::string& storage, const std::string& offset, const std::string& size,
                   const std::string& stride) {
  return global("torch._utils", "_rebuild_tensor_v2") +
         tuple_of(
             {storage, offset, size, stride, "\x89", global("collections", "OrderedDict") + ")R"}) +
         "R";
}
std::string i8(uint64_t value) { return "\x8a\x08" + number(value, 8); }

std::string printed(const std::string& pickle, PickleOptions options = {}) {
  auto tree = read_pickle(bytes_of(pickle), options);
  return tree.ok() ? print_pickle_value(*tree, tree->root, 1000) : "error: " + tree.error().text;
}

std::string error_of(const std::string& pickle, PickleOptions options = {}) {
  options.persistent_ids = PersistentIds::zip;
  auto tree = read_pickle(bytes_of(pickle), options);
  return tree.ok() ? "accepted" : tree.error().text;
}

TEST(Pickle, reads_plain_values_of_every_protocol) {
  EXPECT_EQ(printed("N."), "null");
  EXPECT_EQ(printed("(I1\nI-2\nI01\nI00\nL3L\nF1.5\nS'a\\x41\\n'\nV\\u00e9\ntp0\n."),
            "[1, -2, true, false, 3, 1.5, \"aA\\n\", \"\xc3\xa9\"]");
  EXPECT_EQ(printed(raw("\x80\x02}q\x00(X\x01\x00\x00\x00"
                        "aK\x01U\x01"
                        "bJ\xff\xff\xff\xffu.")),
            "{\"a\": 1, \"b\": -1}");
  EXPECT_EQ(printed(raw("\x80\x04\x95\x0b\x00\x00\x00\x00\x00\x00\x00]\x94(K\x01M\x00\x02h\x00"
                        "0e.")),
            "[1, 512]");
  EXPECT_EQ(printed(raw("\x80\x05\x96\x02\x00\x00\x00\x00\x00\x00\x00xy.")), "\"2 bytes\"");
  EXPECT_EQ(printed(raw("\x80\x02G\x3f\xf8\x00\x00\x00\x00\x00\x00.")), "1.5");
  EXPECT_EQ(printed(raw("\x80\x04\x8f(K\x01K\x02\x90.")), "[1, 2]");
}

TEST(Pickle, reads_integers_of_any_length) {
  EXPECT_EQ(printed(raw("\x80\x02\x8a\x00.")), "0");
  EXPECT_EQ(printed(raw("\x80\x02\x8a\x01\x80.")), "-128");
  EXPECT_EQ(printed(raw("\x80\x02\x8a\x02\x80\x00.")), "128");
  EXPECT_EQ(printed(raw("\x80\x02\x8a\x09\xff\xff\xff\xff\xff\xff\xff\x7f\x00.")),
            "9223372036854775807");
  EXPECT_EQ(printed(raw("\x80\x02\x8a\x09\x00\x00\x00\x00\x00\x00\x00\x80\x00.")),
            "\"0x008000000000000000\"");
  EXPECT_EQ(printed("L119547037146038801333356L\n."), "\"0x1950a86a20f9469cfc6c\"");
  EXPECT_EQ(printed("L-9223372036854775808L\n."), "-9223372036854775808");
  EXPECT_EQ(printed("L-9223372036854775809L\n."), "\"0xff7fffffffffffffff\"");
}

TEST(Pickle, knows_the_globals_of_the_list_only_by_their_exact_names) {
  EXPECT_EQ(printed(global("torch", "float32") + "."), "\"torch.float32\"");
  EXPECT_EQ(printed(global("collections", "OrderedDict") + ")R" + text("a") + "K\x01s."),
            "{\"a\": 1}");
  EXPECT_EQ(printed(global("_codecs", "encode") + text("a\xc3\xbf") + text("latin1") + "\x86R."),
            "\"2 bytes\"");
  EXPECT_EQ(printed(global("builtins", "complex") + raw("G\x3f\xf8\x00\x00\x00\x00\x00\x00") +
                    raw("G\x3f\xf8\x00\x00\x00\x00\x00\x00") + "\x86R."),
            "[1.5, 1.5]");
  for (const auto& [module, name] : std::vector<std::pair<const char*, const char*>>{
           {"torch", "float32 "},
           {"torch", "Float32"},
           {"torch ", "float32"},
           {"torch.", "float32"},
           {"", "torch.float32"},
           {"torch.float32", ""},
           {"collections", "OrderedDict.fromkeys"},
           {"torch._utils", "_rebuild_tensor_v2.__globals__"},
           {"os", "system"},
           {"builtins", "eval"},
           {"builtins", "getattr"},
           {"torch.storage", "_load_from_bytes"},
       })
    EXPECT_NE(error_of(global(module, name) + ".").find("is not on the list"), std::string::npos)
        << module << " " << name;
}

TEST(Pickle, checks_that_views_lie_in_their_storage) {
  auto found = [](const std::string& t) { return error_of(raw("\x80\x02") + t + "."); };
  std::string four = storage("FloatStorage", "0", "K\x04");
  EXPECT_EQ(found(tensor(four, raw("K\x00"), "K\x02K\x02\x86", "K\x02K\x01\x86")), "accepted");
  EXPECT_EQ(found(tensor(four, "K\x04", raw("K\x00\x85"), "K\x01\x85")), "accepted");
  EXPECT_EQ(found(tensor(four, raw("K\x00"), i8(1ull << 40) + "\x85", raw("K\x00\x85"))),
            "accepted");  // the size meets a limit when it is planned
  auto has = [&](const std::string& t, const char* wanted) {
    EXPECT_NE(found(t).find(wanted), std::string::npos) << found(t);
  };
  has(tensor(four, "K\x01", "K\x04\x85", "K\x01\x85"), "reach past the 4 elements");
  has(tensor(four, raw("K\x00"), "K\x02\x85", "K\x04\x85"), "reach past the 4 elements");
  has(tensor(four, "J\xff\xff\xff\xff", "K\x01\x85", "K\x01\x85"), "offset -1 is negative");
  has(tensor(four, raw("K\x00"), "J\xff\xff\xff\xff\x85", "K\x01\x85"), "size[0] is -1");
  has(tensor(four, raw("K\x00"), "K\x01\x85", "J\xff\xff\xff\xff\x85"), "stride[0] is -1");
  has(tensor(four, raw("K\x00"), "K\x01\x85", "K\x01K\x01\x86"), "1 sizes and 2 strides");
  has(tensor(four, i8(~0ull >> 1), "K\x02\x85", i8(~0ull >> 1) + "\x85"), "reach past");
  has(tensor(four, raw("K\x00"), i8(1ull << 32) + i8(1ull << 32) + "\x86", raw("K\x00K\x00\x86")),
      "reach past");
  has(tensor(four, raw("K\x00"), "N", "K\x01\x85"), "size is None");
  has(tensor(four, raw("K\x00"), text("a") + "\x85", "K\x01\x85"), "size is a text");
  has(tensor(four, raw("\x8a\x09\x00\x00\x00\x00\x00\x00\x00\x00\x01"), "K\x01\x85", "K\x01\x85"),
      "offset is an int of more than 64 bits");
  has(tensor("N", raw("K\x00"), "K\x01\x85", "K\x01\x85"), "storage is None");
  std::string many = "(";
  for (int i = 0; i < 65; i++) many += "K\x01";
  has(tensor(four, raw("K\x00"), many + "t", many + "t"), "65 dimensions");
}

TEST(Pickle, refuses_storages_that_contradict_themselves) {
  auto has = [](const std::string& found, const char* wanted) {
    EXPECT_NE(found.find(wanted), std::string::npos) << found;
  };
  std::string first = storage("FloatStorage", "0", "K\x04");
  has(error_of("(" + first + storage("DoubleStorage", "0", "K\x04") + "t."),
      "is 4 of float64 here");
  has(error_of("(" + first + storage("FloatStorage", "0", "K\x05") + "t."), "is 5 of float32 here");
  EXPECT_EQ(error_of("(" + first + first + "t."), "accepted");
  has(error_of(storage("FloatStorage", "0", "J\xff\xff\xff\xff") + "."), "of -1 elements");
  has(error_of(storage("FloatStorage", "0", i8(1ull << 62)) + "."), "elements");
  has(error_of(storage("FloatStorage", "0", "N") + "."), "count is None");
  has(error_of(storage("Tensor", "0", "K\x04") + "."),
      "type is a global, wanted a class of storages");
  has(error_of(storage("float32", "0", "K\x04") + "."), "type is a dtype");
  has(error_of(tuple_of({text("module"), "N", "N", "N"}) + "Q."), "the tag is \"module\"");
  has(error_of(tuple_of({text("storage")}) + "Q."), "a storage of 1 values");
  has(error_of(storage("FloatStorage", std::string(300, '0'), "K\x04") + "."), "has 300 bytes");
  has(error_of(")Q."), "an empty tuple");
  has(error_of("K\x01Q."), "it is an int, wanted a tuple");
  has(error_of("P0\n."), "persistent ids as text");
  has(printed(first + "."), "there are no storages here");
}

struct Lie {
  const char* name;
  std::string pickle;
  const char* wanted;
};

std::string repeat(const std::string& part, int count) {
  std::string out;
  for (int i = 0; i < count; i++) out += part;
  return out;
}

// One for each way to lie that public lists of attacks on pickles know; named for the lie.
TEST(Pickle, refuses_lies_and_names_their_place) {
  const std::string system = "cposix\nsystem\n(S'touch /tmp/sconce_was_run'\ntR.";
  const Lie lies[] = {
      {"call_os_system", system, "offset 0: GLOBAL: global posix.system"},
      {"call_eval", "cbuiltins\neval\n(Vprint(1)\ntR.", "global builtins.eval"},
      {"call_python_2_eval", "c__builtin__\neval\n(Vprint(1)\ntR.", "global __builtin__.eval"},
      {"call_after_a_good_value", raw("\x80\x02K\x01") + "0" + system,
       "offset 5: GLOBAL: global posix.system"},
      {"call_before_an_exception", "cposix\nsystem\n(S'ls'\ntR\xff.", "global posix.system"},
      {"stack_global", "\x8c\x02os\x8c\x06system\x93.",
       "offset 12: STACK_GLOBAL: global os.system"},
      {"stack_global_by_memo",
       "\x8c\x02os\x94\x8c\x06system\x94"
       "00h" +
           raw("\x00") + "h\x01\x93.",
       "STACK_GLOBAL: global os.system"},
      {"stack_global_of_bytes", "C\x02osC\x06system\x93.", "wanted two texts"},
      {"stack_global_of_numbers", "K\x01K\x02\x93.", "wanted two texts"},
      {"inst", "(S'ls'\nios\nsystem\n.", "INST: global os.system"},
      {"obj", "(cos\nsystem\nS'ls'\no.", "GLOBAL: global os.system"},
      {"newobj", "csubprocess\nPopen\n)\x81.", "global subprocess.Popen"},
      {"newobj_ex", "csubprocess\nPopen\n)}\x92.", "global subprocess.Popen"},
      {"extension_1", "\x82\x01.", "EXT1: extension codes"},
      {"extension_2", raw("\x83\x01\x00."), "EXT2: extension codes"},
      {"extension_4", raw("\x84\x01\x00\x00\x00."), "EXT4: extension codes"},
      {"nested_pickle", "c_pickle\nloads\nC\x02N.\x85R.", "global _pickle.loads"},
      {"nested_torch_load", "ctorch.storage\n_load_from_bytes\nC\x02N.\x85R.",
       "global torch.storage._load_from_bytes"},
      {"attribute_walk", "cbuiltins\ngetattr\nctorch\nTensor\nV__class__\n\x86R.",
       "global builtins.getattr"},
      {"operator_gadget", "coperator\nattrgetter\nVsystem\n\x85R.", "global operator.attrgetter"},
      {"dotted_name", "ctorch\nTensor.__class__\n.", "global torch.Tensor.__class__"},
      {"module_with_nul", raw("ctorch\x00.os\nsystem\n."), "global torch\\x00.os.system"},
      {"name_that_is_not_utf8", "c\xff\xfe\nsystem\n.", "global \\xff\\xfe.system"},
      {"escape_codes_in_a_name", "c\x1b[2Jos\nsystem\n.", "global \\x1b[2Jos.system"},
      {"long_name", "c" + std::string(5000, 'a') + "\nb\n.", "exceeds the limit of 1024"},
      {"call_a_dtype", "ctorch\nfloat32\n)R.", "a dtype cannot be called"},
      {"call_a_storage_class", "ctorch\nFloatStorage\nJ\x01\x01\x01\x01\x85R.",
       "is a name here, it may not be called"},
      {"call_a_tensor_class", raw("ctorch\nFloatTensor\nJ\x00\x84\xd7\x17\x85R."),
       "a tensor made by calling its class"},
      {"call_a_number", "K\x01)R.", "an int cannot be called"},
      {"call_with_a_list", "ccollections\nOrderedDict\n]R.", "arguments are a list"},
      {"bytearray_of_a_length", raw("cbuiltins\nbytearray\nJ\x00\x2f\x68\x59\x85R."),
       "argument is an int, wanted bytes"},
      {"bytes_of_a_length", raw("cbuiltins\nbytes\nJ\x00\x2f\x68\x59\x85R."),
       "argument is an int, wanted bytes"},
      {"rebuild_calls_itself",
       "ctorch._tensor\n_rebuild_from_type_v2\n(ctorch._tensor\n_rebuild_from_type_v2\nctorch\n"
       "Tensor\n)}tR.",
       "calls itself"},
      {"rebuild_with_any_function",
       "ctorch._tensor\n_rebuild_from_type_v2\n(K\x01"
       "ctorch\nTensor\n)}tR.",
       "cannot be called"},
      {"rebuild_with_few_arguments", "ctorch._utils\n_rebuild_tensor_v2\n)R.",
       "0 arguments, wanted 6 to 7"},
      {"build_on_a_number", "K\x01}b.", "BUILD: target is an int"},
      {"build_on_a_global", "ctorch\nTensor\n}b.", "BUILD: target is a global"},
      {"set_item_on_a_list", "]K\x01K\x02s.", "SETITEM: target is a list"},
      {"set_item_on_a_tensor_class", "ctorch\nTensor\nK\x01K\x02s.", "target is a global"},
      {"append_to_a_dict",
       "}K\x01"
       "a.",
       "APPEND: target is a dict"},
      {"append_to_a_text",
       "VA\nK\x01"
       "a.",
       "target is a text"},
      {"add_items_to_a_list", "](K\x01\x90.", "wanted a set"},
      {"odd_items", "}(K\x01u.", "one has no partner"},
      {"list_as_a_key", "}]K\x01s.", "a key is a list"},
      {"list_in_a_key", "}]\x85K\x01s.", "a key is a list"},
      {"no_stop", "K\x01", "offset 2: the pickle ends without STOP"},
      {"empty", "", "offset 0: the pickle ends without STOP"},
      {"stop_without_a_value", ".", "STOP: the stack is empty"},
      {"values_left_on_the_stack", "K\x01K\x02.", "1 values and 0 marks are left"},
      {"mark_left_on_the_stack", "K\x01(K\x02.", "1 marks"},
      {"pop_from_nothing", "0.", "POP: the stack is empty"},
      {"pop_through_a_mark",
       "K\x01("
       "a.",
       "APPEND: the stack is empty"},
      {"tuple_without_mark", "t.", "TUPLE: no MARK"},
      {"tuple_2_through_a_mark", "K\x01(K\x02\x86.", "wants 2 values, 1 are on the stack"},
      {"unknown_opcode", "\xfe.", "offset 0: 0xfe is no opcode"},
      {"protocol_6", "\x80\x06N.", "protocol 6, wanted 0 to 5"},
      {"protocol_in_the_middle", "N\x80\x02.", "stands in the middle"},
      {"out_of_band_buffer", "\x97.", "buffers outside the pickle"},
      {"frame_past_the_end", raw("\x80\x04\x95\xff\x00\x00\x00\x00\x00\x00\x00N."), "frame of 255"},
      {"frame_of_2_64", "\x80\x04\x95\xff\xff\xff\xff\xff\xff\xff\xffN.", "frame of 1844674407"},
      {"frame_ends_in_an_opcode", raw("\x80\x04\x95\x02\x00\x00\x00\x00\x00\x00\x00M\x01\x02."),
       "past the end of its frame"},
      {"frame_in_a_frame",
       raw("\x80\x04\x95\x0b\x00\x00\x00\x00\x00\x00\x00\x95\x01\x00\x00\x00\x00"
           "\x00\x00\x00N."),
       "stands inside the frame"},
      {"memo_index_of_4_billion", "N\x72\xff\xff\xff\xff.",
       "memo index 4294967295 after 2 opcodes"},
      {"memo_index_in_text", "Np99999999999999999999\n.", "is not an index"},
      {"memo_entry_not_set", "h\x07.", "memo entry 7 has not been set"},
      {"memo_of_nothing", "q\x01.", "BINPUT: the stack is empty"},
      {"long_of_2_gigabytes", raw("\x8b\xff\xff\xff\x7f\x01."), "integer of 2147483647 bytes"},
      {"long_of_negative_length", "\x8b\xff\xff\xff\xff\x01.", "integer of 4294967295 bytes"},
      {"long_of_1_million_digits", "L" + std::string(1000000, '9') + "L\n.", "1000000 digits"},
      {"int_that_is_none", "I0x10\n.", "is not an integer"},
      {"float_that_is_none", "Fone\n.", "is not a number"},
      {"text_past_the_end",
       "X\xff\xff\xff\xff"
       "a.",
       "wants 4294967295 bytes, 2 are left"},
      {"text_of_2_64",
       "\x8d\xff\xff\xff\xff\xff\xff\xff\xff"
       "a.",
       "wants 18446744073709551615"},
      {"bytes_past_the_end",
       "\x8e\xff\xff\xff\xff\xff\xff\xff\x7f"
       "a.",
       "the pickle is cut short"},
      {"byte_array_past_the_end",
       "\x96\xff\xff\xff\xff\xff\xff\xff\x7f"
       "a.",
       "cut short"},
      {"text_not_utf8", raw("X\x02\x00\x00\x00") + "a\xff.",
       "byte 1 of the text is 0xff: not UTF-8"},
      {"text_overlong", "\x8c\x02\xc0\xaf.", "not UTF-8"},
      {"text_surrogate", "\x8c\x03\xed\xa0\x80.", "not UTF-8"},
      {"escaped_surrogate", "V\\ud800\n.", "is not a character"},
      {"text_without_quotes", "Sabc\n.", "is not in quotes"},
      {"text_with_half_an_escape", "S'a\\'\n.", "ends inside an escape"},
      {"line_without_end", "Vabc", "no end of line"},
      {"marks_without_end", repeat("(", 5000), "more than 4096 open marks"},
      {"encode_of_wide_text",
       global("_codecs", "encode") + text("\xe2\x82\xac") + text("latin1") + "\x86R.",
       "cannot be encoded as latin1"},
      {"encode_by_a_codec", global("_codecs", "encode") + text("a") + text("bz2") + "\x86R.",
       "encoding \"bz2\""},
      {"array_of_too_few_bytes",
       global("numpy.core.numeric", "_frombuffer") +
           "(C\x03"
           "abc" +
           global("numpy", "dtype") + text("f4") + "\x85RK\x01\x85" + text("C") + "tR.",
       "float32 [1] takes 4 bytes, 3 are given"},
      {"array_of_negative_size",
       global("numpy.core.numeric", "_frombuffer") +
           "(C\x03"
           "abc" +
           global("numpy", "dtype") + text("f4") + "\x85RJ\xff\xff\xff\xff\x85" + text("C") + "tR.",
       "shape [-1] is not possible"},
      {"array_of_huge_size",
       global("numpy.core.numeric", "_frombuffer") +
           "(C\x03"
           "abc" +
           global("numpy", "dtype") + text("f4") + "\x85R" + i8(1ull << 62) + i8(4) + "\x86" +
           text("C") + "tR.",
       "is not possible"},
  };
  for (const Lie& lie : lies) {
    std::string found = error_of(lie.pickle);
    EXPECT_NE(found.find(lie.wanted), std::string::npos) << lie.name << ": " << found;
    EXPECT_NE(found.find("offset "), std::string::npos) << lie.name << ": " << found;
    // Cut at any byte it is refused as well, or it was refused for what comes before.
    for (size_t size = 0; size < std::min<size_t>(lie.pickle.size(), 300); size++)
      EXPECT_NE(error_of(lie.pickle.substr(0, size)), "accepted") << lie.name << " " << size;
  }
}

TEST(Pickle, turns_unknown_names_into_placeholders_when_asked) {
  PickleOptions options;
  options.ignore_unknown = true;
  EXPECT_EQ(printed("cposix\nsystem\n(S'ls'\ntR.", options), "\"<posix.system()>\"");
  EXPECT_EQ(printed("cposix\nsystem\n.", options), "\"<posix.system>\"");
  auto tree =
      read_pickle(bytes_of("(cposix\nsystem\nS'ls'\n\x85Rcposix\nsystem\n)R}bcx\ny\nt."), options);
  ASSERT_TRUE(tree.ok()) << tree.error().text;
  ASSERT_EQ(tree->unknown.size(), 2u);
  EXPECT_EQ(tree->unknown[0].name, "posix.system");
  EXPECT_EQ(tree->unknown[0].offset, 1u);
  EXPECT_EQ(tree->unknown[0].named_count, 2u);
  EXPECT_EQ(tree->unknown[0].called_count, 2u);
  EXPECT_EQ(tree->unknown[1].called_count, 0u);
  // The list stays what it is, and what is broken stays broken.
  EXPECT_NE(printed("ctorch\nFloatStorage\n)R.", options).find("error"), std::string::npos);
  EXPECT_NE(printed("\x82\x01.", options).find("error"), std::string::npos);
}

TEST(Pickle, meets_each_limit) {
  auto with = [](auto change, const std::string& pickle) {
    PickleOptions options;
    change(options.limits);
    auto tree = read_pickle(bytes_of(pickle), options);
    return tree.ok() ? "accepted" : tree.error().text;
  };
  auto has = [](const std::string& found, const char* wanted) {
    EXPECT_NE(found.find(wanted), std::string::npos) << found;
  };
  has(with([](PickleLimits& l) { l.pickle_bytes_max = 1; }, "N."), "pickle of 2 bytes exceeds");
  has(with([](PickleLimits& l) { l.opcode_count_max = 1; }, "N."), "more than 1 opcodes");
  has(with([](PickleLimits& l) { l.value_count_max = 10; }, repeat("]", 20)),
      "more than 10 values");
  has(with([](PickleLimits& l) { l.stack_depth_max = 10; }, repeat("N", 20)),
      "more than 10 values on the stack");
  has(with([](PickleLimits& l) { l.mark_depth_max = 10; }, repeat("(", 20)), "more than 10 open");
  has(with([](PickleLimits& l) { l.memo_count_max = 10; }, "N" + repeat("\x94", 20)),
      "more than 10 memo entries");
  has(with([](PickleLimits& l) { l.decoded_bytes_max = 10; }, "V" + std::string(20, 'a') + "\n."),
      "more than 10 bytes of decoded text");
  // A list that is copied into a tuple again and again.
  std::string copies = "(" + repeat("N", 100) + "lq" + raw("\x00") + "0";
  for (int i = 0; i < 20; i++) copies += global("torch", "Size") + "h" + raw("\x00") + "\x85R0";
  has(with([](PickleLimits& l) { l.value_count_max = 1000; }, copies), "items are copied");
  // A key whose tuples hold one another: 100 to the power of 6 values, if each were looked at.
  std::string key = "K\x01";
  for (int i = 0; i < 6; i++)
    key += "q" + std::string(1, char(i)) + "0(" + repeat("h" + std::string(1, char(i)), 100) + "t";
  has(with([](PickleLimits&) {}, "}" + key + "Ns."), "copied or compared");
  std::string one =
      raw("\x80\x02") + "(" + repeat("ctorch.nn.parameter\nParameter\n)\x81", 3) + "t.";
  has(with([](PickleLimits& l) { l.tensor_count_max = 2; }, one), "more than 2 tensors");
}

TEST(Utf8, finds_the_first_byte_that_is_wrong) {
  EXPECT_EQ(find_invalid_utf8("a\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80"), 10u);
  for (std::string_view bad :
       {"\x80", "\xc3", "\xe2\x82", "\xf0\x9f\x98", "\xc1\x81", "\xe0\x80\x80", "\xf0\x80\x80\x80",
        "\xf4\x90\x80\x80", "\xf8", "\xed\xbf\xbf"})
    EXPECT_EQ(find_invalid_utf8("ab" + std::string(bad)), 2u);
  std::string out;
  for (uint32_t point : {0x41u, 0xe9u, 0x20acu, 0x1f600u}) EXPECT_TRUE(append_utf8(point, &out));
  EXPECT_EQ(out, "A\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80");
}

}  // namespace
}  // namespace sconce
