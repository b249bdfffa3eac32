"""The second gate and the folding of one verse in one baseline: what is noise, and what says the same twice.

:class:`Evidence` is fed the blocks of candidates that the search enumerates anyway (each once, so nothing is read
again), keeps a few numbers of each, and then judges: dispersion and limits are learnt from all candidates, suspects
are those that pass, and :mod:`selection` names the few that explain them. See ``docs/detection.md``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from mona_server.detect import chance, chance_series, selection
from mona_server.detect.candidates import Block
from mona_server.detect.chance_series import Part, Stats, Windows
from mona_server.detect.shocks import Shocks, find_shocks
from mona_server.detect.source import AtomSums, Floats, GroupSums, SumsSource
from mona_server.detect.verses.base import Statistic
from mona_server.segment import ALL, Segment

Mask = NDArray[np.bool_]
Comparison = Literal["reference", "everybody", "threshold"]
"""What the judged frames are compared with: the segment's own reference frames, everybody in the same frames, a number."""

AIM = 0.8
"""Share of the tolerated rate that is used: p-values are estimates, too, and the rate has to hold."""
PRIOR_CONTEXTS = 100.0
"""Weight of everybody's row variance in that of a segment, in contexts."""
FEW = 10.0
"""A dispersion with fewer degrees of freedom leans on the pooled one, each missing one with the weight of two."""
MIN_JUDGED = 10.0
"""With fewer expected contexts in the judged frames nothing is said about a segment."""
SET_ASIDE = 0.2
"""Share of single frames that may hold changes of their own, and are not used to learn how wild frames are."""
SUSPECTS = 200
"""Most suspects that are explained together; more come in rounds."""
ROUNDS = 8


@dataclass(frozen=True, slots=True)
class Setting:
    """What is asked of one verse in one baseline."""

    statistic: Statistic
    comparison: Comparison
    windows: Windows
    metrics: tuple[int, ...]
    """Rows of the metrics in the sums; () for sizes."""
    residuals: tuple[int, ...]
    """Rows of their residuals, where there are any; else the same as ``metrics``."""
    rate: float
    threshold: float = 0.0
    strict: bool = False
    known: tuple[Segment, ...] = ()
    """Segments whose change is told elsewhere (new ones): they explain, and are not named."""


@dataclass(frozen=True, slots=True)
class Judged:
    """One candidate of one metric that passed, or nearly did."""

    test: int
    """Index into ``Setting.metrics`` (0 for sizes)."""
    segment: Segment
    z: float
    """Change over its standard error."""
    p: float
    """Two-sided, of this candidate alone."""
    q: float
    """Chance that the best of all candidates is as strong, when nothing happened: an upper bound of the q-value."""
    explained_by: Segment | None = None
    """The finding that explains it; None for findings and for what is no finding."""
    effect: float = 0.0
    """Fitted change of a finding: of the mean, or of the size as a share of what was expected."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What one verse found in one baseline."""

    findings: tuple[Judged, ...]
    """One per cause, strongest first."""
    passed: tuple[Judged, ...]
    """All eligible candidates beyond chance, findings and explained ones."""
    chances: dict[tuple[int, Segment], Judged]
    """Everything looked at closely, also what did not pass."""
    tests: int
    limit: float
    placebos: int
    expected_false: float


@dataclass(slots=True)
class _Candidates:
    """Stats of all candidates seen, in blocks; joined when judged."""

    blocks: list[Block]
    sizes: list[Floats]
    stats: list[list[list[Stats]]]
    """per test, per part, per block"""


class Evidence:
    """Collects what is needed to judge the candidates of one verse in one baseline."""

    def __init__(self, setting: Setting, base: GroupSums) -> None:
        self.setting, self.base = setting, base
        tests = max(len(setting.metrics), 1)
        self._parts = 2 if setting.statistic is Statistic.SUM else 1
        windows = setting.windows
        self._placebos = (
            chance_series.placebo_windows(windows) if setting.comparison == "reference" else np.zeros((0, 0))
        )
        cycles = len(windows.learn) // windows.cycle if windows.cycle > 1 else 0
        self._weeks = cycles >= chance_series.ENOUGH_CYCLES
        self._first: list[Block] = []
        self._shocks: list[list[Shocks | None]] | None = None
        self._seen = _Candidates([], [], [[[] for _ in range(self._parts)] for _ in range(tests)])

    def add(self, block: Block) -> None:
        """Take the numbers of one block of candidates; those with one condition come first and show the shocks."""
        if self._shocks is None and len(block.widths) <= 1:
            self._first.append(block)
            return
        self._find_shocks()
        self._take(block)

    def _find_shocks(self) -> None:
        """Once: the shocks of each part of each test, then the blocks that waited for them."""
        if self._shocks is not None:
            return
        windows, plain = self.setting.windows, [b for b in self._first if not b.union]
        self._shocks = []
        for test in range(len(self._seen.stats)):
            by_block = [self._deviations(block.groups, test) for block in plain]
            if self.setting.comparison != "reference" or not by_block:
                self._shocks.append([None] * self._parts)
                continue
            self._shocks.append(
                [
                    None
                    if not self._shared(i)
                    else find_shocks(
                        [chance_series.seasonless(parts[i], windows) for parts in by_block],
                        [parts[i].exposure for parts in by_block],
                        [parts[i].row_variance for parts in by_block],
                        windows.reference,
                        windows.target,
                    )
                    for i in range(self._parts)
                ]
            )
        first, self._first = self._first, []
        for block in first:
            self._take(block)

    def _shared(self, part: int) -> bool:
        """Are shocks taken off this part? Not off means over many frames: residuals hold few, and a large change of one
        segment leaks into the scores, where it looks like small changes of others."""
        sized = part == 0 and self.setting.statistic in (Statistic.SIZE, Statistic.SUM)
        return sized or len(self.setting.windows.target) == 1

    def _take(self, block: Block) -> None:
        groups, windows = block.groups, self.setting.windows
        empty = np.zeros((0, 0, 0))
        light = replace(groups, size=np.zeros((0, 0)), count=empty, total=empty, square=empty)
        self._seen.blocks.append(replace(block, groups=light))
        self._seen.sizes.append(groups.size.sum(axis=1))
        assert self._shocks is not None
        for test, by_part in enumerate(self._seen.stats):
            for kept, part, shocks in zip(by_part, self._deviations(groups, test), self._shocks[test], strict=True):
                kept.append(chance_series.stats(part, windows, self._placebos, self._weeks, shocks))

    def _deviations(self, groups: GroupSums, test: int) -> list[Part]:
        """The parts of one test."""
        setting, base = self.setting, self.base
        statistic, windows = setting.statistic, setting.windows
        parts = []
        if statistic in (Statistic.SIZE, Statistic.SUM):
            parts.append(chance_series.size_part(groups.size, base.size[0], windows))
        if statistic is not Statistic.SIZE:
            total, count, square = self._moments(groups, test)
            base_total, base_count, base_square = self._moments(base, test)
            if setting.comparison == "threshold":
                mean = np.full(base_count.shape[1], setting.threshold)
            else:
                mean = (base_total / np.maximum(base_count, 1e-9))[0]
            everybody = _row_variance(base_total, base_count, base_square, windows, np.zeros(1))
            rows = _row_variance(total, count, square, windows, everybody)
            parts.append(chance_series.mean_part(total, count, rows, mean, windows))
        return parts

    def _moments(self, groups: GroupSums, test: int) -> tuple[Floats, Floats, Floats]:
        """Total, count and square of what a mean is taken of, (S, K) each."""
        setting = self.setting
        m = setting.metrics[test]
        r = setting.residuals[test]
        match setting.statistic:
            case Statistic.RATIO:
                return groups.count[m], groups.size, groups.count[m]
            case Statistic.STD:
                # Squares of residuals; their own spread as if residuals were normal, the pooling corrects it.
                mean = groups.square[r] / np.maximum(groups.count[r], 1e-9)
                return groups.square[r], groups.count[r], 3 * mean * groups.square[r]
            case _:
                return groups.total[r], groups.count[r], groups.square[r]

    def judge(self, source: SumsSource, eligible: Callable[[int, Segment], bool], *, base_allowed: bool) -> Verdict:
        """Judge all candidates. ``eligible(test, segment)``: did it pass the level, sizes and direction?

        ``source`` answers how suspects overlap; ``base_allowed``: the baseline itself ({}) is a candidate.
        """
        self._find_shocks()
        return _Judge(self, source, eligible, base_allowed).run()


@dataclass(frozen=True, slots=True)
class _Joined:
    """Stats of one part over all candidates, with the pooled dispersion."""

    stats: Stats
    pooled: Floats
    own_weight: float
    freedom: tuple[float, float]
    """Degrees of freedom of the own dispersions between frames and between cycles."""
    turmoil: Floats
    """(C,) how much wider than usual all scatter in the judged frames, see :func:`chance.turmoil`."""
    shape: tuple[float, float] = (0.0, 0.0)
    """Skewness and excess kurtosis of everybody's rows, where no placebos tell how heavy tails are."""

    @property
    def own(self) -> Floats:
        """(C,) each candidate's own dispersion, the larger of that between frames and that between cycles.

        Of few cycles one is often wide by luck, so what has fewer than ten degrees of freedom leans on the pooled one.
        """
        frames, cycles = self.freedom
        between, weekly = (
            (dof * own + lean * self.pooled) / (dof + lean)
            for dof, own in ((frames, self.stats.between), (cycles, self.stats.weekly))
            for lean in (max(1.0, 2 * (FEW - dof)),)
        )
        return np.asarray(np.maximum(between, weekly), np.float64)

    @property
    def dispersion(self) -> Floats:
        """(C,) the larger of the pooled one, because quiet weeks may be luck, and its own, because bursts are not."""
        return np.asarray(np.maximum(self.pooled, self.own) * self.turmoil**2, np.float64)

    @property
    def variance(self) -> Floats:
        """(C,) of the change."""
        t, r = self.stats.target_exposure, self.stats.reference_exposure
        return np.asarray(self.dispersion * (t + t * t / r), np.float64)


class _Judge:
    def __init__(
        self, evidence: Evidence, source: SumsSource, eligible: Callable[[int, Segment], bool], base_allowed: bool
    ) -> None:
        self.setting, self.base, self.seen = evidence.setting, evidence.base, evidence._seen
        self.evidence, self.source, self.eligible, self.base_allowed = evidence, source, eligible, base_allowed
        self.tails: list[Floats] = []
        self.size = np.concatenate(self.seen.sizes) if self.seen.sizes else np.zeros(0)
        self.starts = np.cumsum([0, *(len(s) for s in self.seen.sizes)])
        depth = [np.full(len(s), len(b.widths)) for b, s in zip(self.seen.blocks, self.seen.sizes, strict=True)]
        depths = np.concatenate([np.zeros(1, np.intp), *depth]).astype(np.intp)
        self.log_prior = chance.depth_prior(depths) - np.log(len(self.seen.stats))
        if not base_allowed and len(depths) > 1:
            self.log_prior[1:] = chance.depth_prior(depths[1:]) - np.log(len(self.seen.stats))

    def run(self) -> Verdict:
        joined = [
            [replace(self._join(part), shape=self._shape(test)) for part in by_part]
            for test, by_part in enumerate(self.seen.stats)
        ]
        placebos = [self._placebo_z(parts) for parts in joined]
        self.tails = [chance.tail_weights(z, self.size) for z in self._usual(placebos)]
        scores = [self._scores(parts, tails) for parts, tails in zip(joined, self.tails, strict=True)]
        single = len(self.setting.windows.target) == 1
        calibration = chance.calibrate(self._placebo_maxima(placebos), contaminated=single)
        limit = calibration.limit(self.setting.rate * AIM)
        if self.setting.strict:
            limit = max(limit, -np.log(self.setting.rate) + np.log1p(np.log(max(len(self.size), 1))))
        findings: list[Judged] = []
        passed: list[Judged] = []
        chances: dict[tuple[int, Segment], Judged] = {}
        for test, (parts, (z, score)) in enumerate(zip(joined, scores, strict=True)):
            explained = _Test(self, test, parts, z, score, limit, calibration).run()
            findings += explained[0]
            passed += explained[1]
            chances |= explained[2]
        findings.sort(key=lambda f: (float(f"{f.q:.12g}"), -float(f"{abs(f.z):.12g}"), f.test, f.segment.text))
        return Verdict(
            tuple(findings),
            tuple(passed),
            chances,
            len(self.size) * len(joined),
            limit,
            calibration.placebos,
            self.setting.rate,
        )

    def _join(self, blocks: list[Stats]) -> _Joined:
        if not blocks:
            none = np.zeros(0)
            empty = np.zeros((0, 0), np.float32)
            return _Joined(
                Stats(none, none, none, none, none, (none, none), none, empty, empty), none, 0.0, (0.0, 0.0), none
            )

        def whole(name: str) -> Any:
            return np.concatenate([getattr(block, name) for block in blocks])

        stats = Stats(
            change=whole("change"),
            target_exposure=whole("target_exposure"),
            reference_exposure=whole("reference_exposure"),
            between=whole("between"),
            weekly=whole("weekly"),
            halves=(np.concatenate([b.halves[0] for b in blocks]), np.concatenate([b.halves[1] for b in blocks])),
            row_variance=whole("row_variance"),
            placebo=whole("placebo"),
            without=whole("without"),
        )
        windows = self.setting.windows
        dof = len(windows.learn) - (windows.cycle if len(windows.learn) >= 3 * windows.cycle else 1)
        pooled = chance.pooled_dispersion(
            stats.between,
            stats.row_variance,
            self.size,
            stats.halves,
            stats.weekly if self.evidence._weeks else None,
            dof,
        )
        weekly = self.evidence._weeks and len(windows.target) >= windows.cycle
        freedom = (float(dof), len(windows.learn) // windows.cycle - 1.0 if weekly else float(dof))
        joined = _Joined(stats, pooled.value, pooled.own_weight, freedom, np.ones(len(self.size)))
        if self.setting.comparison != "reference":
            return joined
        z = stats.change / np.sqrt(np.maximum(joined.variance, 1e-300))
        return replace(joined, turmoil=chance.turmoil(z[:, None], self.size)[:, 0])

    def _scores(self, parts: list[_Joined], tails: Floats) -> tuple[Floats, Floats]:
        """z (C,) and score (C,) of all candidates."""
        z = self.z_of(parts, [p.stats.change for p in parts], slice(None), tails)
        return z, chance.tail_score(z, self.log_prior[1:])

    def z_of(
        self, parts: Sequence[_Joined], changes: Sequence[Floats], rows: NDArray[np.intp] | slice, tails: Floats
    ) -> Floats:
        """Changes of some candidates as normal deviates; two parts are joined to one with the sign of the total."""
        each = []
        judged = np.ones(len(changes[0]), bool)
        for i, (part, change) in enumerate(zip(parts, changes, strict=True)):
            t, r = part.stats.target_exposure[rows], part.stats.reference_exposure[rows]
            judged &= (t >= MIN_JUDGED) & (r >= MIN_JUDGED)
            if i == 0 and self.setting.statistic in (Statistic.SIZE, Statistic.SUM):
                z = _count_z(change, t, r) / np.sqrt(np.maximum(part.dispersion[rows], 1e-300))
            else:
                z = change / np.sqrt(np.maximum(part.variance[rows], 1e-300))
            each.append(z)
        z = each[0] if len(each) == 1 else _joint_z(each)
        return np.where(judged, self.bent(z, rows, tails, parts[-1]), 0.0)

    def bent(self, z: Floats, rows: NDArray[np.intp] | slice, tails: Floats, part: _Joined) -> Floats:
        """Deviates of some candidates with the p of their tails: learnt from placebos, else from everybody's rows."""
        if self.setting.comparison == "reference":
            return chance.heavy_tailed(z, np.where(z < 0, tails[rows, 0], tails[rows, 1]))
        contexts = np.maximum(part.stats.target_exposure[rows], 1.0)
        skewness, kurtosis = part.shape
        z = chance.skewed(z, skewness / np.sqrt(contexts))
        # Student's t with the excess kurtosis of a mean of so many values.
        return chance.heavy_tailed(z, 1 / (4 + 6 * contexts / max(kurtosis, 1e-9)))

    def _shape(self, test: int) -> tuple[float, float]:
        """Skewness and excess kurtosis of everybody's values in the judged frames; 0 but for outliers, which have no
        placebos."""
        setting, frames = self.setting, self.setting.windows.target
        if setting.comparison != "everybody" or setting.statistic is not Statistic.AVERAGE:
            return 0.0, 0.0
        name = self.source.metrics[setting.metrics[test]]
        net = self.source.net_values(ALL, name, int(frames[0]), int(frames[-1]) + 1)
        count = max(float(net.weights.sum()), 1.0)
        away = net.values - float(net.values @ net.weights) / count
        second, third, fourth = (float(away**n @ net.weights) / count for n in (2, 3, 4))
        return (third / second**1.5, max(fourth / second**2 - 3, 0.0)) if second > 0 else (0.0, 0.0)

    def _placebo_z(self, parts: list[_Joined]) -> NDArray[np.float32]:
        """(C, W) deviates of the placebo windows, with the dispersion that the frames outside of each would give."""
        each = []
        for part in parts:
            without = np.maximum(part.stats.without, 1e-3)
            left = np.maximum(part.pooled[:, None] * without**part.own_weight, part.own[:, None] * without)
            judged = (part.stats.target_exposure >= MIN_JUDGED) & (part.stats.reference_exposure >= MIN_JUDGED)
            z = np.where(judged[:, None], part.stats.placebo / np.sqrt(np.maximum(left, 1e-300)), 0.0)
            each.append(z / chance.turmoil(z, self.size) if z.size else z)
        return np.asarray(each[0] if len(each) == 1 else _joint_z(each), np.float32)

    def _usual(self, placebos: list[NDArray[np.float32]]) -> list[NDArray[np.float32]]:
        """Without the wildest fifth of single frames: sudden changes of the past are no measure of what is usual."""
        if len(self.setting.windows.target) > 1 or not placebos[0].size:
            return placebos
        wildest = np.max([np.abs(z).max(axis=0) for z in placebos], axis=0)
        kept = np.sort(np.argsort(wildest, kind="stable")[: len(wildest) - int(len(wildest) * SET_ASIDE)])
        return [z[:, kept] for z in placebos]

    def _placebo_maxima(self, placebos: list[NDArray[np.float32]]) -> Floats:
        """(W,) the best score of any candidate and metric in each placebo window."""
        best = np.zeros(0)
        for z, tails in zip(placebos, self.tails, strict=True):
            if z.size:
                bent = chance.heavy_tailed(z.astype(np.float64), np.where(z < 0, tails[:, :1], tails[:, 1:]))
                score = chance.tail_score(bent, self.log_prior[1:, None]).max(axis=0)
                best = np.maximum(best, score) if best.size else score
        return best

    def segment(self, candidate: int) -> Segment:
        block = int(np.searchsorted(self.starts, candidate, side="right")) - 1
        return self.seen.blocks[block].segment(int(candidate - self.starts[block]), self.source.axes)


class _Test:
    """Suspects of one metric, explained."""

    def __init__(
        self,
        judge: _Judge,
        test: int,
        parts: list[_Joined],
        z: Floats,
        score: Floats,
        limit: float,
        calibration: chance.Calibration,
    ) -> None:
        self.judge, self.test, self.parts, self.z, self.score = judge, test, parts, z, score
        self.limit, self.calibration = limit, calibration
        self.people = [self._everybody(i) for i in range(len(parts))]
        self.base_z = self._base_z()
        self.base_score = float(chance.tail_score(np.array([self.base_z]), judge.log_prior[:1])[0])

    def run(self) -> tuple[list[Judged], list[Judged], dict[tuple[int, Segment], Judged]]:
        judge = self.judge
        order = np.lexsort((np.arange(len(self.score)), -np.round(self.score, 9)))
        beyond = [int(c) for c in order if self.score[c] >= self.limit]
        segments = {c: judge.segment(c) for c in beyond} | {-1: ALL}
        beyond = [c for c in beyond if judge.eligible(self.test, segments[c])]
        segments = {c: segments[c] for c in (-1, *beyond)}  # only what passed the first gate may be named
        near = [int(c) for c in order[: 2 * SUSPECTS] if abs(self.z[c]) >= 3]
        if beyond:
            also = {c: judge.segment(c) for c in near if c not in segments}
            segments |= {c: segment for c, segment in also.items() if judge.eligible(self.test, segment)}
        base_passes = judge.base_allowed and self.base_score >= self.limit and judge.eligible(self.test, ALL)
        chosen: list[tuple[int, float, float]] = []  # candidate (-1: everybody), score, effect
        if beyond or base_passes:
            chosen = self._explain(beyond, near, base_passes, segments)
        chances = {(self.test, ALL): self._judged(-1)} | {
            (self.test, segments[c] if c in segments else judge.segment(c)): self._judged(c) for c in {*beyond, *near}
        }
        names = {c: segments[c] for c, _, _ in chosen}
        findings = [
            replace(self._judged(c), q=float(self.calibration.adjusted_p(np.array([s]))[0]), effect=e)
            for c, s, e in chosen
        ]
        passed = [
            replace(self._judged(c), explained_by=None if c in names else self._nearest(segments[c], names))
            for c in ([-1] if base_passes else []) + beyond + [c for c in names if c >= 0 and c not in beyond]
        ]
        return findings, passed, chances

    def _explain(
        self, beyond: list[int], near: list[int], base_passes: bool, segments: dict[int, Segment]
    ) -> list[tuple[int, float, float]]:
        """Rounds over suspects: what was chosen stays among them, the next ones join."""
        chosen: list[tuple[int, float, float]] = []
        queue = list(beyond)
        for turn in range(ROUNDS):
            batch = [c for c, _, _ in chosen if c >= 0]
            room = SUSPECTS - len(batch)
            batch += [c for c in queue[:room] if c not in batch]
            queue = queue[room:]
            if turn == 0:
                batch += [c for c in near if c not in batch][: max(SUSPECTS - len(batch), 0)]
            chosen = self._choose(batch, {c for c in batch if c in segments}, base_passes)
            if not queue:
                break
        return chosen

    def _choose(self, batch: list[int], named: set[int], base_passes: bool) -> list[tuple[int, float, float]]:
        judge = self.judge
        setting, windows = judge.setting, judge.setting.windows
        rows = np.array(batch, np.intp)
        count = len(batch)
        known = list(setting.known)
        target = (int(windows.target[0]), int(windows.target[-1]) + 1)
        spans = [target]
        if len(windows.reference):
            spans.append((int(windows.reference[0]), int(windows.reference[-1]) + 1))
        atoms = judge.source.atoms([*(judge.segment(c) for c in batch), *known], spans)
        aspects, sizes = [], None
        for i in range(len(self.parts)):
            aspect, shared = self._aspect(i, rows, atoms, len(known))
            aspects.append(aspect)
            sizes = shared if sizes is None else sizes
        assert sizes is not None
        own = np.diag(sizes)
        inside = sizes[:count, :count] >= selection.SAME * own[:count, None]
        union = own[:, None] + own[None, :] - sizes
        jaccard = np.zeros((count + 1 + len(known),) * 2)
        places = np.concatenate([np.arange(count), count + 1 + np.arange(len(known))])
        jaccard[np.ix_(places, places)] = sizes / np.maximum(union, 1e-9)
        log_prior = np.concatenate([judge.log_prior[1:][rows], judge.log_prior[:1], np.zeros(len(known))])
        allowed = np.array([c in named for c in batch] + [base_passes] + [False] * len(known), bool)

        def evidence(left: Sequence[Floats]) -> Floats:
            z = judge.z_of(self.parts, [change[:count] for change in left], rows, judge.tails[self.test])
            everybody = self._base_z([float(change[count]) for change in left])
            z = np.concatenate([z, [everybody], np.zeros(len(known))])
            score = chance.tail_score(z, log_prior)
            # What is beyond chance in a part of a segment is evidence for the segment, if that explains more.
            score[:count] = np.where(inside, score[:count, None], -np.inf).max(axis=0, initial=-np.inf)
            return score

        found = selection.choose(
            aspects,
            log_prior,
            self.limit,
            allowed,
            jaccard,
            evidence,
            fixed=range(count + 1, count + 1 + len(known)),
        )
        return [(batch[c.hypothesis] if c.hypothesis < count else -1, c.score, c.effects[-1]) for c in found]

    def _aspect(self, i: int, rows: NDArray[np.intp], atoms: AtomSums, known: int) -> tuple[selection.Aspect, Floats]:
        """Changes, covariance and kernel of the suspects and everybody in one part, and how many contexts are shared."""
        judge, part = self.judge, self.parts[i]
        setting = judge.setting
        count = len(rows)
        by_count = i == 0 and setting.statistic in (Statistic.SIZE, Statistic.SUM)
        if by_count:
            now, before = atoms.size[:, 0], atoms.size[:, -1]
            scale = float(judge.base.size[0, setting.windows.target].sum()) / max(
                float(judge.base.size[0, setting.windows.reference].sum()), 1.0
            )
            expected, row_variance = before * scale, np.ones(len(now))
        else:
            now, before, row_variance = self._atom_moments(atoms)
            expected = now
        member = atoms.member
        # How much one unit of effect moves an atom: a context each for means and sizes, its level for totals.
        lever = expected if by_count or setting.statistic is not Statistic.SUM else self._levels(atoms)
        shared_now = _overlap(member, lever, count)
        ratio = part.stats.target_exposure[rows] / part.stats.reference_exposure[rows]
        noise = _overlap(member, expected * row_variance, count)
        if len(setting.windows.reference):
            noise = noise + _overlap(member, before * row_variance, count) * np.outer(ratio, ratio)
        own = np.maximum(np.diag(noise), 1e-300)
        wanted = np.maximum(part.variance[rows], 1e-300) * self._tempered(i, rows)
        noise = noise * np.sqrt(np.outer(wanted / own, wanted / own))
        change, everybody_change, everybody_variance = part.stats.change[rows], *self.people[i]
        everybody = float(lever.sum())
        inside = np.diag(shared_now)
        exposure = np.array([expected[member[:, s]].sum() for s in range(count)])
        share = exposure / max(float(expected.sum()), 1e-9)
        kernel = np.zeros((count + 1, count + 1 + known))
        if setting.comparison == "threshold":
            kernel[:count, :count] = shared_now
        else:
            kernel[:count, :count] = shared_now - np.outer(share, inside)
        kernel[count, :count] = inside
        kernel[count, count] = everybody
        if known:
            met = _meeting(member[:, :count], member[:, count:], now)
            total = (member[:, count:] * now[:, None]).sum(axis=0)
            kernel[:count, count + 1 :] = met - np.outer(share, total)
            kernel[count, count + 1 :] = total
        covariance = np.zeros((count + 1, count + 1))
        covariance[:count, :count] = noise
        covariance[count, count] = everybody_variance
        shared = _overlap(member, atoms.size.sum(axis=1), member.shape[1])
        changes = np.append(change, everybody_change)
        return selection.Aspect(changes, covariance, kernel), shared

    def _tempered(self, i: int, rows: NDArray[np.intp]) -> Floats:
        """How much larger the variance of each suspect counts, so that a normal law gives its heavy tail's p."""
        part, tails = self.parts[i], self.judge.tails[self.test]
        z = part.stats.change[rows] / np.sqrt(np.maximum(part.variance[rows], 1e-300))
        bent = self.judge.bent(z, rows, tails, part)
        return np.asarray(np.where(np.abs(bent) > 1, (z / np.where(bent == 0, 1, bent)) ** 2, 1.0), np.float64)

    def _atom_moments(self, atoms: AtomSums) -> tuple[Floats, Floats, Floats]:
        """Contexts of each atom in the judged and in the reference frames, and the variance of one row of it."""
        setting = self.judge.setting
        groups = GroupSums((), np.zeros((0, 0), np.int32), atoms.size, atoms.count, atoms.total, atoms.square)
        total, count, square = self.judge.evidence._moments(groups, self.test)
        rows = np.arange(count.shape[1])
        spans = Windows(rows[:1], rows[1:])
        everybody = _row_variance(total.sum(0)[None], count.sum(0)[None], square.sum(0)[None], spans, np.zeros(1))
        if setting.comparison != "reference":
            spans = Windows(rows[:1], rows[:0])
        return count[:, 0], count[:, -1], _row_variance(total, count, square, spans, everybody)

    def _levels(self, atoms: AtomSums) -> Floats:
        """(A,) what the judged contexts of each atom add to a total, as their fields let expect.

        A total is taken to change by a factor, so contexts with large values move it more. Where values of both signs
        are usual a factor makes no sense; then each context moves it alike.
        """
        setting = self.judge.setting
        m, r = setting.metrics[self.test], setting.residuals[self.test]
        offset = float(self.judge.source.offsets[m])
        expected = atoms.total[m][:, 0] - (atoms.total[r][:, 0] if r != m else 0.0) + offset * atoms.count[m][:, 0]
        if -expected[expected < 0].sum() > 0.01 * expected[expected > 0].sum():
            expected = atoms.count[m][:, 0]
        return np.asarray(np.maximum(expected, 0.0), np.float64)

    def _everybody(self, i: int) -> tuple[float, float]:
        """Change of everybody in one part and its variance; an infinite one where everybody is the yardstick."""
        judge = self.judge
        if judge.setting.comparison != "reference":
            return 0.0, 1e300
        deviation = self._everybody_series(i)
        z, change = _series_z(deviation, judge.setting.windows)
        return change, (change / z) ** 2 if z else 1e300

    def _everybody_series(self, i: int) -> Floats:
        judge = self.judge
        base, windows, statistic = judge.base, judge.setting.windows, judge.setting.statistic
        if i == 0 and statistic in (Statistic.SIZE, Statistic.SUM):
            return np.asarray(base.size[0] - base.size[0, windows.reference].mean(), np.float64)
        total, count, _ = judge.evidence._moments(base, self.test)
        level = total[0, windows.reference].sum() / max(float(count[0, windows.reference].sum()), 1e-9)
        return np.asarray(total[0] - level * count[0], np.float64)

    def _base_z(self, left: Sequence[float] | None = None) -> float:
        """Everybody's change in standard errors, as a normal deviate; ``left``: what is left of it per part."""
        if self.judge.setting.comparison != "reference":
            return 0.0
        changes: Sequence[float] = left if left is not None else [change for change, _ in self.people]
        each = [np.array([c / np.sqrt(v)]) for c, (_, v) in zip(changes, self.people, strict=True)]
        return float(each[0][0] if len(each) == 1 else _joint_z(each)[0])

    def _judged(self, candidate: int) -> Judged:
        z, score = (self.base_z, self.base_score) if candidate < 0 else (self.z[candidate], self.score[candidate])
        return Judged(
            self.test,
            ALL if candidate < 0 else self.judge.segment(candidate),
            float(z),
            float(np.exp(chance.log_two_sided(np.array([z]))[0])),
            float(self.calibration.adjusted_p(np.array([score]))[0]),
        )

    def _nearest(self, segment: Segment, names: dict[int, Segment]) -> Segment | None:
        """The finding that shares most conditions with a segment."""
        best, most = None, -1.0
        mine = set(segment.conditions)
        for name in names.values():
            theirs = set(name.conditions)
            common = len(mine & theirs) / max(len(mine | theirs), 1)
            if common > most:
                best, most = name, common
        return best


def _row_variance(total: Floats, count: Floats, square: Floats, windows: Windows, everybody: Floats) -> Floats:
    """(S,) variance of rows around their segment's mean in each window, pulled towards everybody's."""
    spread, seen = np.zeros(len(total)), np.zeros(len(total))
    for frames in (windows.target, windows.reference):
        if len(frames):
            n, t = count[:, frames].sum(axis=1), total[:, frames].sum(axis=1)
            spread += np.maximum(square[:, frames].sum(axis=1) - t * t / np.maximum(n, 1e-9), 0.0)
            seen += n
    prior = PRIOR_CONTEXTS if everybody[0] > 0 else 0.0
    return np.asarray((spread + prior * everybody[0]) / np.maximum(seen + prior, 1e-9), np.float64)


def _count_z(change: Floats, expected: Floats, reference: Floats) -> Floats:
    """Signed root of the deviance of a count against its share of target and reference together.

    Given both, the target's count is binomial with odds expected : reference. The signed root is close to normal far
    into the tails and for small counts, where the plain z is skewed.
    """
    now = np.maximum(expected + change, 0.0)
    whole = now + reference
    share = expected / np.maximum(expected + reference, 1e-9)
    with np.errstate(divide="ignore", invalid="ignore"):
        first = np.where(now > 0, now * np.log(now / np.maximum(whole * share, 1e-300)), 0.0)
        second = np.where(reference > 0, reference * np.log(reference / np.maximum(whole * (1 - share), 1e-300)), 0.0)
    return np.asarray(np.sign(change) * np.sqrt(np.maximum(2 * (first + second), 0.0)), np.float64)


def _joint_z(each: Sequence[Floats]) -> Floats:
    """Normal deviate with the p of ``Σ z²`` (chi square), signed by the sum of the parts.

    A total moves as its contexts and its mean do together; where these pull against each other it does not move, so
    the deviate of their sum bounds it.
    """
    square = np.sum([z * z for z in each], axis=0)
    together = np.sum(each, axis=0)
    # Two degrees of freedom: log p = -square/2. Normal deviate from log p by Newton steps from its expansion.
    log_p = -square / 2
    guess = np.sqrt(np.maximum(-2 * log_p - np.log(np.maximum(-2 * log_p, 1.0)) - np.log(np.pi / 2), 0.0))
    for _ in range(4):
        miss = chance.log_two_sided(guess) - log_p
        guess = np.maximum(guess + miss / np.maximum(guess + 1 / np.maximum(guess, 0.5), 1.0), 0.0)
    opposed = np.abs(together) < 0.5 * np.sqrt(square)
    return np.asarray(np.where(opposed, 0.0, np.sign(together) * guess), np.float64)


def _series_z(deviation: Floats, windows: Windows) -> tuple[float, float]:
    """(normal deviate, change) of one series: target against reference, with frames and seasons as units of noise.

    The deviate is that of the larger p of two t tests: between frames, and between whole cycles where there are enough.
    """
    from scipy.special import ndtri, stdtr

    reference, target, cycle = windows.reference, windows.target, windows.cycle
    here = deviation[reference]
    level = here.mean()
    change = float(deviation[target].sum() - len(target) * level)
    frames = len(reference)
    if frames < 3:
        return 0.0, change
    centred, lost = chance_series._without_season((here - level)[None], frames, cycle)
    if lost > 1 and len(target) % cycle:
        place = (np.arange(len(deviation)) - reference[0]) % cycle
        season = np.array([here[np.arange(frames) % cycle == j].mean() - level for j in range(cycle)])
        change -= float(season[place[target]].sum())
    spread = len(target) * (1 + len(target) / frames)
    tests = [(float((centred**2).sum()) / max(frames - lost, 1), frames - lost)]
    if cycle > 1 and frames // cycle >= chance_series.ENOUGH_CYCLES:
        weeks = here[frames % cycle :].reshape(-1, cycle).sum(axis=1)
        tests.append((float(weeks.var(ddof=1)) / cycle, len(weeks) - 1))
    worst = max(2 * float(stdtr(dof, -abs(change) / np.sqrt(max(v * spread, 1e-300)))) for v, dof in tests)
    return float(-np.sign(change) * ndtri(max(worst, 1e-300) / 2)), change


def _overlap(member: Mask, weight: Floats, count: int) -> Floats:
    """(count, count): weight of the atoms in both of two segments."""
    return _meeting(member[:, :count], member[:, :count], weight)


def _meeting(first: Mask, second: Mask, weight: Floats) -> Floats:
    from scipy.sparse import csr_array

    left, right = csr_array(first.astype(np.float64)), csr_array(second.astype(np.float64))
    return np.asarray((left.T @ csr_array(right.multiply(weight[:, None]))).toarray(), np.float64)
