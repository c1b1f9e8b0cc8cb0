/* The end of a session (docs/durability.md): closed or expired while updates,
   resumptions, commits and crashes come in between. K updates that a job may
   send at any time and as often as it likes, for it restarts from checkpoints:
   each counts at most once as long as its session is known, and a session that
   ended is never known again.

   -DMUT=n plants a bug, each of which the search must find:
     1  an update looks only when it finds its session whether that lives
     2  an update of an unknown session creates it
     3  resuming enters the record in the queue after it let go of the session
     4  the record is deleted before the ledger is dropped
     5  the ledger is dropped before the session is ended
     6  a start takes an ended record for a living one
     7  the ledger is dropped before the end is on disk
     8  none: the search must reach a crash after an end on disk */

#ifndef MUT
#define MUT 0
#endif
#ifndef K
#define K 2
#endif
#ifndef CRASHES
#define CRASHES 2
#endif

#define EACH(v, act) v = 1; do :: v <= K -> act; v++ :: else -> break od

mtype = { none, living, ended, remove };

/* Memory. */
mtype session = living;
bool ledger;            /* the normalizer has one of this session */
bool used[K + 1];       /* in the ledger */
byte rows[K + 1];       /* how often update s is in the statistics */
bool dirty;             /* the normalizer is in the queue */
mtype queued = none;    /* what happens to the record */
byte boot;

/* What the committer took. */
bool taken_dirty;
mtype taken = none;

/* Disk. */
mtype disk_session = living;
bool disk_ledger;
bool disk_used[K + 1];
byte disk_rows[K + 1];

bool damaged;           /* another normalizer is, so the record has to stay */
bool was_ended;         /* an end reached the disk */
byte i, j;

inline DropLedger() {
  if
  :: ledger -> ledger = false; dirty = true; EACH(j, used[j] = false)
  :: else
  fi
}

inline ForgetRecord() {
  session = none;
  if :: damaged :: else -> queued = remove fi
}

proctype Update() {
  byte s, found;
  end: do
  :: atomic { s = 1; do :: s < K -> s++ :: break od;
       session != none -> found = boot + 1 }   /* SessionTable::Find */
     /* Under the normalizer's lock. */
     atomic {
       if
#if MUT == 1
       :: found == boot + 1 && !used[s] ->
#else
       :: found == boot + 1 && session == living && !used[s] ->
#endif
          ledger = true; used[s] = true; rows[s]++; dirty = true
       :: else
       fi;
       s = 0; found = 0 }
#if MUT == 2
  :: atomic { session == none -> session = living; queued = living }
#endif
  od
}

proctype Resume() {
  end: do
  :: atomic { session == living ->
#if MUT == 3
       skip }
     atomic {
#endif
       queued = living }
  od
}

proctype End() {
  end: do
#if MUT == 4
  :: atomic { session == living -> session = ended; queued = remove }
     atomic { DropLedger(); session = none }
#elif MUT == 5
  :: atomic { session == living -> DropLedger() }
     atomic { if :: session == living -> ForgetRecord() :: else fi }
#else
  :: atomic { session == living -> session = ended;
#if MUT != 7
       queued = ended
#endif
     }
     /* Not before it is on disk as ended. */
     atomic { session != ended || disk_session == ended || MUT == 7 ->
       if :: session == ended -> DropLedger() :: else fi }
     atomic { if :: session == ended -> ForgetRecord() :: else fi }
#endif
  od
}

proctype Committer() {
  end: do
  :: atomic { taken == none && !taken_dirty && (dirty || queued != none) ->
       taken_dirty = dirty; taken = queued; queued = none }
     /* What the normalizer is now, not what it was when it was taken. */
  :: atomic { taken != none || taken_dirty ->
       if
       :: taken_dirty -> dirty = false; disk_ledger = ledger;
          EACH(i, disk_used[i] = used[i]; disk_rows[i] = rows[i])
       :: else
       fi;
       if
       :: taken == remove -> disk_session = none; was_ended = true
       :: taken == ended -> disk_session = ended; was_ended = true
       :: taken == living -> disk_session = living
       :: else
       fi;
       taken = none; taken_dirty = false }
  :: atomic { boot < CRASHES -> boot++;
       assert(MUT != 8 || !was_ended);
       taken = none; taken_dirty = false; dirty = false; queued = none;
       session = disk_session; ledger = disk_ledger;
       EACH(i, used[i] = disk_used[i]; rows[i] = disk_rows[i]);
       if :: damaged = true :: damaged = false fi;
       if
#if MUT == 6
       :: session == ended -> session = living
#else
       :: session == ended -> session = none; DropLedger();
          if :: !damaged -> queued = remove :: else fi
#endif
       :: else
       fi }
  od
}

proctype Monitor() {
  byte s;
  end: do
  :: atomic {
       EACH(s, assert(rows[s] <= 1 && disk_rows[s] <= 1);
               assert(!disk_used[s] || disk_rows[s] == 1));
       assert(!disk_ledger || disk_session != none);
       assert(!was_ended || disk_session != living) }
  od
}

init {
  atomic {
    if :: damaged = true :: damaged = false fi;
    run Update(); run Update(); run Resume(); run End(); run Committer();
    run Monitor()
  }
}
