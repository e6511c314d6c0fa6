"""Publishing tasks again: the rules, the messages, and the journal of operations."""
