"""kombu's transports, made to publish a task and its copy safely.

kombu finds them by the scheme of a broker URL once the routing package is imported,
so it does not matter where the URL comes from. Each is kombu's own, and changes only
what happens to messages of the task exchange.
"""
