"""The address of the hub, and the variables that huggingface_hub reads (standard library only)."""

import os
import re
from urllib.parse import urlsplit

from overpaint.errors import UserError

HUB = "https://huggingface.co"


def check_variables() -> None:
    """Raise UserError for a variable with which huggingface_hub cannot be imported, or cannot ask a hub."""
    for name in ("HF_HUB_DOWNLOAD_TIMEOUT", "HF_HUB_ETAG_TIMEOUT"):
        value = os.environ.get(name, "10").strip()
        if not re.fullmatch(r"0*[1-9][0-9]{0,5}", value):
            raise UserError(f"{name} is {value!r:.40}: give a whole number of seconds, such as 30, or leave it out.")
    if not re.fullmatch(r"[!-~]*", os.environ.get("HF_TOKEN", "").strip()):
        raise UserError("HF_TOKEN holds characters that no token has: copy it again.")
    hub_address()


def hub_address() -> str:
    """The hub's address: HF_ENDPOINT, or the one of the Hugging Face hub where that is empty."""
    address = os.environ.get("HF_ENDPOINT", "").strip().rstrip("/") or HUB
    try:
        parts = urlsplit(address)
        right = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError:  # a port or an address in brackets that is none
        right = False
    if not right or not re.fullmatch(r"[!-~]+", address) or parts.query or parts.fragment:
        shown = address.rpartition("@")[2]  # without a password
        raise UserError(f"HF_ENDPOINT is {shown!r}, no address of a hub: give one such as {HUB}, or leave it out.")
    return address
