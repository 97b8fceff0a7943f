"""Policies' files: read back as written, refused where they say what is not understood, used by runs."""

from datetime import date
from pathlib import Path

import pytest

import escalade
from escalade.calibration.labelling import fit_bank
from escalade.cascade.policy import Policy
from escalade.errors import RouteError, SettingError
from escalade.evaluation.conditions import Conditions
from escalade.evaluation.sources import open_bank
from escalade.policies import PolicyFile, RiskCertificate, Settings, chosen_settings, conditions_of, read_policy

ROUTE = "mv_cascade_0.5B_k5_t0.7_c0.6_1.5B_k3_t0.7"


def written(folder: Path, file: PolicyFile) -> Path:
    path = folder / "policy.toml"
    file.write(path)
    return path


def certificate(**others: object) -> RiskCertificate:
    values = {
        "kind": "regret, binomial",
        "reference": "mv_1.5B_k1_t0.7",
        "max_loss": 0.02,
        "confidence_level": 0.9,
        "bound": 0.1 + 0.2,
        "labels": 114,
        "planning": 171,
        "path": (ROUTE,),
        "p_values": (1 / 3,),
        "chosen": 0,
        "seed": 0,
    }
    return RiskCertificate.model_validate({**values, **others})


def test_a_file_is_read_back_to_the_last_digit(tmp_path: Path) -> None:
    bank = open_bank().bank
    calibration = fit_bank(bank, conditions_of(bank.pool, bank.problems), date(2026, 1, 31)).calibration
    file = PolicyFile(
        name="mine",
        route=ROUTE,
        settings=Settings(confidence="calibrated", target=1 / 3, thresholds={"0.5B": 0.1 + 0.2}),
        certificate=certificate(),
        calibration=calibration,
    )
    kept = read_policy(written(tmp_path, file))
    assert kept.file == file
    assert kept.file.policy() == file.policy()
    assert kept.file.text() == file.text()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('name = "x"\n', "route: missing"),
        ('name = "x"\nroute = "mv_S_k3_t0.7"\nrout = "y"\n', "rout: unknown key.*did you mean 'route'"),
        ('name = "x"\nroute = "r"\n[settings]\ntarge = 0.5\n', "settings.targe: unknown key.*did you mean 'target'"),
        ('name = "x"\nroute = "r"\n[settings]\ntarget = 1.5\n', "target is 1.5"),
        ('name = "x"\nroute = "r"\n[settings]\ntarget = "0.5"\n', "settings.target"),
        ('name = "x"\nroute = "r"\n[settings]\nconfidence = "shar"\n', "did you mean 'share'"),
        ('name = "x"\nroute = "r"\n[settings]\nprior_strength = -1\n', "prior_strength is -1.0"),
        ('name = "x"\nroute = "r"\n[settings]\nprior_strength = nan\n', "prior_strength"),
        ('name = "x"\nroute = "r"\n[settings]\nprior_strengt = 4\n', "unknown key.*did you mean 'prior_strength'"),
        ('name = "x"\nroute = "r"\n[settings]\nconfidence = "calibrated"\n', "no \\[calibration\\]"),
        ('name = "x"\nroute = "r"\nformat = "escalade policy 9"\n', "escalade policy 1"),
        ('name = "x"\nname = "y"\n', "cannot be read"),
        ("name = ", "cannot be read"),
        ('name = "x"\nroute = "r"\n[settings]\ntarget = nan\n', "target"),
    ],
)
def test_what_is_not_understood_is_refused(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "p.toml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(SettingError, match=said):
        read_policy(path)


def test_the_strength_of_a_prior_is_kept_and_files_from_before_it_read_on(tmp_path: Path) -> None:
    file = PolicyFile(name="mine", route=ROUTE, settings=Settings(confidence="prior", prior_strength=0.1 + 0.2))
    path = written(tmp_path, file)
    assert "prior_strength = 0.30000000000000004" in path.read_text(encoding="utf-8")
    assert read_policy(path).file.policy() == Policy(confidence="prior", prior_strength=0.1 + 0.2)
    lines = [line for line in path.read_text(encoding="utf-8").splitlines() if "prior_strength" not in line]
    path.write_text("\n".join(lines), encoding="utf-8")
    assert read_policy(path).file.policy() == Policy(confidence="prior", prior_strength=4.0)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(SettingError, match="cannot be read"):
        read_policy(tmp_path / "none.toml")


def test_a_run_by_a_policy_is_the_run_by_its_parts(tmp_path: Path) -> None:
    path = written(tmp_path, PolicyFile(name="mine", route=ROUTE, settings=Settings(confidence="margin", stop="none")))
    ours = escalade.run(policy=path, engine="replay:shipped")
    parts = escalade.run(route=ROUTE, confidence="margin", stop="none", engine="replay:shipped")
    assert [item.outcome for item in ours.answered] == [item.outcome for item in parts.answered]
    said = ours.summary().to_dict()
    assert said["policy_file"] == {"name": "mine", "sha256": read_policy(path).sha256}
    assert said["mismatches"] == []
    assert parts.summary().to_dict()["policy_file"] is None


def test_a_policy_is_not_mixed_with_other_settings(tmp_path: Path) -> None:
    path = written(tmp_path, PolicyFile(name="mine", route=ROUTE))
    with pytest.raises(SettingError, match="has a route"):
        escalade.run(policy=path, route="0.5B", engine="replay:shipped")
    with pytest.raises(SettingError, match="a policy and settings"):
        escalade.run(policy=path, target=0.5, engine="replay:shipped")
    with pytest.raises(SettingError, match="its own calibration"):
        chosen_settings(path, "calibration.json")


def test_a_model_that_the_pool_lacks_is_named(tmp_path: Path) -> None:
    path = written(tmp_path, PolicyFile(name="mine", route="mv_7B_k3_t0.7"))
    with pytest.raises(RouteError, match="7B"):
        escalade.run(policy=path, engine="replay:shipped")


def test_what_a_calibration_was_fitted_under_and_is_not_so_now_is_said(tmp_path: Path) -> None:
    bank = open_bank().bank
    then = conditions_of(bank.pool, bank.problems)
    small = then.models["0.5B"].model_copy(update={"prompt": "another"})
    other = Conditions(models={**then.models, "0.5B": small}, grader=then.grader)
    path = tmp_path / "calibration.json"
    fit_bank(bank, other, date(2026, 1, 31), sizes=[3]).calibration.write(path)
    run = escalade.run(
        route=ROUTE, confidence="calibrated", calibration=path, engine="replay:shipped", limit=3, target=0.5
    )
    said = run.summary().to_dict()
    assert said["calibration"] is not None
    assert any("0.5B: the prompt was another" in line for line in said["mismatches"])
    assert any("0.5B at t=0.7: calibrated on ballots of 3 samples, now they have 5" in m for m in said["mismatches"])


def test_a_tier_without_calibration_is_refused_before_anything_is_drawn(tmp_path: Path) -> None:
    bank = open_bank().bank
    path = tmp_path / "calibration.json"
    fit_bank(bank, conditions_of(bank.pool, bank.problems), date(2026, 1, 31)).calibration.write(path)
    with pytest.raises(SettingError, match=r"no calibration of 0.5B at t=0:"):
        escalade.run(
            route="mv_cascade_0.5B_k3_t0.0_1.5B_k1_t0.0",
            confidence="calibrated",
            calibration=path,
            engine="replay:shipped",
        )
