/* The token of a Barrier (docs/durability.md): a job of K steps takes
   checkpoints and is restarted from the last one; then it repeats its steps
   under the numbers that follow the token. Updates and the Barrier are delayed,
   repeated and reordered, answers are lost, the server crashes. In the end each
   step counted once, under whatever number: what exactly_once.pml shows for a
   number holds for a step only if it has the same one in every life of the job.

   -DMUT=n plants a bug, each of which the search must find:
     1  the watermark in the answer is the one of the answer, the token is not
     2  the token is as far as the ledger, not as the job
     3  the token is good although an update is kept
     4  a Barrier is answered before it is on disk
     5  none: the search must reach the end of the story after a restart */

#ifndef MUT
#define MUT 0
#endif
#ifndef K
#define K 2        /* steps */
#endif
#ifndef CRASHES
#define CRASHES 1
#endif
#ifndef EPOCHS
#define EPOCHS 2   /* how often the job may resume, restarted or not */
#endif

#define N (2 * K)  /* numbers: more than K only if a bug gives them */
#define MIN(a, b) ((a) < (b) -> (a) : (b))
#define MAX(a, b) ((a) > (b) -> (a) : (b))
#define EACH(v, act) v = 1; do :: v <= N -> act; v++ :: else -> break od

/* By number: the step that was counted under it; 0 = the number is free. */
typedef Ledger { byte step[N + 1] };
Ledger memory;
Ledger disk;
byte epoch;            /* of the session: on disk before anyone hears of it */

/* The update on the wire, by number: its step, 0 = none. Of this epoch: those
   of another one are refused. */
byte wire[N + 1];

/* The job. */
byte position;         /* steps made */
byte next = 1;         /* number of the next one */
byte kept[N + 1];      /* the step; 0 = not kept */
bool heard[N + 1];     /* its answer */
byte told_durable;
bool at_barrier;
bool checkpoint;
byte checkpoint_token;
byte checkpoint_position;
bool restarted, done;

/* The job's Barrier on the wire, at the server, and answered. */
bool asked, waiting, answered;
byte used;
byte waiting_token, waiting_applied;
byte answer_token, answer_durable;

byte crashes;
byte low;
byte i, j, n;

inline Low(ledger) {
  low = 0; j = 1;
  do
  :: j <= N && ledger.step[j] != 0 -> low = j; j++
  :: else -> break
  od
}

inline AnswerBarrier() {
  waiting = false; answered = true;
  answer_token = waiting_token;
#if MUT == 1
  Low(memory); answer_durable = low
#else
  answer_durable = waiting_applied
#endif
}

inline Commit() { EACH(i, disk.step[i] = memory.step[i]) }

inline HangUp() {
  at_barrier = false; asked = false; waiting = false; answered = false
}

/* Whoever held the session is refused from now on, and not heard. */
inline RaiseEpoch() { epoch++; Commit(); EACH(i, wire[i] = 0); HangUp() }

/* What the server has not, and what was not answered, again. */
inline Resume() {
  RaiseEpoch();
  EACH(i, if
          :: kept[i] != 0 && (memory.step[i] == 0 || !heard[i]) ->
             wire[i] = kept[i]; heard[i] = false
          :: else
          fi)
}

inline AllHeard() { n = 0; EACH(i, n = n + (kept[i] != 0 && !heard[i])) }

proctype Job() {
  end: do
  :: atomic { !at_barrier && !done && position < K && next <= N ->
       position++;
       kept[next] = position; heard[next] = false;
       wire[next] = position; next++ }
  :: atomic { !at_barrier && !done && position > 0 -> AllHeard();
       if
       :: n == 0 -> at_barrier = true; asked = true; used = next - 1
       :: else
       fi }
  :: atomic { at_barrier && answered ->
       HangUp();              /* another answer to it is not heard */
       told_durable = MAX(told_durable, answer_durable);
       n = 0;
       EACH(i, if
               :: kept[i] != 0 && heard[i] && i <= told_durable -> kept[i] = 0
               :: else -> n = n + (kept[i] != 0)
               fi);
       if
       :: n == 0 || MUT == 3 -> checkpoint = true;
          checkpoint_token = answer_token;
          checkpoint_position = position;
          done = (position == K)
       :: else
       fi }
     /* The connection broke, or a Barrier left something in the buffer. */
  :: atomic { epoch < EPOCHS && !done -> Resume() }
     /* The job died. */
  :: atomic { epoch < EPOCHS && checkpoint && !done -> RaiseEpoch();
       restarted = true;
       position = checkpoint_position; next = checkpoint_token + 1;
       told_durable = checkpoint_token;
       EACH(i, kept[i] = 0; heard[i] = false) }
  od
}

proctype Network() {
  byte s;
  end: do
     /* An update arrives, and its answer perhaps. The copy stays or goes. */
  :: atomic {
       s = 1; do :: s < N -> s++ :: break od;
       if
       :: wire[s] == 0
       :: wire[s] != 0 ->
          if
          :: memory.step[s] == 0 -> memory.step[s] = wire[s]
          :: else                             /* duplicate */
          fi;
          if :: heard[s] = (kept[s] != 0) :: skip fi;
          if :: wire[s] = 0 :: skip fi
       fi;
       s = 0 }
  :: atomic { asked -> Low(memory);
       waiting = true; waiting_applied = low;
#if MUT == 2
       waiting_token = low;
#else
       waiting_token = MIN(low, used);
#endif
#if MUT == 4
       AnswerBarrier();
#endif
       if :: asked = false :: skip fi }
  od
}

proctype Server() {
  end: do
  :: atomic { Commit(); if :: waiting -> AnswerBarrier() :: else fi }
  :: atomic { crashes < CRASHES -> crashes++; waiting = false;
       EACH(i, memory.step[i] = disk.step[i]) }
  od
}

proctype Monitor() {
  byte s, t;
  end: do
     /* A checkpoint is as far as the job was, and on disk. */
  :: atomic { checkpoint -> Low(disk); assert(checkpoint_token <= low);
       assert(checkpoint_token == checkpoint_position) }
     /* In the end each step is on disk, and no step twice. */
  :: atomic { done -> assert(MUT != 5 || !restarted);
       t = 1;
       do
       :: t <= K -> n = 0; EACH(s, n = n + (disk.step[s] == t));
          assert(n == 1); t++
       :: else -> break
       od;
       s = 0; t = 0 }
  od
}

init { atomic { run Job(); run Network(); run Server(); run Monitor() } }
