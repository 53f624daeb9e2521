"""The running control API against its OpenAPI document, by schemathesis: statuses, bodies, and what is refused."""

from __future__ import annotations

import asyncio
from typing import Any

import aiohttp
import hypothesis
import pytest
import schemathesis
from schemathesis.checks import CHECKS
from schemathesis.core.parameters import ParameterLocation

from edge.api.openapi import document
from tests.support.api import Api
from tests.support.stack import running_stack

EXAMPLES = 15  # of an operation
SCHEMA = schemathesis.openapi.from_dict(document())
# Not that what is well formed is accepted: to ban oneself is a 400.
CHECKED = [check for name, check in zip(CHECKS.get_all_names(), CHECKS.get_all(), strict=True)
           if name != "positive_data_acceptance"]  # fmt: skip
assert len(CHECKED) > 5


@pytest.fixture(scope="module")
def api(tmp_path_factory) -> Any:
    """With an owner, a moderator of the owner's channel, and a user."""

    async def people(stack: Any) -> Api:
        async with aiohttp.ClientSession() as http:
            made = Api(stack, http)
            await made.add("owner", "mod", "user")
            ids = {"broadcaster_id": made.ids["owner"], "user_id": made.ids["mod"]}
            assert (await made.call("owner", "POST", "moderation/moderators", **ids)).status == 204
            return made

    data = tmp_path_factory.mktemp("api") / "data"
    options = ("--auth", "token", "--edges", "1", "--clues", "1", "--exchanges", "1")
    with running_stack(data, *options) as stack:
        yield asyncio.run(people(stack))
        logs = stack.logs(lines=1_000_000)
    assert "Traceback" not in logs, logs[logs.index("Traceback") - 500 :][:4000]


def known(api: Api, value: Any) -> Any:
    """Of every two well-formed ids one becomes that of somebody who exists; most often who asks."""
    if isinstance(value, list):
        return [known(api, one) for one in value]
    if isinstance(value, dict):
        return {name: known(api, one) if name.endswith(("id", "data")) else one for name, one in value.items()}
    if not isinstance(value, str) or not value.isascii() or not value.isdecimal() or int(value) % 2:
        return value
    return [*api.ids.values(), api.ids["mod"], api.ids["mod"]][int(value) // 2 % 5]


@SCHEMA.parametrize()
@hypothesis.settings(
    max_examples=EXAMPLES, deadline=None, suppress_health_check=list(hypothesis.HealthCheck), derandomize=True
)
def test_the_service_is_as_its_document_says(case: schemathesis.Case, api: Api) -> None:
    """Whatever is asked, well formed or not: an answer that the document has, and never a failure of ours."""
    case.query = known(api, case.query)
    case.body = known(api, case.body)
    headers = {"Authorization": f"Bearer {api.tokens['mod']}"}
    header = case.meta.components.get(ParameterLocation.HEADER) if case.meta is not None else None
    if header is not None and header.mode.is_negative:  # it is wrong because of what its header is
        headers = {}
    case.call_and_validate(base_url=api.url, headers=headers, checks=CHECKED, timeout=10)
