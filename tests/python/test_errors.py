"""Bad requests: code, reason, path, got and want, and nothing changed."""

import numpy as np
import pytest
from api import (FP32, FP64, Code, Tensor, invalid, not_found, pb, refused,
                 tensor, unchanged, values)

ROWS = np.arange(6.0).reshape(2, 3)
DATA = ROWS.tobytes()
TOP = 2 ** 63 - 1


def raw(shape, data=DATA, datatype=FP64):
    return Tensor(datatype=datatype, shape=shape, data=data)


BAD_INPUTS = {
    "absent": (None, "input"),
    "empty": (Tensor(), "input"),
    "a_feature_too_many": (tensor(np.zeros((2, 4))), "input.shape[1]"),
    "a_feature_too_few": (tensor(np.zeros((2, 2))), "input.shape[1]"),
    "one_row_too_long": (tensor(np.zeros(4)), "input.shape[0]"),
    "no_rows": (raw([0, 3], b""), "input.shape[0]"),
    "no_features": (raw([2, 0], b""), "input.shape[1]"),
    "no_shape": (raw([]), "input.shape"),
    "one_dimension_of_all": (raw([6]), "input.shape"),
    "three_dimensions": (raw([1, 2, 3]), "input.shape"),
    "negative_rows": (raw([-2, 3]), "input.shape[0]"),
    "negative_features": (raw([2, -3]), "input.shape[1]"),
    "both_negative": (raw([-2, -3]), "input.shape"),
    "most_rows": (raw([TOP, 3]), "input"),
    "most_of_both": (raw([TOP, TOP]), "input"),
    "bytes_wrap_to_nothing": (raw([2 ** 61, 3], b""), "input"),
    "bytes_wrap_to_the_size": (raw([2 ** 61 + 2, 3]), "input"),
    "a_byte_too_few": (raw([2, 3], DATA[:-1]), "input.data"),
    "a_byte_too_many": (raw([2, 3], DATA + b"\0"), "input.data"),
    "no_bytes": (raw([2, 3], b""), "input"),
    "bytes_of_another_type": (raw([2, 3], DATA, FP32), "input.data"),
    "no_type": (raw([2, 3], datatype=0), "input.datatype"),
    "unknown_type": (raw([2, 3], datatype=99), "input.datatype"),
    "values_and_data": (Tensor(shape=[2, 3], values=[0] * 6, data=DATA),
                        "input"),
    "values_as_fp32": (values(ROWS, datatype=FP32), "input.datatype"),
    "a_value_too_few": (Tensor(shape=[2, 3], values=[0] * 5), "input.values"),
    "a_value_too_many": (Tensor(shape=[2, 3], values=[0] * 7),
                         "input.values"),
}


@pytest.fixture(scope="module")
def name(shared_client):
    """A normalizer of three features with something in it."""
    name = shared_client.create(3).name
    shared_client.count(name, np.arange(30.0).reshape(10, 3))
    return name


@pytest.mark.parametrize("mode", [
    pb.UPDATE_THEN_NORMALIZE, pb.NORMALIZE_THEN_UPDATE, pb.NORMALIZE_ONLY,
    pb.UPDATE_ONLY])
@pytest.mark.parametrize("case", BAD_INPUTS)
def test_normalize_refuses_a_bad_tensor(client, name, case, mode):
    message, path = BAD_INPUTS[case]
    with unchanged(client, name), invalid(path):
        client.call("Normalize", pb.NormalizeRequest(name=name, mode=mode,
                                                     input=message))


@pytest.mark.parametrize("case", BAD_INPUTS)
def test_denormalize_refuses_a_bad_tensor(client, name, case):
    message, path = BAD_INPUTS[case]
    with unchanged(client, name), invalid(path):
        client.call("Denormalize", pb.DenormalizeRequest(name=name,
                                                         input=message))


def test_the_message_says_path_got_and_want(client, name):
    with invalid("input.shape[1]", says=["4", "want 3", name]):
        client.normalize(name, np.zeros((2, 4)))


def test_an_unknown_mode_is_refused(client, name):
    with unchanged(client, name), invalid("mode", says=["9"]):
        client.normalize(name, ROWS, mode=9)


BAD_UPDATE_IDS = {
    "empty": ({"session": b"", "epoch": 0, "sequence": 0}, "update_id"),
    "no_session": ({"session": b""}, "update_id.session"),
    "short_session": ({"session": b"x" * 15}, "update_id.session"),
    "long_session": ({"session": b"x" * 17}, "update_id.session"),
    "no_sequence": ({"sequence": 0}, "update_id.sequence"),
}


@pytest.mark.parametrize("case", BAD_UPDATE_IDS)
def test_a_bad_update_id_is_refused(client, name, case):
    fields, path = BAD_UPDATE_IDS[case]
    session = client.open_session()
    good = {"session": session.session, "epoch": session.epoch, "sequence": 1,
            "generation": client.get(name).generation}
    update = pb.UpdateId(**{**good, **fields})
    with unchanged(client, name), invalid(path):
        client.normalize(name, ROWS, update_id=update)
    with unchanged(client, name), invalid(path):
        client.merge(name, 1, [0] * 3, [0] * 3, update_id=update)
    assert session.progress(name) is None


def test_generation_0_is_for_sequence_1_only(client, name):
    session = client.open_session()
    with unchanged(client, name), refused(
            Code.FAILED_PRECONDITION, "GENERATION_UNKNOWN",
            says=["update_id.generation: 0, want "]):
        client.normalize(name, ROWS, update_id=session.id(2, 0))


def calls_with_a_name(client, name):
    return {
        "get": lambda: client.get(name),
        "delete": lambda: client.delete(name),
        "reset": lambda: client.reset(name),
        "freeze": lambda: client.freeze(name),
        "unfreeze": lambda: client.unfreeze(name),
        "normalize": lambda: client.normalize(name, ROWS),
        "look": lambda: client.look(name, ROWS),
        "denormalize": lambda: client.denormalize(name, ROWS),
        "merge": lambda: client.merge(name, 1, [0] * 3, [0] * 3),
        "statistics": lambda: client.statistics(name),
    }


@pytest.mark.parametrize("call", calls_with_a_name(None, None))
def test_an_unknown_normalizer_is_not_found(client, call):
    unknown = "normalizers/never-created"
    with refused(Code.NOT_FOUND, "NORMALIZER_NOT_FOUND", says=[unknown]):
        calls_with_a_name(client, unknown)[call]()
    with not_found():
        client.get(unknown)


@pytest.mark.parametrize("bad", ["", "x", "normalizers/A", "normalizers/../x",
                                 "normalizers/a/b", "normalizers/a\nb"])
@pytest.mark.parametrize("call", calls_with_a_name(None, None))
def test_a_bad_name_is_refused_before_it_is_looked_for(client, call, bad):
    with invalid("name"):
        calls_with_a_name(client, bad)[call]()


def test_a_client_name_of_more_than_256_bytes_is_refused(client):
    client.open_session("x" * 256)
    with invalid("client"):
        client.open_session("x" * 257)


def test_resume_wants_exactly_one_of_session_and_token(client):
    session = client.open_session()
    token = session.barrier().token
    for fields in ({}, {"session": session.session, "token": token}):
        with invalid(None):
            client.resume(**fields)
    for bad in (b"x", session.session + b"x"):
        with invalid("session"):
            client.resume(session=bad)


@pytest.mark.parametrize("break_it", [
    lambda token: b"nonsense", lambda token: token[:-1],
    lambda token: token + b"\0",
    lambda token: token[:20] + bytes([token[20] ^ 1]) + token[21:]])
def test_a_damaged_token_is_refused(client, name, break_it):
    session = client.open_session()
    client.normalize(name, ROWS, update_id=session.id(
        1, client.get(name).generation))
    token = session.barrier().token
    with invalid("token"):
        client.resume(token=break_it(token))
    client.resume(token=token)


def test_garbage_on_the_wire_is_refused_and_the_server_lives(client, name):
    call = client.channel.unary_unary(
        "/streamnorm.v1.NormalizerService/Normalize")
    for garbage in (b"\xff" * 40, b"\x0a\xff\xff\xff\xff\x0f",
                    b"\x7a\x05\x12\x0f"):
        with pytest.raises(Exception):
            call(garbage, timeout=10)
    assert client.get(name).features == 3


def test_bytes_that_are_no_utf8_are_refused_as_a_name(client):
    call = client.channel.unary_unary(
        "/streamnorm.v1.NormalizerService/GetNormalizer")
    with pytest.raises(Exception):
        call(b"\x0a\x02\xff\xfe", timeout=10)


def test_a_normalizer_takes_rows_up_to_2_to_the_53_and_no_more(client):
    name = client.create(1).name
    client.merge(name, 2 ** 53 - 1, [1.0], [0.0])
    client.count(name, [[1.0]])
    with unchanged(client, name):
        with invalid("input.shape[0]"):
            client.count(name, [[1.0]])
        for count in (1, 2 ** 53, 2 ** 63, 2 ** 64 - 1):
            with invalid("count"):
                client.merge(name, count, [1.0], [0.0])
    assert client.get(name).row_count == 2 ** 53
