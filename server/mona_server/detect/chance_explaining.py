"""Suspects of one metric explained: which few segments moved, and which only share contexts with those.

The algebra is :mod:`selection`; here its arrays are made of suspects, their atoms and what is known of everybody.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from mona_server.detect import chance, selection
from mona_server.detect.chance_calming import Moved
from mona_server.detect.chance_evidence import row_variance
from mona_server.detect.chance_judging import Judging
from mona_server.detect.deviates import joint_z, series_z
from mona_server.detect.overlaps import Overlaps
from mona_server.detect.source import AtomSums, Floats, GroupSums
from mona_server.detect.verses.base import Statistic
from mona_server.segment import ALL, Segment

SUSPECTS = 200
"""Most suspects that are explained together; more come in rounds."""
ROUNDS = 8
LEVEL_PRIOR = 10.0
"""Weight, in contexts, of what fields let expect beside what contexts had before."""
OWN_LEAST = 0.5
"""Least score of a segment that is named because a part of it is beyond chance, as a share of what is asked of that."""


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
    alone: bool = False
    """Does one judged frame alone make the change, or a part of it."""


class Explaining:
    """Suspects of one metric, explained."""

    def __init__(
        self,
        judge: Judging,
        test: int,
        eligible: Callable[[int, Segment], bool],
        limit: float,
        calibration: chance.Calibration,
        *,
        base_allowed: bool,
    ) -> None:
        self.judge, self.test, self.parts = judge, test, judge.joined[test]
        self.eligible, self.base_allowed = eligible, base_allowed
        self.z, self.score = judge.scores(test)
        self.limit, self.calibration = limit, calibration
        self.people = [self._everybody(i) for i in range(len(self.parts))]
        self.moved: list[Moved] = []
        """What was found, after :meth:`run`; without everybody, beside whom all are measured."""
        self.base_z = self._base_z()
        self.base_score = float(chance.tail_score(np.array([self.base_z]), judge.log_prior[:1])[0])

    def run(self) -> tuple[list[Judged], list[Judged]]:
        """The findings, and all eligible candidates beyond chance."""
        judge = self.judge
        order = np.lexsort((np.arange(len(self.score)), -np.round(self.score, 9)))
        beyond = order[self.score[order] >= self.limit].tolist()
        segments = {c: judge.segment(c) for c in beyond} | {-1: ALL}
        beyond = [c for c in beyond if self.eligible(self.test, segments[c])]
        segments = {c: segments[c] for c in (-1, *beyond)}  # only what passed the first gate may be named
        near = [int(c) for c in order[: 2 * SUSPECTS] if abs(self.z[c]) >= 3]
        if beyond:
            also = {c: judge.segment(c) for c in near if c not in segments}
            segments |= {c: segment for c, segment in also.items() if self.eligible(self.test, segment)}
        base_passes = self.base_allowed and self.base_score >= self.limit and self.eligible(self.test, ALL)
        chosen: list[tuple[int, float, float]] = []  # candidate (-1: everybody), score, effect
        if beyond or base_passes:
            chosen = self._explain(beyond, near, base_passes, segments)
        names = {c: segments[c] for c, _, _ in chosen}
        findings = [
            replace(self.judged(c), q=float(self.calibration.adjusted_p(np.array([s]))[0]), effect=e)
            for c, s, e in chosen
        ]
        passed = [
            replace(self.judged(c), explained_by=None if c in names else self._nearest(segments[c], names))
            for c in ([-1] if base_passes else []) + beyond + [c for c in names if c >= 0 and c not in beyond]
        ]
        return findings, passed

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
        overlaps = Overlaps(atoms.member)
        levers = [self._levels(atoms), atoms.count[setting.metrics[self.test]][:, 0]] if self._sums else [None]
        fits = [[self._aspect(i, rows, atoms, overlaps, lever) for i in range(len(self.parts))] for lever in levers]
        # A total moves by a factor, until what it adds is cut off as an extreme, the same for each context.
        aspects = max(fits, key=selection.best_gain) if len(fits) > 1 else fits[0]
        sizes = overlaps.weigh(atoms.size.sum(axis=1))
        own = np.diag(sizes)
        inside = sizes[:count, :count] >= selection.SAME * own[:count, None]
        union = own[:, None] + own[None, :] - sizes
        jaccard = np.zeros((count + 1 + len(known),) * 2)
        places = np.concatenate([np.arange(count), count + 1 + np.arange(len(known))])
        jaccard[np.ix_(places, places)] = sizes / np.maximum(union, 1e-9)
        log_prior = np.concatenate([judge.log_prior[1:][rows], judge.log_prior[:1], np.zeros(len(known))])
        allowed = np.array([c in named for c in batch] + [base_passes] + [False] * len(known), bool)

        def evidence(left: Sequence[Floats]) -> Floats:
            z = judge.z_of(self.test, [change[:count] for change in left], rows)
            everybody = self._base_z([float(change[count]) for change in left], aspects)
            z = np.concatenate([z, [everybody], np.zeros(len(known))])
            score = chance.tail_score(z, log_prior)
            # What is beyond chance in a part of a segment is evidence for the segment, if that explains more.
            parts = np.where(inside, score[:count, None], -np.inf).max(axis=0, initial=-np.inf)
            score[:count] = np.where(score[:count] >= OWN_LEAST * self.limit, parts, score[:count])
            return score

        described = [*(judge.segment(c) for c in batch), ALL, *known]
        conditions = np.array([len(segment.conditions) for segment in described], np.intp)
        found = selection.choose(
            aspects,
            log_prior,
            self.limit,
            allowed,
            jaccard,
            evidence,
            conditions,
            fixed=range(count + 1, count + 1 + len(known)),
        )
        self.moved = []
        for one in found:
            if one.hypothesis < count:
                contexts = [part.stats.target_exposure[batch[one.hypothesis]] for part in self.parts]
                whole = [float(aspect.kernel[count, one.hypothesis]) for aspect in aspects]
                each = zip(one.effects, whole, contexts, strict=True)
                by = tuple(effect * lever / max(float(n), 1e-9) for effect, lever, n in each)
                self.moved.append(Moved(judge.segment(batch[one.hypothesis]), by))
        return [(batch[c.hypothesis] if c.hypothesis < count else -1, c.score, c.effects[-1]) for c in found]

    @property
    def _sums(self) -> bool:
        return self.judge.setting.statistic is Statistic.SUM

    def _aspect(
        self, i: int, rows: NDArray[np.intp], atoms: AtomSums, overlaps: Overlaps, by: Floats | None
    ) -> selection.Aspect:
        """Changes, covariance and kernel of the suspects and everybody in one part.

        ``by`` (A,): how much one unit of effect moves the mean part of each atom; None: by its contexts.
        """
        judge, part = self.judge, self.parts[i]
        setting = judge.setting
        count, known = len(rows), atoms.member.shape[1] - len(rows)
        by_count = i == 0 and setting.statistic in (Statistic.SIZE, Statistic.SUM)
        if by_count:
            now, before = atoms.size[:, 0], atoms.size[:, -1]
            expected, row_variance = before * judge.growth, np.ones(len(now))
        else:
            now, before, row_variance = self._atom_moments(atoms)
            expected = now
        lever = expected if by_count or by is None else by
        shared_now = overlaps.weigh(lever)[:count, :count]
        ratio = part.stats.target_exposure[rows] / part.stats.reference_exposure[rows]
        if not len(setting.windows.reference):
            ratio = np.zeros(count)
        wanted = np.maximum(part.variance[rows], 1e-300) * self._tempered(i, rows)
        noise = overlaps.covariance(expected * row_variance, before * row_variance, ratio, wanted)
        change, everybody_change, everybody_variance = part.stats.change[rows], *self.people[i]
        everybody = float(lever.sum())
        if by_count:
            # Where all contexts together come by a quota, one segment grows at the expense of others: no sure total.
            everybody_variance = max(everybody_variance, everybody * (1 + judge.growth))
        inside = np.diag(shared_now)
        share = overlaps.total(expected)[:count] / max(float(expected.sum()), 1e-9)
        kernel = np.zeros((count + 1, count + 1 + known))
        if setting.comparison == "threshold":
            kernel[:count, :count] = shared_now
        else:
            kernel[:count, :count] = shared_now - np.outer(share, inside)
        kernel[count, :count] = inside
        kernel[count, count] = everybody
        if known and by_count:
            # Contexts of a new segment are known, not fitted: what they add to others, and take of their shares, is left out.
            new = np.where(atoms.member[:, count:].any(axis=1), now, 0.0)
            change = change - (overlaps.total(new)[:count] - share * new.sum())
            everybody_change -= float(new.sum())
        elif known:
            met = overlaps.weigh(now)[:count, count:]
            total = overlaps.total(now)[count:]
            kernel[:count, count + 1 :] = met - np.outer(share, total)
            kernel[count, count + 1 :] = total
        covariance = np.zeros((count + 1, count + 1))
        covariance[:count, :count] = noise
        covariance[count, count] = everybody_variance
        return selection.Aspect(np.append(change, everybody_change), covariance, kernel)

    def _tempered(self, i: int, rows: NDArray[np.intp]) -> Floats:
        """How much larger the variance of each suspect counts, so that a normal law gives its heavy tail's p.

        That dispersions are estimates is no reason to prefer a weaker description; it is asked of each when named.
        """
        part = replace(self.parts[i], unsure=np.zeros(len(self.parts[i].pooled)))
        z = part.stats.change[rows] / np.sqrt(np.maximum(part.variance[rows], 1e-300))
        bent = self.judge.bent(self.test, z, rows, part)
        return np.asarray(np.where(np.abs(bent) > 1, (z / np.where(bent == 0, 1, bent)) ** 2, 1.0), np.float64)

    def _atom_moments(self, atoms: AtomSums) -> tuple[Floats, Floats, Floats]:
        """Contexts of each atom in the judged and in the reference frames, and the variance of one row of it."""
        setting = self.judge.setting
        groups = GroupSums.of((), np.zeros((0, 0), np.int32), atoms.size, atoms.count, atoms.total, atoms.square)
        moments = self.judge.evidence.moments(groups, self.test)
        count = moments.count
        columns = range(count.shape[1])  # the judged frames, and the reference ones where there are any
        seen = [(count[:, k], moments.total[:, k], moments.square[:, k]) for k in columns]
        whole = [(n[None].sum(axis=1), total[None].sum(axis=1), square[None].sum(axis=1)) for n, total, square in seen]
        everybody = float(row_variance(whole, 0.0)[0])
        if setting.comparison != "reference":
            seen = seen[:1]
        return count[:, 0], count[:, -1], row_variance(seen, everybody)

    def _levels(self, atoms: AtomSums) -> Floats:
        """(A,) what the judged contexts of each atom add to a total, as their fields let expect.

        A total is taken to change by a factor, so contexts with large values move it more. Where values of both signs
        are usual a factor makes no sense; then each context moves it alike.
        """
        setting = self.judge.setting
        m, r = setting.metrics[self.test], setting.residuals[self.test]
        offset = float(self.judge.source.offsets[m])
        total, count = atoms.total[m] + offset * atoms.count[m], atoms.count[m]
        fitted = total - (atoms.total[r] if r != m else 0.0)
        each = fitted.sum(axis=1) / np.maximum(count.sum(axis=1), 1.0)
        before, seen = (total[:, -1], count[:, -1]) if total.shape[1] > 1 else (fitted[:, 0], count[:, 0])
        expected = (before + LEVEL_PRIOR * each) / (seen + LEVEL_PRIOR) * count[:, 0]
        if -expected[expected < 0].sum() > 0.01 * expected[expected > 0].sum():
            expected = count[:, 0]
        return np.asarray(np.maximum(expected, 0.0), np.float64)

    def _everybody(self, i: int) -> tuple[float, float]:
        """Change of everybody in one part and its variance; an infinite one where everybody is the yardstick.

        Where there are unfitted residuals the weaker of both counts, and none where they disagree: effects leave smaller
        squares in the frames they were learnt from than in the judged ones; without effects a change of mix is one.
        """
        judge = self.judge
        if judge.setting.comparison != "reference":
            return 0.0, 1e300
        z, change = series_z(*self._everybody_series(i, judge.base), judge.setting.windows)
        if judge.evidence.unfitted is not None:
            other = series_z(*self._everybody_series(i, judge.evidence.unfitted), judge.setting.windows)
            z, change = min((z, change), other, key=lambda one: abs(one[0])) if z * other[0] > 0 else (0.0, 0.0)
        variance = (change / z) ** 2 if z else 1e300
        counted = i == 0 and judge.setting.statistic in (Statistic.SIZE, Statistic.SUM)
        return change, max(variance, 1.0) if counted else variance  # a count is known to one context

    def _everybody_series(self, i: int, base: GroupSums) -> tuple[Floats, Floats]:
        """(K,) deviations of everybody in one part, and the contexts behind each; of sizes each frame counts alike."""
        judge = self.judge
        windows, statistic = judge.setting.windows, judge.setting.statistic
        if i == 0 and statistic in (Statistic.SIZE, Statistic.SUM):
            size = base.size[0]
            return np.asarray(size - size[windows.reference].mean(), np.float64), np.ones(len(size))
        series = judge.evidence.moments(base, self.test)
        total, count = series.total[0], series.count[0]
        level = total[windows.reference].sum() / max(float(count[windows.reference].sum()), 1e-9)
        return np.asarray(total - level * count, np.float64), count

    def _base_z(self, left: Sequence[float] | None = None, aspects: Sequence[selection.Aspect] = ()) -> float:
        """Everybody's change in standard errors, as a normal deviate; ``left``: what is left of it per part.

        What others explain of it is known no better than they are, as the ``aspects`` say.
        """
        if self.judge.setting.comparison != "reference":
            return 0.0
        changes: Sequence[float] = left if left is not None else [change for change, _ in self.people]
        variances = [variance for _, variance in self.people]
        for i, aspect in enumerate(aspects):
            if changes[i] != self.people[i][0]:
                variances[i] = max(variances[i], float(aspect.covariance[-1, -1]))
        each = [np.array([c / np.sqrt(v)]) for c, v in zip(changes, variances, strict=True)]
        return float(each[0][0] if len(each) == 1 else joint_z(each)[0])

    def judged(self, candidate: int) -> Judged:
        """The chance of one candidate alone; -1: of everybody."""
        z, p, q = (float(each[candidate]) for each in self._chances)
        segment = ALL if candidate < 0 else self.judge.segment(candidate)
        alone = candidate >= 0 and any(part.stats.steady[candidate] < 1 for part in self.parts)
        return Judged(self.test, segment, z, p, max(p, q), alone=alone)

    @cached_property
    def _chances(self) -> tuple[Floats, Floats, Floats]:
        """z, p and q of each candidate alone, (C + 1,) each; those of everybody come last."""
        z, score = np.append(self.z, self.base_z), np.append(self.score, self.base_score)
        return z, np.exp(chance.log_two_sided(z)), self.calibration.adjusted_p(score)

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
