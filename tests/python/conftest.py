"""Stubs from proto/ into a temporary folder, and servers to talk to."""

import os
import pathlib
import shutil
import subprocess
import sys
import tempfile

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
STUBS = tempfile.mkdtemp(prefix="sn-stubs-")


def generate_stubs():
    subprocess.run([ROOT / "run", "stubs", STUBS], check=True,
                   env={**os.environ, "STREAMNORM_INSTALL": "no"})
    sys.path.insert(0, STUBS)


def generate_package():
    """client/python, as it is before it is packed."""
    package = ROOT / "client" / "python"
    subprocess.run([sys.executable, package / "generate.py"], check=True)
    sys.path.insert(0, str(package))
    # Processes that tests start find it too.
    os.environ["PYTHONPATH"] = os.pathsep.join(
        [str(package), *filter(None, [os.environ.get("PYTHONPATH")])])


generate_stubs()
generate_package()
# The package sets it, but has to come before grpc.
os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "1")
# An idle client answers a server that says goodbye only when it next polls.
os.environ["GRPC_CLIENT_CHANNEL_BACKUP_POLL_INTERVAL_MS"] = "50"
pytest.register_assert_rewrite("api", "rows", "server_process",
                               "python_client")

import api  # noqa: E402  the stubs come first
import streamnorm  # noqa: E402
from python_client import fresh_name  # noqa: E402
from server_process import ServerProcess  # noqa: E402


def pytest_unconfigure(config):
    shutil.rmtree(STUBS, ignore_errors=True)


@pytest.fixture
def folder():
    # Not tmp_path: a unix socket's path has at most 107 bytes.
    path = pathlib.Path(tempfile.mkdtemp(prefix="sn-"))
    yield path
    shutil.rmtree(path, ignore_errors=True)


@pytest.fixture(scope="session")
def shared_server():
    path = pathlib.Path(tempfile.mkdtemp(prefix="sn-"))
    with ServerProcess(path, "--commit_interval_ms=2") as server:
        yield server
    shutil.rmtree(path, ignore_errors=True)


@pytest.fixture(scope="session")
def shared_client(shared_server):
    with api.Client(shared_server.address) as client:
        yield client


@pytest.fixture
def client(shared_client):
    """A client of the server that all tests share."""
    return shared_client


@pytest.fixture
def made(client):
    """A new normalizer of two features."""
    return client.create(2)


@pytest.fixture
def session(client):
    return client.open_session()


@pytest.fixture
def start(folder):
    """start(*flags) runs a server of the test's own on the test's folder."""
    servers = []

    def start_server(*flags, **options):
        servers.append(ServerProcess(folder, *flags, **options))
        return servers[-1].__enter__()

    yield start_server
    for server in servers:
        server.__exit__(None, None, None)


@pytest.fixture
def connect():
    """connect(server) is a client that ends with the test."""
    clients = []

    def connect_client(server):
        clients.append(api.Client(server.address))
        return clients[-1]

    yield connect_client
    for client in clients:
        client.close()


@pytest.fixture(params=["c", "grpc"])
def transport(request):
    """What the Python package talks through."""
    if request.param == "c" and "STREAMNORM_C_LIBRARY" not in os.environ:
        pytest.skip("STREAMNORM_C_LIBRARY is not set")
    return request.param


@pytest.fixture
def join(transport):
    """join(server) is a client of the Python package."""
    clients = []

    def join_client(server, **options):
        options.setdefault("transport", transport)
        address = getattr(server, "address", server)
        clients.append(streamnorm.connect(address, **options))
        return clients[-1]

    yield join_client
    for client in clients:
        client.abandon()


@pytest.fixture
def joined(join, shared_server):
    """A client of the Python package on the server that all tests share."""
    return join(shared_server)


@pytest.fixture
def normalizer(joined):
    """One of three features that no other test has."""
    return joined.normalizer(fresh_name(), 3)
