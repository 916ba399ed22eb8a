import json

import pytest

from yannctl.cli.app import main

ATTACKERS = {"uniform", "bang-bang", "greedy", "nan", "search", "gradient"}


def run(capsys, *words):
    with pytest.raises(SystemExit) as end:
        main([*words, "--json"])
    return end.value.code, capsys.readouterr()


def test_certify_writes_a_file_that_proves_itself(tmp_path, capsys):
    from yannctl.assurance import load_certificate, public_key

    key = tmp_path / "key"
    code, text = run(capsys, "certify", "robot-corridor", "--out", str(tmp_path), "--key", str(key))
    assert code == 0
    found = json.loads(text.out.splitlines()[-1])["certificates"]["robot-corridor"]
    assert found["share"] > 0.85
    assert key.stat().st_mode & 0o077 == 0
    loaded = load_certificate(found["file"], public_key(key.read_bytes()))
    assert loaded.share == found["share"]


def test_falsify_counts(capsys, tmp_path):
    out = tmp_path / "attacks.json"
    code, text = run(capsys, "falsify", "--short", "--plant", "robot-corridor", "--out", str(out))
    assert code == 0
    found = json.loads(text.out.splitlines()[-1])
    assert found["ok"]
    assert {attack["policy"] for attack in found["attacks"]} == ATTACKERS
    assert all(attack["violations"] == 0 for attack in found["attacks"])
    # An interrupted run goes on: what is in the file is kept as it is, what is missing is done.
    left = {**found, "attacks": [{**found["attacks"][0], "closest": 77.0}, *found["attacks"][2:]]}
    out.write_text(json.dumps(left))
    code, text = run(capsys, "falsify", "--short", "--plant", "robot-corridor", "--out", str(out), "--resume")
    again = {attack["policy"]: attack for attack in json.loads(out.read_text())["attacks"]}
    assert code == 0
    assert again["uniform"]["closest"] == 77.0
    assert again["bang-bang"] == found["attacks"][1]
    assert set(again) == ATTACKERS
    code, text = run(capsys, "falsify", "--short", "--resume")
    assert (code, "name it with --out" in text.err) == (2, True)


def test_an_unknown_plant_is_one_line(capsys):
    code, text = run(capsys, "certify", "spaceship")
    assert code == 2
    assert "no design 'spaceship'" in text.err


@pytest.mark.slow
def test_an_empty_set_says_what_to_change(capsys, tmp_path):
    code, text = run(capsys, "certify", "pendulum-upright", "--sample-time", "0.5", "--out", str(tmp_path))
    assert code == 2
    assert "sample time: at most" in text.err
    assert not list(tmp_path.iterdir())


def test_an_analytic_set_is_certified_and_verified(capsys, tmp_path):
    code, text = run(capsys, "certify", "robot-stop", "--out", str(tmp_path), "--key", str(tmp_path / "key"))
    assert code == 0
    found = json.loads(text.out.splitlines()[-1])["certificates"]["robot-stop"]
    assert found["form"] == "stopping"
    code, _ = run(capsys, "verify", found["file"], "--trusted", str(tmp_path / "key.pub"))
    assert code == 0
