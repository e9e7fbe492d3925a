"""What the description says, the server does: schemathesis makes up requests, right and wrong ones."""

import os
from collections.abc import Iterator
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st
from hypothesis.errors import Unsatisfiable
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import content_type_conformance, response_schema_conformance
from starlette.testclient import TestClient

from tests.server.running import running
from tests.server.sites import make_settings

CHECKS = [not_a_server_error, content_type_conformance, response_schema_conformance]
EXAMPLES = int(os.environ.get("CFMR_EXAMPLES", "12"))  # of each operation and mode


@pytest.fixture(scope="module")
def described(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    # a folder of its own: requests that are made up upload, rename and delete
    with running(make_settings(tmp_path_factory.mktemp("described"))) as port:
        yield schemathesis.openapi.from_url(f"http://127.0.0.1:{port}/openapi.json")


@pytest.mark.parametrize("mode", [GenerationMode.POSITIVE, GenerationMode.NEGATIVE])
def test_no_request_makes_the_server_fail(described: Any, mode: GenerationMode) -> None:
    count = 0
    for operation in (found.ok() for found in described.get_all_operations()):

        @seed(1)
        @settings(
            max_examples=EXAMPLES,
            deadline=None,
            database=None,
            phases=[Phase.explicit, Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        @given(case=operation.as_strategy(generation_mode=mode), known=st.booleans())
        def run(case: Any, known: bool) -> None:
            if known:  # most made-up names end in "no such video"
                _name_what_is_there(case)
            case.validate_response(case.call(), checks=CHECKS)

        try:
            run()
        except Unsatisfiable:  # nothing can be wrong where nothing is sent
            continue
        count += 1
    assert count > 10


def _name_what_is_there(case: Any) -> None:
    for place in (case.query, case.body):
        if isinstance(place, dict) and isinstance(place.get("video"), str):
            place["video"] = "kitchen"


def test_every_error_is_described_as_a_problem_document(client: TestClient) -> None:
    description = client.get("/openapi.json").json()
    for path, methods in description["paths"].items():
        for method, operation in methods.items():
            kinds = set()
            for status, response in operation["responses"].items():
                if not status.startswith("2"):
                    kinds |= set(response["content"])
            assert kinds == {"application/problem+json"}, (method, path)
