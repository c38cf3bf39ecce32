// The kernel that every launch runs, and the functions that `relacy_check.hpp` calls. The program
// includes this once for each version of the protocol, in its namespace.

// In every phase, each item checks what the phase before it has written, and that nobody else has
// claimed the item in this one. Then it writes its own value, plainly.
inline void kernel(int64_t thread, int64_t job)
{
    Payload& payload = state->payloads[job];
    int64_t const secret = payload.secret.load($);
    Words const work{payload.work.words};
    int64_t const items = settings.items;
    for (int64_t number = 0; number < settings.phases; ++number) {
        Phase const phase{number, items, (number + 1) * items, settings.threads,
                          settings.ranges ? job + 1 : 0, settings.grain};
        auto range = next_items(work, thread, phase);
        while (range.first != range.second) {
            for (int64_t item = range.first; item < range.second; ++item) {
                for (int64_t other = 0; number > 0 && other < items; ++other)
                    RL_ASSERT(payload.values[number - 1][other].load($) == secret);
                RL_ASSERT(payload.values[number][item].load($) == 0);
                payload.values[number][item].store(secret, $);
            }
            complete(work, range.second - range.first);
            range = next_items(work, thread, phase);
        }
    }
}

constexpr Functions functions = {kernel, _launch, _serve, _stop, _take_slot, _open, _close, _help,
                                 _park};
