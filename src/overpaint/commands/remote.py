"""A model of the Hugging Face hub as an entry of the catalogue: its newest commit, its blocks, its weights."""

import json
from pathlib import Path
from typing import Any

from huggingface_hub import HfApi, hf_hub_download
from huggingface_hub.errors import HfHubHTTPError, HTTPError

from overpaint.downloads.address import check_variables, hub_address
from overpaint.errors import UserError
from overpaint.models import folders
from overpaint.study.resources import BYTES


def entry(repo: str) -> dict[str, Any]:
    """The entry of `owner/name`, at the commit that is the newest now; of the model only config.json is fetched.

    Raises UserError where the hub does not answer, or the repository has no safetensors weights or blocks.
    """
    check_variables()
    page = f"{hub_address()}/{repo}"
    try:
        info = HfApi(endpoint=hub_address()).model_info(repo, files_metadata=True)
        path = hf_hub_download(repo, "config.json", revision=info.sha, endpoint=hub_address())
        settings = json.loads(Path(path).read_text(encoding="utf-8"))
    except (HfHubHTTPError, HTTPError, OSError, ValueError) as error:
        reason = " ".join(str(error).split())[:150]
        raise UserError(f"{page} cannot be read ({reason}): check the name and, if it is gated, HF_TOKEN.") from None
    text = folders.text_config(settings)
    count = next((text[key] for key in folders.BLOCKS if key in text), None)
    size = sum(file.size or 0 for file in info.siblings or [] if file.rfilename.endswith(".safetensors"))
    if not count or not size:
        raise UserError(f"{page} has no {'safetensors weights' if count else 'number of blocks'}: take another copy.")
    saved = settings.get("dtype") or settings.get("torch_dtype")
    known = {"layers": count, "parameters": info.safetensors.total if info.safetensors else size // BYTES.get(saved, 2)}
    return {"source": "hub", "repo": repo, "revision": info.sha, **known, "dtype": dtype(settings)}


def dtype(settings: dict[str, Any]) -> str:
    """bfloat16 for a model that was saved so; float16, whose largest number a training passes, becomes float32."""
    return "bfloat16" if "bfloat16" in (settings.get("dtype"), settings.get("torch_dtype")) else "float32"
