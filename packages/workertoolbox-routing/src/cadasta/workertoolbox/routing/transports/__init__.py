"""Subclasses of kombu's transports that publish a task and its copy safely.

Importing the routing package makes kombu use them for every connection of the process,
including those of Celery apps that are not configured with the toolbox. So it does not
matter where a broker URL comes from.

Messages of the task exchange:

- All transports but `amqp` put the task once, and retry each copy separately. `redis`
  and `sqlalchemy` put the task and its copies in one step. A task for a queue that is
  not bound is an error. Redis and SQS warn once about an ETA beyond the visibility
  timeout.
- `amqp` raises an error for a task that is unroutable, refused, or not confirmed in
  time by a broker with an alarm, if publishes are confirmed.

Every message:

- All but `amqp` return an unacknowledged message to the queue that it was read from,
  unless it names another exchange that is declared on the same connection.
- All but `memory` deliver a message that cannot be parsed with the header `UNREADABLE`
  instead of raising an error; `amqp` does so for message properties.
- `redis` fetches a message and stores it as unacknowledged in one step.
- `filesystem` writes files atomically. A message that is read is moved, and deleted
  when it is acknowledged.
- `sqlalchemy` rolls back a transaction that fails, and keeps messages that cannot
  return to their queue until the database is back.
- `sqs` treats error responses of AWS as connection errors, and refuses truncated
  responses. It sets the group and the deduplication id of tasks in FIFO queues, creates
  FIFO queues for high throughput, and does not create queues for remote control.
"""
