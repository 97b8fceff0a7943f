"""The engine transformers: what needs no torch here; the tiny checkpoint by `make test-vllm`."""

import asyncio
import sys
from pathlib import Path
from typing import Any

import pytest

from escalade.engines import transformers as engines
from escalade.engines.base import Demand, Progress, Request
from escalade.engines.transformers import Engine, Options, prompt_ids
from escalade.errors import EngineError, SettingError, WeightsError
from escalade.pool import Pool, PoolModel
from escalade.samples.sample import Generation
from tests.engines.conftest import Await
from tests.engines.tiny import CONTEXT, make_checkpoint


def pool_of(**options: Any) -> Pool:
    return Pool(name="mine", models=(PoolModel(alias="M", name="maker/M", engine="transformers", options=options),))


def request(
    model: PoolModel, text: str = "Say hello.", *, tokens: int = 12, temperature: float = 0.7, seed: int = 1
) -> Request:
    return Request("p", [{"role": "user", "content": text}], model, temperature, tokens, 0, seed)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"devise": "cpu"}, r"model M: option 'devise' of engine transformers: unknown; .*did you mean 'device'"),
        ({"in_flight": 0}, r"option 'in_flight' of engine transformers: .*greater than or equal to 1"),
        ({"context": 2}, r"option 'context' of engine transformers"),
    ],
)
def test_options_are_checked_at_once(options: dict[str, Any], said: str) -> None:
    with pytest.raises(SettingError, match=said):
        Engine("", pool_of(**options), seed=0)


def test_it_takes_no_argument() -> None:
    with pytest.raises(SettingError, match="engine transformers takes no argument, found 'x'"):
        Engine("x", pool_of(), seed=0)


def test_a_missing_package_is_named_before_anything_is_drawn(monkeypatch: pytest.MonkeyPatch, wait: Await) -> None:
    monkeypatch.setattr(engines.importlib.util, "find_spec", lambda name: None)
    monkeypatch.setitem(sys.modules, "torch", None)
    pool = pool_of()
    engine = Engine("", pool, seed=0)
    with pytest.raises(SettingError, match=r"pip install 'escalade\[transformers\]'"):
        engine.check([Demand(pool["M"], 0.7, 1, ["p"])])
    with pytest.raises(SettingError, match=r"pip install 'escalade\[transformers\]'"):
        wait(engine.sample(request(pool["M"]), Progress()))
    wait(engine.close())


def test_missing_weights_are_refused_where_it_can_be_known(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engines.importlib.util, "find_spec", lambda name: object())
    pool = pool_of(path=tmp_path / "gone")
    with pytest.raises(WeightsError, match=r"'M': option path says .*gone, but no folder is there"):
        Engine("", pool, seed=0).check([Demand(pool["M"], 0.7, 1, ["p"])])


def test_the_fingerprint_has_what_changes_samples() -> None:
    def print_of(**options: Any) -> str:
        pool = pool_of(**options)
        return Engine("", pool, seed=0).fingerprint(pool["M"])

    assert print_of(identity="x") == print_of(identity="x", device="cuda", in_flight=4, context=100)
    assert (
        len({print_of(identity="x"), print_of(identity="x", dtype="float32"), print_of(identity="x", chat=False)}) == 3
    )
    assert print_of().startswith("transformers:maker/M@main:")


class Words:
    """A tokenizer of words."""

    chat_template: str | None = None

    def __call__(self, text: str) -> dict[str, list[int]]:
        return {"input_ids": [len(word) for word in text.split()]}

    def apply_chat_template(self, messages: list[dict[str, str]], **settings: Any) -> list[int]:
        if messages[0]["role"] == "system":
            raise ValueError("no system text, please")
        return [1, *self(messages[-1]["content"])["input_ids"]]


def test_messages_become_tokens_by_the_template_or_without_one() -> None:
    words, question = Words(), [{"role": "user", "content": "a bb ccc"}]
    with pytest.raises(EngineError, match="the tokenizer of M has no chat template: set option chat = false"):
        prompt_ids(words, question, chat=True, alias="M")
    assert prompt_ids(words, question, chat=False, alias="M") == [1, 2, 3]
    words.chat_template = "{{ messages }}"
    assert prompt_ids(words, question, chat=True, alias="M") == [1, 1, 2, 3]
    with pytest.raises(EngineError, match="does not take these messages: no system text, please"):
        prompt_ids(words, [{"role": "system", "content": "s"}, *question], chat=True, alias="M")


# The library itself


def test_transformers_samples_do_not_depend_on_each_other(
    transformers: Engine, tiny_transformers: Pool, wait: Await
) -> None:
    model = tiny_transformers["tiny"]
    alone = [wait(transformers.sample(request(model, seed=s), Progress())).text for s in range(6)]

    async def at_once() -> list[Generation]:
        return list(await asyncio.gather(*(transformers.sample(request(model, seed=s), Progress()) for s in range(6))))

    assert [g.text for g in wait(at_once())] == alone
    assert len(set(alone)) == 6


def test_transformers_top_k_and_top_p_are_the_pools(transformers: Engine, tiny_transformers: Pool, wait: Await) -> None:
    model = tiny_transformers["tiny"]
    greedy = wait(transformers.sample(request(model, temperature=0.0), Progress()))
    for narrow in ({"top_k": 1}, {"top_p": 1e-6}):
        drawn = wait(transformers.sample(request(model.model_copy(update=narrow), temperature=2.0), Progress()))
        assert drawn.text == greedy.text
        assert drawn.mean_logprob == pytest.approx(greedy.mean_logprob)  # of the model, not of the narrowed choice


def test_transformers_logprobs_are_those_of_the_model(
    transformers: Engine, tiny_transformers: Pool, wait: Await
) -> None:
    """Against a forward pass over the whole text; the checkpoint's own repetition penalty has no part in it."""
    import torch

    asked = request(tiny_transformers["tiny"], tokens=20)
    drawn = wait(transformers.sample(asked, Progress()))
    loaded = transformers._models["tiny"].result()
    prompt = prompt_ids(loaded._tokenizer, asked.messages, chat=True, alias="tiny")
    whole = torch.tensor([prompt + loaded._tokenizer(drawn.text)["input_ids"]])
    with torch.inference_mode():
        logprobs = torch.log_softmax(loaded.net(whole).logits[0].float(), dim=-1)
    own = [float(logprobs[i - 1, whole[0, i]]) for i in range(len(prompt), whole.shape[1])]
    assert len(own) == 20
    assert drawn.mean_logprob == pytest.approx(sum(own) / 20, abs=0.02)


def test_transformers_an_answer_that_ends_by_itself(transformers: Engine, tiny_transformers: Pool, wait: Await) -> None:
    hot = [
        wait(transformers.sample(request(tiny_transformers["tiny"], temperature=3.0, tokens=400, seed=s), Progress()))
        for s in range(4)
    ]
    ended = [g for g in hot if g.finish_reason == "stop"]
    assert ended
    assert all(g.completion_tokens is not None and g.completion_tokens < 400 for g in ended)
    assert not any("<|im_end|>" in (g.text or "") for g in ended)


def test_transformers_answers_end_where_the_context_does(
    transformers: Engine, tiny_transformers: Pool, wait: Await
) -> None:
    model = tiny_transformers["tiny"]
    drawn = wait(transformers.sample(request(model, "x" * (CONTEXT - 40), tokens=100), Progress()))
    assert drawn.finish_reason == "length"
    assert drawn.prompt_tokens + drawn.completion_tokens == CONTEXT
    with pytest.raises(EngineError, match=rf"leaves no room in the {CONTEXT} of tiny"):
        wait(transformers.sample(request(model, "x" * CONTEXT), Progress()))


def test_transformers_p25_a_model_at_rest_is_freed_and_loaded_by_the_next_request_only(
    tiny_transformers: Pool, wait: Await, monkeypatch: pytest.MonkeyPatch
) -> None:
    loads: list[str] = []
    load = engines._Model.__init__

    def counted(self: engines._Model, model: PoolModel, options: Options) -> None:
        loads.append(model.alias)
        load(self, model, options)

    monkeypatch.setattr(engines._Model, "__init__", counted)
    model = tiny_transformers["tiny"]

    async def draw_rest_draw() -> None:
        engine = Engine("", tiny_transformers, seed=0)
        await engine.rest(model)  # not loaded yet
        first = asyncio.ensure_future(engine.sample(request(model), Progress()))
        await asyncio.sleep(0)
        await engine.rest(model)  # asked: stays
        before = await first
        assert loads == ["tiny"]
        await engine.rest(model)
        asked = [engine.sample(request(model), Progress()) for _ in range(3)]
        assert {g.text for g in await asyncio.gather(*asked)} == {before.text}
        assert loads == ["tiny", "tiny"]
        await engine.close()

    wait(draw_rest_draw())


def test_transformers_p13_what_cannot_be_loaded_fails_once_and_stays_failed(
    checkpoint: Path, tmp_path: Path, wait: Await
) -> None:
    for name in ("config.json", "tokenizer.json", "tokenizer_config.json"):
        (tmp_path / name).write_bytes((checkpoint / name).read_bytes())
    (tmp_path / "model.safetensors").write_bytes(b"nonsense")
    pool = pool_of(path=tmp_path)
    engine = Engine("", pool, seed=0)
    for _ in range(2):
        with pytest.raises(EngineError, match=r"transformers cannot load M from .*: ") as error:
            wait(engine.sample(request(pool["M"]), Progress()))
        assert not error.value.retryable
    wait(engine.close())


def test_transformers_checkpoints_differ_by_their_weights(checkpoint: Path, tmp_path: Path) -> None:
    other = make_checkpoint(tmp_path / "other", seed=1)
    again = make_checkpoint(tmp_path / "again")
    prints = [
        Engine("", pool, seed=0).fingerprint(pool["M"])
        for pool in (pool_of(path=p) for p in (checkpoint, again, other))
    ]
    assert prints[0] == prints[1] != prints[2]
