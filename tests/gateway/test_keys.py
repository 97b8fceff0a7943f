"""Keys: the file of hashes, how a key is found in it, and how one is made."""

import hashlib
import hmac
import stat
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from escalade.errors import SettingError
from escalade.gateway.keys import Key, digest, find, new_key, read_keys

SHA = [hashlib.sha256(str(i).encode()).hexdigest() for i in range(5)]


def written(path: Path, *tables: str) -> Path:
    path.write_text("\n".join(f"[[keys]]\n{table}\n" for table in tables), encoding="utf-8")
    return path


def table(name: str = "alice", sha256: str = SHA[0], **settings: Any) -> str:
    return "\n".join([f'name = "{name}"', f'sha256 = "{sha256}"', *(f"{key} = {v}" for key, v in settings.items())])


# -- the file -------------------------------------------------------------------------------------------------


def test_a_file_is_read(tmp_path: Path) -> None:
    bob = table("bob", SHA[1], budget_usd='"5.00"', per='"month"', requests_per_minute=60, concurrent=8)
    alice, other = read_keys(written(tmp_path / "keys.toml", table(), bob))
    assert alice == Key(name="alice", sha256=SHA[0])
    assert (alice.budget_usd, alice.per, alice.requests_per_minute, alice.concurrent) == (None, "day", None, None)
    assert (other.name, other.budget_usd, other.per) == ("bob", Decimal("5.00"), "month")
    assert (other.requests_per_minute, other.concurrent) == (60, 8)


@pytest.mark.parametrize("budget", ["0.1", '"0.1"'])
def test_a_tenth_is_a_tenth_however_it_is_written(tmp_path: Path, budget: str) -> None:
    (key,) = read_keys(written(tmp_path / "keys.toml", table(budget_usd=budget)))
    assert str(key.budget_usd) == "0.1"


@pytest.mark.parametrize(
    ("tables", "words"),
    [
        ([table(budget_us="5")], ["keys.0.budget_us: unknown key", "it is 5", "did you mean 'budget_usd'?"]),
        ([table(requests_per_minutes="5")], ["did you mean 'requests_per_minute'?"]),
        ([table(), table("bob", per='"week"')], ["keys.1.per", "'day', 'month' or 'ever'", "'week'"]),
        ([table(sha256="abc")], ["keys.0.sha256", "'abc'"]),
        ([table(sha256=SHA[0].upper())], ["keys.0.sha256"]),
        ([table(sha256=SHA[0] + "0")], ["keys.0.sha256"]),
        ([table("alice smith")], ["keys.0.name", "'alice smith'"]),
        ([table("")], ["keys.0.name"]),
        ([table("a" * 65)], ["keys.0.name"]),
        ([table(budget_usd="-1")], ["keys.0.budget_usd", "it is -1"]),
        ([table(budget_usd="nan")], ["keys.0.budget_usd"]),
        ([table(budget_usd="inf")], ["keys.0.budget_usd"]),
        ([table(requests_per_minute="0")], ["keys.0.requests_per_minute", "it is 0"]),
        ([table(requests_per_minute="1.5")], ["keys.0.requests_per_minute"]),
        ([table(concurrent="0")], ["keys.0.concurrent", "it is 0"]),
        ([table(concurrent="true")], ["keys.0.concurrent"]),
        (['name = "alice"'], ["keys.0.sha256: missing"]),
        ([table(), table("alice", SHA[1])], ["two keys have the name 'alice'"]),
        ([table(), table("bob", SHA[0])], [f"two keys have the sha256 {SHA[0]!r}"]),
    ],
)
def test_what_is_wrong_in_a_file_is_named(tmp_path: Path, tables: list[str], words: list[str]) -> None:
    path = written(tmp_path / "keys.toml", *tables)
    with pytest.raises(SettingError) as caught:
        read_keys(path)
    for word in [str(path), *words]:
        assert word in str(caught.value)


@pytest.mark.parametrize("text", ["keys = [", "keys = 1", "keys = []", "", "[other]\na = 1", "keys = [1]"])
def test_what_is_no_file_of_keys_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "keys.toml"
    path.write_text(text)
    with pytest.raises(SettingError, match=r"keys\.toml"):
        read_keys(path)


def test_a_file_that_is_not_there_or_not_utf_8_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SettingError, match=r"cannot be read.*escalade key NAME --keys FILE"):
        read_keys(tmp_path / "none.toml")
    (tmp_path / "keys.toml").write_bytes(b'[[keys]]\nname = "\xff"\n')
    with pytest.raises(SettingError, match=r"cannot be read"):
        read_keys(tmp_path / "keys.toml")


# -- finding --------------------------------------------------------------------------------------------------

PRESENTED = ["esc-alice", "esc-bob", "schlüssel-\U0001f511"]
KNOWN = [Key(name=f"k{i}", sha256=digest(secret)) for i, secret in enumerate(PRESENTED)]


@pytest.mark.parametrize("place", range(3))
def test_a_key_is_found_by_its_text(place: int) -> None:
    assert find(PRESENTED[place], KNOWN) is KNOWN[place]


@pytest.mark.parametrize(
    "wrong", ["", " ", "esc-", "esc-alic", "esc-alice ", "ESC-ALICE", "schlussel", "\x00", "\ud800", SHA[0]]
)
def test_another_text_finds_nothing(wrong: str) -> None:
    assert find(wrong, KNOWN) is None
    assert find(wrong, []) is None


def test_the_hash_itself_is_no_key() -> None:
    assert find(KNOWN[0].sha256, KNOWN) is None


@pytest.mark.parametrize("presented", [*PRESENTED, "esc-none", ""])
def test_all_keys_are_compared_whichever_is_presented(monkeypatch: pytest.MonkeyPatch, presented: str) -> None:
    compared: list[tuple[str, str]] = []
    real = hmac.compare_digest

    def counting(mine: str, theirs: str) -> bool:
        compared.append((mine, theirs))
        return real(mine, theirs)

    monkeypatch.setattr(hmac, "compare_digest", counting)
    find(presented, KNOWN)
    assert compared == [(digest(presented), key.sha256) for key in KNOWN]


# -- making ---------------------------------------------------------------------------------------------------


def test_a_new_key_is_found_and_stands_nowhere(tmp_path: Path) -> None:
    path = tmp_path / "keys.toml"
    secret = new_key("alice", path, {"budget_usd": "0.1", "per": "month", "requests_per_minute": 60, "concurrent": 8})
    (key,) = read_keys(path)
    assert find(secret, [key]) is key
    assert (key.name, str(key.budget_usd), key.per) == ("alice", "0.1", "month")
    assert (key.requests_per_minute, key.concurrent) == (60, 8)
    text = path.read_text()
    assert hashlib.sha256(secret.encode()).hexdigest() in text
    assert not any(secret[start : start + 8] in text for start in range(4, len(secret) - 8))
    assert [file.name for file in tmp_path.iterdir()] == ["keys.toml"]


def test_keys_are_long_and_differ(tmp_path: Path) -> None:
    made = {new_key(f"k{i}", tmp_path / "keys.toml", {}) for i in range(20)}
    assert len(made) == 20
    assert all(secret.startswith("esc-") and len(secret) == 4 + 32 for secret in made)  # 192 bits


def test_only_its_owner_may_read_the_file(tmp_path: Path) -> None:
    path = tmp_path / "keys.toml"
    for name in ("alice", "bob"):
        new_key(name, path, {})
        assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_second_key_is_appended_and_both_are_read(tmp_path: Path) -> None:
    path = tmp_path / "keys.toml"
    first = new_key("alice", path, {"concurrent": 2})
    before = path.read_text()
    second = new_key("bob", path, {})
    assert path.read_text().startswith(before)
    known = read_keys(path)
    found = [find(secret, known) for secret in (first, second)]
    assert [key.name for key in found if key is not None] == ["alice", "bob"]


def test_a_key_is_appended_to_a_file_that_was_written_by_hand(tmp_path: Path) -> None:
    path = tmp_path / "keys.toml"
    path.write_text("# ours\n[[keys]]\n" + table())  # no newline at its end
    new_key("bob", path, {})
    assert [key.name for key in read_keys(path)] == ["alice", "bob"]


@pytest.mark.parametrize(
    ("name", "settings", "words"),
    [
        ("alice", {}, ["there is a key of 'alice'", "choose another name"]),
        ("al ice", {}, ["name", "'al ice'"]),
        ('a"\n[[keys]]', {}, ["name"]),
        ("bob", {"budget_usd": "-1"}, ["budget_usd", "'-1'"]),
        ("bob", {"budget_usd": "much"}, ["budget_usd", "'much'"]),
        ("bob", {"per": 'day"\nconcurrent = 1\n#"'}, ["per"]),
        ("bob", {"concurrent": 0}, ["concurrent", "it is 0"]),
        ("bob", {"requests_per_minute": 0}, ["requests_per_minute", "it is 0"]),
    ],
)
def test_what_cannot_be_a_key_leaves_the_file_as_it_was(
    tmp_path: Path, name: str, settings: dict[str, str | int], words: list[str]
) -> None:
    path = written(tmp_path / "keys.toml", table())
    before = path.read_bytes()
    with pytest.raises(SettingError) as caught:
        new_key(name, path, settings)
    for word in words:
        assert word in str(caught.value)
    assert path.read_bytes() == before


@pytest.mark.parametrize("budget", ["1", "0", "1.50", " 2 ", "1\n", "1e3", "1_000"])
def test_a_budget_that_is_taken_leaves_a_file_that_is_read(tmp_path: Path, budget: str) -> None:
    path = tmp_path / "keys.toml"
    try:
        new_key("alice", path, {"budget_usd": budget})
    except SettingError:
        assert not path.exists()
    else:
        assert read_keys(path)[0].budget_usd == Decimal(budget)


def test_a_file_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    with pytest.raises(SettingError, match=r"none/keys\.toml cannot be written: No such file"):
        new_key("alice", tmp_path / "none" / "keys.toml", {})
