"""What a run has done, what runs now, and how long the rest will take (standard library only)."""

import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from math import inf
from pathlib import Path
from statistics import fmean


@dataclass
class Shares:
    """Time dealt out in equal shares among the jobs that run at once.

    The shares of all jobs add up to the time in which any ran: so the shares to come add up to the time left, whatever
    keeps jobs from running at once, be it cores, the GPU or that one needs the other.
    """

    dealt: float = 0.0  # to a job that has always run
    last: float = 0.0
    began: dict = field(default_factory=dict)

    def start(self, job: object, now: float) -> None:
        """A job begins."""
        self._deal(now)
        self.began[job] = self.dealt

    def stop(self, job: object, now: float) -> float:
        """A job ends; its share in seconds."""
        self._deal(now)
        return self.dealt - self.began.pop(job)

    def so_far(self, job: object, now: float) -> float:
        """The share of a job that runs."""
        self._deal(now)
        return self.dealt - self.began[job]

    def _deal(self, now: float) -> None:
        if self.began:
            self.dealt += max(0.0, now - self.last) / len(self.began)
        self.last = max(now, self.last)


@dataclass
class Job:
    """A job that has begun: what it says of itself, its log ("" without one) and when it began, in seconds."""

    rule: str
    said: str
    log: str
    began: float


@dataclass
class Progress:
    """The jobs of one run.

    earlier: the mean share of a rule's jobs in earlier runs, by rule.
    """

    earlier: Mapping[str, float] = field(default_factory=dict)
    total: int = 0
    done: int = 0
    failed: dict[int, Job] = field(default_factory=dict)
    running: dict[int, Job] = field(default_factory=dict)
    waiting: Counter = field(default_factory=Counter)
    times: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    shares: Shares = field(default_factory=Shares)

    def plan(self, jobs: Mapping[str, int]) -> None:
        """So many jobs of each rule will run."""
        self.waiting, self.total = Counter(jobs), sum(jobs.values())

    def start(self, number: int, job: Job) -> None:
        """A job begins, or begins again after it failed."""
        if number not in self.running and not self.failed.pop(number, None):
            self.waiting[job.rule] -= 1
        self.running[number] = job
        self.shares.start(number, job.began)

    def finish(self, number: int, now: float) -> Job | None:
        """A job has ended well; None of one that is not known to have begun."""
        self.done += 1
        if job := self.running.pop(number, None):
            self.times[job.rule].append(self.shares.stop(number, now))
        return job

    def fail(self, number: int, now: float) -> Job | None:
        """A job has failed; None of one that is not known to have begun."""
        if job := self.running.pop(number, None):
            self.shares.stop(number, now)
            self.failed[number] = job
        return job

    def left(self, now: float) -> tuple[float, int]:
        """Seconds that the jobs still to end will take, and for how many nothing is known, as none like them has ended.

        What is known of a rule is the mean of this run's jobs, or else that of earlier runs.
        """
        known = {**self.earlier, **{rule: fmean(times) for rule, times in self.times.items()}}
        waiting = {rule: count for rule, count in self.waiting.items() if count > 0}
        seconds = sum(known[rule] * count for rule, count in waiting.items() if rule in known)
        for number, job in self.running.items():
            seconds += max(0.0, known.get(job.rule, 0.0) - self.shares.so_far(number, now))
        untimed = sum(count for rule, count in waiting.items() if rule not in known)
        return seconds, untimed + sum(job.rule not in known for job in self.running.values())


def mean_shares(jobs: Iterable[tuple[str, float, float]]) -> dict[str, float]:
    """The mean share of each rule's jobs, from (rule, began, ended) of each job."""
    shares, times, events = Shares(), defaultdict(list), []
    for job, (rule, began, ended) in enumerate(jobs):
        events += [(min(began, ended), 0, job, rule), (ended, 1, job, rule)]
    for now, ends, job, rule in sorted(events):
        if ends:
            times[rule].append(shares.stop(job, now))
        else:
            shares.start(job, now)
    return {rule: fmean(found) for rule, found in times.items()}


def earlier(records: Mapping[str, str]) -> dict[str, float]:
    """The mean share of each rule's jobs, from the records of what they cost, {path: rule}, written as a job ended."""
    jobs = []
    for name, rule in records.items():
        with suppress(OSError, ValueError, LookupError, TypeError):
            path = Path(name)
            ended, seconds = path.stat().st_mtime, json.loads(path.read_bytes())["seconds"]
            if 0 < seconds < inf:
                jobs.append((rule, ended - seconds, ended))
    return mean_shares(jobs)
