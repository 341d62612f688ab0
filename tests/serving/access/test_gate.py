import json

import pytest
from keys_files import entry, key_of

from serving.access import keys_file
from serving.access.caller import CURRENT, EVERYONE, Refusal
from serving.access.gate import Gate
from serving.access.roles import Role
from serving.errors import PermissionDenied, RateLimited, Unauthenticated

HEALTH = frozenset({Role.HEALTH})


@pytest.fixture(autouse=True)
def everyone():
    """Forget the caller that a test has let in."""
    token = CURRENT.set(EVERYONE)
    yield
    CURRENT.reset(token)


def entries(*listed):
    return keys_file.parse(json.dumps({"callers": listed}))


def gate(*listed, opened=HEALTH, **settings):
    return Gate(entries(*listed), opened, **settings)


def header(name):
    return {b"authorization": f"Bearer {key_of(name)}".encode()}


@pytest.mark.parametrize(
    "headers",
    [
        {b"authorization": f"Bearer {key_of('a')}".encode()},
        {b"authorization": f"bearer {key_of('a')}".encode()},
        {b"x-api-key": key_of("a").encode()},
    ],
)
def test_a_key_may_be_sent_in_two_headers(headers):
    """A key is accepted as a Bearer token, whatever the case of the scheme, and in x-api-key."""
    gate(entry("a", "predict")).enter(Role.PREDICT, headers)

    assert CURRENT.get().name == "a"


@pytest.mark.parametrize(
    ("headers", "reason", "message"),
    [
        ({}, Refusal.NO_KEY, "this call needs a key with the role predict; send a key as"),
        ({b"x-api-key": b""}, Refusal.WRONG_KEY, "unknown, or has been revoked"),
        ({b"x-api-key": key_of("a").encode()[:-1]}, Refusal.WRONG_KEY, "unknown"),
        ({b"authorization": key_of("a").encode()}, Refusal.WRONG_KEY, "has no Bearer key"),
        ({b"authorization": b"Basic YTpi"}, Refusal.WRONG_KEY, "has no Bearer key"),
        # The digest itself, which the file has, is no key.
        ({b"x-api-key": entry("a", "predict")["sha256"].encode()}, Refusal.WRONG_KEY, "unknown"),
        (header("old"), Refusal.EXPIRED_KEY, "the key old has expired"),
    ],
)
def test_a_caller_without_a_valid_key_is_unknown(headers, reason, message):
    """A missing, unknown or expired key is refused, and the refusal is counted by its reason."""
    guarded = gate(entry("a", "predict"), entry("old", "predict", expires="2020-01-01"))

    with pytest.raises(Unauthenticated, match=message) as refused:
        guarded.enter(Role.PREDICT, headers)

    assert guarded.refusals == {reason: 1}
    assert refused.value.headers == ((b"www-authenticate", b'Bearer realm="onnx-serving"'),)
    assert CURRENT.get() is EVERYONE


def test_a_key_that_ends_in_the_future_is_valid():
    """A key is valid until its end."""
    gate(entry("a", "predict", expires="2999-01-01")).enter(Role.PREDICT, header("a"))

    assert CURRENT.get().name == "a"


def test_a_key_without_the_role_is_refused():
    """A caller without the role is refused with the roles that it has."""
    guarded = gate(entry("a", "predict"))

    with pytest.raises(PermissionDenied, match=r"lacks the role admin .* has health, predict;"):
        guarded.enter(Role.ADMIN, header("a"))

    assert guarded.refusals == {Refusal.ROLE: 1}


def test_a_caller_may_use_its_models_only():
    """A caller with a list of models is refused all others, also models that nobody serves."""
    guarded = gate(entry("a", "predict", "metadata", models=["m"]))
    guarded.enter(Role.PREDICT, header("a"))
    caller = CURRENT.get()
    caller.check_model("m")

    with pytest.raises(PermissionDenied, match="a may not use model 'n', expected one of m"):
        caller.check_model("n")

    assert guarded.refusals == {Refusal.MODEL: 1}
    assert [caller.sees("m"), caller.sees("n")] == [True, False]


def test_only_callers_who_may_read_metadata_see_models():
    """A caller with the role predict alone does not see which models there are."""
    guarded = gate(entry("a", "predict"))
    guarded.enter(Role.HEALTH, {})
    anonymous = CURRENT.get()
    guarded.enter(Role.PREDICT, header("a"))
    known = CURRENT.get()

    assert [each.sees("m") for each in (anonymous, known, EVERYONE)] == [False, False, True]
    assert anonymous.name == "anonymous"


@pytest.mark.parametrize("name", ["CN=a,O=b", "cn=a, o=b"])
def test_a_certificate_stands_for_an_entry(name):
    """A client certificate has the roles of the entry with its subject; a key takes precedence."""
    guarded = gate(entry("web", "predict", subject="CN=a,O=b"), entry("a", "admin"))
    guarded.enter(Role.PREDICT, {}, name)
    caller = CURRENT.get().name
    guarded.enter(Role.ADMIN, header("a"), name)

    assert [caller, CURRENT.get().name] == ["web", "a"]


@pytest.mark.parametrize("name", ["CN=other", "CN=a,O=b,C=DE", "not a subject"])
def test_a_certificate_without_an_entry_has_no_roles(name):
    """A certificate without an entry may do what needs no key, under the name of its subject."""
    guarded = gate(entry("web", "predict", subject="CN=a,O=b"))
    guarded.enter(Role.HEALTH, {}, name)

    with pytest.raises(PermissionDenied, match=f"{name} lacks the role predict"):
        guarded.enter(Role.PREDICT, {}, name)

    assert CURRENT.get().name == name


def test_an_expired_entry_of_a_certificate_is_refused():
    """A certificate is refused after the end of its entry, even if the certificate is valid."""
    guarded = gate(entry("web", "predict", subject="CN=a", expires="2020-01-01"))

    with pytest.raises(Unauthenticated, match="the key web has expired"):
        guarded.enter(Role.HEALTH, {}, "CN=a")


def test_a_server_without_keys_only_learns_names():
    """Without keys everyone may do everything; a key is ignored, a certificate gives the name."""
    guarded = Gate(None, HEALTH)
    guarded.enter(Role.ADMIN, {b"authorization": b"Bearer x"})
    anonymous = CURRENT.get().name
    guarded.enter(Role.ADMIN, {}, "CN=a")

    assert [anonymous, CURRENT.get().name] == ["anonymous", "CN=a"]
    assert CURRENT.get().sees("m")


def test_an_update_replaces_the_callers():
    """After an update, new keys are valid and revoked ones are not."""
    guarded = gate(entry("a", "predict"))
    guarded.update(entries(entry("b", "predict")))
    guarded.enter(Role.PREDICT, header("b"))

    with pytest.raises(Unauthenticated):
        guarded.enter(Role.PREDICT, header("a"))


def test_a_remembered_key_is_refused_after_its_end_and_after_an_update(monkeypatch):
    """A key that was valid before is refused once it has expired, and once it is revoked."""
    now = [1000.0]
    monkeypatch.setattr("serving.access.gate.time.time", lambda: now[0])
    guarded = gate(entry("a", "predict", expires="1970-01-02"), entry("b", "predict"))
    for name in ("a", "a", "b"):
        guarded.enter(Role.PREDICT, header(name))
    now[0] = 86_400.0
    with pytest.raises(Unauthenticated, match="the key a has expired"):
        guarded.enter(Role.PREDICT, header("a"))
    guarded.update(entries(entry("a", "predict")))
    with pytest.raises(Unauthenticated, match="has been revoked"):
        guarded.enter(Role.PREDICT, header("b"))

    guarded.enter(Role.PREDICT, header("a"))


def test_a_key_is_not_remembered_for_another_header():
    """A key that was valid in x-api-key is no Bearer key without the scheme."""
    guarded = gate(entry("a", "predict"))
    key = key_of("a").encode()
    guarded.enter(Role.PREDICT, {b"x-api-key": key})

    with pytest.raises(Unauthenticated, match="has no Bearer key"):
        guarded.enter(Role.PREDICT, {b"authorization": key})


def test_forms_of_a_header_do_not_fill_the_memory(monkeypatch):
    """However a caller writes its header, the number of remembered headers is limited."""
    monkeypatch.setattr("serving.access.gate._MOST_REMEMBERED", 4)
    guarded = gate(entry("a", "predict"))
    for scheme in (b"Bearer", b"bearer", b"BEARER", b"bEARER", b"beARER", b"beaRER"):
        guarded.enter(Role.PREDICT, {b"authorization": scheme + b" " + key_of("a").encode()})

    assert len(guarded._by_header) <= 4


def test_an_update_keeps_the_counts_of_callers_with_the_same_limits():
    """A caller does not get its rate back when the file changes; with another limit it does."""
    guarded = gate(entry("a", "predict", in_flight=1), entry("b", "predict", in_flight=1))
    for name in ("a", "b"):
        guarded.enter(Role.PREDICT, header(name))
    guarded.update(
        entries(entry("a", "predict", "admin", in_flight=1), entry("b", "predict", in_flight=2))
    )
    guarded.enter(Role.PREDICT, header("b"))

    with pytest.raises(RateLimited):
        guarded.enter(Role.PREDICT, header("a"))

    assert guarded.refusals == {Refusal.LIMIT: 1}


def test_a_caller_without_limits_is_not_counted():
    """Only callers with limits cost the counting."""
    guarded = gate(entry("a", "predict"), entry("b", "predict", in_flight=8), workers=4)

    assert guarded.enter(Role.PREDICT, header("a")) is None
    assert guarded.enter(Role.PREDICT, header("b")).limits.in_flight == 2
