"""Try a built wheel as a stranger would: an environment of its own, an empty folder, no repository in sight.

    python tests/package/try_wheel.py dist

Installs the wheel with its `serve` extra, renders a few videos with it, and goes through the commands of the README.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
import urllib.request
import venv
from pathlib import Path

ROOT = Path(__file__).parents[2]


def main(dist: Path) -> None:
    (wheel,) = dist.resolve().glob("*.whl")
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        venv.create(place / "venv", with_pip=True)
        python = place / "venv" / "bin" / "python"
        pip = [python, "-m", "pip", "install", "--quiet", "--constraint", ROOT / "constraints.txt"]
        subprocess.run([*pip, f"{wheel}[serve]"], check=True, stderr=subprocess.DEVNULL)
        home = place / "empty"
        home.mkdir()
        go_through(python.with_name("cfmr"), home)
    print(f"{wheel.name}: every command ran in an empty folder")


def go_through(cfmr: Path, home: Path) -> None:
    """The commands of the README, on videos that the wheel renders itself."""
    kept = {key: value for key, value in os.environ.items() if key not in ("PYTHONPATH", "CFMR_INDEX")}
    environment = kept | {"HOME": str(home), "XDG_CACHE_HOME": str(home / "cache")}

    def run(*arguments: object) -> str:
        print("  cfmr", *arguments, flush=True)
        command = [str(cfmr), *map(str, arguments)]
        return subprocess.run(command, check=True, text=True, stdout=subprocess.PIPE, cwd=home, env=environment).stdout

    assert run("--version").startswith("cfmr ")
    assert "serve" in run("-h")
    run("demo", "--videos", 10, "--out", "demo")
    assert json.loads(run("search", "a red ball", "--index", "demo/index", "--json"))["moments"]
    run("extract", "demo/videos", "--out", "features.hdf5")
    run(
        "index", "--zero-shot", "builtin", "--features", "features.hdf5", "--videos", "demo/videos", "--out", "my-index"
    )
    run("search", "an umbrella", "--index", "my-index")
    serve(cfmr, home, environment)
    assert json.loads(run("search", "an umbrella", "--in", "demo/videos", "--json"))["moments"]


def serve(cfmr: Path, home: Path, environment: dict[str, str]) -> None:
    """`cfmr serve` on a folder of videos, until every video is searchable."""
    command = [str(cfmr), "serve", "demo/videos", "--no-browser", "--port", "8931"]
    print("  cfmr", *command[1:], flush=True)
    server = subprocess.Popen(command, cwd=home, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    try:
        until = time.monotonic() + 120
        while True:
            assert server.poll() is None, server.stderr and server.stderr.read().decode()
            assert time.monotonic() < until, "no moment within two minutes"
            try:
                url = "http://127.0.0.1:8931/api/search?q=an+umbrella"
                with urllib.request.urlopen(url, timeout=5) as answer:
                    if json.load(answer)["moments"]:
                        return
            except OSError:
                pass
            time.sleep(1)
    finally:
        server.terminate()
        server.wait(20)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
