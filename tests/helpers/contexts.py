"""The JSON-LD contexts that the validator of RO-Crates would fetch, put into its cache: tests reach no network."""

import io
import json
from importlib.resources import files
from pathlib import Path

import urllib3
from requests import PreparedRequest, Response
from requests.adapters import HTTPAdapter
from requests_cache import CachedSession

HERE = "https://w3id.org/ro/"
TERMS = "https://w3id.org/ro/terms/workflow-run"


def contexts() -> dict[str, dict]:
    """{address: terms}; ro-crate-py has those of RO-Crate 1.3.

    Of the terms of a crate of ours, all but these two were found to mean the same in the published context of 1.1.
    """
    bundled = json.loads(files("rocrate").joinpath("data/ro-crate.jsonld").read_text(encoding="utf-8"))["@context"]
    older = bundled | {"ComputationalWorkflow": "https://bioschemas.org/ComputationalWorkflow"}
    del older["sha256"]  # which 1.1 does not have
    return {f"{HERE}crate/1.1/context": older, f"{TERMS}/context": {"sha256": f"{TERMS}#sha256"}}


class Shelf(HTTPAdapter):
    """Answers with those contexts, and to nothing else."""

    def send(self, request: PreparedRequest, **_) -> Response:
        body = json.dumps({"@context": contexts()[request.url]}).encode()
        raw = urllib3.HTTPResponse(
            io.BytesIO(body), {"Content-Type": "application/ld+json"}, 200, preload_content=False
        )
        return self.build_response(request, raw)


def fill(cache: Path) -> Path:
    """Put the contexts into a cache of the validator."""
    with CachedSession(cache_name=str(cache), backend="sqlite") as session:
        session.mount(HERE, Shelf())
        for address in contexts():
            session.get(address)
    return cache
