"""Embeddings: of the 135M in process and behind llama.cpp's own server, and of servers that misbehave."""

import json
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from escalade.errors import EngineError, ProblemError, SettingError, WeightsError
from escalade.probes import served
from escalade.probes.encoders import embed
from escalade.probes.llama import context_of, depth_of, pooling_of

TEXTS = ["What is 3 + 4?", "A farmer has 12 hens, and each lays 2 eggs a day. How many eggs are that in a week?", "1?"]


# What is no encoder


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("bge-small", "encoder 'bge-small' is no .gguf file, no folder that is there, and no address"),
        ("http://127.0.0.1:9/v1", r"put the name that the server has for the model behind a # "),
        ("http://127.0.0.1:9/v1#", r"put the name that the server has for the model behind a # "),
        ("https://me:secret@host/v1#m", "must not hold a name or password"),
    ],
)
def test_names_that_name_no_encoder_are_refused(name: str, said: str) -> None:
    with pytest.raises(SettingError, match=said) as error:
        embed(name, TEXTS)
    assert "secret" not in str(error.value)


def test_files_that_are_no_encoders_are_refused(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="no such file"):
        embed(tmp_path / "gone.gguf", TEXTS)
    (tmp_path / "bad.gguf").write_bytes(b"nonsense")
    with pytest.raises(WeightsError, match="is no GGUF file"):
        embed(tmp_path / "bad.gguf", TEXTS)
    with pytest.raises(WeightsError, match=r"no modules\.json in it"):
        embed(tmp_path, TEXTS)


# A GGUF file


@pytest.mark.model
def test_a_gguf_file_embeds_alone_as_in_company(smallest_model: Path) -> None:
    assert (depth_of(smallest_model), context_of(smallest_model), pooling_of(smallest_model)) == (30, 8192, "mean")
    found = embed(str(smallest_model), [*TEXTS, TEXTS[0]])
    assert found.values.shape == (4, 576)
    assert found.values.dtype == np.float32
    assert found.identity == f"gguf:{smallest_model.stem}:mean"
    np.testing.assert_allclose(np.linalg.norm(found.values, axis=1), 1.0, atol=1e-5)
    assert np.array_equal(found.values[0], found.values[3])
    assert found.prompt_tokens is not None
    assert found.prompt_tokens[0] == found.prompt_tokens[3] < found.prompt_tokens[1]
    alone = embed(smallest_model, [TEXTS[1]])
    np.testing.assert_allclose(alone.values[0], found.values[1], atol=1e-3)
    assert float(found.values[0] @ found.values[1]) < 0.999


@pytest.mark.model
def test_a_gguf_file_is_not_asked_again_for_what_is_kept(smallest_model: Path, tmp_path: Path) -> None:
    told: list[tuple[int, int]] = []

    def get(texts: list[str]) -> Any:
        told.clear()
        return embed(smallest_model, texts, cache=tmp_path, progress=lambda done, total: told.append((done, total)))

    first = get(TEXTS)
    assert told == [(0, 3), (1, 3), (2, 3), (3, 3)]
    again = get(TEXTS[::-1])
    assert told == [(3, 3)]
    assert np.array_equal(again.values, first.values[::-1])
    assert np.array_equal(again.prompt_tokens, first.prompt_tokens[::-1])


@pytest.mark.model
def test_a_gguf_file_is_never_given_a_part_of_a_text(smallest_model: Path) -> None:
    with pytest.raises(ProblemError, match=r"problem 1 \(counted from 0\): its text has \d+ tokens, .* takes 8192"):
        embed(smallest_model, ["a", "one two " * 5000])


# A server: llama.cpp's own


@pytest.fixture(scope="module")
def address(smallest_model: Path) -> Iterator[str]:
    """It ends when its input does, so it cannot outlive the tests."""
    program = Path(__file__).with_name("embedding_server.py")
    with subprocess.Popen(
        [sys.executable, str(program), str(smallest_model), "mean"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env={**os.environ, "OMP_WAIT_POLICY": "passive"},
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            root = next((line.strip() for line in process.stdout if line.startswith("http://127.0.0.1:")), None)
            assert root is not None, "the server did not start"
            yield f"{root}/v1"
        finally:
            process.stdin.close()
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                process.kill()


@pytest.mark.model
def test_a_server_embeds_as_the_same_file_in_this_process(
    address: str, smallest_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    here, there = embed(smallest_model, TEXTS), embed(f"{address}#tiny", TEXTS)
    np.testing.assert_allclose(there.values, here.values, atol=1e-3)
    assert there.prompt_tokens is not None
    assert here.prompt_tokens is not None
    assert np.array_equal(there.prompt_tokens, here.prompt_tokens)
    assert there.identity == f"served:{address}#tiny"


@pytest.mark.model
def test_a_server_that_refuses_a_long_text_is_an_error_that_names_it(
    address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(served, "TRIES", 1)  # llama.cpp refuses with a status that may pass
    with pytest.raises(
        EngineError, match=r"problem 1 \(counted from 0\): encoder served:.*#tiny answered with status .* too large"
    ):
        embed(f"{address}#tiny", ["a", "one two " * 1000])


# A server that misbehaves

Reply = tuple[int, dict[str, str], str]
GOOD = json.dumps({"data": [{"embedding": [3.0, 4.0]}], "usage": {"prompt_tokens": 7}})


@pytest.fixture
def serving() -> Iterator[Callable[[list[Reply]], tuple[str, list[dict[str, Any]]]]]:
    """Start a server that gives these replies, the last one ever after; return its address and what it was asked."""
    servers: list[ThreadingHTTPServer] = []

    def start(replies: list[Reply]) -> tuple[str, list[dict[str, Any]]]:
        asked: list[dict[str, Any]] = []

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                asked.append({**body, "path": self.path, "key": self.headers.get("Authorization")})
                status, headers, text = replies.pop(0) if len(replies) > 1 else replies[0]
                text = text.replace("INPUT", body["input"])
                self.send_response(status)
                for name, value in {**headers, "Content-Length": str(len(text))}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(text.encode())

            def log_message(self, format: str, *args: Any) -> None: ...

        servers.append(ThreadingHTTPServer(("127.0.0.1", 0), Handler))
        threading.Thread(target=servers[-1].serve_forever, args=(0.01,), daemon=True).start()
        return f"http://127.0.0.1:{servers[-1].server_address[1]}/v1", asked

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


Serving = Callable[[list[Reply]], tuple[str, list[dict[str, Any]]]]


def test_a_server_is_sent_text_model_and_key(serving: Serving, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-of-mine")
    address, asked = serving([(200, {}, GOOD)])
    found = embed(f"{address}#some/model", ["a"])
    assert asked == [
        {
            "model": "some/model",
            "input": "a",
            "encoding_format": "float",
            "path": "/v1/embeddings",
            "key": "Bearer sk-of-mine",
        }
    ]
    assert found.values.tolist() == [[3.0, 4.0]]
    assert found.prompt_tokens is not None
    assert found.prompt_tokens.tolist() == [7]


def test_a_key_is_needed_elsewhere_and_never_said(serving: Serving, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    with pytest.raises(SettingError, match=r"no key for https://embeddings\.example/v1: set the environment variable"):
        embed("https://embeddings.example/v1#m", ["a"])
    monkeypatch.setenv("OPENAI_API_KEY", "sk-of-mine")
    address, _ = serving([(401, {}, '{"error": {"message": "sk-of-mine is no key of ours"}}')])
    with pytest.raises(EngineError, match=r"status 401: \[secret\] is no key of ours") as error:
        embed(f"{address}#m", ["a"])
    assert "sk-of-mine" not in repr(error.value)


def test_failures_that_may_pass_are_tried_again(serving: Serving) -> None:
    busy = (503, {"Retry-After": "0"}, "busy")
    address, asked = serving([busy, busy, (200, {}, GOOD)])
    assert embed(f"{address}#m", ["a"]).values.tolist() == [[3.0, 4.0]]
    assert len(asked) == 3
    address, asked = serving([busy])
    with pytest.raises(EngineError, match=r"problem 0 \(counted from 0\): encoder served:.* status 503: busy"):
        embed(f"{address}#m", ["a"])
    assert len(asked) == served.TRIES
    address, asked = serving([(400, {}, "no")])
    with pytest.raises(EngineError, match="status 400: no"):
        embed(f"{address}#m", ["a"])
    assert len(asked) == 1


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("<html>", "sent what is no embedding"),
        ("{}", "sent what is no embedding"),
        ('{"data": []}', "sent what is no embedding"),
        ('{"data": [{"embedding": "AAAA"}]}', "sent what is no embedding"),
        ('{"data": [{"embedding": []}]}', "no vector of finite numbers"),
        ('{"data": [{"embedding": [1.0, NaN]}]}', "no vector of finite numbers"),
        ('{"data": [{"embedding": [[1.0, 2.0]]}]}', "no vector of finite numbers"),
        ('{"data": [{"embedding": [1.0, null]}]}', "no vector of finite numbers"),
    ],
)
def test_what_is_no_vector_is_an_error(serving: Serving, body: str, said: str) -> None:
    address, _ = serving([(200, {}, body)])
    with pytest.raises(EngineError, match=said):
        embed(f"{address}#m", ["a"])


def test_vectors_of_two_lengths_are_an_error(serving: Serving) -> None:
    address, _ = serving([(200, {}, GOOD), (200, {}, '{"data": [{"embedding": [1.0]}]}')])
    with pytest.raises(EngineError, match=r"vectors of 2 shapes are of different models: \(1,\), \(2,\)"):
        embed(f"{address}#m", ["a", "b"])


def test_tokens_are_unknown_where_a_server_does_not_say(serving: Serving) -> None:
    address, _ = serving([(200, {}, '{"data": [{"embedding": [1.0, 2.0]}]}')])
    assert embed(f"{address}#m", ["a", "b"]).prompt_tokens is None


def test_many_texts_come_back_in_their_order_and_what_failed_goes_on(serving: Serving, tmp_path: Path) -> None:
    texts = [str(n) for n in range(40)]
    good: Reply = (200, {}, '{"data": [{"embedding": [1.0, INPUT]}]}')
    replies: list[Reply] = [good] * 30 + [(400, {}, "no more")]
    address, asked = serving(replies)
    with pytest.raises(EngineError, match="no more"):
        embed(f"{address}#m", texts, cache=tmp_path)
    replies[:] = [good]
    before = len(asked)
    found = embed(f"{address}#m", texts, cache=tmp_path)
    assert found.values[:, 1].tolist() == list(range(40))
    assert 10 <= len(asked) - before <= 10 + served.AT_ONCE


# A folder of sentence-transformers


@pytest.fixture(scope="module")
def folder(checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny checkpoint as an encoder: the mean over its tokens, of length 1."""
    library = pytest.importorskip("sentence_transformers", reason="the library is in no environment of `make`")
    from sentence_transformers.sentence_transformer import modules

    inner = modules.Transformer(str(checkpoint), max_seq_length=100)
    pooling = modules.Pooling(inner.get_embedding_dimension(), "mean")
    path = tmp_path_factory.mktemp("encoder") / "tiny"
    library.SentenceTransformer(modules=[inner, pooling, modules.Normalize()], device="cpu").save(str(path))
    return path


def test_a_folder_embeds_alone_as_in_company(folder: Path) -> None:
    found = embed(folder, [*TEXTS, TEXTS[0]])
    assert found.values.shape == (4, 64)
    np.testing.assert_allclose(np.linalg.norm(found.values, axis=1), 1.0, atol=1e-5)
    np.testing.assert_allclose(embed(str(folder), [TEXTS[1]]).values[0], found.values[1], atol=1e-3)
    assert found.prompt_tokens is not None
    assert found.prompt_tokens.tolist() == [len(text.encode()) for text in (*TEXTS, TEXTS[0])]  # one a byte
    assert found.identity.startswith("sentence-transformers:")


def test_a_folder_is_never_given_a_part_of_a_text(folder: Path) -> None:
    assert embed(folder, ["x" * 100]).values.shape == (1, 64)
    with pytest.raises(ProblemError, match=r"problem 1 \(counted from 0\): its text has 101 tokens, .* takes 100"):
        embed(folder, ["a", "x" * 101])


def test_folders_differ_by_what_is_in_them(folder: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    shutil.copytree(folder, other)
    assert embed(other, ["a"]).identity == embed(folder, ["a"]).identity
    (config,) = other.glob("1_Pooling/config.json")
    config.write_text(config.read_text(encoding="utf-8").replace("mean", "max"), encoding="utf-8")
    assert embed(other, ["a"]).identity != embed(folder, ["a"]).identity
