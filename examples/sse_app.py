# SPDX-License-Identifier: MIT
"""A web page that shows a model's text, and goes on where it was when its connection breaks.

    python examples/sse_app.py          # needs fastapi and uvicorn; then open http://127.0.0.1:8000/

A POST begins an answer and a GET reads it, so that a browser's EventSource can reconnect to it, as
curl can: with the header Last-Event-ID. MODEL=… chooses another model.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import uvicorn
from fastapi import FastAPI, HTTPException, Query, Request, Response
from fastapi.responses import HTMLResponse
from transformers import AutoModelForCausalLM, AutoTokenizer

import burble
from burble.starlette import sse_response

MODEL = os.environ.get("MODEL") or Path(__file__).resolve().parent.parent / "models" / "shakespeare"
KEPT = 100  # answers, the latest ones

PAGE = """<!doctype html><meta charset="utf-8"><title>burble</title>
<form><input name="prompt" value="ROMEO:"> <button>Go</button></form><pre></pre>
<script>
const form = document.querySelector("form"), pre = document.querySelector("pre");
form.onsubmit = async (submit) => {
  submit.preventDefault();
  const query = new URLSearchParams(new FormData(form));
  const id = await (await fetch("answers?" + query, {method: "POST"})).json();
  const events = new EventSource("events/" + id);
  pre.textContent = "";
  events.onmessage = (event) => { pre.append(JSON.parse(event.data).text); };
  // Without close() the browser would reconnect, as it does when the connection breaks.
  events.addEventListener("end", () => events.close());
  events.addEventListener("failed", (event) => {
    events.close();
    pre.append("\\n" + JSON.parse(event.data).message);
  });
};
</script>"""

answers: dict[str, burble.Stream[str]] = {}

app = FastAPI()
tokenizer = AutoTokenizer.from_pretrained(MODEL)
model = AutoModelForCausalLM.from_pretrained(MODEL)


@app.get("/")
async def page() -> HTMLResponse:
    return HTMLResponse(PAGE)


@app.post("/answers")
async def begin(prompt: Annotated[str, Query(min_length=1, max_length=100)]) -> str:
    inputs = tokenizer(prompt, return_tensors="pt")
    options = {"tokenizer": tokenizer, "max_new_tokens": 120}
    while len(answers) >= KEPT:
        answers.pop(next(iter(answers))).cancel()
    # What keeps its text outlives its clients: total_timeout bounds it.
    stream: burble.Stream[str] = burble.stream(
        model.generate, **inputs, **options, keep="all", total_timeout=60
    )
    answers[stream.id] = stream
    return stream.id


@app.get("/events/{name}")
async def events(request: Request, name: str) -> Response:
    if name not in answers:
        raise HTTPException(404, "there is no such answer")
    return sse_response(request, answers[name])


if __name__ == "__main__":
    uvicorn.run(app, port=int(os.environ.get("PORT", "8000")))
