/* Counted exactly once, and never lost (docs/durability.md): one normalizer,
   one session of K updates, and everything that can come between.

   A worker sends, keeps, resends, resumes. The network delays, repeats and
   reorders. The server applies, captures, writes, syncs, publishes. A crash
   takes what was not synced; a kill only what was not written. A reset begins a
   generation. With ZOMBIE a worker that was given up goes on beside its heir.

   -DMUT=n plants a bug, each of which the search must find:
     1  statistics and ledgers in two writes
     2  the published watermark is what is applied
     3  the client releases what was answered, not what is durable
     4  the watermark is fixed after the sync, not before it
     5  a replay takes the present generation for its own
     6  recovered but not synced is published as durable
     7  no look at the ledger: every copy counts
     8  an update of an old epoch is accepted
     9  what lies beyond the window counts and is not remembered
    10  a reset is answered before it is on disk
    11  none: the search must reach the end of the story */

#ifndef MUT
#define MUT 0
#endif
#ifndef K
#define K 3        /* updates */
#endif
#ifndef WINDOW
#define WINDOW 2   /* sequences beyond the applied one that are remembered */
#endif
#ifndef CRASHES
#define CRASHES 1
#endif
#ifndef RESETS
#define RESETS 1
#endif
#ifndef ZOMBIE
#define ZOMBIE 0   /* 1: the session is taken over by a second worker */
#endif

#define EACH(v, act) v = 1; do :: v <= K -> act; v++ :: else -> break od

/* The ledger is a bit per sequence. In the server it is applied_sequence and a
   bitmap; `WithinWindow` is what that difference comes to. */
typedef Counts {
  bool used[K + 1];    /* sequence was used up */
  byte rows[K + 1];    /* how often its rows are in the statistics */
  byte generation;
  byte epoch
};

Counts memory;         /* what requests see */
Counts written;        /* in the log, perhaps not on disk */
Counts syncing;        /* in the log when the sync began */
Counts disk;           /* synced */
bool in_sync;
byte captured;         /* the watermark that this sync will publish */
byte published;        /* durable_sequence */
byte boot = 1;         /* incarnation */

/* A copy of an update on the wire, by epoch of its sender: several deliveries,
   in any order, of a copy that stays or goes. */
bool wire[(K + 1) * 2];
byte wire_generation[(K + 1) * 2];
#define AT(e, s) ((e) * (K + 1) + (s))

/* A worker: what it keeps, what it was told. */
byte next = 1;         /* shared: the heir goes on with the numbers */
byte born[K + 1];      /* generation that the update was made in; 0 = unmade */
bool kept[K + 1];
byte told_durable;
byte told_generation = 1;
byte told_boot = 1;
byte my_epoch;         /* of the living worker */
bool resumed;          /* it took the session over */
bool strange[K + 1];   /* the zombie's own update of this number */

byte crashes, resets;
byte promised_generation;  /* of a reset that was answered */
byte i, j, low;

inline Low(state) {
  low = 0; j = 1;
  do
  :: j <= K && state.used[j] -> low = j; j++
  :: else -> break
  od
}

inline Copy(to, from) {
  EACH(j, to.used[j] = from.used[j]; to.rows[j] = from.rows[j]);
  to.generation = from.generation;
  to.epoch = from.epoch
}

inline Send(s) {
  wire[AT(my_epoch, s)] = true;
#if MUT == 5
  wire_generation[AT(my_epoch, s)] = told_generation
#else
  wire_generation[AT(my_epoch, s)] = born[s]
#endif
}

proctype Worker() {
  byte s;
  do
  :: atomic { next <= K && told_boot == boot ->
       born[next] = told_generation; kept[next] = true; Send(next); next++ }
     /* Again, after a broken connection: whatever it still keeps. */
  :: atomic { s = 1; do :: s < K -> s++ :: break od; kept[s] -> Send(s) }
     /* An answer: watermark and generation. It may also never come. */
  :: atomic { told_boot == boot && memory.epoch == my_epoch ->
       told_generation = memory.generation;
#if MUT == 3
       Low(memory); told_durable = (low > told_durable -> low : told_durable);
#else
       told_durable = (published > told_durable -> published : told_durable);
#endif
       EACH(s, kept[s] = kept[s] && s > told_durable) }
     /* ResumeSession: hears what the server has, and sends the rest again. */
  :: atomic { told_boot != boot -> told_boot = boot;
       told_generation = (memory.generation > told_generation ->
                          memory.generation : told_generation) }
#if ZOMBIE
  /* The heir takes the session over and repeats under the same numbers what
     the ledger does not have. What the zombie sent may be on the wire still,
     and it goes on with updates of its own. */
  :: atomic { !resumed -> resumed = true;
       told_boot = boot;
       told_generation = memory.generation;
       memory.epoch = 1; my_epoch = 1;
       /* In the queue with the next write; on disk before the answer. */
       Copy(written, memory); Copy(disk, memory); in_sync = false;
       Low(disk); published = low }
#endif
#if ZOMBIE
  :: atomic { resumed && next <= K && !strange[next] -> strange[next] = true;
       wire[AT(0, next)] = true; wire_generation[AT(0, next)] = told_generation }
#endif
  :: next > K && told_durable == K -> break
  od
}

proctype Network() {
  byte s, e, generation;
  end: do
  :: atomic {
       s = 1; do :: s < K -> s++ :: break od;
       e = 0; if :: e = 0 :: ZOMBIE -> e = 1 fi;
       wire[AT(e, s)];
       generation = wire_generation[AT(e, s)];
       Low(memory);
       if
#if MUT != 8
       :: e != memory.epoch                    /* EPOCH_FENCED */
#endif
       :: (e == memory.epoch || MUT == 8) ->
          if
          :: memory.used[s] && MUT != 7        /* duplicate */
          :: (!memory.used[s] || MUT == 7) && s > low + WINDOW ->
#if MUT == 9
             memory.rows[s]++
#else
             skip                              /* SEQUENCE_OUT_OF_WINDOW */
#endif
          :: (!memory.used[s] || MUT == 7) && s <= low + WINDOW ->
             if
             :: generation > memory.generation /* GENERATION_UNKNOWN */
             :: generation < memory.generation ->
                memory.used[s] = true          /* born before a reset */
             :: generation == memory.generation ->
                memory.used[s] = true;
                if
                :: e == 0 && strange[s]        /* other rows than the heir's */
                :: else -> memory.rows[s]++
                fi
             fi
          fi
       fi;
       if :: wire[AT(e, s)] = false :: skip fi }
  od
}

proctype Committer() {
  end: do
     /* Capture and write: one batch, statistics and ledgers together. */
  :: atomic { Copy(written, memory) }
#if MUT == 1
  :: atomic { EACH(j, written.rows[j] = memory.rows[j]) }
#endif
     /* The sync covers what was written when it began. */
  :: atomic { !in_sync -> in_sync = true; Copy(syncing, written);
       Low(written); captured = low }
  :: atomic { in_sync -> in_sync = false; Copy(disk, syncing);
#if MUT == 2
       Low(memory); captured = low;
#elif MUT == 4
       Low(written); captured = low;
#endif
       published = (captured > published -> captured : published) }
  :: atomic { crashes < CRASHES -> crashes++; boot++; in_sync = false;
       if
       :: skip                                /* power loss */
       :: Copy(memory, written)               /* kill: the log is there... */
#if MUT == 6
          -> Copy(written, memory); Low(memory); published = low; goto started
#else
          -> Copy(disk, memory)               /* ...and is synced at start */
#endif
       fi;
       Copy(memory, disk); Copy(written, disk); Low(disk); published = low;
started: skip }
#if RESETS
     /* Answered when it is on disk. */
  :: atomic { resets < RESETS -> resets++; memory.generation++;
       EACH(j, memory.rows[j] = 0);
       promised_generation = memory.generation;
#if MUT != 10
       Copy(written, memory); Copy(disk, memory); in_sync = false;
       Low(disk); published = low
#endif
     }
#endif
  od
}

/* I1 to I9 of the design, at every state. */
proctype Monitor() {
  byte s;
  end: do
  :: atomic { assert(memory.generation >= promised_generation);
       EACH(s,
       assert(memory.rows[s] <= 1 && disk.rows[s] <= 1);
       assert(memory.rows[s] == 0 || memory.used[s]);
       /* of an older generation: never counts in this one */
       assert(memory.rows[s] == 0 || born[s] == memory.generation);
       /* told durable: on disk */
       assert(s > told_durable || disk.used[s]);
       /* released by its client: the server has it */
       assert(born[s] == 0 || kept[s] || memory.used[s])) }
     /* At rest every update of this generation is on disk, once. */
  :: atomic { next > K && told_durable == K -> assert(MUT != 11); EACH(s,
       assert(disk.used[s]);
       assert(born[s] != disk.generation || disk.rows[s] == 1)) }
  od
}

init {
  atomic {
    memory.generation = 1; Copy(written, memory); Copy(syncing, memory);
    Copy(disk, memory);
    run Worker(); run Network(); run Committer(); run Monitor()
  }
}
