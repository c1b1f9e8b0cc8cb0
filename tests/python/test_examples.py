"""client/python/examples: each checks its own claims, and says so."""

import os
import pathlib
import re
import subprocess
import sys

import pytest
import streamnorm

ROOT = pathlib.Path(__file__).resolve().parents[2]
EXAMPLES = ROOT / "client" / "python" / "examples"
CLAIMS = {
    "seed_problem.py": "as claimed",
    "resume.py": "each row counts once",
    "actors.py": "as claimed",
    "ddp.py": "as claimed",
}


def run(name, *flags, **variables):
    done = subprocess.run([sys.executable, EXAMPLES / name, *flags], text=True,
                          capture_output=True, timeout=300,
                          env={**os.environ, **variables})
    return done.returncode, done.stdout, done.stderr


def test_every_example_is_run_and_documented():
    assert {p.name for p in EXAMPLES.glob("*.py")} == set(CLAIMS)
    page = (ROOT / "docs" / "examples.md").read_text()
    for name, claim in CLAIMS.items():
        shown = page.split(f"$ python3 client/python/examples/{name}\n")[1]
        assert shown.partition("\n```")[0].endswith(claim)


@pytest.mark.parametrize("name", CLAIMS)
def test_what_it_claims_is_so(name):
    status, output, errors = run(name)
    assert status == 0, output + errors
    assert output.splitlines()[-1] == CLAIMS[name]


def test_the_jobs_rows_count_once_over_grpcio():
    _, output, errors = run("resume.py", STREAMNORM_TRANSPORT="grpc")
    assert "rows the server counts 400" in output, output + errors
    sent, again = map(int, re.search(r"sent +(\d+), (\d+) of them",
                                     output).groups())
    assert sent - again == 400


def test_a_server_is_left_as_it_was(start):
    server = start("--store=memory")
    status, output, errors = run("actors.py", "--server", server.address)
    assert status == 0, output + errors
    with streamnorm.connect(server.address) as client:
        assert list(client.normalizers()) == []
        assert client.server_info().sessions == 0


def test_without_a_server_it_says_so():
    status, _, errors = run("actors.py", STREAMNORM_SERVER_BINARY="nowhere")
    assert status != 0
    assert "nowhere, want the server's binary" in errors


@pytest.mark.skipif("STREAMNORM_TRAINING_LOOP" not in os.environ,
                    reason="run by ctest, which says where it was built")
def test_the_cpp_layers_rows_are_counted_exactly(start):
    server = start()
    done = subprocess.run(
        [os.environ["STREAMNORM_TRAINING_LOOP"], server.address, "job"],
        text=True, capture_output=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr
    told = dict(re.findall(r"(job\S+): (\d+) rows sent", done.stdout))
    assert len(told) == 4
    with streamnorm.connect(server.address) as client:
        assert {name: str(client.normalizer(name).n_samples_seen_)
                for name in told} == told
        assert client.server_info().sessions == 0
    again = subprocess.run(
        [os.environ["STREAMNORM_TRAINING_LOOP"], server.address, "job"],
        text=True, capture_output=True, timeout=60)
    assert again.returncode == 1 and "ALREADY_EXISTS" in again.stderr
