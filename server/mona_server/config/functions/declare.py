"""How a build function is declared: its sources, arguments, result, null rule, meaning and an example.

Everything else follows from the declaration: validation at upload, ``GET /api/v1/build_functions``, the reference in
the documentation, the forms, and the contract suite that runs every example.

A body is a plain function of its sources, then its arguments by name. It sees sources of the declared kinds and no
nulls (unless it asks for them), and raises :class:`Problem` or an arithmetic error where it has no result.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, TypeVar

from mona_server.config.functions.kinds import ArgContext, ArgKind, BadArg, is_data

SourceKind = Literal["N", "S", "B", "A", "O", "T", "G", "X"]
KIND_WORDS: dict[str, str] = {
    "N": "number",
    "S": "text",
    "B": "boolean",
    "A": "array",
    "O": "object",
    "T": "timestamp",
    "G": "geopoint",
    "X": "any value",
}
Nulls = Literal["null", "skip", "see"]
"""``null``: any null source gives null. ``skip``: nulls are left out, all null gives null. ``see``: the body decides."""

_REQUIRED = object()
Body = TypeVar("Body", bound=Callable[..., Any])


class Problem(ValueError):
    """No result for these sources. The text is a reason for the ingestion report: it never holds a value."""


@dataclass(frozen=True, slots=True)
class Arg:
    """One positional argument."""

    name: str
    kind: ArgKind
    default: Any = _REQUIRED

    @property
    def required(self) -> bool:
        return self.default is _REQUIRED

    def to_json(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "kind": self.kind.name,
            "form": self.kind.form,
            "choices": list(self.kind.choices),
            "required": self.required,
            "default": None if self.required else self.default,
            "data": is_data(self.kind),
        }


@dataclass(frozen=True, slots=True)
class Example:
    """``body(*sources)`` with ``args`` gives ``result``."""

    sources: tuple[Any, ...]
    args: tuple[Any, ...]
    result: Any


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildFunction:
    """One function of the table; see :mod:`mona_server.config.functions.declare`."""

    name: str
    group: str
    doc: str
    sources: tuple[SourceKind, ...]
    """Kinds of the sources; with ``open_ended`` the last kind may repeat."""
    open_ended: bool
    args: tuple[Arg, ...]
    operands: tuple[Arg, ...]
    """The last sources that an argument may stand in for, when the sources are fewer."""
    returns: SourceKind
    nulls: Nulls
    example: Example
    body: Callable[..., Any] = field(repr=False)
    uses_context_time: bool = False
    """The body takes ``context_time_ms``, Unix milliseconds."""
    check: Callable[[Mapping[str, Any], int], str | None] | None = field(default=None, repr=False)
    """(arguments by name, number of sources) → what is wrong with them together, or None."""
    cost_ns: int = 0
    """Nanoseconds for each character of a source on a usual machine; counted against the budget of a context."""

    @property
    def min_sources(self) -> int:
        return len(self.sources) - len(self.operands)

    @property
    def max_sources(self) -> int | None:
        return None if self.open_ended else len(self.sources)

    def kind_of(self, i: int) -> SourceKind:
        """The kind of source number i."""
        return self.sources[min(i, len(self.sources) - 1)]

    def args_for(self, n_sources: int) -> tuple[Arg, ...]:
        """The arguments when so many sources are given: an operand for each one that is not."""
        missing = max(len(self.sources) - n_sources, 0)
        return self.operands[len(self.operands) - missing :] + self.args if missing else self.args

    def check_sources(self, n_sources: int) -> str | None:
        """What is wrong with this number of sources; None = nothing."""
        least, most = self.min_sources, self.max_sources
        if n_sources >= least and (most is None or n_sources <= most):
            return None
        wanted = f"{least} or more" if most is None else str(least) if least == most else f"{least} to {most}"
        return f"{self.name} takes {wanted} source{'' if wanted == '1' else 's'}, not {n_sources}"

    def read_args(self, given: Sequence[Any], n_sources: int, context: ArgContext) -> dict[str, Any]:
        """Arguments by name, as the body takes them. Raises :class:`BadArg` with ``at`` = index."""
        args = self.args_for(n_sources)
        most = sum(arg.kind.width for arg in args)
        if len(given) > most:
            names = ", ".join(arg.name for arg in args) or "none"
            raise BadArg(f"{self.name} with {n_sources} source(s) takes at most {most} argument(s) ({names})")
        values = {}
        i = 0
        for arg in args:
            taken = list(given[i : i + arg.kind.width])
            if len(taken) < arg.kind.width:
                if arg.required:
                    raise BadArg(f"{self.name} needs the argument {arg.name!r}: {arg.kind.form}")
                taken = [arg.default]
            value = taken[0] if len(taken) == 1 else taken
            try:
                values[arg.name] = None if value is None and arg.default is None else arg.kind.read(value, context)
            except BadArg as error:
                raise BadArg(f"argument {arg.name!r} of {self.name}: {error}", at=i) from None
            i += arg.kind.width
        if self.check is not None and (problem := self.check(values, n_sources)):
            raise BadArg(f"{self.name} {problem}")
        return values

    def prepare(self, given: Sequence[Any], n_sources: int, context: ArgContext) -> Callable[..., Any]:
        """The body with its arguments filled in: called with the sources (and ``context_time_ms``, where used).

        Raises :class:`BadArg`.
        """
        arguments = self.read_args(given, n_sources, context)
        body = self.body
        operands = [arguments.pop(arg.name) for arg in self.args_for(n_sources) if arg in self.operands]
        if operands:
            bound = body
            body = lambda *sources, **rest: bound(*sources, *operands, **rest)  # noqa: E731
        if not arguments:
            return body
        return lambda *sources, **rest: body(*sources, **arguments, **rest)

    def to_json(self) -> dict[str, Any]:
        """As ``GET /api/v1/build_functions`` shows it."""
        return {
            "name": self.name,
            "group": self.group,
            "doc": self.doc,
            "sources": [KIND_WORDS[kind] for kind in self.sources],
            "min_sources": self.min_sources,
            "max_sources": self.max_sources,
            "args": [arg.to_json() for arg in self.args],
            "operands": [arg.to_json() for arg in self.operands],
            "returns": KIND_WORDS[self.returns],
            "nulls": self.nulls,
            "example": {
                "sources": list(self.example.sources),
                "args": list(self.example.args),
                "result": self.example.result,
            },
        }


@dataclass
class Group:
    """Collects the functions of one file."""

    name: str
    functions: dict[str, BuildFunction] = field(default_factory=dict)

    def function(
        self,
        sources: str,
        returns: SourceKind,
        *,
        example: tuple[tuple[Any, ...], tuple[Any, ...], Any],
        args: Sequence[Arg] = (),
        operands: Sequence[Arg] = (),
        nulls: Nulls = "null",
        uses_context_time: bool = False,
        cost_ns: int = 0,
        check: Callable[[Mapping[str, Any], int], str | None] | None = None,
    ) -> Callable[[Body], Body]:
        """Declares the function below it under its own name (a trailing ``_`` is dropped).

        ``sources``: kinds, e.g. ``"N N"``; ``"N+"`` one or more, ``"N N+"`` two or more. ``example``: sources,
        args, result. The docstring is the documentation.
        """

        def register(body: Body) -> Body:
            name = body.__name__.rstrip("_")
            assert body.__doc__, f"{name} is not documented"
            assert name not in self.functions, f"{name} twice"
            kinds: Any = tuple(sources.replace("+", "").split())
            self.functions[name] = BuildFunction(
                name=name,
                group=self.name,
                doc=" ".join(body.__doc__.split()),
                sources=kinds,
                open_ended="+" in sources,
                args=tuple(args),
                operands=tuple(operands),
                returns=returns,
                nulls=nulls,
                example=Example(*example),
                body=body,
                uses_context_time=uses_context_time,
                cost_ns=cost_ns,
                check=check,
            )
            return body

        return register


def collect(groups: Sequence[Group]) -> Mapping[str, BuildFunction]:
    """All functions by name, in the order of the groups."""
    functions: dict[str, BuildFunction] = {}
    for group in groups:
        for name, declared in group.functions.items():
            assert name not in functions, f"{name} is declared twice"
            functions[name] = declared
    return functions


__all__ = ["Arg", "ArgContext", "BadArg", "BuildFunction", "Example", "Group", "Problem", "collect"]
