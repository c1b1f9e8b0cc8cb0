"""The exact inverse: rules, element types, revisions."""

import numpy as np
import pytest
from api import (TYPES, Code, Scaling, array, refused, rounded, unchanged)
from rows import FIRST, SECOND

RULES = {
    "standard": Scaling(), "batchnorm": Scaling(preset="batchnorm"),
    "rsl_rl": Scaling(preset="rsl_rl"), "keras": Scaling(preset="keras"),
    "lerobot": Scaling(preset="lerobot"), "minmax": Scaling(preset="minmax"),
    "maxabs": Scaling(preset="maxabs"),
    "vecnormalize": Scaling(preset="vecnormalize"),
    "centred": Scaling(scale=False), "scaled": Scaling(center=False)}


@pytest.mark.parametrize("rule", RULES)
def test_denormalize_is_the_inverse(client, rule):
    rng = np.random.default_rng(3)
    past = rng.normal([5, -1e3, 0], [1, 20, 1e-3], (50, 3))
    x = rng.normal([5, -1e3, 0], [1, 20, 1e-3], (20, 3))
    name = client.create(3, scaling=RULES[rule]).name
    client.count(name, past)
    with unchanged(client, name):
        answer = client.denormalize(name, client.look(name, x))
    np.testing.assert_allclose(array(answer.output), x, rtol=1e-12,
                               atol=1e-16)
    assert answer.clipped_values == 0
    assert answer.revision == client.get(name).revision
    assert answer.row_count == 50


@pytest.mark.parametrize("datatype", TYPES)
def test_denormalize_answers_in_the_type_of_the_request(client, datatype):
    name = client.create(2).name
    client.count(name, FIRST)
    z = rounded([[0.5, -1.25], [2, 0]], datatype)
    answer = client.denormalize(name, z, datatype)
    assert answer.output.datatype == datatype
    np.testing.assert_allclose(
        array(answer.output), z * FIRST.std(0) + FIRST.mean(0),
        rtol=max(TYPES[datatype][0], 1e-14))


def test_denormalize_at_the_current_revision_only(client):
    name = client.create(2).name
    revision = client.count(name, FIRST).revision
    client.denormalize(name, SECOND, revision=revision)
    client.count(name, SECOND)
    for other in (revision, revision + 7):
        with refused(Code.FAILED_PRECONDITION, "REVISION_NOT_KEPT"):
            client.denormalize(name, SECOND, revision=other)


def test_denormalize_while_warming_up_is_refused(client):
    name = client.create(2).name
    with refused(Code.FAILED_PRECONDITION, "NOT_WARMED_UP"):
        client.denormalize(name, SECOND)
