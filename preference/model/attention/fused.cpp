// Attention of packed rows in one pass over each, and its derivative in another.
//
// A block of queries at a time, with all its keys: what belongs to it stays in a core's cache. Weights
// are not kept, but had again from the logarithm of their sum (FlashAttention-2, Dao 2023,
// arXiv:2307.08691). A row and a head of keys with its queries is a task, summed in one order: the
// bits do not depend on the number of threads.

#include <omp.h>
#include <type_traits>

constexpr i64 BLOCK = 48;  // queries
static_assert(BLOCK % TILE == 0 && BLOCK % 2 == 0 && FILLED % LANES == 0);

// bf16, (tokens, heads, width): how far tokens and heads are apart; a width lies end to end.
struct Heads {
  u16 *at;
  i64 token, head, heads, width;

  u16 *of(i64 t, i64 h) const { return at + t * token + h * head; }
  Left left(i64 t, i64 h) const { return {(const u32 *)of(t, h), token / 2, 1}; }
};

// Where rows begin, and the end, (rows + 1,); for each its bias, (positions, positions), or none; of
// each query's weights the logarithm of the sum, (heads, tokens).
struct Rows {
  i64 rows;
  const i64 *starts;
  const float *const *biases;
  float scale, *logs;
  i64 threads, room;  // each has so many bytes of scratch
  char *scratch;
};

// One row and one head of its keys, with the heads of queries from `begin` on.
struct Task {
  i64 first, tokens, positions, head, begin, end, all_tokens;
  const float *bias;
  float scale, *logs;

  Task(const Rows &rows, i64 row, i64 head, i64 shared)
      : first(rows.starts[row]), tokens(rows.starts[row + 1] - first),
        positions(filled(tokens, FILLED)), head(head), begin(head * shared), end(begin + shared),
        all_tokens(rows.starts[rows.rows]), bias(rows.biases[row]), scale(rows.scale),
        logs(rows.logs + first) {}

  float &log(i64 query, i64 h) const { return logs[h * all_tokens + query]; }

  // What the query adds up for the keys from c on: minus infinity where it does not look.
  Floats score(const float *products, i64 query, i64 c) const {
    Floats found = load(products + c) * scale;
    if (bias) return found + load(bias + query * positions + c);
    typedef std::int32_t Numbers __attribute__((vector_size(4 * LANES)));
    Numbers keys = Numbers{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15} + (int)c;
    return keys <= (int)query ? found : Floats{} - INFINITY;
  }
};

// What a task has in memory. Pairs of a block lie as a product takes them from the right.
struct Room {
  u32 *keys, *values, *key_pairs, *query_pairs, *given_pairs, *weight_pairs, *slope_pairs;
  float *products, *slopes, *out, *for_keys, *for_values;
  u16 *left;
  i64 bytes = 0;

  Room(char *at, i64 positions, i64 width, i64 value_width) {
    auto take = [&](auto *&part, i64 count) {
      part = (std::remove_reference_t<decltype(part)>)(at + bytes);
      bytes += filled(count * sizeof(*part), 4 * LANES);
    };
    take(keys, positions * width / 2), take(key_pairs, positions * width / 2);
    take(values, positions * value_width / 2);
    take(for_keys, positions * width), take(for_values, positions * value_width);
    take(products, BLOCK * positions), take(slopes, BLOCK * positions);
    take(left, BLOCK * positions), take(out, BLOCK * std::max(width, value_width));
    take(query_pairs, BLOCK / 2 * width), take(given_pairs, BLOCK / 2 * value_width);
    take(weight_pairs, BLOCK / 2 * positions), take(slope_pairs, BLOCK / 2 * positions);
  }
};

// Pairs along the width: (width / 2, positions).
static void by_width(const Heads &from, const Task &at, u32 *to) {
  for (i64 d = 0; d < from.width; d += 2, to += at.positions) {
    for (i64 t = 0; t < at.tokens; t++) std::memcpy(to + t, from.of(at.first + t, at.head) + d, 4);
    std::fill(to + at.tokens, to + at.positions, 0);
  }
}

// Pairs of tokens that follow one another, zeros after the last: (filled / 2, width).
static void by_token(const Heads &from, i64 first, i64 head, i64 tokens, i64 filled, u32 *to) {
  for (i64 t = 0; t < filled; t += 2, to += from.width)
    for (i64 d = 0; d < from.width; d += LANES) {
      Words even = t < tokens ? load(from.of(first + t, head) + d) : Words{};
      Words odd = t + 1 < tokens ? load(from.of(first + t + 1, head) + d) : Words{};
      store(to + d, even | odd << 16);
    }
}

static void write(const float *from, float scale, const Heads &to, i64 token, i64 head) {
  for (i64 d = 0; d < to.width; d += LANES)
    store(to.of(token, head) + d, rounded(load(from + d) * scale));
}

static void forward(const Task &at, const Room &room, const Heads &q, const Heads &k,
                    const Heads &v, const Heads &out) {
  by_width(k, at, room.keys);
  by_token(v, at.first, at.head, at.tokens, at.positions, room.values);
  for (i64 h = at.begin; h < at.end; h++)
    for (i64 from = 0; from < at.tokens; from += BLOCK) {
      i64 queries = std::min(BLOCK, at.tokens - from), keys = filled(from + queries, LANES);
      Left left = q.left(at.first + from, h);
      product(queries, keys, q.width / 2, left, room.keys, at.positions, room.products);
      float sums[BLOCK];
      for (i64 i = 0; i < queries; i++) {
        i64 query = from + i, seen = filled(query + 1, LANES);
        float *x = room.products + i * keys;
        u16 *weights = room.left + i * keys;
        Floats most = Floats{} - INFINITY, sum{};
        for (i64 c = 0; c < seen; c += LANES) {
          Floats score = at.score(x, query, c);
          store(x + c, score);
          most = larger(score, most);
        }
        float top = reduced(most, larger);
        for (i64 c = 0; c < seen; c += LANES) {
          Floats weight = exponential(load(x + c) - top);
          sum += weight;
          store(weights + c, rounded(weight));
        }
        std::fill(weights + seen, weights + keys, 0);
        sums[i] = reduced(sum, plus);
        at.log(query, h) = top + std::log(sums[i]);
      }
      left = {(const u32 *)room.left, keys / 2, 1};
      product(queries, v.width, keys / 2, left, room.values, v.width, room.out);
      for (i64 i = 0; i < queries; i++)
        write(room.out + i * v.width, 1 / sums[i], out, at.first + from + i, h);
    }
}

// The second of a pair is put above the first.
static inline void pair_up(u32 *to, Halves x, bool second) {
  store(to, second ? load(to) | widened(x) << 16 : widened(x));
}

// Weights of a block of queries in pairs, and what their scores weigh (slopes) in pairs and in rows.
static void slopes(const Task &at, const Room &room, i64 h, i64 from, i64 queries, i64 keys) {
  for (i64 i = 0; i < queries; i++) {
    i64 query = from + i, seen = filled(query + 1, LANES), pair = i / 2 * keys;
    float *weights = room.products + i * keys, *given = room.slopes + i * keys;
    Floats sum{};
    for (i64 c = 0; c < seen; c += LANES) {
      Floats weight = exponential(at.score(weights, query, c) - at.log(query, h));
      store(weights + c, weight);
      sum += weight * load(given + c);
    }
    float mean = reduced(sum, plus);
    for (i64 c = 0; c < keys; c += LANES) {
      Halves weight{}, slope{};
      if (c < seen) {
        weight = rounded(load(weights + c));
        slope = rounded(load(weights + c) * (load(given + c) - mean));
      }
      store(room.left + i * keys + c, slope);
      pair_up(room.weight_pairs + pair + c, weight, i % 2);
      pair_up(room.slope_pairs + pair + c, slope, i % 2);
    }
  }
}

static void backward(const Task &at, const Room &room, const Heads &q, const Heads &k,
                     const Heads &v, const Heads &given, const Heads &for_q, const Heads &for_k,
                     const Heads &for_v) {
  by_width(k, at, room.keys), by_width(v, at, room.values);
  by_token(k, at.first, at.head, at.tokens, at.positions, room.key_pairs);
  std::fill_n(room.for_keys, at.positions * k.width, 0);
  std::fill_n(room.for_values, at.positions * v.width, 0);
  for (i64 h = at.begin; h < at.end; h++)
    for (i64 from = 0; from < at.tokens; from += BLOCK) {
      i64 queries = std::min(BLOCK, at.tokens - from), keys = filled(from + queries, LANES);
      i64 first = at.first + from, even = filled(queries, 2), pairs = even / 2;
      product(queries, keys, q.width / 2, q.left(first, h), room.keys, at.positions, room.products);
      product(queries, keys, v.width / 2, given.left(first, h), room.values, at.positions,
              room.slopes);
      slopes(at, room, h, from, queries, keys);
      by_token(q, first, h, queries, even, room.query_pairs);
      by_token(given, first, h, queries, even, room.given_pairs);
      Left left = {(const u32 *)room.left, keys / 2, 1};
      product(queries, q.width, keys / 2, left, room.key_pairs, q.width, room.out);
      left = {room.slope_pairs, 1, keys};
      product(keys, q.width, pairs, left, room.query_pairs, q.width, room.for_keys, true);
      left = {room.weight_pairs, 1, keys};
      product(keys, v.width, pairs, left, room.given_pairs, v.width, room.for_values, true);
      for (i64 i = 0; i < queries; i++) write(room.out + i * q.width, at.scale, for_q, first + i, h);
    }
  for (i64 t = 0; t < at.tokens; t++) {
    write(room.for_keys + t * k.width, at.scale, for_k, at.first + t, at.head);
    write(room.for_values + t * v.width, 1, for_v, at.first + t, at.head);
  }
}

extern "C" i64 room(i64 tokens, i64 width, i64 value_width) {
  return Room(nullptr, filled(tokens, FILLED), width, value_width).bytes;
}

template <class Do>
static void each(const Rows &rows, const Heads &q, const Heads &k, const Heads &v, Do run) {
#pragma omp parallel for schedule(dynamic) num_threads(rows.threads)
  for (i64 task = 0; task < rows.rows * k.heads; task++) {
    Task at(rows, task / k.heads, task % k.heads, q.heads / k.heads);
    char *scratch = rows.scratch + omp_get_thread_num() * rows.room;
    run(at, Room(scratch, at.positions, k.width, v.width));
  }
}

extern "C" void attend(const Rows *rows, const Heads *q, const Heads *k, const Heads *v,
                       const Heads *out) {
  each(*rows, *q, *k, *v,
       [&](const Task &at, const Room &room) { forward(at, room, *q, *k, *v, *out); });
}

extern "C" void differentiate(const Rows *rows, const Heads *q, const Heads *k, const Heads *v,
                              const Heads *given, const Heads *for_q, const Heads *for_k,
                              const Heads *for_v) {
  each(*rows, *q, *k, *v, [&](const Task &at, const Room &room) {
    backward(at, room, *q, *k, *v, *given, *for_q, *for_k, *for_v);
  });
}
