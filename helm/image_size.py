"""How large the content of the image is, by package, without Docker: installs what the Dockerfile installs, and counts.

    python helm/image_size.py

Needs pip and its package index. The base image comes on top; it is not counted.
"""

from __future__ import annotations

import gzip
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Iterable, Iterator
from importlib.metadata import Distribution, distributions
from pathlib import Path

ROOT = Path(__file__).parents[1]
MODELS = "onehop: models of the classifier"


def copied(dockerfile: str) -> Iterator[str]:
    """Names of the files and folders that the Dockerfile copies from the repository."""
    for words in re.findall(r"^COPY (?!--)(.+)$", dockerfile, re.MULTILINE):
        *sources, _ = words.split()
        yield from sources


def installed(source: Path, environment: Path) -> Path:
    """An environment as the image has it, of the Python that runs this; its site-packages."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", environment], check=True)
    pip = [sys.executable, "-m", "pip", "--python", str(environment / "bin" / "python"), "install", "--quiet"]
    pip += ["--no-cache-dir", "--disable-pip-version-check", "--constraint", str(source / "constraints.txt")]
    subprocess.run([*pip, f"{source}[otel]"], check=True, cwd=source)
    (packages,) = environment.glob("lib/python*/site-packages")
    return packages


def sizes(packages: Path) -> dict[str, int]:
    """Bytes by distribution; our models apart."""
    found: dict[str, int] = {}
    for distribution in distributions(path=[str(packages)]):
        name = f"{distribution.metadata['Name']} {distribution.version}"
        models = [file for file in _files(distribution) if "semantic/models/" in file.as_posix()]
        rest = [file for file in _files(distribution) if file not in models]
        found[name] = _bytes(rest)
        if models:
            found[MODELS] = _bytes(models)
    return found


def _files(distribution: Distribution) -> list[Path]:
    return [Path(str(distribution.locate_file(file))).resolve() for file in distribution.files or ()]


def _bytes(files: Iterable[Path]) -> int:
    return sum(file.stat().st_size for file in files if file.is_file())


def compressed(folder: Path, archive: Path) -> int:
    """Bytes of the folder as a layer: what a node pulls."""
    with gzip.open(archive, "wb", compresslevel=6) as stream, tarfile.open(fileobj=stream, mode="w") as tar:
        tar.add(folder, arcname="opt/onehop")
    return archive.stat().st_size


def table(rows: dict[str, int], whole: int, pulled: int) -> str:
    """The largest first."""
    megabytes = {name: size / 1e6 for name, size in sorted(rows.items(), key=lambda row: -row[1])}
    megabytes["everything else (scripts, the environment's own)"] = (whole - sum(rows.values())) / 1e6
    width = max(map(len, megabytes))
    lines = [f"{name:<{width}}  {size:8.2f} MB" for name, size in megabytes.items()]
    lines += [
        "",
        f"{'/opt/onehop':<{width}}  {whole / 1e6:8.2f} MB",
        f"{'compressed':<{width}}  {pulled / 1e6:8.2f} MB",
    ]
    return "\n".join(lines)


def main() -> None:
    """Install, count, print."""
    with tempfile.TemporaryDirectory(prefix="onehop-image-") as folder:
        source, environment = Path(folder) / "src", Path(folder) / "onehop"
        source.mkdir()
        for name in copied((ROOT / "Dockerfile").read_text()):
            whole = ROOT / name
            if whole.is_dir():
                shutil.copytree(whole, source / name, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                shutil.copy(whole, source / name)
        rows = sizes(installed(source, environment))
        total = _bytes(file for file in environment.rglob("*") if not file.is_symlink())
        pulled = compressed(environment, Path(folder) / "layer.tar.gz")
        sys.stdout.write(f"Python {sys.version.split()[0]} on {sys.platform}\n{table(rows, total, pulled)}\n")


if __name__ == "__main__":
    main()
