"""Put a task and its copies into Redis in one step.

Otherwise a server that is killed between the two has the task without its copy, or a
producer has lost its connection, and its retries take less time than a restart.
"""

from __future__ import annotations

from typing import Any

from kombu.transport import redis
from kombu.utils.json import dumps
from redis.exceptions import NoPermissionError

from cadasta.workertoolbox.routing.transports._copies import with_new_tag
from cadasta.workertoolbox.routing.transports._virtual import TaskChannel

#: Puts a message into each list. An error of one of the first lists, as many as the
#: first argument says, is returned before anything is put into those that follow.
#: Otherwise the script returns the numbers of the lists that refused the message.
PUT_SCRIPT = """
local refused = {}
for i, key in ipairs(KEYS) do
    local answer = redis.pcall('LPUSH', key, ARGV[i + 1])
    if type(answer) == 'table' and answer.err then
        if i <= tonumber(ARGV[1]) then return answer end
        table.insert(refused, i)
    end
end
return refused
"""


class AtomicPutChannel(TaskChannel, redis.Channel):
    """kombu's channel, which puts a task and its copies in one step."""

    def put_task(
        self, message: dict[str, Any], work: list[str], copies: list[str], **kwargs: Any
    ) -> None:
        """Put a task and its copies; a copy that Redis refuses is tried again alone.

        Raises:
            CopyFailed: A copy could not be put, and `copy_failure` is `raise`.
            Exception: The task could not be put; no copy was put either.
        """
        if not work or not copies or self._expires or "_publish_batch" in kwargs:
            super().put_task(message, work, copies, **kwargs)
            return
        queues = [*work, *copies]
        try:
            refused = self._put_all(message, queues, len(work))
        except NoPermissionError:
            # The user may not run scripts.
            super().put_task(message, work, copies, **kwargs)
            return
        for number in refused:
            self.put_copy(queues[number - 1], message, **kwargs)

    def _put_all(
        self, message: dict[str, Any], queues: list[str], required: int
    ) -> list[int]:
        priority = self._get_message_priority(message, reverse=False)
        names = [self._q_for_pri(queue, priority) for queue in queues]
        keys = [f"{self.global_keyprefix}{name}" for name in names]
        values = [dumps(with_new_tag(message)) for _ in queues]
        with self.conn_or_acquire() as client:
            refused: list[int] = client.execute_command(
                "EVAL", PUT_SCRIPT, len(keys), *keys, required, *values
            )
        return refused
