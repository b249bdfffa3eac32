"""The environments of both clients, made once in a cache folder: the newest public client, and ours twice.

The public one is installed from the registry into an environment of its own and run as a black box.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
CACHE = ROOT / ".cache" / "bench-sdk"
PUBLIC = "mona_sdk==0.0.58"


def environments() -> dict[str, Path]:
    """Name → Python: `public`, `ours` (with orjson), `ours plain` (urllib3 only), `here` (with everything)."""
    sdk = f"{ROOT / 'sdk'}"
    wanted = {"public": [PUBLIC], "ours": [f"{sdk}[fast]"], "ours plain": [sdk]}
    made = {name: _environment(name, requirements) for name, requirements in wanted.items()}
    # Tables need pandas, polars and pyarrow, which are in the environment that runs this.
    return {**made, "here": Path(sys.executable)}


def _environment(name: str, requirements: list[str]) -> Path:
    folder = CACHE / name.replace(" ", "-")
    python = folder / "bin" / "python"
    if not python.exists():
        subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
    # Ours again each time, as it changes; the public one is there after the first time.
    pip = [str(python), "-m", "pip", "install", "-q", "--disable-pip-version-check"]
    if name != "public" or not (folder / ".installed").exists():
        constraints = ["-c", str(ROOT / "constraints.txt")]
        subprocess.run([*pip, *constraints, *requirements], check=True)
        if name != "public":
            subprocess.run([*pip, "--force-reinstall", "--no-deps", str(ROOT / "sdk")], check=True)
        (folder / ".installed").touch()
    return python
