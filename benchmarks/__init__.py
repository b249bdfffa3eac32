"""Benchmarks: what a speed claim rests on. ``python -m benchmarks`` runs them all, ``python -m benchmarks NAME`` one."""
