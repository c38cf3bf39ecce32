// What the translated protocol stands on: words whose plain and atomic accesses are both checked
// for races, the system calls, and the waits.
//
// The rules are those of C++20's atomic_ref: two accesses of a word race if one of them is a store,
// one of them is plain, and neither happens before the other.

#pragma once

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <alloca.h>
#include <relacy/relacy.hpp>
#include <string>
#include <tuple>
#include <utility>

using std::int64_t;

constexpr int MOST_THREADS = 3, MOST_CALLERS = 2, MOST_PHASES = 2, MOST_ITEMS = 3;

struct plain_event
{
    int64_t index, value;
    bool is_load;

    void output(std::ostream& stream) const
    {
        stream << (is_load ? "plain load of word " : "plain store to word ") << index
               << ", value=" << value;
    }
};

// When each thread last accessed a word in one way, in Relacy's vector clocks.
struct Stamps
{
    rl::timestamp_t of_thread[MOST_THREADS] = {};

    bool happen_before(rl::thread_info_base const& thread) const
    {
        for (int i = 0; i < rl::ctx().get_thread_count(); ++i)
            if (thread.acq_rel_order_[i] < of_thread[i])
                return false;
        return true;
    }

    void add(rl::thread_info_base& thread)
    {
        of_thread[thread.index_] = ++thread.own_acq_rel_order_;
    }
};

class Word
{
public:
    int64_t index = 0;  // to tell words apart in a history

    int64_t load(rl::debug_info_param info)
    {
        check(plain_stores_, info), check(atomic_stores_, info);
        plain_loads_.add(*rl::ctx().threadx_);
        log(latest(), true, info);
        return latest();
    }

    void store(int64_t value, rl::debug_info_param info)
    {
        check_all(info);
        plain_stores_.add(*rl::ctx().threadx_);
        rl::preemption_disabler no_switch(rl::ctx());
        value_.store(value, rl::mo_relaxed, info);
        log(value, false, info);
    }

    int64_t load(rl::memory_order order, rl::debug_info_param info)
    {
        rl::ctx().sched();
        rl::preemption_disabler no_switch(rl::ctx());
        check(plain_stores_, info);
        atomic_loads_.add(*rl::ctx().threadx_);
        return value_.load(order, info);
    }

    void store(int64_t value, rl::memory_order order, rl::debug_info_param info)
    {
        rl::ctx().sched();
        rl::preemption_disabler no_switch(rl::ctx());
        begin_atomic_store(info);
        value_.store(value, order, info);
    }

    int64_t add(int64_t value, rl::memory_order order, rl::debug_info_param info)
    {
        rl::ctx().sched();
        rl::preemption_disabler no_switch(rl::ctx());
        begin_atomic_store(info);
        return value_.fetch_add(value, order, info) + value;
    }

    bool swap(int64_t expected, int64_t value, rl::memory_order order, rl::memory_order failure,
              rl::debug_info_param info)
    {
        rl::ctx().sched();
        rl::preemption_disabler no_switch(rl::ctx());
        check(plain_stores_, info);
        atomic_loads_.add(*rl::ctx().threadx_);
        if (latest() == expected)
            begin_atomic_store(info);
        return value_.compare_exchange(rl::bool_t<false>(), expected, value, order, failure, info);
    }

    // The system's wait on an address. It compares under its own lock, so with the latest value,
    // and sleeps before it lets the lock go. Nothing else is assumed of it: it orders no memory.
    void sleep_if_equal(int64_t seen, bool spurious, rl::debug_info_param info)
    {
        rl::context& context = rl::ctx();
        context.sched();
        if ((latest() ^ seen) & 0xFFFFFFFF) {
            rl::yield(1, info);  // or a search of all executions would return here again and again
            return;
        }
        int const thread = context.current_thread();
        sleeps_[thread] = true;
        context.park_current_thread(false, spurious, false, info);
        sleeps_[thread] = false;
    }

    void wake(int64_t count, rl::debug_info_param info)
    {
        rl::ctx().sched();
        for (int thread = 0; thread < MOST_THREADS && count > 0; ++thread)
            if (sleeps_[thread]) {
                sleeps_[thread] = false;
                rl::ctx().unpark_thread(thread, false, info);
                --count;
            }
    }

private:
    rl::atomic<int64_t> value_{0};
    Stamps plain_loads_, plain_stores_, atomic_loads_, atomic_stores_;
    bool sleeps_[MOST_THREADS] = {};

    int64_t latest() const { return value_.debug_value(); }

    void begin_atomic_store(rl::debug_info_param info)
    {
        check(plain_loads_, info), check(plain_stores_, info);
        atomic_stores_.add(*rl::ctx().threadx_);
    }

    void check_all(rl::debug_info_param info)
    {
        check(plain_loads_, info), check(plain_stores_, info);
        check(atomic_loads_, info), check(atomic_stores_, info);
    }

    void check(Stamps const& accesses, rl::debug_info_param info)
    {
        if (!accesses.happen_before(*rl::ctx().threadx_)) {
            log(latest(), true, info);
            rl::ctx().fail_test("", rl::test_result_data_race, info);
        }
    }

    void log(int64_t value, bool is_load, rl::debug_info_param info)
    {
        rl::context& c = rl::ctx();
        RL_HIST(plain_event){index, value, is_load} RL_HIST_END();
    }
};

template <int SIZE> struct Array
{
    Word words[SIZE];

    Array()
    {
        for (int i = 0; i < SIZE; ++i)
            words[i].index = i;
    }
};

// An array of words as device functions get it.
struct Words
{
    Word* words;

    Word& operator[](int64_t index) const { return words[index]; }
};

using LocalMask = int64_t*;
// Numba's code makes it in the frame of the calling function, too.
#define _new_mask() static_cast<LocalMask>(alloca(sizeof(int64_t)))

struct Span
{
    Span(int64_t, int64_t) {}
};

inline Words view(int, Words words, Span) { return words; }
inline LocalMask view(int, LocalMask mask, Span) { return mask; }
inline Word* address_of(Words words, int64_t index) { return &words[index]; }

inline int64_t load_word(Words words, int64_t index, rl::debug_info_param info)
{
    return words[index].load(info);
}
inline int64_t load_word(LocalMask mask, int64_t index, rl::debug_info_param)
{
    return mask[index];
}
inline void store_word(Words words, int64_t index, int64_t value, rl::debug_info_param info)
{
    words[index].store(value, info);
}
inline void store_word(LocalMask mask, int64_t index, int64_t value, rl::debug_info_param)
{
    mask[index] = value;
}

// What may vary from one run of the program to the next.
struct Settings
{
    std::string suite = "pool";
    int threads = 2;  // of a launch; those of the pool are one fewer
    int callers = 1, stoppers = 0, launches = 1, phases = 1, items = 1;
    int grain = 1, ranges = 0, linger = 0;
    int meet = 0;      // whether a launch ends only when every thread of the pool has joined it
    int spurious = 0;  // whether sleeping threads may wake for no reason

    void set(std::string const& name, char const* value)
    {
        if (name == "suite") {
            suite = value;
            return;
        }
        std::pair<char const*, int*> const fields[] = {
            {"threads", &threads}, {"callers", &callers}, {"stoppers", &stoppers},
            {"launches", &launches}, {"phases", &phases}, {"items", &items}, {"grain", &grain},
            {"ranges", &ranges}, {"linger", &linger}, {"meet", &meet}, {"spurious", &spurious}};
        for (auto const& field : fields)
            if (name == field.first) {
                *field.second = std::atoi(value);
                return;
            }
        throw std::invalid_argument(name);
    }
};
inline Settings settings;

// The data of a caller's launches.
struct Payload
{
    Array<LINE_WORDS*(1 + MOST_THREADS)> work;
    Word secret, ranges[1 + MOST_THREADS], values[MOST_PHASES][MOST_ITEMS];
};

// Everything that threads share in an execution.
struct State
{
    Array<POOL_WORDS> pool;
    Payload payloads[MOST_CALLERS];
    Word traces[MOST_THREADS], arrived;
};
inline State* state;

struct Functions
{
    void (*kernel)(int64_t thread, int64_t job);
    int64_t (*launch)(Words, int64_t, int64_t, int64_t, int64_t);
    void (*serve)(Words);
    int64_t (*stop)(Words, int64_t);
    int64_t (*take_slot)(Words);
    void (*open)(Words, int64_t, int64_t, int64_t, int64_t, int64_t);
    void (*close)(Words, int64_t);
    int64_t (*help)(Words);
    void (*park)(Words, int64_t, int64_t);
};

inline void pause(rl::debug_info_param info) { rl::yield(1, info); }
inline void wait(int64_t, rl::debug_info_param info) { rl::yield(1, info); }
inline void sleep_unless_changed(Words words, int64_t index, int64_t seen,
                                 rl::debug_info_param info)
{
    words[index].sleep_if_equal(seen, settings.spurious, info);
}
inline void wake_sleepers(Words words, int64_t index, int64_t count, rl::debug_info_param info)
{
    words[index].wake(count, info);
}

int64_t load(int, int64_t ranges, int64_t thread, rl::debug_info_param info);
void call_kernel(int64_t address, int64_t thread, int64_t job);

// Linux: every call succeeds, and there are two CPUs.
namespace system_calls
{
constexpr bool CAN_PLACE = true;
constexpr int64_t TWO_CPUS = 3;

inline int64_t gettid() { return rl::thread_index(); }
inline int64_t sched_getcpu() { return 0; }
inline int64_t sched_getaffinity(int64_t, int64_t, Word* mask)
{
    mask->store(TWO_CPUS, $);
    return 8;
}
inline int64_t sched_setaffinity(int64_t, int64_t, Word* mask)
{
    RL_ASSERT(mask->load($) == TWO_CPUS);
    return 0;
}
inline int64_t sched_setaffinity(int64_t, int64_t, LocalMask mask)
{
    RL_ASSERT(mask[0] == TWO_CPUS - 1);
    return 0;
}
}  // namespace system_calls
