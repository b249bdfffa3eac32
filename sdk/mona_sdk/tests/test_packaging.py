"""What is shipped: weight, import, types, distributions (Q42, Q43)."""

from __future__ import annotations

import ast
import asyncio
import inspect
import json
import os
import re
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import mona_sdk
from mona_sdk import AsyncClient, Client
from mona_sdk.testing import FakeServer
from mona_sdk.tests import typed_example

PACKAGE = Path(mona_sdk.__file__).parent
FOLDER = PACKAGE.parent
SOURCES = sorted(PACKAGE.rglob("*.py"))
SHIPPED = [path for path in SOURCES if "tests" not in path.parts]


def run(*arguments: str, **options: Any) -> Any:
    """Run a program and give its output."""
    done = subprocess.run(arguments, capture_output=True, text=True, check=False, **options)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_import_is_light(tmp_path: Path) -> None:
    """Nothing is loaded that the first call does not need yet; how long it takes is measured in benchmarks/sdk."""
    code = "import json, sys\nbefore = set(sys.modules)\nimport mona_sdk\nprint(json.dumps([*{*sys.modules} - before]))"
    environment = {**os.environ, "PYTHONPATH": str(FOLDER)}
    modules = set(json.loads(run(sys.executable, "-c", code, env=environment, cwd=tmp_path)))
    assert "mona_sdk.client" in modules
    assert len([name for name in modules if not name.startswith(("mona_sdk", "orjson"))]) <= 60
    for heavy in ("urllib3", "asyncio", "http.client", "email", "ssl", "numpy", "pandas", "polars", "pyarrow"):
        assert heavy not in modules


def test_weight_and_dependencies() -> None:
    """One required package, at most 2 MiB, and a marker of types."""
    assert sum(path.stat().st_size for path in SHIPPED) <= 2 << 20
    assert (PACKAGE / "py.typed").exists()
    text = (FOLDER / "pyproject.toml").read_text()
    assert re.search(r'^dependencies = \["urllib3>=1\.26"\]$', text, re.MULTILINE)
    assert re.search(r'^requires-python = ">=3\.9"$', text, re.MULTILINE)


@pytest.mark.parametrize("minor", [9, 10, 11, 12, 13, 14])
def test_syntax_is_that_of_every_supported_python(minor: int) -> None:
    """3.9 to 3.14, tests included."""
    for path in SOURCES:
        ast.parse(path.read_text(), filename=str(path), feature_version=(3, minor))


def test_files_are_short() -> None:
    """None above 400 lines without a reason, written at its top."""
    for path in SOURCES:
        lines = path.read_text().splitlines()
        if len(lines) > 400:
            assert any("400 lines" in line for line in lines[:20]), f"{path.name} has {len(lines)} lines"


def test_everything_public_is_documented() -> None:
    """Every public function and class has a docstring."""
    for path in SHIPPED:
        for node in _public(ast.parse(path.read_text()).body):
            assert ast.get_docstring(node), f"{path.name}: {node.name}"


def _public(body: list[ast.stmt]) -> Iterator[Any]:
    """Public functions and classes of a module, and public methods of these classes."""
    for node in body:
        if isinstance(node, (ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)) and not node.name.startswith("_"):
            yield node
            if isinstance(node, ast.ClassDef):
                yield from _public(node.body)


def test_every_public_signature_is_annotated() -> None:
    """Of both clients."""
    for owner in (Client, AsyncClient):
        for name, member in inspect.getmembers(owner, inspect.isfunction):
            if not name.startswith("_"):
                assert "return" in member.__annotations__, name


def test_the_typed_example_is_right() -> None:
    """By `mypy --strict`, against the shipped types."""
    example = str(PACKAGE / "tests" / "typed_example.py")
    run(sys.executable, "-m", "mypy", "--strict", example, cwd=FOLDER.parent)


def test_the_typed_example_is_right_for_pyright_too(tmp_path: Path) -> None:
    """In its strict mode, against the shipped types; the additional rules of basedpyright are off."""
    example = PACKAGE / "tests" / "typed_example.py"
    settings = {"include": [str(example)], "extraPaths": [str(FOLDER)], "typeCheckingMode": "strict"}
    (tmp_path / "pyrightconfig.json").write_text(json.dumps(settings))
    run(sys.executable, "-m", "basedpyright", "--project", str(tmp_path), "--pythonpath", sys.executable, cwd=tmp_path)
    settings["include"] = [str(tmp_path / "wrong.py")]
    (tmp_path / "wrong.py").write_text("from mona_sdk import Client\n\nClient('key', 'secret').export(5)\n")
    (tmp_path / "pyrightconfig.json").write_text(json.dumps(settings))
    with pytest.raises(AssertionError, match="reportArgumentType"):
        run(sys.executable, "-m", "basedpyright", "--project", str(tmp_path), "--pythonpath", sys.executable)


def test_the_typed_example_runs() -> None:
    """It is no decoration."""
    assert typed_example.tested() == [{"amount": 12}, {"amount": 12}]
    with FakeServer():
        client = AsyncClient("key", "secret", server_url="http://mona.test")
        assert asyncio.run(typed_example.asynchronous(client)) > 0


@pytest.mark.slow
def test_distributions_install_into_a_clean_environment(tmp_path: Path) -> None:
    """The sdist holds the tests, the wheel only the package; neither holds compiled files; both work."""
    source = tmp_path / "source"
    run("cp", "-r", str(FOLDER), str(source))
    run(sys.executable, "-m", "build", "--outdir", str(tmp_path / "dist"), str(source))
    (sdist,) = (tmp_path / "dist").glob("*.tar.gz")
    (wheel,) = (tmp_path / "dist").glob("*.whl")
    with tarfile.open(sdist) as archive:
        inside = archive.getnames()
    assert any(name.endswith("mona_sdk/tests/client_tests.py") for name in inside)
    assert any(name.endswith("mona_sdk/tests/REQUIREMENTS.md") for name in inside)
    with zipfile.ZipFile(wheel) as packed:
        names = packed.namelist()
        metadata = packed.read(next(name for name in names if name.endswith("METADATA"))).decode()
    assert "mona_sdk/py.typed" in names
    assert not [name for name in (*inside, *names) if name.endswith((".pyc", ".so")) or "__pycache__" in name]
    assert not [name for name in names if "/tests/" in name]
    assert re.findall(r"^Requires-Dist: ([^;\n]*)$", metadata, re.MULTILINE) == ["urllib3>=1.26"]
    python = tmp_path / "venv" / "bin" / "python"
    run(sys.executable, "-m", "venv", str(tmp_path / "venv"))
    for distribution in (wheel, sdist):
        run(str(python), "-m", "pip", "install", "-q", "--force-reinstall", str(distribution))
        run(
            str(python),
            "-c",
            "import mona_sdk; from mona_sdk import AsyncClient; mona_sdk.Client('k', 's')",
            cwd=tmp_path,
        )
    with tarfile.open(sdist) as archive:
        archive.extractall(tmp_path / "unpacked", filter="data")
    (unpacked,) = (tmp_path / "unpacked").iterdir()
    run(str(python), "-m", "unittest", "mona_sdk/tests/client_tests.py", cwd=unpacked, env={})
