"""Findings become insights: matched across runs, with a life of their own, explained, told and kept."""
