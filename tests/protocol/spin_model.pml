/* The words that threads share, the system, and what must hold. Everything else is translated. */

#define ALL_ITEMS ((1 << ITEMS) - 1)

short words[POOL_WORDS];
short work[WORK_WORDS];

byte asleep[PROCESSES];   /* 1 + the word that a thread sleeps on; 0 for awake */
bit inside[PROCESSES];    /* whether a thread has joined a launch and not left it */
byte current;             /* the launch that runs; 0 for none */
byte numbers;             /* the set of the numbers of those that have joined it */
byte claimed[PHASES + 1], done[PHASES + 1];  /* sets of items */
byte spurious = SPURIOUS; /* how often threads may still wake up for no reason */
bit halts[PROCESSES];     /* whether a thread stops for ever, unless it is inside */
hidden byte each;

inline check(condition) { assert(condition) }

inline is_interrupted(result)
{
    if
    :: result = 0
    :: INTERRUPTS -> result = 1
    fi
}

inline await_all(threads) { (numbers == (1 << threads) - 1) }

inline await_end() { (words[WORKERS] == 0 && words[STARTED] == SIZE - 1) }


/* The system's wait on an address. */
inline sleep_unless_changed(index, seen)
{
    atomic {
        if
        :: words[index] == seen -> asleep[me] = 1 + index
        :: else
        fi
    }
    if
    :: asleep[me] == 0
    :: atomic { asleep[me] != 0 && spurious > 0 -> asleep[me] = 0; spurious-- }
    fi
}

/* A record has one sleeper. */
inline wake_sleepers(index, count)
{
    d_step {
        assert(count == 1);
        each = 0;
        do
        :: each < PROCESSES && asleep[each] != 1 + index -> each++
        :: else -> break
        od;
        if
        :: each < PROCESSES -> asleep[each] = 0
        :: else
        fi;
        each = 0
    }
}

/* The caller writes plainly what the launch reads. */
inline prepare(launch)
{
    d_step {
        each = 0;
        do
        :: each < WORK_WORDS -> work[each] = 0; each++
        :: else -> break
        od;
        each = 0;
        do
        :: each < PHASES -> claimed[each] = 0; done[each] = 0; each++
        :: else -> break
        od;
        each = 0;
        numbers = 0;
        current = launch
    }
}

inline join_in(thread, job, threads)
{
    d_step {
        assert(current == job);  /* what the thread reads is what this launch has written */
        assert(thread >= 0 && thread < threads);
        assert(!(numbers & (1 << thread)));  /* no two threads have the same number */
        numbers = numbers | (1 << thread)
    }
}

#define SET(first, end) ((1 << (end)) - (1 << (first)))

inline begin_items(number, first, end, job)
{
    d_step {
        assert(current == job);
        assert(first < end && end <= ITEMS);
        assert(!(claimed[number] & SET(first, end)));
        assert(number == 0 || done[number - 1] == ALL_ITEMS);
        claimed[number] = claimed[number] | SET(first, end)
    }
}

inline end_items(number, first, end, job)
{
    d_step {
        assert(current == job);
        done[number] = done[number] | SET(first, end)
    }
}

inline finish(job)
{
    d_step {
        assert(PHASES == 0 || done[PHASES - 1] == ALL_ITEMS);
        each = 0;
        do
        :: each < PROCESSES -> assert(!inside[each]); each++
        :: else -> break
        od;
        each = 0;
        current = 0
    }
}
