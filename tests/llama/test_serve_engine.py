# SPDX-License-Identifier: MIT
"""An engine behind burble.Server: requests in which no Python runs."""

from __future__ import annotations

import contextlib
import gc
import json
import threading
import weakref
from collections.abc import Iterator
from typing import Any

import pytest
from test_engine import new_engine, until

import burble
from burble import _core

httpx = pytest.importorskip("httpx")

if not hasattr(_core, "Server"):
    pytest.skip("this burble was built without a server", allow_module_level=True)

pytestmark = pytest.mark.timeout(120)

SOON = 60.0
PROMPT = {"prompt": "ROMEO:", "max_tokens": 12, "temperature": 0}


@contextlib.contextmanager
def serving(engine: Any, **options: Any) -> Iterator[tuple[burble.Server, Any]]:
    with burble.Server(engine, port=0, **options) as server:
        with httpx.Client(base_url=server.url, trust_env=False, timeout=SOON) as client:
            yield server, client


def complete(client: Any, **options: Any) -> Any:
    return client.post("/v1/completions", json={**PROMPT, **options})


def test_answer_is_text_of_engine() -> None:
    with new_engine() as engine, serving(engine) as (_, client):
        with engine.generate("ROMEO:", max_new_tokens=12) as stream:
            expected = "".join(stream)
        answer = complete(client).json()
        assert answer["choices"][0]["text"] == expected
        assert answer["choices"][0]["finish_reason"] == "length"
        assert answer["usage"]["completion_tokens"] == 12
        assert answer["usage"]["prompt_tokens"] == len(engine.tokenize("ROMEO:"))
        several = complete(client, n=2, temperature=1).json()["choices"]
        assert [choice["index"] for choice in several] == [0, 1]
        assert "data: [DONE]" in complete(client, stream=True).text


def test_several_prompts_have_choices_in_order() -> None:
    with new_engine() as engine, serving(engine) as (_, client):
        ids = engine.tokenize("JULIET:")
        alone = [complete(client, prompt=prompt).json() for prompt in ("ROMEO:", ids)]
        body = {"prompt": ["ROMEO:", ids], "n": 2}
        whole = complete(client, **body).json()
        texts = [answer["choices"][0]["text"] for answer in alone]
        assert [choice["index"] for choice in whole["choices"]] == [0, 1, 2, 3]
        found = [choice["text"] for choice in whole["choices"]]
        assert found == [texts[0], texts[0], texts[1], texts[1]]
        counts = [answer["usage"]["prompt_tokens"] for answer in alone]
        assert whole["usage"]["prompt_tokens"] == sum(counts)
        assert whole["usage"]["completion_tokens"] == 48
        wrong = complete(client, prompt=["a", [1 << 20]])
        assert wrong.status_code == 400
        assert wrong.json()["error"]["param"] == "prompt[1]"


def test_echo_begins_choices_with_their_prompts() -> None:
    with new_engine() as engine, serving(engine) as (_, client):
        ids = engine.tokenize("JULIET: é")
        plain = complete(client, prompt=["ROMEO:", ids]).json()["choices"]
        for streamed in (False, True):
            answer = complete(client, prompt=["ROMEO:", ids], echo=True, stream=streamed)
            texts = ["", ""]
            for data in answer.text.split("\n\n") if streamed else [answer.text]:
                if data.removeprefix("data: ") not in ("", "[DONE]"):
                    for choice in json.loads(data.removeprefix("data: "))["choices"]:
                        texts[choice["index"]] += choice["text"]
            assert texts == ["ROMEO:" + plain[0]["text"], "JULIET: é" + plain[1]["text"]]


def test_schema_makes_answers_valid_json() -> None:
    schema = {
        "type": "object",
        "properties": {"n": {"type": "integer", "minimum": 3}, "ok": {"type": "boolean"}},
        "required": ["n", "ok"],
        "additionalProperties": False,
    }
    formats = {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}
    with new_engine() as engine, serving(engine) as (_, client):
        for seed in range(4):
            answer = complete(
                client, response_format=formats, max_tokens=200, temperature=1, seed=seed
            )
            choice = answer.json()["choices"][0]
            assert choice["finish_reason"] == "stop"
            found = json.loads(choice["text"])
            assert list(found) == ["n", "ok"]
            assert found["n"] >= 3
            assert isinstance(found["ok"], bool)
        schema["properties"]["n"]["multipleOf"] = 2  # type: ignore[index]
        error = complete(client, response_format=formats).json()["error"]
        path = "response_format.json_schema.schema.properties.n.multipleOf"
        assert error["message"] == f"{path}: not supported"


def test_tokenize_and_models_are_those_of_engine() -> None:
    with new_engine() as engine, serving(engine, model="small") as (server, client):
        found = client.post("/tokenize", json={"content": "ROMEO:"}).json()
        assert found == {"tokens": engine.tokenize("ROMEO:")}
        (model,) = client.get("/v1/models").json()["data"]
        assert (model["id"], server.models) == ("small", ("small",))


def test_engine_and_handler_stand_side_by_side() -> None:
    models = {"engine": new_engine(), "handler": lambda request: "of Python"}
    with serving(None, models=models) as (server, client):
        assert set(server.models) == {"engine", "handler"}
        assert complete(client, model="handler").json()["choices"][0]["text"] == "of Python"
        assert complete(client, model="engine").json()["choices"][0]["text"]
        server.remove_model("engine")
        assert complete(client, model="engine").status_code == 404
    models["engine"].close()  # type: ignore[attr-defined]


def test_closed_engine_is_503() -> None:
    with new_engine() as engine, serving(engine) as (_, client):
        engine.close()
        response = complete(client)
        assert response.status_code == 503
        assert "the engine is closed" in response.json()["error"]["message"]
        assert client.post("/tokenize", json={"content": "x"}).status_code == 503
        assert client.get("/metrics").status_code == 200
        with pytest.raises(burble.Error, match="the engine is closed"):
            burble.Server(engine)


def test_engine_closed_in_mid_answer_ends_it() -> None:
    with new_engine() as engine, serving(engine) as (_, client):
        body = {**PROMPT, "max_tokens": 400, "ignore_eos": True, "stream": True}
        with client.stream("POST", "/v1/completions", json=body) as response:
            lines = response.iter_lines()
            next(lines)
            closing = threading.Thread(target=engine.close)
            closing.start()
            rest: list[str] = []
            with contextlib.suppress(httpx.HTTPError):  # the connection is cut after the error
                rest.extend(lines)
            closing.join(SOON)
        assert "data: [DONE]" not in rest


def test_client_that_leaves_frees_its_slot() -> None:
    with new_engine(slots=1) as engine, serving(engine) as (_, client):
        body = {**PROMPT, "max_tokens": 500, "ignore_eos": True, "stream": True}
        with client.stream("POST", "/v1/completions", json=body) as response:
            next(response.iter_lines())
        until(lambda: engine.stats.active == 0)


def test_engine_lives_as_long_as_its_server() -> None:
    engine = new_engine()
    reference = weakref.ref(engine._core)
    with serving(engine) as (server, client):
        del engine
        gc.collect()
        assert complete(client).json()["choices"][0]["text"]
    del server
    gc.collect()
    assert reference() is None


def test_usage_of_handler_has_counts_of_its_engine() -> None:
    """They are known only once the text has begun, which is after the handler has returned."""
    with new_engine() as engine:

        def handler(request: burble.Request) -> Any:
            return engine.generate(request.prompt, max_new_tokens=4)

        prompt = "ROMEO:\nBut soft, what light through yonder window breaks?"
        n = len(engine.tokenize(prompt))
        with serving(handler) as (_, client):
            found = []
            for _ in range(2):
                answer = client.post("/v1/completions", json={"prompt": prompt})
                found.append(answer.json()["usage"])
        assert [usage["prompt_tokens"] for usage in found] == [n, n]
        reused = [usage["prompt_tokens_details"]["cached_tokens"] for usage in found]
        assert reused[0] == 0
        assert 0 < reused[1] < n


def test_removed_engine_is_freed() -> None:
    with serving(lambda request: "text") as (server, client):
        engine = new_engine()
        reference = weakref.ref(engine._core)
        server.add_model("engine", engine)
        assert complete(client, model="engine").json()["choices"][0]["text"]
        server.remove_model("engine")
        del engine
        until(lambda: server.stats and gc.collect() >= 0 and reference() is None)
