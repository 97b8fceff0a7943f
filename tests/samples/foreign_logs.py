"""Logs as inspect_ai 0.3.285 and lm-evaluation-harness 0.4.13 write them, of generations that a test makes up."""

import json
import struct
import zipfile
import zlib
from pathlib import Path
from typing import Any

import pyarrow as pa

CONFIG = {"max_tokens": 512, "top_p": 0.9, "temperature": 0.7}
SYSTEM, ASKED = "Be brief.", "Q: {}\nA:"


def inspect_sample(ident: str | int, epoch: int, question: str, text: str, **changed: Any) -> dict[str, Any]:
    messages = [
        {"id": "m1", "content": SYSTEM, "role": "system"},
        {"id": "m2", "content": ASKED.format(question), "source": "input", "role": "user"},
        {"id": "m3", "content": text, "source": "generate", "role": "assistant", "model": "mockllm/model"},
    ]
    return {
        "id": ident,
        "epoch": epoch,
        "input": question,
        "target": "2",
        "messages": messages,
        "output": {
            "model": "mockllm/model",
            "choices": [{"message": messages[-1], "stop_reason": "stop"}],
            "completion": text,
            "usage": {
                "input_tokens": 26,
                "output_tokens": 11,
                "total_tokens": 41,
                "input_tokens_cache_read": 4,
                "reasoning_tokens": 2,
            },
            "time": 0.25,
        },
        "scores": {"match": {"value": "I", "answer": text}},
        "metadata": {},
        "model_usage": {},
        "events": [{"event": "model", "model": "mockllm/model", "config": CONFIG}],
        "uuid": f"uuid-{ident}-{epoch}-{text}",
        "attachments": {},
        **changed,
    }


def inspect_log(samples: list[dict[str, Any]], **changed: Any) -> dict[str, Any]:
    return {
        "version": 2,
        "status": "success",
        "eval": {
            "eval_id": "QkoPFEZVcn88vkUNJ5mLE9",
            "task": "arith",
            "model": "mockllm/model",
            "model_generate_config": {},
            "dataset": {"name": "arith"},
        },
        "plan": {"name": "plan", "steps": [], "config": CONFIG},
        "samples": samples,
        **changed,
    }


def write_json(path: Path, log: dict[str, Any]) -> Path:
    path.write_text(json.dumps(log), encoding="utf-8")
    return path


def write_eval(path: Path, log: dict[str, Any], *, zstd: bool) -> Path:
    """A `.eval` file: packed with zstd, as by newer versions, or with deflate."""
    members = {
        "_journal/start.json": {"version": 2, "eval": log["eval"], "plan": log["plan"]},
        **{f"samples/{s['id']}_epoch_{s['epoch']}.json": s for s in log["samples"]},
        "header.json": {name: value for name, value in log.items() if name != "samples"},
    }
    bodies = {name: json.dumps(body).encode() for name, body in members.items()}
    if not zstd:
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, body in bodies.items():
                archive.writestr(name, body)
        return path
    # The standard library writes method 93 from Python 3.14 on.
    out, central = bytearray(), bytearray()
    for name, body in bodies.items():
        packed = pa.compress(body, codec="zstd", asbytes=True)
        common = struct.pack("<5H3L2H", 63, 0, 93, 0, 33, zlib.crc32(body), len(packed), len(body), len(name), 0)
        central += b"PK\x01\x02" + struct.pack("<H", 63) + common + struct.pack("<3H2L", 0, 0, 0, 0, len(out))
        central += name.encode()
        out += b"PK\x03\x04" + common + name.encode() + packed
    end = struct.pack("<4H2LH", 0, 0, len(bodies), len(bodies), len(central), len(out), 0)
    path.write_bytes(out + central + b"PK\x05\x06" + end)
    return path


def harness_line(doc_id: int, question: str, texts: list[str], **changed: Any) -> dict[str, Any]:
    messages = [{"role": "system", "content": SYSTEM}, {"role": "user", "content": ASKED.format(question)}]
    return {
        "doc_id": doc_id,
        "doc": {"question": question, "answer": "1 + 1 = 2\n#### 2"},
        "target": "1 + 1 = 2\n#### 2",
        "arguments": {
            "gen_args_0": {
                "arg_0": [json.dumps(messages)],
                "arg_1": {"until": [], "do_sample": True, "temperature": 0.7, "top_p": 0.9, "max_gen_toks": 512},
            }
        },
        "resps": [texts],
        "filtered_resps": texts[:1],
        "filter": "strict-match",
        "metrics": ["exact_match"],
        "doc_hash": "a" * 64,
        "prompt_hash": "b" * 64,
        "target_hash": "c" * 64,
        "exact_match": 1.0,
        **changed,
    }


def write_harness(folder: Path, lines: list[dict[str, Any]], model: str | None = "mockllm/model") -> Path:
    path = folder / "samples_gsm8k_2026-11-21T21-55-22.000001.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    if model is not None:
        results = {"results": {}, "model_source": "local-chat-completions", "model_name": model}
        (folder / "results_2026-11-21T21-55-22.000001.json").write_text(json.dumps(results), encoding="utf-8")
    return path
