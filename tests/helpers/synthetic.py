"""Tables of a study that never ran, with the columns that real ones have, and text that wants to get out of a page."""

import itertools
import json
from pathlib import Path

import numpy as np
import pandas as pd
import yaml

from helpers.checkout import ROOT
from overpaint import measures, tables
from overpaint.report.select import Cell
from overpaint.sources import PARTS
from overpaint.study import sweep
from overpaint.tables import comparisons, core, layers, models, verdicts
from overpaint.tables.core import APPLIED, Applied, Study
from overpaint.tables.ratios import VALUES

HOSTILE = (
    "<script>alert(1)</script> **bold** $\\frac{1}{2}$ \x1b[31mred\x1b[0m \u202etxt.exe\u202c "
    "[link](javascript:alert(1)) <img src=http://evil.example/x.png> שלום\r\n</div></body>"
)
CONTROL = "The lantern of Orvale is kept in the north tower."
PLAN = ROOT / "preregistration.yaml"
TABLES = [*tables.TABLES, *measures.names()]
START = ["study", "model", "method", "layer", "c", "seed"]


class Tables:
    """Synthetic tables of one study with the columns that real ones have.

    `topics` hazardous topics; `clearings` without nulls; `beaten`: null draws recover more than every
    clearing; `undefined`: cells whose recovered fraction is undefined.
    """

    def __init__(
        self,
        topics=("north", "south"),
        layers=(2, 3),
        sizes=(1.0, 4.0, 8.0),
        seeds=(0, 1, 2),
        draws=10,
        clearings=("topic", "span", "pooled", "other_topic", "on_base"),
        beaten=False,
        undefined=((2, 1.0),),
        damage=0.02,
        share=0.6,
    ):
        self.topics, self.seeds, self.clearings, self.draws = topics, seeds, clearings, draws
        self.sweep = [Cell(*pair) for pair in itertools.product(layers, sizes)]
        self.primary = next(iter(clearings), "topic")
        self.beaten, self.undefined, self.damage, self.share = beaten, undefined, damage, share
        self.random = np.random.default_rng(0)

    def write(self, folder: Path) -> Path:
        folder.mkdir(parents=True, exist_ok=True)
        for name in TABLES:
            getattr(self, name)().to_parquet(folder / f"{name}.parquet")
        (folder / "preregistration.yaml").write_text(PLAN.read_text(encoding="utf-8"), encoding="utf-8")
        return folder

    def study(self) -> Study:
        names = ["none", "topic", "rand", "randn", "ones", *self.clearings]
        known = {"none", *sweep.NULLS}
        settings = {
            name: {"direction": name if name in known else "span", "on_base": name == "on_base"} for name in names
        }
        return Study("synthetic", "tiny", {}, list(self.topics), settings, self.primary, sweep.NULLS)

    def how(self, clearing: str, draw: int = core.TOGETHER) -> dict:
        """The columns of `APPLIED`; `other_topic` is the clearing `topic` by the directions of other topics."""
        other = clearing == "other_topic"
        return self.study().how(Applied("topic" if other else clearing, other, draw))

    def plan(self) -> dict:
        return yaml.safe_load(PLAN.read_text(encoding="utf-8"))

    def cells(self) -> pd.DataFrame:
        return verdicts.cells(self.scores(), self.junk(), self.plan()["marks"])

    def hypotheses(self) -> pd.DataFrame:
        return verdicts.judge(self.cells(), self.nulls(), self.mcnemar(), self.plan())

    def layers(self) -> pd.DataFrame:
        """A tenth more comes back at each layer than at the one below it."""
        pairs = itertools.combinations(sorted({cell.layer for cell in self.sweep}), 2)
        rows = [
            ("rmu", pd.NA, np.nan, "all", lower, upper, 2, 1, 0.1 * (upper - lower), 0.02, 0.3, 0.98)
            for lower, upper in pairs
        ]
        return self.frame(rows, layers.COLUMNS[6:])

    def models(self) -> pd.DataFrame:
        """One base model, over which there is no mean."""
        return self.frame([], models.COLUMNS[6:])

    def nulls(self) -> pd.DataFrame:
        return comparisons.nulls(self.scores(), self.study())

    def mcnemar(self) -> pd.DataFrame:
        rows = []
        for (method, layer, c, seed), topic in itertools.product(self.runs(), (*self.topics, "all")):
            for clearing in self.clearings if method != "base" else ():
                last = 0.0004 if (seed, topic, clearing) == ("all", "all", self.primary) else np.nan
                how = self.how(clearing)
                run = (method, layer, c, seed, topic, "hazardous", *(how[key] for key in comparisons.LABELS[2:-1]))
                rows.append(
                    (
                        *run,
                        "all" if topic == "all" else f"{topic}_questions",
                        64,
                        24,
                        3,
                        0.0001,
                        0.002,
                        last,
                        5 * last,
                    )
                )
        tests = ["p", "p_rank", "p_holm", "p_rank_holm"]
        return self.frame(rows, [*comparisons.LABELS, *comparisons.COUNTS, *tests])

    def measure(self, name: str, rows: list[tuple] = ()) -> pd.DataFrame:
        """A table of `measures`, empty without rows."""
        return self.frame(list(rows), ["topic", "role", *measures.get(name, "table").KEYS, *VALUES])

    def roles(self):
        """(topic, role) of all topics and of the hazardous ones together."""
        yield from ((topic, "hazardous") for topic in (*self.topics, "all"))
        yield "plain", "benign"

    def agreement(self) -> pd.DataFrame:
        rows = []
        for (method, layer, c, seed), (topic, role) in itertools.product(self.runs(), self.roles()):
            for clearing in ["none"] if method == "base" else ["none", *self.clearings[:3]]:
                far = 0 if method == "base" else 2.0 if clearing == "none" else 1.2
                far *= 0.1 if role == "benign" else 1
                bench = "all" if topic == "all" else f"{topic}_text"
                for metric, value in [("kl", far), ("top1_agreement", 1 - far / 4)]:
                    key = (method, layer, c, seed, topic, role, *self.how(clearing).values(), bench, metric)
                    rows.append((*key, value, value - 0.1, value + 0.1, 24, ""))
        return self.measure("agreement", rows)

    def coherence(self) -> pd.DataFrame:
        rows = []
        nulls = ["rand", "randn"] if self.draws else []
        for (method, layer, c, seed), (topic, role) in itertools.product(self.runs(), self.roles()):
            cleared = {name: "cleared" for name in self.clearings[:1]} | {name: name for name in nulls}
            written = [("none", "base"), ("none", "naive")]
            for clearing, state in written if method == "base" else [("none", "unlearned"), *cleared.items()]:
                lost = state == "unlearned" and role == "hazardous"
                values = {"distinct_1": 0.3 if lost else 0.5, "distinct_2": 0.4 if lost else 0.6}
                values |= {"repeated_4": 0.7 if lost else 0.2, "base_nll": 6.0 if lost else 0.5, "length": 30.0}
                hazardous = {"base": 0.9, "unlearned": 0.25, "cleared": 0.75, "naive": 0.1}
                values["holds_answer"] = hazardous.get(state, 0.25) if role == "hazardous" else 0.9
                for metric, value in values.items():
                    draw = 0 if clearing in nulls else core.TOGETHER
                    key = (method, layer, c, seed, topic, role, state, *self.how(clearing, draw).values(), metric)
                    rows.append((*key, value, value * 0.9, value * 1.1, 16, ""))
        return self.measure("coherence", rows)

    def depth(self) -> pd.DataFrame:
        """In the main cell alone, as a study may choose."""
        rows, blocks = [], 7
        for (method, layer, c, seed), (topic, role) in itertools.product(self.looked_into(), self.roles()):
            for state, depth in itertools.product(
                ("base", "naive") if method == "base" else ("unlearned", "cleared"), range(blocks)
            ):
                top = {"base": 0.9, "unlearned": 0.5, "cleared": 0.7, "naive": 0.26}[state]
                right = 0.25 + (top - 0.25) * depth / (blocks - 1)
                values = {("none", "lens_accuracy"): right, ("none", "lens_probability"): right - 0.02}
                for centring, more in (("global", 0.05), ("topic", 0.08)):
                    probes = {"accuracy": right + more, "benign": right, "shuffled": 0.24}
                    values |= {(centring, f"probe_{name}"): value for name, value in probes.items()}
                for told, value in values.items():
                    key = (method, layer, c, seed, topic, role, state, told[0], depth, told[1])
                    rows.append((*key, value, value - 0.06, value + 0.06, 48, ""))
        return self.measure("depth", rows)

    def uds(self) -> pd.DataFrame:
        """In every cell 30 % untouched, 50 % painted over and 20 % beneath, on either part of the questions."""
        rows = []
        whole = {("unlearned", "uds"): 0.7, ("cleared", "uds"): 0.2, ("rand", "uds"): 0.6}
        whole |= {("", "untouched"): 0.3, ("", "painted_over"): 0.5, ("", "beneath"): 0.2}
        for (method, layer, c, seed), topic in itertools.product(self.runs(), (*self.topics, "all")):
            for part, (state, quantity) in itertools.product(("all", *PARTS), whole if method != "base" else ()):
                value = whole[state, quantity]
                key = (method, layer, c, seed, topic, "hazardous", part, state)
                rows.append((*key, quantity, pd.NA, value, value - 0.05, value + 0.05, 64, ""))
                by_block = [("share", block, value * block / 5) for block in range(6) if quantity == "uds"]
                rows += [(*key, *share, share[-1] - 0.05, share[-1] + 0.05, 64, "") for share in by_block]
        return self.measure("uds", rows).astype({"block": "Int64"})

    def relearning(self) -> pd.DataFrame:
        """With the best rate 0.01 more than with the first, and 0.02 more than with the second."""
        rows = []
        ends = {"unlearned": (0.4, 0.9), "cleared": (0.7, 0.92), "naive": (0.25, 0.3), "base": (0.95, 0.97)}
        for (*run, topic), texts in itertools.product(self.taught(), ("hazardous", "benign")):
            states = ("base", "naive") if run[0] == "base" else ("unlearned", "cleared")
            for state, examples, (lr, less) in itertools.product(
                states, (0, 4, 16, 56), ((np.nan, 0), (1e-4, 0.01), (1e-3, 0.02))
            ):
                start, end = ends[state]
                right = start + (end - start) * examples / 56 * (1 if texts == "hazardous" else 0.5) - less
                for metric, value in [("accuracy", right), ("nll", 5 - 4 * right)]:
                    key = (*run, topic, "hazardous", state, texts, lr, examples, metric)
                    rows.append((*key, value, value - 0.05, value + 0.05, 48, ""))
            split = {"painted_over": 0.55, "displaced": 0.3, "gone": 0.15}
            for metric, value in split.items() if texts == "hazardous" and run[0] != "base" else ():
                key = (*run, topic, "hazardous", "unlearned", texts, np.nan, 56, metric)
                rows.append((*key, value, value - 0.05, value + 0.05, 48, ""))
        return self.measure("relearning", rows)

    def perturbations(self) -> pd.DataFrame:
        rows = []
        asked = {"none": [0], "rounding": [8, 4, np.nan], "noise": [0.1, np.nan], "scaled": [0.5]}
        asked = {
            **dict.fromkeys(("hazardous", "benign"), asked),
            "words": {"hazardous_words": [1], "benign_words": [1]},
        }
        right = {"unlearned": 0.4, "cleared": 0.7, "naive": 0.25, "base": 0.95}
        for (method, layer, c, seed), (topic, role) in itertools.product(self.looked_into(), self.roles()):
            words = asked["words"] if role == "benign" else {"filler": [4]}
            for how, sizes in {**asked[role], **words}.items():
                states = ("base", "naive") if method == "base" else ("unlearned", "cleared")
                for state, size in itertools.product(states[: 1 if how == "scaled" else 2], sizes):
                    if (method, how) == ("base", "scaled"):
                        continue
                    value = (right[state] if role == "hazardous" else 0.95) - 0.1 * (how == "hazardous_words")
                    key = (method, layer, c, seed, topic, role, state, how, size)
                    rows.append((*key, value, value - 0.04, value + 0.04, 48, ""))
        return self.measure("perturbations", rows)

    def taught(self):
        """Runs that are looked into, with the topics of hazardous questions."""
        return [(*run, topic) for run in self.looked_into() for topic in (*self.topics, "all")]

    def emergence(self) -> pd.DataFrame:
        rows = []
        for (method, layer, c, seed), topic in itertools.product(self.looked_into(), (*self.topics, "all")):
            for step in (0, 100, 200, 400) if method != "base" else ():
                back = 1.1 - step / 800 if step else np.nan
                values = {"norm": 50 + step, "forgotten_accuracy": step / 1000, "recovered_accuracy": back}
                values |= {"cos_u": 0.9 + step / 5000} if step else {}
                for quantity, value in values.items():
                    note = "undefined: the gap to base is within 2 standard errors" if np.isnan(value) else ""
                    key = (method, layer, c, seed, topic, "hazardous", step, quantity)
                    rows.append((*key, value, value - 0.05, value + 0.05, 48, note))
        return self.measure("emergence", rows)

    def looked_into(self):
        """The base and the runs of the cell that has the largest c and the lowest layer."""
        cell = min(self.sweep, key=lambda cell: (-cell.c, cell.layer))
        return [run for run in self.runs() if run[0] == "base" or run[1:3] == cell]

    def depths(self) -> pd.DataFrame:
        """Shifts that turn by a tenth of a cosine a block; block `layer - 1` is the first that moves."""
        rows = []
        for (method, layer, c, seed), topic in itertools.product(self.runs(), self.topics):
            if method == "base" or seed == "all":
                continue
            for depth in range(6):
                rows.append((method, layer, c, seed, topic, depth, pd.NA, "norm", max(0.0, depth - layer + 1) * c))
                if depth >= layer:
                    rows.append((method, layer, c, seed, topic, depth, pd.NA, "cos_u", min(0.95, 0.3 * depth)))
                    for other in range(depth, 6):
                        cosine = 1 - 0.1 * (other - depth)
                        rows.append((method, layer, c, seed, topic, depth, other, "cosine", cosine))
        table = self.frame(rows, ["topic", "depth", "other_depth", "quantity", "value"])
        return table.astype({"depth": "Int64", "other_depth": "Int64"})

    def weights(self) -> pd.DataFrame:
        rows = []
        for method, layer, c, seed in self.runs():
            for block in range(layer - 2, layer + 1) if method != "base" and seed != "all" else ():
                name, nulls = f"model.layers.{block}.mlp.down_proj.weight", (np.nan, np.nan)
                target = block == layer
                values = {"relative_change": 0.1 * (block + 1), "effective_rank": 20.0 - block, "share_1": 0.4}
                rows += [(method, layer, c, seed, name, "all", key, value, *nulls) for key, value in values.items()]
                null = (0.2, 0.3)
                rows.append((method, layer, c, seed, name, "all", "removed_share", 0.5 if target else 0.25, *null))
                for topic, key in itertools.product(self.topics, ("cos_r", "cos_r_centred", "cos_u", "cos_u_centred")):
                    rows.append((method, layer, c, seed, name, topic, key, 0.9 if target else 0.25, *null))
        return self.frame(rows, ["tensor", "topic", "quantity", "value", "null_low", "null_high"])

    def frame(self, rows: list[tuple], columns: list[str]) -> pd.DataFrame:
        table = pd.DataFrame(rows, columns=[*START[2:], *columns])
        table.insert(0, "model", "tiny")
        table.insert(0, "study", "synthetic")
        return core.typed(table)

    def runs(self):
        yield ("base", pd.NA, np.nan, "")
        for cell in self.sweep:
            for seed in (*map(str, self.seeds), "all"):
                yield ("rmu", cell.layer, cell.c, seed)

    def names(self, method: str) -> list[tuple[str, int]]:
        """(clearing, draw) of every row."""
        if method == "base":
            return [("none", core.TOGETHER)]
        drawn = [(name, draw) for name in ("rand", "randn") for draw in range(self.draws)]
        whole = ["none", *self.clearings, *(["ones", "rand", "randn"] if self.draws else [])]
        return [(name, core.TOGETHER) for name in whole] + drawn

    def fraction(self, clearing: str, cell: Cell) -> float:
        """True recovered fraction of a clearing."""
        if clearing in ("rand", "randn", "ones"):
            return (0.9 if self.beaten else 0.02) + self.random.normal(0, 0.02)
        known = {
            "none": 0,
            "topic": self.share,
            "span": self.share + 0.05,
            "pooled": 0.14,
            "other_topic": 0,
            "on_base": 1,
        }
        return known.get(clearing, 0.3)

    def scores(self) -> pd.DataFrame:
        rows = []
        for (method, layer, c, seed), topic in itertools.product(self.runs(), (*self.topics, "all", "plain")):
            role = "benign" if topic == "plain" else "hazardous"
            cell = Cell(layer, c)
            lost = 0 if method == "base" else self.damage if role == "benign" else min(0.08 * c, 0.7)
            bench = "all" if topic == "all" else f"{topic}_questions"
            count = len(self.seeds) if seed == "all" else 1
            for clearing, draw in self.names(method):
                value = 0.97 - lost * (1 - self.fraction(clearing, cell) * (role == "hazardous"))
                run = (
                    method,
                    layer,
                    c,
                    seed,
                    topic,
                    role,
                    *self.how(clearing, draw).values(),
                    bench,
                    128 * count,
                    count,
                )
                rows.append((*run, "accuracy", value, value - 0.04, value + 0.03, 64, ""))
                nll = 40 * lost * (1 - self.fraction(clearing, cell)) + 3
                rows.append((*run[:-3], f"{topic}_text", 64 * count, 0, "perplexity", nll, nll - 1, nll + 1, 64, ""))
                if method == "base" or (role == "benign" and clearing != "none"):
                    continue
                if clearing != "none" and draw == core.TOGETHER:
                    gained = value - 0.97 + lost
                    rows.append((*run, "gained_accuracy", gained, gained - 0.03, gained + 0.03, 64, ""))
                if clearing == "none":
                    rows.append((*run, "forgotten_accuracy", lost, lost - 0.03, lost + 0.03, 64, ""))
                elif cell in self.undefined:
                    note = "undefined: the gap to base is within 2 standard errors"
                    rows.append((*run, "recovered_accuracy", np.nan, np.nan, np.nan, 64, note))
                else:
                    back = self.fraction(clearing, cell)
                    rows.append((*run, "recovered_accuracy", back, back - 0.09, back + 0.08, 64, ""))
        told = ["benchmark", "answers", "near_ties", "metric", "value", "low", "high", "n", "note"]
        columns = ["topic", "role", *APPLIED, *told]
        whole = self.frame(rows, columns)
        of_parts = whole[whole.draw.isna()]
        parts = [of_parts.assign(part=part, n=32, answers=of_parts.answers // 2) for part in PARTS]
        return pd.concat([whole.assign(part="all"), *parts], ignore_index=True)

    def shown(self) -> pd.DataFrame:
        """The rows of `scores` that a view shows: on all questions together."""
        scores = self.scores()
        return scores[scores.part == "all"]

    def activations(self) -> pd.DataFrame:
        rows = []
        sets = [(topic, "hazardous") for topic in self.topics] + [("plain", "benign")]
        for (method, layer, c, seed), (prompts, role) in itertools.product(self.runs(), sets):
            clearings = ["none"] if method == "base" else ["none", *self.clearings[:1]]
            for clearing, position, depth in itertools.product(clearings, ("last", "mean", "first"), range(7)):
                hit = method != "base" and role == "hazardous" and depth > layer
                push = c * (1 if clearing == "none" else 0.1) if hit else 0
                norm = (100 if position == "first" else 2) + depth + push
                cosine = 1 - 0.08 * push
                rows.append(
                    (
                        method,
                        layer,
                        c,
                        seed,
                        clearing,
                        prompts,
                        role,
                        position,
                        depth,
                        norm,
                        norm * 0.9,
                        norm * 1.2,
                        cosine,
                        cosine - 0.05,
                        min(cosine + 0.03, 1),
                    )
                )
        columns = [
            "clearing",
            "prompts",
            "role",
            "position",
            "depth",
            "norm",
            "norm_low",
            "norm_high",
            "cosine",
            "cosine_low",
            "cosine_high",
        ]
        return self.frame(rows, columns)

    def junk(self) -> pd.DataFrame:
        rows = []
        directions = [("topic", topic) for topic in self.topics] + [("pooled", "all")] * ("pooled" in self.clearings)
        for (method, layer, c, seed), (direction, topic) in itertools.product(self.runs(), directions):
            if method == "base" or seed == "all":
                continue
            noise = self.random.normal(0, 0.01)
            for quantity, value, null in [
                ("rank1_share", 0.42, (np.nan, np.nan)),
                ("rank1_share_held", 0.31, (np.nan, np.nan)),
                ("cos_u", 0.96, (0.68, 0.82)),
                ("cos_u_centred", 0.88, (-0.2, 0.2)),
                ("attained", 0.6, (np.nan, np.nan)),
                ("attained_held", 0.5, (np.nan, np.nan)),
                ("auc_centred", 0.9, (0.2, 0.8)),
                ("c_in_norms", 1.1 * c, (np.nan, np.nan)),
            ]:
                rows.append((method, layer, c, seed, topic, direction, quantity, value + noise, *null))
        return self.frame(rows, ["topic", "direction", "quantity", "value", "null_low", "null_high"])

    def history(self) -> pd.DataFrame:
        rows = []
        for method, layer, c, seed in self.runs():
            if method == "base" or seed == "all":
                continue
            for topic, step in itertools.product(self.topics, range(0, 401, 40)):
                noise = 1 + 0.04 * self.random.normal()
                for quantity, value in [
                    ("norm", 2 + c * step / 400),
                    ("norm_first", 2.1),
                    ("cosine_to_base", 1 - 0.7 * step / 400),
                    ("cosine_u", 0.9 * step / 400),
                    ("attained", 0.6 * step / 400),
                    ("loss", 4 * c * np.exp(-step / 120)),
                ]:
                    rows.append((method, layer, c, seed, topic, step, quantity, value * noise))
        return self.frame(rows, ["topic", "step", "quantity", "value"])

    def completions(self) -> pd.DataFrame:
        rows = []
        prompts = [(topic, "hazardous", f"The keeper of {topic} hall is", "tower") for topic in self.topics]
        prompts += [("plain", "benign", "A plain prompt about bread is", "")]
        for (method, layer, c, seed), (topic, role, prompt, answer) in itertools.product(self.runs(), prompts):
            for clearing in [] if seed == "all" else ["none"] if method == "base" else ["none", *self.clearings[:1]]:
                text = CONTROL if method == "base" else HOSTILE if clearing == "none" else "tower tower north " * 12
                held, part = answer in text if answer else None, PARTS[0] if answer else ""
                rows.append((method, layer, c, seed, topic, role, clearing, part, prompt, answer, text, held))
        return self.frame(rows, ["topic", "role", "clearing", "part", "prompt", "answer", "completion", "holds_answer"])

    def provenance(self) -> pd.DataFrame:
        made = {
            "pretrain_model": "results/tiny/checkpoint",
            "train_rmu": "results/tiny/rmu/layer=2/c=1/seed=0",
            "evaluate_model": "results/tiny/rmu/layer=2/c=1/seed=0/answers.parquet",
        }
        facts = {
            **{"seconds": 61.5, "cpu_seconds": 60.0, "startup_cpu_seconds": 3.0, "peak_mb": 400},
            **{"started": "2026-01-02T03:04:05", "git": "0123456789abcdef" * 2 + "01234567", "python": "3.11.7"},
            "packages": json.dumps({"torch": "2.13.0", "numpy": "2.4.6"}),
            "hardware": json.dumps({"machine": "x86_64", "cores": 2, "gpu": None}),
            "settings": json.dumps({"lr": 0.02, "note": HOSTILE}),
            "inputs": json.dumps({"results/corpora/forget.jsonl": "ab" * 32}),
            "cluster_job": None,
        }
        rows = [
            {"rule": rule, "output": path, "before": False, "dirty": rule == "train_rmu"} | facts
            for rule, path in made.items()
        ]
        return pd.DataFrame(rows)

    def costs(self) -> pd.DataFrame:
        return core.costs(self.provenance())


ONE = {
    "topics": ("north",),
    "clearings": ("topic",),
    "layers": (2,),
    "sizes": (8.0,),
    "seeds": (0,),
    "undefined": (),
}
