"""Policies: a route with its settings, kept in a TOML file that people review and `escalade run --policy` uses.

The file also says what the policy was made from, what was measured, and what was certified; of these a run uses only
the conditions, to say where it differs from them. Nothing in the file is run.
"""

from __future__ import annotations

import hashlib
import json
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, Self

from pydantic import Field, ValidationError, model_validator

from escalade import gates
from escalade.answers.kinds import kind_of
from escalade.calibration.calibration import Calibration, read_calibration
from escalade.cascade.confidence import Calibrated
from escalade.cascade.policy import Policy
from escalade.complaints import complaints
from escalade.errors import SettingError
from escalade.evaluation.conditions import Conditions, Strict
from escalade.evaluation.identity import fingerprint
from escalade.job import Job, PolicyName
from escalade.pool import Pool
from escalade.problems import Problem
from escalade.routes import Route, executed, parse_route

Share = Annotated[float, Field(ge=0, le=1)]
Level = Annotated[float, Field(gt=0, lt=1)]
Count = Annotated[int, Field(ge=0)]
Usd = Annotated[float, Field(ge=0)]


class Settings(Strict):
    """The settings of decisions, all of them written out; see `escalade.Policy`."""

    target: float = 0.9
    confidence: str = "share"
    stop: str = "verdict"
    aggregate: str = "last"
    thresholds: Mapping[str, float] = {}
    entropy_bits: float = 0.6
    explore_floor: float = 0.5
    max_k: int = 8
    prior_strength: float = 4.0


class Gate(Strict):
    """Problems whose score of a model is at least a number go by another route; see `escalade.gates`."""

    score: str
    """Alias of the model whose score is looked at."""
    at_least: Share
    route: str

    @classmethod
    def of(cls, gate: gates.Gate | None) -> Gate | None:
        """Return a gate as a file has it."""
        return None if gate is None else cls(score=gate.score, at_least=gate.at_least, route=str(gate.route))

    def parsed(self, pool: Pool) -> gates.Gate:
        """Return the gate in a pool.

        Raises:
            InputError: a model is not there, or the routing string is not understood.
        """
        return gates.parse_gate(self, pool)


class Measured(Strict):
    """Accuracy and cost (USD a problem), each with its 95 % interval over problems."""

    accuracy: Share
    accuracy_low: Share
    accuracy_high: Share
    cost_usd: Usd
    cost_usd_low: Usd
    cost_usd_high: Usd


class Numbers(Strict):
    """What was measured when the policy was tuned."""

    in_sample: Measured
    """On the problems it was chosen on: flattered."""
    held_out: Measured
    """Of the same choice made anew on other problems."""
    optimism: float
    """In-sample less held-out accuracy."""
    single: str
    """The best single model at equal cost."""
    single_held_out: Measured
    gain: float
    """Held-out accuracy less that of the best single model at equal cost."""
    gain_low: float
    gain_high: float
    verdict: str


class MadeFrom(Strict):
    """What the policy was made from."""

    source: str
    unit: str
    """What was counted and priced: tokens, or a column of the recording."""
    dataset: str | None = None
    complete: bool = False
    cost_column: str | None = None
    problems: Count
    problems_sha256: str
    """Over the sorted digests of the problems."""
    groups: Count
    """Of near-duplicate problems."""
    group: str | None = None
    """The column of the problems' file that gave the groups, where one was named."""
    samples_sha256: str
    pool_sha256: str
    scores_sha256: str | None = None
    """None where there were no scores."""
    candidates: Count
    confidences: tuple[str, ...]
    """That cascades were tried with."""
    exploring: bool = False
    goal: str
    seed: int
    date: date
    escalade: str
    prices: Mapping[str, Mapping[str, str]]
    """USD per million tokens (or of the unit), by alias."""
    conditions: Conditions


class RiskCertificate(Strict):
    """P(expected loss of accuracy to the reference > max_loss) <= 1 - confidence_level, over certifying problems."""

    kind: Literal["net loss, betting", "regret, binomial"]
    reference: str
    max_loss: Level
    confidence_level: Level
    bound: float
    """Upper bound of the loss at this level."""
    labels: Count
    """Certifying problems, one a group."""
    planning: Count
    """Problems that the path was found on."""
    path: tuple[str, ...]
    """Policies tested in this order, from the safest; the last that passed is the one certified."""
    p_values: tuple[Share, ...]
    chosen: Count
    """Place in the path."""
    seed: int
    """Of the split and of the draws."""


class CostCertificate(Strict):
    """P(a problem costs more than `budget_usd`) <= alpha."""

    budget_usd: Usd
    alpha: Level
    labels: Count
    seed: int


class TunedOn(Strict):
    """The problems that had a part in a certificate: none of them can confirm it a second time."""

    problems: tuple[str, ...]
    """Digests; see `escalade.evaluation.identity`."""


class PolicyFile(Strict):
    """A policy as a file has it.

    Example:
        >>> file = PolicyFile(name="two tiers", route="mv_cascade_0.5B_k5_t0.7_c0.8_1.5B_k3_t0.7")
        >>> file.policy().confidence, "[settings]" in file.text()
        ('share', True)
    """

    format: Literal["escalade policy 1"] = "escalade policy 1"
    name: str
    route: str
    """Of all problems, or of those that the gate does not take."""
    gate: Gate | None = None
    settings: Settings = Settings()
    made_from: MadeFrom | None = None
    numbers: Numbers | None = None
    certificate: RiskCertificate | None = None
    cost_certificate: CostCertificate | None = None
    tuned_on: TunedOn | None = None
    calibration: Calibration | None = None

    @model_validator(mode="after")
    def _can_decide(self) -> Self:
        if self.settings.confidence == "calibrated" and self.calibration is None:
            raise ValueError("confidence is 'calibrated', and there is no [calibration]")
        made, on = self.made_from, self.tuned_on
        if made is not None and on is not None and fingerprint(on.problems) != made.problems_sha256:
            raise ValueError("made_from.problems_sha256 is not the fingerprint of [tuned_on]: one was changed by hand")
        try:
            self.policy()
        except SettingError as error:
            raise ValueError(str(error)) from error
        return self

    def policy(self) -> Policy:
        """Return the settings of decisions."""
        fitted = None if self.calibration is None else calibrated(self.calibration)
        return Policy(**self.settings.model_dump(), calibration=fitted)

    def parsed(self, pool: Pool) -> Route:
        """Return the route in a pool.

        Raises:
            RouteError: a model is not there, or the routing string is not understood.
        """
        return parse_route(self.route, pool)

    def mismatches(self, now: Conditions, route: Route) -> list[str]:
        """Return plain sentences of what differs now from what the policy was made and calibrated under."""
        aliases = [tier.model for tier in route.tiers]
        found = [] if self.made_from is None else self.made_from.conditions.differences(now, aliases)
        if self.calibration is not None:
            found += self.calibration.mismatches(now, _ballots(route))
        return list(dict.fromkeys(found))

    def text(self) -> str:
        """Return the file's text: TOML; floats are written so that they are read back to the last digit.

        Raises:
            SettingError: tomli-w is not installed.
        """
        try:
            import tomli_w
        except ImportError as error:
            raise SettingError("writing a policy needs tomli-w: pip install 'escalade[evaluation]'") from error
        body = self.model_dump(mode="json", exclude_none=True)
        if not self.settings.thresholds:
            del body["settings"]["thresholds"]
        return str(tomli_w.dumps(body))

    def write(self, path: Path) -> None:
        """Write the file.

        Raises:
            SettingError: it cannot be written, or tomli-w is not installed.
        """
        try:
            path.write_text(self.text(), encoding="utf-8")
        except OSError as error:
            raise SettingError(f"policy {path} cannot be written: {error.strerror or error}; name another") from error


@dataclass(frozen=True, slots=True)
class KeptPolicy:
    """A policy's file that was read."""

    path: Path
    file: PolicyFile
    sha256: str
    """Of its text."""


def read_policy(path: str | Path) -> KeptPolicy:
    """Return the policy that a file describes.

    Raises:
        SettingError: no such file, no TOML, a key that is unknown or missing, or a value out of range.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     PolicyFile(name="one", route="mv_7B_k3_t0.7").write(Path(folder) / "policy.toml")
        ...     read_policy(Path(folder) / "policy.toml").file.route
        'mv_7B_k3_t0.7'
    """
    path = Path(path)
    try:
        raw = path.read_bytes()
        body = tomllib.loads(raw.decode("utf-8"))
    except (OSError, ValueError) as error:
        raise SettingError(f"policy {path} cannot be read: {error}; give a file as escalade tune writes it") from error
    try:
        # By way of JSON, where a list may stand for a tuple and nothing else for another type.
        file = PolicyFile.model_validate_json(json.dumps(body, default=_plain))
    except ValidationError as error:
        wrong = "; ".join(complaints(error, body, _KEYS_OF, PolicyFile))
        raise SettingError(f"policy {path}: {wrong}; correct it, or tune anew (escalade tune)") from error
    except TypeError as error:
        raise SettingError(f"policy {path}: {error}; correct it, or tune anew (escalade tune)") from error
    return KeptPolicy(path, file, hashlib.sha256(raw).hexdigest())


def calibrated(calibration: Calibration) -> Calibrated:
    """Return a calibration as decisions use it: an estimator per tier, known by the sha256 of the whole."""
    digest = hashlib.sha256(calibration.model_dump_json().encode()).hexdigest()
    tiers = tuple((tier.alias, tier.temperature) for tier in calibration.tiers)
    # A tier that was fitted on single samples too knows what one of them is worth; others see agreement alone.
    estimators = tuple(
        replace(calibration.estimator(*name), from_votes=tier.least_k > 1)
        for name, tier in zip(tiers, calibration.tiers, strict=True)
    )
    return Calibrated(digest, tiers, estimators)


_KEYS_OF: Mapping[str, type[Strict]] = {
    "settings": Settings,
    "gate": Gate,
    "made_from": MadeFrom,
    "conditions": Conditions,
    "numbers": Numbers,
    "in_sample": Measured,
    "held_out": Measured,
    "single_held_out": Measured,
    "certificate": RiskCertificate,
    "cost_certificate": CostCertificate,
    "tuned_on": TunedOn,
    "calibration": Calibration,
}


class Chosen(NamedTuple):
    """The settings of a run, and the files they came from."""

    kept: KeptPolicy | None
    calibration: Calibration | None
    policy: Policy


def chosen_settings(policy: str | Path | None, calibration: str | Path | None, **settings: Any) -> Chosen:
    """Return the settings of a policy's file, else those given, with a calibration's file where there is one.

    Raises:
        SettingError: a file cannot be used, a setting is out of range, or both files are given.

    Example:
        >>> chosen_settings(None, None, target=0.8).policy.target
        0.8
    """
    if policy is not None and calibration is not None:
        raise SettingError(f"policy {policy} has its own calibration: leave out {calibration}")
    if policy is not None:
        kept = read_policy(policy)
        return Chosen(kept, None, kept.file.policy())
    fitted = None if calibration is None else read_calibration(Path(calibration))
    return Chosen(None, fitted, Policy(**settings, calibration=None if fitted is None else calibrated(fitted)))


def conditions_of(pool: Pool, problems: Sequence[Problem]) -> Conditions:
    """Return what a pool's models are asked under, and what grades these problems.

    Example:
        >>> from escalade.pool import load_pool
        >>> sorted(conditions_of(load_pool("qwen2.5-math"), [Problem("p1", "1 + 1?", "2")]).grader)
        ['escalade', 'math']
    """
    kinds = [kind_of(spec) for spec in dict.fromkeys(p.answer_kind or pool.answer_kind for p in problems)]
    stamp = {kind.name: kind.version or "no version" for kind in kinds}
    return Conditions.of(pool, {"escalade": version("escalade"), **stamp})


def with_mismatches(job: Job, kept: KeptPolicy | None = None, calibration: Calibration | None = None) -> Job:
    """Return a job that says which policy it follows, and how it differs from what its files were made under."""
    if kept is None and calibration is None:
        return job
    now, found = conditions_of(job.pool, job.problems), list[str]()
    routes = job.routes
    if kept is not None and job.gate is not None:  # a policy is both of its routes, whichever way these problems go
        routes = list(dict.fromkeys((kept.file.parsed(job.pool), job.gate.route)))
    for route in routes:
        ran = executed(route, job.pool).route
        if kept is not None:
            found += kept.file.mismatches(now, ran)
        if calibration is not None:
            found += calibration.mismatches(now, _ballots(ran))
    name = None if kept is None else PolicyName(kept.file.name, kept.sha256)
    return replace(job, policy_file=name, mismatches=tuple(dict.fromkeys(found)))


def _ballots(route: Route) -> list[tuple[str, float, int]]:
    """The tiers whose ballots a calibration is asked about."""
    return [(tier.model, tier.temperature, tier.k) for tier in route.tiers if tier.k > 1]


def _plain(value: Any) -> str:
    if isinstance(value, date):
        return value.isoformat()
    raise TypeError(f"{value!r} is no value of a policy")
