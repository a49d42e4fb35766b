// SPDX-License-Identifier: MIT
//
// Runs the stream's own sources, compiled as they are, under Relacy: a scheduler that decides at each
// atomic operation which thread goes on, and a memory that hands a load any value that C11 allows.
//
// The sources reach it without a change. They are compiled with -fsanitize=thread, which turns each
// atomic operation, with its order, and each plain access to memory into a call; here these calls are
// answered, not by the sanitizer's library, but by Relacy. Locks, allocation and copying are renamed on
// the command line (tests/model/run.py) to what stands at the end.
//
// Plain accesses are checked for races by the same clocks: two that conflict must be ordered by what
// happens before. Freeing counts as a write of all that is freed, and each atomic operation as a read of
// where it stands: so memory that goes too early is found even where the schedule was kind.

#include <cerrno>

constexpr int timed_out = ETIMEDOUT; // Relacy has one of its own

#include <relacy/relacy.hpp>

#undef new
#undef delete
#undef malloc
#undef calloc
#undef realloc
#undef free
#undef assert
#undef errno
#undef memory_order_seq_cst
#undef pthread_mutex_t
#undef pthread_cond_t

#include "model.h"

#include <new>

extern "C" {
#include "stream/wake.h"
}

namespace {

const model_scenario *scenario;

rl::debug_info at(const void *pc)
{
    return rl::debug_info("pc", "src", static_cast<unsigned>(reinterpret_cast<uintptr_t>(pc)));
}

#define HERE at(__builtin_return_address(0))

[[noreturn]] void fail(const char *why, rl::test_result_e result, const rl::debug_info &where)
{
    rl::ctx().fail_test(why, result, where);
    __builtin_unreachable();
}

// The check itself has come to an end of what it has room for: that says nothing about the sources.
bool too_small;

[[noreturn]] void fail_for_room(const char *why, const rl::debug_info &where)
{
    too_small = true;
    fail(why, rl::test_result_user_assert_failed, where);
}

// ---- the heap -------------------------------------------------------------------------------------

// Addresses are the same in each run, and none is used twice in one, so that what was freed is known.
constexpr size_t heap_size = 1 << 18;
constexpr size_t unit = 4; // bytes that are checked as one: the least that two fields share is atomic
constexpr size_t most_cells = 512;

struct shadow {
    bool live;
    rl::timestamp_t read[MODEL_THREADS];
    rl::timestamp_t written[MODEL_THREADS];
};

struct alignas(16) allocation {
    size_t size;
    bool live;
};

alignas(4096) unsigned char heap[heap_size];
shadow shadows[heap_size / unit];
uint16_t cell_at[heap_size]; // 1 + the index in `cells` of the atomic that stands there; 0: none
size_t heap_used;
size_t heap_live; // allocations

using cell = rl::atomic<uint64_t>;
alignas(cell) unsigned char cells[most_cells][sizeof(cell)];
size_t cells_used;

size_t offset_of(const volatile void *p)
{
    return static_cast<size_t>(static_cast<const volatile unsigned char *>(p) - heap);
}

bool on_heap(const volatile void *p)
{
    return offset_of(p) < heap_size;
}

// What Relacy's own var<> does, for memory that is not declared as such.
void access(const volatile void *p, size_t size, bool write, const rl::debug_info &where)
{
    if (!on_heap(p) || size == 0)
        return;
    rl::thread_info_base &me = *rl::ctx().threadx_;
    const rl::timestamp_t *seen = me.acq_rel_order_;
    const unsigned threads = scenario->threads;
    me.own_acq_rel_order_ += 1;
    const size_t last = (offset_of(p) + size - 1) / unit;
    for (size_t i = offset_of(p) / unit; i <= last; i++) {
        shadow &s = shadows[i];
        if (!s.live)
            fail("", rl::test_result_access_to_freed_memory, where);
        for (unsigned t = 0; t < threads; t++)
            if (seen[t] < s.written[t] || (write && seen[t] < s.read[t]))
                fail(write ? "write" : "read", rl::test_result_data_race, where);
        (write ? s.written : s.read)[me.index_] = me.own_acq_rel_order_;
    }
}

void *allocate(size_t alignment, size_t size)
{
    if (alignment < alignof(allocation))
        alignment = alignof(allocation);
    const size_t begin = (heap_used + sizeof(allocation) + alignment - 1) / alignment * alignment;
    heap_used = begin + (size + unit - 1) / unit * unit;
    if (heap_used > heap_size)
        fail_for_room("the heap of the check is too small", HERE);
    *reinterpret_cast<allocation *>(heap + begin - sizeof(allocation)) = {size, true};
    memset(shadows + begin / unit, 0, (heap_used - begin) / unit * sizeof *shadows);
    memset(cell_at + begin, 0, (heap_used - begin) * sizeof *cell_at);
    for (size_t i = begin / unit; i < heap_used / unit; i++)
        shadows[i].live = true;
    heap_live++;
    access(heap + begin, size, true, HERE); // whoever sees it must have been told of it
    return heap + begin;
}

void release(void *p, const rl::debug_info &where)
{
    if (p == nullptr)
        return;
    allocation &head = *reinterpret_cast<allocation *>(static_cast<unsigned char *>(p)
                                                      - sizeof(allocation));
    if (!head.live)
        fail("", rl::test_result_double_free, where);
    access(p, head.size, true, where);
    for (size_t i = 0; i < head.size; i += unit)
        shadows[(offset_of(p) + i) / unit].live = false;
    head.live = false;
    heap_live--;
}

// ---- atomics --------------------------------------------------------------------------------------

cell *find(const volatile void *p)
{
    if (!on_heap(p))
        return nullptr;
    const uint16_t index = cell_at[offset_of(p)];
    return index == 0 ? nullptr : reinterpret_cast<cell *>(cells[index - 1]);
}

// The first store is what initialises it (burble__init), and no atomic operation in C11's terms.
cell &make(const volatile void *p, size_t size, const rl::debug_info &where)
{
    if (!on_heap(p) || cells_used == most_cells)
        fail_for_room("an atomic that the check has no room for", where);
    access(p, size, true, where);
    cell *made = new (cells[cells_used]) cell;
    cell_at[offset_of(p)] = static_cast<uint16_t>(++cells_used);
    return *made;
}

cell &use(const volatile void *p, size_t size, const rl::debug_info &where)
{
    cell *found = find(p);
    if (found == nullptr)
        fail("an atomic", rl::test_result_unitialized_access, where);
    access(p, size, false, where);
    return *found;
}

rl::memory_order order(int given)
{
    return static_cast<rl::memory_order>(given & 0xffff);
}

template <typename T> T load(const volatile T *p, int mo, const rl::debug_info &where)
{
    return static_cast<T>(use(p, sizeof *p, where).load(order(mo), where));
}

template <typename T> void store(volatile T *p, T value, int mo, const rl::debug_info &where)
{
    if (find(p) == nullptr)
        make(p, sizeof *p, where).store(value, order(mo), where);
    else
        use(p, sizeof *p, where).store(value, order(mo), where);
}

template <typename T, rl::rmw_type_e kind>
T change(volatile T *p, T value, int mo, const rl::debug_info &where)
{
    return static_cast<T>(
        use(p, sizeof *p, where).rmw(rl::rmw_type_t<kind>(), uint64_t(value), order(mo), where));
}

template <typename T, bool weak>
bool swap_if(volatile T *p, T *expected, T value, int mo, int failure, const rl::debug_info &where)
{
    uint64_t found = *expected;
    const bool done = use(p, sizeof *p, where)
                          .compare_exchange(rl::bool_t<weak>(), found, uint64_t(value), order(mo),
                                            order(failure), where);
    *expected = static_cast<T>(found);
    return done;
}

// ---- locks and descriptors ------------------------------------------------------------------------

template <typename T> struct table {
    static constexpr size_t most = 64;
    const volatile void *key[most];
    T value[most];
    size_t used;

    T &add(const volatile void *p)
    {
        if (used == most)
            fail_for_room("too many locks", HERE);
        key[used] = p;
        return *new (&value[used++]) T;
    }
    T &operator[](const volatile void *p)
    {
        for (size_t i = 0; i < used; i++)
            if (key[i] == p)
                return value[i];
        fail("a lock that nobody has made", rl::test_result_user_assert_failed, HERE);
    }
};

table<rl::rl_pthread_mutex_t> mutexes;
table<rl::rl_pthread_cond_t> conditions;

// A descriptor: readable or not, and who sleeps for it. Two for each scenario.
struct descriptor {
    bool open, readable, awaited;
    rl::thread_id_t sleeper;
} descriptors[2];

descriptor &opened(int fd)
{
    rl::ctx().sched();
    if (!descriptors[fd].open)
        fail("a descriptor that is closed", rl::test_result_user_assert_failed, HERE);
    return descriptors[fd];
}

int wake_open(burble__wake *wake)
{
    for (int fd = 0; fd < 2; fd++)
        if (!descriptors[fd].open) {
            descriptors[fd] = {true, false, false, 0};
            wake->read_fd = wake->write_fd = fd;
            return 0;
        }
    return -1;
}

void wake_signal(const burble__wake *wake)
{
    descriptor &d = opened(wake->write_fd);
    d.readable = true;
    if (d.awaited) {
        d.awaited = false;
        rl::ctx().unpark_thread(d.sleeper, false, HERE);
    }
}

void wake_clear(const burble__wake *wake)
{
    opened(wake->read_fd).readable = false;
}

void wake_close(burble__wake *wake)
{
    opened(wake->read_fd).open = false;
}

// ---- running --------------------------------------------------------------------------------------

void begin()
{
    heap_used = heap_live = cells_used = mutexes.used = conditions.used = 0;
    memset(descriptors, 0, sizeof descriptors);
}

void end()
{
    if (heap_live != 0)
        fail("", rl::test_result_memory_leak, HERE);
    for (size_t i = 0; i < cells_used; i++)
        reinterpret_cast<cell *>(cells[i])->~cell();
}

template <int threads> struct suite : rl::test_suite<suite<threads>, threads> {
    void before()
    {
        begin();
        scenario->before();
    }
    void thread(unsigned index)
    {
        scenario->thread[index]();
    }
    void after()
    {
        scenario->after();
        end();
    }
};

// Exit: 0 where all held, 1 where something did not, 2 where the check itself was at fault.
int usage()
{
    fputs("usage: checker list\n"
          "       checker SCENARIO random ITERATIONS [FIRST]\n"
          "       checker SCENARIO bound SWITCHES\n"
          "       checker SCENARIO full\n",
          stderr);
    return 2;
}

} // namespace

int main(int argc, char **argv)
{
    if (argc == 2 && strcmp(argv[1], "list") == 0) {
        for (scenario = model_scenarios; scenario->name != nullptr; scenario++)
            puts(scenario->name);
        return 0;
    }
    if (argc < 3)
        return usage();
    for (scenario = model_scenarios; scenario->name != nullptr; scenario++)
        if (strcmp(scenario->name, argv[1]) == 0)
            break;
    if (scenario->name == nullptr)
        return usage();

    rl::test_params params;
    rl::ostringstream out, progress;
    params.output_stream = &out;
    params.progress_stream = &progress;
    params.execution_depth_limit = 20000;
    if (strcmp(argv[2], "random") == 0 && argc >= 4) {
        params.search_type = rl::sched_random;
        params.iteration_count = strtoull(argv[3], nullptr, 10);
    } else if (strcmp(argv[2], "bound") == 0 && argc == 4) {
        params.search_type = rl::sched_bound;
        params.context_bound = static_cast<unsigned>(atoi(argv[3]));
    } else if (strcmp(argv[2], "full") == 0) {
        params.search_type = rl::sched_full;
    } else {
        return usage();
    }
    const bool passed = scenario->threads == 2 ? rl::simulate<suite<2>>(params)
                                               : rl::simulate<suite<3>>(params);
    if (passed)
        printf("passed, %llu iterations\n", static_cast<unsigned long long>(params.stop_iteration));
    else
        printf("%s\n", out.str().c_str());
    // A run that is too long to follow may be endless, or not.
    const bool at_fault = too_small || params.test_result == rl::test_result_livelock;
    return passed ? 0 : at_fault ? 2 : 1;
}

// ---- what the scenarios call ----------------------------------------------------------------------

extern "C" {

void model_fail(const char *why)
{
    fail(why, rl::test_result_user_assert_failed, HERE);
}

unsigned model_choose(unsigned n)
{
    return rl::rand(n);
}

void model_poll(int fd)
{
    while (!opened(fd).readable) {
        descriptors[fd].awaited = true;
        descriptors[fd].sleeper = rl::ctx().threadx_->index_;
        rl::ctx().park_current_thread(false, false, false, HERE);
    }
}

// ---- what the sources call ------------------------------------------------------------------------

extern const burble__wake_kind burble__wake_eventfd = {wake_open, wake_signal, wake_clear, wake_close};
extern const burble__wake_kind burble__wake_pipe = burble__wake_eventfd;

void *model_malloc(size_t size)
{
    return allocate(1, size);
}

void *model_calloc(size_t n, size_t size)
{
    return memset(allocate(1, n * size), 0, n * size);
}

void *model_aligned_alloc(size_t alignment, size_t size)
{
    return allocate(alignment, size);
}

void *model_realloc(void *, size_t)
{
    fail("realloc", rl::test_result_user_assert_failed, HERE);
}

void model_free(void *p)
{
    release(p, HERE);
}

void *model_memcpy(void *to, const void *from, size_t size)
{
    access(from, size, false, HERE);
    access(to, size, true, HERE);
    return memcpy(to, from, size);
}

void *model_memset(void *to, int byte, size_t size)
{
    access(to, size, true, HERE);
    return memset(to, byte, size);
}

int model_mutex_init(void *mutex, const void *)
{
    access(mutex, 1, true, HERE);
    return rl::rl_pthread_mutex_init(&mutexes.add(mutex), nullptr, HERE);
}

int model_mutex_destroy(void *mutex)
{
    access(mutex, 1, true, HERE);
    return rl::rl_pthread_mutex_destroy(&mutexes[mutex], HERE);
}

int model_mutex_lock(void *mutex)
{
    access(mutex, 1, false, HERE);
    return rl::rl_pthread_mutex_lock(&mutexes[mutex], HERE);
}

int model_mutex_trylock(void *mutex)
{
    access(mutex, 1, false, HERE);
    return rl::rl_pthread_mutex_try_lock(&mutexes[mutex], HERE);
}

int model_mutex_unlock(void *mutex)
{
    access(mutex, 1, false, HERE);
    return rl::rl_pthread_mutex_unlock(&mutexes[mutex], HERE);
}

int model_cond_init(void *condition, const void *)
{
    access(condition, 1, true, HERE);
    return rl::rl_pthread_cond_init(&conditions.add(condition), nullptr, HERE);
}

int model_cond_destroy(void *condition)
{
    access(condition, 1, true, HERE);
    return rl::rl_pthread_cond_destroy(&conditions[condition], HERE);
}

int model_cond_signal(void *condition)
{
    access(condition, 1, false, HERE);
    return rl::rl_pthread_cond_signal(&conditions[condition], HERE);
}

int model_cond_wait(void *condition, void *mutex)
{
    access(condition, 1, false, HERE);
    rl::rl_pthread_cond_wait(&conditions[condition], &mutexes[mutex], HERE);
    return 0;
}

int model_cond_timedwait(void *condition, void *mutex, const void *)
{
    access(condition, 1, false, HERE);
    const int rc = rl::rl_pthread_cond_timedwait(&conditions[condition], &mutexes[mutex], nullptr, HERE);
    return rc == rl::RL_ETIMEDOUT ? timed_out : 0;
}

void model_assert_fail(const char *what, const char *, unsigned, const char *)
{
    fail(what, rl::test_result_user_assert_failed, HERE);
}

// ---- what the compiler calls for -fsanitize=thread -------------------------------------------------

void __tsan_init(void) {}
void __tsan_func_entry(void *) {}
void __tsan_func_exit(void) {}

#define PLAIN(n)                                                                                   \
    void __tsan_read##n(void *p)                                                                   \
    {                                                                                              \
        access(p, n, false, HERE);                                                                 \
    }                                                                                              \
    void __tsan_write##n(void *p)                                                                  \
    {                                                                                              \
        access(p, n, true, HERE);                                                                  \
    }
PLAIN(1)
PLAIN(2)
PLAIN(4)
PLAIN(8)
PLAIN(16)

#define UNALIGNED(n)                                                                               \
    void __tsan_unaligned_read##n(void *p)                                                         \
    {                                                                                              \
        access(p, n, false, HERE);                                                                 \
    }                                                                                              \
    void __tsan_unaligned_write##n(void *p)                                                        \
    {                                                                                              \
        access(p, n, true, HERE);                                                                  \
    }
UNALIGNED(2)
UNALIGNED(4)
UNALIGNED(8)
UNALIGNED(16)

void __tsan_read_range(void *p, size_t size)
{
    access(p, size, false, HERE);
}
void __tsan_write_range(void *p, size_t size)
{
    access(p, size, true, HERE);
}

#define ATOMIC(bits, T)                                                                            \
    T __tsan_atomic##bits##_load(const volatile T *p, int mo)                                      \
    {                                                                                              \
        return load(p, mo, HERE);                                                                  \
    }                                                                                              \
    void __tsan_atomic##bits##_store(volatile T *p, T v, int mo)                                   \
    {                                                                                              \
        store(p, v, mo, HERE);                                                                     \
    }                                                                                              \
    T __tsan_atomic##bits##_exchange(volatile T *p, T v, int mo)                                   \
    {                                                                                              \
        return change<T, rl::rmw_type_swap>(p, v, mo, HERE);                                       \
    }                                                                                              \
    T __tsan_atomic##bits##_fetch_add(volatile T *p, T v, int mo)                                  \
    {                                                                                              \
        return change<T, rl::rmw_type_add>(p, v, mo, HERE);                                        \
    }                                                                                              \
    T __tsan_atomic##bits##_fetch_sub(volatile T *p, T v, int mo)                                  \
    {                                                                                              \
        return change<T, rl::rmw_type_sub>(p, v, mo, HERE);                                        \
    }                                                                                              \
    bool __tsan_atomic##bits##_compare_exchange_strong(volatile T *p, T *e, T v, int mo, int f)    \
    {                                                                                              \
        return swap_if<T, false>(p, e, v, mo, f, HERE);                                            \
    }                                                                                              \
    bool __tsan_atomic##bits##_compare_exchange_weak(volatile T *p, T *e, T v, int mo, int f)      \
    {                                                                                              \
        return swap_if<T, true>(p, e, v, mo, f, HERE);                                             \
    }
ATOMIC(8, uint8_t)
ATOMIC(32, uint32_t)
ATOMIC(64, uint64_t)

void __tsan_atomic_thread_fence(int mo)
{
    if (order(mo) != rl::mo_relaxed)
        rl::atomic_thread_fence(order(mo), HERE);
}

} // extern "C"
