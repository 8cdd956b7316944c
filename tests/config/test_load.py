"""Sources → one marked tree."""

import pytest

from hawse.config.load import load
from hawse.config.tree import find


def write(tmp_path, text, name="config.yaml"):
    path = tmp_path / name
    path.write_text(text)
    return str(path)


def read(tmp_path, text, environ=None):
    loaded = load([write(tmp_path, text)], environ=environ or {})
    return loaded


def messages(loaded):
    return [str(finding) for finding in loaded.findings]


def test_every_key_and_value_knows_its_place(tmp_path):
    loaded = read(tmp_path, "receivers:\n  otlp/a.b:\n    list:\n      - one\n      -   two\n")
    node = find(loaded.root, "receivers.otlp/a.b.list[1]")
    assert node.value == "two"
    assert (node.where.line, node.where.column) == (5, 11)
    key = find(loaded.root, "receivers.otlp/a.b.list").key
    assert (key.line, key.column) == (3, 5)
    # A path that goes on where the document doesn't leads to the deepest node there is.
    assert find(loaded.root, "receivers.otlp/a.b.none.at.all").where.line == 2


@pytest.mark.parametrize(
    ("written", "value"),
    [
        ("yes", "yes"),
        ("on", "on"),
        ("12:30", "12:30"),
        ("2026-11-24", "2026-11-24"),
        ("1_000", "1_000"),
        ("true", True),
        ("False", False),
        ("null", None),
        ("~", None),
        ("", None),
        ("7", 7),
        ("-3", -3),
        ("0x1F", 31),
        ("0o17", 15),
        ("0640", 0o640),
        ("089", 89.0),
        ("0b11", 3),
        ("1.5", 1.5),
        ("1e3", 1000.0),
        (".5", 0.5),
        ("-.inf", float("-inf")),
        ('"7"', "7"),
        ("'true'", "true"),
        ("!!str 7", "7"),
        ("a: b", {"a": "b"}),
        ("[1, a]", [1, "a"]),
    ],
)
def test_scalars_are_those_of_yaml_1_2(tmp_path, written, value):
    text = f"key:\n  {written}" if ": " in written else f"key: {written}"
    loaded = read(tmp_path, text)
    assert loaded.findings == []
    assert loaded.root.plain() == {"key": value}


def test_duplicate_keys_are_all_told(tmp_path):
    loaded = read(tmp_path, "a: 1\nb:\n  c: 1\n  c: 2\na: 2\n")
    file = tmp_path / "config.yaml"
    assert messages(loaded) == [
        f'error [HW103] {file}:4:3 b.c: duplicate key "c", first on line 3; remove one of them, or merge the two',
        f'error [HW103] {file}:5:1 a: duplicate key "a", first on line 1; remove one of them, or merge the two',
    ]


def test_anchors_aliases_and_merge_keys(tmp_path):
    loaded = read(tmp_path, "base: &base {a: 1, b: 2}\nother:\n  <<: *base\n  b: 3\n  c: *base\n")
    assert loaded.root.plain()["other"] == {"a": 1, "b": 3, "c": {"a": 1, "b": 2}}


def test_an_alias_bomb_is_refused_quickly(tmp_path):
    lines = ["l0: &l0 [a, a, a, a, a, a, a, a, a, a]"]
    lines += [f"l{i}: &l{i} [{', '.join([f'*l{i - 1}'] * 10)}]" for i in range(1, 10)]
    loaded = read(tmp_path, "\n".join(lines))
    assert [finding.code for finding in loaded.findings] == ["HW102"]


def test_an_alias_of_itself_is_refused(tmp_path):
    assert [finding.code for finding in read(tmp_path, "a: &a\n  b: *a\n").findings] == ["HW102"]


@pytest.mark.parametrize(
    ("text", "line", "part"),
    [
        ("a:\n\t- b", 2, "spaces, not tabs"),
        ("a: [b\n", 2, "not valid YAML"),
        ("a: b: c", 1, "not valid YAML"),
        ("a: 1\n---\nb: 2", 2, "not valid YAML"),
        ("a: !thing 1", 1, "unknown YAML tag"),
        ("? [a, b]\n: 1", 1, "a key must be text"),
        ("a: !!int x", 1, "is not of the type"),
    ],
)
def test_broken_yaml_is_told_with_its_line(tmp_path, text, line, part):
    (finding,) = read(tmp_path, text).findings
    assert (finding.code, finding.where.line) == ("HW102", line)
    assert part in str(finding)


def test_what_is_no_text_or_no_map_is_told(tmp_path):
    (tmp_path / "latin").write_bytes(b"a: \xe9\n")
    assert load([str(tmp_path / "latin")]).findings[0].code == "HW102"
    (tmp_path / "control").write_bytes(b"a: \x00\n")
    assert load([str(tmp_path / "control")]).findings[0].code == "HW102"
    assert "this is a list" in messages(read(tmp_path, "- a\n"))[0]
    assert read(tmp_path, "").findings == []
    assert read(tmp_path, "# nothing but a comment\n").root.plain() == {}


def test_unreadable_files(tmp_path):
    loaded = load([str(tmp_path / "none.yaml"), str(tmp_path)])
    assert [finding.code for finding in loaded.findings] == ["HW101", "HW101"]
    assert "No such file" in messages(loaded)[0]


ENV = {
    "NAME": "value",
    "PORT": "4318",
    "YES": "true",
    "EMPTY": "",
    "LIST": "[a, b]",
    "TRICKY": "pa$$w${NAME}: x",
    "X": "NAME",
}


@pytest.mark.parametrize(
    ("written", "value"),
    [
        ("${env:NAME}", "value"),
        ("${NAME}", "value"),
        ("${env:PORT}", 4318),
        ('"${env:PORT}"', 4318),
        ("port ${env:PORT}!", "port 4318!"),
        ("${env:YES}", True),
        ("${env:EMPTY}", None),
        ("a${env:EMPTY}b", "ab"),
        ("${env:NONE:-7}", 7),
        ("${env:NONE:-}", None),
        ("${env:NONE:-a:-b}", "a:-b"),
        ("${NONE:-7}", 7),
        ("${env:EMPTY:-7}", None),
        ("${env:NONE:-http://${env:NAME}:${env:PORT}}", "http://value:4318"),
        ("${env:${env:X}}", "value"),
        ("${env:LIST}", ["a", "b"]),
        ("x${env:TRICKY}", "xpa$$w${NAME}: x"),
        ("$$", "$"),
        ("$${env:NAME}", "${env:NAME}"),
        ("$$$${x", "$${x"),
        ("pod_labels_$$1", "pod_labels_$1"),
        ("cost: ", {"cost": None}),
        ("$NAME", "$NAME"),
        ("100$", "100$"),
        ("${unclosed", "${unclosed"),
    ],
)
def test_references(tmp_path, written, value):
    text = f"key:\n  {written}" if written.endswith(": ") else f"key: {written}"
    loaded = read(tmp_path, text, ENV)
    assert loaded.findings == []
    assert loaded.root.plain() == {"key": value}


def test_a_reference_keeps_its_text_and_origin(tmp_path):
    node = find(read(tmp_path, "a:\n  key: ${env:PORT}", ENV).root, "a.key")
    assert (node.value, node.text, node.origin, node.where.line) == (4318, "4318", "${env:PORT}", 2)
    # A password may look like YAML: fields that want text get the text.
    assert find(read(tmp_path, "key: ${env:TRICKY}", ENV).root, "key").text == ENV["TRICKY"]


@pytest.mark.parametrize(
    ("written", "part"),
    [
        ("${env:NONE}", 'the environment variable "NONE" is not set; set it, or give a default: ${env:NONE:-default}'),
        ("a ${env:NONE} b", 'the environment variable "NONE" is not set'),
        ("${env:NO NAME}", "no name of an environment variable"),
        ("${1}", 'write ${env:NAME}, or "$${"'),
        ("${vault:secret}", 'unknown provider "vault"'),
        ("${file:/none/here}", 'cannot read "/none/here": No such file'),
    ],
)
def test_references_that_lead_nowhere(tmp_path, written, part):
    (finding,) = read(tmp_path, f"x: 1\nkey: {written}", ENV).findings
    assert finding.code == "HW107"
    assert (finding.where.line, finding.where.path) == (2, "key")
    assert part in str(finding)


def test_files(tmp_path):
    secret = write(tmp_path, "s3cret$${env:NAME} # not a comment\n", "secret")
    block = write(tmp_path, "a: ${env:NAME}\nb: [1, 2]\n", "block")
    number = write(tmp_path, "42\n", "number")
    loaded = read(tmp_path, f"secret: ${{file:{secret}}}\nblock: ${{file:{block}}}\nnumber: ${{file:{number}}}\n", ENV)
    assert loaded.findings == []
    plain = loaded.root.plain()
    assert plain["secret"] == "s3cret$${env:NAME} # not a comment"
    assert plain["block"] == {"a": "value", "b": [1, 2]}
    assert plain["number"] == 42
    assert find(loaded.root, "block.b[0]").where.line == 2  # the place of the reference
    assert set(loaded.files) == {str(tmp_path / "config.yaml"), secret, block, number}


def test_a_file_that_holds_itself_ends(tmp_path):
    path = tmp_path / "loop"
    path.write_text(f"again: ${{file:{path}}}")
    loaded = read(tmp_path, f"a: ${{file:{path}}}")
    assert any("leads in a circle" in message for message in messages(loaded))


def test_merging(tmp_path):
    base = write(tmp_path, "a:\n  keep: 1\n  change: 1\n  list: [1, 2, 3]\n  map: {x: 1}\n", "base.yaml")
    site = write(tmp_path, "a:\n  change: 2\n  list: [4]\n  map: {y: 2}\nb: 5\n", "site.yaml")
    loaded = load([base, site], ["a.keep=three", "c.d.e=[1, x]", "c.f="])
    assert loaded.root.plain() == {
        "a": {"keep": "three", "change": 2, "list": [4], "map": {"x": 1, "y": 2}},
        "b": 5,
        "c": {"d": {"e": [1, "x"]}, "f": None},
    }
    assert find(loaded.root, "a.map.x").where.file == base
    assert find(loaded.root, "a.map.y").where == type(loaded.root.mark)(site, 4, 12)
    assert find(loaded.root, "a.keep").where.file == "--set a.keep"


def test_other_sources(tmp_path):
    loaded = load(
        [f"file:{write(tmp_path, 'a: 1')}", "env:DOC", "yaml:exporters::debug::verbosity: detailed"],
        environ={"DOC": "b: 2"},
    )
    assert loaded.root.plain() == {"a": 1, "b": 2, "exporters": {"debug": {"verbosity": "detailed"}}}
    assert load(["env:NONE"], environ={}).findings[0].code == "HW101"
    assert load([], ["novalue"]).findings[0].code == "HW101"


def test_the_loader_in_python_reads_the_same(tmp_path, monkeypatch):
    import yaml

    from hawse.config import reader

    text = 'a: [1, yes, "${env:PORT}"]\nb: &x {c: 1.5}\nd: {<<: *x, e: ~}\n'
    fast = read(tmp_path, text, ENV).root.plain()

    class Slow(yaml.SafeLoader):
        yaml_implicit_resolvers = reader._Loader.yaml_implicit_resolvers

    monkeypatch.setattr(reader, "_Loader", Slow)
    loaded = read(tmp_path, text, ENV)
    assert loaded.root.plain() == fast
    assert (find(loaded.root, "b.c").where.line, find(loaded.root, "b.c").where.column) == (2, 11)
    assert read(tmp_path, "a: [b\n").findings[0].code == "HW102"
