# SPDX-License-Identifier: MIT
"""A server in Python as its users write it, for serve.py: FastAPI, burble's engine, and its answers
in the form of OpenAI's API (burble.starlette).

    python serve_app.py PORT SLOTS
"""

from __future__ import annotations

import sys
from typing import Any

import uvicorn
from fastapi import FastAPI, Request, Response
from llama_weights import SHIPPED

from burble.llama import Engine
from burble.starlette import openai_response

port, slots = map(int, sys.argv[1:])
engine = Engine(SHIPPED, slots=slots, context=512, threads=1)
app = FastAPI()


@app.get("/v1/models")
async def models() -> dict[str, Any]:
    """Say which models there are."""
    return {"object": "list", "data": [{"id": "shakespeare", "object": "model"}]}


@app.post("/v1/completions")
async def complete(request: Request, body: dict[str, Any]) -> Response:
    """Complete a prompt."""
    stream = engine.generate(
        body["prompt"],
        max_new_tokens=body["max_tokens"],
        temperature=body["temperature"],
        ignore_eos=body.get("ignore_eos", False),
    )
    return openai_response(request, stream, body, chat=False, model="shakespeare")


uvicorn.run(app, host="127.0.0.1", port=port, log_level="warning", access_log=False)
