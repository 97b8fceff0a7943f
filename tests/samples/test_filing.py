import asyncio
import re
from dataclasses import replace

import pytest

from escalade.asking import params_of
from escalade.cascade.policy import Policy
from escalade.climb import Answered, Task
from escalade.errors import TableError
from escalade.executor import Executor
from escalade.pool import Pool, PoolModel, Prompt
from escalade.problems import Problem
from escalade.routes import parse_route
from escalade.samples.filing import Office, place, problem_in
from escalade.samples.foreign import Foreign, Settings
from escalade.samples.sample import Generation
from escalade.samples.store import Question, Store
from escalade.testing import ScriptedEngine, answering

PROMPT = Prompt(system="Be brief.", shots=(("1+1?", "2"),), user="Q: {problem}\nA:")
POOL = Pool(
    name="mine",
    max_tokens=512,
    models=(PoolModel(alias="S", name="test/S", engine="scripted", prompt=PROMPT, top_p=0.9),),
)
ENGINE = ScriptedEngine(answering({"S": ["5"]}))
OFFICE = Office(ENGINE.fingerprint, params_of, lambda text: Problem("", text).fingerprint, POOL)
FOREIGN = Foreign(
    place="log.json: sample 0",
    tool="inspect_ai",
    origin="arith",
    identity="uuid 1",
    model="test/S",
    problem_id="a",
    messages=tuple((m["role"], m["content"]) for m in PROMPT.messages("2+3?")),
    question="2+3?",
    gold="so\n#### 5",
    index=0,
    settings=Settings(0.7, 512, 0.9),
    generation=Generation(r"\boxed{5}", "stop", 30, None, 5),
    complete=True,
)


def run(store: Store, text: str, *, seed: int = 0, pool: Pool = POOL) -> Answered:
    answered: list[Answered] = []
    executor = Executor(pool, lambda model: ENGINE, store=store, policy=Policy(), seed=seed, on_answer=answered.append)
    ENGINE.requests.clear()
    asyncio.run(executor.run([Task(Problem("mine", text, "5"), parse_route("mv_S_k3_t0.7", pool))]))
    return answered[0]


def test_what_is_imported_is_found_by_a_run_with_that_pool_and_nothing_is_generated() -> None:
    filed = [OFFICE.file(replace(FOREIGN, index=i, identity=f"uuid {i}")) for i in range(3)]
    assert [one.why for one in filed] == [None] * 3
    assert filed[0].question == Question(Problem("", "2+3?").fingerprint, "2+3?", "5")
    store = Store(None)
    store.write(place(store, filed))
    answered = run(store, "2+3?")
    assert answered.outcome.answer == "5" and not ENGINE.requests and answered.fresh == 0
    for text, seed in (("2+3? ", 0), ("2+3?", 1)):  # another text, another seed: those are other samples
        run(store, text, seed=seed)
        assert ENGINE.requests
    limited = POOL.model_copy(update={"max_tokens": 100})
    run(store, "2+3?", pool=limited)
    assert ENGINE.requests


@pytest.mark.parametrize(
    ("changed", "why"),
    [
        ({"settings": Settings(0.7, 256, 0.9)}, "max_tokens was 256, the pool has 512"),
        ({"settings": Settings(0.7, None, 0.9)}, "the file does not say max_tokens; the pool has 512 .--same-settings"),
        ({"settings": Settings(0.7, 512, 0.95)}, "top_p was 0.95, the pool has 0.9"),
        ({"settings": Settings(0.7, 512, None)}, "the file does not say top_p; the pool has 0.9"),
        ({"settings": Settings(0.7, 512, 0.9, 40)}, "top_k was 40, the pool has none"),
        ({"settings": Settings(0.7, 512, 0.9, stop=("\n\n",))}, "ended at .*, which the pool does not do"),
        ({"complete": False}, "does not say why generations ended"),
        ({"messages": None}, "does not say the messages"),
        ({"messages": (("user", "2+3?"),)}, "not those of the pool's prompt for S"),
        ({"messages": FOREIGN.messages[1:] if FOREIGN.messages else None}, "not those of the pool's prompt"),
    ],
)
def test_what_a_run_would_not_have_drawn_so_no_run_finds(changed: dict[str, object], why: str) -> None:
    filed = OFFICE.file(replace(FOREIGN, **changed))  # type: ignore[arg-type]
    assert filed.why is not None and re.search(why, filed.why)
    assert filed.stored.key.model == "imported:test/S"
    store = Store(None)
    store.write([filed.stored])
    run(store, "2+3?")
    assert len(ENGINE.requests) >= 2


def test_who_vouches_fills_in_what_is_open_and_nothing_else() -> None:
    office = replace(OFFICE, vouched=True)
    assert office.file(replace(FOREIGN, settings=Settings(0.7), complete=False, messages=None)).why is None
    assert office.file(replace(FOREIGN, settings=Settings(0.7, 256))).why == "max_tokens was 256, the pool has 512"
    assert office.file(replace(FOREIGN, messages=(("user", "2+3?"),))).why is not None


def test_models_are_the_pools_by_name_or_as_a_person_says() -> None:
    other = replace(FOREIGN, model="vllm/test/S")
    with pytest.raises(TableError, match=r"sample 0: its model is 'vllm/test/S'; pool 'mine' has S.*ALIAS=vllm"):
        OFFICE.file(other)
    named = replace(OFFICE, names={"vllm/test/S": "S", "": "S"})
    assert named.file(other).stored.model_name == "test/S"
    assert named.file(replace(FOREIGN, model=None)).stored.model_name == "test/S"
    with pytest.raises(TableError, match=r"not named; .*--model ALIAS, or leave out --pool"):
        OFFICE.file(replace(FOREIGN, model=None))
    apart = replace(OFFICE, pool=None)
    assert apart.file(other).stored.key.model == "imported:vllm/test/S"
    with pytest.raises(TableError, match="does not say which model"):
        apart.file(replace(FOREIGN, model=None))
    assert replace(apart, names={"": "X"}).file(replace(FOREIGN, model=None)).stored.model_name == "X"


def test_a_temperature_is_stated_or_given() -> None:
    open_ = replace(FOREIGN, settings=Settings(None, 512, 0.9))
    with pytest.raises(TableError, match=r"log.json: sample 0: .*give it with --temperature"):
        OFFICE.file(open_)
    assert replace(OFFICE, temperature=0.7).file(open_).why is None
    assert replace(OFFICE, temperature=0.2).file(FOREIGN).stored.temperature == 0.7  # what a file says stands


def test_greedy_samples_are_found_whatever_the_seed() -> None:
    greedy = replace(FOREIGN, settings=Settings(0.0, 512, 0.9))
    assert replace(OFFICE, seed=3).file(greedy).stored.key == OFFICE.file(greedy).stored.key
    assert replace(OFFICE, seed=3).file(FOREIGN).stored.key != OFFICE.file(FOREIGN).stored.key


def test_samples_of_a_second_file_stand_behind_those_of_the_first() -> None:
    store = Store(None)
    first = [OFFICE.file(replace(FOREIGN, index=i, identity=f"one {i}")) for i in range(2)]
    second = [OFFICE.file(replace(FOREIGN, index=i, identity=f"two {i}")) for i in range(2)]
    store.write(place(store, first))
    assert [s.index for s in place(store, second)] == [2, 3]
    assert [s.index for s in place(store, first)] == [0, 1]  # the same again
    store.write(place(store, second))
    assert [s.index for s in place(store, [*second, *first])] == [2, 3, 0, 1]


def test_samples_of_which_the_same_is_known_share_a_key() -> None:
    apart = replace(OFFICE, pool=None)
    one = apart.file(FOREIGN).stored.key
    messages = tuple((m["role"], m["content"]) for m in PROMPT.messages("7+8?"))
    other = apart.file(replace(FOREIGN, messages=messages, question="7+8?")).stored.key
    assert one.params == other.params and one.problem != other.problem
    assert apart.file(replace(FOREIGN, settings=Settings(0.7, 100))).stored.key.params != one.params


@pytest.mark.parametrize("user", ["{problem}", "Q: {problem}\nA:", "{problem} I repeat: {problem}", "{{problem}}"])
def test_a_problem_is_found_in_what_was_asked(user: str) -> None:
    prompt = Prompt(system="S", user=user)
    for text in ("1+1?", "{problem}", " \n", "Q: x\nA:"):
        messages = tuple((m["role"], m["content"]) for m in prompt.messages(text))
        found = problem_in(prompt, messages, text)
        assert found == text
    assert problem_in(prompt, (("system", "S"), ("user", "")), None) is None or user == "{problem}"
    assert problem_in(prompt, (("user", "1+1?"),)) is None


def test_a_problem_without_a_text_is_filed_by_its_id() -> None:
    filed = replace(OFFICE, pool=None).file(replace(FOREIGN, question=None, messages=None))
    assert filed.question is None and filed.stored.key.problem != Problem("", "").fingerprint
    elsewhere = replace(OFFICE, pool=None).file(replace(FOREIGN, question=None, messages=None, origin="another task"))
    assert elsewhere.stored.key.problem != filed.stored.key.problem  # ids are unique within one task only
