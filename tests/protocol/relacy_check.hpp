// The threads that run the protocol, what they assert of it, and the program's arguments.

#include <iostream>
#include <string>

inline Functions const* protocol;
constexpr int64_t KERNEL_ADDRESS = 7;

int64_t load(int, int64_t ranges, int64_t thread, rl::debug_info_param info)
{
    return state->payloads[ranges - 1].ranges[thread].load(info);
}

void call_kernel(int64_t address, int64_t thread, int64_t job)
{
    RL_ASSERT(address == KERNEL_ADDRESS);
    RL_ASSERT(thread >= 0 && thread < settings.threads);
    // What a thread of the pool does plainly, and only `stop` may touch after it.
    Word& trace = state->traces[rl::thread_index()];
    trace.store(trace.load($) + 1, $);
    if (settings.meet) {
        if (thread == 0) {
            Word& arrived = state->arrived;
            for (;;) {
                int64_t const seen = arrived.load(rl::mo_relaxed, $);
                if (seen >= settings.threads - 1)
                    break;
                arrived.sleep_if_equal(seen, false, $);
            }
        } else {
            state->arrived.add(1, rl::mo_relaxed, $);
            state->arrived.wake(1, $);
        }
    }
    protocol->kernel(thread, job);
}

// Everything is written plainly: whoever is still inside the last launch makes it a race.
inline void prepare(int64_t job, int64_t secret)
{
    Payload& payload = state->payloads[job];
    payload.secret.store(secret, $);
    for (int64_t queue = 0; queue <= settings.threads; ++queue)
        payload.work.words[queue * LINE_WORDS].store(0, $);
    if (settings.ranges)  // all items are thread 0's
        for (int64_t thread = 0; thread <= settings.threads; ++thread)
            payload.ranges[thread].store(thread == 0 ? 0 : settings.items, $);
    for (int64_t number = 0; number < settings.phases; ++number)
        for (int64_t item = 0; item < settings.items; ++item)
            payload.values[number][item].store(0, $);
}

inline void verify(int64_t job, int64_t secret)
{
    for (int64_t number = 0; number < settings.phases; ++number)
        for (int64_t item = 0; item < settings.items; ++item)
            RL_ASSERT(state->payloads[job].values[number][item].load($) == secret);
}

inline void stop(Words pool)
{
    while (protocol->stop(pool, settings.threads - 1) > 0)
        rl::yield(1, $);
}

// Launches, joined by threads that serve, and a stop.
inline void run_pool(int thread)
{
    Words const pool{state->pool.words};
    if (thread < settings.callers) {
        for (int64_t launch = 1; launch <= settings.launches; ++launch) {
            prepare(thread, launch);
            if (settings.meet)
                state->arrived.store(0, rl::mo_relaxed, $);
            protocol->launch(pool, KERNEL_ADDRESS, thread, settings.threads, settings.linger);
            verify(thread, launch);
        }
        stop(pool);
    } else if (thread < settings.callers + settings.stoppers) {
        stop(pool);
        for (int other = thread + 1; other < settings.callers + settings.threads; ++other)
            state->traces[other].load($);
    } else {
        protocol->serve(pool);
    }
}

// One launch without its bell: a thread joins at any moment, or never.
inline void run_gate(int thread)
{
    Words const pool{state->pool.words};
    if (thread > 0) {
        protocol->help(pool);
        return;
    }
    for (int64_t launch = 1; launch <= settings.launches; ++launch) {
        prepare(0, launch);
        int64_t const slot = protocol->take_slot(pool);
        protocol->open(pool, slot, KERNEL_ADDRESS, 0, settings.threads - 1, settings.linger);
        call_kernel(KERNEL_ADDRESS, 0, 0);
        protocol->close(pool, slot);
        verify(0, launch);
    }
}

// All threads are inside a launch.
inline void run_kernel(int thread) { protocol->kernel(thread, 0); }

// One thread rings, the others park unless they have heard it. All must end.
inline void run_park(int thread)
{
    Words const pool{state->pool.words};
    if (thread == 0)
        protocol->stop(pool, 0);
    else if (pool[BELL].load(rl::mo_acquire, $) == 0)
        protocol->park(pool, FIRST_RECORD + (thread - 1) * RECORD, 0);
}

template <int THREADS> struct Check : rl::test_suite<Check<THREADS>, THREADS>
{
    State words;

    void before()
    {
        state = &words;
        if (is("kernel"))
            prepare(0, 1);
        if (is("park"))
            words.pool.words[STARTED].store(THREADS - 1, rl::mo_relaxed, $);
    }

    void thread(unsigned index)
    {
        if (is("pool"))
            run_pool(index);
        else if (is("gate"))
            run_gate(index);
        else if (is("kernel"))
            run_kernel(index);
        else
            run_park(index);
    }

    void after()
    {
        if (is("kernel"))
            verify(0, 1);
    }

    static bool is(char const* suite) { return settings.suite == suite; }
};

// PROTOCOL SCHEDULER LIMIT [name=value ...]: the limit is the number of executions of the random
// scheduler, or of the switches of the context-bound one.
int main(int count, char** texts)
{
    rl::test_params parameters;
    std::ostream silence(nullptr);
    parameters.progress_stream = &silence;
    protocol = PROTOCOLS[std::atoi(texts[1])];
    std::string const scheduler = texts[2];
    parameters.search_type = scheduler == "every"   ? rl::sched_full
                             : scheduler == "switches" ? rl::sched_bound
                                                    : rl::sched_random;
    parameters.context_bound = std::atoi(texts[3]);
    parameters.iteration_count = std::atoll(texts[3]);
    for (int i = 4; i < count; ++i) {
        std::string const text = texts[i];
        auto const equals = text.find('=');
        settings.set(text.substr(0, equals), texts[i] + equals + 1);
    }
    int const threads = settings.callers + settings.stoppers + settings.threads - 1;
    bool const success = threads == 2 ? rl::simulate<Check<2>>(parameters)
                                      : rl::simulate<Check<3>>(parameters);
    std::cout << "result: " << rl::test_result_str(parameters.test_result) << "\n"
              << "executions: " << parameters.stop_iteration << std::endl;
    return success ? 0 : 1;
}
