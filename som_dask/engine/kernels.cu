// What a GPU does with a tile of samples: search, settle, measure, add up. Driven by gpu.py.
//
// The rules are those of strips.py, accumulate.py and numerics/hashing.py, to the bit. Whatever decides or is added up is
// therefore float64 by intrinsics that round each operation by itself, which no option of the compiler fuses or
// reorders, or integers. Only the scores are float32: their error bound holds for any order and for FMA.
//
// The cost of one epoch, 10^7 samples of 50 float32 features on 32 x 32 nodes, on a GPU with 132 multiprocessors at
// 1.7 GHz: the scores are 5.1e11 FMA of 2.9e13 a second, 18 ms at best. The lowest three of them take about 10
// instructions a score, 1e11 of 2.9e13 / 2 a second, in part beside the FMAs. Adding 10^9 limbs by atomics in global
// memory, at one a clock in each of some 90 slices of the L2 cache, would take 7 ms, and far more where samples
// crowd on few nodes. Sorting the row numbers by node and adding in registers reads the samples twice more, 2 GB
// each time, 1 ms at memory speed, and leaves 1 % of the atomics.
//
// Parameters are pointers, long long and double only: one way to pass them. Compiled with -DCHUNK=k, the number of
// features in shared memory at once; gpu.py chooses it so that it nearly divides the number of features.

#if !defined(CHUNK) || !defined(UNIT_ROUNDOFF_64) || !defined(LEAST_SQUARE)
#error "compile with the options of compiler_options in gpu.py: the constants are those of error_bound.py"
#endif

constexpr int ROWS = 128, NODES = 128;  // of the tile of scores that a block has at a time
constexpr int SEARCH_THREADS = 256, THREADS = 128;
constexpr int STRIP = 32;  // features staged at once where rows are read
constexpr int RUN = 64;  // sorted rows that one thread adds up for a feature
constexpr double LIMB = 1099511627776.0;  // 2^40
typedef unsigned long long Word;

// Places in the array of totals.
constexpr int MISSES = 0, OUTSIDE = 1, FINGERPRINT = 2, DISTANCE = 3;

__device__ __forceinline__ double infinity() { return __longlong_as_double(0x7ff0000000000000LL); }

// A sample's feature as float64. CuPy compiles with -ftz=true, by which the conversion of a subnormal float32 gives
// zero; so those are put together from their bits.
__device__ __forceinline__ double feature(const void* samples, long long wide, long long at) {
  if (wide) return ((const double*)samples)[at];
  unsigned bits = ((const unsigned*)samples)[at];
  if ((bits & 0x7f800000u) == 0) {
    double size = __dmul_rn((double)(bits & 0x007fffffu), 1.0 / 713623846352979940529142984724747568191373312.0);
    return (bits >> 31) ? -size : size;  // 2^-149 each
  }
  return (double)__uint_as_float(bits);
}

// Walks the elements of the rows of a strip in their order in memory, THREADS at a time, without division.
struct Walk {
  int row, column, rows, columns, row_step, column_step;

  __device__ Walk(int width) {
    columns = width;
    row = threadIdx.x / width, column = threadIdx.x % width;
    row_step = THREADS / width, column_step = THREADS % width;
  }
  __device__ void next() {
    row += row_step, column += column_step;
    if (column >= columns) column -= columns, ++row;
  }
};

__device__ Word block_sum(Word value, Word* scratch) {
  scratch[threadIdx.x] = value;
  __syncthreads();
  for (int half = blockDim.x / 2; half > 0; half /= 2) {
    if (threadIdx.x < half) scratch[threadIdx.x] += scratch[threadIdx.x + half];
    __syncthreads();
  }
  Word total = scratch[0];
  __syncthreads();
  return total;
}

// Shift, scale and round samples to float32, (n, D) -> (tiles, K, ROWS) with zeros beyond D and n, and bound the
// error of their scores: -1 where float32 can't hold the sample.
extern "C" __global__ void __launch_bounds__(THREADS) shift(
    const void* samples, long long wide, long long n, long long n_features, long long padded, const double* center,
    double scale, double radius, double gamma, float* shifted, double* bounds) {
  __shared__ float strip[ROWS][STRIP + 1];
  long long first = (long long)blockIdx.x * ROWS;
  int rows = n - first < ROWS ? (int)(n - first) : ROWS, own = threadIdx.x;
  double squared = 0;
  for (int j = 0; j < padded; j += STRIP) {
    int columns = n_features - j < STRIP ? (int)(n_features - j) : STRIP;
    int places = padded - j < STRIP ? (int)(padded - j) : STRIP;
    if (columns > 0) {
      for (Walk at(columns); at.row < rows; at.next()) {
        double value = feature(samples, wide, (first + at.row) * n_features + j + at.column);
        strip[at.row][at.column] = __double2float_rn(__dmul_rn(__dsub_rn(value, center[j + at.column]), scale));
      }
    }
    __syncthreads();
    for (int k = 0; k < places; ++k) {
      float value = own < rows && k < columns ? strip[own][k] : 0.0f;
      squared += (double)value * (double)value;
      shifted[(blockIdx.x * padded + j + k) * ROWS + own] = value;
    }
    __syncthreads();
  }
  if (own < rows) {
    double norm = __dsqrt_rn(squared), size = norm + radius;  // as score_error in error_bound.py
    double error = gamma * radius * (norm + radius / 2);
    error += (double)(n_features + PLAIN_ROUNDINGS) * UNIT_ROUNDOFF_64 * size * size;
    bounds[first + own] = squared < LARGEST_NORM * LARGEST_NORM ? error : -1.0;
  }
}

// 16 bytes from global to shared memory, on their way while the thread goes on.
__device__ __forceinline__ void copy_ahead(float4* to, const float4* from) {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 800
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16;" ::"r"((unsigned)__cvta_generic_to_shared(to)), "l"(from)
               : "memory");
#else
  *to = *from;
#endif
}

__device__ __forceinline__ void await_copies() {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 800
  asm volatile("cp.async.wait_all;" ::: "memory");
#endif
}

// The three lowest scores so far, and the nodes of two of them.
struct Lowest {
  float first, second, third;
  int bmu, next;

  __device__ __forceinline__ void clear() {
    first = second = third = __int_as_float(0x7f800000);
    bmu = next = 0;
  }
  __device__ __forceinline__ void enter(float score, int node) {
    bool best = score < first, good = score < second;
    third = fminf(third, fmaxf(second, score));
    next = best ? bmu : good ? node : next;
    second = fminf(second, fmaxf(first, score));
    bmu = best ? node : bmu;
    first = fminf(first, score);
  }
};

// Propose the two best nodes of each sample by float32 scores |w|^2 / 2 - x.w, and list the samples for which the
// error bound leaves a choice, each with the score up to which a node may be one of them. Without `certify` only the
// samples that float32 can't hold.
//
// A block has ROWS samples and goes through all nodes; a thread has the 4 x 16 scores of 4 samples with 4 times 4
// nodes. No score leaves its registers. While one chunk of features is multiplied the next is on its way.
extern "C" __global__ void __launch_bounds__(SEARCH_THREADS, 2) search(
    const float* shifted, const double* bounds, const float* weights, const float* half_norms, long long n,
    long long node_tiles, long long chunks, long long need_second, long long certify, int* bmu, int* second,
    int* uncertain, double* limits, int* n_uncertain) {
  constexpr int PART = CHUNK * ROWS / 4, LANES = 8, SCRATCH = 5 * LANES * ROWS / 4;
  __shared__ float4 memory[4 * PART > SCRATCH ? 4 * PART : SCRATCH];
  const float4* samples = (const float4*)shifted + blockIdx.x * chunks * PART;
  const float4* nodes = (const float4*)weights;
  const int thread = threadIdx.x, lane = thread % LANES, group = thread / LANES;
  const long long steps = node_tiles * chunks;
  Lowest lowest[4];
  for (int i = 0; i < 4; ++i) lowest[i].clear();

  for (int i = thread; i < PART; i += SEARCH_THREADS) {
    copy_ahead(memory + i, samples + i);
    copy_ahead(memory + PART + i, nodes + i);
  }
  long long step = 0;
  for (long long tile = 0; tile < node_tiles; ++tile) {
    float score[4][16];
#pragma unroll
    for (int q = 0; q < 4; ++q) {
      float4 half = ((const float4*)half_norms)[tile * (NODES / 4) + q * LANES + lane];
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        score[i][4 * q] = half.x, score[i][4 * q + 1] = half.y;
        score[i][4 * q + 2] = half.z, score[i][4 * q + 3] = half.w;
      }
    }
    for (int chunk = 0; chunk < chunks; ++chunk, ++step) {
      await_copies();
      __syncthreads();  // this chunk is there, and nobody needs the one before it any more
      if (step + 1 < steps) {
        float4* to = memory + ((step + 1) & 1) * 2 * PART;
        const float4* from = samples + (chunk + 1 < chunks ? chunk + 1 : 0) * PART;
        for (int i = thread; i < PART; i += SEARCH_THREADS) {
          copy_ahead(to + i, from + i);
          copy_ahead(to + PART + i, nodes + (step + 1) * PART + i);
        }
      }
      const float4* x_at = memory + (step & 1) * 2 * PART + group;
      const float4* w_at = memory + (step & 1) * 2 * PART + PART + lane;
#pragma unroll
      for (int k = 0; k < CHUNK; ++k) {
        const float4 x4 = x_at[k * (ROWS / 4)];
        const float x[4] = {x4.x, x4.y, x4.z, x4.w};
#pragma unroll
        for (int q = 0; q < 4; ++q) {
          const float4 w = w_at[k * (NODES / 4) + q * LANES];  // negative
#pragma unroll
          for (int i = 0; i < 4; ++i) {
            score[i][4 * q] = fmaf(x[i], w.x, score[i][4 * q]);
            score[i][4 * q + 1] = fmaf(x[i], w.y, score[i][4 * q + 1]);
            score[i][4 * q + 2] = fmaf(x[i], w.z, score[i][4 * q + 2]);
            score[i][4 * q + 3] = fmaf(x[i], w.w, score[i][4 * q + 3]);
          }
        }
      }
    }
    const int node = (int)tile * NODES + 4 * lane;
#pragma unroll
    for (int i = 0; i < 4; ++i)
#pragma unroll
      for (int k = 0; k < 16; ++k) lowest[i].enter(score[i][k], node + k / 4 * 4 * LANES + k % 4);
  }

  // The 8 threads that share samples hand over what they have to one for each sample.
  __syncthreads();
  float* scores = (float*)memory;
  int* found = (int*)(scores + 3 * LANES * ROWS);
  for (int i = 0; i < 4; ++i) {
    int at = lane * ROWS + 4 * group + i;
    scores[at] = lowest[i].first;
    scores[LANES * ROWS + at] = lowest[i].second;
    scores[2 * LANES * ROWS + at] = lowest[i].third;
    found[at] = lowest[i].bmu;
    found[LANES * ROWS + at] = lowest[i].next;
  }
  __syncthreads();
  const long long row = (long long)blockIdx.x * ROWS + thread;
  if (thread >= ROWS || row >= n) return;
  Lowest all;
  all.clear();
  for (int k = 0; k < LANES; ++k) {
    int at = k * ROWS + thread;
    all.enter(scores[at], found[at]);
    all.enter(scores[LANES * ROWS + at], found[LANES * ROWS + at]);
    all.enter(scores[2 * LANES * ROWS + at], 0);  // never among the two best
  }
  bmu[row] = all.bmu;
  second[row] = all.next;
  const double bound = bounds[row];
  bool certain = (double)all.second - (double)all.first > 2 * bound;
  if (need_second) certain = certain && (double)all.third - (double)all.second > 2 * bound;
  if (bound >= 0 && (certain || !certify)) return;
  const int place = atomicAdd(n_uncertain, 1);
  uncertain[place] = (int)row;
  limits[place] = bound < 0 ? infinity() : (double)(need_second ? all.second : all.first) + 4 * bound;
}

// The two nearest nodes so far by float64 squared distances, the lower index on ties.
struct Nearest {
  double least, next_least;
  int bmu, second;

  __device__ void clear() {
    least = next_least = infinity();
    bmu = second = -1;
  }
  __device__ void enter(double squared, int node) {
    if (node < 0) return;
    if (bmu < 0 || squared < least || (squared == least && node < bmu)) {
      next_least = least, second = bmu;
      least = squared, bmu = node;
    } else if (second < 0 || squared < next_least || (squared == next_least && node < second)) {
      next_least = squared, second = node;
    }
  }
};

// Settle the listed samples by the float64 rule, features in order, among the nodes within the limit. A block has
// one sample at a time, a thread every 128th node.
extern "C" __global__ void __launch_bounds__(THREADS) settle(
    const void* samples, long long wide, long long n_features, long long padded, const float* shifted,
    const float* weights, const float* half_norms, const double* codebook, double scale, long long n_nodes,
    const int* uncertain, const double* limits, const int* n_uncertain, int* bmu, int* second) {
  __shared__ Nearest plain[THREADS], scaled[THREADS];
  const int thread = threadIdx.x;
  for (int place = blockIdx.x; place < *n_uncertain; place += gridDim.x) {
    const long long row = uncertain[place];
    const double limit = limits[place];
    const float* x = shifted + row / ROWS * padded * ROWS + row % ROWS;
    // As they are; and scaled, for where squares overflow or vanish.
    Nearest own, other;
    own.clear();
    other.clear();
    for (long long node = thread; node < n_nodes; node += NODES) {
      if (limit < infinity()) {
        const float* w = weights + node / NODES * padded * NODES + node % NODES;
        float score = half_norms[node];
        for (long long k = 0; k < padded; ++k) score = fmaf(x[k * ROWS], w[k * NODES], score);
        if ((double)score > limit) continue;
      }
      double squared = 0, scaled_squared = 0;
      for (long long j = 0; j < n_features; ++j) {
        double difference =
            __dsub_rn(feature(samples, wide, row * n_features + j), codebook[node * n_features + j]);
        squared = __dadd_rn(squared, __dmul_rn(difference, difference));
        difference = __dmul_rn(difference, scale);
        scaled_squared = __dadd_rn(scaled_squared, __dmul_rn(difference, difference));
      }
      own.enter(squared, (int)node);
      other.enter(scaled_squared, (int)node);
    }
    plain[thread] = own;
    scaled[thread] = other;
    __syncthreads();
    for (int half = THREADS / 2; half > 0; half /= 2) {
      if (thread < half) {
        plain[thread].enter(plain[thread + half].least, plain[thread + half].bmu);
        plain[thread].enter(plain[thread + half].next_least, plain[thread + half].second);
        scaled[thread].enter(scaled[thread + half].least, scaled[thread + half].bmu);
        scaled[thread].enter(scaled[thread + half].next_least, scaled[thread + half].second);
      }
      __syncthreads();
    }
    if (thread == 0) {
      const double deciding = plain[0].next_least;
      const Nearest result = LEAST_SQUARE < deciding && deciding < infinity() ? plain[0] : scaled[0];
      bmu[row] = result.bmu;
      if (result.second >= 0) second[row] = result.second;
    }
    __syncthreads();
  }
}

// Count the samples of each node, and those whose two best units are not neighbors.
extern "C" __global__ void __launch_bounds__(THREADS) count(
    const int* bmu, const int* second, const int* neighbors, long long n, int* counts, Word* totals) {
  __shared__ Word scratch[THREADS];
  Word misses = 0;
  for (long long i = (long long)blockIdx.x * THREADS + threadIdx.x; i < n; i += (long long)gridDim.x * THREADS) {
    const int node = bmu[i], next = second[i];
    atomicAdd(counts + node, 1);
    bool near = node == next;
    for (int k = 0; k < 8; ++k) near = near || neighbors[8LL * node + k] == next;
    misses += !near;
  }
  misses = block_sum(misses, scratch);
  if (threadIdx.x == 0 && misses) atomicAdd(totals + MISSES, misses);
}

// Where each node's samples begin when they are sorted by node; by one block. Adds the counts to those of the
// tiles before.
extern "C" __global__ void __launch_bounds__(SEARCH_THREADS) place(
    const int* counts, long long n_nodes, int* starts, Word* all_counts) {
  __shared__ int sums[SEARCH_THREADS];
  const long long share = (n_nodes + SEARCH_THREADS - 1) / SEARCH_THREADS, begin = threadIdx.x * share;
  const long long end = begin + share < n_nodes ? begin + share : n_nodes;
  int own = 0;
  for (long long node = begin; node < end; ++node) own += counts[node];
  sums[threadIdx.x] = own;
  __syncthreads();
  int start = 0;
  for (int k = 0; k < threadIdx.x; ++k) start += sums[k];
  for (long long node = begin; node < end; ++node) {
    starts[node] = start;
    start += counts[node];
    all_counts[node] += counts[node];
  }
}

// Row numbers sorted by node. Which of a node's samples comes first is left to chance: their sums are integers.
extern "C" __global__ void __launch_bounds__(THREADS) sort(const int* bmu, long long n, int* starts, int* order) {
  for (long long i = (long long)blockIdx.x * THREADS + threadIdx.x; i < n; i += (long long)gridDim.x * THREADS)
    order[atomicAdd(starts + bmu[i], 1)] = (int)i;
}

// SplitMix64's finalizer; see numerics/hashing.py.
__device__ __forceinline__ Word mix(Word z) {
  z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9ULL;
  z = (z ^ (z >> 27)) * 0x94D049BB133111EBULL;
  return z ^ (z >> 31);
}

// Each sample's distance to its best matching unit, features in order, and the fingerprint of all. Taken in `order`
// where it is given: neighboring threads then read the same node.
extern "C" __global__ void __launch_bounds__(THREADS) measure(
    const void* samples, long long wide, long long n, long long n_features, const double* codebook, const int* bmu,
    const int* order, long long sorted, long long first_row, double* distance, Word* totals) {
  constexpr Word GOLDEN = 0x9E3779B97F4A7C15ULL;
  __shared__ double strip[THREADS][STRIP + 1];
  __shared__ long long rows[THREADS];
  __shared__ Word scratch[THREADS];
  const long long first = (long long)blockIdx.x * THREADS;
  const int here = n - first < THREADS ? (int)(n - first) : THREADS, own = threadIdx.x;
  if (own < here) rows[own] = sorted ? order[first + own] : first + own;
  __syncthreads();
  const long long row = own < here ? rows[own] : 0;
  const double* w = codebook + (own < here ? bmu[row] : 0) * n_features;
  double squared = 0, largest = 0;
  Word hash = 0;
  for (long long j = 0; j < n_features; j += STRIP) {
    const int columns = n_features - j < STRIP ? (int)(n_features - j) : STRIP;
    for (Walk at(columns); at.row < here; at.next())
      strip[at.row][at.column] = feature(samples, wide, rows[at.row] * n_features + j + at.column);
    __syncthreads();
    if (own < here) {
      for (int k = 0; k < columns; ++k) {
        const double value = strip[own][k], difference = __dsub_rn(value, w[j + k]);
        squared = __dadd_rn(squared, __dmul_rn(difference, difference));
        largest = fmax(largest, fabs(difference));
        const Word bits = value == 0 ? 0 : (Word)__double_as_longlong(value);
        hash += mix(bits + (Word)(j + k + 1) * GOLDEN);
      }
    }
    __syncthreads();
  }
  if (own < here) {
    double result = __dsqrt_rn(squared);
    if (!((1e-150 < largest && largest < 1e150) || largest == 0)) {  // squares overflow or vanish: once more, scaled
      squared = 0;
      for (long long j = 0; j < n_features; ++j) {
        const double difference = __dsub_rn(feature(samples, wide, row * n_features + j), w[j]);
        const double part = __ddiv_rn(difference, largest);
        squared = __dadd_rn(squared, __dmul_rn(part, part));
      }
      result = __dmul_rn(__dsqrt_rn(squared), largest);
    }
    distance[row] = result;
    hash = mix(hash + (Word)(first_row + row) * GOLDEN);
  }
  hash = block_sum(own < here ? hash : 0, scratch);
  if (threadIdx.x == 0) atomicAdd(totals + FINGERPRINT, hash);
}

// Takes the integer part off a number, and makes what is left ready for the next limb; see numerics/fixed_point.py.
__device__ __forceinline__ Word next_limb(double& scaled) {
  const double whole = trunc(scaled);
  scaled = __dmul_rn(__dsub_rn(scaled, whole), LIMB);
  return (Word)__double2ll_rz(whole);
}

// Add limbs 2 z and 2 z + 1 of the samples to those of their nodes, (M, L, D), z the block's third index. A thread
// has one feature of RUN sorted rows, and adds to memory where the node changes. `lanes` threads side by side have
// neighboring features.
extern "C" __global__ void __launch_bounds__(THREADS) add(
    const void* samples, long long wide, long long n, long long n_features, const int* bmu, const int* order,
    const double* factors, double limit, long long n_limbs, long long lanes, Word* limbs, Word* totals) {
  constexpr int AHEAD = 4;  // rows whose values are on their way together
  const long long j = blockIdx.y * lanes + threadIdx.x % lanes;
  const long long begin = (blockIdx.x * (THREADS / lanes) + threadIdx.x / lanes) * RUN;
  const long long end = begin + RUN < n ? begin + RUN : n;
  if (j >= n_features || begin >= n) return;
  const double factor = factors[j], second_factor = factors[n_features + j];
  const int first_limb = 2 * blockIdx.z;
  const bool both = first_limb + 1 < n_limbs;
  Word low = 0, high = 0, outside = 0;
  int current = -1;
  for (long long start = begin; start < end; start += AHEAD) {
    int node[AHEAD];
    double value[AHEAD];
#pragma unroll
    for (int i = 0; i < AHEAD; ++i) {
      const long long row = order[start + i < end ? start + i : end - 1];
      node[i] = bmu[row];
      value[i] = feature(samples, wide, row * n_features + j);
    }
#pragma unroll
    for (int i = 0; i < AHEAD; ++i) {
      if (start + i >= end) break;
      if (node[i] != current) {
        if (current >= 0) {
          Word* at = limbs + (current * n_limbs + first_limb) * n_features + j;
          atomicAdd(at, high);
          if (both) atomicAdd(at + n_features, low);
        }
        current = node[i];
        low = high = 0;
      }
      double scaled = __dmul_rn(__dmul_rn(value[i], factor), second_factor);
      outside += !(fabs(scaled) < limit);
      for (int k = 0; k < first_limb; ++k) next_limb(scaled);
      high += next_limb(scaled);
      if (both) low += next_limb(scaled);
    }
  }
  Word* at = limbs + (current * n_limbs + first_limb) * n_features + j;
  atomicAdd(at, high);
  if (both) atomicAdd(at + n_features, low);
  if (outside && first_limb == 0) atomicAdd(totals + OUTSIDE, outside);
}

// Add all limbs of the distances to the totals.
extern "C" __global__ void __launch_bounds__(THREADS) add_distances(
    const double* distance, long long n, double factor, double second_factor, double limit, long long n_limbs,
    Word* totals) {
  __shared__ Word scratch[THREADS];
  const int first_limb = 2 * blockIdx.y;
  Word low = 0, high = 0, outside = 0;
  for (long long i = (long long)blockIdx.x * THREADS + threadIdx.x; i < n; i += (long long)gridDim.x * THREADS) {
    double scaled = __dmul_rn(__dmul_rn(distance[i], factor), second_factor);
    outside += !(scaled < limit);
    for (int k = 0; k < first_limb; ++k) next_limb(scaled);
    high += next_limb(scaled);
    low += next_limb(scaled);
  }
  high = block_sum(high, scratch);
  low = block_sum(low, scratch);
  outside = block_sum(outside, scratch);
  if (threadIdx.x) return;
  atomicAdd(totals + DISTANCE + first_limb, high);
  if (first_limb + 1 < n_limbs) atomicAdd(totals + DISTANCE + first_limb + 1, low);
  if (outside && first_limb == 0) atomicAdd(totals + OUTSIDE, outside);
}

// As `add`, in float64: sums (M, D) that depend in their last bits on who comes first.
extern "C" __global__ void __launch_bounds__(THREADS) add_rounded(
    const void* samples, long long wide, long long n, long long n_features, const int* bmu, const int* order,
    long long lanes, double* sums) {
  const long long j = blockIdx.y * lanes + threadIdx.x % lanes;
  const long long begin = (blockIdx.x * (THREADS / lanes) + threadIdx.x / lanes) * RUN;
  const long long end = begin + RUN < n ? begin + RUN : n;
  if (j >= n_features || begin >= n) return;
  double sum = 0;
  int current = -1;
  for (long long i = begin; i < end; ++i) {
    const long long row = order[i];
    const int node = bmu[row];
    if (node != current) {
      if (current >= 0) atomicAdd(sums + current * n_features + j, sum);
      current = node;
      sum = 0;
    }
    sum += feature(samples, wide, row * n_features + j);
  }
  atomicAdd(sums + current * n_features + j, sum);
}
