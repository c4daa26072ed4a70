"""What a script imports, in shares of the processor time of `import torch`: a job pays it before it begins."""

import ast
import os
import subprocess
import sys
from functools import cache

import pytest
from helpers.checkout import ROOT

# Measured: 0.04 to 0.3 without torch, 1.2 with torch alone (fit_junk), 2.8 to 3.4 with transformers, of which
# `transformers.modeling_utils`, that every model needs, is 1.9 (it loads torch.distributed and scipy.optimize). On a
# machine that others use the shares vary by a third.
LIMITS = {"generate_world": 0.15, "gather_tables": 0.6, "fit_junk": 1.6, "unlearn": 5.0}
REST = {
    **dict.fromkeys(("download_package", "download_model", "download_dataset", "convert_model"), 0.4),
    **dict.fromkeys(("prepare_task", "prepare_texts", "gather_measures", "choose_setting"), 1.2),
    **dict.fromkeys(("render_index", "render_explorer", "render_report"), 2.5),
    **dict.fromkeys(("analyse_weights", "collect_activations", "complete_prompts", "compute_prefix"), 5.0),
    **dict.fromkeys(("evaluate", "export_model", "measure_depth", "pretrain_model"), 5.0),
    **dict.fromkeys(("relearn", "measure_perturbations", "score_depth", "trace_emergence", "try_setting"), 5.0),
}


def processor_seconds(code: str) -> float:
    """What a process takes that runs some code."""
    command = [sys.executable, "-c", f"{code}\nimport os\nprint(sum(os.times()[:2]))"]
    environment = os.environ | {"PYTHONPATH": str(ROOT / "src"), "MPLBACKEND": "agg"}
    return float(subprocess.run(command, env=environment, check=True, capture_output=True, text=True).stdout)


@cache
def torch_alone() -> float:
    """Seconds of `import torch`."""
    return processor_seconds("import torch")


@pytest.mark.parametrize(
    ("script", "limit"), [*LIMITS.items(), *(pytest.param(*pair, marks=pytest.mark.long) for pair in REST.items())]
)
def test_a_script_imports_little_that_it_does_not_use(script, limit):
    tree = ast.parse((ROOT / f"workflow/scripts/{script}.py").read_text())
    code = "\n".join(ast.unparse(node) for node in tree.body if isinstance(node, ast.Import | ast.ImportFrom))
    assert processor_seconds(code) < limit * torch_alone()


def test_every_script_has_a_limit():
    assert {path.stem for path in (ROOT / "workflow/scripts").glob("*.py")} == {*LIMITS, *REST}
