"""One file out of a pinned distribution, without a network: pip finds wheels and sdists made here."""

import io
import itertools
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

from overpaint.downloads import packages
from overpaint.downloads.packages import download_package, file_sha256
from overpaint.errors import UserError
from overpaint.jobs import telling

CONTENTS = b"forty-two\n" * 1000


def make_wheel(
    folder: Path, name: str = "demo_data", version: str = "1.0", compression: int = zipfile.ZIP_STORED
) -> Path:
    """A wheel that holds one data file."""
    info = f"{name}-{version}.dist-info"
    files = {
        f"{name}/data.txt": CONTENTS,
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n".encode(),
        f"{info}/WHEEL": b"Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    files[f"{info}/RECORD"] = "".join(f"{file},,\n" for file in files).encode()
    wheel = folder / f"{name}-{version}-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w", compression) as archive:
        for file, data in files.items():
            archive.writestr(file, data)
    return wheel


def make_sdist(folder: Path, witness: Path) -> Path:
    """An sdist whose build writes the file `witness`: it tells whether its code was run."""
    backend = (
        "import pathlib\n"
        f"pathlib.Path({str(witness)!r}).write_text('ran')\n"
        "def prepare_metadata_for_build_wheel(folder, config_settings=None):\n"
        "    info = pathlib.Path(folder) / 'demo_source-1.0.dist-info'\n"
        "    info.mkdir()\n"
        "    (info / 'METADATA').write_text('Metadata-Version: 2.1\\nName: demo-source\\nVersion: 1.0\\n')\n"
        "    return info.name\n"
        "def build_wheel(*args, **kwargs):\n"
        "    raise RuntimeError('not needed')\n"
    )
    project = '[build-system]\nrequires = []\nbuild-backend = "backend"\nbackend-path = ["."]\n'
    metadata = "Metadata-Version: 2.1\nName: demo-source\nVersion: 1.0\n"
    sdist = folder / "demo_source-1.0.tar.gz"
    with tarfile.open(sdist, "w:gz") as archive:
        for name, text in {"backend.py": backend, "pyproject.toml": project, "PKG-INFO": metadata}.items():
            entry = tarfile.TarInfo(f"demo_source-1.0/{name}")
            entry.size = len(text)
            archive.addfile(entry, io.BytesIO(text.encode()))
    return sdist


@pytest.fixture(scope="module")
def registry(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("registry")
    make_wheel(folder)
    make_sdist(folder, folder / "witness")
    return folder


@pytest.fixture(autouse=True)
def offline(registry: Path, monkeypatch):
    """pip sees this folder and nothing else; waiting takes no time."""
    monkeypatch.setenv("PIP_FIND_LINKS", str(registry))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_NO_CACHE_DIR", "1")
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    monkeypatch.setattr(packages.time, "sleep", lambda seconds: None)


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return tmp_path / "downloads" / "data.txt"


def wheel_hash(registry: Path) -> str:
    return file_sha256(registry / "demo_data-1.0-py3-none-any.whl")


def left_behind(target: Path) -> list[str]:
    return sorted(path.name for path in target.parent.iterdir())


def test_the_right_hash_gives_the_member_and_nothing_else(registry: Path, target: Path):
    download_package("demo-data", "1.0", wheel_hash(registry), "demo_data/data.txt", target)
    assert target.read_bytes() == CONTENTS
    assert left_behind(target) == ["data.txt"]


def test_a_wrong_hash_is_refused_and_leaves_nothing(registry: Path, target: Path):
    with pytest.raises(UserError) as error:
        download_package("demo-data", "1.0", "0" * 64, "demo_data/data.txt", target)
    assert all(part in str(error.value) for part in ("demo-data==1.0", "0" * 64, wheel_hash(registry)))
    assert left_behind(target) == []


def test_a_file_that_pip_let_through_is_checked_again(registry: Path, target: Path, monkeypatch):
    def careless_pip(command: list[str]) -> subprocess.CompletedProcess:
        folder = Path(command[command.index("--dest") + 1])
        folder.mkdir()
        make_wheel(folder, version="2.0")
        return subprocess.CompletedProcess(command, 0, "", "")

    monkeypatch.setattr(packages, "_run", careless_pip)
    with pytest.raises(UserError, match=wheel_hash(registry)):
        download_package("demo-data", "1.0", wheel_hash(registry), "demo_data/data.txt", target)
    assert left_behind(target) == []


def test_a_failure_keeps_the_older_file(registry: Path, target: Path):
    target.parent.mkdir()
    target.write_text("older")
    with pytest.raises(UserError):
        download_package("demo-data", "1.0", "0" * 64, "demo_data/data.txt", target)
    assert target.read_text() == "older"
    download_package("demo-data", "1.0", wheel_hash(registry), "demo_data/data.txt", target)
    assert target.read_bytes() == CONTENTS


def test_an_absent_member_names_what_is_there(registry: Path, target: Path):
    with pytest.raises(UserError, match=r"demo_data/absent\.txt.*demo_data/data\.txt"):
        download_package("demo-data", "1.0", wheel_hash(registry), "demo_data/absent.txt", target)
    assert left_behind(target) == []


def test_an_unknown_package_gives_pips_last_line(target: Path):
    with pytest.raises(UserError, match="No matching distribution found for demo-nothing==1.0"):
        download_package("demo-nothing", "1.0", "0" * 64, "x", target)
    assert left_behind(target) == []


@pytest.mark.parametrize("pin", [("-r", "1.0", "0" * 64), ("demo", "1.0 --pre", "0" * 64), ("demo", "1.0", "0")])
def test_a_malformed_pin_never_reaches_pip(pin: tuple[str, str, str], target: Path, monkeypatch):
    monkeypatch.setattr(packages, "_run", lambda command: pytest.fail("pip was called"))
    with pytest.raises(UserError, match="malformed"):
        download_package(*pin, "x", target)


def test_an_sdist_is_refused_and_none_of_its_code_runs(registry: Path, target: Path):
    sha256, witness = file_sha256(registry / "demo_source-1.0.tar.gz"), registry / "witness"
    with pytest.raises(UserError, match="that it has a wheel"):
        download_package("demo-source", "1.0", sha256, "demo_source-1.0/PKG-INFO", target)
    assert not witness.exists() and left_behind(target) == []
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--dest", str(target.parent), "demo-source==1.0"]
    subprocess.run(command, check=True, capture_output=True)
    assert witness.exists(), "the control: pip by itself runs this archive's code"


def test_settings_of_pip_do_not_bring_an_sdist_back(registry: Path, target: Path, monkeypatch):
    make_sdist(registry, registry / "second")
    monkeypatch.setenv("PIP_NO_BINARY", "demo-source")
    monkeypatch.setenv("PIP_PREFER_BINARY", "0")
    with pytest.raises(UserError, match="that it has a wheel"):
        download_package(
            "demo-source", "1.0", file_sha256(registry / "demo_source-1.0.tar.gz"), "demo_source-1.0/PKG-INFO", target
        )
    assert not (registry / "second").exists()


@pytest.mark.parametrize("flag", ["encrypted", "method", "damaged"])
def test_a_wheel_that_cannot_be_read_is_one_sentence(flag: str, tmp_path: Path, target: Path, monkeypatch):
    wheel = make_wheel(tmp_path, compression=zipfile.ZIP_DEFLATED)
    content = bytearray(wheel.read_bytes())
    central = content.index(b"PK\1\2")
    if flag == "damaged":
        content[60:90] = bytes(30)
    for start in (0, central):
        offset = {"encrypted": 6, "method": 8, "damaged": 6}[flag] + (2 if start else 0)
        content[start + offset] |= {"encrypted": 1, "method": 93, "damaged": 0}[flag]
    wheel.write_bytes(content)
    monkeypatch.setattr(packages, "_fetch", lambda *rest: wheel)
    with pytest.raises(UserError, match="cannot be read"):
        download_package("demo-data", "1.0", file_sha256(wheel), "demo_data/data.txt", target)
    assert left_behind(target) == []


def test_pip_is_asked_how_far_it_is_and_what_it_says_of_errors_is_kept(monkeypatch, capsys):
    monkeypatch.setattr(telling.time, "monotonic", itertools.count(0, 10).__next__)
    code = "import sys; print('Collecting', 'Progress 5000 of 20000', sep='\\n'); sys.exit('ERROR: no')"
    pip = packages._run([sys.executable, "-c", code])
    assert (pip.returncode, pip.stderr) == (1, "ERROR: no\n") and capsys.readouterr().err == "received: 5 of 20 kB\n"


@pytest.mark.parametrize(
    ("failures", "stderr", "tries"),
    [
        (1, "WARNING: Retrying (Retry(total=4)) after connection broken by 'ReadTimeoutError'", 2),
        (9, "WARNING: Retrying (Retry(total=4))\nERROR: No matching distribution found for demo-data", 3),
        (9, "ERROR: Could not install packages due to an OSError: no space left on device", 1),
    ],
)
def test_only_network_failures_are_tried_again(failures, stderr, tries, registry, target, monkeypatch):
    calls, real = [], packages._run

    def run(command):
        calls.append(command)
        return subprocess.CompletedProcess(command, 1, "", stderr) if len(calls) <= failures else real(command)

    monkeypatch.setattr(packages, "_run", run)
    arguments = ("demo-data", "1.0", wheel_hash(registry), "demo_data/data.txt", target)
    if failures < tries:
        download_package(*arguments)
        assert target.read_bytes() == CONTENTS
    else:
        with pytest.raises(UserError, match="pip could not download"):
            download_package(*arguments)
    assert len(calls) == tries
