"""How messages leave the process: queue → batch → attempt → outcome.

`http` makes one HTTP call, `policy` says what may be repeated and when, `attempt` turns one batch into an outcome,
`worker` forms batches in the background, `spool` keeps them on disk. Synchronous calls use `attempt` in the caller's
thread; background and asynchronous ones use the same code in the worker. They differ only in who waits.
"""
