// A chord: its header is published, each task of it is counted once, and the last one
// starts the body. `pipe.pml` explains the notation.
//
// Bounds: a header of two tasks; FAULTS faults; two worker processes, or WORKERS.
// `TAKEOVER_S` is assumed to be enough: before another process takes over, a process that is
// alive has published the body and recorded that, and a worker has noticed the end of a
// process. SLOW_PUBLISHER leaves this out.

#ifndef FAULTS
#define FAULTS 1
#endif
#ifndef WORKERS
#define WORKERS 2
#endif

#define SIZE 2

// The broker.
chan tasks = [10] of { byte, bool };  // The task, and whether it is delivered again.
byte faults;

// The row of `workertoolbox_chord`.
byte size;              // 0 until it is known.
byte done;
byte starters;
byte starter;           // The task whose process starts the body, from 1 on.
bool has_started;

// The rows of `workertoolbox_chord_part` and `celery_taskmeta`.
bool is_counted[SIZE];
bool has_failed[SIZE];
bool has_succeeded[SIZE];

// What has happened.
bool is_late;           // The tasks have `acks_late`.
byte bodies;            // Published bodies.
bool is_over;           // The body has started, or has failed.
byte chords;            // How often the chord was created anew.
byte windows;           // How often the body may be published again: a process was killed
                        // between publishing it and recording that, or one of two that
                        // run the same task at the same time. The documents name both.
byte publishing;        // Processes that are alive between counting and recording.
byte noticing;          // Workers that notice the end of a process.
bool is_forgone;        // A worker was killed that had acknowledged its task.

#define MAY_BE_KILLED \
  if \
  :: atomic { faults < FAULTS -> faults++ }; goto killed \
  :: true \
  fi

// Celery has seen the process of the task die. Is it the one that starts the body?
#ifdef TAKE_FROM_OTHERS
#define IS_STARTER true
#else
#define IS_STARTER (starter == task + 1)
#endif

// Otherwise the process may be alive, and is waited for.
#ifdef SLOW_PUBLISHER
#define IS_TIME_OVER true
#else
#define IS_TIME_OVER (publishing == 0 && noticing == 0)
#endif

inline end_notice() {
  noticing = noticing - is_noticing; is_noticing = false
}

inline empty_parts() {
  is_counted[0] = false; is_counted[1] = false;
  has_failed[0] = false; has_failed[1] = false
}

// A task that is delivered again if its worker is killed. It publishes the same ids again.
active proctype Publisher() {
  if
  :: is_late = true
  :: true
  fi;
again:
  atomic {              // results/_backend/chord_progress.py: create
    if
    :: has_started || !chords ->
       size = 0; done = 0; starters = 0; starter = 0; has_started = false; chords++; empty_parts()
    :: else
    fi
  };
  MAY_BE_KILLED;
  atomic {              // Celery publishes the first task.
    tasks!0,false
  };
  MAY_BE_KILLED;
  atomic {              // results/_backend/chord_progress.py: set_size
    size = SIZE
  };
  MAY_BE_KILLED;
  atomic {              // Celery publishes the last task.
    tasks!1,false
  };
  MAY_BE_KILLED;
  goto over;
killed:
  goto again;
over: true
}

active [WORKERS] proctype Worker() {
  byte task, seen;
  bool is_again, is_new, is_publishing, is_lost, is_noticing;
receive:
  atomic {              // routing/consumer.py: Consumer.create_task_handler
    tasks?task,is_again -> is_lost = false
  };
  MAY_BE_KILLED;
  if
  :: is_late && is_again && has_succeeded[task] -> goto receive  // `worker_deduplicate_successful_tasks`
  :: true
  fi;
#ifdef COUNT_AFTER_SUCCESS
  atomic {              // results/_backend/endings.py: EndingMixin.mark_as_done
    has_succeeded[task] = true
  };
  MAY_BE_KILLED;
#endif
count:
  atomic {              // results/_backend/chord_progress.py: record_part
    is_new = !is_counted[task] && !has_started;
    if
    :: is_new ->
       is_counted[task] = true; has_failed[task] = is_lost; done++; starter = task + 1
    :: else
    fi;
    if
    :: !size || done < size || has_started -> end_notice(); goto store
    :: else ->
       if :: is_new -> end_notice() :: else fi;
       seen = starters; is_publishing = is_new; publishing = publishing + is_new
    fi
  };
  MAY_BE_KILLED;
  if
  :: is_new
  :: !is_new ->
     if
     :: atomic {        // results/_backend/chords.py: ChordMixin._claim_body
          has_started || done < size || !size ||
          is_lost && (!IS_STARTER || starters != seen) -> end_notice(); goto store
        }
     :: atomic {        // results/_backend/chord_progress.py: claim_body
          !has_started && size && done == size &&
          (is_lost -> IS_STARTER && starters == seen : IS_TIME_OVER) ->
          windows = windows + (is_lost && publishing && starter == task + 1);
          starters++; starter = task + 1; is_publishing = true; publishing++; end_notice()
        }
     fi
  fi;
  MAY_BE_KILLED;
  if
  :: has_failed[0] || has_failed[1]  // The body fails: results/_backend/chords.py: ChordMixin._start_body
  :: else ->
     atomic {           // results/_backend/chords.py: ChordMixin._start_body
       bodies++;
       assert(bodies <= chords + windows)  // Bodies published twice: 0.
     };
     if
     :: atomic { faults < FAULTS -> faults++; windows++ }; goto killed
     :: true
     fi
  fi;
  atomic {              // results/_backend/chord_progress.py: mark_started
    has_started = true; is_over = true; empty_parts(); publishing--; is_publishing = false
  };
store:
  MAY_BE_KILLED;
  if
  :: is_lost
  :: else ->
     atomic {           // results/_backend/endings.py: EndingMixin.mark_as_done
       has_succeeded[task] = true
     };
     MAY_BE_KILLED
  fi;
  goto receive;
killed:
  atomic {              // Its message, or the main process of its worker, is left.
    publishing = publishing - is_publishing; is_publishing = false; end_notice();
    if
    :: is_late && !is_lost -> tasks!task,true; goto receive    // The worker: the task is redelivered.
    :: !is_late || is_lost -> is_forgone = true; goto receive
    :: !is_lost && has_succeeded[task] -> goto receive    // Only the process of the pool:
    :: !is_lost && !has_succeeded[task] ->                // Celery stores a failure.
       is_lost = true; is_noticing = true; noticing++
    fi
  };
  goto count
}

// When nothing can happen any more:
active proctype End() {
  timeout;
  assert(!len(tasks) && !publishing);
  assert(is_over || is_forgone)  // Lost bodies: 0.
}
