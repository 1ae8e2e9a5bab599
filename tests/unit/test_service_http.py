"""The service answers in the shape of vLLM's classify API, and says of every failure what happened and what to do."""

from __future__ import annotations

import asyncio
import json
import re
from pathlib import Path

import jsonschema
import openai
import openapi_spec_validator
import pytest
from support.open_clients import CLASSES, listing, share_of
from support.service import LOOPBACK, TOKEN, URL, service, with_service

import securealign
from securealign.client.predictions import Prediction, UnansweredError
from securealign.client.service.limits import ServiceLimits
from securealign.client.service.problems import STATUSES
from securealign.console.access import Access
from securealign.errors import ErrorCode, InputError, SecurealignError
from securealign.protocol.messages import OutputMode

DOCUMENT = Path(securealign.__file__).parents[1] / "docs" / "service.md"
GUARDED = Access(host="127.0.0.1", port=8080, token=TOKEN.encode(), hosts=frozenset())


def test_an_answer_has_the_shape_of_the_classify_api():
    body = with_service(lambda made: made.classify(["one", "two"])).json()
    assert set(body) == {"id", "object", "created", "model", "head_digest", "data", "usage"}
    assert re.fullmatch("classify-[0-9a-f]{32}", body["id"])
    assert (body["object"], body["model"]) == ("list", "topics")
    for index, (text, item) in enumerate(zip(("one", "two"), body["data"], strict=True)):
        assert (item["index"], item["num_classes"]) == (index, len(CLASSES))
        assert item["probs"] == pytest.approx(share_of(text).tolist())
        assert item["label"] == CLASSES[int(share_of(text).argmax())]
        assert (item["abstained"], item["confidence"]) == (False, None)
    assert body["usage"] == {"prompt_tokens": 0, "total_tokens": 0, "completion_tokens": 0, "queries": 2}


def test_one_text_is_a_list_of_one():
    async def check(made):
        return [(await made.classify(texts)).json()["data"] for texts in ("one", ["one"])]

    alone, listed = with_service(check)
    assert alone == listed


@pytest.mark.parametrize("options", [{"mode": "label"}, {"probabilities": False}], ids=["labels", "margins"])
def test_without_probabilities_there_are_labels_and_nulls(options):
    abstains = {"abstains": lambda text: text == "two"} if options.get("mode") == "label" else {}
    first, second = with_service(lambda made: made.classify(["one", "two"]), **options, **abstains).json()["data"]
    assert first["label"] == CLASSES[int(share_of("one").argmax())]
    assert first["probs"] is second["probs"] is None
    assert (second["abstained"], second["label"] is None) == (bool(abstains), bool(abstains))
    assert first["confidence"] == (2 if abstains else None)


def test_fields_of_other_servers_are_ignored():
    assert with_service(lambda made: made.classify("one", user="me", truncate_prompt_tokens=3)).status_code == 200


def test_all_texts_of_concurrent_callers_wait_together():
    async def check():
        async with service(gate=asyncio.Event()) as made:
            calls = [asyncio.create_task(made.classify(f"text {number}")) for number in range(64)]
            while made.client.waiting < 64:
                await asyncio.sleep(0)
            made.client.gate.set()
            return [response.status_code for response in await asyncio.gather(*calls)]

    assert asyncio.run(check()) == [200] * 64


WRONG = {
    "no JSON": ("{", 400),
    "deep": ("[" * 50_000, 400),
    "no UTF-8": (b'{"input": "\xff"}', 400),
    "no object": ('"text"', 422),
    "no input": ("{}", 422),
    "null": ('{"input": null}', 422),
    "numbers": ('{"input": [1, 2]}', 422),
    "mixed": ('{"input": ["one", 2]}', 422),
    "empty": ('{"input": []}', 422),
    "half a character": ('{"input": "\\ud800"}', 422),
    "model": ('{"input": "one", "model": 3}', 422),
    "long model": (json.dumps({"input": "one", "model": "m" * 300}), 422),
}


def test_a_malformed_body_is_refused_and_nothing_is_asked():
    async def check(made):
        headers = {"content-type": "application/json"}
        sent = [await made.http.post("/v1/classify", content=body, headers=headers) for body, _ in WRONG.values()]
        return sent, made.client.calls

    responses, calls = with_service(check)
    for name, response in zip(WRONG, responses, strict=True):
        assert (response.status_code, response.json()["error"]["code"]) == (WRONG[name][1], "INPUT_INVALID"), name
        assert set(response.json()["error"]) == {"code", "message", "hint"}
    assert calls == []


def test_more_texts_or_longer_ones_than_the_limits_are_refused():
    limits = ServiceLimits(max_texts=2, max_characters=5)

    async def check(made):
        return [(await made.classify(texts)).status_code for texts in (["a", "b"], ["a", "b", "c"], "12345", "123456")]

    assert with_service(check, limits=limits) == [200, 413, 200, 413]


def raising(error):
    def act(texts):
        if texts:
            raise error

    return act


def test_every_error_of_the_client_has_a_status():
    async def check(made):
        responses = []
        for code in ErrorCode:
            made.client.act = raising(SecurealignError("What happened.", hint="What to do.", code=code))
            responses.append(await made.classify("one"))
        return responses

    for code, response in zip(ErrorCode, with_service(check), strict=True):
        status, again = STATUSES.get(code, (500, None))
        assert response.status_code == status
        assert response.headers.get("retry-after") == (None if again is None else str(again))
        assert response.json() == {"error": {"code": code.name, "message": "What happened.", "hint": "What to do."}}


def test_the_statuses_are_documented():
    rows = re.findall(r"^\| ([0-9]{3}) \| ([^|]+)\|", DOCUMENT.read_text(encoding="utf-8"), re.MULTILINE)
    documented = {code: int(status) for status, cells in rows for code in re.findall(r"`([A-Z_]+)`", cells)}
    for code, (status, _) in STATUSES.items():
        assert documented[code.name] == status, code.name


def test_what_was_answered_before_an_error_is_in_its_body():
    done = Prediction(index=0, label="science", score=0.5, abstained=False)
    cause = InputError("The query budget is used up.", code=ErrorCode.QUERY_BUDGET_EXHAUSTED)
    response = with_service(lambda made: made.classify(["one", "two"]), act=raising(UnansweredError(cause, [done], 2)))
    assert response.status_code == 429
    (item,) = response.json()["data"]
    assert (item["label"], item["score"], response.json()["missing"]) == ("science", 0.5, [1])


def test_an_unexpected_error_says_nothing_of_itself():
    response = with_service(lambda made: made.classify("one"), act=raising(ValueError("secret words")))
    assert response.status_code == 500
    assert response.json()["error"]["code"] == "INTERNAL"
    assert "secret" not in response.text


def test_an_answer_that_takes_too_long_is_given_up():
    limits = ServiceLimits(answer_seconds=0.01)

    async def check():
        async with service(gate=asyncio.Event(), limits=limits) as made:
            return await made.classify("one"), made.client

    response, client = asyncio.run(check())
    assert (response.status_code, response.json()["error"]["code"]) == (504, "DEADLINE_EXCEEDED")
    assert (client.cancelled, client.waiting) == (1, 0)


def test_heads_are_listed_as_models():
    offered = (listing("topics"), listing("spam", output=OutputMode.LABEL, queries=7))
    body = with_service(lambda made: made.http.get("/v1/models"), offered=offered).json()
    assert body["object"] == "list"
    assert [(model["id"], model["object"], model["output"], model["queries_left"]) for model in body["data"]] == [
        ("topics", "model", "logits", 1000),
        ("spam", "model", "label", 7),
    ]


def test_the_openai_client_lists_models_and_posts_texts():
    async def check():
        async with service(access=GUARDED) as made:
            client = openai.AsyncOpenAI(base_url=f"{URL}/v1", api_key=TOKEN, http_client=made.http)
            models = [model.id async for model in client.models.list()]
            body = {"model": "topics", "input": ["one"]}
            answer = await client.post("/classify", body=body, cast_to=dict)
            with pytest.raises(openai.NotFoundError):
                await client.post("/classify", body={**body, "model": "other"}, cast_to=dict)
            return models, answer

    models, answer = asyncio.run(check())
    assert models == ["topics"]
    assert answer["data"][0]["label"] in CLASSES


def test_a_provider_that_is_gone_is_noticed_by_the_probe_alone():
    gone = SecurealignError("Gone.", code=ErrorCode.PEER_UNREACHABLE)

    def act(texts):
        raise gone

    async def check(made):
        return [await made.http.get(path) for path in ("/healthz", "/readyz", "/v1/models")]

    health, ready, models = with_service(check, act=act)
    assert (health.status_code, health.json()) == (200, {"status": "ok"})
    assert (ready.status_code, ready.json()["provider"]) == (503, "PEER_UNREACHABLE")
    assert (models.status_code, models.headers["retry-after"]) == (502, "5")
    ready = with_service(lambda made: made.http.get("/readyz"))
    assert (ready.status_code, ready.json()["ready"]) == (200, True)


def test_metrics_count_requests_texts_bytes_and_errors():
    async def check(made):
        await made.classify(["one", "two"])
        await made.classify([])
        return (await made.http.get("/metrics")).text

    text = with_service(check)
    for line in (
        'securealign_service_requests_total{path="/v1/classify",status="200"} 1.0',
        'securealign_service_errors_total{code="INPUT_INVALID"} 1.0',
        "securealign_service_texts_total 2.0",
        'securealign_client_bytes_total{direction="sent",head="topics",kind="Query"} 8000.0',
        'securealign_client_queries_total{head="topics"} 2.0',
        'securealign_client_queries_left{head="topics"} 1000.0',
        'securealign_client_round_trip_seconds{head="topics",quantile="0.95"} 0.004',
    ):
        assert line in text.splitlines()


def test_the_console_is_at_the_root_and_asks_the_same_client():
    async def check(made):
        page = await made.http.get("/")
        form = {"data": {"texts": "one\ntwo"}, "headers": {"accept": "application/x-ndjson", "origin": URL}}
        return page, await made.http.post("/console/classify", **form), made.client.calls

    page, lines, calls = with_service(check)
    assert page.headers["content-type"].startswith("text/html")
    assert [json.loads(line).get("label") for line in lines.text.splitlines()[:2]] == [
        CLASSES[int(share_of(text).argmax())] for text in ("one", "two")
    ]
    assert calls == [["one", "two"]]


@pytest.mark.parametrize("access", [LOOPBACK, GUARDED], ids=["open", "token"])
def test_the_description_is_valid_and_loads_nothing_from_elsewhere(access):
    async def check(made):
        headers = {"authorization": f"Bearer {TOKEN}"}
        pages = [(await made.http.get(path, headers=headers)).status_code for path in ("/docs", "/redoc")]
        return (await made.http.get("/openapi.json", headers=headers)).json(), pages

    description, pages = with_service(check, access=access)
    openapi_spec_validator.validate(description)
    assert pages == [404, 404]
    assert ("securitySchemes" in description["components"]) == (access is GUARDED)


def test_responses_are_as_they_are_described():
    async def check(made):
        description = (await made.http.get("/openapi.json")).json()
        responses = [
            ("/v1/classify", "post", await made.classify(["one"])),
            ("/v1/classify", "post", await made.classify(3)),
            ("/v1/classify", "post", await made.classify("one", model="other")),
            *[(path, "get", await made.http.get(path)) for path in ("/v1/models", "/healthz", "/readyz")],
        ]
        return description, responses

    description, responses = with_service(check)
    for path, method, response in responses:
        described = description["paths"][path][method]["responses"][str(response.status_code)]
        schema = described["content"]["application/json"]["schema"]
        jsonschema.validate(response.json(), {**schema, "components": description["components"]})
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({"ready": "yes"}, {**schema, "components": description["components"]})
