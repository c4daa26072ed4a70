"""What jobs ask for: enough for what was measured, not much more, growing with the model and with every attempt."""

import re
from itertools import pairwise
from pathlib import Path

import pytest
import torch
import yaml
from helpers.checkout import ROOT
from helpers.environments import RULES
from safetensors.torch import save_file

from overpaint.errors import UserError
from overpaint.models import pretrain
from overpaint.study import resources

SMOLLM2 = yaml.safe_load((ROOT / "studies/smollm2.yaml").read_text())["models"]["smollm2-135m"] | {"dtype": "float32"}
SIZE = resources.model_mb(SMOLLM2)
# MB and seconds of the largest job of each rule in studies/smollm2.yaml, in one thread beside jobs of others.
MEASURED = {
    "download_package": (182, 2),
    "prepare_texts": (183, 1),
    "convert_model": (843, 5),
    "compute_prefix": (1113, 95),
    "unlearn": (684, 103),
    "collect_activations": (1155, 27),
    "fit_junk": (334, 1),
    "evaluate": (1275, 1032),
    "try_setting": (1087, 67),
    "complete_prompts": (1051, 18),
    "gather_tables": (187, 1),
    "render_index": (296, 3),
}


@pytest.fixture
def folder(tmp_path) -> Path:
    """A model of 2 x 3 + 4 weights in two files."""
    save_file({"a": torch.zeros(2, 3, dtype=torch.bfloat16)}, tmp_path / "1.safetensors", {"format": "pt"})
    save_file({"b": torch.zeros(4)}, tmp_path / "2.safetensors")
    return tmp_path


# --- size of a model


def test_a_package_has_the_weights_that_are_stated():
    assert pytest.approx(134515008 * 4 / 2**20) == SIZE
    assert resources.model_mb(SMOLLM2 | {"dtype": "bfloat16"}) == SIZE / 2


def test_a_model_of_the_hub_has_the_weights_that_are_stated():
    assert resources.model_mb({"source": "hub", "parameters": 2**20, "dtype": "bfloat16"}) == 2


def test_a_folder_has_the_weights_that_its_files_list_whatever_their_type(folder):
    entry = {"source": "folder", "path": str(folder)}
    assert resources.model_mb(entry | {"dtype": "float32"}) == 40 / 2**20
    assert resources.model_mb(entry | {"dtype": "float16"}) == 20 / 2**20


def test_a_miniature_has_those_of_its_blocks():
    entry = {"source": "fictional", "width": 96, "layers": 6, "dtype": "float32"}
    model = pretrain.build_model(300, 96, 6, 4)
    inner = sum(weight.numel() for name, weight in model.named_parameters() if "proj" in name)
    assert resources.model_mb(entry) == inner * 4 / 2**20


@pytest.mark.parametrize(
    "content",
    [b"", b"version https://git-lfs.github.com/spec/v1\n", (2).to_bytes(8, "little") + b"[]", b"\x10" + bytes(30)],
    ids=["empty", "a pointer", "another header", "no header"],
)
def test_a_damaged_file_is_one_sentence(folder, content):
    (folder / "2.safetensors").write_bytes(content)
    with pytest.raises(UserError, match=r"weights in .*2\.safetensors cannot be read .*: fetch the model again\.$"):
        resources.model_mb({"source": "folder", "path": str(folder), "dtype": "float32"})


# --- what is asked for


def test_every_rule_asks_for_what_stands_under_its_name():
    assert set(resources.NEEDS) == set(RULES)
    for rule, block in RULES.items():
        assert f'**needs("{rule}"' in block["resources"]
        assert "retries" not in block, "they belong into profiles: those of a rule run again inside the job"


@pytest.mark.parametrize("rule", MEASURED)
def test_what_was_measured_fits_and_is_not_asked_for_many_times_over(rule):
    megabytes, seconds = MEASURED[rule]
    needed = resources.SNAKEMAKE_MB + megabytes
    assert needed < resources.memory_mb(rule, SIZE) < 2 * needed
    assert 2 * seconds < 60 * resources.minutes(rule, SIZE) < 4 * seconds + 60 * 30


@pytest.mark.parametrize("rule", resources.NEEDS)
def test_every_attempt_asks_for_as_much_again(rule):
    for ask in (resources.memory_mb, resources.minutes):
        assert [ask(rule, SIZE, attempt) for attempt in (1, 2, 3)] == [n * ask(rule, SIZE) for n in (1, 2, 3)]


def test_a_large_model_has_room_and_no_request_is_endless():
    large = 7.2e9 * 2 / 2**20
    assert resources.memory_mb("evaluate", large) > 1.4 * large
    assert resources.memory_mb("unlearn", large, models=2) > 1.8 * resources.memory_mb("unlearn", large)
    assert resources.memory_mb("prepare_texts", large) == resources.memory_mb("prepare_texts", SIZE)
    assert resources.minutes("evaluate", SIZE) < resources.minutes("evaluate", large) == resources.LONGEST


@pytest.mark.parametrize(
    ("names", "found"), [([], False), (["nvidiactl"], False), (["nvidia0"], True), (["kfd"], True)]
)
def test_a_gpu_is_found_by_its_device(tmp_path, names, found):
    for name in names:
        (tmp_path / name).touch()
    assert resources.has_gpu(tmp_path) == found


# --- profiles

PROFILES = {path.parent.name: path for path in (ROOT / "profiles").glob("*/config.yaml")}
SETTINGS = {name: yaml.safe_load(path.read_text()) for name, path in PROFILES.items()}
CLUSTERS = {"slurm", "sge", "lsf", "htcondor", "kubernetes"}
ON_GPU = {rule for rule, block in RULES.items() if "gpu=GPU" in block["resources"]}


def test_there_is_a_profile_for_each_place():
    assert set(PROFILES) == {"default", "strict"} | CLUSTERS


@pytest.mark.parametrize("name", PROFILES)
def test_a_profile_repeats_the_default_which_it_takes_the_place_of(name):
    own = {"default": set(), "strict": {"rerun-triggers", "keep-going", "quiet"}}
    changed = own.get(name, {"resources", "scheduler"})
    for key in SETTINGS["default"].keys() - changed:
        assert SETTINGS[name][key] == SETTINGS["default"][key], key


@pytest.mark.parametrize("name", PROFILES)
def test_retries_and_groups_are_for_clusters_and_the_local_gpu_for_one_machine(name):
    clustered = name in CLUSTERS
    assert all((key in SETTINGS[name]) == clustered for key in ("executor", "retries", "groups", "set-resources"))
    assert ("resources" in SETTINGS[name]) != clustered, "it would limit the whole queue to one GPU"


@pytest.mark.parametrize("name", sorted(CLUSTERS))
def test_a_cluster_profile_names_the_rules_of_the_workflow(name):
    assert set(SETTINGS[name]["set-resources"]) == ON_GPU >= {"unlearn", "evaluate", "score_depth"}
    groups = SETTINGS[name]["groups"]
    assert set(groups) <= set(RULES) and set(SETTINGS[name]["group-components"]) <= set(groups.values())
    assert not {rule for rule in groups if rule in ON_GPU} - {"complete_prompts"}


@pytest.mark.parametrize("name", PROFILES)
def test_every_entry_of_a_profile_has_its_reason(name):
    lines = PROFILES[name].read_text().splitlines()
    entries = [pair for pair in pairwise(lines) if re.match(r"[a-z]", pair[1])]
    assert len(entries) == len(SETTINGS[name])
    assert [line for before, line in entries if "#" not in line and not before.startswith("#")] == []


@pytest.mark.parametrize("name", sorted(CLUSTERS))
def test_a_profile_that_no_test_runs_says_so_first(name):
    assert PROFILES[name].read_text().startswith("# NOT RUN") == (name not in {"slurm", "sge"})
