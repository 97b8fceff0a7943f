"""Hidden states: of the real 135M through llama.cpp, and of a tiny random Qwen2 through transformers."""

import json
from collections.abc import Sequence
from functools import wraps
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from escalade.engines.base import Progress, Request
from escalade.engines.llamacpp import Engine
from escalade.errors import EngineError, ProblemError, SettingError, WeightsError
from escalade.pool import Pool, PoolModel, Prompt
from escalade.probes import checkpoint as reading
from escalade.probes import states
from escalade.probes.checkpoint import batches, common_start
from escalade.probes.llama import Llama
from escalade.probes.states import States, read_states
from tests.engines.conftest import Await
from tests.engines.tiny import CONTEXT

TEXTS = ["What is 3 + 4?", "A farmer has 12 hens, and each lays 2 eggs a day. How many eggs are that in a week?", "1?"]


def plain(pool: Pool, **model: Any) -> Pool:
    """The pool with a short prompt, and its first model changed."""
    first = pool.models[0].model_copy(update={"prompt": Prompt(user="Answer: {problem}"), **model})
    return pool.model_copy(update={"models": (first, *pool.models[1:])})


def read(pool: Pool, texts: Sequence[str] = TEXTS, **settings: Any) -> States:
    return read_states(pool.models[0], pool, texts, **settings)


# Without any model


def pool_of(engine: str, **options: Any) -> Pool:
    return Pool(name="mine", models=(PoolModel(alias="M", name="maker/M", engine=engine, options=options),))


@pytest.mark.parametrize(
    ("engine", "settings", "said"),
    [
        ("llamacpp", {"reader": "lamacpp"}, "reader 'lamacpp' is unknown: .*did you mean 'llamacpp'"),
        ("llamacpp", {"reader": "vllm"}, "reader 'vllm': .*needs a GPU.*reader transformers reads the same checkpoint"),
        ("llamacpp", {"positions": 0}, "positions is 0"),
        ("transformers", {"reader": "llamacpp"}, "this one is of engine transformers: name reader transformers"),
        ("openai", {}, "engine openai has its weights elsewhere"),
        ("replay:x.parquet", {}, "engine replay has its weights elsewhere"),
    ],
)
def test_what_cannot_be_read_is_refused(engine: str, settings: dict[str, Any], said: str) -> None:
    with pytest.raises(SettingError, match=said):
        read(pool_of(engine), **settings)


def test_weights_that_are_not_there_are_named(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"option path says .*gone, but no folder is there"):
        read(pool_of("transformers", path=tmp_path / "gone"))


@pytest.mark.parametrize("most", [1, 7, 100])
def test_batches_hold_every_prompt_once_and_no_more_than_they_may(most: int) -> None:
    lengths = [5, 9, 1, 1, 30, 4, 4, 8]
    found = list(batches(lengths, most=most))
    assert sorted(place for batch in found for place in batch) == list(range(len(lengths)))
    assert all(len(batch) == 1 or len(batch) * max(lengths[place] for place in batch) <= most for batch in found)


@given(st.lists(st.lists(st.integers(0, 2), max_size=6), min_size=1, max_size=5))
def test_a_common_start_is_the_longest_that_all_have(prompts: list[list[int]]) -> None:
    found = common_start(prompts)
    assert all(prompt[:found] == prompts[0][:found] and len(prompt) >= found for prompt in prompts)
    assert any(prompt[: found + 1] != prompts[0][: found + 1] or len(prompt) == found for prompt in prompts)


# llama.cpp


@pytest.fixture(scope="module")
def gguf_pool(small_pool: Pool) -> Pool:
    return plain(small_pool)


@pytest.fixture(scope="module")
def of_gguf(gguf_pool: Pool) -> States:
    return read(gguf_pool)


@pytest.mark.model
def test_llamacpp_states_have_the_shape_that_they_say(of_gguf: States, gguf_pool: Pool) -> None:
    assert of_gguf.values.shape == (3, 1, 2, 576)
    assert of_gguf.values.dtype == np.float32
    assert (of_gguf.layers, of_gguf.positions, of_gguf.reader) == ((30,), (-1, -2), "llamacpp")
    assert of_gguf.identity == f"gguf:{gguf_pool.models[0].sha256}"
    assert len({row.tobytes() for row in of_gguf.values.reshape(6, -1)}) == 6


@pytest.mark.model
def test_llamacpp_states_do_not_depend_on_what_else_is_read(of_gguf: States, gguf_pool: Pool) -> None:
    again = read(gguf_pool, [TEXTS[2], TEXTS[0], TEXTS[2], TEXTS[1]])
    assert np.array_equal(again.values[0], again.values[2])
    for place, known in enumerate((2, 0, 2, 1)):
        np.testing.assert_allclose(again.values[place], of_gguf.values[known], atol=1e-3)
        assert again.prompt_tokens[place] == of_gguf.prompt_tokens[known]
    alone = read(gguf_pool, TEXTS[1:2], positions=1)  # llama.cpp then keeps the last token's only
    assert alone.positions == (-1,)
    np.testing.assert_allclose(alone.values[0, :, 0], of_gguf.values[1, :, 0], atol=1e-3)


@pytest.mark.model
def test_llamacpp_counts_the_tokens_that_the_engine_counts(
    of_gguf: States, gguf_pool: Pool, llamacpp: Engine, wait: Await
) -> None:
    model = gguf_pool.models[0]
    for text, tokens in zip(TEXTS, of_gguf.prompt_tokens, strict=True):
        messages = gguf_pool.prompt_of(model).messages(text)
        progress = Progress()
        wait(llamacpp.sample(Request("p", messages, model, 0.0, 1, 0, 1), progress))
        assert progress.prompt_tokens == tokens


@pytest.mark.model
def test_llamacpp_has_its_last_layer_only(gguf_pool: Pool) -> None:
    with pytest.raises(SettingError, match=r"layers \[15\]: reader llamacpp gives layer 30 only.*transformers gives"):
        read(gguf_pool, layers=[15])
    with pytest.raises(SettingError, match=r"layers \[31\]: give one or more, each once, from 0 .* to 30"):
        read(gguf_pool, layers=[31])


@pytest.mark.model
def test_llamacpp_a_prompt_is_never_cut(gguf_pool: Pool) -> None:
    """What fits to the last token is read, and one token more is refused before anything is computed."""
    short = plain(gguf_pool, options={"slots": 1, "context": 128})
    room = 128 - int(read(short, ["a"]).prompt_tokens[0])
    fits = "a" + " a" * room
    assert read(short, [fits]).prompt_tokens.tolist() == [128]
    told: list[tuple[int, int]] = []
    with pytest.raises(ProblemError, match=r"problem 1 \(counted from 0\): its prompt has 129 tokens, 135M takes 128"):
        read(short, ["a", f"{fits} a"], progress=lambda done, total: told.append((done, total)))
    assert told == [(0, 2)]


@pytest.mark.model
def test_llamacpp_texts_of_more_tokens_than_their_bytes_promise_are_read(gguf_pool: Pool) -> None:
    digits = " ".join("0123456789" * 15)
    found = read(gguf_pool, [digits, TEXTS[0]])
    assert found.prompt_tokens[0] > len(digits) / 2 > 3 * found.prompt_tokens[1]
    np.testing.assert_allclose(found.values[1], read(gguf_pool, TEXTS[:1]).values[0], atol=1e-3)


@pytest.mark.model
def test_llamacpp_a_cache_is_read_and_goes_on(
    of_gguf: States, gguf_pool: Pool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read(gguf_pool, TEXTS[:2], cache=tmp_path)
    computed: list[int] = []
    vectors = Llama.vectors

    def counted(self: Llama, tokens: Sequence[int]) -> Any:
        computed.append(len(tokens))
        return vectors(self, tokens)

    monkeypatch.setattr(Llama, "vectors", counted)
    whole = read(gguf_pool, cache=tmp_path)
    assert computed == [of_gguf.prompt_tokens[2]]
    np.testing.assert_allclose(whole.values, of_gguf.values, atol=1e-3)
    assert np.array_equal(whole.prompt_tokens, of_gguf.prompt_tokens)
    monkeypatch.setattr(states, "Llama", None)  # nothing is loaded where nothing is missing
    assert np.array_equal(read(gguf_pool, cache=tmp_path).values, whole.values)


@pytest.mark.model
def test_llamacpp_another_prompt_is_another_state(of_gguf: States, gguf_pool: Pool, tmp_path: Path) -> None:
    read(gguf_pool, TEXTS[:1], cache=tmp_path)
    other = read(plain(gguf_pool, prompt=Prompt(user="Reply: {problem}")), TEXTS[:1], cache=tmp_path)
    assert np.abs(other.values - of_gguf.values[:1]).max() > 0.1


# transformers


@pytest.fixture(scope="module")
def tiny_pool(checkpoint: Path) -> Pool:
    model = PoolModel(alias="tiny", name="test/tiny", engine="transformers", options={"path": checkpoint})
    return plain(Pool(name="mine", models=(model,)))


def padded_on(side: str, checkpoint: Path, folder: Path) -> Path:
    """The checkpoint with a tokenizer that pads on this side."""
    for path in checkpoint.iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    config = json.loads((folder / "tokenizer_config.json").read_text(encoding="utf-8"))
    (folder / "tokenizer_config.json").write_text(json.dumps({**config, "padding_side": side}), encoding="utf-8")
    return folder


@pytest.mark.parametrize("worth", [16, 10_000])
@pytest.mark.parametrize("side", ["left", "right"])
def test_transformers_states_are_those_of_each_prompt_alone(
    checkpoint: Path, tmp_path: Path, side: str, worth: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Padding on either side, what prompts begin with computed once or not, against a plain pass of each prompt."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    monkeypatch.setattr(reading, "WORTH", worth)
    folder = padded_on(side, checkpoint, tmp_path)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    assert tokenizer.padding_side == side
    net = AutoModelForCausalLM.from_pretrained(folder).eval()
    pool = plain(pool_of("transformers", path=folder))
    found = read(pool, layers=[0, 1, 2], positions=3)
    assert found.values.shape == (3, 3, 3, 64)
    for place, text in enumerate(TEXTS):
        messages = pool.prompt_of(pool.models[0]).messages(text)
        ids = tokenizer.apply_chat_template(messages, add_generation_prompt=True, tokenize=True, return_dict=False)
        with torch.inference_mode():
            hidden = net(torch.tensor([ids]), output_hidden_states=True).hidden_states
        assert len(hidden) == 3
        assert found.prompt_tokens[place] == len(ids)
        for row, layer in enumerate(found.layers):
            for column, position in enumerate(found.positions):
                alone = hidden[layer][0, position].numpy()
                np.testing.assert_allclose(found.values[place, row, column], alone, atol=1e-3)


def test_transformers_computes_once_what_prompts_begin_with(checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Few copies at once, many prompts: batch after batch takes the same start, and none changes it."""
    from transformers import Qwen2Model

    long = Prompt(system="Think step by step. " * 8, user="{problem}")
    pool = plain(pool_of("transformers", path=checkpoint), prompt=long)
    texts = ["x" * (n % 7) + str(n) for n in range(20)]
    seen: list[int] = []
    forward = Qwen2Model.forward

    @wraps(forward)
    def counted(self: Any, *args: Any, **given: Any) -> Any:
        seen.append(given["input_ids"].numel())
        return forward(self, *args, **given)

    monkeypatch.setattr(reading, "WORTH", 10_000)
    whole = read(pool, texts)
    monkeypatch.setattr(reading, "WORTH", 16)
    monkeypatch.setattr(reading, "BATCH", 100)
    monkeypatch.setattr(Qwen2Model, "forward", counted)
    shared = read(pool, texts)
    np.testing.assert_allclose(shared.values, whole.values, atol=1e-3)
    assert np.array_equal(shared.prompt_tokens, whole.prompt_tokens)
    assert len(seen) > 3
    assert sum(seen) < whole.prompt_tokens.sum() / 2


def test_transformers_default_layers_and_identity(tiny_pool: Pool) -> None:
    from escalade.engines.transformers import Engine as Transformers

    found = read(tiny_pool)
    assert found.layers == (1, 2)
    assert found.positions == (-1, -2)
    assert found.reader == "transformers float32"
    assert found.identity == Transformers("", tiny_pool, seed=0).fingerprint(tiny_pool.models[0])


def test_transformers_a_prompt_is_never_cut(tiny_pool: Pool) -> None:
    room = CONTEXT - int(read(tiny_pool, [""]).prompt_tokens[0])
    assert read(tiny_pool, ["x" * room]).prompt_tokens.tolist() == [CONTEXT]
    with pytest.raises(
        ProblemError, match=rf"problem 1 .*has {CONTEXT + 1} tokens, tiny takes {CONTEXT}: nothing is cut"
    ):
        read(tiny_pool, ["a", "x" * (room + 1)])


def test_transformers_a_prompt_shorter_than_the_positions_is_refused(tiny_pool: Pool) -> None:
    with pytest.raises(ProblemError, match="fewer than the 500 positions"):
        read(tiny_pool, ["a"], positions=500)


def test_transformers_layers_that_are_not_there_are_refused(tiny_pool: Pool) -> None:
    for layers in ([3], [-1], [], [1, 1]):
        with pytest.raises(SettingError, match=r"each once, from 0 .* to 2"):
            read(tiny_pool, layers=layers)


def test_transformers_16_bits_are_read_as_32_where_they_fit(checkpoint: Path, tmp_path: Path) -> None:
    from transformers import AutoModelForCausalLM

    folder = padded_on("right", checkpoint, tmp_path)
    AutoModelForCausalLM.from_pretrained(folder, dtype="bfloat16").save_pretrained(folder)
    assert read(pool_of("transformers", path=folder)).reader == "transformers float32"
    assert read(pool_of("transformers", path=folder, dtype="bfloat16")).reader == "transformers bfloat16"


def test_transformers_a_cache_needs_no_weights(
    tiny_pool: Pool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from transformers import AutoModelForCausalLM

    first = read(tiny_pool, cache=tmp_path)
    monkeypatch.setattr(AutoModelForCausalLM, "from_pretrained", None)
    assert np.array_equal(read(tiny_pool, cache=tmp_path).values, first.values)
    with pytest.raises(EngineError, match="cannot load tiny"):
        read(tiny_pool, ["new"], cache=tmp_path)


def test_transformers_weights_that_are_not_numbers_are_an_error(checkpoint: Path, tmp_path: Path) -> None:
    import torch
    from transformers import AutoModelForCausalLM

    folder = padded_on("right", checkpoint, tmp_path)
    net = AutoModelForCausalLM.from_pretrained(folder)
    with torch.no_grad():
        net.model.norm.weight.fill_(float("nan"))
    net.save_pretrained(folder)
    with pytest.raises(EngineError, match="hidden states of M that are not finite numbers in float32"):
        read(pool_of("transformers", path=folder))


@pytest.mark.model
def test_transformers_and_llamacpp_agree_on_a_gguf_file(checkpoint: Path, of_gguf: States, gguf_pool: Pool) -> None:
    """The last layer is the same one; llama.cpp rounds what it multiplies with 4-bit weights to 8 bits."""
    pytest.importorskip("gguf", reason="transformers reads GGUF files with it")
    found = read(gguf_pool, reader="transformers", layers=[30])
    assert np.array_equal(found.prompt_tokens, of_gguf.prompt_tokens)
    assert found.identity == of_gguf.identity
    ours, theirs = found.values.reshape(6, -1), of_gguf.values.reshape(6, -1)
    cosine = (ours * theirs).sum(1) / np.linalg.norm(ours, axis=1) / np.linalg.norm(theirs, axis=1)
    assert cosine.min() > 0.98
