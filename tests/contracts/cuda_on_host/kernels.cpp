// The kernels for the host: for each one its parameters' letters, and a function that runs it.
#include "cuda.h"
#include KERNELS

#define OFFER(name)                                                                                            \
  extern "C" const char* letters_of_##name() { return letters(name); }                                         \
  extern "C" int run_##name(const unsigned* grid, unsigned threads, unsigned long long* words) {                \
    return run_grid(body<name>(name), grid, threads, words);                                                   \
  }

OFFER(shift)
OFFER(search)
OFFER(settle)
OFFER(count)
OFFER(place)
OFFER(sort)
OFFER(measure)
OFFER(add)
OFFER(add_distances)
OFFER(add_rounded)
