from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from escalade.errors import PoolError
from escalade.pool import HubSource, PackageSource, Pool, PoolModel, Price, Prompt, UrlSource, load_pool, shipped_pools
from escalade.routes import parse_route
from escalade.testing import pool_of

MODEL = '[[models]]\nalias = "S"\nname = "acme/small"\n'
EVERYTHING = """
name = "mine"
route = "mv_cascade_S_k4_t0.7_L_k1_t0.0"
prices_as_of = "2026-01-31"
billing = "cached"
prompt = "house"
max_tokens = 512
answer_kind = "number"

[prompts.house]
system = "Be brief."
user = "Q: {problem}"
shots = [["1+1", "2"], ["{problem}", "?"]]

[[models]]
alias = "S"
name = "acme/small"
engine = "llamacpp"
options = { context = 4096, nested = { threads = 2 } }
file = "weights/small.gguf"
sha256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
size = 98362432
price = { input = 0.1, cached = 0, output = 1 }
cost = 1
threshold = 0.8
accuracy = 0.55
max_tokens = 100
top_p = 0.95
top_k = 50
sources = [
    { hub = "acme/small-GGUF", revision = "abc", file = "small.gguf" },
    { package = "small-part{part}", version = "1.0", parts = 3, member = "*.bin" },
    { url = "https://example.org/small.gguf" },
]

[[models]]
alias = "L"
name = "acme/large"
engine = "replay:recorded.parquet"
greedy_only = true
prompt = { user = "{problem}" }
"""


def load(tmp_path: Path, text: str | bytes) -> Pool:
    path = tmp_path / "escalade.toml"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return load_pool(path)


def complaint(tmp_path: Path, text: str | bytes) -> str:
    with pytest.raises(PoolError) as caught:
        load(tmp_path, text)
    message = str(caught.value)
    assert str(tmp_path / "escalade.toml") in message
    return message.split("escalade.toml", 1)[1]


@pytest.mark.parametrize("name", shipped_pools())
def test_the_shipped_pools_load_and_their_routes_are_understood(name: str) -> None:
    pool = load_pool(name)
    assert pool.name == name and all(pool[m.alias] is pool[m.name] is m and m.price for m in pool.models)
    if pool.route is not None:
        assert str(parse_route(pool.route, pool)) == pool.route
    assert all(pool.prompt_of(m).messages("1+1?")[-1]["content"].endswith("1+1?") for m in pool.models)


def test_the_published_pool_is_the_default() -> None:
    pool = load_pool("qwen2.5-math")
    prices = {m.alias: (m.price.input, m.price.cached_input, m.price.output) for m in pool.models if m.price}
    assert prices == {
        "1.5B": (Decimal("0.1"), Decimal("0.05"), Decimal("0.1")),
        "7B": (Decimal("0.2"), Decimal("0.1"), Decimal("0.2")),
        "72B": (Decimal("0.9"), Decimal("0.45"), Decimal("0.9")),
    }
    assert [m.cost for m in pool.models] == [1, 2, 9]
    assert [m.greedy_only for m in pool.models] == [False, False, True]
    assert [m.name for m in pool.models] == [f"Qwen/Qwen2.5-Math-{a}-Instruct" for a in pool.aliases]


def test_a_file_with_everything_in_it(tmp_path: Path) -> None:
    pool = load(tmp_path, EVERYTHING)
    small, large = pool.models
    assert (pool.name, pool.billing, pool.answer_kind, pool.prices_as_of) == ("mine", "cached", "number", "2026-01-31")
    assert small.price is not None
    assert (small.price.input, small.price.cached_input, small.price.output) == (Decimal("0.1"), 0, 1)
    assert small.file == tmp_path / "weights/small.gguf"  # beside the pool file
    assert small.options == {"context": 4096, "nested": {"threads": 2}}
    assert [type(source) for source in small.sources] == [HubSource, PackageSource, UrlSource]
    assert (small.threshold, small.accuracy, small.top_p, small.top_k) == (0.8, 0.55, 0.95, 50)
    assert (pool.max_tokens_of(small), pool.max_tokens_of(large)) == (100, 512)
    assert large.greedy_only and large.price is None and large.file is None
    assert pool.prompt_of(small).messages("x") == [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Q: 1+1"},
        {"role": "assistant", "content": "2"},
        {"role": "user", "content": "Q: {problem}"},
        {"role": "assistant", "content": "?"},
        {"role": "user", "content": "Q: x"},
    ]
    assert pool.prompt_of(large).messages("{problem}") == [{"role": "user", "content": "{problem}"}]


def test_a_pool_is_called_as_its_file_where_it_has_no_name(tmp_path: Path) -> None:
    assert load(tmp_path, MODEL).name == "escalade"


# -- prices ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("written", ["0.1", "0.07", "1", "0.30000000000000004", "0.000001", '"0.1"', "12345.6789"])
def test_prices_are_the_decimals_that_were_written(tmp_path: Path, written: str) -> None:
    price = load(tmp_path, MODEL + f"price = {{ input = {written}, output = {written} }}").models[0].price
    assert price is not None and price.input == price.output == price.cached_input == Decimal(written.strip('"'))


def test_no_price_is_unknown_and_0_is_a_price(tmp_path: Path) -> None:
    assert load(tmp_path, MODEL).models[0].price is None
    free = load(tmp_path, MODEL + "price = { input = 0, output = 0.0 }").models[0].price
    assert free is not None and free == Price(input=Decimal(0), output=Decimal(0)) and free.cached_input == 0
    free = load(tmp_path, MODEL + "price = { input = 1, cached = 0, output = 1 }").models[0].price
    assert free is not None and free.cached_input == 0


# -- complaints: file, key, value, remedy ---------------------------------------------------------------------

PLACE = "models.0.{} (alias 'S'): "
COMPLAINTS: list[tuple[str, str, str]] = [
    # what is added to the model, the key, what is said of it
    ("allias = 'b'", "allias", "unknown key (it is 'b'); known are alias, name, engine"),
    ("pricee = 1", "pricee", "did you mean 'price'?"),
    ("price = { inptu = 1, output = 2 }", "price.inptu", "unknown key (it is 1); known are input, cached, output; did"),
    ("price = { output = 2 }", "price.input", "missing; it must be given"),
    ("price = { input = true, output = 2 }", "price.input", "(it is True)"),
    ("price = { input = -1, output = 2 }", "price.input", "greater than or equal to 0 (it is -1)"),
    ("price = { input = nan, output = 2 }", "price.input", "finite number (it is 'nan')"),
    ("price = { input = inf, output = 2 }", "price.input", "finite number (it is 'inf')"),
    ("price = { input = 'dear', output = 2 }", "price.input", "valid decimal (it is 'dear')"),
    ("price = 3", "price", "valid table or instance of Price (it is 3)"),
    ("cost = 0", "cost", "greater than 0 (it is 0)"),
    ("cost = inf", "cost", "finite number (it is inf)"),
    ("cost = '2'", "cost", "valid number (it is '2')"),
    ("greedy_only = 'yes'", "greedy_only", "valid boolean (it is 'yes')"),
    ("greedy_only = 1", "greedy_only", "valid boolean (it is 1)"),
    ("max_tokens = '100'", "max_tokens", "valid integer (it is '100')"),
    ("max_tokens = 1.5", "max_tokens", "valid integer (it is 1.5)"),
    ("max_tokens = 0", "max_tokens", "greater than or equal to 1 (it is 0)"),
    ("threshold = 1.5", "threshold", "less than or equal to 1 (it is 1.5)"),
    ("threshold = 0", "threshold", "greater than 0 (it is 0)"),
    ("accuracy = 1", "accuracy", "less than 1 (it is 1)"),
    ("top_p = 0", "top_p", "greater than 0 (it is 0)"),
    ("top_k = 0", "top_k", "greater than or equal to 1 (it is 0)"),
    ("sha256 = 'abc'", "sha256", "[0-9a-f]{64}$' (it is 'abc')"),
    ("engine = 3", "engine", "valid string (it is 3)"),
    ("options = 3", "options", "valid table (it is 3)"),
    ("prompt = 3", "prompt", "valid string (it is 3)"),
    ("prompt = { usr = 'x' }", "prompt.usr", "known are system, shots, user; did you mean 'user'?"),
    ("prompt = { user = 'Solve!' }", "prompt.user", "has no {problem} in it, so no model would see the question"),
    ("prompt = { shots = [['q']] }", "prompt.shots.0.1", "missing"),
    ("sources = [{ hubb = 'x' }]", "sources.0", "one of the keys hub, package, url"),
    ("sources = [{ url = 'x', ur = 'y' }]", "sources.0.ur", "unknown key (it is 'y'); known are url"),
    ("sources = [{ hub = 'x', file = 'y' }]", "sources.0.revision", "missing"),
    ("sources = 'x'", "sources", "valid list (it is 'x')"),
]


@pytest.mark.parametrize(("added", "key", "said"), COMPLAINTS)
def test_a_wrong_key_or_value_of_a_model_is_named(tmp_path: Path, added: str, key: str, said: str) -> None:
    message = complaint(tmp_path, MODEL + added)
    assert PLACE.format(key) in message and said in message
    assert "after validation" not in message and "Tuple" not in message


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", ": models: missing"),
        ("models = []", ": models: there are none; give at least one [[models]]"),
        ("models = 3", ": models: Input should be a valid list (it is 3)"),
        ("models = [1]", ": models.0: Input should be a valid table or instance of PoolModel (it is 1)"),
        ("[[models]]\nname = 'x'", ": models.0.alias: missing"),
        ("promt = 'plain'\n" + MODEL, ": promt: unknown key (it is 'plain'); known are name, models, route"),
        ("promt = 'plain'\n" + MODEL, "did you mean 'prompt'?"),
        ("name = 3\n" + MODEL, ": name: Input should be a valid string (it is 3)"),
        ("billing = 'twice'\n" + MODEL, ": billing: Input should be 'once', 'cached' or 'each' (it is 'twice')"),
        ("answer_kind = 'word'\n" + MODEL, ": answer_kind: no answer kind 'word': there are math, number, "),
        ("answer_kind = 'boxed'\n" + MODEL, "; did you mean 'math', which reads boxed answers? (it is 'boxed')"),
        ("answer_kind = 'numbr'\n" + MODEL, "; did you mean 'number'? (it is 'numbr')"),
        ("answer_kind = 'label:one'\n" + MODEL, ": answer_kind: answer kind 'label:one': give at least two"),
        ("answer_kind = 'none.py:X'\n" + MODEL, ": answer_kind: answer kind "),
        ("answer_kind = 5\n" + MODEL, ": answer_kind: Input should be a valid string (it is 5)"),
        ("max_tokens = -1\n" + MODEL, ": max_tokens: Input should be greater than or equal to 1 (it is -1)"),
        ("prompt = 'nix'\n" + MODEL, "prompt 'nix' is unknown: there are boxed, concise, plain"),
        (
            MODEL + "prompt = 'nix'\n[prompts.mine]\nuser='{problem}'",
            "'nix' is unknown: there are boxed, concise, mine",
        ),
        ("[prompts.x]\nuser = 'hi'\n" + MODEL, ": prompts.x.user: has no {problem} in it"),
        ("[prompts.x]\nsystm = 'hi'\n" + MODEL, ": prompts.x.systm: unknown key"),
        ("a = = 1", ": not TOML: "),
        ("name = 'x", ": not TOML: "),
        (MODEL + "alias = 'twice'", ": not TOML: "),
    ],
)
def test_what_is_wrong_with_a_file_is_named(tmp_path: Path, text: str, said: str) -> None:
    assert said in complaint(tmp_path, text)


def test_a_kind_of_answer_of_ones_own_is_beside_the_pool_file(tmp_path: Path) -> None:
    (tmp_path / "own.py").write_text(
        "class Word:\n    extract = key = lambda self, text: text\n    equal = lambda self, a, b: False\n",
        encoding="utf-8",
    )
    for path in ("own.py", tmp_path / "own.py"):
        pool = load(tmp_path, f"answer_kind = '{path}:Word'\n" + MODEL)
        assert pool.answer_kind == f"{tmp_path}/own.py:Word"
    assert load(tmp_path, "answer_kind = 'label:good,bad'\n" + MODEL).answer_kind == "label:good,bad"
    assert load(tmp_path, MODEL).answer_kind == "math"
    assert "own.py:Wrd': there is no Wrd in it; it has Word" in complaint(
        tmp_path, "answer_kind = 'own.py:Wrd'\n" + MODEL
    )


def test_all_complaints_come_at_once(tmp_path: Path) -> None:
    message = complaint(tmp_path, "billing = 'twice'\n" + MODEL + "cost = 0\ntop_k = 0")
    assert all(key in message for key in ("billing", "models.0.cost", "models.0.top_k"))


@pytest.mark.parametrize(
    ("second", "word"),
    [
        ('alias = "S"\nname = "acme/other"', "S"),
        ('alias = "T"\nname = "acme/small"', "acme/small"),
        ('alias = "T"\nname = "S"', "S"),
    ],
)
def test_an_alias_or_name_stands_for_one_model(tmp_path: Path, second: str, word: str) -> None:
    assert f"{word!r} names two models" in complaint(tmp_path, MODEL + "[[models]]\n" + second)


def test_a_model_may_have_one_word_for_both(tmp_path: Path) -> None:
    assert load(tmp_path, '[[models]]\nalias = "S"\nname = "S"').models[0].name == "S"


@pytest.mark.parametrize("alias", ["cascade", "entropy", "c5", "c0.5", "c12"])
def test_aliases_with_a_meaning_in_the_grammar_are_refused(tmp_path: Path, alias: str) -> None:
    message = complaint(tmp_path, MODEL.replace('"S"', f'"{alias}"'))
    assert f"models.0.alias (alias {alias!r}): {alias!r} already has a meaning in routing strings" in message


@pytest.mark.parametrize("alias", ["", "a_b", "a/b", "-a", ".5B", "a b", "ä", "٧B", "7B\\n"])
def test_aliases_that_cannot_stand_in_a_routing_string_are_refused(tmp_path: Path, alias: str) -> None:
    assert "letters, digits and . + - only" in complaint(tmp_path, MODEL.replace('"S"', f'"{alias}"'))


@pytest.mark.parametrize("name", ["", " ", "mv_x", "mv_cascade_7B_k4_t0.7", " x", "x\\n"])
def test_names_that_are_empty_or_look_like_votes_are_refused(tmp_path: Path, name: str) -> None:
    message = complaint(tmp_path, MODEL.replace('"acme/small"', f'"{name}"'))
    assert "models.0.name (alias 'S')" in message and "would be read as a vote, is empty or has spaces" in message


def test_a_file_that_is_not_utf8(tmp_path: Path) -> None:
    assert " is not UTF-8: byte 8 is 0xe9; save it as UTF-8" in complaint(tmp_path, b'name = "\xe9t\xe9"')


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("nope.toml", "pool file nope.toml cannot be read: No such file or directory"),
        ("ladde", r"no pool 'ladde': give a .toml file or one of embedded, .*; did you mean 'ladder'\?"),
        (".", "pool file . cannot be read: Is a directory"),
        ("a\0b.toml", "cannot be read: embedded null byte"),
        ("", "cannot be read"),
    ],
)
def test_a_pool_that_is_not_there(source: Any, said: str) -> None:
    with pytest.raises(PoolError, match=said):
        load_pool(source)


# -- looking up -----------------------------------------------------------------------------------------------


def test_models_are_found_by_alias_and_name() -> None:
    pool = pool_of("S", "L")
    assert pool["S"] is pool["test/S"] and "L" in pool and "M" not in pool and None not in pool
    with pytest.raises(KeyError):
        pool["M"]
    assert pool.unknown("test/LL") == "unknown model 'test/LL': pool 'test' has S, L; did you mean 'test/L'?"


def test_a_copy_with_other_models_finds_those() -> None:
    pool = pool_of("S", "L")
    assert "S" in pool
    models = tuple(m.model_copy(update={"greedy_only": True}) for m in pool.models)
    assert pool.model_copy(update={"models": models})["S"].greedy_only
    assert not pool["S"].greedy_only


def test_prompts_have_a_fingerprint_of_all_that_is_said() -> None:
    prompts = [Prompt(), Prompt(system="x"), Prompt(system=""), Prompt(shots=(("q", "a"),)), Prompt(user="{problem}?")]
    assert len({prompt.fingerprint for prompt in prompts}) == 5 and Prompt().fingerprint == prompts[0].fingerprint


def test_a_pool_is_built_in_code_too() -> None:
    url = UrlSource(url="https://example.org/x")
    model = PoolModel(alias="S", name="s", sources=(url,), prompt=Prompt(system="x"))
    pool = Pool(name="p", models=(model,))
    assert pool["S"].sources == (url,) and pool.prompt_of(model).system == "x"


def test_a_conversation_stands_between_the_worked_examples_and_the_problem() -> None:
    prompt = Prompt(system="Be brief.", shots=(("1 + 1?", "2"),), user="Q: {problem}")
    said = [("user", "Hello"), ("assistant", "Hi")]
    roles = [(m["role"], m["content"]) for m in prompt.messages("2 + 2?", said)]
    assert roles == [
        ("system", "Be brief."),
        ("user", "Q: 1 + 1?"),
        ("assistant", "2"),
        ("user", "Hello"),
        ("assistant", "Hi"),
        ("user", "Q: 2 + 2?"),
    ]
    own = prompt.messages("2 + 2?", [("system", "Rhyme."), *said])
    assert [m["content"] for m in own if m["role"] == "system"] == ["Rhyme."]
    assert prompt.messages("2 + 2?", ()) == prompt.messages("2 + 2?")
