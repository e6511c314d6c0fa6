// The way of one task: publish, copy, deliver, run, acknowledge, store, archive, purge.
//
// Each `atomic` block is one step: a message that is put or taken, a statement or commit
// that others see, a lock. Its comment names the code under `packages/` that does it, and
// `tests/repository/test_model.py` checks that this code exists. Spin tries all orders of
// the steps of all processes, with faults between them.
//
// Bounds: one task that is published once; FAULTS faults; the numbers of processes.

#ifndef FAULTS
#define FAULTS 1
#endif
#ifndef WORKERS
#define WORKERS 1
#endif
#ifndef MONITORS
#define MONITORS 1
#endif
#ifndef ARCHIVERS
#define ARCHIVERS 1
#endif
// WITHOUT_DELETIONS leaves out the processes that expire and purge.
// The other names are of variants that must fail; `checks.py` describes them.

mtype = { by_producer, by_tracking };  // What put a message into the work queue.
mtype = { none, started, ended };      // The row of `celery_taskmeta`.

// The broker.
chan work = [8] of { mtype };
chan copies = [8] of { bit };
byte held;             // Messages that are delivered and not acknowledged.
byte faults;

// The database, as committed.
bool message;          // `workertoolbox_task` has the message.
mtype result = none;
bool archived;         // The result has `archived_at`.
byte rows;             // Rows of the task in `workertoolbox_history`.
bool row_has_message;  // The row has what the message says.
byte counted;          // How often the rollups count the task.

// Its locks.
bool archive_locked;   // The advisory lock of the archiver.
bool message_locked;   // The row of `workertoolbox_task`, committed or not.
bool result_locked;    // The row of `celery_taskmeta`, committed or not.
byte result_shared;    // The same, FOR KEY SHARE.
bool row_locked;       // The row of the history.

// What has happened.
bool is_late;          // The task has `acks_late`.
bool is_copied;        // A copy was put into the monitor queue.
bool is_stored;        // A monitor has committed the message.
bool is_unsent;        // Only the copy was sent, and the caller knows of an error.
bool was_run;
byte running;
bool is_forgone;       // Its worker was killed after it had acknowledged the message.
bool is_revoked;       // `celery purge` has removed the message.
byte purged;           // Rows that `tasks purge` has deleted from the history.
bool is_forgotten;     // `tasks purge` has deleted the message or the result.

// A consumer is killed, which the broker notices, or loses its connections.
#define MAY_BE_KILLED \
  if \
  :: atomic { faults < FAULTS -> faults++ }; goto killed \
  :: true \
  fi

// The same. Or the visibility timeout of its message ends.
#define MAY_FAIL(return_message) \
  if \
  :: atomic { faults < FAULTS -> faults++ }; goto killed \
  :: atomic { faults < FAULTS && is_held -> \
       faults++; is_held = false; held--; return_message } \
  :: true \
  fi

// An unacknowledged message returns to the queue that it was read from. With kombu alone it
// goes to each queue that its exchange binds by its routing key.
inline return_task(by) {
  work!by;                // routing/transports/_virtual.py: TaskChannel.pin
#ifdef REQUEUE_THROUGH_EXCHANGE
  copies!0
#endif
}

inline return_copy() {
  copies!0;               // routing/transports/_virtual.py: TaskChannel.pin
#ifdef REQUEUE_THROUGH_EXCHANGE
  work!by_tracking
#endif
}

// The rollups count each row of the history once, also one that was purged later.
inline check_figures() {
  assert(rows <= 1);                    // Shown twice: 0.
#ifndef COUNT_OUTSIDE
  assert(counted == rows + purged)      // Counted other than once: 0.
#else
  true
#endif
}

active proctype Producer() {
  byte tries;
  if
  :: is_late = true
  :: true
  fi;
  if
  :: atomic {             // RabbitMQ copies the message: routing/_topology.py: Topology
       work!by_producer; copies!0; is_copied = true
     }
  :: atomic {             // routing/transports/_copies.py: CopyingChannel.put_task
       work!by_producer
     };
     do
     :: atomic {          // It is killed, or gives up: the task stays untracked.
          faults < FAULTS -> faults++; break
        }
     :: atomic {          // routing/transports/_copies.py: CopyingChannel.try_copy
          copies!0; is_copied = true; break
        }
     :: atomic {          // The response is lost: routing/transports/_copies.py: CopyingChannel.retry
          tries < 2 && faults < FAULTS -> faults++; tries++;
          copies!0; is_copied = true
        }
     od
  :: atomic {             // At the same time: routing/transports/_sqs_copies.py: ConcurrentCopyChannel.put_task
       copies!0; is_copied = true
     };
     if
     :: atomic {          // It is killed, or SQS does not answer: the task stays queued.
          faults < FAULTS -> faults++; is_unsent = true
        }
     :: atomic {          // routing/transports/_sqs_copies.py: ConcurrentCopyChannel.put_task
          work!by_producer
        }
     fi
  fi
}

active [WORKERS] proctype Worker() {
  mtype by;
  bool is_held, is_done;
receive:
  atomic {                // routing/consumer.py: Consumer.create_task_handler
    work?by -> is_held = true; held++; running++; is_done = false
  };
  assert(by == by_producer);  // Executed by tracking: 0.
  MAY_FAIL(return_task(by));
  if
  :: is_late
  :: !is_late ->
     atomic {             // Celery acknowledges early.
       held = held - is_held; is_held = false
     };
     MAY_BE_KILLED
  fi;
  if
  :: atomic {             // results/_backend/states.py: write_start
       result == none && !result_locked -> result = started
     };
     MAY_FAIL(return_task(by))
  :: true                 // results/_backend/deferred_starts.py: DeferredStarts.put
  fi;
  atomic {                // The code of the task.
    was_run = true
  };
  MAY_FAIL(return_task(by));
  atomic {                // results/_backend/states.py: write_state
    !result_locked -> result = ended; archived = false; is_done = true
  };
  MAY_FAIL(return_task(by));
  atomic {                // Celery acknowledges late.
    held = held - is_held; is_held = false; running--
  };
  goto receive;
killed:
  atomic {                // The broker restores the message: routing/transports/_redis_fetch.py: QoS.append
    running--;
    if
    :: is_held -> is_held = false; held--; return_task(by)
    :: else -> is_forgone = is_forgone || !(is_late || is_done)
    fi
  };
  goto receive
}

inline release_locks() {
  if :: has_message_lock -> message_locked = false; has_message_lock = false :: else fi;
  if :: has_result_lock -> result_locked = false; has_result_lock = false :: else fi;
  result_shared = result_shared - has_result_share; has_result_share = false
}

active [MONITORS] proctype Monitor() {
  bool is_held, has_message_lock, has_result_lock, has_result_share;
receive:
  atomic {                // results/_monitor/buffer.py: MessageBuffer.add
    copies?_ -> is_held = true; held++
  };
  MAY_FAIL(return_copy());
#ifdef ACK_BEFORE_COMMIT
  atomic {                // results/_monitor/writer_thread.py: WriterThread._acknowledge
    held = held - is_held; is_held = false
  };
  MAY_BE_KILLED;
#endif
  atomic {                // results/_monitor/upserts.py: write_batch
    !message_locked -> message_locked = true; has_message_lock = true
  };
  if
  :: message              // The message is a second copy. No trigger fires.
  :: else ->
     if                   // The trigger waits for an archiver that has locked the result.
     :: atomic {          // results/_database/history.postgresql.sql: workertoolbox_message_stored
          result == none && rows == 0
        }
     :: atomic {          // results/_database/history.postgresql.sql: workertoolbox_message_stored
          (result == none -> rows > 0 : archived) && !result_locked ->
          result_locked = true; has_result_lock = true
        }
     :: atomic {          // results/_database/history.postgresql.sql: workertoolbox_message_stored
          result != none && !archived && !result_locked ->
          result_shared++; has_result_share = true
        }
     fi
  fi;
  MAY_FAIL(return_copy());
  atomic {                // results/_monitor/writer.py: Writer._commit
    message = true; is_stored = true;
    if
    :: has_result_lock && result == none -> result = ended; archived = false
    :: has_result_lock && result != none -> archived = false
    :: else
    fi;
    release_locks()
  };
  MAY_FAIL(return_copy());
  atomic {                // results/_monitor/writer_thread.py: WriterThread._acknowledge
    held = held - is_held; is_held = false
  };
  goto receive;
killed:
  atomic {                // PostgreSQL rolls back; the broker restores the message.
    release_locks();
    if
    :: is_held -> is_held = false; held--; return_copy()
    :: else
    fi
  };
  goto receive
}

inline release_archiver() {
  if :: has_result_lock -> archive_locked = false :: else fi;
  if :: has_result_lock -> result_locked = false; has_result_lock = false :: else fi;
  if :: has_message_lock -> message_locked = false; has_message_lock = false :: else fi;
  if :: has_row_lock -> row_locked = false; has_row_lock = false :: else fi
}

active [ARCHIVERS] proctype Archiver() {
  bool has_message, is_reopened, has_result_lock, has_message_lock, has_row_lock;
find:
  atomic {                // results/_history/ended_tasks.py: find_ended
    result == ended && !archived && !result_locked && !result_shared && !archive_locked ->
    archive_locked = true;  // results/_history/archiver.py: lock_archive
    result_locked = true; has_result_lock = true
  };
  MAY_BE_KILLED;
  if
  :: atomic {             // results/_history/ended_tasks.py: _lock_messages
       !message -> has_message = false
     }
  :: atomic {             // results/_history/ended_tasks.py: _lock_messages
       message && !message_locked ->
       has_message = true; message_locked = true; has_message_lock = true
     }
  :: message && message_locked -> goto killed  // SKIP LOCKED
  fi;
  MAY_BE_KILLED;
  if
  :: rows == 0 -> is_reopened = false
  :: atomic {             // results/_history/reopening.py: reopen
       rows > 0 && !row_locked && (has_message || !message_locked) ->
       is_reopened = true; row_locked = true; has_row_lock = true;
       message_locked = true; has_message_lock = true
     }
  :: rows > 0 && (row_locked || message_locked && !has_message) -> goto killed  // `lock_timeout`
  fi;
  MAY_BE_KILLED;
  atomic {                // results/_history/archiver.py: archive_batch
    row_has_message = has_message || is_reopened && (row_has_message || message);
    rows = rows + 1 - is_reopened;
#ifndef COUNT_OUTSIDE
    counted = counted + 1 - is_reopened;  // results/_history/rollup.py: add_contributions
#endif
    message = message && !(has_message || is_reopened);
    archived = true;
    check_figures();
    release_archiver()
  };
#ifdef COUNT_OUTSIDE
  MAY_BE_KILLED;
  atomic {                // results/_history/rollup.py: add_contributions
    counted = counted + 1 - is_reopened
  };
#endif
  goto find;
killed:
  atomic {                // PostgreSQL rolls back.
    release_archiver()
  };
  goto find
}

// Each step is one transaction.
active proctype Housekeeping() {
  do
#ifndef NO_HOUSEKEEPING
  :: atomic {             // results/_history/tidying.py: _archive_late_messages
       message && result != none && archived && !archive_locked &&
       !result_locked && !result_shared -> archived = false
     }
  :: atomic {             // results/_history/tidying.py: _store_again
       message && result == none && rows > 0 && !archive_locked &&
       !message_locked && !result_locked -> result = ended; archived = false
     }
#endif
  :: atomic {             // results/_history/lost_tasks.py: mark_lost
       result == started && running == 0 && !archive_locked && !result_locked ->
       result = ended
     }
  od
}

#ifndef WITHOUT_DELETIONS
// `result_expires`, `forget` or `celery.backend_cleanup`, once. An end that is not archived
// stays: results/_database/history.postgresql.sql: workertoolbox_result_deleted
active proctype Cleanup() {
  if
  :: atomic {             // results/_backend/removal.py: RemovalMixin.cleanup
#ifdef DELETE_UNARCHIVED
       result == ended && !result_locked && !result_shared ->
#else
       result == ended && archived && !result_locked && !result_shared ->
#endif
       result = none; archived = false
     }
  :: true
  fi
}

// `celery purge`, once.
active proctype CeleryPurge() {
  mtype by;
  if
  :: atomic {             // routing/transports/_purging.py: _take
       work?by -> held++
     };
     MAY_BE_KILLED;
     atomic {             // routing/transports/_purging.py: _Revocations.store
       !result_locked -> result = ended; archived = false
     };
     MAY_BE_KILLED;
     atomic {             // routing/transports/_purging.py: PurgingChannel.queue_purge
       held--; is_revoked = true
     };
     goto done
  :: goto done
  fi;
killed:
  atomic {                // The broker restores the message.
    held--; return_task(by)
  };
done: true
}

// `tasks purge` or `RETENTION`, once, beside late copies and late ends.
active proctype Purge() {
  if
  :: atomic {             // results/_history/expiry.py: _history_rule
       rows > 0 && !row_locked && !message && (result == none || archived) ->
       row_locked = true
     };
     atomic {             // results/_history/purge.py: _delete_batch
       if
       :: result != none && archived && !result_locked && !result_shared ->
          result = none; archived = false
       :: else
       fi;
       rows--; purged++; row_has_message = false; row_locked = false;
       check_figures()
     }
  :: atomic {             // results/_history/expiry.py: _live_tasks
       message && !message_locked -> message_locked = true
     };
     atomic {             // results/_history/purge.py: delete_rows
       !result_locked && !result_shared ->
       message = false; message_locked = false; result = none; archived = false;
       is_forgotten = true
     }
  :: true
  fi
}
#endif

// When nothing can happen any more:
active proctype End() {
  timeout;
  assert(!len(work) && !len(copies) && !held);
  assert(!archive_locked && !message_locked && !result_locked && !result_shared);
  assert(was_run || is_revoked || is_forgone || is_unsent);                       // Lost tasks: 0.
  assert(!is_copied || is_stored);                                   // Lost copies: 0.
  assert(purged || is_forgotten || is_forgone || is_unsent || rows);              // Lost ends: 0.
  assert(purged || is_forgotten || !rows || row_has_message || !is_stored); // Lost messages: 0.
  assert(purged || is_forgotten || !rows || !message);               // Shown as queued: 0.
  assert(counted == rows + purged)                                   // Counted other than once: 0.
}
