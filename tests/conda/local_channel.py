"""Make a conda channel on disk that can serve environment files: `local_channel.py HOME CONSTRAINTS FILE...`.

`python` is the interpreter that runs this, without its packages. Everything else comes from wheels, at the versions of
the constraints: each becomes one conda package, under conda-forge's name where an environment file lists it.
"""

import compileall
import configparser
import email.parser
import hashlib
import json
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import tomllib
import zipfile
from collections import defaultdict
from collections.abc import Iterable
from email.message import Message
from pathlib import Path
from py_compile import PycInvalidationMode

from conda_package_streaming.create import conda_builder
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

VERSION = ".".join(map(str, sys.version_info[:3]))
MINOR, NEXT = (f"{sys.version_info[0]}.{sys.version_info[1] + step}" for step in (0, 1))
SUBDIR = "linux-64"
SITE = f"lib/python{MINOR}/site-packages"
# In scripts, for the path of the environment that conda puts them into.
PLACEHOLDER = "/placeholder_of_the_prefix"
SETTINGS = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["tool"]["overpaint"]["conda"]
CONDA_NAMES = SETTINGS["names"] | {"tzdata": "python-tzdata"}  # conda's own tzdata is not a Python package
WHEEL_NAMES = {conda: wheel for wheel, conda in CONDA_NAMES.items()}
SCRIPT = """\
#!{prefix}/bin/python
import sys

from {module} import {first}

if __name__ == "__main__":
    sys.exit({function}())
"""


def main() -> None:
    """Make HOME/channels/conda-forge, with what the environment files need."""
    home, constraints, *files = map(Path, sys.argv[1:])
    channel = home / "channels/conda-forge"
    pack_python(channel)
    with tempfile.TemporaryDirectory(dir=home) as wheels:
        pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "wheel", "--quiet"]
        pip += ["--constraint", constraints, "--wheel-dir", wheels]
        subprocess.run([*pip, *map(requirement, pins(files))], check=True)
        described = {wheel: read_metadata(wheel) for wheel in sorted(Path(wheels).glob("*.whl"))}
        extras = requested_extras(described.values())
        for wheel, metadata in described.items():
            pack_wheel(channel, wheel, metadata, extras)
    (channel / "noarch").mkdir(exist_ok=True)
    subprocess.run([sys.executable, "-m", "conda_index", "--no-update-only", channel], check=True, capture_output=True)


def pins(files: list[Path]) -> list[str]:
    """`name=version` of everything that the environment files list but Python, which the interpreter serves."""
    listed = {pin for path in files for pin in re.findall(r"^  - (\S+=\S+)$", path.read_text(), re.MULTILINE)}
    return sorted(pin for pin in listed if not pin.startswith("python="))


def requirement(pin: str) -> str:
    """A line of an environment file as a requirement for pip."""
    name, version = pin.split("=")
    return f"{WHEEL_NAMES.get(name, name)}=={version}"


def pack_python(channel: Path) -> None:
    """The interpreter: its executable, shared library, headers and standard library, made to find each other."""
    base = Path(sys.base_prefix)
    skipped = ["__pycache__", "site-packages", "test", "tests", "idlelib", "turtledemo", "lib2to3", "ensurepip"]
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        library = root / f"lib/python{MINOR}"
        shutil.copytree(
            base / f"lib/python{MINOR}",
            library,
            symlinks=True,
            ignore=shutil.ignore_patterns(*skipped, f"config-{MINOR}*"),
        )
        (root / SITE).mkdir()
        (root / SITE / "README.txt").write_text("Packages of this environment.\n")
        if (base / f"include/python{MINOR}").is_dir():
            shutil.copytree(base / f"include/python{MINOR}", root / f"include/python{MINOR}")
        (root / "bin").mkdir()
        executable = Path(shutil.copy2(base / f"bin/python{MINOR}", root / "bin"))
        for name in ("python", "python3"):
            (root / "bin" / name).symlink_to(executable.name)
        set_library_path(executable, "$ORIGIN/../lib")
        for path in (base / "lib").glob("libpython*.so*"):
            copy = Path(shutil.copy2(path, root / "lib", follow_symlinks=False))
            if not copy.is_symlink():
                set_library_path(copy, "$ORIGIN")
        compile_all(library)
        write_package(channel, "python", VERSION, ["__linux"], root)


def set_library_path(binary: Path, path: str) -> None:
    """Make a binary look for shared libraries relative to itself, and drop its debugging symbols."""
    subprocess.run(["patchelf", "--set-rpath", path, binary], check=True)
    if shutil.which("strip"):
        subprocess.run(["strip", "--strip-unneeded", binary], check=True)


def pack_wheel(channel: Path, wheel: Path, metadata: Message, extras: dict[str, set[str]]) -> None:
    """One wheel, installed as pip would, as a package."""
    name, version = conda_name(metadata["Name"]), metadata["Version"].split("+")[0]
    with tempfile.TemporaryDirectory() as folder:
        source, root = Path(folder, "wheel"), Path(folder, "package")
        with zipfile.ZipFile(wheel) as archive:
            extract(archive, source)
        install(source, root, next(source.glob("*.dist-info")))
        write_package(channel, name, version, dependencies(metadata, extras.get(name, set())), root)


def read_metadata(wheel: Path) -> Message:
    """What a wheel says of itself."""
    with zipfile.ZipFile(wheel) as archive:
        (name,) = [name for name in archive.namelist() if re.fullmatch(r"[^/]+\.dist-info/METADATA", name)]
        return email.parser.Parser().parsestr(archive.read(name).decode())


def requested_extras(described: Iterable[Message]) -> dict[str, set[str]]:
    """{package: extras that any other package asks for}: conda has none, so a package comes with all of these."""
    found = defaultdict(set)
    for metadata in described:
        for requirement in map(Requirement, metadata.get_all("Requires-Dist") or []):
            if requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
                found[conda_name(requirement.name)] |= requirement.extras
    return found


def conda_name(name: str) -> str:
    """A Python package's name in the channel."""
    return CONDA_NAMES.get(canonicalize_name(name), canonicalize_name(name))


def extract(archive: zipfile.ZipFile, folder: Path) -> None:
    """Unpack with the permission to execute, which zipfile drops."""
    archive.extractall(folder)
    for entry in archive.infolist():
        if entry.external_attr >> 16 & 0o111 and (folder / entry.filename).is_file():
            (folder / entry.filename).chmod(0o755)


def install(source: Path, root: Path, info: Path) -> None:
    """Lay an unpacked wheel out as in an environment."""
    site, scripts = root / SITE, root / "bin"
    site.mkdir(parents=True)
    scripts.mkdir()
    places = {"purelib": site, "platlib": site, "data": root, "scripts": scripts, "headers": root / "include"}
    for data in source.glob("*.data"):
        for part in data.iterdir():
            shutil.copytree(part, places[part.name], dirs_exist_ok=True)
        shutil.rmtree(data)
    for script in scripts.iterdir():
        script.write_bytes(re.sub(rb"\A#!python\b", f"#!{PLACEHOLDER}/bin/python".encode(), script.read_bytes()))
    for name, (module, function) in entry_points(info).items():
        text = SCRIPT.format(prefix=PLACEHOLDER, module=module, first=function.split(".")[0], function=function)
        (scripts / name).write_text(text)
    for script in scripts.iterdir():
        script.chmod(0o755)
    (info / "INSTALLER").write_text("conda")
    (info / "RECORD").unlink(missing_ok=True)  # these are conda's files: pip must not remove them
    for item in source.iterdir():
        shutil.move(item, site / item.name)
    compile_all(site)


def entry_points(info: Path) -> dict[str, tuple[str, str]]:
    """{command: (module, function)} of a wheel."""
    parser = configparser.ConfigParser(delimiters=("=",), strict=False)
    parser.optionxform = str
    parser.read(info / "entry_points.txt")
    commands = dict(parser["console_scripts"]) if parser.has_section("console_scripts") else {}
    return {name: tuple(place.split("[")[0].strip().split(":")) for name, place in commands.items()}


def dependencies(metadata: Message, extras: set[str]) -> list[str]:
    """A wheel's requirements, with those of the extras, as conda writes them."""
    found = {f"python >={MINOR},<{NEXT}.0a0"}
    for requirement in map(Requirement, metadata.get_all("Requires-Dist") or []):
        if requirement.marker is None or any(requirement.marker.evaluate({"extra": e}) for e in ("", *extras)):
            specifiers = ",".join(sorted(re.sub(r"===?([^,]*)\+.*", r"==\1", str(s)) for s in requirement.specifier))
            found.add(f"{conda_name(requirement.name)} {specifiers}".strip())
    return sorted(found)


def compile_all(folder: Path) -> None:
    """Compile once here, so that conda has only to link; not checked against the sources, whose times may change."""
    compileall.compile_dir(
        folder,
        quiet=2,
        force=True,
        workers=1,
        stripdir=str(folder),
        invalidation_mode=PycInvalidationMode.UNCHECKED_HASH,
    )


def write_package(channel: Path, name: str, version: str, depends: list[str], root: Path) -> None:
    """Pack a folder as build 0 of a package."""
    index = {"name": name, "version": version, "build": "0", "build_number": 0, "subdir": SUBDIR}
    paths = [describe_file(path, root) for path in files_of(root)]
    (root / "info").mkdir()
    (root / "info/index.json").write_text(json.dumps(index | {"depends": depends}))
    (root / "info/paths.json").write_text(json.dumps({"paths": paths, "paths_version": 1}))
    place = channel / SUBDIR
    place.mkdir(parents=True, exist_ok=True)
    with conda_builder(f"{name}-{version}-0", place, compression_level=3) as archive:
        for path in files_of(root):
            archive.add(path, arcname=path.relative_to(root).as_posix(), recursive=False, filter=anonymous)


def files_of(root: Path) -> list[Path]:
    """Files and links below a folder."""
    return sorted(path for path in root.rglob("*") if path.is_symlink() or not path.is_dir())


def describe_file(path: Path, root: Path) -> dict[str, str | int]:
    """A file's entry in a package's list."""
    entry = {"_path": path.relative_to(root).as_posix()}
    if path.is_symlink():
        return entry | {"path_type": "softlink", "sha256": hashlib.sha256(path.read_bytes()).hexdigest()}
    content = path.read_bytes()
    entry |= {"path_type": "hardlink", "sha256": hashlib.sha256(content).hexdigest(), "size_in_bytes": len(content)}
    if PLACEHOLDER.encode() in content and b"\0" not in content:
        entry |= {"file_mode": "text", "prefix_placeholder": PLACEHOLDER}
    return entry


def anonymous(entry: tarfile.TarInfo) -> tarfile.TarInfo:
    """A file that belongs to nobody in particular."""
    entry.uid = entry.gid = 0
    entry.uname = entry.gname = ""
    return entry


if __name__ == "__main__":
    main()
