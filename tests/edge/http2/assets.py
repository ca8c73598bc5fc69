"""Builds what `make test-http2` tries our HTTP/2 with (needs Go): h2spec, an independent conformance suite for servers,
and a client of Go's own gRPC."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from tests.kube.assets import Missing, Module, build, download, go

CLIENT = Path(__file__).with_name("goclient")
H2SPEC = Module(
    "github.com/summerwind/h2spec", "v2.2.1+incompatible", "h1:Ex8kpG4LjIeudEtfbM892Os2PawIZBsEvukHJcvZHho="
)
# It pins nothing that it needs.
NEEDS = {"golang.org/x/net": "v0.62.0", "github.com/spf13/cobra": "v1.10.2", "github.com/fatih/color": "v1.19.0"}


def main(folder: Path) -> None:
    """`h2spec` and `goclient` in this folder."""
    folder.mkdir(parents=True, exist_ok=True)
    build(folder.absolute(), "goclient", cwd=CLIENT, packages=(".",))
    download(H2SPEC)
    with tempfile.TemporaryDirectory() as name:
        module = Path(name)
        go("mod", "init", "tool", cwd=module)
        for path, version in {H2SPEC.path: H2SPEC.version, **NEEDS}.items():
            go("mod", "edit", f"-require={path}@{version}", cwd=module)
        build(folder.absolute(), "h2spec", cwd=module, packages=("-mod=mod", f"{H2SPEC.path}/cmd/h2spec"))


if __name__ == "__main__":
    try:
        main(Path(sys.argv[1]))
    except Missing as missing:
        sys.exit(f"http2 assets: {missing}")
