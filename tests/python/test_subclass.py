# SPDX-License-Identifier: MIT
"""The interface: what programs written for transformers' streamers, and for burble's, count on."""

from __future__ import annotations

import asyncio
import inspect
import subprocess
import sys
from typing import Any, Callable, Union

import pytest
from drop_in import read_items
from shipped import MODEL, ids, speak, tokenizer

import burble
from burble._tokenizers import decoding_of

Streamer = Union[burble.TextStreamer, burble.TextIteratorStreamer, burble.AsyncTextIteratorStreamer]

pytestmark = pytest.mark.timeout(60)

NAMES = ["TextStreamer", "TextIteratorStreamer", "AsyncTextIteratorStreamer"]
CLASSES = [getattr(burble, name) for name in NAMES]


@pytest.fixture(params=CLASSES, ids=NAMES)
def cls(request: pytest.FixtureRequest) -> type[Streamer]:
    found: type[Streamer] = request.param
    return found


@pytest.fixture(params=CLASSES[1:], ids=NAMES[1:])
def reading_cls(request: pytest.FixtureRequest) -> type[Streamer]:
    """One of those that have a consumer."""
    found: type[Streamer] = request.param
    return found


# ---- overriding --------------------------------------------------------------------------------

TEXT = "Now is the winter\nof our discon"


def recording(cls: Any) -> tuple[type[Any], list[tuple[str, bool]]]:
    """A subclass that notes the calls of on_finalized_text, and hands them on."""
    calls: list[tuple[str, bool]] = []

    class Recording(cls):  # type: ignore[misc]
        def on_finalized_text(self, text: str, stream_end: bool = False) -> None:
            calls.append((text, stream_end))
            super().on_finalized_text(text, stream_end=stream_end)

    return Recording, calls


def test_override_gets_every_chunk_and_end_once(
    cls: type[Streamer], capsys: pytest.CaptureFixture[str]
) -> None:
    subclass, calls = recording(cls)
    streamer = subclass(tokenizer())
    speak(streamer, TEXT)
    streamer.end()
    assert len(calls) == len(ids(TEXT)) + 1  # one for each put(), the empty ones included
    assert ("", False) in calls
    assert [stream_end for _, stream_end in calls] == [False] * len(ids(TEXT)) + [True]
    assert "".join(text for text, _ in calls) == TEXT
    if cls is burble.TextStreamer:
        assert capsys.readouterr().out == TEXT + "\n"
    else:
        assert read_items(streamer) == [text for text, _ in calls if text]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("skip_prompt", [False, True])
def test_override_is_called_as_by_transformers(
    name: str, skip_prompt: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    theirs = pytest.importorskip("transformers.generation.streamers")
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    auto = transformers.AutoTokenizer.from_pretrained(MODEL)

    async def calls_of(module: Any) -> list[tuple[str, bool]]:
        # Theirs can only be made in a running loop.
        subclass, calls = recording(getattr(module, name))
        streamer = subclass(auto, skip_prompt)
        for text in (TEXT, "", "a\n", "two  spaces "):
            streamer.put(torch.tensor([ids("The prompt: ")]))
            for token in ids(text):
                streamer.put(torch.tensor([token]))
            streamer.end()
        return calls

    ours, output = asyncio.run(calls_of(burble)), capsys.readouterr().out
    assert ours == asyncio.run(calls_of(theirs))
    assert output == capsys.readouterr().out


def test_override_that_keeps_text_leaves_consumer_only_end(
    reading_cls: type[Streamer],
) -> None:
    class Upper(reading_cls):  # type: ignore[misc, valid-type]
        def on_finalized_text(self, text: str, stream_end: bool = False) -> None:
            super().on_finalized_text("" if "winter" in text else text.upper(), stream_end)

    streamer = Upper(tokenizer())
    speak(streamer, "Now is the winter of\n")
    streamer.end()
    assert "".join(read_items(streamer)) == "NOW IS THE OF\n"


def test_override_on_instance_is_called(
    cls: type[Streamer], capsys: pytest.CaptureFixture[str]
) -> None:
    streamer = cls(tokenizer())
    calls: list[tuple[str, bool]] = []
    streamer.on_finalized_text = (  # type: ignore[method-assign]
        lambda text, stream_end=False: calls.append((text, stream_end))
    )
    speak(streamer, "to be or")
    streamer.end()
    assert [call for call in calls if call[0]] == [("to ", False), ("be ", False), ("or", True)]
    assert capsys.readouterr().out == ""


def test_override_on_instance_may_be_removed(reading_cls: type[Streamer]) -> None:
    streamer = reading_cls(tokenizer(), chunk="token")
    calls: list[str] = []
    streamer.put(ids("one "))
    streamer.on_finalized_text = (  # type: ignore[method-assign]
        lambda text, stream_end=False: calls.append(text)
    )
    streamer.put(ids("two "))
    del streamer.on_finalized_text
    streamer.put(ids("three "))
    streamer.end()
    assert calls == ["two "]
    assert read_items(streamer) == ["one ", "three "]


def test_on_finalized_text_called_directly_is_read(reading_cls: type[Streamer]) -> None:
    streamer = reading_cls(tokenizer())
    streamer.on_finalized_text("from elsewhere ")
    streamer.on_finalized_text(text="and ", stream_end=False)
    streamer.on_finalized_text("", False)
    streamer.on_finalized_text("the end", stream_end=True)
    assert read_items(streamer) == ["from elsewhere ", "and ", "the end"]
    for wrong in ((), (1,), ("a", True, 1), (b"a",)):
        with pytest.raises(TypeError):
            streamer.on_finalized_text(*wrong)
    with pytest.raises(TypeError, match="unexpected"):
        streamer.on_finalized_text("a", wrong=True)  # type: ignore[call-arg]


def test_override_of_put_and_end_is_called(reading_cls: type[Streamer]) -> None:
    class Counting(reading_cls):  # type: ignore[misc, valid-type]
        def __init__(self, *args: Any, **options: Any) -> None:
            super().__init__(*args, **options)
            self.tokens = 0

        def put(self, value: Any) -> None:
            self.tokens += len(value)
            super().put(value)

        def end(self) -> None:
            super().put(ids("!"))
            super().end()

    streamer = Counting(tokenizer(), False, 5)
    speak(streamer, "to be")
    streamer.end()
    assert streamer.tokens == len(ids("to be"))
    assert "".join(read_items(streamer)) == "to be!"


def test_subclass_without_init_raises(cls: type[Streamer]) -> None:
    class Forgetful(cls):  # type: ignore[misc, valid-type]
        def __init__(self) -> None:
            pass

    streamer = Forgetful()
    with pytest.raises(RuntimeError, match="__init__ was not called"):
        streamer.put([1])
    with pytest.raises(RuntimeError, match="__init__ was not called"):
        streamer.end()
    streamer.cancel()
    assert streamer.path is None
    if isinstance(streamer, burble.TextIteratorStreamer):
        with pytest.raises(RuntimeError, match="__init__ was not called"):
            next(streamer)
    if isinstance(streamer, burble.AsyncTextIteratorStreamer):
        with pytest.raises(RuntimeError, match="__init__ was not called"):
            streamer.__anext__()
    if type(streamer).__mro__[1] is not burble.TextStreamer:
        with pytest.raises(RuntimeError, match="__init__ was not called"):
            streamer.on_finalized_text("text")


def test_init_called_twice_raises(cls: type[Streamer]) -> None:
    streamer = cls(tokenizer())
    with pytest.raises(RuntimeError, match="initialised only once"):
        streamer.__init__(tokenizer())  # type: ignore[misc]


# ---- attributes and types ----------------------------------------------------------------------


def test_streamer_of_every_kind_is_text_streamer(cls: type[Streamer]) -> None:
    assert isinstance(cls(tokenizer()), burble.TextStreamer)


def test_attributes_of_transformers_exist_and_can_be_set(cls: type[Streamer]) -> None:
    streamer: Any = cls(tokenizer(), skip_prompt=True, skip_special_tokens=False)
    assert streamer.tokenizer is tokenizer()
    assert streamer.skip_prompt is True
    assert streamer.decode_kwargs == {"skip_special_tokens": False}
    assert streamer.next_tokens_are_prompt is True
    streamer.skip_prompt = False
    streamer.next_tokens_are_prompt = False
    assert (streamer.skip_prompt, streamer.next_tokens_are_prompt) == (False, False)
    streamer.tokenizer = None
    streamer.decode_kwargs = {}
    streamer.anything_else = 1
    assert (streamer.tokenizer, streamer.decode_kwargs, streamer.anything_else) == (None, {}, 1)


def test_skip_prompt_and_next_tokens_are_prompt_set_later_apply(
    reading_cls: type[Streamer],
) -> None:
    streamer = reading_cls(tokenizer(), chunk="token")
    streamer.skip_prompt = True
    streamer.put(ids("prompt "))
    assert streamer.next_tokens_are_prompt is False
    streamer.put(ids("text "))
    streamer.next_tokens_are_prompt = True
    streamer.put(ids("another prompt "))
    streamer.put(ids("more"))
    streamer.end()
    assert streamer.next_tokens_are_prompt is True
    assert read_items(streamer) == ["text ", "more"]


def test_timeout_can_be_read_and_set(reading_cls: type[Streamer]) -> None:
    streamer: Any = reading_cls(tokenizer(), timeout=2)
    assert streamer.timeout == 2
    for timeout in (0.25, 0, None, 1e12):
        streamer.timeout = timeout
        assert streamer.timeout == (timeout if timeout != 1e12 else streamer.timeout)
    for wrong, error in ((-1, ValueError), (float("nan"), ValueError), ("soon", TypeError)):
        with pytest.raises(error, match=r"-1|nan|str"):
            streamer.timeout = wrong
    assert streamer.timeout > 1e9  # as it was


@pytest.mark.parametrize("name", NAMES)
def test_signatures_equal_transformers_with_keywords_added(name: str) -> None:
    theirs = pytest.importorskip("transformers.generation.streamers")
    for method in ("__init__", "put", "end", "on_finalized_text"):
        wanted = inspect.signature(getattr(getattr(theirs, name), method)).parameters
        found = inspect.signature(getattr(getattr(burble, name), method)).parameters
        positional = [
            p for p in found.values() if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)
        ]
        assert [(p.name, p.default) for p in positional] == [
            (p.name, p.default) for p in wanted.values() if p.kind is not p.VAR_KEYWORD
        ]
        assert [p.name for p in found.values() if p.kind is p.VAR_KEYWORD] == [
            p.name for p in wanted.values() if p.kind is p.VAR_KEYWORD
        ]
        assert not any(p.kind is p.VAR_POSITIONAL for p in found.values())


@pytest.mark.parametrize("name", NAMES)
def test_arguments_of_transformers_are_taken_by_name(
    name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    streamer = getattr(burble, name)(tokenizer=tokenizer(), skip_prompt=False)
    streamer.put(value=ids("text"))
    streamer.end()
    streamer.on_finalized_text(text="more", stream_end=True)


# ---- what put() takes --------------------------------------------------------------------------


def values_of(token: list[int]) -> dict[str, Callable[[], Any]]:
    def numpy() -> Any:
        return pytest.importorskip("numpy")

    def torch() -> Any:
        return pytest.importorskip("torch")

    return {
        "list": lambda: token,
        "tuple": lambda: tuple(token),
        "list of one list": lambda: [token],
        "NumPy": lambda: numpy().array(token),
        "NumPy, 2-D": lambda: numpy().array([token], dtype="int32"),
        "NumPy integers": lambda: list(numpy().array(token)),
        "torch": lambda: torch().tensor(token),
        "torch, 2-D": lambda: torch().tensor([token]),
        "torch, not contiguous": lambda: torch().tensor([[t, 0] for t in token])[:, 0],
    }


@pytest.mark.parametrize("kind", values_of([]))
def test_put_of_ids_of_any_type_works(kind: str) -> None:
    streamer = burble.TextIteratorStreamer(tokenizer(), chunk="token")
    streamer.put(values_of(ids("to be or not"))[kind]())
    streamer.end()
    assert "".join(streamer) == "to be or not"


@pytest.mark.parametrize("kind", ["int", "NumPy", "torch", "True"])
def test_put_of_single_id_works(kind: str) -> None:
    (token,) = ids("a")
    streamer = burble.TextIteratorStreamer(tokenizer())
    if kind == "NumPy":
        streamer.put(pytest.importorskip("numpy").int64(token))
    elif kind == "torch":
        streamer.put(pytest.importorskip("torch").tensor(token))
    else:
        streamer.put(token)
    streamer.end()
    assert list(streamer) == ["a"]


@pytest.mark.parametrize("kind", ["list", "NumPy", "torch"])
@pytest.mark.parametrize("skip_prompt", [False, True])
def test_put_of_two_sequences_is_refused_even_as_prompt(
    cls: type[Streamer], kind: str, skip_prompt: bool
) -> None:
    two: Any = [[1, 2], [3, 4]]
    if kind == "NumPy":
        two = pytest.importorskip("numpy").array(two)
    elif kind == "torch":
        two = pytest.importorskip("torch").tensor(two)
    streamer = cls(tokenizer(), skip_prompt)
    with pytest.raises(ValueError, match="2 rows"):
        streamer.put(two)
    assert streamer.next_tokens_are_prompt is True


@pytest.mark.parametrize(
    ("wrong", "error", "message"),
    [
        ("text", TypeError, "found str"),
        (None, TypeError, "found NoneType"),
        (1.5, TypeError, "found float"),
        ([1.5], TypeError, "found float"),
        (["1"], TypeError, "found str"),
        ([[[1]]], TypeError, "found list"),
        (-1, ValueError, "found -1"),
        ([2**31], ValueError, "found 2147483648"),
        (2**70, ValueError, str(2**70)),
    ],
)
def test_put_of_invalid_ids_is_refused_by_name(
    wrong: Any, error: type[Exception], message: str
) -> None:
    streamer = burble.TextIteratorStreamer(tokenizer())
    with pytest.raises(error, match=message):
        streamer.put(wrong)


def test_put_of_id_beyond_vocabulary_gives_no_text() -> None:
    streamer = burble.TextIteratorStreamer(tokenizer())
    streamer.put([2**31 - 1, 5_000])
    streamer.put(ids("text"))
    streamer.end()
    assert list(streamer) == ["text"]


def test_put_of_no_ids_gives_no_text() -> None:
    streamer = burble.TextIteratorStreamer(tokenizer())
    empty: list[Any] = [[], [[]], ()]
    for nothing in empty:
        streamer.put(nothing)
    streamer.put(ids("text"))
    streamer.end()
    assert list(streamer) == ["text"]


# ---- arguments ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"chunk": "sentence"}, ValueError, "chunk: expected 'word' or 'token', found 'sentence'"),
        ({"on_timeout": "die"}, ValueError, "on_timeout: expected 'raise' or 'stop', found 'die'"),
        ({"on_timeout": None}, ValueError, "on_timeout: expected 'raise' or 'stop', found None"),
        ({"timeout": -1}, ValueError, "timeout: expected None or at least 0 seconds, found -1"),
        ({"timeout": float("nan")}, ValueError, "timeout: expected .* found nan"),
        ({"timeout": "5"}, TypeError, "timeout: expected .* found .*str"),
        ({"chunk": None}, ValueError, "chunk: expected .* found .*None"),
    ],
)
def test_wrong_option_is_refused_with_expected_values(
    reading_cls: Any, options: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        reading_cls(tokenizer(), **options)


@pytest.mark.parametrize("wrong", [None, 5, {}])
def test_object_that_is_no_tokenizer_is_refused(cls: type[Streamer], wrong: Any) -> None:
    with pytest.raises(TypeError, match=f"tokenizer: expected .* found {type(wrong).__name__}"):
        cls(wrong)


def test_options_beyond_transformers_are_keyword_only(reading_cls: Any) -> None:
    with pytest.raises(TypeError):
        reading_cls(tokenizer(), False, None, "token")


def test_text_streamer_has_no_timeout_option() -> None:
    # It has no consumer that could wait; what it does not know is for decode, as in transformers.
    streamer: Any = burble.TextStreamer(tokenizer(), skip_special_tokens=False)
    assert streamer.decode_kwargs == {"skip_special_tokens": False}
    with pytest.raises(TypeError, match=r"decode options: .* found timeout"):
        burble.TextStreamer(tokenizer(), timeout=1)


# ---- the package -------------------------------------------------------------------------------


def test_tokenizer_of_many_streamers_is_compiled_once() -> None:
    first, _ = decoding_of(tokenizer(), {})
    second, _ = decoding_of(tokenizer(), {"skip_special_tokens": False})
    assert first is second


def test_import_of_burble_imports_no_other_library() -> None:
    program = """
import sys
import burble
heavy = {"torch", "transformers", "tokenizers", "numpy", "uvloop"}
print(sorted(heavy & {name.partition(".")[0] for name in sys.modules}))
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=20, check=True
    )
    assert done.stdout == "[]\n"


def test_public_names_exist_and_are_documented() -> None:
    for name in burble.__all__:
        thing = getattr(burble, name)
        if name != "__version__":
            assert inspect.getdoc(thing)
    assert issubclass(burble.Cancelled, burble.Error)
    assert issubclass(burble.ProducerDied, burble.Error)
    assert not issubclass(burble.Cancelled, asyncio.CancelledError)
