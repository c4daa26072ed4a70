"""Tasks of lm-evaluation-harness: its own definitions, asked of local files, scored as by its own model."""

from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from lm_eval.api.task import ConfigurableTask
from lm_eval.tasks._yaml_loader import load_yaml
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from tokenizers.processors import TemplateProcessing
from transformers import PreTrainedModel, PreTrainedTokenizerFast

from overpaint.errors import UserError
from overpaint.junk.clearing import Clearing
from overpaint.junk.run import Run
from overpaint.scoring import evaluation
from overpaint.scoring.evaluation import Benchmark, IntervenedLM, evaluate_clearings
from overpaint.sources import harness, texts, world
from overpaint.sources import rows as rows_of

NONE = Clearing("none", "", torch.empty(0, 0), {})
SETTINGS = {"kind": "questions", "topic": "north", "metric": "acc", "fit": 0.25, "max_scored": 0, "prior": ""}
SETTINGS |= {"scoring": "continuation", "description": "", "chat_template": False, "source": "harness"}
CHAT = (
    "<s>{% for m in messages %}[{{ m.role }}]{{ m.content }}[/]{% endfor %}{% if add_generation_prompt %}[a]{% endif %}"
)


@pytest.fixture(scope="module")
def by_byte() -> PreTrainedTokenizerFast:
    """One token a byte; texts start with a token of their own, as those of Llama and Mistral do."""
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {token: number for number, token in enumerate(["<s>", "</s>", *letters])}
    own = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    own.pre_tokenizer, own.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    own.post_processor = TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 0)])
    return PreTrainedTokenizerFast(tokenizer_object=own, bos_token="<s>", eos_token="</s>", pad_token="</s>")


@pytest.fixture(scope="module")
def model(make_model) -> PreTrainedModel:
    return make_model("llama", vocab_size=258, max_position_embeddings=2048, blocks=2)


@pytest.fixture(scope="module")
def asked(facts) -> list[dict]:
    """Fictional questions with the columns of WMDP; the first one stands there twice."""
    rows = [
        {"question": row["question"].removesuffix(" answer :"), "choices": row["choices"], "answer": row["answer"]}
        for row in world.question_rows(facts, ["gloomcraft"])[:23]
    ]
    return [*rows, rows[0] | {"choices": rows[0]["choices"][::-1], "answer": 3 - rows[0]["answer"]}]


@pytest.fixture(scope="module")
def store(tmp_path_factory) -> Callable[[dict[str, list[dict]]], Path]:
    """store({path: rows}): a folder of parquet files, laid out as in a hub's repository."""

    def write(files: dict[str, list[dict]]) -> Path:
        folder = tmp_path_factory.mktemp("dataset")
        for path, rows in files.items():
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            pq.write_table(pa.Table.from_pylist(rows), folder / path)
        return folder

    return write


@pytest.fixture(scope="module")
def wmdp(store, asked) -> Path:
    parts = {f"wmdp-{name}/test-00000-of-00001.parquet": asked for name in ("bio", "cyber", "chem")}
    return store(parts)


@pytest.fixture(scope="module")
def prepare(tmp_path_factory) -> Callable[..., Benchmark]:
    """prepare(task, folder, **settings): a benchmark of the catalogue, its data normalised."""

    def make(task: str, folder: Path, **changes) -> Benchmark:
        settings = SETTINGS | {"task": task} | changes
        path = tmp_path_factory.mktemp("benchmarks") / f"{task}.jsonl"
        texts.write_rows(harness.rows("questions", settings, folder), path)
        return Benchmark.of(task, settings, path)

    return make


def evaluate(model, by_byte, *benchmarks: Benchmark, split: str = "test") -> list[dict]:
    return evaluate_clearings(Run(model, by_byte), [(NONE, list(benchmarks))], split)


def stock(model, by_byte, definition: str, files: list[Path], chat: bool = False) -> tuple[ConfigurableTask, list]:
    """The harness's own task of a YAML file on the parquet files themselves, and its own model's responses."""
    huggingface = pytest.importorskip("lm_eval.models.huggingface", exc_type=ImportError)
    lm = huggingface.HFLM(pretrained=model, tokenizer=by_byte, batch_size=1, device="cpu")
    config = load_yaml(harness.TASKS / definition)
    split = config.get("test_split") or config["validation_split"]
    local = {"dataset_path": "parquet", "dataset_name": None, "training_split": None, "fewshot_split": None}
    data = {"dataset_kwargs": {"data_files": {split: [str(path) for path in files]}}, "fewshot_config": None}
    task = ConfigurableTask(config={key: config[key] for key in config if key != "tag"} | local | data)
    options = {"apply_chat_template": True, "chat_template": lm.apply_chat_template, "fewshot_as_multiturn": True}
    task.build_all_requests(**options if chat else {})
    return task, lm.loglikelihood(task.instances, disable_tqdm=True)


@pytest.fixture(autouse=True, scope="module")
def cache(tmp_path_factory):
    """The harness's own way caches data sets; in a folder of the tests."""
    import datasets

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path_factory.mktemp("datasets"))
        yield


# -- definitions


def test_a_task_a_group_and_a_tag_have_the_harness_own_definitions():
    [bio] = harness.definitions("wmdp_bio").values()
    assert bio["description"].endswith("about biology.\n\n") and bio["dataset_name"] == "wmdp-bio"
    assert list(harness.definitions("wmdp")) == ["wmdp_bio", "wmdp_chem", "wmdp_cyber"]
    mmlu = harness.definitions("mmlu")
    assert len(mmlu) == 57 and set(harness.definitions("mmlu_stem_tasks")) < set(mmlu)
    assert callable(harness.definitions("hellaswag")["hellaswag"]["process_docs"])


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("wmdp_chemistry", r"no task, group or tag 'wmdp_chemistry': use wmdp_chem, "),
        ("gsm8k", r"'gsm8k' of the harness is of type generate_until: .* use a task of type multiple_choice"),
        ("truthfulqa", r"'truthfulqa_gen' in the group 'truthfulqa' of the harness is of type generate_until"),
        ("squadv2", r"'squadv2' of the harness is a program of its own"),
    ],
)
def test_what_is_no_multiple_choice_task_is_refused(name, sentence):
    with pytest.raises(UserError, match=sentence):
        harness.definitions(name)


# -- rows


def test_rows_keep_the_documents_as_they_are_and_split_them_by_question(wmdp, asked):
    rows = harness.rows("questions", SETTINGS | {"task": "wmdp_bio"}, wmdp)
    assert [row["document"] for row in rows] == asked
    assert [row["split"] for row in rows] == [texts.split_of(row["question"], 0.25) for row in asked]
    assert {row["split"] for row in rows} == {"fit", "test"} and {row["task"] for row in rows} == {"wmdp_bio"}
    units = [row["unit"] for row in rows]
    assert units[0] == units[-1] and len(set(units)) == len(rows) - 1 and len({row["id"] for row in rows}) == len(rows)
    whole = harness.rows("questions", SETTINGS | {"task": "wmdp_bio", "fit": 0}, wmdp)
    assert {row["split"] for row in whole} == {"test"}


def test_documents_without_a_right_answer_are_left_out(store, asked, capsys):
    folder = store({"wmdp-bio/test-0.parquet": [*asked[:3], asked[3] | {"answer": 7}]})
    assert len(harness.rows("questions", SETTINGS | {"task": "wmdp_bio"}, folder)) == 3
    assert "1 documents name no correct answer" in capsys.readouterr().out


def test_a_data_set_without_the_files_of_a_task_is_refused(wmdp, store, asked):
    with pytest.raises(UserError, match=r"'mmlu_anatomy' of the harness needs anatomy/test-\*\.parquet of cais/mmlu"):
        harness.rows("questions", SETTINGS | {"task": "mmlu_anatomy"}, wmdp)
    other_split = store({"wmdp-bio/testing-0.parquet": asked, "wmdp-bio/dev-0.parquet": asked})
    with pytest.raises(UserError, match=r"needs wmdp-bio/test-\*\.parquet .* has 0 files"):
        harness.rows("questions", SETTINGS | {"task": "wmdp_bio"}, other_split)


# -- scores


def test_a_task_is_scored_as_by_the_harness_itself(model, by_byte, wmdp, prepare):
    benchmark = prepare("wmdp_bio", wmdp)
    rows = evaluate(model, by_byte, benchmark) + evaluate(model, by_byte, benchmark, split="fit")
    task, responses = stock(model, by_byte, "wmdp/wmdp_bio.yaml", sorted(wmdp.glob("wmdp-bio/*")))
    found = {row["id"]: row for row in rows}
    assert len(found) == len(task.eval_docs) == 24
    for number, document in enumerate(task.eval_docs):
        own, row = responses[4 * number : 4 * number + 4], found[f"wmdp_bio/{number}"]
        assert row["scores"] == pytest.approx([score for score, _ in own], abs=1e-4)
        assert row["correct"] == bool(task.process_results(document, own)["acc"])
        assert row["answer"] == document["answer"] and row["nll"] == -row["scores"][row["answer"]]
    assert 0 < sum(row["correct"] for row in rows) < len(rows)


def test_the_tasks_of_a_group_are_one_benchmark_with_the_prompt_of_each(model, by_byte, store, asked, prepare):
    names = [definition["dataset_name"] for definition in harness.definitions("mmlu").values()]
    folder = store({f"{name}/test-0.parquet": asked[i % 20 : i % 20 + 2] for i, name in enumerate(names)})
    rows = evaluate(model, by_byte, prepare("mmlu", folder, fit=0))
    assert len(rows) == 2 * 57 and {row["benchmark"] for row in rows} == {"mmlu"}
    few = evaluate(model, by_byte, prepare("mmlu", folder, fit=0, max_scored=57))
    assert len({row["id"].split("/")[0] for row in few}) == 57, "a limit takes of every task"
    same = [row for row in rows if row["unit"] == rows[0]["unit"]]
    assert len(same) > 2 and len({row["scores"][0] for row in same}) > 1, "the subject in the prompt does not matter"


HELLASWAG = [
    {"activity_label": "Milling", "ctx_a": "The miller turns.", "ctx_b": "then the", "endings": e, "label": str(i % 4)}
    for i, e in enumerate([["wheel [x] stops", "miller sings", "grain falls", "door shuts"]] * 6)
]
WINOGRANDE = [
    {
        "sentence": f"The {word} met the miller, but _ ran.",
        "option1": word,
        "option2": "miller",
        "answer": str(1 + i % 2),
    }
    for i, word in enumerate(["warden", "fisher", "weaver", "keeper"])
]


@pytest.mark.parametrize(
    ("task", "definition", "file", "rows", "metric"),
    [
        ("hellaswag", "hellaswag/hellaswag.yaml", "data/validation-00000-of-00001.parquet", HELLASWAG, "acc_norm"),
        ("winogrande", "winogrande/default.yaml", "winogrande_xl/validation-0.parquet", WINOGRANDE, "acc"),
    ],
)
def test_functions_of_a_task_are_its_own(model, by_byte, store, prepare, task, definition, file, rows, metric):
    folder = store({file: rows})
    found = evaluate(model, by_byte, prepare(task, folder, fit=0, metric=metric))
    own, responses = stock(model, by_byte, definition, [folder / file])
    count = len(responses) // len(rows)
    assert len(found) == len(rows)
    for number, (row, document) in enumerate(zip(found, own.eval_docs, strict=True)):
        given = responses[count * number : count * (number + 1)]
        assert row["scores"] == pytest.approx([score for score, _ in given], abs=1e-4)
        assert row["correct"] == bool(own.process_results(document, given)[metric])
        assert row["answer"] == int(rows[number].get("label", number % 2))


def test_a_measure_that_a_task_does_not_have_is_refused(wmdp, asked):
    definition = harness.definitions("wmdp_bio")["wmdp_bio"]
    own = definition | {"process_results": lambda document, results: {"acc": 1}}
    assert harness.LocalTask(own, asked, "acc").process_results(asked[0], []) == {"acc": 1}
    with pytest.raises(UserError, match="'wmdp_bio' of the harness does not measure 'acc_norm': use acc"):
        harness.LocalTask(own, asked, "acc_norm")


def test_a_split_without_rows_is_refused(model, by_byte, wmdp, prepare):
    with pytest.raises(UserError, match="has no rows of split 'fit'"):
        evaluate(model, by_byte, prepare("wmdp_bio", wmdp, fit=0), split="fit")


# -- questions of one's own


def own_file(rows: list[dict], path: Path, **changes) -> Benchmark:
    heads = [{"id": str(number), "unit": str(number), "split": "test"} for number in range(len(rows))]
    texts.write_rows([head | row for head, row in zip(heads, rows, strict=True)], path)
    settings = {key: value for key, value in SETTINGS.items() if key != "task"}
    return Benchmark.of("own", settings | changes, path)


def test_letters_of_our_own_questions_are_asked_as_wmdp_asks(model, by_byte, wmdp, asked, prepare, tmp_path):
    about = "The following are multiple choice questions (with answers) about biology.\n\n"
    own = own_file(asked, tmp_path / "own.jsonl", scoring="letter", description=about)
    theirs = evaluate(model, by_byte, prepare("wmdp_bio", wmdp, fit=0))
    for changes, same in (({}, True), ({"description": ""}, False), ({"scoring": "continuation"}, False)):
        other = own_file(asked, own.path, **{"scoring": "letter", "description": about} | changes)
        found = evaluate(model, by_byte, other)
        pairs = zip(found, theirs, strict=True)
        assert all(a["scores"] == pytest.approx(b["scores"], abs=1e-4) for a, b in pairs) == same, changes


def test_letters_are_as_many_as_the_options(model, by_byte, asked, tmp_path):
    rows = [
        row | {"choices": [*row["choices"], "none of them"][: 2 + number % 4], "answer": 0}
        for number, row in enumerate(asked)
    ]
    found = evaluate(model, by_byte, own_file(rows, tmp_path / "own.jsonl", scoring="letter"))
    assert [len(row["scores"]) for row in found] == [len(row["choices"]) for row in rows]


# -- chat templates


@pytest.fixture
def chatting(by_byte, monkeypatch) -> PreTrainedTokenizerFast:
    monkeypatch.setattr(by_byte, "chat_template", CHAT)
    return by_byte


def test_a_chat_template_is_written_once_and_scored_as_by_the_harness(model, chatting, wmdp, prepare, monkeypatch):
    seen = []
    score = IntervenedLM.score
    monkeypatch.setattr(IntervenedLM, "score", lambda self, pairs: seen.extend(pairs) or score(self, pairs))
    plain, chat = (prepare("wmdp_bio", wmdp, fit=0, chat_template=value) for value in (False, True))
    without, rows = evaluate(model, chatting, plain), evaluate(model, chatting, chat)
    assert {context.count(0) for context, _ in seen} == {1}, "the start token stands there once"
    assert chatting.decode(seen[-1][0]).startswith("<s>[system]The following are") and "[a]" in chatting.decode(
        seen[-1][0]
    )
    _, responses = stock(model, chatting, "wmdp/wmdp_bio.yaml", sorted(wmdp.glob("wmdp-bio/*")), chat=True)
    scores = [score for row in rows for score in row["scores"]]
    assert scores == pytest.approx([score for score, _ in responses], abs=1e-4)
    assert scores != pytest.approx([score for row in without for score in row["scores"]], abs=0.01)


def test_a_template_that_knows_no_system_message_does_without(chatting, model, monkeypatch):
    refusing = "{% if m.role == 'system' %}{{ raise_exception('no') }}{% endif %}"
    strict = "{% for m in messages %}" + refusing + "{{ m.content }}{% endfor %}"
    monkeypatch.setattr(chatting, "chat_template", strict)
    talk = [{"role": "system", "content": "Be kind."}, {"role": "user", "content": "Hello"}]
    assert IntervenedLM(model, chatting).apply_chat_template(talk) == "Hello"


@pytest.mark.parametrize(
    ("template", "said"),
    [
        ("{% for m in messages %}{{ m.content }}", "TemplateSyntaxError"),
        ("{{ messages[9].content }}", "UndefinedError"),
        ("{% for m in messages %}{{ m.content + 1 }}{% endfor %}", "TypeError"),
        ("{{ raise_exception('never') }}", "never"),
        ("{{ ''.__class__.__mro__ }}", "SecurityError"),
        ("[a]", "leaves out what the user says"),
    ],
)
def test_a_chat_template_that_writes_no_question_is_one_sentence(chatting, model, monkeypatch, template, said):
    monkeypatch.setattr(chatting, "chat_template", template)
    with pytest.raises(UserError, match=rf"chat template of .* cannot write a question .*{said}") as caught:
        IntervenedLM(model, chatting).apply_chat_template([{"role": "user", "content": "Hello"}])
    assert "\n" not in str(caught.value)


def test_a_tokenizer_without_chat_template_is_refused(model, by_byte, wmdp, prepare):
    benchmark = prepare("wmdp_bio", wmdp, fit=0, chat_template=True)
    with pytest.raises(UserError, match=r"benchmarks.wmdp_bio asks for a chat template, which .* does not have"):
        evaluate(model, by_byte, benchmark)


def test_definitions_are_read_once_for_many_clearings(model, by_byte, wmdp, prepare, monkeypatch):
    calls, benchmark = [], prepare("wmdp_bio", wmdp)
    monkeypatch.setattr(evaluation, "definitions", lambda name: calls.append(name) or harness.definitions(name))
    rows = evaluate_clearings(Run(model, by_byte), [(NONE, [benchmark])] * 3, "test")
    assert calls == ["wmdp_bio"] * 2 and len(rows) == 3 * len({row["id"] for row in rows})


# -- texts of a study are no templates

RENDERED = "{{ cycler.__init__.__globals__.os.popen('touch %s').read() }}"
LITERAL = [
    RENDERED, "Set {#1} and {{x}}, {% for %}, {% raw %}", "question", "choices", "answer", "before", "asked", "{{", "7",
    "two\nlines\n\n", "{{ question }} ", "-1 \\ \" ' \u2028 é 🜁",
]  # fmt: skip


@pytest.mark.parametrize("scoring", ["continuation", "letter"])
@pytest.mark.parametrize("text", LITERAL)
def test_no_text_of_a_study_or_its_rows_is_a_template(tmp_path, scoring, text):
    text = text % (tmp_path / "pwned") if "%s" in text else text
    row = {"id": text, "unit": text, "split": "test", "question": text, "choices": [text, f"not {text}"], "answer": 1}
    [row] = rows_of(
        {"source": "file", "kind": "questions", "scoring": scoring}, own_file([row], tmp_path / "own.jsonl").path
    )
    task = harness.own_task(text, scoring, text, [{text: text} | row], "acc")
    task.build_all_requests()
    options = row["choices"] if scoring == "continuation" else ["A", "B"]
    listed = f"{text.strip()}\nA. {text}\nB. not {text}\nAnswer:"
    before = f"{text}{text if scoring == 'continuation' else listed}"
    assert [request.args for request in task.instances] == [(before, f" {option}") for option in options]
    assert not (tmp_path / "pwned").exists()


def test_a_template_would_have_been_rendered(tmp_path):
    """What the harness does with the same text as a description, so that the test above shows something."""
    definition = {"task": "own", "output_type": "multiple_choice", "doc_to_text": "q", "doc_to_choice": "c"}
    definition |= {"doc_to_target": "a", "description": RENDERED % (tmp_path / "pwned")}
    harness.LocalTask(definition, [{"q": "?", "c": ["x", "y"], "a": 0}], "acc").build_all_requests()
    assert (tmp_path / "pwned").exists()


def test_the_description_comes_before_as_the_harness_puts_it(model, by_byte, asked, tmp_path):
    about = "About {domain}, in two lines.\n\n"
    own = own_file(asked, tmp_path / "own.jsonl", scoring="letter", description=about)
    definition = {"task": "own", "output_type": "multiple_choice", "doc_to_text": harness._listed}
    definition |= {"doc_to_choice": ["A", "B", "C", "D"], "doc_to_target": "answer", "description": about}
    theirs = harness.LocalTask(definition, asked, "acc")
    theirs.build_all_requests()
    scores = [score for score, _ in IntervenedLM(model, by_byte).loglikelihood(theirs.instances)]
    assert [score for row in evaluate(model, by_byte, own) for score in row["scores"]] == scores


# -- documents that a task cannot ask


def test_documents_of_another_data_set_are_refused_with_their_place(store, asked):
    rows = [{"text": "one"}]
    with pytest.raises(UserError, match=r"wmdp-bio/test-0.parquet of the data set \S+, row 0 .* can ask .* cais/wmdp"):
        harness.rows("questions", SETTINGS | {"task": "wmdp_bio"}, store({"wmdp-bio/test-0.parquet": rows}))


def test_a_document_that_a_task_cannot_ask_is_refused_with_its_place(store):
    good = HELLASWAG[0]
    for odd, said in (
        (
            good | {"endings": ["one", "", "two", "three"]},
            r"validation-1.parquet of the data set \S+, row 1 .*option ''",
        ),
        (good | {"label": "x"}, r"A row of validation-0.parquet or a file beside it, .* 'x'"),
    ):
        folder = store({"data/validation-0.parquet": [good, good], "data/validation-1.parquet": [good, odd]})
        with pytest.raises(UserError, match=said):
            harness.rows("questions", SETTINGS | {"task": "hellaswag"}, folder)


def test_a_document_whose_right_option_stands_twice_is_left_out(store, capsys):
    ends = ["one", "two", "one", "three"]
    rows = [HELLASWAG[0] | {"ctx_a": f"Case {n}.", "endings": ends, "label": str(n % 4)} for n in range(8)]
    folder = store({"data/validation-0.parquet": rows})
    kept = harness.rows("questions", SETTINGS | {"task": "hellaswag", "fit": 0}, folder)
    assert [row["document"]["label"] for row in kept] == ["1", "3", "1", "3"]
    assert "4 documents" in capsys.readouterr().out


def test_a_file_of_documents_that_cannot_be_read_is_refused(tmp_path):
    for name, content, said in (
        ("test-0.parquet", b"PAR1 not really", "cannot be read"),
        ("test-0.jsonl", b'{"question": "?"}\n[1]\n', "line 2 is not one JSON object"),
        ("test-0.jsonl", b'{"a": 1}\n{"a": "x"}\n', "cannot be read"),
        ("test-0.jsonl", b"\n", "finds no rows"),
    ):
        path = tmp_path / name.replace(".", "-") / "wmdp-bio" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        with pytest.raises(UserError, match=said) as caught:
            harness.rows("questions", SETTINGS | {"task": "wmdp_bio"}, path.parents[1])
        assert f"wmdp-bio/{name}" in str(caught.value)


def test_a_task_without_a_question_to_report_is_refused(store, asked):
    one = next(row for row in asked if texts.split_of(row["question"], 0.25) == "fit")
    with pytest.raises(UserError, match="no question of the task 'wmdp_bio' in the split 'test'"):
        harness.rows("questions", SETTINGS | {"task": "wmdp_bio"}, store({"wmdp-bio/test-0.parquet": [one]}))
