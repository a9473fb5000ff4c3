"""The prefix table: marked prompts as Anthropic caches them, unmarked ones as OpenAI does."""

from __future__ import annotations

from typing import Any

from apps.upstreams.simulator.cache import CacheUse, PrefixTable
from apps.upstreams.simulator.prompt import Context
from tests.upstreams.asking import ANTHROPIC, CHAT, MESSAGES, RESPONSES, Json, ask, chat, messages, quick, responses

EPHEMERAL = {"type": "ephemeral"}
HOUR = {"type": "ephemeral", "ttl": "1h"}


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def marked(*texts: str, ttl: Any = "5m", at: int = 0) -> Context:
    """Blocks of text with a breakpoint after block `at`."""
    context = Context()
    for place, text in enumerate(texts):
        context.add(text)
        context.end_block(ttl if place == at else None)
    return context


def of(text: str, tokens: int) -> str:
    return (text * tokens * 4)[: tokens * 4]


def test_a_prefix_is_written_once_and_read_until_its_life_ends() -> None:
    clock = Clock()
    table = PrefixTable(clock=clock)
    assert table.use_marks(marked(of("a", 100), "hi"), scope=b"alice") == CacheUse(write_5m=100)
    clock.now = 299
    assert table.use_marks(marked(of("a", 100), "you"), scope=b"alice") == CacheUse(read=100)
    clock.now = 299 + 299  # reading renewed it
    assert table.use_marks(marked(of("a", 100), "he"), scope=b"alice") == CacheUse(read=100)
    clock.now += 301
    assert table.use_marks(marked(of("a", 100), "she"), scope=b"alice") == CacheUse(write_5m=100)


def test_prefixes_are_private_to_their_scope() -> None:
    table = PrefixTable()
    table.use_marks(marked(of("a", 100)), scope=b"alice")
    assert table.use_marks(marked(of("a", 100)), scope=b"bob") == CacheUse(write_5m=100)


def test_a_later_mark_reads_what_an_earlier_one_kept() -> None:
    table = PrefixTable()
    table.use_marks(marked(of("a", 100), "x"), scope=b"")
    longer = marked(of("a", 100), of("b", 50), of("c", 50), at=2)
    assert table.use_marks(longer, scope=b"") == CacheUse(read=100, write_5m=100)
    assert table.use_marks(longer, scope=b"") == CacheUse(read=200)


def test_lives_are_written_apart() -> None:
    context = Context()
    for text, ttl in ((of("a", 100), "1h"), (of("b", 40), "5m"), (of("c", 10), None)):
        context.add(text)
        context.end_block(ttl)  # type: ignore[arg-type]
    assert PrefixTable().use_marks(context, scope=b"") == CacheUse(write_1h=100, write_5m=40)


def test_short_prefixes_are_not_kept_and_the_table_is_bounded() -> None:
    table = PrefixTable(max_prefixes=3)
    assert table.use_marks(marked(of("a", 31)), scope=b"") == CacheUse()
    for letter in "abcde":
        table.use_marks(marked(of(letter, 40)), scope=b"")
    assert len(table) == 3
    assert table.use_marks(marked(of("e", 40)), scope=b"") == CacheUse(read=40)
    assert table.use_marks(marked(of("a", 40)), scope=b"") == CacheUse(write_5m=40)


def test_unmarked_prompts_are_read_in_steps_of_128_tokens() -> None:
    table = PrefixTable()
    first = marked(of("word ", 1_500), at=-1)
    assert table.use_steps(first, scope=b"") == CacheUse()
    assert table.use_steps(marked(of("word ", 1_300), of("x", 900), at=-1), scope=b"") == CacheUse(read=1_280)
    assert table.use_steps(first, scope=b"") == CacheUse(read=1_408)
    assert table.use_steps(marked(of("word ", 1_023), at=-1), scope=b"") == CacheUse()


async def test_messages_tell_reads_and_writes() -> None:
    simulator = quick()
    body = messages("Hi", system=[{"type": "text", "text": of("s", 80), "cache_control": HOUR}])

    async def usage(body: Json, key: str = "alice") -> list[int]:
        _, reply = await ask(simulator, MESSAGES, body, {**ANTHROPIC, "x-api-key": key})
        told = reply["usage"]
        split = told["cache_creation"]
        assert told["cache_creation_input_tokens"] == sum(split.values())
        return [
            told["input_tokens"],
            told["cache_read_input_tokens"],
            split["ephemeral_5m_input_tokens"],
            split["ephemeral_1h_input_tokens"],
        ]

    assert await usage(body) == [3, 0, 0, 80]
    assert await usage(body) == [3, 80, 0, 0]
    assert await usage(body, key="bob") == [3, 0, 0, 80]
    # A mark on the whole request stands at its end.
    assert await usage({**body, "cache_control": EPHEMERAL}) == [1, 80, 2, 0]
    assert await usage({**body, "cache_control": EPHEMERAL, "model": "another"}) == [1, 0, 2, 80]


async def test_chat_and_responses_read_by_themselves_within_a_cache_key() -> None:
    simulator = quick()
    long = of("lorem ipsum ", 2_000)

    async def cached(path: str, body: Json) -> int:
        usage = (await ask(simulator, path, body, {"authorization": "Bearer alice"}))[1]["usage"]
        details = usage.get("prompt_tokens_details") or usage.get("input_tokens_details")
        return int(details["cached_tokens"])

    assert await cached(CHAT, chat(long)) == 0
    assert await cached(CHAT, chat(long)) == 1_920
    assert await cached(CHAT, chat(long, prompt_cache_key="mine")) == 0
    assert await cached(RESPONSES, responses(long, prompt_cache_key="yours")) == 0
    assert await cached(RESPONSES, responses(long, prompt_cache_key="yours")) == 1_920


async def test_a_marked_chat_tells_writes_as_dashscope_does() -> None:
    simulator = quick()
    parts = [{"type": "text", "text": of("q", 60), "cache_control": EPHEMERAL}, {"type": "text", "text": "Hi"}]
    body = chat("") | {"messages": [{"role": "user", "content": parts}]}
    details = [(await ask(simulator, CHAT, body))[1]["usage"]["prompt_tokens_details"] for _ in range(2)]
    assert [(one["cached_tokens"], one["cache_creation_input_tokens"]) for one in details] == [(0, 61), (61, 0)]
    assert details[0]["cache_type"] == "ephemeral"
