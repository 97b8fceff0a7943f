"""Certificates, seen from the command line."""

from __future__ import annotations

import datetime
import math
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.markup import escape
from rich.table import Table

from escalade.cli.display import as_json as print_json
from escalade.cli.display import console
from escalade.errors import SettingError
from escalade.evaluation.groups import groups_in
from escalade.evaluation.sources import Opened, open_bank
from escalade.policies import PolicyFile, read_policy
from escalade.routes import Route
from escalade.tuning.certificate import Certification, certify
from escalade.tuning.goals import dearest_single
from escalade.tuning.making import Ground, certified_policy, label
from escalade.tuning.recertification import Recertified, recertify
from escalade.wording import counted, signed


def show_certified(
    path: Path,
    source: str,
    problems: str | None,
    pool: str | None,
    scores: Path | None,
    group: str | None,
    *,
    as_json: bool,
) -> int:
    """Work a certificate out again and say what came of it; return the exit code."""
    kept = read_policy(path)
    made = kept.file.made_from
    opened = open_bank(
        source,
        problems,
        pool=pool,
        scores=scores,
        dataset=None if made is None else made.dataset,
        complete=made is not None and made.complete,
        cost_column=None if made is None else made.cost_column,
    )
    found = recertify(
        kept.file, opened, groups=own_groups(group or (None if made is None else made.group), problems, opened)
    )
    if as_json:
        body = asdict(found)
        body["verdict"] = None if found.verdict is None else finite(found.verdict._asdict())
        print_json(body)
    else:
        _show_recertified(kept.file, found)
    if found.holds:
        return 0
    return 2 if found.same_data and found.differences and "no policy" not in found.differences[0] else 1


def show_certification(
    ground: Ground,
    reference: Route | None,
    max_loss: float,
    level: float,
    alpha: float,
    out: Path | None,
    name: str | None,
    *,
    as_json: bool,
) -> bool:
    """Certify; print the path and what was shown, and write the policy's file. Return whether there is a policy."""
    trials = ground.trials
    if reference is None:
        reference = trials.candidates[dearest_single(trials)].route
    found = certify(
        ground.opened.bank,
        trials,
        reference,
        max_loss,
        level=level,
        alpha=alpha,
        groups=ground.groups,
        seen=ground.seen,
        seed=ground.seed,
    )
    file = None
    if found.chosen is not None:
        file = certified_policy(ground, found, name=name or name_of(out), day=datetime.date.today())
        if out is not None:
            file.write(out)
    if as_json:
        print_json(_plain_certification(found, file))
        return file is not None
    _show_path(found)
    _show_certification(found)
    if file is not None:
        say_written(out)
    return file is not None


def _show_path(found: Certification) -> None:
    table = Table("path, from the safest", box=None)
    for column in ("mean loss", "p", ""):
        table.add_column(column, justify="right")
    place = -1 if found.place is None else found.place
    for number, (each, loss, p) in enumerate(zip(found.path, found.losses, found.p_values, strict=True)):
        if number > place + 1:
            break  # a fixed sequence ends at the first failure: what lies behind was not tested
        table.add_row(escape(label(each)), signed(loss, 4), f"{p:.3f}", "passed" if number <= place else "failed")
    console.print(table)


def _show_certification(found: Certification) -> None:
    promise = f"at most {found.max_loss:g} lost to {found.reference.route}, {found.level:.0%} confidence"
    test = f"{found.kind}, {counted(found.labels, 'label')}; path laid on {found.planning} others, seed {found.seed}"
    if found.chosen is None or found.numbers is None:
        needed = (
            "no number of labels would do, as it lost that much in planning"
            if found.needed is None
            else f"it would take about {counted(found.needed, 'labelled problem')} if it goes on to lose as in planning"
        )
        console.print(f"Nothing cheaper is certified ({promise}; {test}): {needed}.".replace("%", " %"), soft_wrap=True)
        return
    saved = found.numbers.cost.value / found.reference_numbers.cost.value
    console.print(f"[bold]{escape(label(found.chosen))}[/]", soft_wrap=True)
    console.print(f"Certified: {promise}; bound {found.bound:.4f} ({test}).".replace("%", " %"), soft_wrap=True)
    console.print(
        f"On the certifying problems it costs {saved:.2f} times as much as the reference, accuracy "
        f"{found.numbers.accuracy.value:.3f} beside {found.reference_numbers.accuracy.value:.3f}.",
        soft_wrap=True,
    )
    if math.isfinite(found.cost.budget):
        console.print(
            f"A problem costs more than {found.cost.budget:.4g} USD with a chance of at most {found.cost.alpha:g}."
        )
    else:
        console.print(f"No budget can be promised at {found.cost.alpha:g} with {counted(found.labels, 'label')}.")


def _show_recertified(file: PolicyFile, found: Recertified) -> None:
    assert file.certificate is not None
    for difference in found.differences:
        console.print(escape(difference), soft_wrap=True)
    if found.verdict is None:
        console.print("The certificate holds." if found.holds else "The certificate does not follow from these data.")
        return
    new = found.verdict
    if found.shared:
        alike = f", and {counted(found.alike, 'near-duplicate')} of them" if found.alike else ""
        console.print(
            f"Left out, as they had a part in making the policy: {found.shared} of these problems{alike}.",
            soft_wrap=True,
        )
    held = "holds on them too" if found.holds else "does not hold on them"
    bound = "" if math.isnan(new.bound) else f", bound {new.bound:.4f}"
    console.print(
        f"These are other data than the certificate's. A loss of at most {file.certificate.max_loss:g} {held}: mean "
        f"{signed(new.loss, 4)}, p {new.p_value:.3f}{bound} ({new.kind}, {counted(new.labels, 'label')}).",
        soft_wrap=True,
    )
    if file.cost_certificate is not None:
        budget = f"{file.cost_certificate.budget_usd:.4g} USD"
        over = (
            f"How many cost more than {budget} is unknown: costs are; give --pool FILE with prices."
            if math.isnan(new.over_budget)
            else f"{new.over_budget:.1%} cost more than {budget}.".replace("%", " %")
        )
        console.print(over)


def _plain_certification(found: Certification, file: PolicyFile | None) -> dict[str, Any]:
    return finite(
        {
            "certified": found.chosen is not None,
            "path": [label(each) for each in found.path],
            "p_values": list(found.p_values),
            "losses": list(found.losses),
            "chosen": found.place,
            "kind": found.kind,
            "max_loss": found.max_loss,
            "confidence_level": found.level,
            "bound": found.bound,
            "reference": str(found.reference.route),
            "labels": found.labels,
            "planning": found.planning,
            "labels_needed": found.needed,
            "cost_budget_usd": found.cost.budget,
            "alpha": found.cost.alpha,
            "policy": None if file is None else file.model_dump(mode="json", exclude_none=True),
        }
    )


def own_groups(column: str | None, problems: str | None, opened: Opened) -> list[str] | None:
    """Return the groups of --group, or None without it."""
    if column is None:
        return None
    if problems is None:
        raise SettingError(f"--group {column}: it is a column of the problems' file; give --problems FILE")
    return groups_in(problems, column, opened.bank.problems)


def name_of(out: Path | None) -> str:
    """Return the name of a policy that was given none."""
    return "tuned" if out is None else out.stem


def say_written(out: Path | None) -> None:
    """Say where a policy was written, and how it is used."""
    where = "nothing is written; --out FILE writes the policy" if out is None else f"written to {out}"
    console.print(
        f"[dim]{escape(where)}[/]" + ("" if out is None else f"[dim]: escalade run --policy {escape(str(out))}[/]")
    )


def finite(body: dict[str, Any]) -> dict[str, Any]:
    """Plain values; what is no number is None."""

    def plain(value: Any) -> Any:
        if isinstance(value, float):
            return value if math.isfinite(value) else None
        return [plain(item) for item in value] if isinstance(value, list) else value

    return {key: plain(value) for key, value in body.items()}
