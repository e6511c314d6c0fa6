"""Why a task has not run, has not finished, or how it ended."""
