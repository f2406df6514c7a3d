#include "platform/cpu.h"

#include <sched.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <thread>

#if defined(__x86_64__)
#include <cpuid.h>
#elif defined(__aarch64__) && defined(__linux__)
#include <sys/auxv.h>
#endif

namespace sconce {
namespace {

constexpr const char* kNames[] = {
#define SCONCE_ROW(name, family, needs) #name,
    SCONCE_ISAS(SCONCE_ROW)
#undef SCONCE_ROW
};
constexpr int kIsaCount = int(std::size(kNames));

struct Processor {
  bool runs[kIsaCount] = {};
  Caches caches;
  std::string name = "unknown processor", micro_architecture = "unknown";
  void set(Isa isa, bool value) { runs[int(isa)] = value; }
};

#if defined(__x86_64__)
struct Registers {
  uint32_t a = 0, b = 0, c = 0, d = 0;
};

Registers cpuid(uint32_t leaf, uint32_t subleaf = 0) {
  Registers r;
  if (__get_cpuid_max(leaf & 0x80000000u, nullptr) < leaf) return r;
  __cpuid_count(leaf, subleaf, r.a, r.b, r.c, r.d);
  return r;
}

bool bit(uint32_t word, int index) { return word >> index & 1; }

// Intel SDM volume 1, 13.3 and 14.3; AMD APM volume 3, appendix E.
Processor read_processor() {
  Processor p;
  Registers one = cpuid(1), seven = cpuid(7), seven_one = cpuid(7, 1);
  uint32_t kept = 0;  // XCR0: which registers the system saves
  if (bit(one.c, 27)) {
    uint32_t high;
    __asm__ volatile("xgetbv" : "=a"(kept), "=d"(high) : "c"(0));
  }
  bool ymm = (kept & 0x6) == 0x6, zmm = (kept & 0xe6) == 0xe6;
  bool avx2 = ymm && bit(one.c, 28) && bit(seven.b, 5) && bit(one.c, 12) && bit(one.c, 29);
  bool avx512 =
      avx2 && zmm && bit(seven.b, 16) && bit(seven.b, 17) && bit(seven.b, 30) && bit(seven.b, 31);
  p.set(Isa::plain, true);
  p.set(Isa::sse2, true);
  p.set(Isa::avx2, avx2);
  p.set(Isa::avx2_vnni, avx2 && bit(seven_one.a, 4));
  p.set(Isa::avx512, avx512);
  p.set(Isa::avx512_vnni, avx512 && bit(seven.c, 11));

  // Deterministic cache parameters: the same words, at leaf 4 by Intel and at 0x8000001d by AMD.
  char vendor[13] = {};
  Registers zero = cpuid(0);
  memcpy(vendor, &zero.b, 4);
  memcpy(vendor + 4, &zero.d, 4);
  memcpy(vendor + 8, &zero.c, 4);
  bool amd = strcmp(vendor, "AuthenticAMD") == 0 || strcmp(vendor, "HygonGenuine") == 0;
  for (uint32_t i = 0; i < 16; i++) {
    Registers r = cpuid(amd ? 0x8000001d : 4, i);
    uint32_t type = r.a & 31, level = r.a >> 5 & 7;
    if (type == 0) break;
    if (type == 2) continue;  // instructions
    uint32_t bytes = ((r.b >> 22) + 1) * ((r.b >> 12 & 1023) + 1) * ((r.b & 4095) + 1) * (r.c + 1);
    if (level == 1) p.caches.l1_bytes = bytes;
    if (level == 2) p.caches.l2_bytes = bytes;
    if (level == 3) p.caches.l3_bytes = bytes;
  }

  // Family and model of 15 and more continue in the extended fields (Intel SDM volume 2, CPUID).
  uint32_t family = one.a >> 8 & 15, model = one.a >> 4 & 15;
  if (family == 15 || family == 6) model |= (one.a >> 16 & 15) << 4;
  if (family == 15) family += one.a >> 20 & 255;
  if (vendor[0])
    p.micro_architecture =
        std::string(vendor) + "-" + std::to_string(family) + "-" + std::to_string(model);

  char brand[49] = {};
  for (uint32_t i = 0; i < 3; i++) {
    Registers r = cpuid(0x80000002 + i);
    memcpy(brand + 16 * i, &r, 16);
  }
  const char* start = brand + strspn(brand, " ");
  size_t length = strlen(start);
  while (length && start[length - 1] == ' ') length--;
  if (length) p.name.assign(start, length);
  return p;
}
#elif defined(__aarch64__) && defined(__linux__)
uint32_t read_size(const char* path) {  // "512K"
  uint32_t value = 0;
  char unit = 0;
  if (FILE* file = fopen(path, "r")) {
    if (fscanf(file, "%u%c", &value, &unit) < 1) value = 0;
    fclose(file);
  }
  return unit == 'K' ? value << 10 : unit == 'M' ? value << 20 : value;
}

Processor read_processor() {
  Processor p;
  // Bits of linux/arch/arm64/include/uapi/asm/hwcap.h; named here since old headers lack some.
  unsigned long hwcap = getauxval(AT_HWCAP), hwcap2 = getauxval(AT_HWCAP2);
  bool neon = hwcap >> 1 & 1, dotprod = neon && (hwcap >> 20 & 1);
  p.set(Isa::plain, true);
  p.set(Isa::neon, neon);
  p.set(Isa::neon_dotprod, dotprod);
  p.set(Isa::neon_i8mm, dotprod && (hwcap2 >> 13 & 1));
  const std::string folder = "/sys/devices/system/cpu/cpu0/cache/index";
  for (int i = 0; i < 8; i++) {
    std::string index = folder + std::to_string(i);
    char type[16] = {};
    if (FILE* file = fopen((index + "/type").c_str(), "r")) {
      if (fscanf(file, "%15s", type) != 1) type[0] = 0;
      fclose(file);
    }
    if (!type[0]) break;
    if (strcmp(type, "Instruction") == 0) continue;
    uint32_t level = read_size((index + "/level").c_str());
    uint32_t bytes = read_size((index + "/size").c_str());
    if (level == 1) p.caches.l1_bytes = bytes;
    if (level == 2) p.caches.l2_bytes = bytes;
    if (level == 3) p.caches.l3_bytes = bytes;
  }
  if (FILE* file = fopen("/sys/devices/system/cpu/cpu0/regs/identification/midr_el1", "r")) {
    char midr[32] = {};
    if (fscanf(file, "%31s", midr) == 1) {
      p.name = std::string("AArch64 MIDR ") + midr;
      unsigned long long bits = strtoull(midr, nullptr, 16);  // Arm ARM: MIDR_EL1
      char text[32];
      snprintf(text, sizeof text, "arm-0x%x-0x%x", unsigned(bits >> 24 & 0xff),
               unsigned(bits >> 4 & 0xfff));
      p.micro_architecture = text;
    }
    fclose(file);
  }
  return p;
}
#else
Processor read_processor() {
  Processor p;
  p.set(Isa::plain, true);
#if defined(__aarch64__)  // Advanced SIMD is part of every application profile that has a system
  p.set(Isa::neon, true);
#endif
  return p;
}
#endif

const Processor& processor() {
  static const Processor read = read_processor();
  return read;
}

}  // namespace

const char* isa_name(Isa isa) { return kNames[int(isa)]; }

std::optional<Isa> find_isa(std::string_view name) {
  for (int i = 0; i < kIsaCount; i++)
    if (name == kNames[i]) return Isa(i);
  return std::nullopt;
}

bool can_run(Isa isa) { return processor().runs[int(isa)]; }

std::vector<Isa> runnable_isas() {
  std::vector<Isa> list;
  for (int i = 0; i < kIsaCount; i++)
    if (can_run(Isa(i))) list.push_back(Isa(i));
  return list;
}

Isa best_isa() { return runnable_isas().back(); }

Result<Isa> choose_isa(const char* name) {
  if (!name || !*name) return best_isa();
  std::string here;
  for (Isa isa : runnable_isas()) here += (here.empty() ? "" : ", ") + std::string(isa_name(isa));
  auto isa = find_isa(name);
  if (!isa)
    return error(Code::invalid_argument,
                 "SCONCE_ISA: \"{}\" is no instruction set we have kernels for; this processor "
                 "runs {}",
                 name, here);
  if (!can_run(*isa))
    return error(Code::unsupported, "SCONCE_ISA: this processor ({}) cannot run {}; it runs {}",
                 processor_name(), name, here);
  return *isa;
}

Result<Isa> chosen_isa() { return choose_isa(getenv("SCONCE_ISA")); }

Caches caches() { return processor().caches; }

const std::string& processor_name() { return processor().name; }

const std::string& micro_architecture() { return processor().micro_architecture; }

int processor_count() {
#if defined(__linux__)
  cpu_set_t set;
  CPU_ZERO(&set);
  if (sched_getaffinity(0, sizeof set, &set) == 0 && CPU_COUNT(&set) > 0) return CPU_COUNT(&set);
#endif
  unsigned count = std::thread::hardware_concurrency();
  return count ? int(count) : 1;
}

}  // namespace sconce
