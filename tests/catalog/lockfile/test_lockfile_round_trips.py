"""Whatever a lockfile says, it says the same when it was written and read again; and so after any changes."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory

from hypothesis import given, settings
from hypothesis import strategies as some

from llmdispatcher import Lockfile
from llmdispatcher.catalog.lockfile.lockfile import text_of
from llmdispatcher.catalog.lockfile.reading import Binding, Contents, Profile, read

letters = some.text(some.characters(exclude_categories=("Cs", "Cc", "Zl", "Zp", "Zs")), min_size=1, max_size=8)
aliases = letters.filter(lambda name: name.strip() == name and name.lower() != "auto")
models = some.tuples(letters.filter(lambda name: ":" not in name), letters).map(lambda pair: f"{pair[0]}:{pair[1]}")
values = some.recursive(
    some.booleans()
    | some.integers(-(2**60), 2**60)
    | some.floats(allow_nan=False, allow_infinity=False)
    | some.text(max_size=8).filter(str.isprintable),
    lambda inner: some.lists(inner, max_size=3) | some.dictionaries(letters, inner, max_size=3),
    max_leaves=6,
)
tables = some.dictionaries(letters, values, max_size=3)
times = some.datetimes(datetime(2000, 1, 1), datetime(2100, 1, 1)).map(lambda moment: moment.replace(tzinfo=UTC))


@some.composite
def profiles(draw, name):
    pools = draw(some.dictionaries(aliases, some.lists(models, min_size=1, max_size=3), max_size=4))
    bindings = {
        alias: Binding(alias, tuple(pool), draw(some.none() | tables))
        for alias, pool in pools.items()
        if not set(pool) & set(pools)
    }
    return Profile(name, bindings, draw(some.dictionaries(letters, some.integers(0, 99), max_size=2)))


@some.composite
def contents(draw):
    names = draw(some.lists(aliases, unique=True, max_size=3))
    return Contents(
        created_at=draw(some.none() | times),
        updated_at=draw(some.none() | times),
        default_profile=draw(some.sampled_from([*names, "default"])),
        metadata=draw(tables),
        packages=tuple(draw(some.lists(some.sampled_from(["libA", "lib-b", "lib.c"]), unique=True))),
        profiles={name: draw(profiles(name)) for name in names},
    )


@given(contents(), some.sampled_from(["x.lock", "x.json"]))
@settings(deadline=None, max_examples=40)
def test_new_files(said, name):
    """Written from nothing, in either form."""
    text = text_of(said, None, "json" if name.endswith("json") else "toml")

    assert said == read(text, name).contents


@given(contents(), contents(), some.sampled_from(["x.lock", "x.json"]))
@settings(deadline=None, max_examples=40)
def test_changed_files(before, after, name):
    """Any contents are written over any others of which they keep the profiles."""
    form = "json" if name.endswith("json") else "toml"
    kept = {**before.profiles, **after.profiles}
    after = Contents(
        created_at=after.created_at or before.created_at,
        updated_at=after.updated_at or before.updated_at,
        default_profile=after.default_profile,
        metadata=after.metadata,
        packages=after.packages,
        profiles=kept,
    )
    source = read(text_of(before, None, form), name)

    assert after == read(text_of(after, source, form), name).contents


@given(
    some.lists(
        some.tuples(some.sampled_from("abc"), some.sampled_from(["default", "prod"]), some.lists(models, max_size=2)), max_size=6
    )
)
@settings(deadline=None, max_examples=20)
def test_any_changes_by_hand(steps):
    """Bound and unbound in any order, saved after each: what is read is what was said last."""
    with TemporaryDirectory() as folder:
        path = Lockfile.create_default(Path(folder) / "llmdispatcher.lock").save()
        lock, said = Lockfile.load(path), {}
        for alias, profile, pool in steps:
            if pool:
                lock.bind(alias, pool, profile=profile)
                said[profile, alias] = tuple(pool)
            else:
                assert lock.unbind(alias, profile=profile) == (said.pop((profile, alias), None) is not None)
            lock.save()
            found = Lockfile.load(path)
            assert said == {(name, alias): pool for name in ("default", "prod") for alias, pool in found.aliases(name).items()}


def test_times_with_other_offsets_are_the_same_moment():
    """A moment is compared as one, not as its text."""
    moment = datetime(2026, 1, 1, 12, tzinfo=UTC)
    there = moment.isoformat().replace("12:00:00+00:00", "14:00:00+02:00")

    assert moment == read(f'created_at = "{there}"', "x.lock").contents.created_at
    assert timedelta(hours=2) == read(f'created_at = "{there}"', "x.lock").contents.created_at.utcoffset()
