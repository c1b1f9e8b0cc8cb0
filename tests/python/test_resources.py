"""Create, get, list, update, delete, reset, freeze, statistics."""

import grpc
import numpy as np
import pytest
from api import (COLUMNS, Code, FeatureStatistics, Nonfinite, Normalizer,
                 Scaling, WarmUp, Window, decode, FP64, invalid, not_found,
                 pb, refused, unchanged)

ROWS = np.arange(12.0).reshape(4, 3)


# What a request may make grow.

def test_no_more_features_are_selected_than_there_are(client):
    name = client.create(3, feature_names=["a", "b", "c"]).name
    client.count(name, ROWS)
    assert len(client.columns(name, indices=[2, 2, 2])["mean"]) == 3
    with invalid("selection.indices", says=["4", "3"]):
        client.statistics(name, indices=[2, 2, 2, 2])
    with invalid("selection.names", says=["4", "3"]):
        client.statistics(name, names=["a"] * 4)


def test_an_update_mask_names_each_field_once(client):
    made = client.create(3, labels={"a": "b"})
    with unchanged(client, made.name), invalid("update_mask"):
        client.update(made, *["labels"] * 5)


def test_a_page_of_large_normalizers_ends_where_the_message_does(start,
                                                                 connect):
    client = connect(start("--store=memory", "--max_message_bytes=40000"))
    prior = WarmUp.Prior(mean=np.ones(1000), variance=np.ones(1000),
                         pseudo_rows=1)
    names = [client.create(1000, warm_up=WarmUp(
        answer=WarmUp.PRIOR, prior=prior)).name for _ in range(7)]
    listed, token, pages = [], "", 0
    while pages == 0 or token:
        page = client.call("ListNormalizers", pb.ListNormalizersRequest(
            page_token=token))
        assert 1 <= len(page.normalizers) <= 2
        listed += [n.name for n in page.normalizers]
        token, pages = page.next_page_token, pages + 1
    assert sorted(listed) == sorted(names) and len(listed) == 7


# Create.

def test_create_answers_the_normalizer_as_asked(client):
    made = client.create(
        2, "as-asked.v1_x", feature_names=["speed", "größe"],
        scaling=Scaling(preset="batchnorm"),
        window=Window(kind=Window.CUMULATIVE),
        nonfinite=Nonfinite(nan=Nonfinite.REJECT),
        warm_up=WarmUp(minimum_rows=5, answer=WarmUp.IDENTITY),
        labels={"team": "vision"})
    assert made.name == "normalizers/as-asked.v1_x"
    assert list(made.feature_names) == ["speed", "größe"]
    assert made.scaling.preset == "batchnorm"
    assert made.nonfinite.nan == Nonfinite.REJECT
    assert made.warm_up.minimum_rows == 5
    assert made.warm_up.answer == WarmUp.IDENTITY
    assert dict(made.labels) == {"team": "vision"}
    assert made.features == 2 and made.schema_hash and made.etag
    assert made.generation and not made.frozen and made.row_count == 0
    assert made.create_time.seconds > 1_600_000_000


def test_get_answers_what_create_answered(client):
    made = client.create(3, labels={"a": "b"})
    assert client.get(made.name) == made


def test_output_only_fields_of_create_are_ignored(client):
    made = client.create(3, frozen=True, revision=9, row_count=7,
                         generation=1 << 60, schema_hash=5, etag="mine")
    assert not made.frozen and made.revision < 9 and made.row_count == 0
    assert made.schema_hash != 5 and made.etag != "mine"
    assert made.generation != 1 << 60


def test_schema_hash_identifies_count_names_and_order(client):
    def schema(features, names):
        return client.create(features, feature_names=names).schema_hash

    assert schema(2, ["a", "b"]) == schema(2, ["a", "b"])
    hashes = [schema(2, []), schema(3, []), schema(2, ["a", "b"]),
              schema(2, ["b", "a"]), schema(2, ["ab", "c"]),
              schema(2, ["a", "bc"])]
    assert len(set(hashes)) == len(hashes) and 0 not in hashes


def test_validate_only_creates_nothing(client):
    made = client.create(3, "only-validated", validate_only=True)
    assert made.name == "normalizers/only-validated" and made.features == 3
    with not_found():
        client.get(made.name)


def test_validate_only_refuses_what_create_refuses(client):
    with invalid("normalizer.features"):
        client.create(0, "only-validated", validate_only=True)
    name = client.create(3).name
    with refused(Code.ALREADY_EXISTS, "NORMALIZER_EXISTS"):
        client.create(3, name.split("/")[1], validate_only=True)


def test_create_of_an_existing_one_is_refused(client):
    name = client.create(3).name
    client.count(name, ROWS)
    with unchanged(client, name), refused(
            Code.ALREADY_EXISTS, "NORMALIZER_EXISTS", says=[name]):
        client.create(4, name.split("/")[1])


BAD_IDS = ["", "A", "1a", "_a", ".a", "-a", "../x", "a/b", "a b", "a\n", "é",
           "aé", "a\0", "a" * 129]


@pytest.mark.parametrize("normalizer_id", BAD_IDS)
def test_create_refuses_a_bad_id(client, normalizer_id):
    with invalid("normalizer_id"):
        client.create(3, normalizer_id)


@pytest.mark.parametrize("normalizer_id", ["a", "a" * 128, "a..", "z9._-"])
def test_create_takes_every_good_id(client, normalizer_id):
    name = client.create(1, normalizer_id).name
    assert client.get(name).name == "normalizers/" + normalizer_id
    client.delete(name)


BAD_NAMES = ["", "x", "normalizers", "normalizers/", "normalizers/A",
             "normalizers/../x", "normalizers/a/b", "snapshots/x",
             "normalizers/é", "/normalizers/x", "normalizers/" + "a" * 129]


@pytest.mark.parametrize("name", BAD_NAMES)
def test_get_refuses_a_bad_name(client, name):
    with invalid("name"):
        client.get(name)


BAD_NORMALIZERS = {
    "no_features": ({"features": 0}, "features"),
    "negative_features": ({"features": -1}, "features"),
    "one_name_for_two": ({"feature_names": ["a"]}, "feature_names"),
    "same_name_twice": ({"feature_names": ["a", "a"]}, "feature_names"),
    "empty_name": ({"feature_names": ["a", ""]}, "feature_names"),
    "long_name": ({"feature_names": ["a", "b" * 257]}, "feature_names"),
    "unknown_preset": ({"scaling": Scaling(preset="Standard")},
                       "scaling.preset"),
    "unknown_method": ({"scaling": Scaling(method=99)}, "scaling.method"),
    "unknown_epsilon_mode": ({"scaling": Scaling(epsilon_mode=99)},
                             "scaling.epsilon_mode"),
    "negative_epsilon": ({"scaling": Scaling(epsilon=-1e-9)},
                         "scaling.epsilon"),
    "nan_epsilon": ({"scaling": Scaling(epsilon=np.nan)}, "scaling.epsilon"),
    "infinite_epsilon": ({"scaling": Scaling(epsilon=np.inf)},
                         "scaling.epsilon"),
    "negative_clip": ({"scaling": Scaling(clip=-1)}, "scaling.clip"),
    "nan_clip": ({"scaling": Scaling(clip=np.nan)}, "scaling.clip"),
    "infinite_clip": ({"scaling": Scaling(clip=np.inf)}, "scaling.clip"),
    "unknown_window": ({"window": Window(kind=99)}, "window.kind"),
    "unknown_nan_policy": ({"nonfinite": Nonfinite(nan=99)}, "nonfinite.nan"),
    "unknown_infinity_policy": ({"nonfinite": Nonfinite(infinity=99)},
                                "nonfinite.infinity"),
    "unknown_answer": ({"warm_up": WarmUp(answer=99)}, "warm_up.answer"),
    "no_prior": ({"warm_up": WarmUp(answer=WarmUp.PRIOR)}, "warm_up.prior"),
    "prior_without_weight": ({"warm_up": WarmUp(
        answer=WarmUp.PRIOR, prior=WarmUp.Prior(mean=[0], variance=[1]))},
        "warm_up.prior.pseudo_rows"),
    "prior_of_three": ({"warm_up": WarmUp(
        answer=WarmUp.PRIOR,
        prior=WarmUp.Prior(mean=[0] * 3, variance=[1], pseudo_rows=1))},
        "warm_up.prior.mean"),
    "prior_variances_of_three": ({"warm_up": WarmUp(
        answer=WarmUp.PRIOR,
        prior=WarmUp.Prior(mean=[0], variance=[1] * 3, pseudo_rows=1))},
        "warm_up.prior.variance"),
    "negative_prior_variance": ({"warm_up": WarmUp(
        answer=WarmUp.PRIOR,
        prior=WarmUp.Prior(mean=[0], variance=[-1], pseudo_rows=1))},
        "warm_up.prior.variance"),
    "nan_prior_mean": ({"warm_up": WarmUp(
        answer=WarmUp.PRIOR,
        prior=WarmUp.Prior(mean=[np.nan], variance=[1], pseudo_rows=1))},
        "warm_up.prior.mean"),
    "65_labels": ({"labels": {f"k{i}": "" for i in range(65)}}, "labels"),
    "empty_label_key": ({"labels": {"": "x"}}, "labels"),
    "long_label_key": ({"labels": {"k" * 64: "x"}}, "labels"),
    "long_label_value": ({"labels": {"k": "x" * 256}}, "labels"),
}


@pytest.mark.parametrize("case", BAD_NORMALIZERS)
def test_create_refuses_a_bad_normalizer(client, case):
    fields, path = BAD_NORMALIZERS[case]
    with invalid("normalizer." + path):
        client.create(**{"features": 2, **fields},
                      normalizer_id="bad-" + case.replace("_", "-"))
    with not_found():
        client.get("normalizers/bad-" + case.replace("_", "-"))


def test_labels_and_names_at_their_limits_are_taken(client):
    labels = {("k" * 61) + f"{i:02}": "v" * 255 for i in range(64)}
    made = client.create(2, labels=labels, feature_names=["a", "b" * 256])
    assert dict(client.get(made.name).labels) == labels


# List.

@pytest.fixture
def lone(start, connect):
    """A client of a server that has no other."""
    return connect(start("--store=memory"))


def list_page(client, **fields):
    return client.call("ListNormalizers",
                       pb.ListNormalizersRequest(**fields))


def test_list_of_an_empty_server_is_empty(lone):
    assert list_page(lone) == pb.ListNormalizersResponse()


def test_list_pages_through_all_in_the_order_of_their_names(lone):
    ids = ["b", "a", "a-b", "a.b", "a_b", "ab", "z", "a0"]
    for normalizer_id in ids:
        lone.create(2, normalizer_id, feature_names=["x", "y"])
    seen, token = [], ""
    while True:
        page = list_page(lone, page_size=3, page_token=token)
        assert len(page.normalizers) <= 3
        seen += page.normalizers
        token = page.next_page_token
        if not token:
            break
    assert [n.name for n in seen] == sorted("normalizers/" + i for i in ids)
    assert all(n.features == 2 and not n.feature_names for n in seen)


def test_list_has_no_token_on_a_full_last_page(lone):
    for normalizer_id in "abcd":
        lone.create(1, normalizer_id)
    page = list_page(lone, page_size=2)
    last = list_page(lone, page_size=2, page_token=page.next_page_token)
    assert len(last.normalizers) == 2 and not last.next_page_token


def test_list_default_is_100_and_more_than_1000_is_cut(lone):
    for i in range(1002):
        lone.create(1, f"n{i:04}")
    assert len(list_page(lone).normalizers) == 100
    assert len(list_page(lone, page_size=5000).normalizers) == 1000


def test_list_goes_on_where_the_last_of_the_page_was_deleted(lone):
    for normalizer_id in "abcd":
        lone.create(1, normalizer_id)
    page = list_page(lone, page_size=2)
    lone.delete("normalizers/b")
    rest = list_page(lone, page_token=page.next_page_token)
    assert [n.name[-1] for n in rest.normalizers] == ["c", "d"]


def test_list_refuses_a_bad_page(lone):
    with invalid("page_size"):
        list_page(lone, page_size=-1)
    with invalid("page_token"):
        list_page(lone, page_token="\u00fcnknown token")


# Update.

def test_update_changes_the_fields_of_the_mask_only(client):
    made = client.create(3, labels={"a": "b"})
    client.count(made.name, ROWS)
    changed = client.update(
        Normalizer(name=made.name, labels={"c": "d"},
                   scaling=Scaling(preset="keras")), "labels")
    assert dict(changed.labels) == {"c": "d"}
    assert changed.scaling == made.scaling
    assert client.get(made.name) == changed


def test_update_without_a_mask_changes_what_is_set(client):
    made = client.create(3, labels={"a": "b"})
    changed = client.update(Normalizer(
        name=made.name, scaling=Scaling(preset="keras"),
        nonfinite=Nonfinite(nan=Nonfinite.REJECT),
        warm_up=WarmUp(minimum_rows=9)))
    assert changed.scaling.preset == "keras"
    assert changed.nonfinite.nan == Nonfinite.REJECT
    assert changed.warm_up.minimum_rows == 9
    assert dict(changed.labels) == {"a": "b"}


def test_update_with_a_mask_clears_what_is_not_set(client):
    made = client.create(3, labels={"a": "b"})
    assert not client.update(Normalizer(name=made.name), "labels").labels


def test_update_of_the_scaling_keeps_the_statistics(client):
    name = client.create(3).name
    client.count(name, ROWS)
    before = client.columns(name)
    revision = client.get(name).revision
    client.update(Normalizer(name=name, scaling=Scaling(preset="rsl_rl")))
    after = client.columns(name)
    for field in ("count", "mean", "variance", "minimum", "maximum"):
        np.testing.assert_array_equal(after[field], before[field])
    assert client.get(name).revision == revision
    np.testing.assert_allclose(
        client.look(name, ROWS),
        (ROWS - ROWS.mean(0)) / (ROWS.std(0) + 1e-2), rtol=1e-12)


@pytest.mark.parametrize("path", ["features", "name", "revision", "window",
                                  "feature_names", "nonsense", ""])
def test_update_refuses_a_mask_of_other_fields(client, path):
    name = client.create(3).name
    with unchanged(client, name), invalid("update_mask"):
        client.update(Normalizer(name=name, features=4), path)


@pytest.mark.parametrize("case", [
    "unknown_preset", "negative_epsilon", "infinite_clip",
    "unknown_nan_policy", "no_prior", "prior_of_three", "65_labels"])
def test_update_refuses_what_create_refuses(client, case):
    fields, path = BAD_NORMALIZERS[case]
    name = client.create(2).name
    with unchanged(client, name), invalid("normalizer." + path):
        client.update(Normalizer(name=name, **fields))


def test_update_of_an_unknown_one_is_not_found(client):
    with not_found():
        client.update(Normalizer(name="normalizers/never", labels={"a": ""}))


def test_etag_changes_with_the_fields_and_not_with_rows(client):
    made = client.create(3)
    client.count(made.name, ROWS)
    assert client.get(made.name).etag == made.etag
    changed = client.update(Normalizer(name=made.name, labels={"a": "b"}))
    assert changed.etag != made.etag


def test_a_stale_etag_changes_nothing(client):
    made = client.create(3)
    client.count(made.name, ROWS)
    client.update(Normalizer(name=made.name, labels={"a": "b"},
                             etag=made.etag))
    calls = [
        lambda: client.update(Normalizer(name=made.name, labels={"c": "d"},
                                         etag=made.etag)),
        lambda: client.reset(made.name, etag=made.etag),
        lambda: client.delete(made.name, etag=made.etag)]
    for call in calls:
        with unchanged(client, made.name), refused(
                Code.ABORTED, "STALE_ETAG"):
            call()
    client.reset(made.name, etag=client.get(made.name).etag)
    client.delete(made.name, etag=client.get(made.name).etag)


# Delete and reset.

def test_delete_removes_it(client):
    name = client.create(3).name
    client.delete(name)
    for call in (client.get, client.delete, client.statistics, client.reset,
                 client.freeze, client.unfreeze):
        with not_found():
            call(name)


def test_delete_with_allow_missing_of_an_unknown_one_is_no_error(client):
    client.delete("normalizers/never", allow_missing=True)
    with invalid("name"):
        client.delete("normalizers/Never", allow_missing=True)


def test_one_that_was_deleted_and_made_again_starts_empty(client):
    made = client.create(3, labels={"a": "b"})
    client.count(made.name, ROWS)
    client.freeze(made.name)
    client.delete(made.name)
    again = client.create(5, made.name.split("/")[1])
    assert again.features == 5 and again.row_count == 0
    assert not again.labels and not again.frozen
    assert again.generation != made.generation and again.etag != made.etag
    assert again.schema_hash != made.schema_hash


def test_reset_forgets_the_rows_and_starts_a_new_generation(client):
    made = client.create(3)
    client.count(made.name, ROWS)
    before = client.get(made.name)
    after = client.reset(made.name)
    assert after.row_count == 0
    assert after.generation != before.generation
    assert after.revision == before.revision + 1
    columns = client.columns(made.name)
    for field in ("count", "mean", "variance", "minimum", "maximum"):
        assert not columns[field].any()
    client.count(made.name, ROWS[:3])
    np.testing.assert_allclose(client.columns(made.name)["mean"],
                               ROWS[:3].mean(0), rtol=1e-12)


# Freeze.

def test_a_frozen_one_counts_nothing_and_goes_on_answering(client):
    name = client.create(3).name
    client.count(name, ROWS)
    assert client.freeze(name).frozen
    with unchanged(client, name):
        answer = client.normalize(name, ROWS + 100)
        assert answer.frozen and answer.counted_rows == 0
        assert answer.row_count == 4
        np.testing.assert_array_equal(client.normalized(name, ROWS + 100),
                                      client.look(name, ROWS + 100))
        merged = client.merge(name, 2, [0] * 3, [0] * 3)
        assert merged.frozen and merged.counted_rows == 0


def test_freeze_and_unfreeze_are_idempotent(client):
    name = client.create(3).name
    assert client.unfreeze(name) == client.get(name)
    frozen = client.freeze(name)
    assert client.freeze(name) == frozen == client.get(name)
    assert not client.unfreeze(name).frozen
    assert client.normalize(name, ROWS).counted_rows == 4


def test_fail_if_frozen_is_refused_and_reads_are_not(client):
    name = client.create(3).name
    client.count(name, ROWS)
    client.freeze(name)
    frozen = (Code.FAILED_PRECONDITION, "NORMALIZER_FROZEN")
    with unchanged(client, name):
        with refused(*frozen):
            client.normalize(name, ROWS, fail_if_frozen=True)
        with refused(*frozen):
            client.merge(name, 2, [0] * 3, [0] * 3, fail_if_frozen=True)
        with refused(*frozen):
            client.reset(name)
        client.normalize(name, ROWS, mode=pb.NORMALIZE_ONLY,
                         fail_if_frozen=True)


# Statistics.

def test_the_two_views_say_the_same(client):
    name = client.create(4, feature_names=["a", "b", "c", "d"]).name
    rows = np.array([[1, 5, np.nan, 2], [2, 5, np.nan, 9], [4, 5, 3, 1]])
    client.count(name, rows)
    people = client.statistics(name, view=pb.GetStatisticsRequest.FEATURES)
    columns = client.columns(name)
    assert [f.name for f in people.features] == ["a", "b", "c", "d"]
    for field in COLUMNS:
        assert [getattr(f, field) for f in people.features] == list(
            columns[field]), field
    assert people.row_count == 3 and people.name == name
    assert people.generation == client.get(name).generation
    assert people.revision == client.get(name).revision
    assert not people.HasField("columns")


def test_statistics_are_what_their_names_say(client):
    name = client.create(4).name
    rows = np.array([[1, 5, np.nan, 2], [2, 5, np.nan, 9], [4, 5, 3, 1]])
    client.count(name, rows)
    c = client.columns(name)
    assert list(c["index"]) == [0, 1, 2, 3]
    assert list(c["count"]) == [3, 3, 1, 3]
    assert list(c["missing_count"]) == [0, 0, 2, 0]
    assert list(c["infinite_count"]) == [0, 0, 0, 0]
    np.testing.assert_allclose(c["mean"], np.nanmean(rows, 0), rtol=1e-15)
    np.testing.assert_allclose(c["variance"], np.nanvar(rows, 0), rtol=1e-14)
    np.testing.assert_allclose(c["sample_variance"],
                               [7 / 3, 0, 0, 19], rtol=1e-14)
    np.testing.assert_array_equal(c["minimum"], [1, 5, 3, 1])
    np.testing.assert_array_equal(c["maximum"], [4, 5, 3, 9])
    np.testing.assert_array_equal(c["offset"], c["mean"])
    np.testing.assert_allclose(
        c["scale"] * [c["standard_deviation"][0], 1, 1,
                      c["standard_deviation"][3]], [1, 1, 1, 1], rtol=1e-15)
    F = FeatureStatistics
    assert list(c["state"]) == [F.OK, F.CONSTANT, F.WARMING, F.OK]


@pytest.mark.parametrize("selection, want", [
    ({}, [0, 1, 2, 3]), ({"indices": [2, 0]}, [2, 0]),
    ({"names": ["d", "b"]}, [3, 1]), ({"start": 1, "end": 3}, [1, 2]),
    ({"start": 2}, [2, 3]), ({"end": 1}, [0])])
def test_a_selection_keeps_its_order(client, selection, want):
    name = client.create(4, feature_names=["a", "b", "c", "d"]).name
    client.count(name, np.arange(8.0).reshape(2, 4) ** 2)
    everything = client.columns(name)
    chosen = client.columns(name, **selection)
    for field in COLUMNS:
        np.testing.assert_array_equal(chosen[field], everything[field][want])


@pytest.mark.parametrize("selection, field", [
    ({"indices": [4]}, "indices"), ({"indices": [0, -1]}, "indices"),
    ({"names": ["e"]}, "names"), ({"start": -1}, "start"),
    ({"start": 4}, "start"), ({"start": 1, "end": 5}, "end"),
    ({"start": 3, "end": 2}, ""), ({"end": -1}, "end"),
    ({"indices": [0], "names": ["a"]}, ""),
    ({"indices": [0], "start": 1}, "")])
def test_a_bad_selection_is_refused(client, selection, field):
    name = client.create(4, feature_names=["a", "b", "c", "d"]).name
    with invalid("selection" + ("." + field if field else "")):
        client.statistics(name, **selection)


def test_names_of_features_without_names_are_refused(client):
    with invalid("selection.names"):
        client.statistics(client.create(2).name, names=["0"])


def test_a_read_mask_leaves_the_rest_out(client):
    name = client.create(3).name
    client.count(name, ROWS)
    columns = client.statistics(name, read_mask=["mean", "count"]).columns
    assert {f.name for f, _ in columns.ListFields()} == {"mean", "count"}
    people = client.statistics(name, view=pb.GetStatisticsRequest.FEATURES,
                               read_mask=["variance"])
    assert {f.name for f, _ in people.features[2].ListFields()} == {
        "variance"}
    np.testing.assert_allclose(decode(columns.mean, FP64), ROWS.mean(0))


def test_a_read_mask_of_an_unknown_field_is_refused(client):
    with invalid("read_mask"):
        client.statistics(client.create(2).name, read_mask=["median"])


def test_statistics_refuse_an_unknown_view(client):
    with invalid("view"):
        client.statistics(client.create(2).name, view=9)


def test_statistics_of_nothing_are_zeros(client):
    columns = client.columns(client.create(2).name)
    for field in ("count", "mean", "variance", "minimum", "maximum"):
        assert list(columns[field]) == [0, 0]
    assert list(columns["state"]) == [FeatureStatistics.WARMING] * 2


def test_update_time_moves_with_the_rows_and_create_time_stays(client):
    made = client.create(3)
    client.count(made.name, ROWS)
    after = client.get(made.name)
    assert after.create_time == made.create_time
    assert after.update_time.ToNanoseconds() >= (
        made.update_time.ToNanoseconds())
    assert after.update_time.ToNanoseconds() >= (
        after.create_time.ToNanoseconds())


def test_an_rpc_that_does_not_exist_is_unimplemented(client):
    call = client.channel.unary_unary(
        "/streamnorm.v1.NormalizerService/Nonsense")
    with pytest.raises(grpc.RpcError) as caught:
        call(b"", timeout=10)
    assert caught.value.code() == Code.UNIMPLEMENTED
