"""The probes of deploy/serve.yaml, against a server with a token."""

import dataclasses
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import pytest

from tests.server.running import running
from tests.server.sites import make_settings

yaml = pytest.importorskip("yaml")

MANIFEST = Path(__file__).resolve().parents[2] / "deploy" / "serve.yaml"
TOKEN = "sixteen-or-more-characters"


def container() -> dict[str, Any]:
    deployment = next(yaml.safe_load_all(MANIFEST.read_text()))
    (found,) = deployment["spec"]["template"]["spec"]["containers"]
    return dict(found)


def test_a_server_that_runs_is_found_well(tmp_path: Path) -> None:
    page = container()
    assert page["ports"] == [{"name": "http", "containerPort": 8000}]
    assert "--port=8000" in page["args"]
    settings = dataclasses.replace(make_settings(tmp_path), token=TOKEN)
    with running(settings) as port:
        for name in ("startupProbe", "livenessProbe"):
            asked = page[name]["httpGet"]
            assert asked["port"] == "http"
            with urlopen(f"http://127.0.0.1:{port}{asked['path']}", timeout=30) as answer:
                assert answer.status == 200
        if shutil.which("wget") is None:
            pytest.skip("wget is not installed")
        shell, option, script = page["readinessProbe"]["exec"]["command"]
        command = [shell, option, script.replace(":8000", f":{port}")]
        assert command[2] != script
        for token, expected in ((TOKEN, True), ("another-token-altogether", False)):
            environment = {**os.environ, "CFMR_TOKEN": token}
            assert (subprocess.run(command, env=environment, check=False, timeout=60).returncode == 0) == expected
