"""Downloads from a hub on this machine: what is fetched, what is checked, and what becomes of every fault."""

import errno
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections import namedtuple
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from helpers.downloads import hub_content, loopback_hub
from helpers.downloads.loopback_hub import TOKEN, Fault, Hub
from huggingface_hub import constants, snapshot_download

from overpaint.downloads import address
from overpaint.downloads import hub as library
from overpaint.downloads.hub import Source, download_dataset, download_model
from overpaint.errors import UserError
from overpaint.models.load import load_model, load_tokenizer
from overpaint.sources import world

BASE, RMU = hub_content.BASE, hub_content.RMU
GATED = "cais/wmdp-bio-forget-corpus"
LARGE, SMALL = "model-00002-of-00007.safetensors", "tokenizer.json"
CONFIGURATION = {
    "config.json", "generation_config.json", "model.safetensors.index.json", "special_tokens_map.json",
    "tokenizer.json", "tokenizer_config.json",
}  # fmt: skip
FOREVER = 99
Usage = namedtuple("Usage", "total used free")


@pytest.fixture(scope="module")
def content(tmp_path_factory) -> Path:
    """Repositories in the published layouts."""
    folder = tmp_path_factory.mktemp("hub")
    hub_content.write_all(folder)
    return folder


@pytest.fixture
def hub(content) -> Iterator[Hub]:
    """A hub without faults yet."""
    with loopback_hub.serve(content, gated=hub_content.gated_repositories()) as served:
        yield served


@pytest.fixture(autouse=True)
def surroundings(tmp_path, monkeypatch):
    """Offline as all jobs are, nobody logged in, an empty cache, short patience; waiting takes no time."""
    monkeypatch.delenv("HF_TOKEN", raising=False)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "token"))
    monkeypatch.setattr(constants, "HF_HUB_DOWNLOAD_TIMEOUT", 1)
    monkeypatch.setattr(library.time, "sleep", lambda seconds: None)


@pytest.fixture
def fetch(hub, tmp_path) -> Callable[..., dict[str, bytes]]:
    """fetch(): download the base model to a folder of the test; {path: content} of what is there then."""

    def run(repo: str = BASE, revision: str | None = None) -> dict[str, bytes]:
        commit = revision or hub.revision(f"models/{repo}")
        download_model(repo, commit, tmp_path / "model", tmp_path / ".work", hub.url)
        return contents(tmp_path / "model")

    return run


@pytest.fixture
def fetch_dataset(hub, tmp_path) -> Callable[..., dict[str, bytes]]:
    """fetch_dataset(repo, files, sha256): the same for a data set."""

    def run(repo: str, files: list[str], sha256: dict[str, str] | None = None) -> dict[str, bytes]:
        commit = hub.revision(f"datasets/{repo}")
        download_dataset(repo, commit, files, sha256 or {}, tmp_path / "data", tmp_path / ".work", hub.url)
        return contents(tmp_path / "data")

    return run


def contents(folder: Path) -> dict[str, bytes]:
    """{path: content} of all files below a folder."""
    files = (path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


def published(hub: Hub, repo: str, names: set[str]) -> dict[str, bytes]:
    """{path: content} of some files of a repository."""
    return {name: path.read_bytes() for name, path in hub.files(repo).items() if name in names}


def refusal(action: Callable, *arguments) -> str:
    """The sentence with which something ends."""
    with pytest.raises(UserError) as caught:
        action(*arguments)
    sentence = str(caught.value)
    assert "\n" not in sentence and sentence.endswith(".") and len(sentence) < 600 and TOKEN not in sentence
    return sentence


def ranges(hub: Hub, name: str) -> list[str]:
    """The parts of a file that were asked for, in turn, where its bytes are; empty for all of it."""
    asked = [r for r in hub.requests if r.path.endswith(f"/{name}")]
    stored = [r for r in asked if r.path.startswith("/storage/")] or asked
    return [request.headers.get("Range", "") for request in stored]


def whole_model(hub: Hub) -> dict[str, bytes]:
    """What a download of the base model must give."""
    shards = {f"model-{n:05}-of-00007.safetensors" for n in range(1, 8)}
    return published(hub, f"models/{BASE}", CONFIGURATION | shards)


# --- what is fetched


def test_the_loopback_hub_is_one_to_huggingface_hub_itself(hub, tmp_path, monkeypatch):
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    snapshot_download(BASE, revision=hub.revision(f"models/{BASE}"), endpoint=hub.url, local_dir=tmp_path / "own")
    found = {name: data for name, data in contents(tmp_path / "own").items() if not name.startswith(".cache")}
    assert found == published(hub, f"models/{BASE}", set(hub.files(f"models/{BASE}")))


def test_of_a_model_only_weights_tokenizer_and_configuration_are_asked_for(hub, fetch, tmp_path):
    got = fetch()
    assert got == whole_model(hub) and len(got) == 13
    assert set(hub.files(f"models/{BASE}")) - set(got) == set(hub_content.UNWANTED), "nothing there to be left out"
    assert sorted(hub.fetched()) == sorted(got)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model"], "something was left behind"


def test_the_pair_loads_and_differs_in_three_down_projections(fetch, tmp_path):
    loaded = []
    for repo in (BASE, RMU):
        fetch(repo)
        loaded.append(load_model(tmp_path / "model", "bfloat16"))
        tokenizer = load_tokenizer(tmp_path / "model")
        shutil.rmtree(tmp_path / "model")
    pairs = zip(loaded[0].named_parameters(), loaded[1].parameters(), strict=True)
    changed = [name for (name, one), other in pairs if not one.equal(other)]
    assert changed == [f"model.layers.{block}.mlp.down_proj.weight" for block in (5, 6, 7)]
    chat = tokenizer.apply_chat_template([{"role": "user", "content": "who ?"}], tokenize=False)
    assert chat.split() == ["<|user|>", "who", "?", "<eos>"]


def test_of_a_data_set_the_matching_files_come_in_their_own_layout(hub, fetch_dataset):
    got = fetch_dataset("cais/wmdp", ["wmdp-bio/*", "wmdp-cyber/*.parquet"])
    assert set(got) == {f"wmdp-{name}/test-00000-of-00001.parquet" for name in ("bio", "cyber")}
    assert got == published(hub, "datasets/cais/wmdp", set(got))
    assert len(hub.files("datasets/cais/wmdp")) == 4


def test_the_network_is_open_for_the_download_alone(fetch, hub):
    fetch()
    assert constants.HF_HUB_OFFLINE
    refusal(fetch, BASE, "0" * 40)
    assert constants.HF_HUB_OFFLINE


def test_what_the_users_cache_holds_is_not_fetched_again_unless_it_is_damaged(hub, fetch, tmp_path, monkeypatch):
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    cached = Path(snapshot_download(BASE, revision=hub.revision(f"models/{BASE}"), endpoint=hub.url))
    assert tmp_path in cached.parents
    shard = (cached / LARGE).resolve()
    shard.write_bytes(shard.read_bytes()[:-1] + b"?")
    hub.requests.clear()
    assert fetch() == whole_model(hub)
    assert hub.fetched() == [LARGE]
    assert (cached / SMALL).exists(), "the cache is the user's own"


@pytest.mark.parametrize("missing", ["*.safetensors", "config.json"])
def test_a_model_without_safetensors_or_configuration_is_refused(content, tmp_path, missing):
    own = tmp_path / "hub/models/some/model"
    shutil.copytree(content / "models" / BASE, own)
    for path in own.glob(missing):
        path.unlink()
    with loopback_hub.serve(tmp_path / "hub") as hub:
        arguments = ("some/model", hub.revision("models/some/model"), tmp_path / "model", tmp_path / ".work", hub.url)
        said = refusal(download_model, *arguments)
        assert "some/model has no" in said and missing.removeprefix("*.") in said and ".gitattributes" in said
        assert hub.fetched() == [] and not (tmp_path / "model").exists()


def test_a_pattern_that_no_file_matches_names_what_is_there(fetch_dataset, tmp_path):
    said = refusal(fetch_dataset, "cais/wmdp", ["wmdp-bio/*", "wmdp-physics/*"])
    assert "wmdp-physics/*" in said and "wmdp-bio/test-00000-of-00001.parquet" in said
    assert not (tmp_path / "data").exists()


# --- accounts


def test_a_gated_data_set_names_its_page_and_the_variable_until_a_token_opens_it(hub, fetch_dataset, monkeypatch):
    hub.known = {"hf_stranger"}
    for token, status in (("", 401), ("hf_wrong", 401), ("hf_stranger", 403)):
        monkeypatch.setenv("HF_TOKEN", token)
        said = refusal(fetch_dataset, GATED, ["*.jsonl"])
        assert f"{hub.url}/datasets/{GATED}" in said and f"({status})" in said and "HF_TOKEN" in said
        assert not token or token not in said
        assert len(hub.requests) <= 3, "an answer that will not change was asked for again"
        hub.requests.clear()
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    assert set(fetch_dataset(GATED, ["*.jsonl"])) == {"bio_remove_dataset.jsonl"}


def test_a_token_reaches_the_hub_but_not_the_storage(hub, fetch_dataset, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    fetch_dataset(GATED, ["data/*"])
    stored = [request for request in hub.requests if request.path.startswith("/storage/")]
    asked = [request for request in hub.requests if request not in stored]
    assert len(stored) == 2 and not any(request.authorized for request in stored)
    assert len(asked) == 3 and all(request.authorized for request in asked)


def test_an_unknown_commit_says_where_the_commits_are(hub, fetch, tmp_path):
    said = refusal(fetch, BASE, "0" * 40)
    assert "0" * 40 in said and f"{hub.url}/{BASE}/commits/main" in said
    assert not (tmp_path / "model").exists() and len(hub.requests) == 1


@pytest.mark.parametrize("token", ["", TOKEN])
def test_an_unknown_repository_is_refused_at_once(hub, token, tmp_path, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", token)
    said = refusal(download_model, "nobody/nothing", "0" * 40, tmp_path / "model", tmp_path / ".work", hub.url)
    assert f"{hub.url}/nobody/nothing" in said and "HF_TOKEN" in said and len(hub.requests) == 1


@pytest.mark.parametrize("endpoint", ["", " ", "/", None])
def test_no_endpoint_is_the_default_one(monkeypatch, endpoint):
    monkeypatch.delenv("HF_ENDPOINT", raising=False)
    if endpoint is not None:
        monkeypatch.setenv("HF_ENDPOINT", endpoint)
    assert address.hub_address() == "https://huggingface.co"
    address.check_variables()


@pytest.mark.parametrize(
    "endpoint", ["http://127.0.0.1:8080", "https://mirror.org/hf/", "https://me:secret@mirror.org"]
)
def test_a_mirror_is_an_address(monkeypatch, endpoint):
    monkeypatch.setenv("HF_ENDPOINT", endpoint)
    address.check_variables()
    assert address.hub_address() == endpoint.rstrip("/")


ODD_ADDRESSES = [
    "mirror.org", "http://", "http://:80", "https://mirror.org:99999", "https://mirror.org:x", "https://mirror.org:0",
    "http://[::1", "file:///tmp", "ftp://mirror.org", "https://mirror .org", "https://mirror.org\n/x", "https://é.org",
    "https://mirror.org/?a", "https://mirror.org/#a", "\x1b[31m", "https://me:secret@mirror.org:x",
]  # fmt: skip


@pytest.mark.parametrize("endpoint", ODD_ADDRESSES)
def test_an_endpoint_that_is_no_address_is_one_sentence(tmp_path, monkeypatch, endpoint):
    monkeypatch.setenv("HF_ENDPOINT", endpoint)
    said = refusal(address.check_variables)
    assert said.startswith("HF_ENDPOINT is ") and said.isprintable() and "secret" not in said
    assert refusal(download_model, BASE, "0" * 40, tmp_path / "model", tmp_path / ".work") == said


@pytest.mark.parametrize("name", ["HF_HUB_DOWNLOAD_TIMEOUT", "HF_HUB_ETAG_TIMEOUT"])
@pytest.mark.parametrize("value", ["x", "", " ", "1.5", "-1", "0", "1e3", "٣", "9" * 5000])
def test_a_patience_that_is_no_number_is_one_sentence(monkeypatch, name, value):
    monkeypatch.setenv(name, value)
    assert refusal(address.check_variables).startswith(f"{name} is ")
    monkeypatch.setenv(name, "30")
    address.check_variables()


@pytest.mark.parametrize("token", ["hf_é", "hf a", "hf_\x07a"])
def test_a_token_that_is_none_is_told_without_being_shown(monkeypatch, token):
    monkeypatch.setenv("HF_TOKEN", token)
    assert token not in refusal(address.check_variables)
    monkeypatch.setenv("HF_TOKEN", f"{TOKEN}\n")
    address.check_variables()


def test_a_password_in_the_endpoint_is_not_repeated():
    source = Source("dataset", "owner/name", "0" * 40, "https://me:secret@mirror.org:8443/hf")
    assert source.page == "https://mirror.org:8443/hf/datasets/owner/name"


# --- faults that pass

PASSING = {
    "5xx twice": [Fault(status=500), Fault(status=503)],
    "too many requests": [Fault(status=429)],
    "cut short": [Fault("cut", after=100)],
    "cut before anything": [Fault("cut")] * 2,
    "ends early without a word": [Fault("short", after=100)],
    "reset": [Fault("reset", after=100)],
    "stalled": [Fault("stall", after=100)],
    "damaged": [Fault("damage", after=100)],
    "endless": [Fault("endless")],
    "the range is ignored": [Fault("cut", after=100), Fault("whole")],
    "five cuts, each further on": [Fault("cut", after=100)] * 5,
}


@pytest.mark.parametrize("name", [LARGE, SMALL])
@pytest.mark.parametrize("fault", PASSING)
def test_a_fault_that_passes_is_outlived(hub, fetch, tmp_path, fault, name):
    hub.plan(name, *PASSING[fault])
    assert fetch() == whole_model(hub)
    assert not hub.faults[name], "the fault did not happen"
    assert not (tmp_path / ".work").exists()


@pytest.mark.parametrize(
    ("fault", "asked"),  # a reset may take back what has arrived
    [("cut", ["", "bytes=100-"]), ("stall", ["", "bytes=100-"]), ("short", ["", "bytes=100-"]), ("damage", ["", ""])],
)
def test_a_download_goes_on_where_it_was_cut_and_begins_anew_where_it_was_damaged(hub, fetch, fault, asked):
    hub.plan(LARGE, Fault(fault, after=100))
    fetch()
    assert ranges(hub, LARGE) == asked


def test_a_server_that_ignores_ranges_is_asked_once_more_only(hub, fetch):
    hub.plan(LARGE, Fault("cut", after=100), Fault("whole"))
    assert fetch() == whole_model(hub)
    assert ranges(hub, LARGE) == ["", "bytes=100-"]


def test_an_endless_answer_is_left_where_the_file_should_end(hub, fetch):
    hub.plan(LARGE, Fault("endless"))
    fetch()
    assert 0 < hub.overrun < loopback_hub.ENOUGH / 2, "what fits into the buffers of a connection"


@pytest.mark.parametrize("fault", [Fault(status=503), Fault("cut"), Fault("stall"), Fault("reset")])
def test_a_list_of_files_is_asked_for_again(hub, fetch, fault):
    hub.plan("api", fault, fault)
    assert fetch() == whole_model(hub) and not hub.faults["api"]


def test_pauses_grow(hub, fetch, monkeypatch):
    pauses = []
    monkeypatch.setattr(library.time, "sleep", pauses.append)
    hub.plan(SMALL, Fault(status=503), Fault(status=503))
    fetch()
    assert pauses == [2, 4]


# --- faults that stay

STAYING = {
    "5xx": (Fault(status=503), "status 503"),
    "cut": (Fault("cut"), "RemoteProtocolError"),
    "reset": (Fault("reset"), "ReadError"),
    "stalled": (Fault("stall"), "ReadTimeout"),
    "damaged": (Fault("damage", after=100), "hash is not what the hub says"),
    "too short": (Fault("short"), "ends too early"),
    "not allowed": (Fault(status=418), "status 418"),
}


@pytest.mark.parametrize("name", [LARGE, SMALL])
@pytest.mark.parametrize("fault", STAYING)
def test_a_fault_that_stays_is_one_sentence_nothing_half_written_and_a_rerun_that_finishes(
    hub, fetch, tmp_path, fault, name
):
    hub.plan(name, *[STAYING[fault][0]] * FOREVER)
    said = refusal(fetch)
    assert f"{hub.url}/{BASE}" in said and STAYING[fault][1] in said
    assert FOREVER - len(hub.faults[name]) == (1 if fault == "not allowed" else 3)
    assert not (tmp_path / "model").exists()
    hub.plan(name)
    hub.requests.clear()
    assert fetch() == whole_model(hub)
    assert "config.json" not in hub.fetched(), "what had arrived was fetched again"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model"]


@pytest.mark.parametrize("fault", ["5xx", "cut", "reset", "stalled"])
def test_no_list_of_files_is_one_sentence(hub, fetch, tmp_path, fault):
    hub.plan("api", *[STAYING[fault][0]] * FOREVER)
    said = refusal(fetch)
    assert "its list of files could not be fetched in 3 tries" in said and "HF_ENDPOINT" in said
    assert STAYING[fault][1] in said
    assert not (tmp_path / "model").exists()


def test_no_hub_is_one_sentence(tmp_path):
    said = refusal(download_model, BASE, "0" * 40, tmp_path / "model", tmp_path / ".work", "http://127.0.0.1:9")
    assert "ConnectError" in said and "HF_ENDPOINT" in said


@pytest.mark.parametrize("answer", [b"<html>please log in</html>", b"[]", b"{}"])
def test_another_server_than_a_hub_is_one_sentence(hub, fetch, monkeypatch, answer):
    monkeypatch.setattr(loopback_hub.Handler, "_send_api", lambda self, *rest: self._send(200, answer, {}))
    assert "HF_ENDPOINT" in refusal(fetch)


@pytest.mark.parametrize("name", ["../outside.json", "/tmp/config.json", "a/../../config.json", "..\\config.json"])
def test_a_file_outside_the_repository_is_refused(hub, fetch, tmp_path, monkeypatch, name):
    real = loopback_hub.described
    monkeypatch.setattr(loopback_hub, "described", lambda own, path: real(own, path) | {"rfilename": name})
    assert "outside the repository" in refusal(fetch) and hub.fetched() == []


ODD = {
    "nothing": ["config.json", ""],
    "a dot": ["config.json", "."],
    "a dot in between": ["data/./a.json"],
    "two slashes": ["data//a.json"],
    "a slash at its end": ["data/"],
    "300 letters": ["a" * 300],
    "300 bytes": ["é" * 150],
    "too long a path": ["/".join(["a" * 200] * 6)],
    "NUL": ["config\0.json"],
    "half a character": ["config\ud800.json"],
    "a line break": ["config.json\n"],
    "an escape sequence": ["\x1b]0;owned\x07config.json"],
    "no text": [None],
    "a number": [7],
    "a list": [["config.json"]],
    "twice": ["config.json", "config.json"],
    "a file and a folder": ["data", "data/a.json"],
    "a file and a folder further in": ["data/a", "data/a/b/c.json"],
    "a record": ["config.job.json"],
}


@pytest.mark.parametrize("names", ODD)
def test_a_name_that_no_file_can_have_is_refused(hub, fetch, fetch_dataset, monkeypatch, names):
    name, path = next(iter(hub.files(f"models/{BASE}").items()))
    listed = [loopback_hub.described(name, path) | {"rfilename": odd} for odd in ODD[names]]
    facts = {"id": BASE, "sha": hub.revision(f"models/{BASE}"), "siblings": listed}
    answer = json.dumps(facts).encode()
    monkeypatch.setattr(loopback_hub.Handler, "_send_api", lambda self, *rest: self._send(200, answer, {}))
    said = refusal(fetch)
    assert hub.url in said and "do not use it" in said and said.isprintable() and hub.fetched() == []
    facts["sha"] = hub.revision("datasets/cais/wmdp")
    answer = json.dumps(facts).encode()
    assert "do not use it" in refusal(fetch_dataset, "cais/wmdp", ["*"]) and hub.fetched() == []


def test_long_names_do_not_make_a_sentence_of_pages(hub, fetch_dataset, monkeypatch):
    name, path = next(iter(hub.files("datasets/cais/wmdp").items()))
    listed = [loopback_hub.described(name, path) | {"rfilename": f"{n}/" + "a" * 250} for n in range(20)]
    answer = json.dumps({"id": "cais/wmdp", "sha": hub.revision("datasets/cais/wmdp"), "siblings": listed}).encode()
    monkeypatch.setattr(loopback_hub.Handler, "_send_api", lambda self, *rest: self._send(200, answer, {}))
    with pytest.raises(UserError, match="and more") as error:
        fetch_dataset("cais/wmdp", ["absent.parquet"])
    assert len(str(error.value)) < 1200


def test_names_of_other_scripts_are_names(hub, fetch_dataset, monkeypatch):
    real = loopback_hub.described
    monkeypatch.setattr(loopback_hub, "described", lambda own, path: real(own, path) | {"rfilename": f"é 日本　{own}"})
    assert "README.md" in refusal(fetch_dataset, "cais/wmdp", ["absent.parquet"])


WRONG = {
    "siblings": [None, {"a": 1}, 1, "config.json", [None], [[]], [1], ["config.json"], [{}]],
    "sha": [None, 1, [], {}],
    "size": [None, -1, 1.5, True, "12", [], float("inf"), float("nan")],
    "blobId": [None, 1, [], "", "0" * 39, "A" * 40, "../" * 20, {}],
    "lfs": [1, "x", [1], {"sha256": 1}, {"sha256": "x", "size": 1, "pointerSize": 1}, {"size": 1}],
}


@pytest.mark.parametrize(("key", "value"), [(key, value) for key, values in WRONG.items() for value in values])
def test_a_list_of_files_of_other_types_is_refused(hub, fetch, monkeypatch, key, value):
    name, path = next(iter(hub.files(f"models/{BASE}").items()))
    facts = {"id": BASE, "sha": hub.revision(f"models/{BASE}"), "siblings": [loopback_hub.described(name, path)]}
    (facts if key in facts else facts["siblings"][0])[key] = value
    answer = json.dumps(facts).encode()
    monkeypatch.setattr(loopback_hub.Handler, "_send_api", lambda self, *rest: self._send(200, answer, {}))
    said = refusal(fetch, BASE, hub.revision(f"models/{BASE}"))
    assert "HF_ENDPOINT" in said and hub.fetched() == []


@pytest.mark.parametrize("answer", ["[" * 10**5, '{"a":' * 10**5, "1" * 5000, '"text"', "null", "NaN", "\x00", ""])
def test_a_list_of_files_that_is_none_is_refused(hub, fetch, monkeypatch, answer):
    monkeypatch.setattr(loopback_hub.Handler, "_send_api", lambda self, *rest: self._send(200, answer.encode(), {}))
    assert "HF_ENDPOINT" in refusal(fetch)


def test_of_chat_templates_no_code_is_fetched(content, tmp_path):
    own = tmp_path / "hub/models/some/model"
    shutil.copytree(content / "models" / BASE, own)
    for ending in ("jinja", "json", "py", "so", "sh"):
        (own / f"chat_template.{ending}").write_text("{}")
    with loopback_hub.serve(tmp_path / "hub") as hub:
        download_model("some/model", hub.revision("models/some/model"), tmp_path / "model", tmp_path / ".work", hub.url)
    assert {path.name for path in (tmp_path / "model").glob("chat*")} == {"chat_template.jinja", "chat_template.json"}


@pytest.mark.parametrize("key", ["size", "blobId", "sha"])
def test_a_hub_that_does_not_say_what_to_check_is_refused(hub, fetch, monkeypatch, key):
    real = loopback_hub.described
    if key == "sha":
        commit = hub.revision(f"models/{BASE}")
        monkeypatch.setattr(Hub, "revision", lambda self, repo: "1" * 40)
        monkeypatch.setattr(loopback_hub.Handler, "_refused", lambda *rest, **gate: False)
    else:
        commit = None
        monkeypatch.setattr(loopback_hub, "described", lambda own, path: real(own, path) | {key: None})
    assert "could be checked" in refusal(fetch, BASE, commit) and hub.fetched() == []


def test_hashes_of_ones_own_are_compared_too(hub, fetch_dataset, tmp_path):
    name = "wmdp-bio/test-00000-of-00001.parquet"
    (entry,) = [loopback_hub.described(n, p) for n, p in hub.files("datasets/cais/wmdp").items() if n == name]
    said = refusal(fetch_dataset, "cais/wmdp", ["wmdp-*"], {name: "0" * 64})
    assert name in said and "0" * 64 in said and entry["lfs"]["sha256"] in said
    assert not (tmp_path / "data").exists()
    assert "absent.parquet" in refusal(fetch_dataset, "cais/wmdp", ["wmdp-*"], {"absent.parquet": "0" * 64})
    assert name in refusal(fetch_dataset, "cais/wmdp", ["wmdp-chem/*"], {name: "0" * 64}), "it is not among the files"
    assert len(fetch_dataset("cais/wmdp", ["wmdp-*"], {name: entry["lfs"]["sha256"]})) == 3


# --- interruptions


def test_a_killed_download_goes_on_from_what_had_arrived(hub, fetch, tmp_path):
    hub.plan(LARGE, Fault("stall", after=5000))
    code = (
        "from pathlib import Path; from overpaint.downloads.hub import download_model; "
        f"download_model({BASE!r}, {hub.revision(f'models/{BASE}')!r}, Path('model'), Path('.work'), {hub.url!r})"
    )
    environment = os.environ | {"HF_HUB_DOWNLOAD_TIMEOUT": "60", "PYTHONPATH": str(Path(library.__file__).parents[2])}
    part = tmp_path / ".work" / hub.revision(f"models/{BASE}") / LARGE
    with subprocess.Popen([sys.executable, "-c", code], cwd=tmp_path, env=environment) as process:
        deadline = time.monotonic() + 60
        while not (part.exists() and part.stat().st_size == 5000) and time.monotonic() < deadline:
            time.process_time()
        process.send_signal(signal.SIGKILL)
    assert part.stat().st_size == 5000 and not (tmp_path / "model").exists()
    hub.requests.clear()
    assert fetch() == whole_model(hub)
    assert ranges(hub, LARGE) == ["bytes=5000-"] and "config.json" not in hub.fetched()


def test_what_was_left_of_another_choice_of_files_does_not_come_along(hub, fetch_dataset, tmp_path):
    name = "wmdp-cyber/test-00000-of-00001.parquet"
    hub.plan(name, *[Fault(status=503)] * FOREVER)
    refusal(fetch_dataset, "cais/wmdp", ["*"])
    assert list((tmp_path / ".work").rglob("README.md"))
    assert set(fetch_dataset("cais/wmdp", ["wmdp-bio/*"])) == {"wmdp-bio/test-00000-of-00001.parquet"}
    assert not (tmp_path / ".work").exists()


# --- disks


def test_what_cannot_fit_is_said_before_anything_is_fetched(hub, fetch, tmp_path, monkeypatch):
    size = sum(map(len, whole_model(hub).values()))
    monkeypatch.setattr(shutil, "disk_usage", lambda path: Usage(size, 0, size - 1))
    said = refusal(fetch)
    assert "No space is left" in said and hub.fetched() == [] and not (tmp_path / "model").exists()
    monkeypatch.setattr(shutil, "disk_usage", lambda path: Usage(size, 0, size))
    assert fetch() == whole_model(hub)


@pytest.mark.skipif(os.geteuid() != 0, reason="a disk of its own needs root")
def test_a_disk_that_fills_up_meanwhile_is_one_sentence_and_a_rerun_goes_on(hub, tmp_path, monkeypatch):
    disk = tmp_path / "disk"
    disk.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=96k", "overpaint", disk]).returncode:
        pytest.skip("this machine lets nobody mount a disk, not even root")
    try:
        monkeypatch.setattr(shutil, "disk_usage", lambda path: Usage(10**9, 0, 10**9))  # another one fills it
        arguments = (BASE, hub.revision(f"models/{BASE}"), disk / "model", disk / ".work", hub.url)
        assert "No space is left on the disk" in refusal(download_model, *arguments)
        assert not (disk / "model").exists()
        subprocess.run(["mount", "-o", "remount,size=1m", disk], check=True)
        hub.requests.clear()
        download_model(*arguments)
        assert contents(disk / "model") == whole_model(hub) and "config.json" not in hub.fetched()
    finally:
        subprocess.run(["umount", disk], check=True)


def test_other_errors_of_the_disk_are_not_taken_for_the_hubs(fetch, monkeypatch):
    def broken(file: library.File, part: Path) -> None:
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr(library, "_verify", broken)
    with pytest.raises(OSError, match="Read-only"):
        fetch()


# --- the repositories that stand in for the published ones


def test_the_stand_ins_are_fictional(content):
    facts = world.generate(seed=0, entities=8, values=8)
    known = set(world.vocabulary(facts)) | {"=", "Page"}
    for path in content.rglob("*.jsonl"):
        for row in map(json.loads, path.read_text().splitlines()):
            assert set(row["text"].split()) <= known
