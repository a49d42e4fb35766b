# SPDX-License-Identifier: MIT
"""What is broken on purpose, to see that the check notices.

A mutation of the sources is a piece of text, which must stand in its file exactly once, and what
it is replaced by (`more`: further such pairs); `first` are the scenarios that are tried first. A
mutation of a model is a macro, with the Promela file that knows it.
"""

# ruff: noqa: E501 (the lines are those of the sources)

from __future__ import annotations

from typing import NamedTuple


class Mutation(NamedTuple):
    name: str
    file: str
    old: str
    new: str
    first: str
    more: tuple[tuple[str, str], ...] = ()


ACQ_REL_FENCE = "atomic_thread_fence(memory_order_acq_rel);"
F1 = "    burble__fence_seq_cst(); /* F1, pairs with F2 in burble__waiter_wake */"
F2 = "    burble__fence_seq_cst(); /* F2, pairs with F1 in burble__waiter_arm */"
L1 = "        burble__fence_seq_cst(); /* L1, pairs with L2 and L3 */"
L2 = "    burble__fence_seq_cst(); /* L2, pairs with L1 */"
PUSH_FENCE = """    burble__fence_seq_cst();
    if (burble__load_relaxed(&hub->closed))
        drop("""
RELEASE_FENCE = (
    "    burble__fence_seq_cst(); /* pairs with the fence in burble__hub_push */\n    if ("
)


def cas_relaxed(args: str) -> str:
    return (
        f"atomic_compare_exchange_weak_explicit({args}, memory_order_relaxed, memory_order_relaxed)"
    )


def sub(args: str, order: str) -> str:
    return f"atomic_fetch_sub_explicit({args}, memory_order_{order})"


SOURCES = [
    # ---- parking and publishing
    Mutation("F1 removed", "waiter.c", F1, "", "park block"),
    Mutation("F1 acq_rel", "waiter.c", F1, ACQ_REL_FENCE, "park block"),
    Mutation("F2 removed", "waiter.c", F2, "", "park block"),
    Mutation("F2 acq_rel", "waiter.c", F2, ACQ_REL_FENCE, "park block"),
    Mutation(
        "park: no second look",
        "reader.c",
        "return has_news(reader) ? BURBLE_OK : BURBLE_AGAIN;\n}\n\nvoid burble_reader_interrupt",
        "return BURBLE_AGAIN;\n}\n\nvoid burble_reader_interrupt",
        "park",
    ),
    Mutation(
        "wait: no second look",
        "reader.c",
        "        if (has_news(reader))\n            return BURBLE_OK; /* still ARMED",
        "        if (false)\n            return BURBLE_OK; /* still ARMED",
        "block",
    ),
    Mutation(
        "append: no wake",
        "stream.c",
        "burble__load_relaxed(&stream->next_seq) + 1);\n    burble__waiter_wake(&stream->parked);",
        "burble__load_relaxed(&stream->next_seq) + 1);",
        "limit limit_thrice",
    ),
    Mutation(
        "append: wakes before it commits",
        "stream.c",
        "    burble__store_release(&tail->committed, stream->used);",
        "    burble__waiter_wake(&stream->parked);\n"
        "    burble__store_release(&tail->committed, stream->used);",
        "limit limit_thrice",
        (("+ 1);\n    burble__waiter_wake(&stream->parked);", "+ 1);"),),
    ),
    Mutation(
        "end: no wake",
        "stream.c",
        "{\n    burble__waiter_wake(&stream->parked);",
        "{",
        "park_end",
    ),
    # ---- resting
    Mutation(
        "end: wakes nobody who rests",
        "stream.c",
        "    burble__waiter_wake(&stream->resting);\n",
        "",
        "rest_end rest_cancel",
    ),
    Mutation(
        "room: wakes nobody who rests",
        "lag.c",
        "    burble__waiter_wake(&stream->resting);",
        "",
        "rest_limit",
    ),
    Mutation(
        "room: wakes those who rest too early",
        "lag.c",
        "    burble__store_release(&stream->writer_waits, true);\n"
        "    burble__waiter_wake(&stream->resting);",
        "    burble__waiter_wake(&stream->resting);\n"
        "    burble__store_release(&stream->writer_waits, true);",
        "rest_limit",
    ),
    Mutation(
        "interrupt: wakes nobody who rests",
        "reader.c",
        "    burble__waiter_wake(&reader->stream->resting);",
        "",
        "rest_interrupt",
    ),
    Mutation(
        "rest: the writer that waits is not looked for",
        "pace.c",
        "\n           && !burble__load_relaxed(&reader->stream->writer_waits);",
        ";",
        "rest_limit",
    ),
    Mutation(
        "rest: parks for text if a writer waits",
        "reader.c",
        "    const int rc = arm(reader, burble__pace_is_early(reader));",
        "    const int rc = arm(reader, burble__pace_rests(reader));",
        "rest_limit",
    ),
    Mutation(
        "rest: beside text's waiter alone",
        "pace.c",
        "burble__waiter_arm(pace->waiter, &reader->stream->resting);",
        "",
        "rest_end",
    ),
    Mutation(
        "rest: second waiter stays behind",
        "reader.c",
        "    burble__pace_detach(reader);\n",
        "",
        "rest_leave",
    ),
    Mutation(
        "rest: parker not kept",
        "waiter.c",
        "    burble__add_relaxed(&lender->refs, 1);\n    waiter->lender = lender;\n",
        "    waiter->lender = NULL;\n",
        "rest_block_leave",
    ),
    Mutation(
        "arm: push relaxed",
        "waiter.c",
        "burble__cas_weak_acq_rel(parked, &top, waiter)",
        cas_relaxed("parked, &top, waiter"),
        "park two_hubs",
    ),
    Mutation(
        "arm: ARMED after the push",
        "waiter.c",
        "        burble__store_relaxed(&waiter->state, BURBLE__ARMED);\n"
        "        burble__add_relaxed(&waiter->refs, 1);",
        "        burble__add_relaxed(&waiter->refs, 1);",
        "park",
        (
            (
                "        } while (!burble__cas_weak_acq_rel(parked, &top, waiter));",
                "        } while (!burble__cas_weak_acq_rel(parked, &top, waiter));\n"
                "        burble__store_relaxed(&waiter->state, BURBLE__ARMED);",
            ),
        ),
    ),
    Mutation(
        "arm: no reference for the stack",
        "waiter.c",
        "        burble__add_relaxed(&waiter->refs, 1);",
        "",
        "park",
    ),
    Mutation(
        "arm: also while ARMED (two stacks)",
        "waiter.c",
        "if (burble__load_acquire(&waiter->state) == BURBLE__IDLE) {",
        "if (true) {",
        "park two_hubs park_twice",
    ),
    Mutation(
        "wake: take relaxed",
        "waiter.c",
        "burble__exchange_acq_rel(parked, NULL);",
        "atomic_exchange_explicit(parked, NULL, memory_order_relaxed);",
        "park two_hubs",
    ),
    Mutation(
        "wake: next read after firing",
        "waiter.c",
        "        fire(waiter);\n        waiter = next;",
        "        fire(waiter);\n        (void)next;\n        waiter = waiter->next;",
        "two_hubs block_two",
    ),
    Mutation(
        "fire: FIRED after the hub has it",
        "waiter.c",
        "    burble__store_release(&waiter->state, BURBLE__FIRED);\n    if (waiter->hub != NULL) {\n"
        "        burble__hub_push(waiter->hub, waiter);",
        "    if (waiter->hub != NULL) {\n        burble__hub_push(waiter->hub, waiter);\n"
        "        burble__store_release(&waiter->state, BURBLE__FIRED);",
        "park two_hubs",
    ),
    Mutation(
        "fire: reference dropped before the signal",
        "waiter.c",
        "        burble__parker_signal(waiter->to.parker);\n        burble__waiter_unref(waiter);",
        "        burble__waiter_unref(waiter);\n        burble__parker_signal(waiter->to.parker);",
        "block block_until",
    ),
    Mutation(
        "waiter: unref without acquire",
        "waiter.c",
        "burble__sub_acq_rel(&waiter->refs, 1)",
        sub("&waiter->refs, 1", "release"),
        "leave_parked block_until block",
    ),
    Mutation(
        "waiter: unref without release",
        "waiter.c",
        "burble__sub_acq_rel(&waiter->refs, 1)",
        sub("&waiter->refs, 1", "acquire"),
        "leave_parked block_until block",
    ),
    Mutation(
        "retire: not marked",
        "waiter.c",
        "    burble__store_release(&waiter->retired, true);",
        "",
        "leave_parked leave_others",
    ),
    Mutation(
        "retire: left on the stack",
        "waiter.c",
        "        burble__waiter_wake(parked);\n    burble__waiter_unref(waiter);",
        "        {}\n    burble__waiter_unref(waiter);",
        "park",
    ),
    Mutation(
        "retire: frees at once",
        "waiter.c",
        "        burble__waiter_wake(parked);\n    burble__waiter_unref(waiter);",
        "        burble__waiter_wake(parked);\n    burble__store_relaxed(&waiter->refs, 1);\n"
        "    burble__waiter_unref(waiter);",
        "leave_parked leave_others",
    ),
    Mutation(
        "reader: not detached when it goes",
        "reader.c",
        "    burble__reader_here(reader);\n    detach(reader);\n    /* Before",
        "    burble__reader_here(reader);\n    /* Before",
        "park",
    ),
    Mutation(
        "interrupt: wakes first",
        "reader.c",
        "    burble__store_relaxed(&reader->interrupted, true);",
        "    burble__waiter_wake(&reader->stream->parked);\n"
        "    burble__store_relaxed(&reader->interrupted, true);",
        "interrupt_blocked interrupt_parked",
        (
            (
                "wake for nothing. */\n    burble__waiter_wake(&reader->stream->parked);",
                "wake for nothing. */",
            ),
        ),
    ),
    Mutation(
        "wait: not IDLE again",
        "reader.c",
        "        burble__store_relaxed(&waiter->state, BURBLE__IDLE);",
        "        {}",
        "block_two",
    ),
    # ---- the parker
    Mutation(
        "parker: a signal that comes first is lost",
        "parker.c",
        "    while (!parker->signalled && rc != ETIMEDOUT)\n",
        "    parker->signalled = false;\n    while (!parker->signalled && rc != ETIMEDOUT)\n",
        "block",
    ),
    Mutation(
        "parker: signal without the lock",
        "parker.c",
        "    pthread_mutex_lock(&parker->lock);\n    parker->signalled = true;",
        "    parker->signalled = true;\n    pthread_mutex_lock(&parker->lock);",
        "block",
    ),
    # ---- the hub
    Mutation(
        "push: no fence",
        "hub.c",
        PUSH_FENCE,
        PUSH_FENCE.replace("burble__fence_seq_cst()", ""),
        "hub_goes hold_release",
    ),
    Mutation("release: no fence", "hub.c", RELEASE_FENCE, "    if (", "hold_release"),
    Mutation(
        "push: no look whether it is closed",
        "hub.c",
        "    if (burble__load_relaxed(&hub->closed))\n        drop(",
        "    if (false)\n        drop(",
        "hub_goes leave_parked",
    ),
    Mutation(
        "release: no look",
        "hub.c",
        "    if (burble__load_relaxed(&hub->ready) != NULL)\n        signal_hub(hub);",
        "",
        "hold_release",
    ),
    Mutation(
        "release: looks before it ends the hold",
        "hub.c",
        "    burble__store_relaxed(&hub->held, false);",
        "    if (burble__load_relaxed(&hub->ready) == NULL) {\n"
        "        burble__store_relaxed(&hub->held, false);\n        return;\n    }\n"
        "    burble__store_relaxed(&hub->held, false);",
        "hold_release",
    ),
    Mutation(
        "push: relaxed",
        "hub.c",
        "burble__cas_weak_acq_rel(&hub->ready, &top, waiter)",
        cas_relaxed("&hub->ready, &top, waiter"),
        "park two_streams",
    ),
    Mutation(
        "push: no reference to the hub",
        "hub.c",
        "    burble__hub_ref(hub);\n    struct burble__waiter *top",
        "    struct burble__waiter *top",
        "park",
    ),
    Mutation(
        "push: hub not kept meanwhile",
        "hub.c",
        "        signal_hub(hub);\n    burble__hub_unref(hub);\n}",
        "        signal_hub(hub);\n}",
        "leave_parked park",
        (
            (
                "    burble__hub_ref(hub);\n    struct burble__waiter *top",
                "    struct burble__waiter *top",
            ),
        ),
    ),
    Mutation(
        "dispatch: cleared after the taking",
        "hub.c",
        "    hub->wake.kind->clear(&hub->wake); /* first: see hub.h */\n",
        "",
        "one_hub two_streams park_twice",
        (
            (
                "    if (top == NULL)\n        return;\n    struct burble__waiter *first",
                "    hub->wake.kind->clear(&hub->wake);\n    if (top == NULL)\n        return;\n"
                "    struct burble__waiter *first",
            ),
        ),
    ),
    Mutation(
        "dispatch: take relaxed",
        "hub.c",
        "struct burble__waiter *top = burble__exchange_acq_rel(&hub->ready, NULL);",
        "struct burble__waiter *top = atomic_exchange_explicit(&hub->ready, NULL, "
        "memory_order_relaxed);",
        "park",
    ),
    Mutation(
        "dispatch: no signal for the rest",
        "hub.c",
        "        signal_hub(hub); /* so that the loop comes back for the rest */",
        "        {}",
        "one_hub",
    ),
    Mutation(
        "dispatch: IDLE after the call",
        "hub.c",
        "        burble__store_release(&waiter->state, BURBLE__IDLE);\n"
        "        if (!burble__load_acquire(&waiter->retired)) {\n"
        "            waiter->to.call.ready(waiter->to.call.reader, waiter->to.call.arg);\n"
        "            called++;\n        }",
        "        if (!burble__load_acquire(&waiter->retired)) {\n"
        "            waiter->to.call.ready(waiter->to.call.reader, waiter->to.call.arg);\n"
        "            called++;\n        }\n"
        "        burble__store_release(&waiter->state, BURBLE__IDLE);",
        "park_in_call",
    ),
    Mutation(
        "dispatch: reference dropped before the call",
        "hub.c",
        "        burble__store_release(&waiter->state, BURBLE__IDLE);\n"
        "        if (!burble__load_acquire(&waiter->retired)) {",
        "        burble__store_release(&waiter->state, BURBLE__IDLE);\n"
        "        burble__waiter_unref(waiter);\n        burble__add_relaxed(&waiter->refs, 1);\n"
        "        if (!burble__load_acquire(&waiter->retired)) {",
        "leave_parked leave_others",
    ),
    Mutation(
        "signal: closed or not",
        "hub.c",
        "    if (!burble__load_relaxed(&hub->closed)) {",
        "    if (true) {",
        "hub_goes leave_parked",
    ),
    Mutation(
        "destroy: closes without the lock",
        "hub.c",
        "    pthread_mutex_lock(&hub->wake_lock);\n    burble__store_relaxed(&hub->closed, true);\n"
        "    hub->wake.kind->close(&hub->wake);\n    pthread_mutex_unlock(&hub->wake_lock);",
        "    burble__store_relaxed(&hub->closed, true);\n    hub->wake.kind->close(&hub->wake);",
        "hub_goes leave_parked",
    ),
    Mutation(
        "hub: unref without release",
        "hub.c",
        "burble__sub_acq_rel(&hub->refs, 1)",
        sub("&hub->refs, 1", "acquire"),
        "park leave_parked",
    ),
    Mutation(
        "hub: unref without acquire",
        "hub.c",
        "burble__sub_acq_rel(&hub->refs, 1)",
        sub("&hub->refs, 1", "release"),
        "park leave_parked",
    ),
    # ---- the log
    Mutation(
        "append: commit relaxed",
        "stream.c",
        "burble__store_release(&tail->committed,",
        "burble__store_relaxed(&tail->committed,",
        "park",
    ),
    Mutation(
        "append: committed before it is written",
        "stream.c",
        "    burble__record_write(tail->data + stream->used, text, len, tokens);",
        "    burble__store_release(&tail->committed, stream->used + (uint32_t)size);\n"
        "    burble__record_write(tail->data + stream->used, text, len, tokens);",
        "park",
    ),
    Mutation(
        "append: position before the commit",
        "stream.c",
        "    burble__record_write(tail->data + stream->used, text, len, tokens);",
        "    burble__store_release(&stream->next_seq, burble__load_relaxed(&stream->next_seq) + 1);\n"
        "    burble__record_write(tail->data + stream->used, text, len, tokens);",
        "position",
        (
            (
                "    burble__store_release(&stream->next_seq, burble__load_relaxed(&stream->next_seq) + 1);\n"
                "    burble__waiter_wake",
                "    burble__waiter_wake",
            ),
        ),
    ),
    Mutation(
        "append: position relaxed",
        "stream.c",
        "burble__store_release(&stream->next_seq, burble__load_relaxed",
        "burble__store_relaxed(&stream->next_seq, burble__load_relaxed",
        "position",
    ),
    Mutation(
        "position: load relaxed",
        "stream.c",
        "burble__load_acquire(&stream->next_seq);",
        "burble__load_relaxed(&stream->next_seq);",
        "position",
    ),
    Mutation(
        "grow: link relaxed",
        "stream.c",
        "    burble__store_release(&old->next, block);",
        "    burble__store_relaxed(&old->next, block);",
        "many_blocks retain",
    ),
    Mutation(
        "next: committed relaxed",
        "reader.c",
        "    reader->readable = burble__load_acquire(&reader->block->committed);\n"
        "    if (reader->offset < reader->readable)\n        return true;\n"
        "    /* Acquire: pairs with the release in grow",
        "    reader->readable = burble__load_relaxed(&reader->block->committed);\n"
        "    if (reader->offset < reader->readable)\n        return true;\n"
        "    /* Acquire: pairs with the release in grow",
        "park",
    ),
    Mutation(
        "next: link relaxed",
        "reader.c",
        "burble__block *next = burble__load_acquire(&reader->block->next);\n    if (next == NULL)\n        return",
        "burble__block *next = burble__load_relaxed(&reader->block->next);\n    if (next == NULL)\n        return",
        "many_blocks",
    ),
    Mutation(
        "next: a block is left without a last look",
        "reader.c",
        "have gone on to the next one. Without this look that record would be skipped. */\n"
        "    reader->readable = burble__load_acquire(&reader->block->committed);\n    if (",
        "have gone on to the next one. Without this look that record would be skipped. */\n"
        "    if (false && ",
        "many_blocks",
    ),
    Mutation(
        "next: what was readable of a block is taken for the next one's",
        "reader.c",
        "    reader->readable = burble__load_acquire(&next->committed);\n    return reader->readable > 0;",
        "    return burble__load_acquire(&next->committed) > 0;",
        "many_blocks",
    ),
    Mutation(
        "next: committed of the next block relaxed",
        "reader.c",
        "    reader->readable = burble__load_acquire(&next->committed);",
        "    reader->readable = burble__load_relaxed(&next->committed);",
        "many_blocks",
    ),
    Mutation(
        "next: an end without a last look",
        "reader.c",
        "        if (!has_record(reader, left)) {\n            reader->end",
        "        if (true) {\n            reader->end",
        "park",
    ),
    Mutation(
        "next: no reference to the next block",
        "reader.c",
        "    burble__block_ref(next); /* before our block goes, which keeps it */\n    *left",
        "    *left",
        "many_blocks",
    ),
    Mutation(
        "walk: no reference to the next block",
        "reader.c",
        "        burble__block_ref(next); /* before our block goes, which keeps it */\n"
        "        reader->block = next;\n        burble__block_unref",
        "        reader->block = next;\n        burble__block_unref",
        "tail",
    ),
    Mutation(
        "walk: reference after the block has gone",
        "reader.c",
        "        burble__block_ref(next); /* before our block goes, which keeps it */\n"
        "        reader->block = next;\n        burble__block_unref(left, &reader->stream->release);",
        "        reader->block = next;\n        burble__block_unref(left, &reader->stream->release);\n"
        "        burble__block_ref(next);",
        "tail",
    ),
    Mutation(
        "create: reference after the lock",
        "reader.c",
        "    burble__block_ref(reader->block);\n    stream->had_reader = true;\n"
        "    pthread_mutex_unlock(&stream->head_lock);",
        "    stream->had_reader = true;\n    pthread_mutex_unlock(&stream->head_lock);\n"
        "    burble__block_ref(reader->block);",
        "retain",
    ),
    Mutation(
        "trim: lock let go of too early",
        "stream.c",
        "    struct burble__block *const old = stream->head;",
        "    pthread_mutex_unlock(&stream->head_lock);\n"
        "    struct burble__block *const old = stream->head;",
        "tail retain",
        (
            (
                "    pthread_mutex_unlock(&stream->head_lock);\n    if (head != old)",
                "    if (head != old)",
            ),
        ),
    ),
    Mutation(
        "trim: head goes before its successor is kept",
        "stream.c",
        "        burble__block_ref(head); /* before those go which keep it */\n",
        "",
        "retain many_blocks",
    ),
    Mutation(
        "trim: keeps nothing for the first reader",
        "stream.c",
        "    const bool awaited = stream->keep == 0 && !stream->had_reader;",
        "    const bool awaited = false;",
        "first_reader",
    ),
    Mutation(
        "block: unref without release",
        "block.c",
        "burble__sub_acq_rel(&block->refs, 1)",
        sub("&block->refs, 1", "acquire"),
        "retain many_blocks",
    ),
    Mutation(
        "block: unref without acquire",
        "block.c",
        "burble__sub_acq_rel(&block->refs, 1)",
        sub("&block->refs, 1", "release"),
        "retain many_blocks",
    ),
    Mutation(
        "block: unpin without acquire",
        "block.c",
        "burble__sub_acq_rel(&block->pins, 1)",
        sub("&block->pins, 1", "release"),
        "drop drop_leave",
    ),
    Mutation(
        "block: unpin without release",
        "block.c",
        "burble__sub_acq_rel(&block->pins, 1)",
        sub("&block->pins, 1", "acquire"),
        "drop drop_leave",
    ),
    Mutation(
        "block: next read after it was freed",
        "block.c",
        "        struct burble__block *next = burble__load_relaxed(&block->next);\n"
        "        burble__block_unpin(block, release);",
        "        burble__block_unpin(block, release);\n"
        "        struct burble__block *next = burble__load_relaxed(&block->next);",
        "park",
    ),
    # ---- the stream's life
    Mutation(
        "end: state relaxed",
        "stream.c",
        "    burble__store_release(&stream->state, (uint32_t)state);",
        "    burble__store_relaxed(&stream->state, (uint32_t)state);",
        "end_or_cancel park",
    ),
    Mutation(
        "closed: state relaxed",
        "stream.c",
        "const uint32_t state = burble__load_acquire(&stream->state);",
        "const uint32_t state = burble__load_relaxed(&stream->state);",
        "end_or_cancel park",
    ),
    Mutation(
        "fail: terminal before it is written how",
        "stream.c",
        "    stream->code = code;\n    stream->message",
        "    burble__store_release(&stream->state, (uint32_t)BURBLE_FAILED);\n"
        "    stream->code = code;\n    stream->message",
        "end_or_cancel",
    ),
    Mutation(
        "end and cancel: no right to win",
        "stream.c",
        "    if (burble__cas_acq_rel(&stream->state, &state, BURBLE__CLOSING))\n        return BURBLE_OK;",
        "    if (burble__load_acquire(&stream->state) == BURBLE_OPEN)\n        return BURBLE_OK;",
        "end_or_cancel",
    ),
    Mutation(
        "cancel: in two steps",
        "stream.c",
        "    if (!burble__cas_acq_rel(&stream->state, &state, (uint32_t)BURBLE_CANCELLED))\n"
        "        return false;",
        "    if (!burble__cas_acq_rel(&stream->state, &state, BURBLE__CLOSING))\n        return false;\n"
        "    burble__store_release(&stream->state, (uint32_t)BURBLE_CANCELLED);",
        "end_or_cancel",
    ),
    Mutation(
        "stream: unref without acquire",
        "stream.c",
        "burble__sub_acq_rel(&stream->refs, 1)",
        sub("&stream->refs, 1", "release"),
        "park weak",
    ),
    Mutation(
        "stream: unref without release",
        "stream.c",
        "burble__sub_acq_rel(&stream->refs, 1)",
        sub("&stream->refs, 1", "acquire"),
        "park weak",
    ),
    Mutation(
        "stream: weak unref relaxed",
        "stream.c",
        "burble__sub_acq_rel(&stream->weak, 1)",
        sub("&stream->weak, 1", "relaxed"),
        "weak",
    ),
    Mutation(
        "try_ref: a stream that has gone is brought back",
        "stream.c",
        "    while (refs != 0)\n",
        "    for (;;)\n",
        "weak",
    ),
    # ---- limits
    Mutation("L1 removed", "lag.c", L1, "", "limit limit_thrice limit_cancel"),
    Mutation("L1 acq_rel", "lag.c", L1, ACQ_REL_FENCE, "limit limit_thrice limit_cancel"),
    Mutation("L2 removed", "lag.c", L2, "", "limit limit_thrice"),
    Mutation("L2 acq_rel", "lag.c", L2, ACQ_REL_FENCE, "limit limit_thrice"),
    Mutation(
        "consumed: after the look at wake_at",
        "lag.c",
        "    burble__store_relaxed(&limit->consumed, consumed);\n",
        "    if (consumed < burble__load_relaxed(&limit->wake_at)) {\n"
        "        burble__store_relaxed(&limit->consumed, consumed);\n        return;\n    }\n"
        "    burble__store_relaxed(&limit->consumed, consumed);\n",
        "limit limit_thrice",
    ),
    # (That wake_at is set again takes three interruptions, each in its place: lag.pml has it.)
    Mutation(
        "wait: no second look at the room",
        "lag.c",
        "if (rc != BURBLE_OK || goals_reached(lag))\n            break;",
        "if (rc != BURBLE_OK)\n            break;",
        "limit",
    ),
    Mutation(
        "wait: no second look at the end",
        "lag.c",
        "        rc = burble__stream_writable(stream);\n        if",
        "        if",
        "limit_cancel",
    ),
    Mutation(
        "wait: sleeps with the lock",
        "lag.c",
        "        pthread_mutex_unlock(&lag->lock);\n"
        "        signalled = burble__parker_wait(&lag->room, deadline);\n"
        "        pthread_mutex_lock(&lag->lock);",
        "        signalled = burble__parker_wait(&lag->room, deadline);",
        "limit_leave",
    ),
    Mutation(
        "wait: does not say so",
        "lag.c",
        "    burble__store_release(&stream->writer_waits, true);",
        "",
        "limit_cancel limit_leave",
    ),
    Mutation(
        "wait: says so relaxed",
        "lag.c",
        "    burble__store_release(&stream->writer_waits, true);",
        "    burble__store_relaxed(&stream->writer_waits, true);",
        "limit_first_cancel",
    ),
    Mutation(
        "closed: writer_waits relaxed",
        "lag.c",
        "    if (burble__load_acquire(&stream->writer_waits))",
        "    if (burble__load_relaxed(&stream->writer_waits))",
        "limit_first_cancel",
    ),
    Mutation(
        "end: the waiting writer is not told",
        "stream.c",
        "    burble__lag_closed(stream);\n",
        "",
        "limit_cancel",
    ),
    Mutation(
        "change: the waiting writer is not told",
        "lag.c",
        "    if (burble__load_relaxed(&stream->writer_waits))\n        burble__parker_signal(&lag->room);",
        "    (void)lag;",
        "limit_leave limit_lift",
    ),
    Mutation(
        "change: the writer does not look",
        "lag.c",
        "    burble__store_release(&stream->admit_to, 0);",
        "",
        "limit_kept",
    ),
    Mutation(
        "change: admit_to relaxed",
        "lag.c",
        "    burble__store_release(&stream->admit_to, 0);",
        "    burble__store_relaxed(&stream->admit_to, 0);",
        "limit_first limit_first_cancel",
    ),
    Mutation(
        "append: admit_to relaxed",
        "stream.c",
        "burble__load_acquire(&stream->admit_to)",
        "burble__load_relaxed(&stream->admit_to)",
        "limit_first limit_first_cancel",
    ),
    Mutation(
        "first limit: made without release",
        "lag.c",
        "burble__cas_acq_rel(&stream->lag, &lag, mine)",
        "atomic_compare_exchange_strong_explicit(&stream->lag, &lag, mine, memory_order_relaxed, "
        "memory_order_relaxed)",
        "limit_first",
    ),
    Mutation(
        "first limit: found without acquire",
        "lag.c",
        "    struct burble__lag *lag = burble__load_acquire(&stream->lag);\n    if (lag != NULL)\n        return lag;",
        "    struct burble__lag *lag = burble__load_relaxed(&stream->lag);\n    if (lag != NULL)\n        return lag;",
        "limit_first",
    ),
    Mutation(
        "limit: freed while it is on the list",
        "lag.c",
        "    if (!dropped) {\n        unlink_from(lag, limit);\n        make_writer_look",
        "    if (!dropped) {\n        make_writer_look",
        "limit_leave limit_lift",
    ),
    Mutation(
        "destroy: limit goes before the last reader cancels",
        "reader.c",
        "    detach(reader);\n    /* Before its limit goes",
        "    detach(reader);\n    const bool was_dropped = burble__limit_remove(reader);\n"
        "    /* Before its limit goes",
        "limit_unread",
        (("    if (!burble__limit_remove(reader))", "    if (!was_dropped)"),),
    ),
    # ---- dropping
    Mutation(
        "drop: without a pin",
        "lag.c",
        "        burble__block_pin(block); /* for the record that it was handed last */\n",
        "",
        "drop drop_leave",
    ),
    Mutation(
        "drop: without the place",
        "lag.c",
        "    pthread_mutex_lock(&limit->place);\n    /* Once more",
        "    /* Once more",
        "drop",
        (("    pthread_mutex_unlock(&limit->place);\n    return block;", "    return block;"),),
    ),
    Mutation(
        "drop: still on the list",
        "lag.c",
        "        limit->dropped = true;\n        unlink_from(lag, limit);",
        "        limit->dropped = true;",
        "drop",
    ),
    Mutation(
        "drop: reader does not hold its place",
        "lag.h",
        "    pthread_mutex_lock(&limit->place);\n    if (!limit->dropped)\n        return true;\n"
        "    pthread_mutex_unlock(&limit->place);\n    return false;",
        "    pthread_mutex_lock(&limit->place);\n    const bool dropped = limit->dropped;\n"
        "    pthread_mutex_unlock(&limit->place);\n"
        "    if (!dropped)\n        pthread_mutex_lock(&limit->place);\n    return !dropped;",
        "drop",
    ),
    Mutation(
        "drop: the block kept by a reference, too",
        "reader.c",
        "    else if (reader->block != NULL)\n        burble__block_unpin(reader->block",
        "    else if (reader->block != NULL)\n        burble__block_unref(reader->block",
        "drop_leave",
    ),
]

# What the models are checked with: the file, and a macro.
MODELS = [
    *[("park", ""), ("park", "CANCEL"), ("lag", "")],
    *[("relay_session", ""), ("relay_session", "LEASES"), ("relay_session", "CONNECTIONS")],
    *[("relay_rollback", ""), ("relay_rollback", "WORKER_FREEZES")],
    *[("relay_rollback", "FRONT_DIES"), ("relay_rollback", "NOBODY_LEFT")],
    *[("relay_rollback", "NO_ROLLBACK"), ("relay_rollback", "TWICE")],
    ("relay_cancel", ""),
]
# Models whose waits end however the steps are ordered: a cycle is an error, too.
ACYCLIC = ["relay_session", "relay_rollback", "relay_cancel"]

# The macros that break a step, after those of the scenario that notices.
MODEL_MUTATIONS = [
    ("park", "NO_SECOND_LOOK"),
    ("park", "WAKE_FIRST"),
    ("park", "ARM_WHILE_ARMED"),
    ("park", "NO_STACK_REF"),
    ("park", "NO_WAKE_AT_RETIRING"),
    ("park", "FIRED_LAST"),
    ("park", "UNREF_FIRST"),
    ("park", "NO_IDLE"),
    ("park", "NO_HUB_REF"),
    ("park", "SIGNAL_FIRST"),
    ("park", "CLEAR_LAST"),
    ("park", "NO_LOOK_WHETHER_CLOSED"),
    ("park", "NO_LOOK_AT_RELEASE"),
    ("lag", "LOOK_FIRST"),
    ("lag", "NO_LOOK_AT_ROOM"),
    ("lag", "NO_LOOK_AT_THE_END"),
    ("lag", "NO_WRITER_WAITS"),
    ("lag", "NO_WAKE_AT_AGAIN"),
    ("lag", "LOOK_AT_WAKE_AT_FIRST"),
    ("lag", "NO_SIGNAL_OF_CHANGE"),
    ("lag", "NO_SIGNAL_OF_END"),
    ("relay_session", "CONNECTIONS NO_SESSION_NUMBER"),
    ("relay_session", "CONNECTIONS NO_NUMBER_ON_CLAIM"),
    ("relay_session", "NO_NUMBER_ON_REJOIN"),
    ("relay_session", "CONNECTIONS LOG_BEFORE_CLAIM"),
    ("relay_session", "LEASES ONE_PASS"),
    ("relay_session", "CONNECTIONS NO_FENCE"),
    ("relay_session", "LEASES REJOIN_OWNED"),
    ("relay_session", "LEASES REJOIN_ANY_LOG"),
    ("relay_rollback", "NO_HASH"),
    ("relay_rollback", "NO_SESSION_NUMBER"),
    ("relay_rollback", "WORKER_FREEZES REJOIN_ANY_LOG"),
    ("relay_rollback", "WORKER_FREEZES REJOIN_OWNED"),
    ("relay_rollback", "OWN_SESSION_IS_LIVE"),
    ("relay_rollback", "REJOIN_LEAVES_QUEUED"),
    ("relay_rollback", "REAP_ANY_OWNER"),
    ("relay_rollback", "COUNTED_SESSIONS"),
    ("relay_rollback", "NO_GRACE"),
    ("relay_rollback", "NO_WAIT"),
    ("relay_rollback", "NO_POLL"),
    ("relay_rollback", "POLL_BY_NUMBER"),
    ("relay_rollback", "NO_RESUBMIT"),
    ("relay_rollback", "NOBODY_LEFT ONLY_WORKERS_REAP"),
    ("relay_cancel", "CANCEL_WRITES"),
    ("relay_cancel", "TRIM_AT_ONCE"),
    ("relay_cancel", "TRIM_ALL"),
    ("relay_cancel", "REAP_FORGETS"),
    ("relay_cancel", "RELEASE_FORGETS"),
]
# Those that make a cycle.
MODEL_CYCLES = [("relay_cancel", "TRIM_NEVER")]

# What breaks nothing that is promised, so that no check can notice.
HARMLESS = [
    (
        "hub.c: destroy: no fence",
        "the exchange that follows and the push's compare-and-swap are both acquire and release: whichever "
        "is second sees what the first one's thread wrote. The push's own fence serves burble_hub_release",
    ),
    (
        "lag.c: L3 removed",
        "burble__waiter_wake, which announce() calls first, has a full fence (F2) in the same place",
    ),
    (
        "waiter.c: arm: state loaded relaxed",
        "a hub's dispatch, which makes a waiter IDLE, runs in the thread that arms it",
    ),
    (
        "waiter.c: retired stored or loaded relaxed",
        "the same thread retires and dispatches",
    ),
    (
        "waiter.c: FIRED stored relaxed",
        "what follows, the push or the parker's lock, releases more",
    ),
    (
        "lag.c: goals not forgotten after the wait",
        "a signal that nobody waits for: the next wait looks once more",
    ),
]
