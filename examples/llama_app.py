# SPDX-License-Identifier: MIT
"""Many texts at once of a GGUF model, as server-sent events, without transformers and torch.

    python examples/llama_app.py        # needs fastapi and uvicorn, and burble built with llama.cpp
    curl -N 'http://127.0.0.1:8000/generate?prompt=ROMEO:'

All requests are computed together, step by step. A client that goes away leaves its slot before the
next step. MODEL=… chooses another model, SLOTS=… how many texts are computed at once.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Annotated

import uvicorn
from fastapi import FastAPI, HTTPException, Query, Request, Response

import burble
from burble.llama import Engine
from burble.starlette import sse_response

MODEL = (
    os.environ.get("MODEL") or Path(__file__).resolve().parent.parent / "models/shakespeare.gguf"
)
SLOTS = int(os.environ.get("SLOTS", "16"))


@asynccontextmanager
async def engine_of(app: FastAPI) -> AsyncIterator[None]:
    """Loading blocks, so it is done in a thread."""
    app.state.engine = await asyncio.to_thread(Engine, MODEL, slots=SLOTS, queue=64)
    with app.state.engine:
        yield


app = FastAPI(lifespan=engine_of)


@app.get("/generate")
async def generate(
    request: Request,
    prompt: Annotated[str, Query(max_length=10_000)],
    max_new_tokens: Annotated[int, Query(ge=1, le=1000)] = 200,
    temperature: Annotated[float, Query(ge=0, le=2)] = 0.0,
) -> Response:
    """The text that follows the prompt."""
    try:
        stream = app.state.engine.generate(
            prompt, max_new_tokens=max_new_tokens, temperature=temperature, total_timeout=300
        )
    except ValueError as error:  # such as a prompt that is too long
        raise HTTPException(422, str(error)) from None
    except burble.Error as error:  # the queue is full
        raise HTTPException(503, str(error)) from None
    return sse_response(request, stream)


@app.get("/stats")
async def stats() -> dict[str, int]:
    """What the engine does, and has done so far."""
    figures: dict[str, int] = app.state.engine.stats._asdict()
    return figures


if __name__ == "__main__":
    uvicorn.run(app, port=int(os.environ.get("PORT", "8000")))
