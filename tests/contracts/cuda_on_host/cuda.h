// What kernels.cu needs of CUDA, for a C++ compiler on a machine without a GPU: a thread of a block is a fiber that
// runs to the next barrier, blocks run one after the other. Rounding is that of the device: compile without
// contraction.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>
#include <ucontext.h>
#include <utility>
#include <vector>

#define __global__
#define __device__
#define __forceinline__ inline
#define __launch_bounds__(...)
#define __shared__ static  // of the one block that runs

struct Dimensions {
  unsigned x, y, z;
};
static Dimensions threadIdx, blockIdx, blockDim, gridDim;

struct alignas(16) float4 {
  float x, y, z, w;
};

template <class To, class From>
inline To same_bits(From from) {
  static_assert(sizeof(To) == sizeof(From));
  To to;
  std::memcpy(&to, &from, sizeof to);
  return to;
}

inline float __int_as_float(int bits) { return same_bits<float>(bits); }
inline float __uint_as_float(unsigned bits) { return same_bits<float>(bits); }
inline double __longlong_as_double(long long bits) { return same_bits<double>(bits); }
inline long long __double_as_longlong(double value) { return same_bits<long long>(value); }
inline float __double2float_rn(double value) { return (float)value; }
inline double __dadd_rn(double a, double b) { return a + b; }
inline double __dsub_rn(double a, double b) { return a - b; }
inline double __dmul_rn(double a, double b) { return a * b; }
inline double __ddiv_rn(double a, double b) { return a / b; }
inline double __dsqrt_rn(double a) { return std::sqrt(a); }
inline long long __double2ll_rz(double value) { return std::fabs(value) < 0x1p63 ? (long long)value : INT64_MIN; }

template <class T>
inline T atomicAdd(T* place, T value) {
  T before = *place;
  *place += value;
  return before;
}

struct Fiber {
  ucontext_t context;
  std::vector<char> stack = std::vector<char>(1 << 16);
  bool done, waits;
};
static ucontext_t scheduler;
static std::vector<Fiber> fibers;
static Fiber* running;
static void (*thread_body)();
static unsigned long long* kernel_arguments;

inline void __syncthreads() {
  running->waits = true;
  swapcontext(&running->context, &scheduler);
}

static void run_thread() {
  thread_body();
  running->done = true;
  swapcontext(&running->context, &scheduler);
}

// Runs a block; returns whether its threads met at every barrier. Odd blocks run their threads backwards, so that a
// missing barrier shows one way or the other.
static bool run_block() {
  const unsigned n = blockDim.x;
  if (fibers.size() < n) fibers = std::vector<Fiber>(n);
  for (unsigned t = 0; t < n; ++t) {
    Fiber& fiber = fibers[t];
    fiber.done = false;
    getcontext(&fiber.context);
    fiber.context.uc_stack.ss_sp = fiber.stack.data();
    fiber.context.uc_stack.ss_size = fiber.stack.size();
    fiber.context.uc_link = nullptr;
    makecontext(&fiber.context, run_thread, 0);
  }
  for (;;) {
    unsigned waiting = 0;
    for (unsigned k = 0; k < n; ++k) {
      const unsigned t = blockIdx.x % 2 ? n - 1 - k : k;
      running = &fibers[t];
      running->waits = false;
      threadIdx = {t, 0, 0};
      swapcontext(&scheduler, &running->context);
      waiting += running->waits;
    }
    if (waiting == 0) return true;
    if (waiting < n) return false;
  }
}

// How an argument is passed, and a letter for what it is.
template <class T>
T argument(unsigned long long word) {
  if constexpr (std::is_pointer_v<T>) return (T)word;
  else return same_bits<T>(word);
}
template <class T> constexpr char letter = '?';
template <> constexpr char letter<const void*> = 'v';
template <> constexpr char letter<const float*> = 'f';
template <> constexpr char letter<float*> = 'f';
template <> constexpr char letter<const double*> = 'd';
template <> constexpr char letter<double*> = 'd';
template <> constexpr char letter<const int*> = 'i';
template <> constexpr char letter<int*> = 'i';
template <> constexpr char letter<const unsigned long long*> = 'u';
template <> constexpr char letter<unsigned long long*> = 'u';
template <> constexpr char letter<long long> = 'L';
template <> constexpr char letter<double> = 'D';

template <auto kernel, class... A, std::size_t... I>
void call(void (*)(A...), std::index_sequence<I...>) {
  kernel(argument<A>(kernel_arguments[I])...);
}
template <auto kernel, class... A>
constexpr auto body(void (*)(A...)) {
  return [] { call<kernel>(kernel, std::index_sequence_for<A...>()); };
}
template <class... A>
const char* letters(void (*)(A...)) {
  static const char text[] = {letter<A>..., '\0'};
  return text;
}

// Runs a kernel, its parameters as 64-bit words; returns whether all threads of each block met at every barrier.
static bool run_grid(void (*thread)(), const unsigned* grid, unsigned threads, unsigned long long* words) {
  thread_body = thread, kernel_arguments = words;
  gridDim = {grid[0], grid[1], grid[2]}, blockDim = {threads, 1, 1};
  for (unsigned z = 0; z < grid[2]; ++z)
    for (unsigned y = 0; y < grid[1]; ++y)
      for (unsigned x = 0; x < grid[0]; ++x) {
        blockIdx = {x, y, z};
        if (!run_block()) return false;
      }
  return true;
}
